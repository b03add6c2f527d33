//! Effects computed by hand, from the manual's words.

use super::Registers;
use super::tests::{AT, Fake, simulate};
use crate::{Addr, Fault, Memory};
use std::vec::Vec;

const CF: u64 = 0x1;
const PF: u64 = 0x4;
const ZF: u64 = 0x40;
const SF: u64 = 0x80;
const OF: u64 = 0x800;

/// Intel SDM 2, Jcc: the conditions in the order of their opcodes.
#[test]
fn conditions() {
    for bits in 0..32 {
        let flag = |n: u32, mask: u64| if bits >> n & 1 == 1 { mask } else { 0 };
        let flags = flag(0, CF) | flag(1, PF) | flag(2, ZF) | flag(3, SF) | flag(4, OF);
        let [cf, pf, zf, sf, of] = [CF, PF, ZF, SF, OF].map(|mask| flags & mask != 0);
        let taken = [
            of,
            !of,
            cf,
            !cf,
            zf,
            !zf,
            cf || zf,
            !cf && !zf,
            sf,
            !sf,
            pf,
            !pf,
            sf != of,
            sf == of,
            zf || sf != of,
            !zf && sf == of,
        ];
        for (opcode, taken) in (0x70..).zip(taken) {
            let mut machine = Fake::default();
            machine.regs.rflags = flags;
            simulate(&[opcode, 0x10], &mut machine).unwrap();
            let rip = if taken { AT.0 + 0x12 } else { AT.0 + 2 };
            assert_eq!(machine.regs, Registers { rip, rflags: flags, ..Registers::default() });
        }
    }
}

/// rcx, ZF, then what is left in rcx and whether each of LOOPNE, LOOPE, LOOP is taken; the same
/// with prefix 67.
#[test]
fn loops() {
    const HIGH: u64 = 0xffff_ffff_0000_0000;
    let rows = [
        (2, false, (1, [true, false, true]), (1, [true, false, true])),
        (2, true, (1, [false, true, true]), (1, [false, true, true])),
        (1, false, (0, [false; 3]), (0, [false; 3])),
        (1, true, (0, [false; 3]), (0, [false; 3])),
        (0, false, (u64::MAX, [true, false, true]), (0xffff_ffff, [true, false, true])),
        (HIGH + 1, false, (HIGH, [true, false, true]), (0, [false; 3])),
        (HIGH, true, (HIGH - 1, [false, true, true]), (0xffff_ffff, [false, true, true])),
    ];
    for (rcx, zf, wide, narrow) in rows {
        for i in 0..3 {
            for (prefix, (left, taken)) in [(&[][..], wide), (&[0x67][..], narrow)] {
                let bytes: Vec<u8> = [prefix, &[0xe0 + i as u8, 0x10]].concat();
                let mut machine = Fake::default();
                let rflags = if zf { ZF } else { SF | CF };
                (machine.regs.rcx, machine.regs.rflags) = (rcx, rflags);
                simulate(&bytes, &mut machine).unwrap();
                let behind = AT.0 + bytes.len() as u64;
                let rip = if taken[i] { behind + 0x10 } else { behind };
                let wanted = Registers { rcx: left, rflags, rip, ..Registers::default() };
                assert_eq!(machine.regs, wanted, "{bytes:02x?} {rcx:x}");
            }
        }
    }
}

#[test]
fn jumps_on_a_count_of_zero() {
    for (bytes, rcx, taken) in [
        (&[0xe3, 0x10][..], 0, true),
        (&[0xe3, 0x10], 1, false),
        (&[0xe3, 0x10], 1 << 32, false),
        (&[0x67, 0xe3, 0x10], 1 << 32, true),
        (&[0x67, 0xe3, 0x10], 1, false),
    ] {
        let mut machine = Fake::default();
        machine.regs.rcx = rcx;
        simulate(bytes, &mut machine).unwrap();
        let behind = AT.0 + bytes.len() as u64;
        let rip = if taken { behind + 0x10 } else { behind };
        assert_eq!(machine.regs, Registers { rcx, rip, ..Registers::default() }, "{bytes:02x?}");
    }
}

const STACK: u64 = 0x7ffc_0000_1000;

/// A machine with 32 bytes of stack on either side of rsp, and `[at] = value`.
fn machine(at: u64, value: u64) -> Fake {
    let regs = Registers { rsp: STACK, ..Registers::default() };
    let mut machine = Fake { regs, ..Fake::default() };
    machine.memory.extend((STACK - 32..STACK + 32).map(|at| (at, 0)));
    machine.memory.extend((at..at + 8).map(|at| (at, 0)));
    machine.write(Addr(at), &value.to_le_bytes()).unwrap();
    machine
}

