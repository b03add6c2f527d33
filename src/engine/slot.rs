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

impl SlotRef {
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

#[cfg(all(test, feature = "arm64"))]
mod tests {
    use super::write_slot;
    use xol_arch::arm64::{Arm64, Fixup};
    use xol_arch::{Addr, Arch, Rules, Strategy, Text};

    const AT: Addr = Addr(0x40_0000);
    const SLOT: Addr = Addr(0x41_0000);
    const TRAP: u32 = u32::from_le_bytes(*Arm64::TRAP.first_chunk().unwrap());
    const NOP: u32 = 0xd503_201f;

    fn slot(words: &[u32], strategy: Strategy) -> (Vec<u32>, Fixup, bool) {
        let bytes: Vec<_> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let text = Text::new(AT, &bytes);
        let plan = Arm64::plan(&text, AT, Rules::default()).unwrap();
        let made = write_slot(&text, AT, &plan, strategy, SLOT).unwrap();
        let words = made.code.as_chunks().0.iter().map(|&word| u32::from_le_bytes(word));
        assert_eq!(made.slot.done, span(&words.clone().collect::<Vec<_>>()));
        (words.collect(), made.fixup, made.stands_alone)
    }

    /// Where the trap or the NOP is.
    fn span(words: &[u32]) -> u8 {
        4 * words.iter().position(|word| [TRAP, NOP].contains(word)).unwrap() as u8
    }

    /// The word of a jump in the slot's `n`th place to the site's `to`th.
    fn b(n: i64, to: i64) -> u32 {
        let distance = AT.offset(4 * to).distance_from(SLOT.offset(4 * n));
        0x1400_0000 | (distance >> 2) as u32 & 0x3ff_ffff
    }

    #[test]
    fn a_sequence_goes_on_behind_its_last_instruction() {
        let [p, m, e] = [0x1901_0440, 0x1941_0440, 0x1981_0440];
        let xol = (vec![p, m, e, TRAP, b(4, 3)], Fixup::None, true);
        assert_eq!(slot(&[p, m, e], Strategy::Xol), xol);
        let boost = (vec![p, m, e, NOP, b(4, 3)], Fixup::None, true);
        assert_eq!(slot(&[p, m, e], Strategy::Boost), boost);
    }

    #[test]
    fn a_signed_branch_is_finished_by_the_fixup_only() {
        // RETAA: AUTIA x30, sp. What relocated code does after the branch is not its tail.
        let (words, fixup, stands_alone) = slot(&[0xd65f_0bff], Strategy::Xol);
        assert_eq!(words[..2], [0xdac1_13fe, TRAP]);
        assert!(fixup != Fixup::None && !stands_alone);
        // BLRAA x8, x9
        let (words, fixup, stands_alone) = slot(&[0xd73f_0909], Strategy::Xol);
        assert_eq!(words[..2], [0xdac1_1128, TRAP]);
        assert!(fixup != Fixup::None && !stands_alone);
    }
}
