//! The code written for one displaced instruction.
//!
//! ```text
//! slot + 0      the copy
//!      + done   a NOP as long as a trap (boost), or the trap (xol)
//!      + …      what corrects the copy's traces, and the jump back
//! ```
//!
//! The NOP is where a trap can be put while a thread with a signal waiting is inside; behind the
//! trap of `xol` a thread whose tracer died goes on by itself.

use xol_arch::{Addr, Arch, Code, Plan, Reject, Strategy, Text};

/// Bytes for one slot.
pub const SLOT_SIZE: u64 = 64;

/// Where a site's code is, and how far it has to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRef {
    /// First byte.
    pub at: Addr,
    /// Offset of the NOP or trap behind the copy; the code's length where control never gets
    /// behind it.
    pub done: u8,
    /// Length of all the code.
    pub len: u8,
    /// Whether there is a place for a trap behind the copy.
    pub gate: bool,
}

/// A part of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its first byte: the copy has not run.
    Start,
    /// Within a copy that is several instructions.
    Inside,
    /// Behind the copy, on the way back.
    Behind,
}

impl SlotRef {
    /// Returns the part of the slot that `pc` is in.
    #[must_use]
    pub fn part(&self, pc: Addr) -> Option<Part> {
        match pc.0.wrapping_sub(self.at.0) {
            0 => Some(Part::Start),
            offset if offset >= SLOT_SIZE => None,
            offset if self.gate && offset < u64::from(self.done) => Some(Part::Inside),
            _ => Some(Part::Behind),
        }
    }

    /// Whether `pc` is in the slot.
    #[must_use]
    pub fn has(&self, pc: Addr) -> bool {
        pc.0.wrapping_sub(self.at.0) < SLOT_SIZE
    }

    /// Where a trap behind the copy is.
    #[must_use]
    pub fn gate_at(&self) -> Addr {
        self.at.add(u64::from(self.done))
    }
}

/// A slot's contents.
#[derive(Debug)]
pub struct SlotCode<A: Arch> {
    /// To be written to the slot.
    pub code: Code,
    /// What to correct at the trap behind the copy.
    pub fixup: A::Fixup,
    /// Where it is.
    pub slot: SlotRef,
    /// Whether it has the instruction's whole effect with no tracer.
    pub stands_alone: bool,
}

/// Makes the code for a slot at `to`.
///
/// # Errors
/// Why no such code is right at `to`.
pub fn write_slot<A: Arch>(
    text: &Text<'_>,
    at: Addr,
    plan: &Plan<A>,
    strategy: Strategy,
    to: Addr,
) -> Result<SlotCode<A>, Reject> {
    let traps = matches!(strategy, Strategy::Xol | Strategy::Step);
    let mut code = Code::new();
    let whole = A::relocate(text, at, plan, to, &mut code);
    let falls_through = plan.copied.is_some_and(|copied| copied.falls_through);
    // A copy that is not what stands alone begins with (arm64 authenticates a branch's register
    // and leaves the branch to the fixup) is not continued by it either.
    let continued = !traps || !falls_through || {
        let mut copy = Code::new();
        A::copy(text, at, plan, to, &mut copy).is_ok() && code.starts_with(&copy)
    };
    match whole {
        // Control never comes behind the copy, or the code is no copy.
        Ok(relocated) if !falls_through => {
            let slot = SlotRef { at: to, done: relocated.done, len: code.len() as u8, gate: false };
            Ok(SlotCode { code, fixup: A::Fixup::default(), slot, stands_alone: true })
        }
        Ok(relocated) if continued => {
            // What follows the copy is where it would be had the copy begun one trap later.
            let mut later = Code::new();
            let gate = A::TRAP.len() as u64;
            A::relocate(text, at, plan, to.add(gate), &mut later)?;
            let mut done = usize::from(relocated.done);
            code.truncate(done);
            let mut fixup = A::Fixup::default();
            if traps {
                // The copy alone: what corrects its traces is the fixup's, and comes behind the
                // trap for a thread that nobody fixes up (x86-64 SYSCALL).
                code.clear();
                fixup = A::copy(text, at, plan, to, &mut code)?;
                done = code.len();
            }
            append(&mut code, if traps { A::TRAP } else { A::NOP })?;
            append(&mut code, later.get(done..).unwrap_or(&[]))?;
            let slot = SlotRef { at: to, done: done as u8, len: code.len() as u8, gate: true };
            Ok(SlotCode { code, fixup, slot, stands_alone: true })
        }
        Err(reject) if !traps => Err(reject),
        // Only right with us behind it: a register to restore, a branch to finish.
        _ => {
            code.clear();
            let fixup = A::copy(text, at, plan, to, &mut code)?;
            let done = code.len();
            append(&mut code, A::TRAP)?;
            let here = to.add(code.len() as u64);
            A::jump(here, at.add(plan.span().into()), &mut code)?;
            let slot = SlotRef { at: to, done: done as u8, len: code.len() as u8, gate: true };
            Ok(SlotCode { code, fixup, slot, stands_alone: false })
        }
    }
}

fn append(code: &mut Code, bytes: &[u8]) -> Result<(), Reject> {
    code.extend_from_slice(bytes).map_err(|_| xol_arch::Reason::OutOfReach.into())
}
