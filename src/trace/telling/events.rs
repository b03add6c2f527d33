//! Events told to the sink, counts reported.

use crate::engine::RowId;
use crate::report::End;
use crate::spec::Signature;
use crate::trace::rows::consumer::Row;
use crate::trace::telling::frames::Entry;
use crate::trace::telling::names::Who;
use crate::trace::telling::teller::Teller;
use crate::trace::telling::value::Value;
use xol_arch::Addr;
use xol_targets::ptrace::{Pid, Tid};

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
    /// Whether a call has returned what says that it has failed, as `--failed` has it.
    pub failed: bool,
    /// From entry to end, where both are known.
    pub duration_ns: Option<u64>,
    /// Whether anything was missed before, so that the end of a call may be.
    pub missed: bool,
}

/// What a call has come to.
#[derive(Clone, Debug)]
pub(in crate::trace) struct Returned {
    pub(in crate::trace) value: Value,
    pub(in crate::trace) errno: Option<i32>,
}

/// What is told of a hit, but for the arguments.
#[derive(Clone, Debug)]
pub(in crate::trace) struct Told {
    pub(in crate::trace) moment: Moment,
    pub(in crate::trace) who: Who,
    pub(in crate::trace) row: RowId,
    pub(in crate::trace) addr: Addr,
    pub(in crate::trace) ts_ns: u64,
    pub(in crate::trace) ret: Option<Returned>,
    pub(in crate::trace) duration_ns: Option<u64>,
}

impl Teller<'_> {
    /// Tells of a hit of which nothing more is to be told.
    pub(in crate::trace) fn hit_event(
        &mut self,
        who: Who,
        row: RowId,
        addr: Addr,
        ts_ns: u64,
        args: &[Value],
    ) {
        let moment = Moment::Hit;
        let told = Told { moment, who, row, addr, ts_ns, ret: None, duration_ns: None };
        self.tell_sink(told, args);
    }

    /// Tells of a return; where records are missing, that the call it belongs to is not known.
    pub(in crate::trace) fn return_event(
        &mut self,
        who: Who,
        row: RowId,
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
    pub(in crate::trace) fn tell_sink(&mut self, told: Told, args: &[Value]) {
        if !self.options.events || self.has_enough() {
            return;
        }
        let Told { moment, who, ts_ns, ret, duration_ns, .. } = told;
        let failed = ret.as_ref().is_some_and(|of| self.says_failure(told.row, &of.value));
        let row = &self.rows[told.row];
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
            number: told.row.0,
            addr: Addr(told.addr.0.wrapping_sub(row.behind)),
            signature: row.signature.as_deref(),
            args,
            failed,
            errno: ret.as_ref().and_then(|returned| returned.errno),
            ret: ret.map(|returned| returned.value),
            duration_ns,
            missed: self.rows.lost > 0,
        });
        self.events += u64::from(!matches!(moment, Moment::Begins(_)));
    }

    /// Whether the user has got as many events as were asked for.
    pub(in crate::trace) fn has_enough(&self) -> bool {
        self.options.max_events.is_some_and(|max| self.events >= max)
    }
}
