//! How control leaves an instruction.

use super::decode::{self, Indirect, Insn};
use super::simulate::Effect;
use super::syscalls::is_svc;
use crate::{Addr, Flow, Named, Reason, Reject, Step, Text};

const NOP: u32 = 0xd503_201f;
/// The link register.
const LR: u8 = 30;

/// The flow and the length of the instruction at `at`.
pub(super) fn flow(text: &Text<'_>, at: Addr) -> Result<(Flow, usize), Reject> {
    Ok((of(decode::fetch(text, at)?, at)?, 4))
}

/// Instructions one behind the other.
pub(super) fn follow(text: &Text<'_>, from: Addr, each: &mut dyn FnMut(&Step) -> bool) {
    let mut at = from;
    while let Ok(word) = decode::fetch(text, at)
        && let Ok(flow) = of(word, at)
    {
        let named = match decode::decode(word) {
            Insn::Simulated(Effect::Load { offset, .. }) => Some((offset, true)),
            Insn::Simulated(Effect::Address { offset, .. }) => Some((offset, false)),
            _ => None,
        };
        let named =
            named.map(|(offset, accessed)| Named { at: at.offset(offset.into()), accessed });
        if !each(&Step { at, len: 4, flow, named }) {
            return;
        }
        at = at.add(4);
    }
}

fn of(word: u32, at: Addr) -> Result<Flow, Reason> {
    let there = |offset: i32| at.offset(offset.into());
    Ok(match decode::decode(word) {
        Insn::Plain if word == NOP => Flow::Nop,
        Insn::Plain if is_svc(word) => Flow::Call(None),
        Insn::Simulated(effect) => match effect {
            Effect::Branch { offset } => Flow::Jump(there(offset)),
            Effect::BranchIf { offset, .. } => Flow::JumpIf(there(offset)),
            Effect::BranchLink { offset } => Flow::Call(Some(there(offset))),
            Effect::BranchLinkRegister { .. } => Flow::Call(None),
            Effect::Return { register: LR } => Flow::Return,
            Effect::BranchRegister { .. } | Effect::Return { .. } => Flow::JumpIndirect,
            Effect::Address { .. }
            | Effect::Page { .. }
            | Effect::Load { .. }
            | Effect::Prefetch => Flow::Next,
        },
        Insn::Signed(signed) => match signed.branch {
            Indirect::Jump => Flow::JumpIndirect,
            Indirect::Call => Flow::Call(None),
            Indirect::Return => Flow::Return,
        },
        Insn::Refused(Reason::Undecodable) => return Err(Reason::Undecodable),
        // BRK; a debugger or handler may go on behind it.
        Insn::Refused(Reason::Breakpoint) => Flow::Call(None),
        Insn::Refused(Reason::Exception) => Flow::Stop,
        Insn::Refused(Reason::ExceptionReturn) => Flow::JumpIndirect,
        Insn::Refused(Reason::PauthLr) if returns_with_pc(word) => Flow::Return,
        Insn::Plain
        | Insn::LoadExclusive
        | Insn::StoreExclusive
        | Insn::ClearExclusive
        | Insn::WaitForEvent
        | Insn::SignLink
        | Insn::SignLinkWithPc
        | Insn::Mops(_)
        | Insn::Refused(_) => Flow::Next,
    })
}

