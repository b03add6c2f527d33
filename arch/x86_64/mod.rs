//! x86-64 (64-bit mode only).
//!
//! | room | holds |
//! |---|---|
//! | `decode` | one instruction's bytes, its prefixes, its RIP-relative operand |
//! | `flow` | how control leaves it |
//! | `plan` | what to do with it, or why not |
//! | `simulate` | effects as equations, computed during a hit |
//! | `relocate` | the copy for a slot; the same effect from elsewhere without a trap |
//! | `jump` | what a jump replaces |
//! | `stack` | whether the stack pointer holds a stack |
//! | `emit` | jumps, and what a trampoline records |
//! | `regs` | the general registers |
//! | `syscalls` | system calls with a constant number |
//! | `disassemble` | text |
//!
//! # What a program can still see
//!
//! - An x87 instruction that runs from a slot leaves the slot's address as the last instruction
//!   pointer, which FNSTENV, FNSAVE, FXSAVE and XSAVE store (on AMD only after an unmasked x87
//!   exception).
//! - A CALL through memory or a register that runs without the engine (relocated) leaves its
//!   target in the eight bytes below the return address, and needs them to be there.
//! - POPF that sets TF traps behind the jump back, not behind the next instruction.

mod decode;
#[cfg(feature = "text")]
mod disassemble;
#[cfg(test)]
mod effects;
mod emit;
mod flow;
mod jump;
mod plan;
mod regs;
mod relocate;
mod simulate;
mod stack;
mod syscalls;
#[cfg(test)]
mod tables;
#[cfg(test)]
mod tests;

pub use regs::{Gpr, Registers};
pub use relocate::Fixup;
pub use simulate::{Address, Base, Condition, Effect, Operand, Segment, Width};

use crate::jump::{Features, Kept, LongCode, Record, Recorded, Side, Window};
use crate::{
    Addr, Arch, Code, Convention, Fault, Flow, Machine, Plan, Reject, Relocated, Rules, Step, Text,
};

/// x86-64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum X86_64 {}

impl Arch for X86_64 {
    const NAME: &'static str = "x86_64";
    /// INT3.
    const TRAP: &'static [u8] = &[0xcc];
    const NOP: &'static [u8] = &[0x90];
    const TRAP_ADVANCE: u64 = 1;
    const INSN_ALIGN: u64 = 1;
    /// The trap is one byte, which every core sees whole (Intel SDM 3A, 9.1.3; the kernel does so too).
    const STOPS_TO_PATCH: bool = false;
    const MAX_INSN: usize = 15;
    const CONVENTION: Convention = Convention::SYSTEM_V;
    const GO: Convention = Convention::GO_X86_64;
    /// ±2 GiB, less a page for the longest code between a jump and the slot's start.
    const JUMP_REACH: u64 = (1 << 31) - 4096;

    type Regs = Registers;
    type Effect = Effect;
    type Fixup = Fixup;

    fn is_trap(code: &[u8]) -> bool {
        code.starts_with(&[0xcc]) || code.starts_with(&[0xcd, 3])
    }

    fn is_syscall(code: &[u8]) -> bool {
        syscalls::is_syscall(code)
    }

    fn length(text: &Text<'_>, at: Addr) -> Result<usize, Reject> {
        decode::decode(text, at).map(|decoded| decoded.bytes.len())
    }

    fn flow(text: &Text<'_>, at: Addr) -> Result<(Flow, usize), Reject> {
        flow::flow(text, at)
    }

    fn plan(text: &Text<'_>, at: Addr, _: Rules) -> Result<Plan<Self>, Reject> {
        plan::plan(text, at)
    }

    fn plans(text: &Text<'_>, _: Rules, each: &mut dyn FnMut(Addr, Result<Plan<Self>, Reject>)) {
        plan::plans(text, each);
    }

    fn simulate<M: Machine<Self>>(effect: Effect, at: Addr, machine: &mut M) -> Result<(), Fault> {
        simulate::simulate(effect, at, machine)
    }

    fn copy(
        text: &Text<'_>,
        at: Addr,
        plan: &Plan<Self>,
        slot: Addr,
        out: &mut Code,
    ) -> Result<Fixup, Reject> {
        relocate::copy(text, at, plan, slot, out)
    }

    fn fixup<M: Machine<Self>>(
        fixup: Fixup,
        at: Addr,
        plan: &Plan<Self>,
        before: &Registers,
        machine: &mut M,
    ) -> Result<(), Fault> {
        relocate::fixup(fixup, at, plan, before, machine)
    }

    fn relocate(
        text: &Text<'_>,
        at: Addr,
        plan: &Plan<Self>,
        to: Addr,
        out: &mut Code,
    ) -> Result<Relocated, Reject> {
        relocate::relocate(text, at, plan, to, out)
    }

    fn jump(from: Addr, to: Addr, out: &mut Code) -> Result<(), Reject> {
        emit::jump(from, to, out)
    }

    fn follow(text: &Text<'_>, from: Addr, each: &mut dyn FnMut(&Step) -> bool) {
        flow::follow(text, from, each);
    }

    fn targets(text: &Text<'_>, found: &mut dyn FnMut(Addr)) {
        jump::targets(text, found);
    }

    fn window(
        text: &Text<'_>,
        at: Addr,
        rules: Rules,
        targets: &[Addr],
        side: Side,
    ) -> Result<Window, Reject> {
        jump::window(text, at, rules, targets, side)
    }

    fn window_alone(
        text: &Text<'_>,
        at: Addr,
        rules: Rules,
        targets: &[Addr],
    ) -> Result<Window, Reject> {
        jump::window_alone(text, at, rules, targets)
    }

    fn take_push_back(out: &mut LongCode) -> Result<(), Reject> {
        emit::take_push_back(out)
    }

    fn flags_live(text: &Text<'_>, at: Addr) -> bool {
        emit::flags_live(text, at)
    }

    fn has_stack(text: &Text<'_>) -> bool {
        stack::has_stack(text)
    }

    fn record(
        record: &Record,
        features: Features,
        to: Addr,
        out: &mut LongCode,
    ) -> Result<Recorded, Reject> {
        emit::record(record, features, to, out)
    }

    fn restore(regs: &mut Registers, what: Kept, value: u64) {
        emit::restore(regs, what, value);
    }

    fn slot_of(regs: &Registers) -> Addr {
        emit::slot_of(regs)
    }

    fn syscalls(text: &Text<'_>, found: &mut dyn FnMut(Addr, u64)) {
        syscalls::syscalls(text, found);
    }

    #[cfg(feature = "text")]
    fn disassemble(text: &Text<'_>, at: Addr, out: &mut dyn core::fmt::Write) -> core::fmt::Result {
        disassemble::disassemble(text, at, out)
    }
}
