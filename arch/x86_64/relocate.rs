//! An instruction's effect from another address: the copy for a slot, and code that needs no
//! trap and no engine.

use crate::{Addr, Code, Machine, Plan, Reason, Reject, Relocated, Text};
use iced_x86::Mnemonic;

use super::X86_64;
use super::decode::{Decoded, RipRelative, decode};
use super::emit;
use super::regs::Gpr;
use super::simulate::{Effect, Width};

/// What a copy leaves different from the instruction in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fixup {
    /// `rip = site + len`: nothing but the PC.
    #[default]
    None,
    /// `rcx = site + len; rip = site + len`: SYSCALL stores the address behind itself in rcx.
    Syscall,
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
    plan.copied.ok_or(Reason::OutOfReach)?;
    let decoded = decode(text, at)?;
    displaced(&decoded, plan, slot, out)?;
    Ok(match decoded.insn.mnemonic() {
        Mnemonic::Syscall => Fixup::Syscall,
        _ => Fixup::None,
    })
}

/// Corrects what the copy left different.
pub(super) fn fixup<M: Machine<X86_64>>(
    fixup: Fixup,
    at: Addr,
    plan: &Plan<X86_64>,
    machine: &mut M,
) {
    let next = at.add(plan.len.into()).0;
    let regs = machine.regs();
    regs.rip = next;
    match fixup {
        Fixup::None => {}
        Fixup::Syscall => regs.rcx = next,
    }
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
        Some(effect) if plan.copied.is_none() => branch(effect, &decoded, at, to, &mut code)?,
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
    match (displacement(operand, decoded, slot), plan.effect) {
        (Some(rel), _) => patched(decoded, operand.offset, rel, out),
        // LEA reads no memory: its value can be moved from anywhere.
        (None, Some(Effect::Lea { to, width, .. })) => {
            load_constant(to, width, operand.target.0, out)
        }
        (None, _) => Err(Reason::OutOfReach.into()),
    }
}

/// The displacement that reaches the same operand from `slot`. It counts from the end of the
/// instruction, behind any immediate; with prefix 67 modulo 2^32, which reaches everything.
fn displacement(operand: RipRelative, decoded: &Decoded<'_>, slot: Addr) -> Option<[u8; 4]> {
    let end = slot.add(decoded.bytes.len() as u64);
    if operand.narrow {
        return Some((operand.target.0 as u32).wrapping_sub(end.0 as u32).to_le_bytes());
    }
    emit::rel32(end, operand.target)
}

fn patched(
    decoded: &Decoded<'_>,
    offset: usize,
    rel: [u8; 4],
    out: &mut Code,
) -> Result<(), Reject> {
    let mut bytes = [0; 15];
    let bytes = bytes.get_mut(..decoded.bytes.len()).ok_or(Reason::Undecodable)?;
    bytes.copy_from_slice(decoded.bytes);
    bytes.get_mut(offset..offset + 4).ok_or(Reason::Undecodable)?.copy_from_slice(&rel);
    emit::bytes(out, bytes)
}

/// ```text
/// 66 4? B8+r <imm16>    mov r16, imm16     4? is REX with B = bit 3 of the register
///    4? B8+r <imm32>    mov r32, imm32
///    4? B8+r <imm64>    mov r64, imm64     with W
/// ```
fn load_constant(to: Gpr, width: Width, value: u64, out: &mut Code) -> Result<(), Reject> {
    let rex = 0x40 | to.number() >> 3;
    let opcode = 0xb8 | to.number() & 7;
    let value = value.to_le_bytes();
    match width {
        Width::Word => {
            emit::bytes(out, &[0x66, rex, opcode])?;
            emit::bytes(out, &value[..2])
        }
        Width::Long => {
            emit::bytes(out, &[rex, opcode])?;
            emit::bytes(out, &value[..4])
        }
        Width::Quad => {
            emit::bytes(out, &[rex | 8, opcode])?;
            emit::bytes(out, &value)
        }
    }
}