fn qword(machine: &mut Fake, at: u64) -> u64 {
    let mut bytes = [0; 8];
    machine.read(Addr(at), &mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}

#[test]
fn returns_release_arguments() {
    for (bytes, release) in
        [(&[0xc3][..], 0), (&[0xc2, 0x10, 0x00], 16), (&[0xc2, 0, 0x80], 0x8000)]
    {
        let mut machine = machine(STACK, 0x1234_5678_9abc);
        simulate(bytes, &mut machine).unwrap();
        assert_eq!((machine.regs.rip, machine.regs.rsp), (0x1234_5678_9abc, STACK + 8 + release));
    }
}

/// Every addend of an address, on CALL and JMP: bytes behind FF with reg 0, and where the operand
/// is with rax = 0x1000, r9 = 0x20, fs = 0x10_0000, gs = 0x20_0000.
#[test]
fn operands_in_memory() {
    let site = AT.0;
    let rows: [(&[u8], &[u8], u64); 11] = [
        (&[], &[0x00], 0x1000),
        (&[], &[0x40, 0xf8], 0xff8),
        (&[], &[0x80, 0, 0, 0, 0x40], 0x4000_1000),
        (&[0x42], &[0x44, 0xc8, 0x08], 0x1000 + 0x20 * 8 + 8),
        (&[0x42], &[0x44, 0x48, 0x08], 0x1000 + 0x20 * 2 + 8),
        (&[0x42], &[0x44, 0x08, 0x08], 0x1000 + 0x20 + 8),
        (&[], &[0x04, 0x25, 0, 0x10, 0, 0], 0x1000),
        (&[0x64], &[0x00], 0x10_1000),
        (&[0x65], &[0x00], 0x20_1000),
        (&[], &[0x44, 0x24, 0x10], STACK + 0x10),
        (&[], &[0x05, 0, 1, 0, 0], site + 6 + 0x100),
    ];
    for (prefix, operand, at) in rows {
        for reg in [0o20, 0o40] {
            let mut bytes = [prefix, &[0xff], operand].concat();
            bytes[prefix.len() + 1] |= reg;
            let mut machine = machine(at, 0x7777_0000);
            machine.regs.rax = 0x1000;
            machine.regs.r9 = 0x20;
            (machine.regs.fs_base, machine.regs.gs_base) = (0x10_0000, 0x20_0000);
            let before = machine.regs;
            simulate(&bytes, &mut machine).unwrap();
            let rsp = if reg == 0o20 { STACK - 8 } else { STACK };
            assert_eq!(machine.regs, Registers { rip: 0x7777_0000, rsp, ..before }, "{bytes:02x?}");
            if reg == 0o20 {
                assert_eq!(qword(&mut machine, rsp), site + bytes.len() as u64, "{bytes:02x?}");
            }
        }
    }
}

/// With prefix 67 the sum is cut before the segment's base is added.
#[test]
fn operands_with_prefix_67() {
    let mut machine = machine(0x10_0008, 0x7777_0000);
    machine.regs.rax = 0xdead_0000_ffff_fff8;
    machine.regs.fs_base = 0x10_0000;
    simulate(&[0x64, 0x67, 0xff, 0x60, 0x10], &mut machine).unwrap();
    assert_eq!(machine.regs.rip, 0x7777_0000);
}

#[test]
fn call_through_rsp_uses_the_old_one() {
    let mut machine = machine(STACK, 0);
    simulate(&[0xff, 0xd4], &mut machine).unwrap();
    assert_eq!((machine.regs.rip, machine.regs.rsp), (STACK, STACK - 8));
    assert_eq!(qword(&mut machine, STACK - 8), AT.0 + 2);
}

#[test]
fn lea_keeps_what_its_width_leaves() {
    let operand = AT.0 + 0x100;
    for (bytes, value) in [
        (&[0x48, 0x8d, 0x05, 0xf9, 0, 0, 0][..], operand),
        (&[0x8d, 0x05, 0xfa, 0, 0, 0], operand & 0xffff_ffff),
        (&[0x66, 0x8d, 0x05, 0xf9, 0, 0, 0], 0x1111_1111_1111_0000 | operand & 0xffff),
        (&[0x67, 0x48, 0x8d, 0x05, 0xf8, 0, 0, 0], operand & 0xffff_ffff),
    ] {
        let mut machine = Fake::default();
        machine.regs.rax = 0x1111_1111_1111_1111;
        simulate(bytes, &mut machine).unwrap();
        assert_eq!(machine.regs.rax, value, "{bytes:02x?}");
        assert_eq!(machine.regs.rip, AT.0 + bytes.len() as u64, "{bytes:02x?}");
    }
}

/// Bits 63 to 57 must be as bit 56; the fault comes before anything changes.
#[test]
fn targets_are_canonical() {
    for (target, fine) in [
        (0, true),
        (0x00ff_ffff_ffff_ffff, true),
        (0x0100_0000_0000_0000, false),
        (0xff00_0000_0000_0000, true),
        (0xfeff_ffff_ffff_ffff, false),
        (0x8000_0000_0000_0000, false),
        (u64::MAX, true),
    ] {
        // jmp *%rax, call *%rax, ret
        for bytes in [&[0xff, 0xe0][..], &[0xff, 0xd0], &[0xc3]] {
            let mut machine = machine(STACK, target);
            machine.regs.rax = target;
            let before = machine.regs;
            let got = simulate(bytes, &mut machine);
            if fine {
                assert_eq!((got, machine.regs.rip), (Ok(()), target), "{bytes:02x?}");
            } else {
                assert_eq!(got, Err(Fault { at: Addr(target), write: false }), "{bytes:02x?}");
                assert_eq!(machine.regs, before, "{bytes:02x?}");
                assert_eq!(qword(&mut machine, STACK - 8), 0, "{bytes:02x?}");
            }
        }
    }
}
