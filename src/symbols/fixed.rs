//! Code that must stay where it is: ranges that libc or an unwinder knows by address or by bytes,
//! and restartable sequences.

use super::layout::{Layout, Machine};
use super::sequences;
use super::source::Source;
use super::table::Symbols;
use super::{ElfError, dynamic::Dynamic};
use memchr::memmem::Finder;
use std::ops::Range;
use xol_arch::{Addr, Arch, Flow, Reason, Text};

/// A range of code that nothing may be moved out of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// Its addresses in the file; of a restartable sequence, with the instruction that runs into it.
    pub range: Range<u64>,
    /// [`Reason::FixedRange`] or [`Reason::RestartableSequence`].
    pub reason: Reason,
}

/// A cancellable system call as musl and glibc ≥ 2.41 write it: the check, the arguments moved
/// into place, the call. libc compares the PC of a cancelled thread with its two ends.
pub(crate) struct Patterns {
    cancellable: &'static [u8],
    /// `mov $15,%rax; syscall` and `mov x8,#139; svc #0`: how unwinders know a signal frame.
    pub(crate) sigreturn: &'static [u8],
}

pub(crate) const fn patterns(machine: Machine) -> Patterns {
    match machine {
        Machine::X86_64 => X86_64,
        Machine::Arm64 => ARM64,
    }
}

const X86_64: Patterns = Patterns {
    cancellable: b"\x49\x89\xfb\x48\x89\xf0\x48\x89\xd7\x48\x89\xce\x4c\x89\xc2\x4d\x89\xca\
        \x4c\x8b\x44\x24\x08\x4c\x8b\x4c\x24\x10\x4c\x89\x5c\x24\x08\x0f\x05",
    sigreturn: b"\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05",
};

const ARM64: Patterns = Patterns {
    cancellable: b"\xe8\x03\x01\xaa\xe0\x03\x02\xaa\xe1\x03\x03\xaa\xe2\x03\x04\xaa\
        \xe3\x03\x05\xaa\xe4\x03\x06\xaa\xe5\x03\x07\xaa\x01\x00\x00\xd4",
    sigreturn: b"\x68\x11\x80\xd2\x01\x00\x00\xd4",
};

/// All fixed ranges, sorted.
pub(crate) fn ranges(
    source: &Source,
    layout: &Layout,
    dynamic: Option<&Dynamic>,
    symbols: &Symbols,
) -> Result<Vec<Fixed>, ElfError> {
    let mut found = Vec::new();
    for (begin, end) in
        [("__cp_begin", "__cp_end"), ("__syscall_cancel_arch_start", "__syscall_cancel_arch_end")]
    {
        if let (Some(begin), Some(end)) = (named(symbols, begin), named(symbols, end))
            && begin < end
        {
            found.push(Fixed { range: begin..end, reason: Reason::FixedRange });
        }
    }
    let patterns = patterns(layout.machine);
    for code in &symbols.code {
        by_bytes(source, layout, code, &patterns, &mut found)?;
    }
    for sequence in sequences::described(source, layout, dynamic)? {
        let start = told_before(source, layout, symbols, sequence.range.start);
        let range = start..sequence.range.end;
        found.push(Fixed { range, reason: Reason::RestartableSequence });
    }
    found.sort_unstable_by_key(|f| (f.range.start, f.range.end));
    Ok(found)
}

/// Where the instruction begins that runs into a restartable sequence: it tells the kernel of the sequence.
/// Displaced, a thread would lose the CPU outside of it some time, and the kernel forget it.
fn told_before(source: &Source, layout: &Layout, symbols: &Symbols, sequence: u64) -> u64 {
    /// Bytes that are decoded to find it.
    const MOST: u64 = 64 << 10;
    let read = || {
        let from = symbols.decode_from(sequence.checked_sub(1)?)?;
        let len = sequence.checked_sub(from).filter(|len| (1..=MOST).contains(len))?;
        let (offset, _) = layout.file_offset(from)?;
        Some((from, source.bytes(offset, len, "code").ok()?))
    };
    let Some((from, bytes)) = read() else { return sequence };
    let text = Text::new(Addr(from), &bytes);
    let found: Result<u64, ElfError> = crate::for_machine!(layout.machine, A => {
        let mut at = from;
        loop {
            let flow = A::flow(&text, Addr(at));
            // What does not decode is passed over as data is.
            let len = flow.as_ref().map_or(A::INSN_ALIGN, |&(_, len)| len as u64);
            match at + len {
                next if next < sequence => at = next,
                next if next > sequence => break sequence,
                _ => break if matches!(flow, Ok((Flow::Next, _))) { at } else { sequence },
            }
        }
    });
    found.unwrap_or(sequence)
}

fn named(symbols: &Symbols, name: &str) -> Option<u64> {
    symbols.entries.iter().find(|e| symbols.name(e) == name).map(|e| e.addr)
}

fn by_bytes(
    source: &Source,
    layout: &Layout,
    code: &Range<u64>,
    patterns: &Patterns,
    found: &mut Vec<Fixed>,
) -> Result<(), ElfError> {
    const PIECE: u64 = 64 << 10;
    /// Pieces overlap by more than a pattern and what may stand before it.
    const OVERLAP: u64 = 64;
    let Some((offset, _)) = layout.file_offset(code.start) else { return Ok(()) };
    let (cancellable, sigreturn) =
        (Finder::new(patterns.cancellable), Finder::new(patterns.sigreturn));
    let mut piece = vec![0; PIECE.min(code.end - code.start) as usize];
    let mut at = code.start;
    loop {
        let len = piece.len().min((code.end - at) as usize);
        let bytes = &mut piece[..len];
        source.read(offset + (at - code.start), bytes, "code")?;
        for i in sigreturn.find_iter(bytes) {
            let start = at + i as u64;
            let range = start..start + patterns.sigreturn.len() as u64;
            found.push(Fixed { range, reason: Reason::FixedRange });
        }
        for i in cancellable.find_iter(bytes) {
            let end = at + (i + patterns.cancellable.len()) as u64;
            let start = at + (i - check_before(&bytes[..i], layout.machine)) as u64;
            found.push(Fixed { range: start..end, reason: Reason::FixedRange });
        }
        if at + len as u64 >= code.end {
            break;
        }
        at += len as u64 - OVERLAP;
    }
    // The overlap finds a pattern twice, perhaps with less before it: the longer one counts.
    found.sort_unstable_by_key(|f| (f.range.end, f.range.start));
    found.dedup_by(|later, first| later.range.end == first.range.end);
    Ok(())
}

/// How many bytes before the moves the check of the cancel flag begins.
fn check_before(before: &[u8], machine: Machine) -> usize {
    match machine {
        // ldr w0,[x0]; cbnz or tbnz.
        Machine::Arm64 => before.len().min(8),
        // mov (%rdi),%eax; a test; a jump of two or six bytes.
        Machine::X86_64 => {
            let near = &before[before.len().saturating_sub(16)..];
            near.windows(2).rposition(|w| w == [0x8b, 0x07]).map_or(0, |i| near.len() - i)
        }
    }
}
