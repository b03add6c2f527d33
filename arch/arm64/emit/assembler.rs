//! The few instructions that recorders are made of. None of them sets NZCV.

use crate::arm64::Arm64;
use crate::jump::LongCode;
use crate::{Addr, Arch as _, Reason, Reject};

/// A general register's number; 31 is SP or XZR.
pub(super) type X = u8;
/// The stack pointer, where an instruction means it by 31.
pub(super) const SP: X = 31;
/// Zero, where an instruction means it by 31.
pub(super) const XZR: X = 31;

/// A branch whose target is not known yet: where its word is.
#[derive(Clone, Copy)]
pub(super) struct Forward(usize);

/// Appends instructions to a trampoline's code.
pub(super) struct Assembler<'a> {
    pub(super) code: &'a mut LongCode,
    /// Where the code's first byte runs.
    pub(super) to: Addr,
}

/// Opcodes, their register fields empty. `d` is in bits 4 to 0, `n` in 9 to 5, `m` in 20 to 16.
pub(super) mod opcode {
    /// `x[d] = x[n] + x[m] << amount`, the amount in bits 15 to 10.
    pub(in super::super) const ADD: u32 = 0x8b00_0000;
    /// `x[d] = x[n] - x[m]`
    pub(in super::super) const SUB: u32 = 0xcb00_0000;
    /// `x[d] = x[n] & x[m]`
    pub(in super::super) const AND: u32 = 0x8a00_0000;
    /// `x[d] = x[n] | x[m]`
    pub(in super::super) const ORR: u32 = 0xaa00_0000;
    /// `x[d] = x[n] ^ x[m]`
    pub(in super::super) const EOR: u32 = 0xca00_0000;
    /// `w[d] = w[n] * w[m]`
    pub(in super::super) const MUL_W: u32 = 0x1b00_7c00;
    /// `x[d] = x[a] + x[n] * x[m]`, `a` in bits 14 to 10.
    pub(in super::super) const MADD: u32 = 0x9b00_0000;
    /// `x[d] = x[n] >> amount`, the amount in bits 21 to 16.
    pub(in super::super) const LSR: u32 = 0xd340_fc00;
    /// `w[d] = w[n] >> amount`
    pub(in super::super) const LSR_W: u32 = 0x5300_7c00;
    /// `x[d] = x[n] ^ 1 << 63`
    pub(in super::super) const EOR_SIGN: u32 = 0xd241_0000;
    /// `x[d] = x[n] & 1` with a wider mask by bits 15 to 10.
    pub(in super::super) const AND_LOW: u32 = 0x9240_0000;
    /// `x[d] = x[n] + imm12`
    pub(in super::super) const ADD_IMMEDIATE: u32 = 0x9100_0000;
    /// Extensions of 8, 16 and 32 bits, without and with a sign.
    pub(in super::super) const EXTEND: [[u32; 2]; 3] =
        [[0x5300_1c00, 0x9340_1c00], [0x5300_3c00, 0x9340_3c00], [0xd340_7c00, 0x9340_7c00]];
    /// `MRS x[d], TPIDR_EL0`
    pub(in super::super) const MRS_THREAD: u32 = 0xd53b_d040;
    /// `MRS x[d], CNTVCT_EL0`
    pub(in super::super) const MRS_TIME: u32 = 0xd53b_e040;
    /// `x[d] = [x[n]]`, acquire.
    pub(in super::super) const LDAR: u32 = 0xc8df_fc00;
    /// `[x[n]] = x[d]`, release.
    pub(in super::super) const STLR: u32 = 0xc89f_fc00;
    /// `[x[n]] = x[d] if [x[n]] == x[m]; x[m] = what was there`, acquire and release.
    pub(in super::super) const CASAL: u32 = 0xc8e0_fc00;
    /// `[x[n]] += x[m]`, with 31 for `d`.
    pub(in super::super) const STADD: u32 = 0xf820_001f;
    /// `x[d] = [x[n]]`, exclusive; then `[x[n]] = x[d], w[m] = whether not`.
    pub(in super::super) const LDXR: u32 = 0xc85f_7c00;
    pub(in super::super) const STXR: u32 = 0xc800_7c00;
    /// The same with acquire and release.
    pub(in super::super) const LDAXR: u32 = 0xc85f_fc00;
    pub(in super::super) const STLXR: u32 = 0xc800_fc00;
    /// Pairs: `[x[n] + 8*imm7]`, the second register in bits 14 to 10.
    pub(in super::super) const STP_BEFORE: u32 = 0xa980_0000;
    pub(in super::super) const LDP_BEHIND: u32 = 0xa8c0_0000;
    pub(in super::super) const STP: u32 = 0xa900_0000;
    pub(in super::super) const LDP: u32 = 0xa940_0000;
    /// `[x[n] + 8*imm12]`, and 4 for W.
    pub(in super::super) const STR: u32 = 0xf900_0000;
    pub(in super::super) const LDR: u32 = 0xf940_0000;
    /// The same of a vector register's low 64 bits.
    pub(in super::super) const STR_D: u32 = 0xfd00_0000;
    pub(in super::super) const STR_W: u32 = 0xb900_0000;
    pub(in super::super) const CBZ: u32 = 0xb400_0000;
    pub(in super::super) const CBNZ: u32 = 0xb500_0000;
    pub(in super::super) const CBNZ_W: u32 = 0x3500_0000;
    /// On the sign of `x[d]`.
    pub(in super::super) const TBZ_SIGN: u32 = 0xb6f8_0000;
    pub(in super::super) const TBNZ_SIGN: u32 = 0xb7f8_0000;
    pub(in super::super) const B: u32 = 0x1400_0000;
    /// `x[d] = pc + offset`
    pub(in super::super) const ADR: u32 = 0x1000_0000;
}

