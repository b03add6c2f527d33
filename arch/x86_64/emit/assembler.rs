//! The few instructions that recorders are made of.
//!
//! ```text
//! REX      0100 WRXB                 W: 64 bits; R, X, B: bit 3 of reg, index, base or r/m
//! ModRM    mo reg r/m                01: disp8 follows, 10: disp32, 11: r/m is a register
//! SIB      00 100 base               no index; only for the bases rsp and r12
//! ```

use crate::jump::LongCode;
use crate::x86_64::regs::Gpr;
use crate::{Addr, Reason, Reject};

/// `[base + displacement]`.
#[derive(Clone, Copy)]
pub(super) struct Mem(pub(super) Gpr, pub(super) i32);

/// A branch whose target is not known yet: where its rel32 is.
#[derive(Clone, Copy)]
pub(super) struct Forward(usize);

/// Appends instructions to a trampoline's code.
pub(super) struct Assembler<'a> {
    pub(super) code: &'a mut LongCode,
    /// Where the code's first byte runs.
    pub(super) to: Addr,
}

impl Assembler<'_> {
    /// The offset of the next instruction.
    pub(super) fn offset(&self) -> u16 {
        self.code.len() as u16
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Reject> {
        self.code.extend_from_slice(bytes).map_err(|_| Reason::NoRoomForSlots.into())
    }

    /// `opcode` between two registers: `reg` is ModRM.reg, `rm` ModRM.r/m.
    pub(super) fn registers(
        &mut self,
        wide: bool,
        opcode: &[u8],
        reg: Gpr,
        rm: Gpr,
    ) -> Result<(), Reject> {
        self.rex(wide, reg, rm)?;
        self.bytes(opcode)?;
        self.bytes(&[0xc0 | (reg.number() & 7) << 3 | rm.number() & 7])
    }

    /// `opcode` between a register, or an extension of the opcode, and memory.
    pub(super) fn memory(
        &mut self,
        wide: bool,
        opcode: &[u8],
        reg: Gpr,
        mem: Mem,
    ) -> Result<(), Reject> {
        let Mem(base, displacement) = mem;
        self.rex(wide, reg, base)?;
        self.bytes(opcode)?;
        let short = i8::try_from(displacement).ok();
        let mode = if short.is_some() { 0x40 } else { 0x80 };
        let rm = base.number() & 7;
        self.bytes(&[mode | (reg.number() & 7) << 3 | rm])?;
        if rm == Gpr::RSP.number() {
            self.bytes(&[0x24])?;
        }
        match short {
            Some(short) => self.bytes(&short.to_le_bytes()),
            None => self.bytes(&displacement.to_le_bytes()),
        }
    }

    fn rex(&mut self, wide: bool, reg: Gpr, rm: Gpr) -> Result<(), Reject> {
        self.bytes(&[0x40 | u8::from(wide) << 3 | reg.number() >> 3 << 2 | rm.number() >> 3])
    }

    /// `mov [mem], register`
    pub(super) fn store(&mut self, mem: Mem, register: Gpr) -> Result<(), Reject> {
        self.memory(true, &[0x89], register, mem)
    }

    /// `mov register, [mem]`
    pub(super) fn load(&mut self, register: Gpr, mem: Mem) -> Result<(), Reject> {
        self.memory(true, &[0x8b], register, mem)
    }

    /// `lea register, [mem]`
    pub(super) fn lea(&mut self, register: Gpr, mem: Mem) -> Result<(), Reject> {
        self.memory(true, &[0x8d], register, mem)
    }

    /// `mov to, from`
    pub(super) fn move_to(&mut self, to: Gpr, from: Gpr) -> Result<(), Reject> {
        self.registers(true, &[0x89], from, to)
    }

    /// `mov register, value` of 64 bits.
    pub(super) fn constant(&mut self, register: Gpr, value: u64) -> Result<(), Reject> {
        self.bytes(&[0x48 | register.number() >> 3, 0xb8 | register.number() & 7])?;
        self.bytes(&value.to_le_bytes())
    }

    /// `register = address`: by LEA where that reaches.
    pub(super) fn address(&mut self, register: Gpr, address: Addr) -> Result<(), Reject> {
        // 48 8D 05 <rel32>  lea rax, [rip+rel32]
        match super::rel32(self.here().add(7), address) {
            Some(rel) => {
                let reg = register.number();
                self.bytes(&[0x48 | reg >> 3 << 2, 0x8d, 0x05 | (reg & 7) << 3])?;
                self.bytes(&rel)
            }
            None => self.constant(register, address.0),
        }
    }

    /// Where the next instruction runs.
    pub(super) fn here(&self) -> Addr {
        self.to.add(self.code.len() as u64)
    }

    /// `lock inc qword [rip+rel32]`: `F0 48 FF 05 <rel32>`
    pub(super) fn increment(&mut self, address: Addr) -> Result<(), Reject> {
        let rel = super::rel32(self.here().add(8), address).ok_or(Reason::OutOfReach)?;
        self.bytes(&[0xf0, 0x48, 0xff, 0x05])?;
        self.bytes(&rel)
    }

    /// A conditional jump, by its condition code, to be [landed](Self::land) later: `0F 8x <rel32>`
    pub(super) fn jump_if(&mut self, condition: u8) -> Result<Forward, Reject> {
        self.bytes(&[0x0f, 0x80 | condition, 0, 0, 0, 0])?;
        Ok(Forward(self.code.len() - 4))
    }

    /// A jump forward: `E9 <rel32>`
    pub(super) fn jump(&mut self) -> Result<Forward, Reject> {
        self.bytes(&[0xe9, 0, 0, 0, 0])?;
        Ok(Forward(self.code.len() - 4))
    }

    /// A conditional jump back to `offset`: `0F 8x <rel32>`
    pub(super) fn jump_back_if(&mut self, condition: u8, offset: u16) -> Result<(), Reject> {
        let distance = i32::from(offset) - i32::from(self.offset()) - 6;
        self.bytes(&[0x0f, 0x80 | condition])?;
        self.bytes(&distance.to_le_bytes())
    }

    /// Lets a jump land here.
    pub(super) fn land(&mut self, forward: Forward) -> Result<(), Reject> {
        let distance = (self.code.len() - forward.0 - 4) as u32;
        self.code
            .get_mut(forward.0..forward.0 + 4)
            .ok_or(Reason::NoRoomForSlots)?
            .copy_from_slice(&distance.to_le_bytes());
        Ok(())
    }
}
