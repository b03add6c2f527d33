//! An instruction's effect from another address: the copy for a slot, and code that needs no
//! trap and no engine.

use super::Arm64;
use super::decode::{self, Indirect, Insn, SignedBranch};
use super::emit;
use super::regs::{Btype, Registers};
use super::simulate::{Effect, Literal, Test, jump_btype};
use crate::{Addr, Code, Machine, Plan, Reason, Regs, Reject, Relocated, Text};

/// What a copy leaves different from the instruction in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fixup {
    /// `pc = site + span`: nothing but the PC.
    #[default]
    None,
    /// The copy was AUTIA or AUTIB of the register a branch goes to:
    /// `pc = x[register]; x[register] = before.x[register]; BTYPE = btype`, and
    /// `x30 = site + 4` for a call.
    Branch {
        /// The register that was authenticated.
        register: u8,
        /// Whether it is a call.
        call: bool,
        /// As the branch sets it.
        btype: Btype,
    },
}

/// Appends the copy of the instruction at `at`.
pub(super) fn copy(
    text: &Text<'_>,
    at: Addr,
    plan: &Plan<Arm64>,
    out: &mut Code,
) -> Result<Fixup, Reject> {
    let word = decode::fetch(text, at)?;
    if let Insn::Signed(signed) = decode::decode(word) {
        emit::word(authenticate(signed), out)?;
        let btype = match signed.branch {
            Indirect::Jump => jump_btype(signed.register, text.guarded),
            Indirect::Call => Btype::Call,
            Indirect::Return => Btype::None,
        };
        let call = signed.branch == Indirect::Call;
        return Ok(Fixup::Branch { register: signed.register, call, btype });
    }
    verbatim(text, at, plan, out)?;
    Ok(Fixup::None)
}

/// Corrects what the copy left different.
pub(super) fn fixup<M: Machine<Arm64>>(
    fixup: Fixup,
    at: Addr,
    plan: &Plan<Arm64>,
    before: &Registers,
    machine: &mut M,
) {
    let regs = machine.regs();
    match fixup {
        Fixup::None => {
            let span = plan.span();
            regs.set_pc(at.add(span.into()));
        }
        Fixup::Branch { register, call, btype } => {
            regs.set_pc(Addr(regs.get(register)));
            regs.set_btype(btype);
            regs.set(register, before.get(register));
            if call {
                regs.set(30, at.add(4).0);
            }
        }
    }
}

/// The instruction, or the whole sequence, as it is.
fn verbatim(text: &Text<'_>, at: Addr, plan: &Plan<Arm64>, out: &mut Code) -> Result<(), Reject> {
    // Only asked for where the plan has a copy; from nowhere would another one be right.
    let copied = plan.copied.ok_or(Reason::OutOfReach)?;
    let bytes = text.from(at).get(..copied.span.into()).ok_or(Reason::Truncated)?;
    out.extend_from_slice(bytes).map_err(|_| Reason::NoRoomForSlots.into())
}

/// ```text
/// AUTIA, AUTIB    1101 1010  1100 0001  0001 0knn  nnnd dddd    x[d] by key and x[n] or SP
/// AUTIZA, AUTIZB  1101 1010  1100 0001  0011 0k11  111d dddd    x[d] by key and zero
/// ```
fn authenticate(signed: SignedBranch) -> u32 {
    let key = u32::from(signed.key_b) << 10;
    let opcode = match signed.modifier {
        Some(modifier) => 0xdac1_1000 | u32::from(modifier) << 5,
        None => 0xdac1_33e0,
    };
    opcode | key | u32::from(signed.register)
}

/// Appends code with the whole effect of the instruction at `at` when run at `to`.
///
/// Nothing that runs elsewhere is quite in place: a call made by BR sets BTYPE to 01, which
/// enters every landing pad that BLR's 10 does and BTI j besides. From a guarded page, where
/// the program asked for that check, such a branch is refused; elsewhere it differs only for
/// a program that was about to fault. A guarded control stack sees no BL or BLR from here.
pub(super) fn relocate(
    text: &Text<'_>,
    at: Addr,
    plan: &Plan<Arm64>,
    to: Addr,
    out: &mut Code,
) -> Result<Relocated, Reject> {
    let word = decode::fetch(text, at)?;
    let mut body = Body { code: Code::new(), to, next: at.add(4) };
    let behind = match decode::decode(word) {
        Insn::Simulated(effect) => body.simulated(effect.in_page(text.guarded), word, text, at)?,
        Insn::Signed(signed) => body.signed(signed, word, text.guarded)?,
        _ => {
            verbatim(text, at, plan, &mut body.code)?;
            body.next = at.add(body.code.len() as u64);
            Behind::Reached
        }
    };
    let done = body.code.len();
    if behind == Behind::Reached {
        emit::jump(body.here(), body.next, &mut body.code)?;
    }
    out.extend_from_slice(&body.code).map_err(|_| Reason::NoRoomForSlots)?;
    Ok(Relocated { done: done as u8 })
}

/// Whether control comes to what is behind the code.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behind {
    Reached,
    Left,
}

/// Code under construction.
struct Body {
    code: Code,
    /// Where it will run.
    to: Addr,
    /// The address behind the instruction.
    next: Addr,
}

