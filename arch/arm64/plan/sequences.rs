//! Instructions that belong together: memory copies and sets, PACM and PACIxSP.

use super::super::decode::{self, Insn, Mops};
use crate::{Addr, Reason, Reject, Text};

fn insn(text: &Text<'_>, at: Addr) -> Option<Insn> {
    decode::fetch(text, at).ok().map(decode::decode)
}

/// The bytes to copy for a probe on `mops` at `at`: all three instructions, consecutively,
/// because the kernel goes back to the prologue, two words before the epilogue, when a thread
/// comes to a processor that implements them differently.
pub(super) fn mops(text: &Text<'_>, at: Addr, mops: Mops) -> Result<u8, Reject> {
    let prologue = at.offset(-4 * i64::from(mops.phase));
    let whole = (0..3).all(|phase| {
        insn(text, prologue.add(4 * u64::from(phase)))
            == Some(Insn::Mops(Mops { phase, family: mops.family }))
    });
    match mops.phase {
        0 if whole => Ok(12),
        _ => Err(Reject {
            reason: Reason::MopsSequence,
            nearest: (mops.phase > 0 && whole).then_some(prologue),
        }),
    }
}

/// Whether the instruction before is PACM: its effect is gone once a trap was taken, and a
/// copy would sign with its own address.
pub(super) fn behind_pacm(text: &Text<'_>, at: Addr) -> bool {
    insn(text, at.offset(-4)) == Some(Insn::SignLinkWithPc)
}
