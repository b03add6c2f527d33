//! Events told to the sink, counts reported.

use super::arguments::Value;
use super::consumer::{Row, RowState};
use super::frames::Entry;
use super::names::Who;
use super::session::Session;
use super::{Counted, Outcome, Report};
use crate::WhyNotJump;
use crate::engine::Wish;
use crate::report::End;
use crate::spec::{Signature, Spec};
use std::collections::BTreeSet;
use std::io;
use xol_arch::{Addr, Strategy};
use xol_targets::ptrace::{Pid, Tid, tracer};

/// What an event is about. Calls have numbers: what begins with one ends with the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A place was come to; nothing more will be told of it.
    Hit,
    /// A call has begun whose end will be told.
    Begins(u64),
    /// It has ended, or was left.
    Ends(u64, End),
}

/// One hit, or one end of a call.
#[derive(Debug)]
pub struct HitEvent<'a> {
    /// What has happened.
    pub moment: Moment,
    /// CLOCK_MONOTONIC, in nanoseconds.
    pub ts_ns: u64,
    /// The process.
    pub pid: Pid,
    /// The thread.
    pub tid: Tid,
    /// The thread's name, if that was asked for and is known.
    pub comm: Option<&'a str>,
    /// What was hit.
    pub row: &'a Row,
    /// The number of the row in this run.
    pub number: u32,
    /// The address in memory: of the instruction; at the end of a call, of the one it goes back to.
    pub addr: Addr,
    /// The types of arguments and return value, if known.
    pub signature: Option<&'a Signature>,
    /// The arguments, as many as the signature names.
    pub args: &'a [Value],
    /// The return value, at a return.
    pub ret: Option<Value>,
    /// The error's number, of a call of a function of libc that says that it has failed.
    pub errno: Option<i32>,
    /// From entry to end, where both are known.
    pub duration_ns: Option<u64>,
    /// Whether anything was missed before, so that the end of a call may be.
    pub missed: bool,
}

/// What a call has come to.
#[derive(Clone, Debug)]
pub(super) struct Returned {
    pub(super) value: Value,
    pub(super) errno: Option<i32>,
}

/// What is told of a hit, but for the arguments.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) moment: Moment,
    pub(super) who: Who,
    pub(super) row: u32,
    pub(super) addr: Addr,
    pub(super) ts_ns: u64,
    pub(super) ret: Option<Returned>,
    pub(super) duration_ns: Option<u64>,
}

impl Session<'_> {
    pub(super) fn entry_event(&mut self, tid: Tid, row: u32, at: Addr) -> io::Result<()> {
        // With the return value asked for, one line says both: at the return.
        if self.probe_of(row).when.ret() {
            return Ok(());
        }
        let args = self.read_args(tid, row)?;
        let Some(pid) = self.target.thread(tid).map(|t| t.pid) else { return Ok(()) };
        self.hit_event((pid, tid), row, at, tracer::now_ns(), &args);
        Ok(())
    }

    /// Tells of a hit of which nothing more is to be told.
    pub(super) fn hit_event(&mut self, who: Who, row: u32, addr: Addr, ts_ns: u64, args: &[Value]) {
        let moment = Moment::Hit;
        let told = Told { moment, who, row, addr, ts_ns, ret: None, duration_ns: None };
        self.tell_sink(told, args);
    }

    /// Tells of a return; where records are missing, that the call it belongs to is not known.
    pub(super) fn return_event(
        &mut self,
        who: Who,
        row: u32,
        entry: &Entry,
        back: Addr,
        ts_ns: u64,
        returned: Returned,
    ) {
        self.tell_begun(row, entry, back);
        let end = if entry.doubtful { End::Unfinished } else { End::Return };
        let told = Told {
            moment: Moment::Ends(entry.call, end),
            who,
            row,
            addr: back,
            ts_ns,
            ret: (!entry.doubtful).then_some(returned),
            duration_ns: (!entry.doubtful).then(|| self.lasted(entry, ts_ns)),
        };
        self.tell_sink(told, &entry.args);
    }

    /// Passes an event on, unless there were enough.
    pub(super) fn tell_sink(&mut self, told: Told, args: &[Value]) {
        if !self.options.events || self.has_enough() {
            return;
        }
        let Told { moment, who, ts_ns, ret, duration_ns, .. } = told;
        let row = &self.rows[told.row as usize];
        let comm = match self.options.comm {
            true => self.comms.of(who, ts_ns),
            false => None,
        };
        self.sink.hit(&HitEvent {
            moment,
            ts_ns,
            pid: who.0,
            tid: who.1,
            comm,
            row,
            number: told.row,
            addr: Addr(told.addr.0.wrapping_sub(row.behind)),
            signature: row.signature.as_deref(),
            args,
            errno: ret.as_ref().and_then(|returned| returned.errno),
            ret: ret.map(|returned| returned.value),
            duration_ns,
            missed: self.lost > 0,
        });
        self.events += u64::from(!matches!(moment, Moment::Begins(_)));
    }

    /// Whether the user has got as many events as were asked for.
    pub(super) fn has_enough(&self) -> bool {
        self.options.max_events.is_some_and(|max| self.events >= max)
    }

    /// The probe of a row.
    pub(super) fn probe_of(&self, row: u32) -> &Spec {
        &self.options.probes[self.rows[row as usize].probe]
    }

    /// The counts now.
    pub(super) fn report(&mut self) -> Report {
        self.read_tallies();
        let drained = if self.options.events { self.drain(None) } else { self.drain_all() };
        if let Err(error) = drained {
            self.note(format!("the last events: {error}"));
        }
        let places = self.places();
        let rows = self.rows.iter().zip(places).map(|(row, (_, why_not_jump))| {
            let counter = self.counters[row.consumer as usize];
            let (hits, missed) = (counter.hits, counter.missed);
            Counted { row: row.clone(), hits, missed, why_not_jump }
        });
        let found: BTreeSet<usize> = self.rows.iter().map(|r| r.probe).collect();
        let absent = (0..self.options.probes.len()).filter(|p| !found.contains(p));
        let absent = absent.map(|probe| self.unknown(probe)).collect();
        Report {
            rows: rows.collect(),
            absent,
            hints: Vec::new(),
            stolen: self.stolen,
            unread: self.lost,
            no_slots: self.spaces.values().find_map(|s| s.no_slots.clone()),
        }
    }

    fn why_not_jump(&self, row: &Row) -> Option<WhyNotJump> {
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
        self.rows.iter().map(|row| (row.state, self.why_not_jump(row))).collect()
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

    /// One more hit, where a run that only counts is to end after so many.
    pub(super) fn count_event(&mut self) {
        if !self.options.events && self.options.max_events.is_some() {
            self.events += 1;
        }
    }

    /// Records what became of wants that were armed outside of a refresh.
    pub(super) fn note_states(
        &mut self,
        space: xol_targets::ptrace::SpaceId,
        wants: &[super::arm::Want],
        armed: &[super::arm::Armed],
    ) {
        for (want, result) in wants.iter().zip(armed) {
            let state = match result {
                Ok(site) => RowState::Armed(self.sites_mut(space).strategy(*site)),
                Err(reject) => RowState::Rejected(*reject),
            };
            self.set_state(want.consumer, state);
            let why = self.sites_mut(space).jumps.refusals.get(&want.addr.0).copied();
            self.set_no_jump(want.consumer, why);
        }
    }
}
