//! What was decided about one instruction: small, `Copy`, and all that a hit looks at.

use crate::Arch;

/// How a displaced instruction runs, in the order of cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strategy {
    /// A trap at the site; the hardware single-steps the copy. Two stops and a debug exception.
    Step,
    /// A trap at the site and one behind the copy. Two stops.
    Xol,
    /// A trap at the site; a jump back behind the copy. One stop.
    Boost,
    /// A trap at the site; the engine computes the effect. One stop, no slot.
    Simulate,
    /// A jump at the site; a trampoline records the hit. No stop.
    Jump,
}

impl Strategy {
    /// All of them, in the order of cost.
    pub const ALL: [Strategy; 5] =
        [Strategy::Step, Strategy::Xol, Strategy::Boost, Strategy::Simulate, Strategy::Jump];

    /// The name used on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Strategy::Step => "step",
            Strategy::Xol => "xol",
            Strategy::Boost => "boost",
            Strategy::Simulate => "simulate",
            Strategy::Jump => "jump",
        }
    }
}

/// A set of strategies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strategies(u8);

impl Strategies {
    /// No strategy.
    pub const NONE: Strategies = Strategies(0);

    /// With `strategy` too.
    #[must_use]
    pub const fn with(self, strategy: Strategy) -> Strategies {
        Strategies(self.0 | 1 << strategy as u8)
    }

    /// Whether `strategy` is among them.
    #[must_use]
    pub const fn has(self, strategy: Strategy) -> bool {
        self.0 & (1 << strategy as u8) != 0
    }

    /// The members, in the order of cost.
    pub fn iter(self) -> impl Iterator<Item = Strategy> {
        Strategy::ALL.into_iter().filter(move |&s| self.has(s))
    }
}

/// How the copy of an instruction behaves in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Bytes taken from the site: the instruction, or a whole sequence (arm64 MOPS).
    pub span: u8,
    /// Whether control can come to what is behind the copy. A RET in a slot leaves it.
    pub falls_through: bool,
    /// Whether a trap behind the copy is correct: `xol` and `step`.
    pub trap_behind: bool,
    /// Whether a jump behind the copy is correct: `boost`.
    pub jump_behind: bool,
}

/// How one instruction can be displaced.
#[derive(Debug, PartialEq)]
pub struct Plan<A: Arch> {
    /// The instruction's length in bytes.
    pub len: u8,
    /// The effect the engine can compute, if it can.
    pub effect: Option<A::Effect>,
    /// How a copy behaves, if one is right.
    pub copied: Option<Copied>,
}

impl<A: Arch> Clone for Plan<A> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<A: Arch> Copy for Plan<A> {}

impl<A: Arch> Plan<A> {
    /// The strategies that are correct for this instruction wherever its slot is in reach.
    #[must_use]
    pub fn strategies(&self) -> Strategies {
        let mut set = Strategies::NONE;
        if let Some(copied) = self.copied {
            if copied.trap_behind {
                set = set.with(Strategy::Step).with(Strategy::Xol);
            }
            if copied.jump_behind {
                set = set.with(Strategy::Boost);
            }
        }
        if self.effect.is_some() {
            set = set.with(Strategy::Simulate);
        }
        set
    }

    /// How many bytes of the site are behind a thread whose copy has run: the instruction, or
    /// the whole sequence that was copied.
    #[must_use]
    pub fn span(&self) -> u8 {
        self.copied.map_or(self.len, |copied| copied.span)
    }

    /// `copy` or `simulate`: the word reports use for what happens to the instruction.
    #[must_use]
    pub fn word(&self) -> &'static str {
        if self.copied.is_some() { "copy" } else { "simulate" }
    }
}

/// What [`Arch::relocate`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocated {
    /// Offset in the code from which on the instruction has taken its whole effect, but for the
    /// PC: a thread found there stands, architecturally, behind the instruction. A thread found
    /// at offset 0 has not begun it. Between the two, the code is one instruction or must be
    /// left to run.
    pub done: u8,
}

/// What the user allowed beyond the safe default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// A load-exclusive itself may be boosted (`--allow-exclusive-head`).
    pub exclusive_head: bool,
}

#[cfg(test)]
mod tests {
    use super::{Strategies, Strategy};
    use std::vec::Vec;

    #[test]
    fn a_set_has_what_was_put_into_it() {
        assert_eq!(Strategies::NONE.iter().count(), 0);
        let set = Strategies::NONE.with(Strategy::Simulate).with(Strategy::Xol);
        assert_eq!(set.iter().collect::<Vec<_>>(), [Strategy::Xol, Strategy::Simulate]);
        assert_eq!(set.with(Strategy::Xol), set);
        for strategy in Strategy::ALL {
            assert_eq!(set.has(strategy), [Strategy::Xol, Strategy::Simulate].contains(&strategy));
        }
        let all = Strategy::ALL.into_iter().fold(Strategies::NONE, Strategies::with);
        assert!(all.iter().eq(Strategy::ALL));
        assert_eq!(Strategy::ALL.map(Strategy::name), ["step", "xol", "boost", "simulate", "jump"]);
    }
}
