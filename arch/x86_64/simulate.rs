//! The effects the engine computes, and their computation.
//!
//! Everything here runs during a hit: it looks at decoded fields only, allocates nothing and
//! cannot panic. Addresses wrap at 2^64 as the processor's do.

use crate::{Addr, Fault, Machine};

use super::X86_64;
use super::regs::{Gpr, Registers};

const CF: u64 = 1 << 0;
const PF: u64 = 1 << 2;
const ZF: u64 = 1 << 6;
const SF: u64 = 1 << 7;
const OF: u64 = 1 << 11;

/// What an instruction does, as equations over the registers. `site` is its address, `[a]` the
/// eight bytes at `a`; `by` and `len` are relative to `site`. What an equation does not name
/// stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// JMP rel: `rip = site + by`.
    Jump {
        /// Distance of the target from the site.
        by: i64,
    },
    /// Jcc: `rip = site + (condition(rflags) ? by : len)`.
    JumpIf {
        /// When.
        condition: Condition,
        /// Distance of the target from the site.
        by: i64,
        /// The instruction's length.
        len: u8,
    },
    /// LOOP, LOOPE, LOOPNE: `c = c - 1; rip = site + (c != 0 && until(rflags) ? by : len)`,
    /// where c is rcx, or with `narrow` ecx (whose write clears the upper half of rcx).
    Loop {
        /// What ZF must be besides.
        zero_flag: Option<bool>,
        /// Count in ecx.
        narrow: bool,
        /// Distance of the target from the site.
        by: i64,
        /// The instruction's length.
        len: u8,
    },
    /// JRCXZ, JECXZ: `rip = site + (c == 0 ? by : len)`, where c is rcx, or with `narrow` ecx.
    JumpIfCountZero {
        /// Look at ecx.
        narrow: bool,
        /// Distance of the target from the site.
        by: i64,
        /// The instruction's length.
        len: u8,
    },
    /// CALL rel: `[rsp - 8] = site + len; rsp = rsp - 8; rip = site + by`.
    Call {
        /// Distance of the target from the site.
        by: i64,
        /// The instruction's length.
        len: u8,
    },
    /// CALL r/m: `t = target; [rsp - 8] = site + len; rsp = rsp - 8; rip = t`.
    CallTo {
        /// Where the new rip comes from; its address is computed with the old rsp.
        target: Operand,
        /// The instruction's length.
        len: u8,
    },
    /// JMP r/m: `rip = target`.
    JumpTo {
        /// Where the new rip comes from.
        target: Operand,
    },
    /// RET and RET imm: `rip = [rsp]; rsp = rsp + 8 + release`.
    Return {
        /// Bytes of arguments taken off the stack.
        release: u16,
    },
    /// LEA with a RIP-relative operand: `to = site + by; rip = site + len`. A 32-bit `to` clears
    /// the upper half, a 16-bit one leaves the other 48 bits.
    Lea {
        /// The destination.
        to: Gpr,
        /// Its width.
        width: Width,
        /// Distance of the operand from the site.
        by: i64,
        /// Prefix 67: the sum is cut to 32 bits.
        narrow: bool,
        /// The instruction's length.
        len: u8,
    },
}

/// A destination's width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 16 bits; the rest stays.
    Word,
    /// 32 bits; the rest becomes zero.
    Long,
    /// All.
    Quad,
}

/// A condition code: bits 3..1 choose the test, bit 0 negates it, as `tttn` in the opcode
/// (Intel SDM 2, B.1.4.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition(u8);

impl Condition {
    /// From an opcode whose low four bits are `tttn`.
    #[must_use]
    pub const fn new(tttn: u8) -> Condition {
        Condition(tttn & 15)
    }

    /// The `tttn` bits.
    #[must_use]
    pub const fn tttn(self) -> u8 {
        self.0
    }

    /// Whether it is met.
    #[must_use]
    pub const fn holds(self, rflags: u64) -> bool {
        let less = (rflags & SF != 0) != (rflags & OF != 0);
        let test = match self.0 >> 1 {
            0 => rflags & OF != 0,
            1 => rflags & CF != 0,
            2 => rflags & ZF != 0,
            3 => rflags & (CF | ZF) != 0,
            4 => rflags & SF != 0,
            5 => rflags & PF != 0,
            6 => less,
            _ => less || rflags & ZF != 0,
        };
        test != (self.0 & 1 != 0)
    }
}

/// A register or eight bytes of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// All 64 bits of a register.
    Register(Gpr),
    /// `[address]`.
    Memory(Address),
}

/// `segment + cut(base + (index << shift) + displacement)`, where `cut` keeps 32 bits if `narrow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The base that prefix 64 or 65 adds; the other segments' are zero.
    pub segment: Option<Segment>,
    /// The first addend.
    pub base: Option<Base>,
    /// The second addend.
    pub index: Option<Gpr>,
    /// log2 of the index' scale.
    pub shift: u8,
    /// The third addend.
    pub displacement: i64,
    /// Prefix 67.
    pub narrow: bool,
}

