//! Whether flags are read before they are overwritten.

use crate::x86_64::decode::{decoder, next};
use crate::{Addr, Text};
use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register, RflagsBits};

/// OF SF ZF AF CF PF.
const STATUS: u32 = RflagsBits::OF
    | RflagsBits::SF
    | RflagsBits::ZF
    | RflagsBits::AF
    | RflagsBits::CF
    | RflagsBits::PF;

/// How far to look, in instructions of all paths.
const AHEAD: usize = 96;
/// How many paths are remembered at a time.
const PATHS: usize = 16;

/// A place that control may come to, and the flags that are not overwritten by then.
#[derive(Clone, Copy)]
struct Path {
    at: Addr,
    left: u32,
}

/// Whether the code from `at` on may read a status flag that it has not written, on some path. A
/// path is followed along direct branches as far as the text goes; where it calls, returns or leaves
/// otherwise the flags are read, because nothing says that they are not: assembly, clones that a
/// compiler makes and local functions pass them. A flag that an instruction leaves undefined it does
/// not overwrite: processors keep some.
pub(in crate::x86_64) fn live(text: &Text<'_>, at: Addr) -> bool {
    let Ok(mut decoder) = decoder(text.bytes, text.base) else { return true };
    let mut seen = heapless::Vec::<Path, PATHS>::new();
    let mut open = heapless::Vec::<Path, PATHS>::new();
    let mut steps = AHEAD;
    let mut next_path = Some(Path { at, left: STATUS });
    while let Some(path) = next_path.take().or_else(|| open.pop()) {
        if seen.iter().any(|was| was.at == path.at && path.left & !was.left == 0) {
            continue;
        }
        let position = path.at.0.checked_sub(text.base.0).and_then(|by| usize::try_from(by).ok());
        let inside = position.is_some_and(|position| decoder.set_position(position).is_ok());
        if !inside || seen.push(path).is_err() {
            return true;
        }
        decoder.set_ip(path.at.0);
        let mut left = path.left;
        loop {
            let rest = text.bytes.get(decoder.position()..).unwrap_or(&[]);
            if steps == 0 || rest.is_empty() {
                return true;
            }
            steps -= 1;
            let Ok(decoded) = next(&mut decoder, rest) else { return true };
            let insn = &decoded.insn;
            if insn.rflags_read() & left != 0 {
                return true;
            }
            left &= !overwritten(insn);
            if left == 0 {
                break;
            }
            let near = insn.op0_kind() == OpKind::NearBranch64
                && !decoded.prefixes().vendor_dependent_branch();
            let target = Path { at: Addr(insn.near_branch64()), left };
            match insn.flow_control() {
                FlowControl::Next => {}
                FlowControl::UnconditionalBranch if near => {
                    next_path = Some(target);
                    break;
                }
                FlowControl::ConditionalBranch if near => {
                    if open.push(target).is_err() {
                        return true;
                    }
                }
                _ => return true,
            }
        }
    }
    false
}

