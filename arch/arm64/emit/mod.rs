//! Words written by hand: jumps, constants, and what a trampoline records.
//!
//! | room | holds |
//! |---|---|
//! | `assembler` | the few instructions that recorders are made of |
//! | `recorder` | counts, records and filters |
//!
//! ```text
//! B       0001 01ii  iiii iiii  iiii iiii  iiii iiii
//! MOVZ    1101 0010  1hhi iiii  iiii iiii  iiid dddd    x[d] = i << 16*h
//! MOVK    1111 0010  1hhi iiii  iiii iiii  iiid dddd    those 16 bits of x[d] = i
//! ```
//!
//! ADRP is never emitted: in the last two words of a 4 KiB page it meets erratum 843419.

mod assembler;
mod recorder;

pub(super) use recorder::{record, restore, slot_of};

use crate::{Addr, Code, Reason, Reject};

/// Appends one word.
pub(super) fn word(word: u32, out: &mut Code) -> Result<(), Reject> {
    out.extend_from_slice(&word.to_le_bytes()).map_err(|_| Reason::NoRoomForSlots.into())
}

/// The `width`-bit field for a word offset from `from` to `to`, at bit `low`.
pub(super) fn offset(from: Addr, to: Addr, low: u32, width: u32) -> Option<u32> {
    let distance = to.distance_from(from);
    let words = distance >> 2;
    let sign = words >> (width - 1);
    let fits = distance & 3 == 0 && (sign == 0 || sign == -1);
    fits.then_some((words as u32 & ((1 << width) - 1)) << low)
}

/// Appends `B to` standing at `from`.
pub(super) fn jump(from: Addr, to: Addr, out: &mut Code) -> Result<(), Reject> {
    let offset = offset(from, to, 0, 26).ok_or(Reason::OutOfReach)?;
    word(0x1400_0000 | offset, out)
}

/// Appends `x[to] = value` in one to four words; no flag changes.
pub(super) fn constant(to: u8, value: u64, out: &mut Code) -> Result<(), Reject> {
    let halves = (0..4).map(|half| (half, (value >> (16 * half)) as u32 & 0xffff));
    let mut opcode = 0xd280_0000; // MOVZ first, MOVK for the rest
    for (half, bits) in halves.filter(|&(_, bits)| bits != 0) {
        word(opcode | half << 21 | bits << 5 | u32::from(to), out)?;
        opcode = 0xf280_0000;
    }
    if value == 0 {
        word(opcode | u32::from(to), out)?;
    }
    Ok(())
}