/// ```text
/// RETAASPPC, RETABSPPC    0101 0101  00ki iiii  iiii iiii  iii1 1111
/// RETAASPPCR, RETABSPPCR  1101 0110  0101 1111  0000 1k11  111m mmmm
/// ```
const fn returns_with_pc(word: u32) -> bool {
    word & 0xffc0_001f == 0x5500_001f || word & 0xffff_fbe0 == 0xd65f_0be0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const AT: Addr = Addr(0xffff_f7fe_8ffc);

    fn to(by: i64) -> Addr {
        AT.offset(by)
    }

    #[test]
    fn what_is_named_is_told_in_passing() {
        // ldr x0, #8; adr x0, #-4; ret; and what is none
        let words = [0x5800_0040_u32, 0x10ff_ffe0, 0xd65f_03c0, 0xffff_ffff];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut steps = Vec::new();
        follow(&Text::new(AT, &bytes), AT, &mut |step| {
            let named = step.named.map(|n| (n.at.distance_from(AT), n.accessed));
            steps.push((step.at.distance_from(AT), named));
            true
        });
        assert_eq!(steps, [(0, Some((8, true))), (4, Some((0, false))), (8, None)]);
    }

    #[test]
    fn flows_are_as_written() {
        let rows = [
            (0xd65f_03c0, "ret", Ok(Flow::Return)),
            (0xd65f_0120, "ret x9", Ok(Flow::JumpIndirect)),
            (0xd65f_0bff, "retaa", Ok(Flow::Return)),
            (0xd65f_0fff, "retab", Ok(Flow::Return)),
            (0x5500_001f, "retaasppc", Ok(Flow::Return)),
            (0x5520_0bff, "retabsppc", Ok(Flow::Return)),
            (0xd65f_0be1, "retaasppcr x1", Ok(Flow::Return)),
            (0xd65f_0fe1, "retabsppcr x1", Ok(Flow::Return)),
            (0x1400_0010, "b #64", Ok(Flow::Jump(to(64)))),
            (0x17ff_ffff, "b #-4", Ok(Flow::Jump(to(-4)))),
            (0x9400_0010, "bl #64", Ok(Flow::Call(Some(to(64))))),
            (0x5400_0040, "b.eq #8", Ok(Flow::JumpIf(to(8)))),
            (0x5400_0050, "bc.eq #8", Ok(Flow::JumpIf(to(8)))),
            (0xb4ff_ffe0, "cbz x0, #-4", Ok(Flow::JumpIf(to(-4)))),
            (0x3600_0040, "tbz w0, #0, #8", Ok(Flow::JumpIf(to(8)))),
            (0xd61f_0220, "br x17", Ok(Flow::JumpIndirect)),
            (0xd71f_0a11, "braa x16, x17", Ok(Flow::JumpIndirect)),
            (0xd61f_0a1f, "braaz x16", Ok(Flow::JumpIndirect)),
            (0xd63f_0100, "blr x8", Ok(Flow::Call(None))),
            (0xd73f_0a11, "blraa x16, x17", Ok(Flow::Call(None))),
            (0xd400_0001, "svc #0", Ok(Flow::Call(None))),
            (0xd420_7d00, "brk #1000", Ok(Flow::Call(None))),
            (0xd440_0000, "hlt #0", Ok(Flow::Stop)),
            (0x0000_0000, "udf #0", Ok(Flow::Stop)),
            (0xd69f_03e0, "eret", Ok(Flow::JumpIndirect)),
            (0xd503_201f, "nop", Ok(Flow::Nop)),
            (0xd503_233f, "paciasp", Ok(Flow::Next)),
            (0xd503_245f, "bti c", Ok(Flow::Next)),
            (0xdac1_a3fe, "paciasppc", Ok(Flow::Next)),
            (0x9100_0000, "add x0, x0, #0", Ok(Flow::Next)),
            (0x5800_0040, "ldr x0, #8", Ok(Flow::Next)),
            (0x885f_7c00, "ldxr w0, [x0]", Ok(Flow::Next)),
            (0xd53b_4220, "mrs x0, DAIF", Ok(Flow::Next)),
            (0xffff_ffff, "-", Err(Reason::Undecodable)),
        ];
        for (word, asm, expected) in rows {
            let bytes = u32::to_le_bytes(word);
            let got = flow(&Text::new(AT, &bytes), AT).map_err(|reject| reject.reason);
            assert_eq!(got, expected.map(|flow| (flow, 4)), "{asm}");
        }
        let text = Text::new(AT, &[0; 3]);
        assert_eq!(flow(&text, AT), Err(Reason::Truncated.into()));
        assert!(flow(&text, AT.add(1)).is_err_and(|reject| reject.reason == Reason::Misaligned));
    }
}
