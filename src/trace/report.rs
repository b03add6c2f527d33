//! The counts of a moment, and how a run has ended.

use super::rows::consumer::{Row, RowState};
use super::session::Session;
use super::{Counted, Outcome, Report};
use crate::WhyNotJump;
use crate::engine::Wish;
use std::collections::BTreeSet;
use xol_arch::Strategy;

impl Session<'_> {
    /// The counts now.
    pub(super) fn report(&mut self) -> Report {
        self.teller.rows.read_tallies();
        let drained = if self.options.events { self.drain(None) } else { self.drain_all() };
        if let Err(error) = drained {
            self.note(format!("the last events: {error}"));
        }
        let places = self.places();
        let rows = self.teller.rows.iter().zip(places).map(|(row, (_, why_not_jump))| {
            let counter = self.teller.rows.counter_of(row);
            let (hits, missed) = (counter.hits, counter.missed);
            Counted { row: row.clone(), hits, missed, why_not_jump }
        });
        let found: BTreeSet<usize> = self.teller.rows.iter().map(|r| r.probe).collect();
        let absent = (0..self.options.probes.len()).filter(|p| !found.contains(p));
        let absent = absent.map(|probe| self.unknown(probe)).collect();
        Report {
            rows: rows.collect(),
            absent,
            hints: Vec::new(),
            stolen: self.stolen,
            unread: self.teller.rows.lost,
            no_slots: self.spaces.values().find_map(|s| s.no_slots.clone()),
        }
    }

    /// How the run has ended, when the last trap is gone: with what had become of the places
    /// before. Where so many hits were asked for, later ones do not count.
    pub(super) fn outcome(
        &mut self,
        signal: Option<i32>,
        places: &[(RowState, Option<WhyNotJump>)],
        enough: Option<Report>,
    ) -> Outcome {
        let running = self.root.filter(|_| self.root_status.is_none());
        let mut report = enough.unwrap_or_else(|| self.report());
        for (counted, &(state, why)) in report.rows.iter_mut().zip(places) {
            (counted.row.state, counted.why_not_jump) = (state, why);
        }
        report.hints = self.hints(&report);
        Outcome { report, status: self.root_status, running, signal }
    }

    pub(super) fn why_not_jump(&self, row: &Row) -> Option<WhyNotJump> {
        match (row.state, self.options.wish) {
            (RowState::Waiting | RowState::Rejected(_) | RowState::Armed(Strategy::Jump), _) => {
                None
            }
            (_, Wish::Only(wish)) if wish != Strategy::Jump => Some(WhyNotJump::NotAskedFor),
            _ if self.options.hits_per_site.is_some() => Some(WhyNotJump::LimitedHits),
            _ if self.options.max_events.is_some() && !self.options.events => {
                Some(WhyNotJump::LimitedHits)
            }
            _ => row.no_jump.or(Some(WhyNotJump::FewHits)),
        }
    }

    /// What became of each row's places.
    pub(super) fn places(&mut self) -> Vec<(RowState, Option<WhyNotJump>)> {
        if cfg!(feature = "jump") {
            let spaces: Vec<_> = self.spaces.keys().copied().collect();
            spaces.into_iter().for_each(|space| self.settle_ends(space));
        }
        self.teller.rows.iter().map(|row| (row.state, self.why_not_jump(row))).collect()
    }
}
