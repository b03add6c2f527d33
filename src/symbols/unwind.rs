//! .eh_frame_hdr: where functions begin, also in stripped objects.

use super::fixed;
use super::layout::Layout;
use super::source::Source;
use object::LittleEndian as LE;

/// The starts in .eh_frame_hdr's search table, sorted; empty where there is none in the one
/// encoding that linkers write (LSB, "Exception Frames": version 1, udata4 count, datarel sdata4
/// pairs).
pub(crate) fn starts(source: &Source, layout: &Layout) -> Vec<u64> {
    const ENCODING: [u8; 4] = [1, 0x1b, 0x03, 0x3b];
    let Some((hdr, len)) = layout.eh_frame_hdr else { return Vec::new() };
    let Some((offset, room)) = layout.file_offset(hdr) else { return Vec::new() };
    let Ok([encoding, _, count]) = source.one::<[[u8; 4]; 3]>(offset, "unwind table") else {
        return Vec::new();
    };
    let size = u64::from(u32::from_le_bytes(count)) * 8;
    if encoding != ENCODING || size > len.min(room).saturating_sub(12) {
        return Vec::new();
    }
    let mut starts = Vec::new();
    let each = &mut |_, pair: &[object::I32<LE>; 2]| {
        starts.push(hdr.wrapping_add_signed(pair[0].get(LE).into()));
    };
    if source.each(offset + 12, size, "unwind table", each).is_err() {
        return Vec::new();
    }
    for start in &mut starts {
        // Unwinders look up a return address minus one, so that libc lets the unwind entry of
        // its return from a signal handler begin one byte early: in the padding.
        if *start % 16 == 15 && before_sigreturn(source, layout, *start) {
            *start += 1;
        }
    }
    starts.sort_unstable();
    starts.dedup();
    starts
}

fn before_sigreturn(source: &Source, layout: &Layout, start: u64) -> bool {
    let pattern = fixed::patterns(layout.machine).sigreturn;
    let Some((offset, room)) = layout.file_offset(start) else { return false };
    let len = pattern.len() as u64;
    len < room && source.bytes(offset + 1, len, "code").is_ok_and(|bytes| bytes == pattern)
}
