//! A few whole flows by hand; the tables in `cases/` hold the breadth.

use super::{Fixup, Gpr, Registers, X86_64};
use crate::{Addr, Arch, Code, Fault, Machine, Memory, Plan, Reason, Rules, Strategy, Text};
use std::collections::BTreeMap;
use std::vec::Vec;

pub(super) const AT: Addr = Addr(0x5555_0000_1000);

/// Memory that exists byte by byte.
#[derive(Default)]
pub(super) struct Fake {
    pub regs: Registers,
    pub memory: BTreeMap<u64, u8>,
}

impl Memory for Fake {
    fn read(&mut self, at: Addr, to: &mut [u8]) -> Result<(), Fault> {
        for (i, byte) in to.iter_mut().enumerate() {
            let at = at.add(i as u64);
            *byte = *self.memory.get(&at.0).ok_or(Fault { at, write: false })?;
        }
        Ok(())
    }

    fn write(&mut self, at: Addr, from: &[u8]) -> Result<(), Fault> {
        for i in 0..from.len() as u64 {
            let at = at.add(i);
            self.memory.get(&at.0).ok_or(Fault { at, write: true })?;
        }
        self.memory.extend((0..).map(|i| at.0 + i).zip(from.iter().copied()));
        Ok(())
    }
}

impl Machine<X86_64> for Fake {
    fn regs(&mut self) -> &mut Registers {
        &mut self.regs
    }

    fn set_vector(&mut self, _: u8, _: u128) -> Result<(), Fault> {
        Err(Fault { at: Addr(self.regs.rip), write: false })
    }
}

fn plan(bytes: &[u8]) -> Result<Plan<X86_64>, Reason> {
    X86_64::plan(&Text::new(AT, bytes), AT, Rules::default()).map_err(|reject| reject.reason)
}

pub(super) fn simulate(bytes: &[u8], machine: &mut Fake) -> Result<(), Fault> {
    let plan = plan(bytes).unwrap();
    X86_64::simulate(plan.effect.unwrap(), AT, machine)
}

fn copy(bytes: &[u8], slot: Addr) -> (Vec<u8>, Fixup) {
    let mut out = Code::new();
    let plan = plan(bytes).unwrap();
    let fixup = X86_64::copy(&Text::new(AT, bytes), AT, &plan, slot, &mut out).unwrap();
    (out.to_vec(), fixup)
}

fn relocate(bytes: &[u8], to: Addr) -> (Vec<u8>, u8) {
    relocation(bytes, to).unwrap()
}

fn relocation(bytes: &[u8], to: Addr) -> Result<(Vec<u8>, u8), Reason> {
    let mut out = Code::new();
    let plan = plan(bytes)?;
    let done = X86_64::relocate(&Text::new(AT, bytes), AT, &plan, to, &mut out);
    Ok((out.to_vec(), done.map_err(|reject| reject.reason)?.done))
}

#[test]
fn call_pushes_the_address_behind_it() {
    let mut machine = Fake::default();
    machine.regs.rsp = 0x7ffc_0000_0010;
    machine.memory.extend((0x7ffc_0000_0000..0x7ffc_0000_0020).map(|at| (at, 0)));
    simulate(&[0xe8, 0, 1, 0, 0], &mut machine).unwrap();
    assert_eq!(machine.regs.rip, AT.0 + 5 + 0x100);
    assert_eq!(machine.regs.rsp, 0x7ffc_0000_0008);
    let mut pushed = [0; 8];
    machine.read(Addr(0x7ffc_0000_0008), &mut pushed).unwrap();
    assert_eq!(u64::from_le_bytes(pushed), AT.0 + 5);
}

#[test]
fn a_fault_leaves_the_registers() {
    for bytes in [&[0xe8, 0, 0, 0, 0][..], &[0xff, 0x10], &[0xff, 0x20], &[0xc3]] {
        let mut machine = Fake::default();
        machine.regs.rsp = 0x1000;
        machine.regs.rax = 0x2000;
        let before = machine.regs;
        assert!(simulate(bytes, &mut machine).is_err());
        assert_eq!(machine.regs, before);
    }
}

