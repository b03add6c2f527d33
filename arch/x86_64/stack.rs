//! Whether the stack pointer holds a stack.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use super::decode::{decoder, next};
use super::flow;
use crate::{Flow, Text};

/// Whether nothing in the function leaves anything but a stack in RSP.
///
/// What compilers write keeps the stack where it is: pushes and calls, constants added, room taken,
/// the frame pointer moved there. Whatever else writes RSP must come straight to a near CALL or RET, with
/// no second such write before: those use a stack.
pub(super) fn has_stack(text: &Text<'_>) -> bool {
    let Some((start, end)) = text.function else { return false };
    let len = usize::try_from(end.0.saturating_sub(start.0)).unwrap_or(usize::MAX);
    let Some(bytes) = text.from(start).get(..len) else { return false };
    let Ok(mut decoder) = decoder(bytes, start) else { return false };
    let mut open = false;
    while let Some(rest) = bytes.get(decoder.position()..).filter(|rest| !rest.is_empty()) {
        let (position, at) = (decoder.position(), decoder.ip());
        let Ok(decoded) = next(&mut decoder, rest) else {
            if open {
                return false;
            }
            // One behind a byte that is there.
            let _ = decoder.set_position(position + 1);
            decoder.set_ip(at + 1);
            continue;
        };
        if writes_oddly(&decoded.insn) {
            if open {
                return false;
            }
            open = true;
            continue;
        }
        if !open {
            continue;
        }
        match flow::of(&decoded) {
            Ok(Flow::Next | Flow::Nop) => {}
            Ok(Flow::Return) => open = false,
            Ok(Flow::Call(_)) if decoded.insn.mnemonic() == Mnemonic::Call => open = false,
            _ => return false,
        }
    }
    !open
}

fn is_sp(register: Register) -> bool {
    register.is_gpr() && register.full_register() == Register::RSP
}

/// Whether an instruction writes RSP as none does that takes room on a stack, or gives it back.
fn writes_oddly(insn: &Instruction) -> bool {
    let register = |n: u32| {
        if n < insn.op_count() && insn.op_kind(n) == OpKind::Register {
            insn.op_register(n)
        } else {
            Register::None
        }
    };
    match insn.mnemonic() {
        // These only read it.
        Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Push | Mnemonic::Call | Mnemonic::Jmp => false,
        Mnemonic::Bt | Mnemonic::Nop => false,
        Mnemonic::Xchg | Mnemonic::Xadd | Mnemonic::Mulx => {
            is_sp(register(0)) || is_sp(register(1))
        }
        _ if !is_sp(register(0)) => false,
        _ if register(0) != Register::RSP => true,
        // SUB of a register takes room for an array.
        Mnemonic::Add | Mnemonic::And => insn.op1_kind() == OpKind::Register || is_memory(insn),
        Mnemonic::Sub => is_sp(register(1)) || is_memory(insn),
        Mnemonic::Mov => register(1) != Register::RBP,
        Mnemonic::Lea => {
            insn.memory_index() != Register::None
                || !matches!(insn.memory_base(), Register::RSP | Register::RBP)
        }
        _ => true,
    }
}

