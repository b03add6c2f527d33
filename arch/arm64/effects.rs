//! Effects computed by hand, from the manual's words.

use super::tests::{AT, before, simulate};
use super::{Btype, Registers};
use crate::{Addr, Regs};

/// How far `word` goes with x1 and x2 as they are.
fn pc(word: u32, x1: u64, x2: u64) -> u64 {
    let mut machine = before();
    machine.regs.x[1] = x1;
    machine.regs.x[2] = x2;
    simulate(word, machine).regs.pc.wrapping_sub(AT.0)
}

#[test]
fn every_condition_looks_at_its_flags() {
    // Written as the Arm ARM's table of condition codes has them.
    let expected = |condition: u32, nzcv: u32| {
        let [n, z, c, v] = [nzcv & 8 != 0, nzcv & 4 != 0, nzcv & 2 != 0, nzcv & 1 != 0];
        match condition {
            0b0000 => z,
            0b0001 => !z,
            0b0010 => c,
            0b0011 => !c,
            0b0100 => n,
            0b0101 => !n,
            0b0110 => v,
            0b0111 => !v,
            0b1000 => c && !z,
            0b1001 => !c || z,
            0b1010 => n == v,
            0b1011 => n != v,
            0b1100 => !z && n == v,
            0b1101 => z || n != v,
            _ => true,
        }
    };
    for condition in 0..16 {
        for nzcv in 0..16 {
            let mut machine = before();
            machine.regs.set_nzcv(nzcv as u8);
            let pc = simulate(0x5400_0080 | condition, machine).regs.pc;
            let taken = expected(condition, nzcv);
            assert_eq!(pc, AT.0 + if taken { 16 } else { 4 }, "{condition:04b} {nzcv:04b}");
        }
    }
}

#[test]
fn compare_and_branch_looks_at_the_width_it_names() {
    let high = 1 << 32;
    assert_eq!(pc(0x3400_0041, high, 0), 8); // cbz w1
    assert_eq!(pc(0xb400_0041, high, 0), 4); // cbz x1
    assert_eq!(pc(0x3500_0041, high, 0), 4); // cbnz w1
    assert_eq!(pc(0xb500_0041, high, 0), 8); // cbnz x1
    assert_eq!(pc(0xb600_0041, high, 0), 4); // tbz x1, #32
    assert_eq!(pc(0xb700_0041, high, 0), 8); // tbnz x1, #32
    assert_eq!(pc(0x7402_0041, 1, 1 << 31), 8); // cbgt w1, w2: signed
    assert_eq!(pc(0xf402_0041, 1, 1 << 31), 4); // cbgt x1, x2
    assert_eq!(pc(0x7442_0041, 1, 1 << 31), 4); // cbhi w1, w2: unsigned
    assert_eq!(pc(0x7402_8041, 0x101, 0xff), 8); // cbbgt w1, w2: 1 > -1
    assert_eq!(pc(0x7442_8041, 0x101, 0xff), 4); // cbbhi w1, w2: 1 > 255
    assert_eq!(pc(0x7402_c041, 0x1_0001, 0x8000), 8); // cbhgt w1, w2
    assert_eq!(pc(0x74c2_c041, 0x1_0001, 0x2_0001), 8); // cbheq w1, w2
    assert_eq!(pc(0x751f_8041, u64::MAX, 0), 4); // cbgt w1, #63: -1
    assert_eq!(pc(0x753f_8041, u64::MAX, 0), 8); // cblt w1, #63
    assert_eq!(pc(0x755f_8041, u64::MAX, 0), 8); // cbhi w1, #63
    assert_eq!(pc(0x757f_8041, u64::MAX, 0), 4); // cblo w1, #63
}

/// CB<c> w1, w2 and w1, #1: below, the same, above.
#[test]
fn comparisons_end_where_they_say() {
    for (name, by_register, by_number, taken) in [
        ("gt", Some(0), Some(0), [false, false, true]),
        ("ge", Some(1), None, [false, true, true]),
        ("hi", Some(2), Some(2), [false, false, true]),
        ("hs", Some(3), None, [false, true, true]),
        ("lt", None, Some(1), [true, false, false]),
        ("lo", None, Some(3), [true, false, false]),
        ("eq", Some(6), Some(6), [false, true, false]),
        ("ne", Some(7), Some(7), [true, false, true]),
    ] {
        for (left, taken) in (0..).zip(taken) {
            let wanted = if taken { 8 } else { 4 };
            if let Some(opcode) = by_register {
                assert_eq!(pc(0x7402_0041 | opcode << 21, left, 1), wanted, "cb{name} {left}, 1");
            }
            if let Some(opcode) = by_number {
                assert_eq!(pc(0x7500_8041 | opcode << 21, left, 0), wanted, "cb{name} {left}, #1");
            }
        }
    }
}

/// TBZ x1, #5 and TBNZ look at no other bit.
#[test]
fn a_bit_is_one_bit() {
    for (x1, set) in [(0, false), (1 << 5, true), (!(1 << 5), false), (u64::MAX, true)] {
        assert_eq!(pc(0x3628_0041, x1, 0), if set { 4 } else { 8 }, "tbz {x1:x}");
        assert_eq!(pc(0x3728_0041, x1, 0), if set { 8 } else { 4 }, "tbnz {x1:x}");
    }
}

#[test]
fn registers_have_their_places() {
    let mut regs = Registers { sp: 0x7000, ..Registers::default() };
    regs.pstate = u64::MAX;
    for (n, btype) in (0..).zip([Btype::None, Btype::Jump, Btype::Call, Btype::GuardedJump]) {
        regs.set_btype(btype);
        assert_eq!(regs.btype(), n);
        assert_eq!(regs.pstate, !(3 << 10) | u64::from(n) << 10);
    }
    regs.set_nzcv(0b0110);
    assert_eq!((regs.nzcv(), regs.pstate >> 28), (0b0110, 0xf_ffff_fff6));
    // A jump from elsewhere clears BTYPE and nothing else.
    let before = regs.pstate;
    regs.set_pc(Addr(0x1234));
    assert_eq!((regs.pc(), regs.sp()), (Addr(0x1234), Addr(0x7000)));
    assert_eq!(regs.pstate, before & !(3 << 10));
}
