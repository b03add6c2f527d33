//! Effects: what an instruction that depends on its address does, as equations.
//!
//! `pc` on the right of an equation is the address of the instruction. Where the equations
//! say nothing of it, `pc = pc + 4`; where they say nothing of BTYPE, `BTYPE = 00`, as after
//! every other instruction.

use super::Arm64;
use super::regs::{Btype, Registers};
use crate::{Addr, Fault, Machine, Regs};

/// What an instruction does. Registers are numbers, 31 is XZR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// B: `pc = pc + offset`
    Branch {
        /// Bytes, signed.
        offset: i32,
    },
    /// BL: `x30 = pc + 4; pc = pc + offset`
    BranchLink {
        /// Bytes, signed.
        offset: i32,
    },
    /// B.cond, BC.cond, CBZ, CBNZ, TBZ, TBNZ, CB: `pc = pc + (test ? offset : 4)`
    BranchIf {
        /// When it is taken.
        test: Test,
        /// Bytes, signed.
        offset: i32,
    },
    /// BR: `pc = x[register]; BTYPE = btype`
    BranchRegister {
        /// Where to.
        register: u8,
        /// [`Btype::GuardedJump`] from a guarded page unless the register is x16 or x17.
        btype: Btype,
    },
    /// BLR: `t = x[register]; x30 = pc + 4; pc = t; BTYPE = 10`
    BranchLinkRegister {
        /// Where to; x30 is read before it is written.
        register: u8,
    },
    /// RET: `pc = x[register]`
    Return {
        /// Where to.
        register: u8,
    },
    /// ADR: `x[to] = pc + offset`
    Address {
        /// The destination.
        to: u8,
        /// Bytes, signed.
        offset: i32,
    },
    /// ADRP: `x[to] = (pc & !0xfff) + offset`
    Page {
        /// The destination.
        to: u8,
        /// Bytes, signed: a multiple of 4096.
        offset: i64,
    },
    /// LDR (literal): `register[to] = memory[pc + offset]`, as `kind` says
    Load {
        /// The destination, general or vector.
        to: u8,
        /// How much, and into what.
        kind: Literal,
        /// Bytes, signed.
        offset: i32,
    },
    /// PRFM (literal): `pc = pc + 4`, a hint without a visible effect
    Prefetch,
}

/// What a literal load loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Literal {
    /// `x[to] = zero_extend(memory[4])`
    W,
    /// `x[to] = memory[8]`
    X,
    /// `x[to] = sign_extend(memory[4])`
    Sw,
    /// `v[to] = zero_extend(memory[4])`
    S,
    /// `v[to] = zero_extend(memory[8])`
    D,
    /// `v[to] = memory[16]`
    Q,
}

/// When a conditional branch is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// B.cond, BC.cond: `condition(NZCV)`
    Flags(Condition),
    /// CBZ, CBNZ: `(x[register][width] == 0) != negated`
    Zero {
        /// The register compared.
        register: u8,
        /// 32 or 64 bits of it.
        width: Width,
        /// CBNZ.
        negated: bool,
    },
    /// TBZ, TBNZ: `x[register][bit] == set`
    Bit {
        /// The register looked at.
        register: u8,
        /// The number of the bit, 0 to 63.
        bit: u8,
        /// TBNZ.
        set: bool,
    },
    /// CB, CBB, CBH (FEAT_CMPBR): `x[register][width] relation with[width]`
    Compare {
        /// The left side.
        register: u8,
        /// Which comparison.
        relation: Relation,
        /// The right side.
        with: Compare,
        /// How much of both sides.
        width: Width,
    },
}

/// The low bits of a register that take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 8
    B = 8,
    /// 16
    H = 16,
    /// 32
    W = 32,
    /// 64
    X = 64,
}

/// The right side of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// `x[_]`
    Register(u8),
    /// A number from 0 to 63.
    Immediate(u8),
}

/// A comparison; of signed numbers for `Gt`, `Ge` and `Lt`, of unsigned ones for `Hi`, `Hs`
/// and `Lo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "their names are the processor's")]
pub enum Relation {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Hi,
    Hs,
    Lo,
}

/// A condition on NZCV, by its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition(u8);

impl Condition {
    /// The condition encoded as `code`, modulo 16: 0 EQ, 1 NE, 2 CS, 3 CC, 4 MI, 5 PL, 6 VS,
    /// 7 VC, 8 HI, 9 LS, 10 GE, 11 LT, 12 GT, 13 LE, 14 and 15 always.
    #[must_use]
    pub const fn new(code: u8) -> Condition {
        Condition(code & 15)
    }

    /// Its encoding, 0 to 15.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0
    }

    /// Whether it holds for N, Z, C and V in bits 3 to 0.
    #[must_use]
    pub const fn holds(self, nzcv: u8) -> bool {
        let [n, z, c, v] = [nzcv & 8 != 0, nzcv & 4 != 0, nzcv & 2 != 0, nzcv & 1 != 0];
        let base = match self.0 >> 1 {
            0 => z,
            1 => c,
            2 => n,
            3 => v,
            4 => c && !z,
            5 => n == v,
            6 => n == v && !z,
            _ => return true,
        };
        base != (self.0 & 1 == 1)
    }
}

