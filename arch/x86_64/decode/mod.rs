//! One instruction's bytes: what iced-x86 says of them, and the prefixes it does not tell.

use crate::{Addr, Reason, Reject, Text};
use iced_x86::{Decoder, DecoderError, DecoderOptions, Instruction, Register};

use super::regs::Gpr;

/// A decoded instruction with its bytes.
pub(super) struct Decoded<'a> {
    /// What iced-x86 says.
    pub insn: Instruction,
    /// Exactly the instruction.
    pub bytes: &'a [u8],
}

/// Decodes the instruction at `at`.
pub(super) fn decode<'a>(text: &Text<'a>, at: Addr) -> Result<Decoded<'a>, Reject> {
    let bytes = text.from(at);
    // iced reads at most 15 bytes; a shorter slice says which limit was met.
    let window = bytes.get(..16).unwrap_or(bytes);
    let mut decoder = decoder(window, at)?;
    next(&mut decoder, bytes)
}

/// A decoder that stands at `bytes`, which are at `at`. Making one costs more than decoding.
pub(super) fn decoder(bytes: &[u8], at: Addr) -> Result<Decoder<'_>, Reject> {
    Decoder::try_with_ip(64, bytes, at.0, DecoderOptions::NONE)
        .map_err(|_| Reason::Undecodable.into())
}

/// Decodes what `decoder` stands at, which is the beginning of `bytes`.
pub(super) fn next<'a>(decoder: &mut Decoder<'a>, bytes: &'a [u8]) -> Result<Decoded<'a>, Reject> {
    let mut insn = Instruction::default();
    decoder.decode_out(&mut insn);
    match decoder.last_error() {
        DecoderError::None => {}
        DecoderError::NoMoreBytes => return Err(Reason::Truncated.into()),
        _ if too_long(bytes) => return Err(Reason::TooLong.into()),
        _ => return Err(Reason::Undecodable.into()),
    }
    let bytes = bytes.get(..insn.len()).ok_or(Reason::Undecodable)?;
    Ok(Decoded { insn, bytes })
}

/// Whether bytes that do not decode would be an instruction but for the number of their prefixes.
fn too_long(bytes: &[u8]) -> bool {
    const LIMIT: usize = 15;
    let prefixes = bytes.iter().take_while(|byte| is_prefix(**byte)).count();
    (1..=prefixes.min(LIMIT)).find_map(|skipped| {
        let rest = bytes.get(skipped..)?;
        let mut decoder = decoder(rest, Addr(0)).ok()?;
        let insn = decoder.decode();
        match decoder.last_error() {
            DecoderError::None => Some(skipped + insn.len() > LIMIT),
            DecoderError::NoMoreBytes => Some(bytes.len() >= LIMIT),
            _ => None,
        }
    }) == Some(true)
}

/// Legacy prefixes and REX.
const fn is_prefix(byte: u8) -> bool {
    matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3)
}

/// Where the displacement of a RIP-relative operand is and what it points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RipRelative {
    /// Offset of the four displacement bytes in the instruction.
    pub offset: usize,
    /// The operand's address, without a segment's base. Below 4 GiB if `narrow`.
    pub target: Addr,
    /// With prefix 67, the address is computed modulo 2^32.
    pub narrow: bool,
}

impl Decoded<'_> {
    /// The RIP-relative operand, if there is one.
    pub(super) fn rip_relative(&self) -> Option<RipRelative> {
        if !self.insn.is_ip_rel_memory_operand() {
            return None;
        }
        // Only the decoder knows where the displacement is.
        let mut decoder = decoder(self.bytes, Addr(self.insn.ip())).ok()?;
        let insn = decoder.decode();
        Some(RipRelative {
            offset: decoder.get_constant_offsets(&insn).displacement_offset(),
            target: Addr(self.insn.ip_rel_memory_address()),
            narrow: self.insn.memory_base() == Register::EIP,
        })
    }

    /// The prefixes and where the opcode begins.
    pub(super) fn prefixes(&self) -> Prefixes {
        Prefixes::of(self.bytes)
    }
}

/// Legacy prefixes and REX.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Prefixes {
    /// Prefix 66.
    pub operand_size: bool,
    /// Prefix F2 or F3.
    pub repeat: bool,
    /// The REX byte directly before the opcode, or 0: `0100 WRXB`.
    pub rex: u8,
    /// Offset of the opcode, or of the VEX, EVEX or XOP prefix.
    pub opcode: usize,
}

impl Prefixes {
    fn of(bytes: &[u8]) -> Prefixes {
        let mut found = Prefixes::default();
        for (i, &byte) in bytes.iter().enumerate() {
            found.opcode = i;
            match byte {
                0x66 => found.operand_size = true,
                0xf2 | 0xf3 => found.repeat = true,
                0x67 | 0xf0 | 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 => {}
                // A REX that is not directly before the opcode is ignored by the processor.
                0x40..=0x4f => {
                    found.rex = byte;
                    continue;
                }
                _ => break,
            }
            found.rex = 0;
        }
        found
    }

    /// Whether a near branch has an operand size that Intel and AMD disagree on: prefix 66 is
    /// ignored by Intel and makes a 16-bit branch on AMD (AMD APM 3, "Near branches"; Intel SDM
    /// 2, "JMP"), unless REX.W overrides it on both, as in the padded call of `__tls_get_addr`.
    pub(super) fn vendor_dependent_branch(self) -> bool {
        self.operand_size && self.rex & 0x08 == 0
    }
}

/// iced's name of a general register as a number; `None` for anything else.
pub(super) fn gpr(register: Register) -> Option<Gpr> {
    register.is_gpr().then(|| Gpr::new(register.full_register().number() as u8))
}