const NOP: u32 = 0xd503_201f;
const BR: u32 = 0xd61f_0000;
/// In BLR and BLRAA, and nothing else but this makes them calls.
const LINK: u32 = 1 << 21;

impl Body {
    /// Where the next word will be.
    fn here(&self) -> Addr {
        self.to.add(self.code.len() as u64)
    }

    fn word(&mut self, word: u32) -> Result<(), Reject> {
        emit::word(word, &mut self.code)
    }

    fn jump(&mut self, to: Addr) -> Result<(), Reject> {
        emit::jump(self.here(), to, &mut self.code)
    }

    fn constant(&mut self, register: u8, value: Addr) -> Result<(), Reject> {
        emit::constant(register, value.0, &mut self.code)
    }

    fn simulated(
        &mut self,
        effect: Effect,
        word: u32,
        text: &Text<'_>,
        at: Addr,
    ) -> Result<Behind, Reject> {
        match effect {
            Effect::Branch { offset } => self.jump(at.offset(offset.into()))?,
            Effect::BranchLink { offset } => {
                self.constant(30, self.next)?;
                self.jump(at.offset(offset.into()))?;
            }
            Effect::BranchIf { test, offset } => {
                self.branch_if(test, word, at.offset(offset.into()))?;
                return Ok(Behind::Reached);
            }
            Effect::BranchRegister { btype: Btype::Jump, .. } => self.word(word)?,
            Effect::BranchRegister { .. } => return Err(Reason::LandingPad.into()),
            Effect::BranchLinkRegister { register } => {
                self.call(text.guarded || register == 30, BR | u32::from(register) << 5)?;
            }
            Effect::Return { .. } => self.word(word)?,
            Effect::Address { to, offset } => {
                self.constant(to, at.offset(offset.into()))?;
                return Ok(Behind::Reached);
            }
            Effect::Page { to, offset } => {
                self.constant(to, at.align_down(4096).offset(offset))?;
                return Ok(Behind::Reached);
            }
            Effect::Load { to, kind, offset } => {
                self.load(to, kind, word, at.offset(offset.into()), text)?;
                return Ok(Behind::Reached);
            }
            Effect::Prefetch => {
                self.word(NOP)?;
                return Ok(Behind::Reached);
            }
        }
        Ok(Behind::Left)
    }

    /// ```text
    ///     b.cond  1f      the instruction, its offset now 8
    ///     b       2f
    /// 1:  b       target
    /// 2:                  the jump back
    /// ```
    ///
    /// Inverting the condition would save a word, but not every CB has an inverse.
    fn branch_if(&mut self, test: Test, word: u32, target: Addr) -> Result<(), Reject> {
        let width = match test {
            Test::Flags(_) | Test::Zero { .. } => 19,
            Test::Bit { .. } => 14,
            Test::Compare { .. } => 9,
        };
        self.word(with_offset(word, width, 2 << 5))?;
        self.jump(self.here().add(8))?;
        self.jump(target)
    }

    /// The link register and a branch that does not set it.
    fn call(&mut self, refused: bool, branch: u32) -> Result<(), Reject> {
        if refused {
            return Err(Reason::LandingPad.into());
        }
        self.constant(30, self.next)?;
        self.word(branch)
    }

    /// From near enough the same load. From further away the address goes into the destination
    /// itself, which must then not be lost to a fault: only what is known to be readable.
    fn load(
        &mut self,
        to: u8,
        kind: Literal,
        word: u32,
        from: Addr,
        text: &Text<'_>,
    ) -> Result<(), Reject> {
        if let Some(offset) = emit::offset(self.here(), from, 5, 19) {
            return self.word(with_offset(word, 19, offset));
        }
        // LDR <Wt>, LDR <Xt>, LDRSW  ss11 1001  cc00 0000  0000 00nn  nnnt tttt
        let opcode = match kind {
            Literal::W => 0xb940_0000,
            Literal::X => 0xf940_0000,
            Literal::Sw => 0xb980_0000,
            Literal::S | Literal::D | Literal::Q => return Err(Reason::OutOfReach.into()),
        };
        if text.from(from).len() < kind.size() {
            return Err(Reason::OutOfReach.into());
        }
        if to == 31 {
            return self.word(NOP);
        }
        self.constant(to, from)?;
        self.word(opcode | u32::from(to) << 5 | u32::from(to))
    }

    fn signed(&mut self, signed: SignedBranch, word: u32, guarded: bool) -> Result<Behind, Reject> {
        match signed.branch {
            Indirect::Return => self.word(word)?,
            Indirect::Jump if jump_btype(signed.register, guarded) == Btype::Jump => {
                self.word(word)?;
            }
            Indirect::Jump => return Err(Reason::LandingPad.into()),
            Indirect::Call => {
                let uses_link = signed.register == 30 || signed.modifier == Some(30);
                self.call(guarded || uses_link, word & !LINK)?;
            }
        }
        Ok(Behind::Left)
    }
}

/// `word` with another offset field of `width` bits, which is always at bit 5.
const fn with_offset(word: u32, width: u32, offset: u32) -> u32 {
    word & !(((1 << width) - 1) << 5) | offset
}
