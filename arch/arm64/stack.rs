//! Whether the stack pointer holds a stack.

use super::decode::{field, register};
use super::flow;
use crate::{Addr, Flow, Text};

/// SP, where a register can be it.
const SP: u8 = 31;
/// The frame pointer.
const FP: u8 = 29;

/// Whether nothing in the function leaves anything but a stack in SP.
///
/// What compilers write keeps the stack where it is: constants added to it, room taken, the frame pointer
/// moved there. Whatever else writes SP must come straight to a call or a return, with no second such
/// write before: by the ABI those have a stack.
pub(super) fn has_stack(text: &Text<'_>) -> bool {
    let Some((start, end)) = text.function else { return false };
    let len = usize::try_from(end.0.saturating_sub(start.0)).unwrap_or(usize::MAX);
    let Some(bytes) = text.from(start).get(..len) else { return false };
    let (words, _) = bytes.as_chunks();
    let mut open = false;
    for (&word, at) in words.iter().zip((start.0..).step_by(4)) {
        if writes_oddly(u32::from_le_bytes(word)) {
            if open {
                return false;
            }
            open = true;
            continue;
        }
        if !open {
            continue;
        }
        match flow::flow(text, Addr(at)) {
            Ok((Flow::Next | Flow::Nop, _)) => {}
            Ok((Flow::Return, _)) => open = false,
            Ok((Flow::Call(_), _)) if word[3] != 0xd4 => open = false,
            _ => return false,
        }
    }
    !open
}

/// Whether a word writes SP as none does that takes room on a stack, or gives it back. Loads and
/// stores that write their base back are of those that do.
/// ```text
/// ADD, SUB (immediate)      sk01 0001  0hii iiii  iiii iinn  nnnd dddd    k: SUB
/// ADDG, SUBG                1k01 0001  10ii iiii  00ii iinn  nnnd dddd
/// AND, ORR, EOR             soo1 0010  0Nii iiii  iiii iinn  nnnd dddd    oo = 11: ANDS, to XZR
/// ADD, SUB (extended)       sk00 1011  001m mmmm  eeei iinn  nnnd dddd
/// ADDPT, SUBPT              1k01 1010  000m mmmm  001i iinn  nnnd dddd
/// IRG                       1001 1010  110m mmmm  0001 00nn  nnnd dddd
/// ADDVL, ADDPL, ADDSVL …    0000 0100  0p1n nnnn  0101 siii  iiid dddd
/// ```
fn writes_oddly(word: u32) -> bool {
    if register(word, 0) != SP {
        return false;
    }
    let wide = word >> 31 == 1;
    let from = register(word, 5);
    if word & 0x3f80_0000 == 0x1100_0000 {
        return !wide || !matches!(from, SP | FP);
    }
    if word & 0x3fe0_0000 == 0x0b20_0000 {
        let subtracts = field(word, 30, 1) == 1;
        return !wide || !subtracts || from != SP;
    }
    if word & 0xffa0_f000 == 0x0420_5000 {
        return register(word, 16) != SP;
    }
    let logical = word & 0x1f80_0000 == 0x1200_0000 && field(word, 29, 2) != 3;
    logical
        || word & 0xbfc0_c000 == 0x9180_0000
        || word & 0xbfe0_e000 == 0x9a00_2000
        || word & 0xffe0_fc00 == 0x9ac0_1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const AT: Addr = Addr(0x5555_0000_1000);

    fn holds(words: &[u32]) -> bool {
        let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let function = Some((AT, AT.add(code.len() as u64)));
        has_stack(&Text { function, ..Text::new(AT, &code) })
    }

    const RET: u32 = 0xd65f_03c0;
    /// CBNZ x0, .
    const LOOP: u32 = 0xb500_0000;
    /// BLR x1
    const BLR: u32 = 0xd63f_0020;
    /// SVC #0
    const SVC: u32 = 0xd400_0001;

    #[test]
    fn the_usual_forms_keep_a_stack() {
        let rows = [
            (0xa9bf_7bfd, "stp x29, x30, [sp, #-16]!"),
            (0xa8c1_7bfd, "ldp x29, x30, [sp], #16"),
            (0x9100_03fd, "mov x29, sp"),
            (0xd100_83ff, "sub sp, sp, #32"),
            (0x9100_83ff, "add sp, sp, #32"),
            (0x9140_07ff, "add sp, sp, #1, lsl #12"),
            (0x9100_03bf, "mov sp, x29"),
            (0xd100_43bf, "sub sp, x29, #16"),
            (0xcb20_63ff, "sub sp, sp, x0"),
            (0x043f_57ff, "addvl sp, sp, #-1"),
            (0xeb20_63ff, "cmp sp, x0"),
            (0xf100_43ff, "cmp sp, #16"),
            (0xf240_0c1f, "tst x0, #15"),
            (0xaa01_03ff, "orr xzr, xzr, x1"),
        ];
        for (word, asm) in rows {
            assert!(holds(&[word, LOOP, RET]), "{asm}");
        }
    }

    #[test]
    fn anything_else_is_no_stack() {
        let rows = [
            (0x9100_001f, "mov sp, x0"),
            (0x1100_03ff, "add wsp, wsp, #0"),
            (0x9100_411f, "add sp, x8, #16"),
            (0xd100_411f, "sub sp, x8, #16"),
            (0x927c_ec1f, "and sp, x0, #-16"),
            (0xb240_03ff, "mov sp, #1"),
            (0xd240_001f, "eor sp, x0, #1"),
            (0x8b20_63ff, "add sp, sp, x0"),
            (0xcb21_601f, "sub sp, x0, x1"),
            (0x4b20_43ff, "sub wsp, wsp, w0"),
            (0x9180_03ff, "addg sp, sp, #0, #0"),
            (0x9adf_13ff, "irg sp, sp"),
            (0x0420_503f, "addvl sp, x0, #1"),
        ];
        for (word, asm) in rows {
            assert!(!holds(&[word, LOOP, RET]), "{asm}");
            // What a call or a return has is a stack.
            assert!(holds(&[word, 0xd503_201f, RET]), "{asm}; nop; ret");
            assert!(holds(&[word, BLR, LOOP, RET]), "{asm}; blr x1");
            assert!(!holds(&[word, word, RET]), "{asm}, twice");
            assert!(!holds(&[word, SVC, RET]), "{asm}; svc");
            assert!(!holds(&[word]), "{asm}, and the end");
        }
    }

    #[test]
    fn a_function_of_which_a_part_is_missing_has_none() {
        let code: Vec<u8> = [RET, RET].iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
        let text = Text::new(AT, &code);
        assert!(!has_stack(&text));
        let part = |from: u64, to: u64| Text { function: Some((AT.add(from), AT.add(to))), ..text };
        assert!(has_stack(&part(0, 8)) && !has_stack(&part(0, 12)));
        assert!(!has_stack(&Text { function: Some((Addr(AT.0 - 4), AT.add(8))), ..text }));
    }
}
