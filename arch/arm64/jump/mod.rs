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
    let function = text.function.filter(|&(start, end)| start <= at && at < end);
    let mut jump = at;
    // Whoever comes to the instruction behind a pad came through the pad, if no branch goes there.
    while is_landing_pad(decode::fetch(text, jump)?) {
        let (_, end) = function.ok_or(Reason::UnknownFunction)?;
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
pub(super) const fn is_landing_pad(word: u32) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jump::Side;
    use std::vec::Vec;

    const AT: Addr = Addr(0x5555_0000_1000);
    const BTI_C: u32 = 0xd503_245f;
    const PACIASP: u32 = 0xd503_233f;
    const PACIBSP: u32 = 0xd503_237f;
    /// ADD x0, x0, #1
    const ADD: u32 = 0x9100_0400;
    const RET: u32 = 0xd65f_03c0;
    /// BL . + 8
    const BL: u32 = 0x9400_0002;
    const LDXR: u32 = 0xc85f_7c00;
    const STXR: u32 = 0xc801_7c00;
    const BRK: u32 = 0xd420_0000;

    fn bytes(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn of(words: &[u32], targets: &[u64]) -> Result<Window, Reason> {
        let code = bytes(words);
        let function = Some((AT, AT.add(code.len() as u64)));
        let text = Text { function, ..Text::new(AT, &code) };
        let targets: Vec<Addr> = targets.iter().map(|&by| AT.add(by)).collect();
        Arm64::window(&text, AT, Rules::default(), &targets, Side::Above)
            .map_err(|reject| reject.reason)
    }

    #[test]
    fn one_instruction_is_replaced() {
        let window = of(&[ADD, RET], &[4]).unwrap();
        assert_eq!((window.at, window.len, window.span, window.traps), (AT, 4, 4, 0));
        assert!(!window.calls && of(&[BL, RET], &[]).unwrap().calls);
        assert_eq!(of(&[LDXR, ADD, STXR], &[]), Err(Reason::ExclusiveSequence));
        assert!(window.reach().is_free());
    }

    #[test]
    fn behind_landing_pads() {
        for pad in [BTI_C, PACIASP, PACIBSP] {
            assert_eq!(of(&[pad, ADD, RET], &[]).map(|window| window.at), Ok(AT.add(4)));
            assert_eq!(of(&[pad, ADD, RET], &[4]), Err(Reason::PadOnly));
            assert_eq!(of(&[pad, ADD, RET], &[0, 8]).map(|window| window.at), Ok(AT.add(4)));
            assert_eq!(of(&[pad], &[]), Err(Reason::WindowEnd));
            assert_eq!(of(&[pad, BRK], &[]), Err(Reason::WindowInstruction));
        }
        assert_eq!(of(&[BTI_C, PACIASP, ADD], &[]).map(|window| window.at), Ok(AT.add(8)));
        assert_eq!(of(&[BTI_C, PACIASP, ADD], &[8]), Err(Reason::PadOnly));
    }

    /// A branch to the function's end leaves it.
    #[test]
    fn the_end_of_a_function_is_outside() {
        // 0: b 8; 4: b.eq 8; and behind it, b 4
        let code = bytes(&[0x1400_0002, 0x5400_0020, 0x17ff_ffff]);
        let text = Text { function: Some((AT, AT.add(8))), ..Text::new(AT, &code) };
        let mut found = Vec::new();
        targets(&text, &mut |target| found.push(target));
        assert_eq!(found, []);
        // A pad before or behind what is known.
        let pads = bytes(&[BTI_C, BTI_C, ADD]);
        for (at, function) in [(AT, (AT.add(4), AT.add(12))), (AT.add(4), (AT, AT.add(4)))] {
            let text = Text { function: Some(function), ..Text::new(AT, &pads) };
            let reject = Arm64::window(&text, at, Rules::default(), &[], Side::Above).unwrap_err();
            assert_eq!(reject.reason, Reason::UnknownFunction);
        }
    }

    /// An indirect branch in a guarded page says so to where it goes.
    #[test]
    fn what_cannot_be_relocated_is_not_replaced() {
        // BLR x8
        let code = bytes(&[0xd63f_0100, RET]);
        let text = Text { function: Some((AT, AT.add(8))), ..Text::new(AT, &code) };
        let window = |guarded| {
            let text = Text { guarded, ..text };
            Arm64::window(&text, AT, Rules::default(), &[], Side::Above)
                .map_err(|reject| reject.reason)
        };
        assert!(window(false).unwrap().calls);
        assert_eq!(window(true), Err(Reason::LandingPad));
        // blraa x16, x17; braa x16, x17; and a BL as far back as it goes, which is out of reach from
        // just behind.
        assert!(of(&[0xd73f_0a11, RET], &[]).unwrap().calls);
        assert!(!of(&[0xd71f_0a11, RET], &[]).unwrap().calls);
        assert!(of(&[0x9600_0000, RET], &[]).unwrap().calls);
    }

    #[test]
    fn only_pads_need_the_function() {
        let window = |words: &[u32]| {
            let code = bytes(words);
            let text = Text::new(AT, &code);
            Arm64::window(&text, AT, Rules::default(), &[], Side::Above)
                .map_err(|reject| reject.reason)
        };
        assert_eq!(window(&[ADD, RET]).map(|window| window.at), Ok(AT));
        assert_eq!(window(&[BTI_C, ADD]), Err(Reason::UnknownFunction));
    }

    #[test]
    fn branches_of_the_function_are_found() {
        // 0: cbz x0, 8; 4: b 0; 8: tbz w0, #0, 0x100; 12: ret
        let code = bytes(&[0xb400_0040, 0x17ff_ffff, 0x3600_07c0, RET]);
        let text = Text { function: Some((AT, AT.add(16))), ..Text::new(AT, &code) };
        let mut found = Vec::new();
        targets(&text, &mut |target| found.push(target.distance_from(AT)));
        assert_eq!(found, [8, 0]);
    }
}
