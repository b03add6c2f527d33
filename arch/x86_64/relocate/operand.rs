//! RIP-relative operands from another address.

use crate::x86_64::decode::{Decoded, RipRelative};
use crate::x86_64::emit;
use crate::x86_64::regs::Gpr;
use crate::x86_64::simulate::Width;
use crate::{Addr, Code, Reason, Reject};
use iced_x86::EncodingKind;

/// The displacement that reaches the same operand from `slot`. It counts from the end of the
/// instruction, behind any immediate; with prefix 67 modulo 2^32, which reaches everything.
pub(super) fn displacement(
    operand: RipRelative,
    decoded: &Decoded<'_>,
    slot: Addr,
) -> Option<[u8; 4]> {
    let end = slot.add(decoded.bytes.len() as u64);
    if operand.narrow {
        return Some((operand.target.0 as u32).wrapping_sub(end.0 as u32).to_le_bytes());
    }
    emit::rel32(end, operand.target)
}

pub(super) fn patched(
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
pub(super) fn load_constant(
    to: Gpr,
    width: Width,
    value: u64,
    out: &mut Code,
) -> Result<(), Reject> {
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

/// The instruction with its operand addressed through a register that it does not use, whose
/// former value is lost: the fixup's business. Returns the register.
/// ```text
/// 48 B8+r <imm64>        mov r64, address
/// .. <mod 00, rm r> ..   the instruction, without a displacement
/// ```
pub(super) fn far(decoded: &Decoded<'_>, out: &mut Code) -> Result<Gpr, Reject> {
    let operand = decoded.rip_relative().ok_or(Reason::OutOfReach)?;
    let modrm = operand.offset.checked_sub(1).ok_or(Reason::Undecodable)?;
    let register = unused(decoded, modrm).ok_or(Reason::OutOfReach)?;
    emit::bytes(out, &[0x48, 0xb8 | register.number()])?;
    emit::bytes(out, &operand.target.0.to_le_bytes())?;
    let head = decoded.bytes.get(..=modrm).ok_or(Reason::Undecodable)?;
    let tail = decoded.bytes.get(operand.offset + 4..).ok_or(Reason::Undecodable)?;
    let mut bytes = [0; 15];
    let bytes = bytes.get_mut(..head.len()).ok_or(Reason::Undecodable)?;
    bytes.copy_from_slice(head);
    without_extension(decoded, bytes);
    if let Some(modrm) = bytes.last_mut() {
        // mod reg rm: mod 00 rm 101 is RIP-relative, mod 00 with the register is [register].
        *modrm = *modrm & 0o70 | register.number();
    }
    emit::bytes(out, bytes)?;
    emit::bytes(out, tail)?;
    Ok(register)
}

/// One of rsi, rdi, rbx. An instruction with a RIP-relative operand names at most two general
/// registers, in modrm.reg and VEX.vvvv; what others it implies are among rax, rcx, rdx, rsp, and
/// for CMPXCHG8B and CMPXCHG16B, which name none, rbx.
fn unused(decoded: &Decoded<'_>, modrm: usize) -> Option<Gpr> {
    let reg = decoded.bytes.get(modrm)? >> 3 & 7;
    // VEX has vvvv inverted in bits 6 to 3 of its last byte, EVEX of its third.
    let vex = decoded.prefixes().opcode;
    let vvvv = match decoded.bytes.get(vex..)? {
        [0xc5, last, ..] | [0xc4 | 0x62 | 0x8f, _, last, ..] => Some(!last >> 3 & 7),
        _ => None,
    };
    [6, 7, 3].into_iter().find(|n| *n != reg && Some(*n) != vvvv).map(Gpr::new)
}

/// Clears the bit that would make rm one of r8 to r15; RIP-relative operands ignore it.
/// ```text
/// 4?              0100WRXB
/// C4, 8F (XOP)    RXBmmmmm    inverted
/// 62              RXBR'0mmm   inverted
/// C5              has none
/// ```
fn without_extension(decoded: &Decoded<'_>, bytes: &mut [u8]) {
    let prefixes = decoded.prefixes();
    let escape = decoded.bytes.get(prefixes.opcode).copied();
    // 8F is POP unless iced says XOP, whose map is 8 or above.
    let xop = escape == Some(0x8f) && decoded.insn.encoding() == EncodingKind::XOP;
    if matches!(escape, Some(0xc4 | 0x62)) || xop {
        if let Some(byte) = bytes.get_mut(prefixes.opcode + 1) {
            *byte |= 0x20;
        }
    } else if prefixes.rex != 0
        && let Some(rex) = prefixes.opcode.checked_sub(1).and_then(|at| bytes.get_mut(at))
    {
        *rex &= !1;
    }
}