#[test]
fn rip_relative_operands_stay_where_they_are() {
    // mov 0x10(%rip), %eax ; addl $1, 0x10(%rip)
    let (code, _) = copy(&[0x8b, 0x05, 0x10, 0, 0, 0], AT.offset(-0x1000));
    assert_eq!(code, [0x8b, 0x05, 0x10, 0x10, 0, 0]);
    let (code, _) = copy(&[0x83, 0x05, 0x10, 0, 0, 0, 1], AT.add(0x10));
    assert_eq!(code, [0x83, 0x05, 0, 0, 0, 0, 1]);
}

#[test]
fn syscall_needs_rcx() {
    let slot = AT.add(0x1000);
    let (code, fixup) = copy(&[0x0f, 0x05], slot);
    assert_eq!((code.as_slice(), fixup), (&[0x0f, 0x05][..], Fixup::Syscall));
    let mut machine = Fake::default();
    let plan = plan(&[0x0f, 0x05]).unwrap();
    X86_64::fixup(fixup, AT, &plan, &Registers::default(), &mut machine).unwrap();
    assert_eq!((machine.regs.rcx, machine.regs.rip), (AT.0 + 2, AT.0 + 2));
    let (code, done) = relocate(&[0x0f, 0x05], slot);
    assert_eq!(code[..4], [0x0f, 0x05, 0x48, 0xb9]);
    assert_eq!(code[4..12], (AT.0 + 2).to_le_bytes());
    assert_eq!((done, code[12]), (12, 0xe9));
}

#[test]
fn a_stepped_copy_does_not_show_the_trap_flag() {
    let before = Registers { rflags: 0x246, ..Registers::default() };
    let stepping = |rflags| Fake {
        regs: Registers { r11: rflags, rsp: 0x1000, ..Registers::default() },
        memory: (0x1000..).zip(rflags.to_le_bytes()).collect(),
    };
    let (_, fixup) = copy(&[0x9c], AT.add(0x1000));
    let mut machine = stepping(0x346);
    X86_64::fixup(fixup, AT, &plan(&[0x9c]).unwrap(), &before, &mut machine).unwrap();
    assert_eq!((machine.memory[&0x1000], machine.memory[&0x1001]), (0x46, 0x02));
    // pushfw
    let (_, fixup) = copy(&[0x66, 0x9c], AT.add(0x1000));
    let mut machine = stepping(0x346);
    let own = Registers { rflags: 0x346, ..before };
    X86_64::fixup(fixup, AT, &plan(&[0x66, 0x9c]).unwrap(), &own, &mut machine).unwrap();
    assert_eq!(machine.memory[&0x1001], 0x03, "the program's own");
    let (_, fixup) = copy(&[0x0f, 0x05], AT.add(0x1000));
    let mut machine = stepping(0x346);
    X86_64::fixup(fixup, AT, &plan(&[0x0f, 0x05]).unwrap(), &before, &mut machine).unwrap();
    assert_eq!(machine.regs.r11, 0x246);
}

/// nop, jmp *%rax, jmp
#[test]
fn plans_say_what_is_done() {
    let said = |bytes: &[u8]| {
        let plan = plan(bytes).unwrap();
        (plan.word(), plan.strategies().iter().map(Strategy::name).collect::<Vec<_>>())
    };
    assert_eq!(said(&[0x90]), ("copy", Vec::from(["step", "xol", "boost"])));
    assert_eq!(said(&[0xff, 0xe0]), ("copy", Vec::from(["boost", "simulate"])));
    assert_eq!(said(&[0xeb, 0]), ("simulate", Vec::from(["simulate"])));
}

