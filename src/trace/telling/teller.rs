//! The teller: what there is to tell, and to whom.

use crate::engine::{RowId, Wish};
use crate::spec::Spec;
use crate::trace::rows::table::Rows;
use crate::trace::telling::comms::Comms;
use crate::trace::telling::frames::Frames;
use crate::trace::telling::frames::Key;
use crate::trace::telling::recorders::Noting;
use crate::trace::telling::value::Value;
use crate::trace::telling::waits::Waits;
use crate::trace::{Options, Sink};
use std::collections::HashSet;
use xol_arch::Strategy;
use xol_targets::ptrace::Pid;

/// Makes events of hits, whether a stopped thread has told of them or a record, and hands them to the sink.
/// Knows rows, consumers and open calls, and nothing of the target.
pub(in crate::trace) struct Teller<'a> {
    pub(in crate::trace) options: &'a Options,
    pub(in crate::trace) sink: &'a mut dyn Sink,
    pub(in crate::trace) rows: Rows,
    pub(in crate::trace) frames: Frames,
    /// How many calls were told of that have an end.
    pub(in crate::trace) calls: u64,
    /// What threads are called.
    pub(in crate::trace) comms: Comms,
    /// How long threads have waited for room in rings.
    pub(in crate::trace) waits: Waits,
    /// How many events were told.
    pub(in crate::trace) events: u64,
    /// What each recorder is about.
    pub(in crate::trace) notings: Vec<Noting>,
    /// A call, by its process, its key and when it was made, at which there were so many open calls that
    /// those which cannot return are looked for.
    pub(in crate::trace) crowded: Option<(Pid, Key, u64)>,
    /// Room for the arguments of one hit.
    pub(in crate::trace) args: Vec<Value>,
    /// Notes for the user, each said once.
    said: HashSet<String>,
}

impl<'a> Teller<'a> {
    /// A teller of nothing yet.
    pub(in crate::trace) fn new(options: &'a Options, sink: &'a mut dyn Sink) -> Teller<'a> {
        Teller {
            options,
            sink,
            rows: Rows::default(),
            frames: Frames::default(),
            calls: 0,
            comms: Comms::default(),
            waits: Waits::default(),
            events: 0,
            notings: Vec::new(),
            crowded: None,
            args: Vec::new(),
            said: HashSet::new(),
        }
    }

    /// Says something once.
    pub(in crate::trace) fn note(&mut self, text: String) {
        if self.said.insert(text.clone()) {
            self.sink.note(&text);
        }
    }

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
