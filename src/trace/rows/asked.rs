//! What the user has asked for, of a row and of its hits.

use crate::engine::RowId;
use crate::engine::Wish;
use crate::spec::Spec;
use crate::trace::session::Session;
use xol_arch::Strategy;

impl Session<'_> {
    /// Returns the probe of a row.
    pub(in crate::trace) fn probe_of(&self, row: RowId) -> &Spec {
        &self.options.probes[self.rows[row].probe]
    }

    /// Counts a return of a row.
    pub(in crate::trace) fn count_of(&mut self, row: RowId) {
        self.rows.counter(row).hits += 1;
        self.count_event();
    }

    /// Counts one more hit, where a run that only counts is to end after so many.
    pub(in crate::trace) fn count_event(&mut self) {
        if !self.options.events && self.options.max_events.is_some() {
            self.events += 1;
        }
    }

    /// Returns whether there are to be jumps at all.
    pub(in crate::trace) fn wants_jumps(&self) -> bool {
        matches!(self.options.wish, Wish::Auto | Wish::Only(Strategy::Jump))
    }
}
