//! What is known of where functions are left, in one address space.

use crate::engine::RowId;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;
use xol_arch::Addr;

/// Where a jump does not leave a function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::trace) struct Inside {
    pub(in crate::trace) entry: u64,
    pub(in crate::trace) pieces: Vec<Range<u64>>,
}

impl Inside {
    /// Whether `at` goes on in the function. Its entry begins another call of it.
    pub(in crate::trace) fn has(&self, at: Addr) -> bool {
        at.0 != self.entry && self.pieces.iter().any(|piece| piece.contains(&at.0))
    }
}

/// What is known of the exits in one address space.
#[derive(Clone, Debug, Default)]
pub(in crate::trace) struct Known {
    /// Functions, by entry and row, that have a site at every exit.
    pub(in crate::trace) proven: HashSet<(Addr, RowId)>,
    /// The function around a jump that may leave it, by the jump's address and the row.
    pub(in crate::trace) around: HashMap<(Addr, RowId), Rc<Inside>>,
    /// How often jumps that may leave a function have not, by its entry and row.
    pub(in crate::trace) stayed: HashMap<(Addr, RowId), u32>,
    /// The entry and the RETs of each function whose exits are proven.
    pub(in crate::trace) ends: Vec<Rc<[Addr]>>,
    /// The call instructions before return addresses, where they were looked for.
    pub(in crate::trace) calls: HashMap<Addr, Option<Addr>>,
}

impl Known {
    /// Whether the function at `entry` has a site at every exit.
    pub(in crate::trace) fn proven(&self, entry: Addr, row: RowId) -> bool {
        self.proven.contains(&(entry, row))
    }

    /// Forgets the functions whose mappings are gone.
    pub(in crate::trace) fn retain(&mut self, keep: impl Fn(Addr) -> bool) {
        self.calls.clear();
        self.stayed.retain(|(at, _), _| keep(*at));
        if cfg!(feature = "jump") {
            self.proven.retain(|(at, _)| keep(*at));
            self.ends.retain(|ends| ends.iter().all(|&at| keep(at)));
        }
    }

    /// The function that the jump at `at` may leave.
    pub(in crate::trace) fn around(&self, at: Addr, row: RowId) -> Option<&Rc<Inside>> {
        self.around.get(&(at, row))
    }
}
