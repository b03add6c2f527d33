//! How control leaves an instruction.

use crate::{Addr, Flow, Reason, Reject, Text};
use iced_x86::{Code, FlowControl, Mnemonic, OpKind};

use super::decode::{Decoded, decode};

/// The flow and the length of the instruction at `at`.
pub(super) fn flow(text: &Text<'_>, at: Addr) -> Result<(Flow, usize), Reject> {
    let decoded = decode(text, at)?;
    Ok((of(&decoded)?, decoded.bytes.len()))
}

fn of(decoded: &Decoded<'_>) -> Result<Flow, Reason> {
    let insn = &decoded.insn;
    Ok(match insn.flow_control() {
        FlowControl::Next => match insn.mnemonic() {
            Mnemonic::Nop => Flow::Nop,
            // Privileged: it faults for good.
            Mnemonic::Hlt => Flow::Stop,
            _ => Flow::Next,
        },
        FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch
            if insn.op0_kind() != OpKind::NearBranch64 =>
        {
            Flow::JumpIndirect
        }
        // Intel and AMD go to different places.
        FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch
            if decoded.prefixes().vendor_dependent_branch() =>
        {
            return Err(Reason::VendorDependent);
        }
        FlowControl::UnconditionalBranch => Flow::Jump(Addr(insn.near_branch64())),
        FlowControl::ConditionalBranch => Flow::JumpIf(Addr(insn.near_branch64())),
        FlowControl::IndirectBranch => Flow::JumpIndirect,
        FlowControl::Call | FlowControl::IndirectCall | FlowControl::Interrupt => Flow::Call,
        FlowControl::Return => match insn.code() {
            Code::Retnq | Code::Retnq_imm16 | Code::Retnw | Code::Retnw_imm16 => Flow::Return,
            // Far returns and the kernel's.
            _ => Flow::JumpIndirect,
        },
        // A transaction that aborts goes on at XBEGIN's target.
        FlowControl::XbeginXabortXend => match insn.mnemonic() {
            Mnemonic::Xbegin => Flow::JumpIf(Addr(insn.near_branch_target())),
            _ => Flow::Next,
        },
        FlowControl::Exception => Flow::Stop,
    })
}
