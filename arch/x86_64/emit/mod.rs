//! Bytes written by hand: jumps, and what a trampoline records.
//!
//! | room | holds |
//! |---|---|
//! | `assembler` | the few instructions that recorders are made of |
//! | `recorder` | counts, records and filters |
//! | `flags` | whether flags are read before they are overwritten |
//!
//! ```text
//! E9 <rel32>                   jmp  rel32         relative to the end of the instruction
//! 0F 8x <rel32>                jcc  rel32         x is tttn
//! FF 25 00000000 <abs64>       jmp  [rip+0]       the address lies behind the instruction
//! ```

mod assembler;
mod flags;
mod recorder;

pub(super) use flags::live as flags_live;
pub(super) use recorder::{record, restore, slot_of};

use crate::jump::LongCode;
use crate::{Addr, Code, Reason, Reject};

/// Appends raw bytes.
pub(super) fn bytes(out: &mut Code, bytes: &[u8]) -> Result<(), Reject> {
    out.extend_from_slice(bytes).map_err(|_| Reason::NoRoomForSlots.into())
}

/// The 32-bit displacement from the end of an instruction, `end`, to `to`.
pub(super) fn rel32(end: Addr, to: Addr) -> Option<[u8; 4]> {
    i32::try_from(to.distance_from(end)).ok().map(i32::to_le_bytes)
}

/// Appends `E9 rel32` standing at `from`.
pub(super) fn jump(from: Addr, to: Addr, out: &mut Code) -> Result<(), Reject> {
    let rel = rel32(from.add(5), to).ok_or(Reason::OutOfReach)?;
    bytes(out, &[0xe9])?;
    bytes(out, &rel)
}

/// Appends `lea rsp, [rsp+8]`, which leaves the flags alone: `48 8D 64 24 08`
pub(super) fn take_push_back(out: &mut LongCode) -> Result<(), Reject> {
    out.extend_from_slice(&[0x48, 0x8d, 0x64, 0x24, 8]).map_err(|_| Reason::NoRoomForSlots.into())
}

/// Appends a jump from `from` to anywhere: direct where that reaches, else through the eight
/// bytes behind it. Neither needs a register or changes a flag.
pub(super) fn leap(from: Addr, to: Addr, out: &mut Code) -> Result<(), Reject> {
    if rel32(from.add(5), to).is_some() {
        return jump(from, to, out);
    }
    bytes(out, &[0xff, 0x25, 0, 0, 0, 0])?;
    bytes(out, &to.0.to_le_bytes())
}
