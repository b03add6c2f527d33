//! How control leaves an instruction.

use crate::{Addr, Flow, Named, Reason, Reject, Step, Text};
use iced_x86::{Code, FlowControl, Mnemonic, OpKind};

use super::decode::{Decoded, decode, decoder, next};

/// The flow and the length of the instruction at `at`.
pub(super) fn flow(text: &Text<'_>, at: Addr) -> Result<(Flow, usize), Reject> {
    let decoded = decode(text, at)?;
    Ok((of(&decoded)?, decoded.bytes.len()))
}

/// Instructions one behind the other.
pub(super) fn follow(text: &Text<'_>, from: Addr, each: &mut dyn FnMut(&Step) -> bool) {
    let bytes = text.from(from);
    let Ok(mut decoder) = decoder(bytes, from) else { return };
    while let Some(rest) = bytes.get(decoder.position()..).filter(|rest| !rest.is_empty()) {
        let at = Addr(decoder.ip());
        let Ok(decoded) = next(&mut decoder, rest) else { return };
        let Ok(flow) = of(&decoded) else { return };
        let insn = &decoded.insn;
        let named = insn.is_ip_rel_memory_operand().then(|| Named {
            at: Addr(insn.ip_rel_memory_address()),
            // NOP and LEA have an operand that they do not access.
            accessed: !matches!(insn.mnemonic(), Mnemonic::Lea | Mnemonic::Nop),
        });
        if !each(&Step { at, len: decoded.bytes.len() as u8, flow, named }) {
            return;
        }
    }
}

