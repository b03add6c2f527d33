//! A few whole flows by hand; the tables in `cases/` hold the breadth.

use super::{Fixup, Registers, X86_64};
use crate::{Addr, Arch, Code, Fault, Machine, Memory, Plan, Reason, Rules, Text};
use std::collections::BTreeMap;
use std::vec::Vec;

const AT: Addr = Addr(0x5555_0000_1000);

/// Memory that exists byte by byte.
#[derive(Default)]
struct Fake {
    regs: Registers,
    memory: BTreeMap<u64, u8>,
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

fn simulate(bytes: &[u8], machine: &mut Fake) -> Result<(), Fault> {
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
    let mut out = Code::new();
    let plan = plan(bytes).unwrap();
    let done = X86_64::relocate(&Text::new(AT, bytes), AT, &plan, to, &mut out).unwrap().done;
    (out.to_vec(), done)
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
