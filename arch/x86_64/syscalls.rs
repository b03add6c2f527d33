//! System calls whose number is a constant: `mov $9, %eax … syscall`.
//!
//! What is looked at is the straight line before the call. A jump into the middle of it with
//! another number in rax is not seen: the consumer that watches a call looks at rax when it is hit.

use crate::{Addr, Text};
use iced_x86::{
    Decoder, DecoderError, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory,
    Mnemonic, OpAccess, OpKind, Register,
};
use memchr::memmem;

/// `0F 05`.
const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// INT 80, `CD 80`: calls by the numbers of 32-bit programs.
const INT_80: [u8; 2] = [0xcd, 0x80];
/// How many instructions may lie between the load of the number and the call.
const BETWEEN: usize = 12;
/// How far back the load is looked for, in bytes.
const BACK: usize = 64;

/// Whether the code begins with an instruction that makes a system call.
pub(super) fn is_syscall(code: &[u8]) -> bool {
    code.starts_with(&SYSCALL) || code.starts_with(&INT_80)
}

/// Calls `found` for each SYSCALL with a constant number.
pub(super) fn syscalls(text: &Text<'_>, found: &mut dyn FnMut(Addr, u64)) {
    let mut info = InstructionInfoFactory::new();
    for at in memmem::find_iter(text.bytes, &SYSCALL) {
        if let Some(number) = number(text.bytes, at, &mut info) {
            found(text.base.add(at as u64), number);
        }
    }
}

/// The number loaded for the SYSCALL at `at`, nearest load first.
///
/// Where instructions begin is not known. A byte that looks like a load is one only if decoding
/// from it comes out exactly at `at` along a straight line that leaves rax alone.
fn number(bytes: &[u8], at: usize, info: &mut InstructionInfoFactory) -> Option<u64> {
    (at.saturating_sub(BACK)..at).rev().find_map(|from| {
        let window = bytes.get(from..at + SYSCALL.len())?;
        match window {
            // B8 <imm32>; 31 C0 and 33 C0 are xor %eax, %eax.
            [0xb8, ..] | [0x31 | 0x33, 0xc0, ..] => straight_line(window, info),
            _ => None,
        }
    })
}

/// What the first instruction of `window` loads into eax, if the last one is the SYSCALL.
fn straight_line(window: &[u8], info: &mut InstructionInfoFactory) -> Option<u64> {
    let mut decoder = Decoder::try_with_ip(64, window, 0, DecoderOptions::NONE).ok()?;
    let mut insn = Instruction::default();
    decoder.decode_out(&mut insn);
    let number = match insn.mnemonic() {
        Mnemonic::Mov if insn.op1_kind() == OpKind::Immediate32 => u64::from(insn.immediate32()),
        Mnemonic::Xor => 0,
        _ => return None,
    };
    for _ in 0..=BETWEEN {
        decoder.decode_out(&mut insn);
        if decoder.last_error() != DecoderError::None {
            return None;
        }
        if insn.mnemonic() == Mnemonic::Syscall {
            return (decoder.position() == window.len()).then_some(number);
        }
        if insn.flow_control() != FlowControl::Next || writes_rax(&insn, info) {
            return None;
        }
    }
    None
}

fn writes_rax(insn: &Instruction, info: &mut InstructionInfoFactory) -> bool {
    info.info(insn).used_registers().iter().any(|used| {
        used.register().full_register() == Register::RAX
            && !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess)
    })
}