pub(super) fn of(decoded: &Decoded<'_>) -> Result<Flow, Reason> {
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
        FlowControl::Call if insn.op0_kind() == OpKind::NearBranch64 => {
            if decoded.prefixes().vendor_dependent_branch() {
                return Err(Reason::VendorDependent);
            }
            Flow::Call(Some(Addr(insn.near_branch64())))
        }
        FlowControl::Call | FlowControl::IndirectCall | FlowControl::Interrupt => Flow::Call(None),
        FlowControl::Return => match insn.code() {
            Code::Retnq | Code::Retnq_imm16 if !decoded.prefixes().vendor_dependent_branch() => {
                Flow::Return
            }
            // Far returns and the kernel's; with prefix 66, to where no call came from.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const AT: Addr = Addr(0x5555_0000_1000);

    fn to(by: i64) -> Addr {
        AT.offset(by)
    }

    #[test]
    fn what_is_named_is_told_in_passing() {
        // mov 1(%rip), %eax; ret; lea -9(%rip), %rax; jmp .; and what is none
        let code = [0x8b, 5, 1, 0, 0, 0, 0xc3, 0x48, 0x8d, 5, 0xf7, 255, 255, 255, 0xeb, 0xfe, 6];
        let mut steps = Vec::new();
        follow(&Text::new(AT, &code), AT, &mut |step| {
            let named = step.named.map(|n| (n.at.distance_from(AT), n.accessed));
            steps.push((step.at.distance_from(AT), step.len, named));
            true
        });
        assert_eq!(
            steps,
            [(0, 6, Some((7, true))), (6, 1, None), (7, 7, Some((5, false))), (14, 2, None)]
        );
        let mut count = 0;
        follow(&Text::new(AT, &code), AT.add(6), &mut |_| {
            count += 1;
            count < 2
        });
        assert_eq!(count, 2);
    }

    #[test]
    fn flows_are_as_written() {
        let rows: &[(&[u8], &str, Result<Flow, Reason>)] = &[
            (&[0xc3], "ret", Ok(Flow::Return)),
            (&[0xc2, 0x10, 0], "ret $0x10", Ok(Flow::Return)),
            (&[0xf3, 0xc3], "repz ret", Ok(Flow::Return)),
            (&[0xf2, 0xc3], "bnd ret", Ok(Flow::Return)),
            (&[0x48, 0xc3], "rex.W ret", Ok(Flow::Return)),
            (&[0x66, 0xc3], "retw", Ok(Flow::JumpIndirect)),
            (&[0xcb], "lret", Ok(Flow::JumpIndirect)),
            (&[0x48, 0xcb], "lretq", Ok(Flow::JumpIndirect)),
            (&[0xca, 8, 0], "lret $0x8", Ok(Flow::JumpIndirect)),
            (&[0x48, 0xcf], "iretq", Ok(Flow::JumpIndirect)),
            (&[0x48, 0x0f, 0x07], "sysretq", Ok(Flow::JumpIndirect)),
            (&[0xeb, 0xfe], "jmp .", Ok(Flow::Jump(to(0)))),
            (&[0xe9, 0, 1, 0, 0], "jmp .+0x105", Ok(Flow::Jump(to(0x105)))),
            (&[0xf2, 0xe9, 0, 1, 0, 0], "bnd jmp .+0x106", Ok(Flow::Jump(to(0x106)))),
            (&[0x66, 0xe9, 0, 1, 0, 0], "data16 jmp", Err(Reason::VendorDependent)),
            (&[0x74, 0x80], "je .-0x7e", Ok(Flow::JumpIf(to(-0x7e)))),
            (&[0x3e, 0x74, 0x10], "ds je .+0x13", Ok(Flow::JumpIf(to(0x13)))),
            (&[0x0f, 0x8f, 0, 1, 0, 0], "jg .+0x106", Ok(Flow::JumpIf(to(0x106)))),
            (&[0x66, 0x74, 0x10], "data16 je", Err(Reason::VendorDependent)),
            (&[0xe2, 0x10], "loop .+0x12", Ok(Flow::JumpIf(to(0x12)))),
            (&[0xe0, 0x10], "loopne .+0x12", Ok(Flow::JumpIf(to(0x12)))),
            (&[0xe3, 0x10], "jrcxz .+0x12", Ok(Flow::JumpIf(to(0x12)))),
            (&[0x67, 0xe3, 0x10], "jecxz .+0x13", Ok(Flow::JumpIf(to(0x13)))),
            (&[0xff, 0xe0], "jmp *%rax", Ok(Flow::JumpIndirect)),
            (&[0x3e, 0xff, 0xe0], "notrack jmp *%rax", Ok(Flow::JumpIndirect)),
            (&[0xff, 0x25, 0, 1, 0, 0], "jmp *0x100(%rip)", Ok(Flow::JumpIndirect)),
            (&[0xff, 0x28], "ljmp *(%rax)", Ok(Flow::JumpIndirect)),
            (&[0xe8, 0, 0, 0, 0], "call .+5", Ok(Flow::Call(Some(to(5))))),
            (&[0x66, 0xe8, 0, 0, 0, 0], "data16 call", Err(Reason::VendorDependent)),
            (&[0xff, 0x10], "call *(%rax)", Ok(Flow::Call(None))),
            (&[0xff, 0x18], "lcall *(%rax)", Ok(Flow::Call(None))),
            (&[0x0f, 0x05], "syscall", Ok(Flow::Call(None))),
            (&[0xcc], "int3", Ok(Flow::Call(None))),
            (&[0xcd, 0x80], "int $0x80", Ok(Flow::Call(None))),
            (&[0xf1], "int1", Ok(Flow::Call(None))),
            (&[0x0f, 0x0b], "ud2", Ok(Flow::Stop)),
            (&[0x0f, 0xb9, 0xc0], "ud1 %eax,%eax", Ok(Flow::Stop)),
            (&[0xf4], "hlt", Ok(Flow::Stop)),
            (&[0xc7, 0xf8, 0, 1, 0, 0], "xbegin .+0x106", Ok(Flow::JumpIf(to(0x106)))),
            (&[0x0f, 0x01, 0xd5], "xend", Ok(Flow::Next)),
            (&[0xc6, 0xf8, 1], "xabort $0x1", Ok(Flow::Next)),
            (&[0x90], "nop", Ok(Flow::Nop)),
            (&[0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0], "cs nopw", Ok(Flow::Nop)),
            (&[0xf3, 0x90], "pause", Ok(Flow::Next)),
            (&[0xf3, 0x0f, 0x1e, 0xfa], "endbr64", Ok(Flow::Next)),
            (&[0xfa], "cli", Ok(Flow::Next)),
            (&[0x0f, 0x48, 0xc0], "cmovs %eax,%eax", Ok(Flow::Next)),
            (&[0x06; 16], "(bad)", Err(Reason::Undecodable)),
            (&[0xe9, 0], "cut", Err(Reason::Truncated)),
        ];
        for &(bytes, asm, expected) in rows {
            let got = flow(&Text::new(AT, bytes), AT).map_err(|reject| reject.reason);
            assert_eq!(got, expected.map(|flow| (flow, bytes.len())), "{asm}");
        }
    }
}
