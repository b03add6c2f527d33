//! How control leaves an instruction.

use super::decode::{self, Indirect, Insn};
use super::simulate::Effect;
use crate::{Addr, Flow, Reason, Reject, Text};

const NOP: u32 = 0xd503_201f;
/// The link register.
const LR: u8 = 30;

/// The flow and the length of the instruction at `at`.
pub(super) fn flow(text: &Text<'_>, at: Addr) -> Result<(Flow, usize), Reject> {
    Ok((of(decode::fetch(text, at)?, at)?, 4))
}

fn of(word: u32, at: Addr) -> Result<Flow, Reason> {
    let there = |offset: i32| at.offset(offset.into());
    Ok(match decode::decode(word) {
        Insn::Plain if word == NOP => Flow::Nop,
        Insn::Plain if is_svc(word) => Flow::Call,
        Insn::Simulated(effect) => match effect {
            Effect::Branch { offset } => Flow::Jump(there(offset)),
            Effect::BranchIf { offset, .. } => Flow::JumpIf(there(offset)),
            Effect::BranchLink { .. } | Effect::BranchLinkRegister { .. } => Flow::Call,
            Effect::Return { register: LR } => Flow::Return,
            Effect::BranchRegister { .. } | Effect::Return { .. } => Flow::JumpIndirect,
            Effect::Address { .. }
            | Effect::Page { .. }
            | Effect::Load { .. }
            | Effect::Prefetch => Flow::Next,
        },
        Insn::Signed(signed) => match signed.branch {
            Indirect::Jump => Flow::JumpIndirect,
            Indirect::Call => Flow::Call,
            Indirect::Return => Flow::Return,
        },
        Insn::Refused(Reason::Undecodable) => return Err(Reason::Undecodable),
        // BRK; a debugger or handler may go on behind it.
        Insn::Refused(Reason::Breakpoint) => Flow::Call,
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
/// SVC  1101 0100  000i iiii  iiii iiii  iii0 0001
/// ```
const fn is_svc(word: u32) -> bool {
    word & 0xffe0_001f == 0xd400_0001
}

/// ```text
/// RETAASPPC, RETABSPPC    0101 0101  00ki iiii  iiii iiii  iii1 1111
/// RETAASPPCR, RETABSPPCR  1101 0110  0101 1111  0000 1k11  111m mmmm
/// ```
const fn returns_with_pc(word: u32) -> bool {
    word & 0xffc0_001f == 0x5500_001f || word & 0xffff_fbe0 == 0xd65f_0be0
}