impl Assembler<'_> {
    /// The offset of the next instruction.
    pub(super) fn offset(&self) -> u16 {
        self.code.len() as u16
    }

    /// Where the next instruction runs.
    pub(super) fn here(&self) -> Addr {
        self.to.add(self.code.len() as u64)
    }

    pub(super) fn word(&mut self, word: u32) -> Result<(), Reject> {
        self.code.extend_from_slice(&word.to_le_bytes()).map_err(|_| Reason::NoRoomForSlots.into())
    }

    /// The BRK of a site.
    pub(super) fn trap(&mut self) -> Result<(), Reject> {
        self.code.extend_from_slice(Arm64::TRAP).map_err(|_| Reason::NoRoomForSlots.into())
    }

    /// An instruction with `d` and `n`.
    pub(super) fn two(&mut self, opcode: u32, d: X, n: X) -> Result<(), Reject> {
        self.word(opcode | u32::from(n) << 5 | u32::from(d))
    }

    /// An instruction with `d`, `n` and `m`.
    pub(super) fn three(&mut self, opcode: u32, d: X, n: X, m: X) -> Result<(), Reject> {
        self.two(opcode | u32::from(m) << 16, d, n)
    }

    /// `x[d] = value`
    pub(super) fn constant(&mut self, d: X, value: u64) -> Result<(), Reject> {
        let mut words = crate::Code::new();
        super::constant(d, value, &mut words)?;
        self.code.extend_from_slice(&words).map_err(|_| Reason::NoRoomForSlots.into())
    }

    /// `x[d] = address`: by ADR, whose two low bits are left alone, within 1 MiB.
    pub(super) fn address(&mut self, d: X, address: Addr) -> Result<(), Reject> {
        let distance = address.distance_from(self.here());
        if (-(1 << 20)..1 << 20).contains(&distance) && distance & 3 == 0 {
            let words = (distance >> 2) as u32 & 0x7_ffff;
            return self.word(opcode::ADR | words << 5 | u32::from(d));
        }
        self.constant(d, address.0)
    }

    /// A pair of registers and memory, `offset` in bytes.
    pub(super) fn pair(
        &mut self,
        opcode: u32,
        registers: [X; 2],
        base: X,
        offset: i32,
    ) -> Result<(), Reject> {
        let [first, second] = registers.map(u32::from);
        let offset = (offset >> 3).cast_unsigned() & 0x7f;
        self.two(opcode | offset << 15 | second << 10, first as u8, base)
    }

    /// `[x[base] + offset] = x[register]`
    pub(super) fn store(&mut self, register: X, base: X, offset: u64) -> Result<(), Reject> {
        self.two(opcode::STR | (offset as u32 >> 3) << 10, register, base)
    }

    /// A branch on a register, or B, to be [landed](Self::land) later.
    pub(super) fn branch(&mut self, opcode: u32, register: X) -> Result<Forward, Reject> {
        let forward = Forward(self.code.len());
        self.word(opcode | u32::from(register))?;
        Ok(forward)
    }

    /// A branch on a register back to `offset`.
    pub(super) fn branch_back(
        &mut self,
        opcode: u32,
        register: X,
        offset: u16,
    ) -> Result<(), Reject> {
        let forward = self.branch(opcode, register)?;
        self.aim(forward, offset.into())
    }

    /// Lets a branch land here.
    pub(super) fn land(&mut self, forward: Forward) -> Result<(), Reject> {
        self.aim(forward, self.code.len())
    }

    fn aim(&mut self, Forward(at): Forward, to: usize) -> Result<(), Reject> {
        let place = self.code.get_mut(at..at + 4).and_then(|bytes| bytes.first_chunk_mut());
        let place: &mut [u8; 4] = place.ok_or(Reason::NoRoomForSlots)?;
        let word = u32::from_le_bytes(*place);
        let words = (to as i32 - at as i32) >> 2;
        // TBZ has 14 bits for the offset, CBZ 19, both at bit 5; B has 26 at bit 0. A trampoline
        // is shorter than any of them reaches.
        let field = match word >> 24 & 0x7f {
            0x36 | 0x37 => (words.cast_unsigned() & 0x3fff) << 5,
            0x34 | 0x35 => (words.cast_unsigned() & 0x7_ffff) << 5,
            _ => words.cast_unsigned() & 0x3ff_ffff,
        };
        *place = (word | field).to_le_bytes();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: Addr = Addr(0x10_0000);

    fn words(address: Addr) -> std::vec::Vec<u32> {
        let mut code = LongCode::new();
        let mut asm = Assembler { code: &mut code, to: TO };
        asm.address(1, address).unwrap();
        let (words, _) = code.as_chunks();
        words.iter().map(|&word| u32::from_le_bytes(word)).collect()
    }

    /// ADR  0ii1 0000  jjjj jjjj  jjjj jjjj  jjjd dddd, the distance being jjj…ii
    #[test]
    fn addresses_near_are_relative() {
        assert_eq!(words(TO.add(0x1000)), [0x1000_8001]); // adr x1, #0x1000
        assert_eq!(words(TO.offset(-4)), [0x10ff_ffe1]); // adr x1, #-4
        assert_eq!(words(TO.add(0xf_fffc)), [0x107f_ffe1]); // adr x1, #0xffffc
        assert_eq!(words(Addr(0)), [0x1080_0001]); // adr x1, #-0x100000
        // Further away, and between words: mov x1, #0; movk x1, #0x20, lsl #16, and so on
        assert_eq!(words(TO.add(0x10_0000)).len(), 1); // mov x1, #0x200000
        assert_eq!(words(TO.add(2)), [0xd280_0041, 0xf2a0_0201]);
        assert_eq!(words(TO.add(1)), [0xd280_0021, 0xf2a0_0201]);
    }
}
