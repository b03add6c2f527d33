//! Exits of small functions by hand, on both architectures.

use super::{Around, Exits, exits};
use std::ops::Range;
use xol_arch::Arch;

const AT: u64 = 0x5555_0000_1000;

/// Code at [`AT`], split into functions and parts.
struct Fake {
    code: Vec<u8>,
    /// Other pieces: offsets, and whether a jump to its beginning goes on in the function.
    others: Vec<(Range<u64>, bool)>,
}

impl Around for Fake {
    fn piece(&self, at: u64, _: bool) -> Option<Range<u64>> {
        let (range, part) = self.others.iter().find(|(r, _)| r.contains(&(at - AT)))?;
        (*part || at - AT != range.start).then_some(AT + range.start..AT + range.end)
    }

    fn read(&mut self, range: &Range<u64>) -> Option<Vec<u8>> {
        let at = |at: u64| (at - AT) as usize;
        self.code.get(at(range.start)..at(range.end)).map(<[u8]>::to_vec)
    }
}

/// RETs and leaving jumps of the function that is the first `own` bytes of `code`; the others
/// end where the code does.
fn find<A: Arch>(code: &[u8], own: u64, part: bool) -> Option<(Vec<u64>, Vec<u64>)> {
    let others = vec![(own..code.len() as u64, part)];
    let mut fake = Fake { code: code.to_vec(), others };
    let Exits { returns, leaves, inside } = exits::<A>(AT, AT..AT + own, &mut fake)?;
    assert!(!inside.has(xol_arch::Addr(AT)));
    let offsets = |all: Vec<u64>| all.into_iter().map(|at| at - AT).collect();
    Some((offsets(returns), offsets(leaves)))
}

#[cfg(feature = "x86_64")]
mod x86_64 {
    use super::*;
    use xol_arch::x86_64::X86_64;

    fn x86(code: &[u8], own: u64, part: bool) -> Option<(Vec<u64>, Vec<u64>)> {
        find::<X86_64>(code, own, part)
    }

    #[test]
    fn every_ret_that_is_come_to() {
        // 0: test %edi,%edi; 2: je 5; 4: ret; 5: nop; 6: ret
        let code = [0x85, 0xff, 0x74, 1, 0xc3, 0x90, 0xc3];
        assert_eq!(x86(&code, 7, false), Some((vec![4, 6], vec![])));
    }

    #[test]
    fn data_that_nothing_leads_to_is_not_code() {
        // 0: ret; 1: data with what looks like a ret in it
        assert_eq!(x86(&[0xc3, 0x06, 0xc3, 0xff], 4, false), Some((vec![0], vec![])));
    }

    #[test]
    fn an_indirect_jump_may_lead_anywhere_inside() {
        // 0: jmp *%rax; 2: ret; 3: xor %eax,%eax; 5: ret; 6: nop
        let code = [0xff, 0xe0, 0xc3, 0x31, 0xc0, 0xc3, 0x90];
        assert_eq!(x86(&code, 7, false), Some((vec![2, 5], vec![0])));
        // The same with something that does not decode.
        assert_eq!(x86(&[0xff, 0xe0, 0xc3, 0x06, 0xc3], 5, false), None);
    }

    #[test]
    fn a_tail_call_leaves() {
        // 0: jmp 3; 2: ret (nothing comes to it); 3: another function
        assert_eq!(x86(&[0xeb, 1, 0xc3, 0xc3], 3, false), Some((vec![], vec![0])));
        // 0: je 3; 2: ret; 3: another function
        assert_eq!(x86(&[0x74, 1, 0xc3, 0xc3], 3, false), Some((vec![2], vec![0])));
    }

    #[test]
    fn a_part_elsewhere_and_a_shared_end_are_inside() {
        // 0: jne 3; 2: ret; 3: call .; 8: jmp 2
        let code = [0x75, 1, 0xc3, 0xe8, 0, 0, 0, 0, 0xeb, 0xf8];
        assert_eq!(x86(&code, 3, true), Some((vec![2], vec![])));
        // 0: jmp 4; 2: another function: nop; nop; 4: ret
        assert_eq!(x86(&[0xeb, 2, 0x90, 0x90, 0xc3], 2, false), Some((vec![4], vec![])));
    }

