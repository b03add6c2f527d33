//! One address with a trap.

use super::slot::SlotRef;
use xol_arch::{Addr, Arch, Plan, Strategies, Strategy};

/// A site: one address in one address space with its original bytes.
#[derive(Clone, Copy, Debug)]
pub struct Site<A: Arch> {
    /// Where.
    pub addr: Addr,
    /// How its instruction is displaced.
    pub plan: Plan<A>,
    /// How it is done.
    pub strategy: Strategy,
    /// What is corrected behind the copy.
    pub fixup: A::Fixup,
    /// The code in the target: what a hit runs, and what an orphaned site runs.
    pub slot: Option<SlotRef>,
    /// What the trap replaced; the first `TRAP.len()` bytes count.
    pub original: [u8; 4],
    /// Whether its page refuses branches that its instruction is no landing for.
    pub guarded: bool,
    /// Whether the trap is in the text.
    pub armed: bool,
    /// Executions begun here.
    pub hits: u64,
    /// When it was last hit, in hits of the whole table.
    pub last_hit: u64,
    /// The first of its consumers, an index into the links.
    pub first: u32,
}

/// What the user wants: `--strategy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// The cheapest that is correct.
    #[default]
    Auto,
    /// This one, and where it is not correct the next that is.
    Only(Strategy),
}

/// The strategy for an instruction that allows `can`, of those that trap.
///
/// `auto` prefers a copy to a simulation: it keeps the atomicity and the faults of what it
/// copies, for the same one stop. What only simulates is simulated whatever is wished.
#[must_use]
pub fn choose(wish: Wish, can: Strategies) -> Option<Strategy> {
    use Strategy::{Boost, Simulate, Step, Xol};
    let order: &[Strategy] = match wish {
        Wish::Auto | Wish::Only(Boost | Strategy::Jump) => &[Boost, Simulate, Xol, Step],
        Wish::Only(Simulate) => &[Simulate, Boost, Xol, Step],
        Wish::Only(Xol) => &[Xol, Boost, Simulate, Step],
        Wish::Only(Step) => &[Step, Boost, Simulate, Xol],
    };
    order.iter().copied().find(|&strategy| can.has(strategy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_granted_only_where_it_is_correct() {
        let branch = Strategies::NONE.with(Strategy::Simulate);
        let ret = branch.with(Strategy::Boost);
        let mov = Strategies::NONE.with(Strategy::Boost).with(Strategy::Xol).with(Strategy::Step);
        assert_eq!(choose(Wish::Only(Strategy::Step), branch), Some(Strategy::Simulate));
        assert_eq!(choose(Wish::Auto, ret), Some(Strategy::Boost));
        assert_eq!(choose(Wish::Only(Strategy::Simulate), mov), Some(Strategy::Boost));
        assert_eq!(choose(Wish::Only(Strategy::Xol), mov), Some(Strategy::Xol));
        assert_eq!(choose(Wish::Auto, Strategies::NONE), None);
    }
}