#[test]
fn both_breakpoints_are_traps() {
    for (code, trap) in [
        (&[0xcc][..], true),
        (&[0xcc, 0x90], true),
        (&[0xcd, 3], true),
        (&[0xcd, 0x80], false),
        (&[0xcd], false),
        (&[3], false),
        (&[], false),
    ] {
        assert_eq!(X86_64::is_trap(code), trap, "{code:02x?}");
    }
}

/// From anywhere in a slot as far away as promised, in both directions.
#[test]
fn jumps_reach_as_far_as_promised() {
    let reach = X86_64::JUMP_REACH as i64;
    assert!(reach > 1 << 30);
    for distance in [reach, -reach] {
        for inside in [0, 127] {
            let slot = AT.offset(distance);
            X86_64::jump(slot.add(inside), AT.add(15), &mut Code::new()).unwrap();
            X86_64::jump(AT.add(15), slot.add(inside), &mut Code::new()).unwrap();
        }
    }
}

#[test]
fn jcc_becomes_long() {
    // je +0x10 at AT, run 0x1000 behind.
    let (code, done) = relocate(&[0x74, 0x10], AT.add(0x1000));
    assert_eq!(code, [0x0f, 0x84, 0x0c, 0xf0, 0xff, 0xff, 0xe9, 0xf7, 0xef, 0xff, 0xff]);
    assert_eq!(done, 6);
}

#[test]
fn constant_system_calls_are_found() {
    let text = [
        0xb8, 9, 0, 0, 0, 0x0f, 0x05, // mov $9, %eax; syscall
        0x31, 0xc0, 0x89, 0xf7, 0x0f, 0x05, // xor %eax, %eax; mov %esi, %edi; syscall
        0xb8, 1, 0, 0, 0, 0x89, 0xf8, 0x0f, 0x05, // overwritten
        0x48, 0x8d, 0x05, 0x0f, 0x05, 0, 0, // lea 0x50f(%rip), %rax
    ];
    let mut found = Vec::new();
    X86_64::syscalls(&Text::new(Addr(0), &text), &mut |at, number| found.push((at.0, number)));
    assert_eq!(found, [(5, 9), (11, 0)]);
}

/// Bytes with a displacement of 0x100, and what the copy does behind `mov $address, %register`
/// when 0x100 is out of reach.
const FAR: [(&[u8], &[u8], u8); 12] = [
    // mov m, %rax: without REX.B too, which RIP-relative operands ignore
    (&[0x48, 0x8b, 0x05, 0, 1, 0, 0], &[0x48, 0x8b, 0x06], 6),
    (&[0x49, 0x8b, 0x05, 0, 1, 0, 0], &[0x48, 0x8b, 0x06], 6),
    // mov %esi, m: rdi
    (&[0x89, 0x35, 0, 1, 0, 0], &[0x89, 0x37], 7),
    // addl $1, m; fs stays
    (&[0x83, 0x05, 0, 1, 0, 0, 1], &[0x83, 0x06, 0x01], 6),
    (&[0x64, 0x8b, 0x05, 0, 1, 0, 0], &[0x64, 0x8b, 0x06], 6),
    // andn m, %rdi, %rsi: rbx
    (&[0xc4, 0xe2, 0xc0, 0xf2, 0x35, 0, 1, 0, 0], &[0xc4, 0xe2, 0xc0, 0xf2, 0x33], 3),
    // vmovdqa m, %xmm0 with B
    (&[0xc4, 0xc1, 0x79, 0x6f, 0x05, 0, 1, 0, 0], &[0xc4, 0xe1, 0x79, 0x6f, 0x06], 6),
    (&[0xc5, 0xf9, 0x6f, 0x05, 0, 1, 0, 0], &[0xc5, 0xf9, 0x6f, 0x06], 6),
    // vpaddd m, %zmm6, %zmm17 with B: zmm6 is taken for esi, which costs nothing
    (&[0x62, 0xc1, 0x4d, 0x48, 0xfe, 0x0d, 0, 1, 0, 0], &[0x62, 0xe1, 0x4d, 0x48, 0xfe, 0x0f], 7),
    // vprotb $1, m, %xmm0 with B (XOP)
    (&[0x8f, 0xc8, 0x78, 0xc0, 0x05, 0, 1, 0, 0, 1], &[0x8f, 0xe8, 0x78, 0xc0, 0x06, 1], 6),
    // cmpxchg16b m; pop m
    (&[0x48, 0x0f, 0xc7, 0x0d, 0, 1, 0, 0], &[0x48, 0x0f, 0xc7, 0x0e], 6),
    (&[0x8f, 0x05, 0, 1, 0, 0], &[0x8f, 0x06], 6),
];

