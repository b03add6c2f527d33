//! arm64 (AArch64, A64 only).
//!
//! | room | holds |
//! |---|---|
//! | `decode` | what a word is, by the encoding groups; which words are allocated |
//! | `flow` | how control leaves it |
//! | `plan` | what to do with it, or why not; exclusive and other sequences |
//! | `simulate` | effects as equations, computed during a hit |
//! | `relocate` | the copy for a slot; the same effect from elsewhere without a trap |
//! | `jump` | what a jump replaces |
//! | `stack` | whether the stack pointer holds a stack |
//! | `emit` | jumps, constants, and what a trampoline records |
//! | `regs` | the general registers |
//! | `syscalls` | system calls with a constant number |
//! | `disassemble` | text |
//!
//! # What a program can still see
//!
//! With a guarded control stack (FEAT_GCS) a simulated BL, BLR or RET neither pushes nor pops:
//! the engine must refuse them, or do it, where the thread has one.

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

pub use regs::{Btype, Registers};
pub use relocate::Fixup;
pub use simulate::{Compare, Condition, Effect, Literal, Relation, Test, Width};

use crate::jump::{Features, Kept, LongCode, Record, Recorded, Side, Window};
use crate::{
    Addr, Arch, Code, Convention, Fault, Flow, Machine, Plan, Reject, Relocated, Rules, Step, Text,
};

/// arm64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arm64 {}

impl Arch for Arm64 {
    const NAME: &'static str = "arm64";
    /// `BRK #0x786f`, "xo": not gdb's 0, a compiler's 1 or 1000, nor one the kernel keeps for
    /// itself (4 to 6 for its own probes, 0x100, 0x400 and 0x800 upwards for its own code).
    ///
    /// ```text
    /// BRK  1101 0100  001i iiii  iiii iiii  iii0 0000
    /// ```
    const TRAP: &'static [u8] = &(0xd420_0000_u32 | 0x786f << 5).to_le_bytes();
    const NOP: &'static [u8] = &0xd503_201f_u32.to_le_bytes();
    const TRAP_ADVANCE: u64 = 0;
    const INSN_ALIGN: u64 = 4;
    /// Only a few kinds of instructions may be exchanged under a running thread (Arm ARM B2.2.5); and QEMU
    /// before 8.1 goes on with what one processor translated while another wrote, whatever it was.
    const STOPS_TO_PATCH: bool = true;
    const MAX_INSN: usize = 4;
    const CONVENTION: Convention = Convention::AAPCS64;
    const GO: Convention = Convention::GO_ARM64;
    /// ±128 MiB, less a page for the longest code between a jump and the slot's start.
    const JUMP_REACH: u64 = (1 << 27) - 4096;

    type Regs = Registers;
    type Effect = Effect;
    type Fixup = Fixup;

    fn is_trap(code: &[u8]) -> bool {
        // BRK  1101 0100  001i iiii  iiii iiii  iii0 0000
        code.first_chunk()
            .is_some_and(|&word| u32::from_le_bytes(word) & 0xffe0_001f == 0xd420_0000)
    }

    fn is_syscall(code: &[u8]) -> bool {
        code.first_chunk().is_some_and(|&word| syscalls::is_svc(u32::from_le_bytes(word)))
    }

    fn may_land(code: &[u8], regs: &Registers) -> bool {
        let word = code.first_chunk().map(|&word| u32::from_le_bytes(word));
        word.is_none_or(|word| regs::may_land(word, regs.btype()))
    }

    fn length(text: &Text<'_>, at: Addr) -> Result<usize, Reject> {
        match decode::decode(decode::fetch(text, at)?) {
            decode::Insn::Refused(reason @ crate::Reason::Undecodable) => Err(reason.into()),
            _ => Ok(4),
        }
    }

    fn flow(text: &Text<'_>, at: Addr) -> Result<(Flow, usize), Reject> {
        flow::flow(text, at)
    }

    fn plan(text: &Text<'_>, at: Addr, rules: Rules) -> Result<Plan<Self>, Reject> {
        plan::plan(text, at, rules)
    }

    fn simulate<M: Machine<Self>>(effect: Effect, at: Addr, machine: &mut M) -> Result<(), Fault> {
        simulate::simulate(effect, at, machine)
    }

    fn copy(
        text: &Text<'_>,
        at: Addr,
        plan: &Plan<Self>,
        _: Addr,
        out: &mut Code,
    ) -> Result<Fixup, Reject> {
        relocate::copy(text, at, plan, out)
    }

    fn fixup<M: Machine<Self>>(
        fixup: Fixup,
        at: Addr,
        plan: &Plan<Self>,
        before: &Registers,
        machine: &mut M,
    ) -> Result<(), Fault> {
        relocate::fixup(fixup, at, plan, before, machine);
        Ok(())
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

    fn is_landing_pad(code: &[u8]) -> bool {
        code.first_chunk().is_some_and(|&word| jump::is_landing_pad(u32::from_le_bytes(word)))
    }

    fn window(
        text: &Text<'_>,
        at: Addr,
        rules: Rules,
        targets: &[Addr],
        _: Side,
    ) -> Result<Window, Reject> {
        jump::window(text, at, rules, targets)
    }

    /// Each instruction is as long as a jump.
    fn window_alone(_: &Text<'_>, _: Addr, _: Rules, _: &[Addr]) -> Result<Window, Reject> {
        Err(crate::Reason::WindowEnd.into())
    }

    /// No jump here pushes.
    fn take_push_back(_: &mut LongCode) -> Result<(), Reject> {
        Ok(())
    }

    /// No recorder here touches NZCV.
    fn flags_live(_: &Text<'_>, _: Addr) -> bool {
        false
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
        syscalls::find(text, found);
    }

    #[cfg(feature = "text")]
    fn disassemble(text: &Text<'_>, at: Addr, out: &mut dyn core::fmt::Write) -> core::fmt::Result {
        disassemble::disassemble(text, at, out)
    }
}
