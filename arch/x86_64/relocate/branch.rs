//! Branches and calls rebuilt: rel32 forms, pushes of the original return address.

use crate::x86_64::decode::Decoded;
use crate::x86_64::emit;
use crate::x86_64::simulate::Effect;
use crate::{Addr, Code, Reason, Reject};

use super::operand;
use iced_x86::{OpKind, Register};

/// Branches and calls that are never copied. Returns `done`: the offset of the jump behind the
/// instruction, which always comes last, or the end where no such jump is.
pub(super) fn rebuild(
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

/// CALL r/m without a register or a flag, and without a shadow stack. With the target in a register
/// other than rsp, and nothing that could fault:
/// ```text
/// 68 …, C7 44 24 04 …        return address               as for a direct call
/// jmp r                                                   FF /2 made FF /4
/// ```
/// Else the operand is read once and before anything is
/// written, as CALL does; its address is computed with the rsp before the push, as CALL's is.
/// ```text
/// push m                     target                       FF /2 made FF /6
/// push [rsp]                 target, target               FF 34 24
/// mov  dword [rsp+8], low    target, return address       C7 44 24 08 <imm32>
/// mov  dword [rsp+12], high                               C7 44 24 0C <imm32>
/// ret                        return address               C3
/// ```
/// It then differs from CALL in the eight bytes below the return address, which hold the target
/// afterwards.
fn call_operand(
    decoded: &Decoded<'_>,
    back: Addr,
    to: Addr,
    code: &mut Code,
) -> Result<(), Reject> {
    let in_register = decoded.insn.op0_kind() == OpKind::Register;
    if in_register && decoded.insn.op0_register() != Register::RSP {
        push_constant(back, code)?;
        let at = code.len() + decoded.prefixes().opcode + 1;
        emit::bytes(code, decoded.bytes)?;
        return operation(code, at, 4);
    }
    match decoded.rip_relative() {
        Some(operand) => {
            let rel = operand::displacement(operand, decoded, to).ok_or(Reason::OutOfReach)?;
            operand::patched(decoded, operand.offset, rel, code)?;
        }
        None => emit::bytes(code, decoded.bytes)?,
    }
    operation(code, decoded.prefixes().opcode + 1, 6)?;
    let [low, high] = halves(back);
    emit::bytes(code, &[0xff, 0x34, 0x24])?;
    emit::bytes(code, &[0xc7, 0x44, 0x24, 0x08])?;
    emit::bytes(code, &low)?;
    emit::bytes(code, &[0xc7, 0x44, 0x24, 0x0c])?;
    emit::bytes(code, &high)?;
    emit::bytes(code, &[0xc3])
}

/// FF /n: 2 is CALL, 4 is JMP, 6 is PUSH. `mod reg r/m` with n for reg.
fn operation(code: &mut Code, modrm: usize, n: u8) -> Result<(), Reject> {
    let modrm = code.get_mut(modrm).ok_or(Reason::Undecodable)?;
    *modrm = *modrm & !0o070 | n << 3;
    Ok(())
}
