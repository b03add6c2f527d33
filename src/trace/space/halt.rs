//! All running threads of an address space, halted for a moment while text that they may execute changes.

use crate::engine::Wish;
use crate::trace::session::Session;
use crate::trace::space::borrow::LOOK;
use std::io;
use std::time::{Duration, Instant};
use xol_targets::ptrace::procfs::{Whereabouts, is_exiting, whereabouts};
use xol_targets::ptrace::{SpaceId, Tid, is_gone};

impl Session<'_> {
    /// Stops every thread of the space that runs: once for any number of jumps. Those that are
    /// blocked in calls are left alone: when they come back, each place where they may find the
    /// text changed traps. If one does not stop, it runs nothing now, and comes out of the kernel where
    /// it went in: the others are stopped all the same, or, if `all` must be, run on (`None`).
    pub(in crate::trace) fn halt(
        &mut self,
        space: SpaceId,
        limit: Duration,
        all: bool,
    ) -> io::Result<Option<Vec<Tid>>> {
        if let Err(error) = self.target.adopt_children(space) {
            self.note(error.to_string());
        }
        let running: Vec<Tid> = self
            .target
            .threads()
            .filter(|t| self.target.space_of(t.tid) == Some(space) && !t.is_stopped())
            .map(|t| t.tid)
            .collect();
        let mut asked = Vec::new();
        for tid in running {
            if let Whereabouts::InCall { number, pc, .. } = whereabouts(tid)
                // The first thread of a process may have ended before the others: it has no stack.
                && (number >= 0 || pc.0 == 0)
            {
                continue;
            }
            match self.target.ask(tid) {
                Ok(()) => asked.push(tid),
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let mut halted = Vec::new();
        for tid in asked {
            match self.await_halt(tid, limit) {
                Ok(true) => halted.push(tid),
                // It has stopped for something that is looked at later.
                Ok(false) => {}
                Err(error) if is_gone(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut && !all => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    self.note_no_jumps(&format_args!("thread {tid} does not stop"));
                    self.resume(halted)?;
                    return Ok(None);
                }
                Err(error) => {
                    self.resume(halted)?;
                    return Err(error);
                }
            }
        }
        Ok(Some(halted))
    }

    /// Lets threads go on that were [halted](Self::halt).
    pub(in crate::trace) fn resume(&mut self, halted: Vec<Tid>) -> io::Result<()> {
        let given_back = halted.into_iter().map(|tid| self.give_back(tid));
        given_back.fold(Ok(()), io::Result::and)
    }

    /// Waits for a thread that was asked to stop; `false` if it has stopped for something of its own, or
    /// has begun a call meanwhile that no interrupt ends: then it is as one that is blocked in a call.
    pub(in crate::trace) fn await_halt(&mut self, tid: Tid, limit: Duration) -> io::Result<bool> {
        let begun = Instant::now();
        let mut look = LOOK;
        loop {
            match self.target.await_stop_on(tid, begun, look) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    if self.target.is_deaf(tid) || is_exiting(tid) {
                        return Ok(false);
                    }
                    if begun.elapsed() > limit {
                        return Err(error);
                    }
                    look = (look * 2).min(16 * LOOK);
                }
                other => return other,
            }
        }
    }

    /// Whether nobody but one thread runs what is in this address space.
    pub(in crate::trace) fn is_alone(&self, space: SpaceId) -> bool {
        self.target.threads().filter(|t| self.target.space_of(t.tid) == Some(space)).count() == 1
    }

    /// Says what is in the way of jumps, to a user who has asked for them.
    pub(in crate::trace) fn note_no_jumps(&mut self, why: &dyn std::fmt::Display) {
        if self.options.wish != Wish::Auto {
            self.note(format!("no jumps: {why}"));
        }
    }
}