    #[test]
    fn its_own_entry_begins_another_call() {
        // 0: dec %edi; 2: jne 0; 4: ret
        assert_eq!(x86(&[0xff, 0xcf, 0x75, 0xfc, 0xc3], 5, false), Some((vec![4], vec![2])));
    }

    #[test]
    fn what_falls_out_is_not_proven() {
        // 0: nop; 1: inc %eax; 3: the next function
        assert_eq!(x86(&[0x90, 0xff, 0xc0, 0xc3], 3, false), None);
        // 0: je 2; 2: the next function
        assert_eq!(x86(&[0x74, 0, 0xc3], 2, false), None);
        // A call that does not return may be the last.
        assert_eq!(x86(&[0xe8, 0, 0, 0, 0, 0x90, 0xc3], 6, false), Some((vec![], vec![])));
        // So may an exception.
        assert_eq!(x86(&[0x0f, 0x0b, 0xc3], 2, false), Some((vec![], vec![])));
    }

    #[test]
    fn a_branch_into_an_instruction_is_followed_too() {
        // 0: je 3; 2: lock decl (%rax), of which 3 is decl (%rax); 5: ret
        let code = [0x74, 1, 0xf0, 0xff, 0x08, 0xc3];
        assert_eq!(x86(&code, 6, false), Some((vec![5], vec![])));
        // 0: je 3; 2: test $0xc3,%al, of which 3 is ret; 4: jmp 4
        let code = [0x74, 1, 0xa8, 0xc3, 0xeb, 0xfe];
        assert_eq!(x86(&code, 6, false), Some((vec![3], vec![])));
    }

    #[test]
    fn a_part_that_it_calls_may_return_for_it() {
        // 0: call 6; 5: ret; 6: pop %rax; 7: ret
        let code = [0xe8, 1, 0, 0, 0, 0xc3, 0x58, 0xc3];
        assert_eq!(x86(&code, 8, false), Some((vec![5, 7], vec![])));
    }

    #[test]
    fn too_much_code_is_not_walked() {
        let code = vec![0x90; (256 << 10) + 1];
        assert_eq!(x86(&code, code.len() as u64, false), None);
    }
}

#[cfg(feature = "arm64")]
mod arm64 {
    use super::*;
    use xol_arch::arm64::Arm64;

    fn arm(words: &[u32], own: u64, part: bool) -> Option<(Vec<u64>, Vec<u64>)> {
        let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        find::<Arm64>(&code, 4 * own, part)
    }

    #[test]
    fn every_way_out() {
        // 0: cbz x0, 12; 4: ret; 8: data; 12: b 16; 16: another function
        let code = [0xb400_0060, 0xd65f_03c0, 0xffff_ffff, 0x1400_0001, 0xd65f_03c0];
        assert_eq!(arm(&code, 4, false), Some((vec![4], vec![12])));
        // Another part of it.
        assert_eq!(arm(&code, 4, true), Some((vec![4, 16], vec![])));
        // 0: br x1; 4: ret; 8: retaa; 12: ret x9
        let code = [0xd61f_0020, 0xd65f_03c0, 0xd65f_0bff, 0xd65f_0120];
        assert_eq!(arm(&code, 4, false), Some((vec![4, 8], vec![0, 12])));
        // With data inside that does not decode.
        assert_eq!(arm(&[0xd61f_0020, 0xffff_ffff, 0xd65f_03c0], 3, false), None);
        // 0: nop; 4: the next function
        assert_eq!(arm(&[0xd503_201f, 0xd65f_03c0], 1, false), None);
        // 0: bl .; 4: the next function
        assert_eq!(arm(&[0x9400_0000, 0xd65f_03c0], 1, false), Some((vec![], vec![])));
    }
}
