//! Open calls and how they end: by a return, or without one.
//!
//! | end | when |
//! |---|---|
//! | `return` | a RET of the function, or coming to the return address |
//! | `unwound` | the frame is used again, was written over, or its thread was further up the stack before it ended: longjmp, an exception, cancellation |
//! | `exit` | its thread or process has ended |
//! | `exec` | its process runs another program |
//! | `unfinished` | tracing has ended, or its return was missed |

use crate::engine::RowId;
use crate::report::End;
use crate::trace::telling::events::{Moment, Told};
use crate::trace::telling::frames::{Added, Entry, Expect, Frame, Key};
use crate::trace::telling::names::Who;
use crate::trace::telling::passing::{lasted, passes_at_end};
use crate::trace::telling::teller::Teller;
use crate::trace::telling::value::Value;
use std::cmp::Reverse;
use xol_arch::Addr;
use xol_targets::native;
use xol_targets::ptrace::{Pid, SpaceId, Tid, tracer};

impl Teller<'_> {
    /// What is kept of a call that begins.
    pub(in crate::trace) fn entry(&mut self, who: Who, ts_ns: u64, args: Vec<Value>) -> Entry {
        self.calls += 1;
        let waited = self.waits.of(who.1);
        Entry { call: self.calls, who, ts_ns, args, rest: None, waited, doubtful: false }
    }

    /// How long a call has lasted at `ts_ns`, without what its thread has waited for room in a ring.
    pub(in crate::trace) fn lasted(&self, entry: &Entry, ts_ns: u64) -> u64 {
        let waited = self.waits.of(entry.who.1).saturating_sub(entry.waited);
        ts_ns.saturating_sub(entry.ts_ns).saturating_sub(waited)
    }

    /// Remembers a call, and tells that it has begun. Returns whether there was room.
    pub(in crate::trace) fn begin_call(&mut self, key: Key, frame: Frame) -> bool {
        let (made, began) = match &frame.expect {
            Expect::Row(row, entry) => (Some((entry.who, *row)), entry.ts_ns),
            Expect::Resolver(_) => (None, tracer::now_ns()),
        };
        let told = match &frame.expect {
            // Whether it is told of shows at its end.
            Expect::Row(_, entry) if entry.rest.is_some() => None,
            Expect::Row(row, entry) => {
                let moment = Moment::Begins(entry.call);
                let (who, ts_ns) = (entry.who, entry.ts_ns);
                let (ret, duration_ns) = (None, None);
                Some(Told { moment, who, row: *row, addr: key.back, ts_ns, ret, duration_ns })
            }
            Expect::Resolver(_) => None,
        };
        let made = made.filter(|_| self.options.events);
        if let (Some((who, row)), Some(_)) = (made, native::return_slot(key.sp)) {
            let over = self.frames.take_replaced(who, key, row);
            self.end_unwound(over, began);
        }
        match self.frames.add(key, frame) {
            Added::No => return false,
            Added::Again => return true,
            Added::For(before) => {
                self.end_unwound(vec![(key, before)], began);
            }
            Added::Alone => {}
        }
        if let Some((who, _)) = made {
            self.frames.begins(who, key);
        }
        if let Some(told) = told.filter(|_| self.options.events) {
            let row = told.row;
            let args = self.frames.swap_args(key, row, Vec::new());
            self.tell_sink(told, &args);
            self.frames.swap_args(key, row, args);
        }
        true
    }

    /// Tells that a call has begun whose end is told next: not before, since it may not have
    /// passed the filter.
    pub(in crate::trace) fn tell_begun(&mut self, row: RowId, entry: &Entry, back: Addr) {
        if entry.rest.is_none() {
            return;
        }
        let told = Told {
            moment: Moment::Begins(entry.call),
            who: entry.who,
            row,
            addr: back,
            ts_ns: entry.ts_ns,
            ret: None,
            duration_ns: None,
        };
        self.tell_sink(told, &entry.args);
    }

    /// Tells of calls that were left by longjmp or an exception, which showed at `seen` (in ns of
    /// CLOCK_MONOTONIC): now, or when a record was written that is read now. Where records are
    /// missing, so may be that of the return.
    pub(in crate::trace) fn end_unwound(&mut self, frames: Vec<(Key, Frame)>, seen: u64) {
        let end = if self.rows.missed_records() == 0 { End::Unwound } else { End::Unfinished };
        self.end_calls_at(frames, end, seen);
    }

    /// Tells of calls that end now, without a return.
    pub(in crate::trace) fn end_calls(&mut self, frames: Vec<(Key, Frame)>, end: End) {
        self.end_calls_at(frames, end, tracer::now_ns());
    }

    /// Tells of calls that have ended without a return: the last one that was made first.
    fn end_calls_at(&mut self, frames: Vec<(Key, Frame)>, end: End, now: u64) {
        if !self.options.events || frames.is_empty() {
            return;
        }
        let missed = self.rows.missed_records() != 0;
        let ended = frames.into_iter().filter_map(|(key, frame)| {
            let passed = frame.passed && !missed;
            let (row, entry) = frame.entry()?;
            // What a forked child has of its parent's other threads nobody has called.
            (entry.who.1 != Tid(0)).then_some((entry, row, key.back, passed))
        });
        let mut ended: Vec<_> = ended.collect();
        ended.sort_unstable_by_key(|(entry, ..)| Reverse(entry.call));
        for (entry, row, addr, passed) in ended {
            let end = if passed { End::Unwound } else { end };
            // When it was left is not known.
            let known = matches!(end, End::Exit | End::Exec);
            let so_far = self.lasted(&entry, now);
            let duration_ns = known.then_some(so_far);
            let lasted = lasted(end, duration_ns, so_far, missed);
            if passes_at_end(entry.rest.as_ref(), None, lasted) != Some(true) {
                continue;
            }
            self.tell_begun(row, &entry, addr);
            let told = Told {
                moment: Moment::Ends(entry.call, end),
                who: entry.who,
                row,
                addr,
                ts_ns: now,
                ret: None,
                duration_ns,
            };
            self.tell_sink(told, &entry.args);
        }
    }

    /// A thread is gone: so are the calls that it had not returned from.
    pub(in crate::trace) fn end_thread(&mut self, who: Who) {
        let frames = self.frames.take_thread(who);
        self.end_calls(frames, End::Exit);
        self.comms.forget(who.1);
        self.waits.forget(who.1);
    }

    /// A process is gone, or runs another program, while others may be in its memory.
    pub(in crate::trace) fn end_calls_of(&mut self, pid: Pid, space: SpaceId, end: End) {
        let of_process = |key: &Key, frame: &Frame| {
            let of = matches!(&frame.expect, Expect::Row(_, entry) if entry.who.0 == pid);
            of && key.space == space
        };
        let frames = self.frames.take_if(of_process);
        self.end_calls(frames, end);
    }

    /// Nobody is in an address space any more.
    pub(in crate::trace) fn end_space(&mut self, space: SpaceId) {
        let frames = self.frames.take_space(space);
        self.end_calls(frames, End::Exit);
    }

    /// Tracing is over.
    pub(in crate::trace) fn end_all_calls(&mut self) {
        let frames = self.frames.take_if(|_, _| true);
        self.end_calls(frames, End::Unfinished);
    }
}
