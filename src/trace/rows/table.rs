//! The rows of the report, the consumers of hits, and their counters.

use crate::WhyNotJump;
use crate::engine::{Counter, Wish};
use crate::spec::Spec;
use crate::trace::rows::consumer::{Calls, Consumer, RowState};
use crate::trace::session::Session;
use std::rc::Rc;
use xol_arch::Strategy;

impl Session<'_> {
    /// How a site of this consumer is to be executed.
    pub(in crate::trace) fn wish_of(&self, consumer: u32) -> Wish {
        match self.consumers.get(consumer as usize) {
            // A trap behind the copy of a call that sets SIGTRAP's action would come before that is
            // known.
            Some(Consumer::AnyCall | Consumer::SettingAction) => Wish::Auto,
            _ => self.options.wish,
        }
    }

    /// What became of a consumer's site, for its row.
    pub(in crate::trace) fn set_state(&mut self, consumer: u32, state: RowState) {
        let (Consumer::Row(row) | Consumer::Entered(row)) = self.consumers[consumer as usize]
        else {
            return;
        };
        self.armed_once |= matches!(state, RowState::Armed(_));
        let row = &mut self.rows[row as usize];
        // Armed in one process is armed.
        if !matches!((row.state, state), (RowState::Armed(_), RowState::Rejected(_))) {
            row.state = state;
        }
    }

    /// Why a consumer's site is no jump, for its row; of ends of calls, until all of them are.
    pub(in crate::trace) fn set_no_jump(&mut self, consumer: u32, why: Option<WhyNotJump>) {
        let kind = &self.consumers[consumer as usize];
        if let &(Consumer::Row(row) | Consumer::Entered(row) | Consumer::Exit(row)) = kind {
            let row = &mut self.rows[row as usize];
            row.no_jump = match kind {
                Consumer::Row(_) => why,
                Consumer::Entered(_) => why.or(row.no_jump),
                _ => row.no_jump.or(why.map(|_| WhyNotJump::NotAllExits)),
            };
        }
    }

    /// The probe of a row.
    pub(in crate::trace) fn probe_of(&self, row: u32) -> &Spec {
        &self.options.probes[self.rows[row as usize].probe]
    }

    /// The one consumer of a kind that needs no more than one.
    pub(in crate::trace) fn internal(&mut self, kind: Consumer) -> u32 {
        let same = |c: &Consumer| std::mem::discriminant(c) == std::mem::discriminant(&kind);
        match self.consumers.iter().position(same) {
            Some(i) => i as u32,
            None => self.add_consumer(kind),
        }
    }

    pub(in crate::trace) fn add_consumer(&mut self, consumer: Consumer) -> u32 {
        self.consumers.push(consumer);
        self.counters.push(Counter::default());
        self.consumers.len() as u32 - 1
    }

    pub(in crate::trace) fn missed(&mut self, row: Option<u32>) {
        if let Some(row) = row {
            self.counters[self.rows[row as usize].consumer as usize].missed += 1;
        }
    }

    /// Whether a row is about functions that Go has compiled.
    pub(in crate::trace) fn is_go(&self, row: u32) -> bool {
        self.rows[row as usize].calls == Calls::Go
    }

    /// Counts a return of a row.
    pub(in crate::trace) fn count_of(&mut self, row: u32) {
        let consumer = self.rows[row as usize].consumer;
        self.counters[consumer as usize].hits += 1;
        self.count_event();
    }

    /// One more hit, where a run that only counts is to end after so many.
    pub(in crate::trace) fn count_event(&mut self) {
        if !self.options.events && self.options.max_events.is_some() {
            self.events += 1;
        }
    }

    /// Whether there are to be jumps at all.
    pub(in crate::trace) fn wants_jumps(&self) -> bool {
        matches!(self.options.wish, Wish::Auto | Wish::Only(Strategy::Jump))
    }

    /// Reads what trampolines have counted. Memory that no address space has any more is let go.
    pub(in crate::trace) fn read_tallies(&mut self) {
        if !cfg!(feature = "jump") {
            return;
        }
        let (consumers, rows, counters) = (&self.consumers, &self.rows, &mut self.counters);
        let lost = &mut self.lost;
        for tally in &self.tallies {
            tally.pass_on(&mut |told, missed, more| {
                *lost = lost.wrapping_add(if missed { more } else { 0 });
                for &consumer in told {
                    // The ends of a call are counted by its row.
                    let counter = match consumers.get(consumer as usize) {
                        Some(&Consumer::Exit(row)) => rows[row as usize].consumer,
                        _ => consumer,
                    };
                    let Some(counter) = counters.get_mut(counter as usize) else { continue };
                    let count = if missed { &mut counter.missed } else { &mut counter.hits };
                    *count = count.wrapping_add(more);
                }
            });
        }
        self.tallies.retain(|tally| Rc::strong_count(tally) > 1);
    }

    /// How many records have found no room so far.
    pub(in crate::trace) fn missed_records(&mut self) -> u64 {
        self.read_tallies();
        self.lost
    }
}
