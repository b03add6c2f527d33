//! What to do with an instruction, or why not.
//!
//! | room | holds |
//! |---|---|
//! | `exclusives` | what stands between a load-exclusive and its store-exclusive |
//! | `sequences` | memory copies and sets; PACM and the instruction behind it |

mod exclusives;
mod sequences;

use super::Arm64;
use super::decode::{self, Insn};
use crate::plan::Copied;
use crate::{Addr, Plan, Reason, Reject, Rules, Text};

/// How far a reject looks for a neighbour that can be probed, in instructions.
const NEIGHBOURS: u64 = 64;

/// Decides how the instruction at `at` can be displaced.
pub(super) fn plan(text: &Text<'_>, at: Addr, rules: Rules) -> Result<Plan<Arm64>, Reject> {
    judge(text, at, rules).map_err(|reject| match reject.reason {
        Reason::ExclusiveSequence => Reject { nearest: nearest(text, at, rules), ..reject },
        _ => reject,
    })
}

fn judge(text: &Text<'_>, at: Addr, rules: Rules) -> Result<Plan<Arm64>, Reject> {
    let insn = decode::decode(decode::fetch(text, at)?);
    if let Insn::Refused(reason) = insn {
        return Err(reason.into());
    }
    if exclusives::inside(text, at, insn) {
        return Err(Reason::ExclusiveSequence.into());
    }
    let plan = match insn {
        Insn::Plain | Insn::ClearExclusive | Insn::WaitForEvent => copied(4),
        Insn::Simulated(effect) => {
            Plan { len: 4, effect: Some(effect.in_page(text.guarded)), copied: None }
        }
        // The fixup branches, so a jump behind the copy would not do.
        Insn::Signed(_) => only(Copied { jump_behind: false, ..COPIED }),
        Insn::LoadExclusive if exclusives::only_waits(text, at) => copied(4),
        // The trap behind the copy would clear the monitor; a jump does not.
        Insn::LoadExclusive if rules.exclusive_head => {
            only(Copied { trap_behind: false, ..COPIED })
        }
        Insn::LoadExclusive | Insn::StoreExclusive => {
            return Err(Reason::ExclusiveSequence.into());
        }
        Insn::SignLink if sequences::behind_pacm(text, at) => return Err(Reason::PauthLr.into()),
        Insn::SignLink => copied(4),
        Insn::SignLinkWithPc => return Err(Reason::PauthLr.into()),
        Insn::Mops(mops) => copied(sequences::mops(text, at, mops)?),
        Insn::Refused(reason) => return Err(reason.into()),
    };
    Ok(plan)
}

const COPIED: Copied =
    Copied { span: 4, falls_through: true, trap_behind: true, jump_behind: true };

const fn copied(span: u8) -> Plan<Arm64> {
    only(Copied { span, ..COPIED })
}

const fn only(copied: Copied) -> Plan<Arm64> {
    Plan { len: 4, effect: None, copied: Some(copied) }
}

/// The nearest instruction that can be probed, the one before if two are as near.
fn nearest(text: &Text<'_>, at: Addr, rules: Rules) -> Option<Addr> {
    let within = |&near: &Addr| match text.function {
        Some((start, end)) => start <= near && near < end,
        None => true,
    };
    (1..=NEIGHBOURS)
        .flat_map(|n| [at.offset(-4 * n as i64), at.add(4 * n)])
        .filter(within)
        .find(|&near| judge(text, near, rules).is_ok())
}