impl Width {
    /// `value` as an unsigned number of this width.
    const fn zero_extend(self, value: u64) -> u64 {
        value << (64 - self as u32) >> (64 - self as u32)
    }

    /// `value` as a signed number of this width.
    const fn sign_extend(self, value: u64) -> i64 {
        (value << (64 - self as u32)) as i64 >> (64 - self as u32)
    }
}

impl Test {
    /// Whether the branch is taken.
    #[must_use]
    pub fn holds(self, regs: &Registers) -> bool {
        match self {
            Test::Flags(condition) => regs.holds(condition),
            Test::Zero { register, width, negated } => {
                (width.zero_extend(regs.get(register)) == 0) != negated
            }
            Test::Bit { register, bit, set } => (regs.get(register) >> bit & 1 == 1) == set,
            Test::Compare { register, relation, with, width } => {
                let right = match with {
                    Compare::Register(register) => regs.get(register),
                    Compare::Immediate(number) => number.into(),
                };
                relation.holds(width, regs.get(register), right)
            }
        }
    }
}

impl Relation {
    const fn holds(self, width: Width, left: u64, right: u64) -> bool {
        let signed = [width.sign_extend(left), width.sign_extend(right)];
        let [left, right] = [width.zero_extend(left), width.zero_extend(right)];
        match self {
            Relation::Eq => left == right,
            Relation::Ne => left != right,
            Relation::Gt => signed[0] > signed[1],
            Relation::Ge => signed[0] >= signed[1],
            Relation::Lt => signed[0] < signed[1],
            Relation::Hi => left > right,
            Relation::Hs => left >= right,
            Relation::Lo => left < right,
        }
    }
}

impl Effect {
    /// BR by `register` in a page that is not guarded.
    pub(super) const fn jump(register: u8) -> Effect {
        Effect::BranchRegister { register, btype: Btype::Jump }
    }

    /// The effect in a page that is guarded or not.
    pub(super) const fn in_page(self, guarded: bool) -> Effect {
        match self {
            Effect::BranchRegister { register, .. } => {
                Effect::BranchRegister { register, btype: jump_btype(register, guarded) }
            }
            other => other,
        }
    }
}

/// BTYPE after BR, BRAA and so on by `register`.
pub(super) const fn jump_btype(register: u8, guarded: bool) -> Btype {
    match register {
        16 | 17 => Btype::Jump,
        _ if guarded => Btype::GuardedJump,
        _ => Btype::Jump,
    }
}

impl Literal {
    /// How many bytes are loaded.
    pub(super) const fn size(self) -> usize {
        match self {
            Literal::W | Literal::Sw | Literal::S => 4,
            Literal::X | Literal::D => 8,
            Literal::Q => 16,
        }
    }
}

/// Computes `effect` of the instruction at `at`.
pub(super) fn simulate<M: Machine<Arm64>>(
    effect: Effect,
    at: Addr,
    machine: &mut M,
) -> Result<(), Fault> {
    let next = at.add(4);
    // Memory first: a fault leaves the registers as they were.
    if let Effect::Load { to, kind, offset } = effect {
        load(to, kind, at.offset(offset.into()), machine)?;
    }
    let regs = machine.regs();
    let mut btype = Btype::None;
    let pc = match effect {
        Effect::Branch { offset } => at.offset(offset.into()),
        Effect::BranchLink { offset } => {
            regs.set(30, next.0);
            at.offset(offset.into())
        }
        Effect::BranchIf { test, offset } => {
            if test.holds(regs) {
                at.offset(offset.into())
            } else {
                next
            }
        }
        Effect::BranchRegister { register, btype: by } => {
            btype = by;
            Addr(regs.get(register))
        }
        Effect::BranchLinkRegister { register } => {
            btype = Btype::Call;
            let target = regs.get(register);
            regs.set(30, next.0);
            Addr(target)
        }
        Effect::Return { register } => Addr(regs.get(register)),
        Effect::Address { to, offset } => {
            regs.set(to, at.offset(offset.into()).0);
            next
        }
        Effect::Page { to, offset } => {
            regs.set(to, at.align_down(4096).offset(offset).0);
            next
        }
        Effect::Load { .. } | Effect::Prefetch => next,
    };
    regs.set_pc(pc);
    regs.set_btype(btype);
    Ok(())
}

fn load<M: Machine<Arm64>>(
    to: u8,
    kind: Literal,
    from: Addr,
    machine: &mut M,
) -> Result<(), Fault> {
    let mut bytes = [0; 16];
    machine.read(from, &mut bytes[..kind.size()])?;
    let value = u128::from_le_bytes(bytes);
    match kind {
        Literal::W | Literal::X => machine.regs().set(to, value as u64),
        Literal::Sw => machine.regs().set(to, Width::W.sign_extend(value as u64) as u64),
        Literal::S | Literal::D | Literal::Q => machine.set_vector(to, value)?,
    }
    Ok(())
}
