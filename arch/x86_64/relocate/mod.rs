//! An instruction's effect from another address: the copy for a slot, and code that needs no
//! trap and no engine.
//!
//! | room | holds |
//! |---|---|
//! | `branch` | branches and calls rebuilt, for what is never copied |
//! | `operand` | RIP-relative operands from elsewhere, near and far |

mod branch;
mod operand;

use crate::{Addr, Code, Fault, Machine, Plan, Reason, Reject, Relocated, Text};
use iced_x86::Mnemonic;

use super::X86_64;
use super::decode::{Decoded, decode};
use super::emit;
use super::regs::{Gpr, Registers};
use super::simulate::Effect;

/// What a copy leaves different from the instruction in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fixup {
    /// `rip = site + len`: nothing but the PC.
    #[default]
    None,
    /// `rcx = site + len; r11.TF = before.TF; rip = site + len`: SYSCALL stores the address behind
    /// itself in rcx and the flags in r11, and a copy that is stepped has the trap flag.
    Syscall,
    /// `[rsp].TF = before.TF; rip = site + len`: PUSHF, for the same reason.
    Flags,
    /// `register = before.register; rip = site + len`: the register held the address of an
    /// operand out of the displacement's reach. A fault of such a copy is put right in the same
    /// way, with the site's PC: the instruction has changed nothing else.
    Scratch(Gpr),
}

/// Appends the copy of the instruction at `at` that runs at `slot`.
pub(super) fn copy(
    text: &Text<'_>,
    at: Addr,
    plan: &Plan<X86_64>,
    slot: Addr,
    out: &mut Code,
) -> Result<Fixup, Reject> {
    // Only asked for where the plan has a copy; from nowhere would another one be right.
    let copied = plan.copied.ok_or(Reason::OutOfReach)?;
    let decoded = decode(text, at)?;
    match displaced(&decoded, plan, slot, out) {
        Ok(()) => Ok(match decoded.insn.mnemonic() {
            Mnemonic::Syscall => Fixup::Syscall,
            Mnemonic::Pushf | Mnemonic::Pushfq => Fixup::Flags,
            _ => Fixup::None,
        }),
        // A trap behind the copy is where the register comes back.
        Err(reject) if reject.reason == Reason::OutOfReach && copied.trap_behind => {
            operand::far(&decoded, out).map(Fixup::Scratch)
        }
        Err(reject) => Err(reject),
    }
}

/// Corrects what the copy left different.
pub(super) fn fixup<M: Machine<X86_64>>(
    fixup: Fixup,
    at: Addr,
    plan: &Plan<X86_64>,
    before: &Registers,
    machine: &mut M,
) -> Result<(), Fault> {
    /// The trap flag.
    const TF: u64 = 1 << 8;
    let next = at.add(plan.len.into()).0;
    let regs = machine.regs();
    regs.rip = next;
    match fixup {
        Fixup::None => {}
        Fixup::Syscall => {
            regs.rcx = next;
            regs.r11 = regs.r11 & !TF | before.rflags & TF;
        }
        Fixup::Flags => {
            // Two bytes hold the flag whatever the operand's size.
            let pushed = Addr(regs.rsp);
            let mut flags = [0; 2];
            machine.read(pushed, &mut flags)?;
            let was = u64::from(u16::from_le_bytes(flags));
            let is = (was & !TF | before.rflags & TF) as u16;
            if u64::from(is) != was {
                machine.write(pushed, &is.to_le_bytes())?;
            }
        }
        Fixup::Scratch(register) => regs.set(register, before.get(register)),
    }
    Ok(())
}

/// Appends code with the whole effect of the instruction at `at` when run at `to`.
pub(super) fn relocate(
    text: &Text<'_>,
    at: Addr,
    plan: &Plan<X86_64>,
    to: Addr,
    out: &mut Code,
) -> Result<Relocated, Reject> {
    let mut code = Code::new();
    let decoded = decode(text, at)?;
    let done = match plan.effect {
        Some(effect) if plan.copied.is_none() => {
            branch::rebuild(effect, &decoded, at, to, &mut code)?
        }
        _ => straight(&decoded, plan, at, to, &mut code)?,
    };
    emit::bytes(out, &code)?;
    Ok(Relocated { done: done as u8 })
}

/// A copy, what it leaves different put right, and a jump back.
fn straight(
    decoded: &Decoded<'_>,
    plan: &Plan<X86_64>,
    at: Addr,
    to: Addr,
    code: &mut Code,
) -> Result<usize, Reject> {
    displaced(decoded, plan, to, code)?;
    let next = at.add(plan.len.into());
    if decoded.insn.mnemonic() == Mnemonic::Syscall {
        // 48 B9 <imm64>  mov rcx, imm64
        emit::bytes(code, &[0x48, 0xb9])?;
        emit::bytes(code, &next.0.to_le_bytes())?;
    }
    let done = code.len();
    if plan.copied.is_some_and(|copied| copied.falls_through) {
        emit::leap(to.add(done as u64), next, code)?;
    }
    Ok(done)
}

/// The instruction itself, a RIP-relative displacement rewritten.
fn displaced(
    decoded: &Decoded<'_>,
    plan: &Plan<X86_64>,
    slot: Addr,
    out: &mut Code,
) -> Result<(), Reject> {
    let Some(operand) = decoded.rip_relative() else {
        return emit::bytes(out, decoded.bytes);
    };
    match (operand::displacement(operand, decoded, slot), plan.effect) {
        (Some(rel), _) => operand::patched(decoded, operand.offset, rel, out),
        // LEA reads no memory: its value can be moved from anywhere.
        (None, Some(Effect::Lea { to, width, .. })) => {
            operand::load_constant(to, width, operand.target.0, out)
        }
        (None, _) => Err(Reason::OutOfReach.into()),
    }
}