/// Branches and calls that are never copied. Returns `done`: the offset of the jump behind the
/// instruction, which always comes last, or the end where no such jump is.
fn branch(
    effect: Effect,
    decoded: &Decoded<'_>,
    at: Addr,
    to: Addr,
    code: &mut Code,
) -> Result<usize, Reject> {
    let here = |code: &Code| to.add(code.len() as u64);
    let (by, len) = match effect {
        Effect::Jump { by } => {
            emit::leap(to, at.offset(by), code)?;
            return Ok(code.len());
        }
        Effect::Call { by, len } => {
            push_constant(at.add(len.into()), code)?;
            emit::leap(here(code), at.offset(by), code)?;
            return Ok(code.len());
        }
        Effect::CallTo { len, .. } => {
            call_operand(decoded, at.add(len.into()), to, code)?;
            return Ok(code.len());
        }
        Effect::JumpIf { condition, by, len } => {
            let target = at.offset(by);
            if let Some(rel) = emit::rel32(to.add(6), target) {
                emit::bytes(code, &[0x0f, 0x80 | condition.tttn()])?;
                emit::bytes(code, &rel)?;
            } else {
                // The opposite condition skips the 14 bytes of a far leap.
                emit::bytes(code, &[0x70 | condition.tttn() ^ 1, 14])?;
                emit::leap(here(code), target, code)?;
            }
            (None, len)
        }
        // LOOP and JRCXZ have no rel32 form:
        //        loop  taken
        //        jmp   behind
        // taken: jmp   target
        // behind: (jmp back)
        Effect::Loop { zero_flag, narrow, by, len } => {
            counted(loop_opcode(zero_flag), narrow, code)?;
            (Some(by), len)
        }
        Effect::JumpIfCountZero { narrow, by, len } => {
            counted(0xe3, narrow, code)?;
            (Some(by), len)
        }
        Effect::JumpTo { .. } | Effect::Return { .. } | Effect::Lea { .. } => {
            return Err(Reason::OutOfReach.into());
        }
    };
    if let Some(by) = by {
        let skip = code.len() + 1;
        emit::bytes(code, &[0xeb, 0])?;
        emit::leap(here(code), at.offset(by), code)?;
        let distance = (code.len() - skip - 1) as u8;
        *code.get_mut(skip).ok_or(Reason::NoRoomForSlots)? = distance;
    }
    let done = code.len();
    emit::leap(here(code), at.add(len.into()), code)?;
    Ok(done)
}

/// E0 LOOPNE, E1 LOOPE, E2 LOOP.
fn loop_opcode(zero_flag: Option<bool>) -> u8 {
    match zero_flag {
        Some(false) => 0xe0,
        Some(true) => 0xe1,
        None => 0xe2,
    }
}

/// `opcode rel8` over the two bytes of a short jump; prefix 67 counts in ecx.
fn counted(opcode: u8, narrow: bool, code: &mut Code) -> Result<(), Reject> {
    if narrow {
        emit::bytes(code, &[0x67])?;
    }
    emit::bytes(code, &[opcode, 2])
}

/// Pushes 64 bits without a register:
/// ```text
/// 68 <imm32>               push imm32                 sign-extended
/// C7 44 24 04 <imm32>      mov  dword [rsp+4], imm32
/// ```
/// Between the two the upper half is not yet right: only the thread itself can tell.
fn push_constant(value: Addr, code: &mut Code) -> Result<(), Reject> {
    let [low, high] = halves(value);
    emit::bytes(code, &[0x68])?;
    emit::bytes(code, &low)?;
    emit::bytes(code, &[0xc7, 0x44, 0x24, 0x04])?;
    emit::bytes(code, &high)
}

fn halves(value: Addr) -> [[u8; 4]; 2] {
    [(value.0 as u32).to_le_bytes(), ((value.0 >> 32) as u32).to_le_bytes()]
}

/// CALL r/m without a register or a flag. The operand is read once and before anything is
/// written, as CALL does; its address is computed with the rsp before the push, as CALL's is.
/// ```text
/// push m                     target                       FF /2 made FF /6
/// push [rsp]                 target, target               FF 34 24
/// mov  dword [rsp+8], low    target, return address       C7 44 24 08 <imm32>
/// mov  dword [rsp+12], high                               C7 44 24 0C <imm32>
/// ret                        return address               C3
/// ```
/// It differs from CALL in the eight bytes below the return address, which hold the target
/// afterwards, and it cannot be used with a shadow stack.
fn call_operand(
    decoded: &Decoded<'_>,
    back: Addr,
    to: Addr,
    code: &mut Code,
) -> Result<(), Reject> {
    match decoded.rip_relative() {
        Some(operand) => {
            let rel = displacement(operand, decoded, to).ok_or(Reason::OutOfReach)?;
            patched(decoded, operand.offset, rel, code)?;
        }
        None => emit::bytes(code, decoded.bytes)?,
    }
    let modrm = decoded.prefixes().opcode + 1;
    // mod reg r/m: reg 2 is CALL, 6 is PUSH.
    let modrm = code.get_mut(modrm).ok_or(Reason::Undecodable)?;
    *modrm = *modrm & !0o070 | 0o060;
    let [low, high] = halves(back);
    emit::bytes(code, &[0xff, 0x34, 0x24])?;
    emit::bytes(code, &[0xc7, 0x44, 0x24, 0x08])?;
    emit::bytes(code, &low)?;
    emit::bytes(code, &[0xc7, 0x44, 0x24, 0x0c])?;
    emit::bytes(code, &high)?;
    emit::bytes(code, &[0xc3])
}