#[test]
fn far_operands_go_through_a_register() {
    let slot = AT.add(1 << 33);
    for (bytes, expected, register) in FAR {
        let (code, fixup) = copy(bytes, slot);
        let address = AT.0 + bytes.len() as u64 + 0x100;
        assert_eq!(code[..2], [0x48, 0xb8 | register], "{bytes:02x?}");
        assert_eq!(code[2..10], address.to_le_bytes(), "{bytes:02x?}");
        assert_eq!(code[10..], *expected, "{bytes:02x?}");
        assert_eq!(fixup, Fixup::Scratch(Gpr::new(register)), "{bytes:02x?}");

        let before = Registers { rsi: 1, rdi: 2, rbx: 3, ..Registers::default() };
        let mut machine = Fake { regs: Registers { rax: 7, ..before }, ..Fake::default() };
        machine.regs.set(Gpr::new(register), address);
        let plan = plan(bytes).unwrap();
        X86_64::fixup(fixup, AT, &plan, &before, &mut machine).unwrap();
        assert_eq!(machine.regs, Registers { rip: AT.0 + bytes.len() as u64, rax: 7, ..before });
        assert_eq!(relocation(bytes, slot).unwrap_err(), Reason::OutOfReach, "{bytes:02x?}");
    }
}

/// What leaves its slot cannot give a register back; what reads no memory needs none.
#[test]
fn far_without_a_register() {
    let slot = AT.add(1 << 33);
    let jump = [0xff, 0x25, 0, 1, 0, 0];
    let mut out = Code::new();
    let at = Text::new(AT, &jump);
    let far = X86_64::copy(&at, AT, &plan(&jump).unwrap(), slot, &mut out);
    assert_eq!(far.map_err(|reject| reject.reason), Err(Reason::OutOfReach));
    // lea to r9, r9d, r9w
    let value = AT.0 + 7 + 0x100;
    let (code, fixup) = copy(&[0x4c, 0x8d, 0x0d, 0, 1, 0, 0], slot);
    assert_eq!((&code[..2], &code[2..]), (&[0x49, 0xb9][..], &value.to_le_bytes()[..]));
    assert_eq!(fixup, Fixup::None);
    let (code, _) = copy(&[0x44, 0x8d, 0x0d, 0, 1, 0, 0], slot);
    assert_eq!((&code[..2], &code[2..]), (&[0x41, 0xb9][..], &value.to_le_bytes()[..4]));
    let (code, _) = copy(&[0x66, 0x44, 0x8d, 0x0d, 0, 1, 0, 0], slot);
    assert_eq!((&code[..3], &code[3..]), (&[0x66, 0x41, 0xb9][..], &[0x08, 0x11][..]));
    // With prefix 67, every slot is in reach: 2^32 further is the same place.
    let (code, _) = copy(&[0x67, 0x8b, 0x05, 0, 1, 0, 0], slot);
    assert_eq!(code, [0x67, 0x8b, 0x05, 0, 1, 0, 0]);
}

