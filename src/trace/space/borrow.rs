//! Threads that are stopped for a moment: for a call that one makes for us, or for what they have
//! stopped for themselves.

use crate::trace::session::Session;
use std::cmp::Reverse;
use std::io;
use std::time::{Duration, Instant};
use xol_targets::ptrace::procfs::{Whereabouts, is_exiting, run_ns, whereabouts};
use xol_targets::ptrace::{Go, Pid, SpaceId, Tid, is_gone};

/// How long a thread may take to answer an interrupt.
pub(in crate::trace) const PATIENCE: Duration = Duration::from_secs(2);

/// How long a thread may take to stop before it is looked at why.
pub(in crate::trace) const LOOK: Duration = Duration::from_millis(2);

/// How long a thread that has something to do is waited for until it has a CPU.
pub(in crate::trace) const TURN: Duration = Duration::from_millis(20);

impl Session<'_> {
    /// A thread of the space, stopped, that can make a call for us: one that runs rather than
    /// one that is blocked in a call (RULES A5, B1).
    pub(in crate::trace) fn borrow_thread(&mut self, space: SpaceId) -> Option<Tid> {
        self.borrow(&|session, tid| session.target.space_of(tid) == Some(space))
    }

    /// The same, of one process.
    pub(in crate::trace) fn borrow_thread_of(&mut self, pid: Pid) -> Option<Tid> {
        self.borrow(&|session, tid| session.target.thread(tid).is_some_and(|t| t.pid == pid))
    }

    fn borrow(&mut self, whose: &dyn Fn(&Self, Tid) -> bool) -> Option<Tid> {
        // Of those that run, one that always does: another may be at the end of a call.
        let mut candidates: Vec<(u32, Reverse<u64>, Tid)> = self
            .target
            .threads()
            .filter(|t| whose(self, t.tid))
            .map(|t| match whereabouts(t.tid) {
                _ if t.is_stopped() => (0, Reverse(0), t.tid),
                Whereabouts::Running => (1, Reverse(run_ns(t.tid)), t.tid),
                Whereabouts::InCall { number, .. } if may_be_vfork(number) => {
                    (4, Reverse(0), t.tid)
                }
                Whereabouts::InCall { number, .. } if restarts(number) => (2, Reverse(0), t.tid),
                _ => (3, Reverse(0), t.tid),
            })
            .collect();
        candidates.sort_unstable();
        let mut why = None;
        for (class, _, tid) in candidates {
            // What it stopped for may come first. One that runs traps again and again, and is still
            // better than one whose call is interrupted.
            for _ in 0..if class < 2 { 1000 } else { 8 } {
                match self.stop_thread(tid, PATIENCE) {
                    Ok(true) if whose(self, tid) => return Some(tid),
                    // It has another memory: a new program.
                    Ok(true) => {
                        // It goes on, or is gone.
                        let _ = self.give_back(tid);
                        break;
                    }
                    Ok(false) => {
                        if self.is_dealt_with(tid) || self.take_event_of(tid).is_err() {
                            break;
                        }
                    }
                    Err(error) if is_gone(&error) => break,
                    Err(error) => {
                        why = Some(format!("thread {tid} does not stop ({error})"));
                        break;
                    }
                }
            }
        }
        if let Some(why) = why {
            self.note(format!("no thread could be stopped for a call: {why}"));
        }
        None
    }

    /// Stops a running thread as [`Ptrace::stop`] does, but for one that is on its way out: it stops for
    /// nothing any more, and its end is told of in its turn. If it is in a vfork, what its child stops
    /// for is dealt with meanwhile: else neither would go on.
    ///
    /// [`Ptrace::stop`]: xol_targets::ptrace::Ptrace::stop
    pub(in crate::trace) fn stop_thread(&mut self, tid: Tid, limit: Duration) -> io::Result<bool> {
        self.target.ask(tid)?;
        let begun = Instant::now();
        let mut look = LOOK;
        loop {
            match self.target.await_stop_on(tid, begun, look) {
                Err(error)
                    if error.kind() == io::ErrorKind::TimedOut && begun.elapsed() < limit => {}
                other => return other,
            }
            if is_exiting(tid) {
                return Err(io::ErrorKind::NotFound.into());
            }
            if self.target.is_deaf(tid) {
                self.serve_others(tid)?;
                look = LOOK;
            } else {
                look = (look * 2).min(16 * LOOK);
            }
        }
    }

    /// Deals with what threads of other processes have stopped for, and with the ends of those of its
    /// own: before they are taken, it cannot exec.
    fn serve_others(&mut self, tid: Tid) -> io::Result<()> {
        let pid = self.target.thread(tid).map(|t| t.pid);
        let others = self.target.threads().filter(|t| {
            t.tid != tid && !t.is_stopped() && (Some(t.pid) != pid || is_exiting(t.tid))
        });
        let others: Vec<Tid> = others.map(|t| t.tid).collect();
        for other in others {
            match self.take_event_of(other) {
                Err(error) if !is_gone(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether a thread stands in a stop that is dealt with right now, further up.
    fn is_dealt_with(&self, tid: Tid) -> bool {
        self.target.is_stopped(tid) && self.dealing.contains(&tid)
    }

    /// Deals with what a thread has stopped for on its own, but for what is dealt with already.
    pub(in crate::trace) fn take_event_of(&mut self, tid: Tid) -> io::Result<()> {
        if self.is_dealt_with(tid) {
            return Ok(());
        }
        if let Some(event) = self.target.poll(tid)? {
            match self.handle(event) {
                Err(error) if !is_gone(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Lets the thread of a process go on that was asked to stop when it was attached to.
    pub(in crate::trace) fn let_asked_go(&mut self, pid: Pid) -> io::Result<()> {
        let asked = self.target.threads().find(|t| t.pid == pid && self.target.is_asked(t.tid));
        asked.map(|t| t.tid).map_or(Ok(()), |tid| self.let_go(tid))
    }

    /// Takes the stop that a thread was asked for, and lets it go on.
    pub(in crate::trace) fn let_go(&mut self, tid: Tid) -> io::Result<()> {
        match self.stop_thread(tid, PATIENCE) {
            Ok(true) => self.give_back(tid),
            Ok(false) => self.take_event_of(tid),
            // Its end is an event of its own.
            Err(_) => Ok(()),
        }
    }

    /// Lets a borrowed thread go on.
    pub(in crate::trace) fn give_back(&mut self, tid: Tid) -> io::Result<()> {
        let steps = self.doing(tid).is_trampoline();
        match self.target.go(tid, if steps { Go::StepOn } else { Go::On }) {
            Err(error) if !is_gone(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Calls that the kernel itself restarts exactly where a stop interrupted them.
fn restarts(number: i64) -> bool {
    xol_targets::native::restarts_exactly(number)
}

/// Calls that no interrupt ends as long as a child made by them runs in its parent's memory.
fn may_be_vfork(number: i64) -> bool {
    xol_targets::native::makes_processes(number)
}