fn is_memory(insn: &Instruction) -> bool {
    insn.op1_kind() == OpKind::Memory
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Addr;
    use std::vec::Vec;

    const AT: Addr = Addr(0x5555_0000_1000);

    fn holds(code: &[u8]) -> bool {
        let function = Some((AT, AT.add(code.len() as u64)));
        has_stack(&Text { function, ..Text::new(AT, code) })
    }

    const RET: u8 = 0xc3;
    /// jne .-2
    const LOOP: [u8; 2] = [0x75, 0xfc];

    #[test]
    fn the_usual_forms_keep_a_stack() {
        let rows: &[(&[u8], &str)] = &[
            (&[0x55, 0x5d], "push, pop"),
            (&[0x54], "push rsp"),
            (&[0x48, 0x89, 0xe5], "mov rbp, rsp"),
            (&[0x48, 0x83, 0xec, 0x18], "sub rsp, 0x18"),
            (&[0x48, 0x83, 0xc4, 0x18], "add rsp, 0x18"),
            (&[0x48, 0x83, 0xe4, 0xe0], "and rsp, -32"),
            (&[0x48, 0x29, 0xc4], "sub rsp, rax"),
            (&[0x48, 0x8d, 0x64, 0x24, 8], "lea rsp, [rsp+8]"),
            (&[0x48, 0x8d, 0x65, 0xd8], "lea rsp, [rbp-0x28]"),
            (&[0x48, 0x89, 0xec], "mov rsp, rbp"),
            (&[0xc8, 0, 0, 0, 0xc9], "enter, leave"),
            (&[0x48, 0x39, 0xc4], "cmp rsp, rax"),
            (&[0x48, 0x85, 0xe4], "test rsp, rsp"),
            (&[0x0f, 0x1f, 0xc4], "nop esp"),
            (&[0x48, 0x87, 0xc3], "xchg rbx, rax"),
            (&[0x48, 0x89, 0x24, 0x24], "mov [rsp], rsp"),
        ];
        for (code, asm) in rows {
            assert!(holds(&[*code, &LOOP, &[RET]].concat()), "{asm}");
        }
    }

    #[test]
    fn anything_else_is_no_stack() {
        let rows: &[(&[u8], &str)] = &[
            (&[0x48, 0x89, 0xfc], "mov rsp, rdi"),
            (&[0x89, 0xec], "mov esp, ebp"),
            (&[0x48, 0x8b, 0x64, 0x24, 8], "mov rsp, [rsp+8]"),
            (&[0x48, 0xc7, 0xc4, 1, 0, 0, 0], "mov rsp, 1"),
            (&[0x5c], "pop rsp"),
            (&[0x48, 0x87, 0xfc], "xchg rsp, rdi"),
            (&[0x48, 0x87, 0xe7], "xchg rdi, rsp"),
            (&[0x48, 0x94], "xchg rsp, rax"),
            (&[0x48, 0x0f, 0xc1, 0xe7], "xadd rdi, rsp"),
            (&[0x48, 0x01, 0xfc], "add rsp, rdi"),
            (&[0x48, 0x03, 0x27], "add rsp, [rdi]"),
            (&[0x48, 0x29, 0xe4], "sub rsp, rsp"),
            (&[0x31, 0xe4], "xor esp, esp"),
            (&[0x83, 0xec, 8], "sub esp, 8"),
            (&[0x48, 0xff, 0xc4], "inc rsp"),
            (&[0x48, 0x8d, 0x67, 8], "lea rsp, [rdi+8]"),
            (&[0x48, 0x8d, 0x24, 0x3c], "lea rsp, [rsp+rdi]"),
            (&[0x66, 0x48, 0x0f, 0x7e, 0xc4], "movq rsp, xmm0"),
            (&[0x48, 0x0f, 0x44, 0xe7], "cmove rsp, rdi"),
        ];
        for (code, asm) in rows {
            assert!(!holds(&[*code, &LOOP, &[RET]].concat()), "{asm}");
            // What a CALL or RET uses is a stack.
            assert!(holds(&[*code, &[0x5d, RET]].concat()), "{asm}; pop rbp; ret");
            assert!(holds(&[*code, &[0xff, 0xd0], &LOOP, &[RET]].concat()), "{asm}; call rax");
            let twice: Vec<u8> = [*code, code, &[RET]].concat();
            assert!(!holds(&twice), "{asm}, twice");
            // syscall; ret: who knows what it does.
            assert!(!holds(&[*code, &[0x0f, 0x05, RET]].concat()), "{asm}; syscall");
            assert!(!holds(code), "{asm}, and the end");
        }
    }

    #[test]
    fn a_function_of_which_a_part_is_missing_has_none() {
        let text = Text::new(AT, &[RET, RET]);
        assert!(!has_stack(&text));
        let part = |from: u64, to: u64| Text { function: Some((AT.add(from), AT.add(to))), ..text };
        assert!(has_stack(&part(0, 2)) && !has_stack(&part(0, 3)));
        assert!(!has_stack(&Text { function: Some((Addr(AT.0 - 1), AT.add(2))), ..text }));
        // push es, which there is not, inside: looked over, but not behind such a write.
        assert!(holds(&[0x06, RET]) && !holds(&[0x5c, 0x06, RET]));
    }
}