#[test]
fn branches_reach_anywhere() {
    let to = AT.add(1 << 33);
    let back = (AT.0 + 2).to_le_bytes();
    let target = (AT.0 + 0x12).to_le_bytes();
    let leap = |to: [u8; 8]| [&[0xff, 0x25, 0, 0, 0, 0][..], &to].concat();
    // je: jne over the leap
    let (code, done) = relocate(&[0x74, 0x10], to);
    assert_eq!(code, [&[0x75, 14][..], &leap(target), &leap(back)].concat());
    assert_eq!(done, 16);
    let (code, _) = relocate(&[0x75, 0x10], to);
    assert_eq!(code, [&[0x74, 14][..], &leap(target), &leap(back)].concat());
    // loop
    let (code, done) = relocate(&[0xe2, 0x10], to);
    assert_eq!(code, [&[0xe2, 2, 0xeb, 14][..], &leap(target), &leap(back)].concat());
    assert_eq!(done, 18);
    // jmp
    assert_eq!(relocate(&[0xeb, 0x10], to), (leap(target), 14));
    // What leaves its slot by itself is its own relocation: jmp *%rax; ret
    assert_eq!(relocate(&[0xff, 0xe0], to), (Vec::from([0xff, 0xe0]), 2));
    assert_eq!(relocate(&[0xc3], to), (Vec::from([0xc3]), 1));
}

/// The last displacements that reach, and the first that do not.
#[test]
fn reach_is_exact() {
    for (distance, reaches) in
        [(i64::from(i32::MAX), true), (1 << 31, false), (-1 << 31, true), ((-1 << 31) - 1, false)]
    {
        let mut out = Code::new();
        let jump = X86_64::jump(AT, AT.add(5).offset(distance), &mut out);
        assert_eq!(jump.is_ok(), reaches, "{distance}");
        // mov 0(%rip), %eax from a slot `distance` before the operand's.
        let (code, _) = copy(&[0x8b, 0x05, 0, 0, 0, 0], AT.offset(-distance));
        assert_eq!(code.len() == 6, reaches, "{distance}");
        let (code, _) = relocate(&[0x74, 0], AT.offset(-distance - 4));
        assert_eq!(code[0] == 0x0f, reaches, "{distance}");
    }
}

#[test]
fn calls_push_the_original_return_address() {
    let to = AT.add(0x1000);
    let (code, done) = relocate(&[0xe8, 0, 1, 0, 0], to);
    let [low, high] = [0x0000_1005_u32, 0x5555].map(u32::to_le_bytes);
    assert_eq!(code[..5], [&[0x68][..], &low].concat());
    assert_eq!(code[5..13], [&[0xc7, 0x44, 0x24, 4][..], &high].concat());
    assert_eq!(code[13..], [0xe9, 0xf3, 0xf0, 0xff, 0xff]);
    assert_eq!(usize::from(done), code.len());
    // call *0x10(%rip): the displacement goes along
    let (code, done) = relocate(&[0xff, 0x15, 0x10, 0, 0, 0], to);
    assert_eq!(code[..6], [0xff, 0x35, 0x10, 0xf0, 0xff, 0xff]);
    assert_eq!(code[6..13], [0xff, 0x34, 0x24, 0xc7, 0x44, 0x24, 8]);
    assert_eq!(code[code.len() - 1], 0xc3);
    assert_eq!(usize::from(done), code.len());
}

/// Planned in a row or each by itself: the same, and nothing panics over random bytes.
#[test]
fn plans_are_those_of_each() {
    let mut state = 1_u64;
    let bytes: Vec<u8> = (0..1 << 16)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    let text = Text::new(AT, &bytes);
    let mut next = AT;
    X86_64::plans(&text, Rules::default(), &mut |at, got| {
        assert_eq!(at, next);
        assert_eq!(got, X86_64::plan(&text, at, Rules::default()), "{at}");
        next = at.add(X86_64::length(&text, at).unwrap_or(1) as u64);
    });
    assert_eq!(next, AT.add(bytes.len() as u64));
}
