//! Stopping threads that run.
//!
//! Threads that are blocked in calls are not disturbed: attaching needs no stop of them, leaving
//! looks at /proc/TID/syscall, and the kernel lets go of blocked threads without a stop when xol
//! ends. No thread is left in a stop at a call, or with an interrupt on its way: when xol ends, its
//! call would return EINTR.

use super::attach::OPTIONS;
use super::procfs::{self, Whereabouts};
use super::restart::Entered;
use super::sys::{self, EVENT_STOP, Pid, Status, Tid, Whom};
use super::thread::{State, Thread};
use super::{Ptrace, tracer};
use crate::native;
use std::io;
use std::time::{Duration, Instant};

impl Ptrace {
    /// Asks a running thread to stop: for many that are then stopped one by one
    /// ([`Ptrace::stop`]), so that none waits for a CPU that another keeps.
    ///
    /// # Errors
    /// ESRCH when it is gone.
    pub fn ask(&mut self, tid: Tid) -> io::Result<()> {
        if !matches!(self.known(tid)?.state, State::Running | State::Listening) {
            return Ok(());
        }
        // It has stopped for that already. An interrupt would have it stop once more when it goes on, at
        // once: one that is asked again and again would make no step. (Where it stands with a signal, that
        // is what is wanted.)
        let waits = sys::wait(Whom::One(tid), false, false);
        if let Ok(Some((_, Status::Stopped { event: EVENT_STOP, .. }))) = waits {
            return Ok(());
        }
        // One that was asked before may be at the end of its call by now.
        let before = self.known(tid)?.entered.filter(|_| self.is_asked(tid));
        let entered = self.look_and(tid, &|| sys::interrupt(tid))?;
        let thread = self.known(tid)?;
        (thread.asked, thread.entered) = (true, entered.or(before));
        Ok(())
    }

    /// Seizes a thread and asks it to stop, with nothing else of ours between the two. Its mask is read
    /// before: once it is awake it may be a handler's.
    pub(super) fn seize_and_ask(&mut self, tid: Tid, pid: Pid) -> io::Result<()> {
        let mask = procfs::status(tid)?.blocked;
        let entered = self.look_and(tid, &|| {
            sys::seize(tid, OPTIONS)?;
            // It fails for a thread that was killed meanwhile, whose end is told of.
            let _ = sys::interrupt(tid);
            Ok(())
        })?;
        let mut thread = Thread::new(tid, pid, State::Running);
        (thread.asked, thread.entered, thread.mask) = (true, entered, Some(mask));
        self.threads.insert(tid, thread);
        Ok(())
    }

    /// Looks which call a thread is blocked in, and then does to it what ends that. It must not enter one
    /// between the two: where a stop ends a call with EINTR, what the call was cannot be told any more. So
    /// both are done on the CPU that it runs on, where it waits for us. (One that the kernel took the CPU
    /// from inside a call, before it was blocked there, is not told from one that runs.)
    fn look_and(
        &self,
        tid: Tid,
        interrupt: &dyn Fn() -> io::Result<()>,
    ) -> io::Result<Option<Entered>> {
        let entered = self.entered(tid);
        if entered.is_some() || !native::FORGETS_AN_ARGUMENT {
            return interrupt().map(|()| entered);
        }
        let home = tracer::get_affinity().ok();
        let cpu =
            || procfs::cpu_and_policy(tid).filter(|&(_, policy)| !procfs::is_real_time(policy));
        let moved = home.and_then(|home| {
            let (at, _) = cpu()?;
            tracer::set_affinity(&tracer::CpuSet::only(at)).ok()?;
            Some(home)
        });
        let entered = self.entered(tid);
        let interrupted = interrupt();
        if let Some(home) = moved {
            // Failing to widen it again would only cost speed.
            let _ = tracer::set_affinity(&home);
        }
        interrupted.map(|()| entered)
    }

    /// Stops a running thread without taking anything from it, within `limit`. `false` if what
    /// it stopped for is an event of its own, which the next [`Ptrace::wait`] reports.
    ///
    /// # Errors
    /// ESRCH when it is gone; TimedOut with a thread that does not answer: in D state, frozen, a
    /// vfork parent (RULES A6).
    pub fn stop(&mut self, tid: Tid, limit: Duration) -> io::Result<bool> {
        self.ask(tid)?;
        self.await_stop(tid, limit)
    }

    /// The same for a thread that was asked ([`Ptrace::ask`]).
    ///
    /// # Errors
    /// As for [`Ptrace::stop`].
    pub fn await_stop(&mut self, tid: Tid, limit: Duration) -> io::Result<bool> {
        self.await_stop_on(tid, Instant::now(), limit)
    }

    /// The same where that was waited for since `begun` already.
    ///
    /// # Errors
    /// As for [`Ptrace::stop`].
    pub fn await_stop_on(&mut self, tid: Tid, begun: Instant, limit: Duration) -> io::Result<bool> {
        let thread = self.known(tid)?;
        match thread.state {
            State::Stopped => return Ok(true),
            State::Delivering | State::Starting => return Ok(false),
            State::Running | State::Listening => {}
        }
        let entered = thread.entered;
        let start = Instant::now();
        loop {
            match sys::wait(Whom::One(tid), false, false) {
                Ok(Some((_, Status::Stopped { signal, event: EVENT_STOP }))) => {
                    sys::wait(Whom::One(tid), true, false)?;
                    let thread = self.known(tid)?;
                    thread.asked = false;
                    thread.forget_regs();
                    thread.rejoin = signal != libc::SIGTRAP;
                    thread.state = State::Stopped;
                    self.restart_if_interrupted(tid, entered)?;
                    return Ok(true);
                }
                Ok(Some(_)) => return Ok(false),
                Ok(None) if start.elapsed() > limit => return Err(io::ErrorKind::TimedOut.into()),
                Ok(None) if begun.elapsed() < Duration::from_millis(1) => std::thread::yield_now(),
                Ok(None) => std::thread::sleep(Duration::from_micros(200)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// How often a thread was given a CPU so far: for [`Ptrace::await_turn`].
    #[must_use]
    pub fn turns(&self, tid: Tid) -> u64 {
        procfs::runs(tid)
    }

    /// Waits, for `limit` at most, until a thread that goes on has been given a CPU oftener than
    /// `turns` times, or has stopped. Asked to stop before that, it would do nothing else: an interrupt
    /// comes before signals and before the next instruction, so that one which is asked again and again
    /// on a busy CPU never gets on.
    pub fn await_turn(&self, tid: Tid, turns: u64, limit: Duration) {
        const MOMENT: Duration = Duration::from_micros(50);
        let begun = Instant::now();
        while self.poll_is_quiet(tid) && begun.elapsed() < limit {
            let had = procfs::runs(tid) > turns;
            std::thread::sleep(MOMENT);
            if had {
                return;
            }
        }
    }

    /// Whether a thread is blocked in a call that no interrupt ends (a vfork, a disk): it runs
    /// nothing now, and comes out of the kernel where it went in. Should it have been asked to stop,
    /// it does so before that, and nothing is undone if we end first.
    #[must_use]
    pub fn is_deaf(&self, tid: Tid) -> bool {
        matches!(procfs::whereabouts(tid), Whereabouts::InCall { number: 0.., .. })
            && procfs::status(tid).is_ok_and(|status| status.state == b'D')
    }
}
