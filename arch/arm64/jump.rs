//! What a jump replaces: one instruction, unless that is a landing pad.

use super::Arm64;
use super::decode::{self, Insn};
use super::simulate::Effect;
use crate::jump::{Covered, Window};
use crate::{Addr, Arch, Code, Plan, Reason, Reject, Rules, Text};

/// `B`.
const LEN: u8 = 4;

/// Where the direct branches of the function go to inside it.
pub(super) fn targets(text: &Text<'_>, found: &mut dyn FnMut(Addr)) {
    let Some((start, end)) = text.function else { return };
    let (words, _) = text.from(start).as_chunks();
    let len = usize::try_from(end.0.saturating_sub(start.0) / 4).unwrap_or(0);
    for (&bytes, at) in words.iter().take(len).zip((start.0..).step_by(4)) {
        let offset = match decode::decode(u32::from_le_bytes(bytes)) {
            Insn::Simulated(
                Effect::Branch { offset }
                | Effect::BranchLink { offset }
                | Effect::BranchIf { offset, .. },
            ) => offset,
            _ => continue,
        };
        let target = Addr(at).offset(offset.into());
        if start <= target && target < end {
            found(target);
        }
    }
}

/// Decides what a jump for a probe on `at` replaces.
pub(super) fn window(
    text: &Text<'_>,
    at: Addr,
    rules: Rules,
    targets: &[Addr],
) -> Result<Window, Reject> {
    let mut plan = Arm64::plan(text, at, rules)?;
    let (start, end) = text.function.ok_or(Reason::UnknownFunction)?;
    if at < start || at >= end {
        return Err(Reason::UnknownFunction.into());
    }
    let mut jump = at;
    // Whoever comes to the instruction behind a pad came through the pad, if no branch goes there.
    while is_landing_pad(decode::fetch(text, jump)?) {
        jump = jump.add(4);
        if jump >= end {
            return Err(Reason::WindowEnd.into());
        }
        if targets.binary_search(&jump).is_ok() {
            return Err(Reason::PadOnly.into());
        }
        plan = Arm64::plan(text, jump, rules).map_err(|_| Reason::WindowInstruction)?;
    }
    relocatable(text, jump, &plan)?;
    let mut window = Window::new(jump, LEN);
    window.calls = decode::decode(decode::fetch(text, jump)?).calls();
    window.add(Covered { offset: 0, len: plan.span() });
    Ok(window)
}

/// Why its code would be refused from everywhere.
fn relocatable(text: &Text<'_>, at: Addr, plan: &Plan<Arm64>) -> Result<(), Reject> {
    match Arm64::relocate(text, at, plan, at, &mut Code::new()) {
        Ok(_) => Ok(()),
        Err(reject) if reject.reason == Reason::OutOfReach => Ok(()),
        Err(reject) => Err(reject),
    }
}

/// What an indirect branch into a guarded page must find, and a B is not:
/// ```text
/// BTI                 1101 0101  0000 0011  0010 0100  tt01 1111
/// PACIASP, PACIBSP    1101 0101  0000 0011  0010 0011  0k11 1111
/// ```
/// BRK and HLT are landing pads too, and never displaced.
const fn is_landing_pad(word: u32) -> bool {
    word & 0xffff_ff3f == 0xd503_241f || word & 0xffff_ffbf == 0xd503_233f
}

impl Insn {
    /// Whether it is a call.
    fn calls(self) -> bool {
        match self {
            Insn::Simulated(Effect::BranchLink { .. } | Effect::BranchLinkRegister { .. }) => true,
            Insn::Signed(signed) => signed.branch == decode::Indirect::Call,
            _ => false,
        }
    }
}