/// The status flags that an instruction gives a value whatever they were.
fn overwritten(insn: &Instruction) -> u32 {
    // What writes depends on a count in a register, which may be 0: shifts by cl and repeated string
    // instructions.
    let last = insn.op_count().checked_sub(1).filter(|&last| last > 0);
    let shifts = last.is_some_and(|last| insn.op_register(last) == Register::CL);
    if shifts || insn.has_rep_prefix() || insn.has_repne_prefix() {
        return 0;
    }
    let written = insn.rflags_written() | insn.rflags_cleared() | insn.rflags_set();
    match insn.mnemonic() {
        // Undefined by the manuals, zero on every processor: the differential judge watches it.
        Mnemonic::And | Mnemonic::Or | Mnemonic::Xor | Mnemonic::Test => written | RflagsBits::AF,
        _ => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Addr = Addr(0x5555_0000_1000);

    fn reads(code: &[u8]) -> bool {
        live(&Text::new(AT, code), AT)
    }

    #[test]
    fn flags_live_until_they_are_overwritten() {
        // add eax, eax writes all; inc leaves CF; shl by cl may leave all.
        assert!(!reads(&[0x01, 0xc0]));
        assert!(reads(&[0xff, 0xc0, 0xc3]));
        assert!(reads(&[0xd3, 0xe0, 0xc3]) && !reads(&[0xd3, 0xe0, 0x01, 0xc0]));
        assert!(reads(&[0xd3, 0xe0, 0x73, 0, 0x01, 0xc0]), "jae reads what shl may leave");
        // jo, jb, je, js, jp: each flag for itself; then add eax, eax.
        for code in [0x70, 0x72, 0x74, 0x78, 0x7a] {
            assert!(reads(&[code, 0, 0x01, 0xc0]), "{code:02x}");
        }
        // mov, then cmp; adc reads CF.
        assert!(!reads(&[0x89, 0xf8, 0x39, 0xc8]));
        assert!(reads(&[0x11, 0xc0, 0x39, 0xc8]));
        // xor, test, and, or make AF zero.
        for code in [[0x31, 0xc9], [0x85, 0xff], [0x21, 0xc9], [0x09, 0xc9]] {
            assert!(!reads(&code), "{code:02x?}");
        }
        // imul leaves SF, ZF, AF and PF undefined: a processor may keep them.
        assert!(reads(&[0x0f, 0xaf, 0xc1, 0xc3]));
        // neg cl is no shift; clc and stc write what inc leaves.
        assert!(!reads(&[0xf6, 0xd9]));
        assert!(!reads(&[0xff, 0xc0, 0xf8]) && !reads(&[0xff, 0xc0, 0xf9]));
        // repe cmpsb of nothing; pushf
        assert!(reads(&[0xf3, 0xa6, 0xc3]) && reads(&[0x9c, 0x01, 0xc0]));
    }

    /// Nothing is known of the code that is called, that has called, or that comes next.
    #[test]
    fn flags_live_where_control_leaves() {
        const ADD: [u8; 2] = [0x01, 0xc0];
        let rows: &[(&[u8], &str)] = &[
            (&[], "the end"),
            (&[0x90], "nop, and the end"),
            (&[0xc3], "ret"),
            (&[0xc2, 8, 0], "ret 8"),
            (&[0xcb], "far ret"),
            (&[0xe8, 0, 0, 0, 0], "call"),
            (&[0xff, 0xd0], "call rax"),
            (&[0xff, 0xe0], "jmp rax"),
            (&[0xff, 0x28], "far jmp"),
            (&[0xe9, 0, 1, 0, 0], "a tail call"),
            (&[0xe9, 0, 0xff, 0xff, 0xff], "one in front of what is known"),
            (&[0x66, 0xe9, 0, 0, 0, 0], "a jump that goes to two places"),
            (&[0x0f, 0x05], "syscall"),
            (&[0xcc], "int3"),
            (&[0x0f, 0x0b], "ud2"),
            (&[0xc7, 0xf8, 0, 0, 0, 0], "xbegin"),
            (&[0x06], "what is no instruction"),
        ];
        for (code, asm) in rows {
            let ends = code.is_empty() || code == &[0x90];
            let code = [*code, if ends { &[][..] } else { &ADD }].concat();
            assert!(reads(&code), "{asm}");
        }
    }

    /// All paths count, as far as direct branches lead.
    #[test]
    fn flags_are_followed_along_branches() {
        // 0: jrcxz 4; 2: add eax, eax; 4: add ecx, ecx or cmc
        assert!(!reads(&[0xe3, 2, 0x01, 0xc0, 0x01, 0xc9]));
        assert!(reads(&[0xe3, 2, 0x01, 0xc0, 0xf5]));
        assert!(reads(&[0xe3, 2, 0xf5, 0x90, 0x01, 0xc9]));
        // 0: jmp 3; 2: cmc; 3: cmp
        assert!(!reads(&[0xeb, 1, 0xf5, 0x39, 0xc8]));
        // loop .; then add, or ret
        assert!(!reads(&[0xe2, 0xfe, 0x01, 0xc0]) && reads(&[0xe2, 0xfe, 0xc3]));
        // jmp .: nothing comes after it.
        assert!(!reads(&[0xeb, 0xfe]));
        // The same place with fewer flags left first: inc; then both ways to 4, one past clc.
        // 0: inc eax; 2: jrcxz 5; 4: clc; 5: jc 7; 7: add
        assert!(reads(&[0xff, 0xc0, 0xe3, 1, 0xf8, 0x72, 0, 0x01, 0xc0]));
        // More paths than are followed: jrcxz to the end each.
        let mut code = [0xe3, 0].repeat(40);
        code.extend([0x01, 0xc0]);
        assert!(!reads(&code[60..]) && reads(&code));
        // More instructions than are looked at.
        let mut code = std::vec![0x90; AHEAD];
        code.extend([0x01, 0xc0]);
        assert!(!reads(&code[1..]) && reads(&code));
    }
}