/// Segments whose base is not zero in 64-bit mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "their names are the processor's")]
pub enum Segment {
    Fs,
    Gs,
}

/// What an address starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A register.
    Register(Gpr),
    /// The site: for RIP-relative operands, with the instruction's length in the displacement.
    Site,
}

impl Address {
    fn resolve(self, site: Addr, regs: &Registers) -> Addr {
        let base = match self.base {
            Some(Base::Register(register)) => regs.get(register),
            Some(Base::Site) => site.0,
            None => 0,
        };
        let index = self.index.map_or(0, |register| regs.get(register)) << (self.shift & 3);
        let mut sum = base.wrapping_add(index).wrapping_add_signed(self.displacement);
        if self.narrow {
            sum &= 0xffff_ffff;
        }
        Addr(sum.wrapping_add(match self.segment {
            Some(Segment::Fs) => regs.fs_base,
            Some(Segment::Gs) => regs.gs_base,
            None => 0,
        }))
    }
}

/// Computes `effect` for the instruction at `site`.
pub(super) fn simulate<M: Machine<X86_64>>(
    effect: Effect,
    site: Addr,
    machine: &mut M,
) -> Result<(), Fault> {
    // Worked out on a copy and stored at the end: a fault leaves the registers alone.
    let mut regs = *machine.regs();
    let rip = match effect {
        Effect::Jump { by } => site.offset(by),
        Effect::JumpIf { condition, by, len } => {
            either(condition.holds(regs.rflags), site, by, len)
        }
        Effect::Loop { zero_flag, narrow, by, len } => {
            regs.rcx = counter(regs.rcx.wrapping_sub(1), narrow);
            let zf = regs.rflags & ZF != 0;
            either(regs.rcx != 0 && zero_flag.is_none_or(|wanted| wanted == zf), site, by, len)
        }
        Effect::JumpIfCountZero { narrow, by, len } => {
            either(counter(regs.rcx, narrow) == 0, site, by, len)
        }
        Effect::Call { by, len } => {
            push(&mut regs, site.add(len.into()), machine)?;
            site.offset(by)
        }
        Effect::CallTo { target, len } => {
            let target = canonical(load(target, site, &regs, machine)?)?;
            push(&mut regs, site.add(len.into()), machine)?;
            target
        }
        Effect::JumpTo { target } => canonical(load(target, site, &regs, machine)?)?,
        Effect::Return { release } => {
            let target = canonical(read(Addr(regs.rsp), machine)?)?;
            regs.rsp = regs.rsp.wrapping_add(8 + u64::from(release));
            target
        }
        Effect::Lea { to, width, by, narrow, len } => {
            let sum = counter(site.offset(by).0, narrow);
            let value = match width {
                Width::Word => regs.get(to) & !0xffff | sum & 0xffff,
                Width::Long => sum & 0xffff_ffff,
                Width::Quad => sum,
            };
            regs.set(to, value);
            site.add(len.into())
        }
    };
    regs.rip = rip.0;
    *machine.regs() = regs;
    Ok(())
}

/// The 64-bit or 32-bit view of a register or an address.
fn counter(value: u64, narrow: bool) -> u64 {
    if narrow { value & 0xffff_ffff } else { value }
}

fn either(taken: bool, site: Addr, by: i64, len: u8) -> Addr {
    if taken { site.offset(by) } else { site.add(len.into()) }
}

fn load<M: Machine<X86_64>>(
    operand: Operand,
    site: Addr,
    regs: &Registers,
    machine: &mut M,
) -> Result<Addr, Fault> {
    match operand {
        Operand::Register(register) => Ok(Addr(regs.get(register))),
        Operand::Memory(address) => read(address.resolve(site, regs), machine),
    }
}

fn read<M: Machine<X86_64>>(at: Addr, machine: &mut M) -> Result<Addr, Fault> {
    let mut bytes = [0; 8];
    machine.read(at, &mut bytes)?;
    Ok(Addr(u64::from_le_bytes(bytes)))
}

fn push<M: Machine<X86_64>>(
    regs: &mut Registers,
    value: Addr,
    machine: &mut M,
) -> Result<(), Fault> {
    let top = regs.rsp.wrapping_sub(8);
    machine.write(Addr(top), &value.0.to_le_bytes())?;
    regs.rsp = top;
    Ok(())
}

/// A near branch to an address whose upper bits are not all alike faults before it is taken.
/// 57 bits are looked at, as with five-level paging.
fn canonical(target: Addr) -> Result<Addr, Fault> {
    let sign_extended = ((target.0 << 7) as i64 >> 7) as u64;
    if sign_extended == target.0 { Ok(target) } else { Err(Fault { at: target, write: false }) }
}
