//! SIGTRAP's mask as if we were not there (RULES A1).
//!
//! A trap taken while SIGTRAP is blocked or ignored makes the kernel unblock it in that thread and
//! reset its action for the whole process before we look. Since our handler (or the program's own)
//! is always installed, a default action tells that this happened.
//!
//! It should not happen often: until the action stands again, nothing tells whether another thread
//! that traps had its signal forced too. So a block that was found is *lifted*: the kernel does not
//! have it while the thread runs its own code, and has it wherever the program could see it: in
//! every system call, in the frame of every signal handler, and when we leave.
//!
//! Looking costs a read of /proc, so a thread that was found clean is watched instead where that is
//! cheaper: its mask can only change by a system call or a signal, and both show themselves.

use super::inject::InjectError;
use super::signals::{Action, TRAP_BIT};
use super::sys::{self, EVENT_STOP, Status, Tid, Whom};
use super::thread::State;
use super::{Ptrace, gone, procfs};
use crate::native;
use std::io;
use std::time::{Duration, Instant};
use xol_arch::Regs as _;

/// How long a thread may take from its trap to its stop where many want the CPU; between two looks.
const AT_LAST: Duration = Duration::from_millis(40);
const PAUSE: Duration = Duration::from_micros(50);
/// A thread that has run for so long, in nanoseconds, has not trapped.
const RUN_NS: u64 = 200_000;
/// Calls without a hit after which a lifted block is left where it is.
const IDLE_CALLS: u32 = 16;

/// How it is known that a thread does not block SIGTRAP.
#[derive(Clone, Copy, Debug)]
pub(super) enum Watch {
    /// By looking at each trap; so many in a row were clean.
    Look { clean: u32, enough: u32 },
    /// It was clean and has made no system call since; so many traps.
    Watched { traps: u32, enough: u32 },
}

impl Default for Watch {
    fn default() -> Self {
        Watch::Look { clean: 0, enough: 4 }
    }
}

impl Watch {
    /// The thread made a system call, or a signal is delivered to it.
    pub(super) fn disturbed(&mut self) {
        *self = match *self {
            Watch::Look { enough, .. } => Watch::Look { clean: 0, enough },
            // Watching costs one stop: worth it if it saved looks.
            Watch::Watched { traps, enough } if traps < 8 => {
                Watch::Look { clean: 0, enough: (enough * 2).min(1024) }
            }
            Watch::Watched { .. } => Watch::Look { clean: 0, enough: 4 },
        };
    }
}

/// Whether the kernel has the block of a thread that blocks SIGTRAP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Block {
    /// The kernel has what the program set.
    #[default]
    Set,
    /// The kernel has no block and the program has. So many calls since the last hit.
    Lifted { calls: u32 },
    /// The same, but the thread is in a call, for which the kernel has it.
    InCall { calls: u32 },
}

impl Block {
    /// Whether calls are to be seen.
    pub(super) fn is_lifted(self) -> bool {
        self != Block::Set
    }
}

/// Whether a trap may have been forced that is older than the action which stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Doubt {
    /// No.
    #[default]
    None,
    /// It is as old as one that was.
    Trapped,
    /// It must have been, since no other can have been.
    Blamed,
}

impl Ptrace {
    /// After a trap of ours and before the thread goes on: if the kernel had to force the signal,
    /// undoes what that changed.
    pub(super) fn settle_mask(&mut self, tid: Tid) -> io::Result<()> {
        let thread = self.known(tid)?;
        if let Block::Lifted { calls } = &mut thread.block {
            *calls = 0;
            return Ok(());
        }
        if let Watch::Watched { traps, .. } = &mut thread.watch {
            *traps += 1;
            return Ok(());
        }
        let (pid, mut doubt) = (thread.pid, std::mem::take(&mut thread.doubt));
        let unsure = thread.unsure.take();
        if doubt == Doubt::None && unsure.is_some_and(|ran| procfs::run_ns(tid) - ran < RUN_NS) {
            doubt = Doubt::Trapped;
        }
        let process = self.processes.get(&pid).ok_or_else(gone)?;
        let caught = process.protected || matches!(process.action, Action::Handler(_));
        let ignored = !caught && process.action.is_ignore();
        let status = procfs::status(tid)?;
        let likely = self.known(tid)?.likely_blocked(status.blocked);
        if !caught && !ignored {
            // No action that could tell: only what was known before.
            if likely && self.known(tid)?.mask.is_some_and(|mask| mask & TRAP_BIT != 0) {
                self.lift(tid, &status)?;
            }
            return Ok(());
        }
        if (status.caught | status.ignored) & TRAP_BIT != 0 {
            // Another thread's trap may have had the action put back that ours had taken away.
            let forced = match doubt {
                Doubt::None => false,
                Doubt::Trapped => self.evidence(tid, status.blocked) == Some(true),
                Doubt::Blamed => true,
            };
            if forced {
                return self.lift(tid, &status);
            }
            let doubt = doubt != Doubt::None;
            let thread = self.known(tid)?;
            thread.learn(status.blocked);
            if let Watch::Look { clean, enough } = &mut thread.watch {
                *clean += 1;
                if *clean >= *enough && !doubt {
                    let enough = *enough;
                    thread.watch = Watch::Watched { traps: 0, enough };
                }
            }
            return Ok(());
        }
        // Forced. A caught signal is only forced when it is blocked: by this thread or by another
        // that has trapped as well. An ignored one is in any case.
        // First of all the action: without it the program does not outlive us.
        self.restore_action(tid)?;
        self.doubt_others(tid)?;
        if !likely && caught {
            self.await_traps(tid)?;
        }
        if likely || caught && self.was_it(tid, status.blocked) {
            self.lift(tid, &status)?;
        }
        Ok(())
    }

    /// Before a thread that trapped goes on in another way than [`super::Go::FromTrap`].
    ///
    /// # Errors
    /// Those of ptrace and of reading /proc.
    pub fn settle(&mut self, tid: Tid) -> io::Result<()> {
        self.settle_mask(tid)
    }

    /// The kernel has taken the block of a trapping thread away: it stays away for now.
    fn lift(&mut self, tid: Tid, status: &procfs::TaskStatus) -> io::Result<()> {
        let leaving = self.leaving;
        let thread = self.known(tid)?;
        thread.learn(status.blocked | TRAP_BIT);
        if leaving || status.pending & TRAP_BIT != 0 {
            // One that waits to be unblocked must go on waiting.
            thread.block = Block::Set;
            return sys::set_sigmask(tid, status.blocked | TRAP_BIT);
        }
        thread.block = Block::Lifted { calls: 0 };
        Ok(())
    }

    /// Whether the kernel lacks a block of SIGTRAP that the program has.
    #[must_use]
    pub fn is_lifted(&self, tid: Tid) -> bool {
        self.threads.get(&tid).is_some_and(|t| matches!(t.block, Block::Lifted { .. }))
    }

    /// Gives the kernel the block of a stopped thread. Not before a trap that is on its way to its
    /// stop: it would be held back, and the thread go on behind the trap.
    ///
    /// # Errors
    /// ESRCH.
    pub fn put_block_back(&mut self, tid: Tid) -> io::Result<()> {
        let thread = self.known(tid)?;
        if !matches!(thread.block, Block::Lifted { .. })
            || procfs::status(tid)?.pending_alone & TRAP_BIT != 0
        {
            return Ok(());
        }
        self.known(tid)?.block = Block::Set;
        let mask = sys::get_sigmask(tid)?;
        sys::set_sigmask(tid, mask | TRAP_BIT)
    }

    /// At either end of a call: the kernel has the block inside of it.
    pub(super) fn mask_at_call(&mut self, tid: Tid) -> io::Result<()> {
        let thread = self.known(tid)?;
        match thread.block {
            Block::Set if thread.is_followed() => {
                thread.idle += 1;
                let follow = thread.idle < 2 * IDLE_CALLS;
                let mask = sys::get_sigmask(tid)?;
                let thread = self.known(tid)?;
                thread.of_handler &= thread.mask == Some(mask);
                (thread.mask, thread.followed) = (Some(mask), follow);
            }
            Block::Set => {}
            Block::Lifted { calls } => {
                thread.block = Block::InCall { calls };
                let mask = sys::get_sigmask(tid)?;
                sys::set_sigmask(tid, mask | TRAP_BIT)?;
            }
            Block::InCall { calls } => {
                thread.block = Block::Set;
                let result = native::result(&self.regs(tid)?);
                let mask = sys::get_sigmask(tid)?;
                self.known(tid)?.learn(mask);
                // Interrupted, the call may have a mask of its own until the signal is delivered.
                let interrupted = result == -i64::from(libc::EINTR) || native::is_restart(result);
                if mask & TRAP_BIT == 0 || interrupted {
                    return Ok(());
                }
                if calls >= IDLE_CALLS {
                    self.known(tid)?.followed = false;
                    return Ok(());
                }
                if procfs::status(tid)?.pending & TRAP_BIT != 0 {
                    return Ok(());
                }
                sys::set_sigmask(tid, mask & !TRAP_BIT)?;
                self.known(tid)?.block = Block::Lifted { calls: calls + 1 };
            }
        }
        Ok(())
    }

    /// At a trap right behind the program's own rt_sigaction, which has set `action`: if that
    /// trap had to be forced, undoes what it did to the mask.
    ///
    /// # Errors
    /// Those of ptrace and of reading /proc.
    pub fn settle_mask_behind(&mut self, tid: Tid, action: Action) -> io::Result<()> {
        if self.is_lifted(tid) {
            return Ok(());
        }
        let status = procfs::status(tid)?;
        let stands = (status.caught | status.ignored) & TRAP_BIT != 0;
        // A handler is only taken away because the signal was blocked; an ignored signal is
        // forced in any case.
        let likely = self.known(tid)?.likely_blocked(status.blocked);
        if !stands && (likely || matches!(action, Action::Handler(_))) {
            self.lift(tid, &status)?;
        }
        Ok(())
    }

    /// Tells the kernel again what stands there for SIGTRAP.
    fn restore_action(&mut self, tid: Tid) -> io::Result<()> {
        match self.write_standing_action(tid) {
            Ok(()) => Ok(()),
            Err(InjectError::Io(error)) => Err(error),
            // Nothing more can be done: it is the program's own action that is lost.
            Err(_) => Ok(()),
        }
    }

    /// Whether, of all threads of the process that may have had their trap forced, it was this one,
    /// whose mask is now `blocked`. If it must have been others, they are blamed.
    fn was_it(&mut self, tid: Tid, blocked: u64) -> bool {
        let Some(pid) = self.threads.get(&tid).map(|t| t.pid) else { return true };
        let own = self.evidence(tid, blocked);
        if own == Some(true) {
            return true;
        }
        let trapped = |t: &&super::Thread| t.tid != tid && t.pid == pid && t.doubt != Doubt::None;
        let others: Vec<Tid> = self.threads.values().filter(trapped).map(|t| t.tid).collect();
        let mut as_likely = Vec::new();
        for other in others {
            let Ok(status) = procfs::status(other) else { continue };
            if status.blocked & TRAP_BIT != 0 {
                continue;
            }
            match self.evidence(other, status.blocked) {
                Some(true) => return false,
                None => as_likely.push(other),
                Some(false) => {}
            }
        }
        if own.is_none() || as_likely.is_empty() {
            return true;
        }
        for other in as_likely {
            if let Some(thread) = self.threads.get_mut(&other) {
                thread.doubt = Doubt::Blamed;
            }
        }
        false
    }

    /// What tells whether a thread whose mask is now `blocked`, without SIGTRAP, blocked it until
    /// its trap.
    fn evidence(&mut self, tid: Tid, blocked: u64) -> Option<bool> {
        let thread = self.threads.get(&tid)?;
        if thread.likely_blocked(blocked) {
            return Some(true);
        }
        if thread.mask == Some(blocked) {
            return Some(false);
        }
        // Inside a handler, probably: what its return will restore, and which signal's it is.
        let action = self.processes.get(&thread.pid)?.action;
        if let (Action::Handler([_, flags, restorer, _]), Ok(regs)) = (action, sys::get_regs(tid))
            && let Some(restorer) = self.restorer(tid, flags, restorer)
        {
            const NODEFER: u64 = 0x4000_0000;
            let mut stack = [0; 8192];
            let space = self.space_of(tid).and_then(|id| self.spaces.get(&id))?;
            let n = space.read_some(regs.sp(), &mut stack).unwrap_or(0);
            if let Some((mask, signal)) = native::innermost_frame(&stack[..n], regs.sp(), restorer)
            {
                let deferred = signal == libc::SIGTRAP && flags & NODEFER == 0;
                return Some(deferred || mask & TRAP_BIT != 0);
            }
        }
        None
    }

    /// The action was put back: threads whose trap is older than that cannot be told by it. One that
    /// runs may be on its way from its trap to its stop; one in a call has not trapped.
    pub(super) fn doubt_others(&mut self, tid: Tid) -> io::Result<()> {
        for other in self.others(tid)? {
            if self.has_trapped(other)? {
                self.doubt(other)?;
            } else if self.known(other)?.state == State::Running && !is_in_call(other) {
                self.known(other)?.unsure = Some(procfs::run_ns(other));
            }
        }
        Ok(())
    }

    /// Waits until those have stopped that were on their way. Stopping those that run would be quicker,
    /// and would interrupt a call that one is about to make.
    fn await_traps(&mut self, tid: Tid) -> io::Result<()> {
        let begun = Instant::now();
        let mut open = self.others(tid)?;
        loop {
            let mut still = Vec::new();
            for other in open {
                if self.has_trapped(other)? {
                    self.doubt(other)?;
                    continue;
                }
                let unsure = self.known(other)?.unsure;
                let ran = unsure.is_none_or(|ran| procfs::run_ns(other) - ran >= RUN_NS);
                if !ran && self.poll_is_quiet(other) && !is_in_call(other) {
                    still.push(other);
                } else {
                    self.known(other)?.unsure = None;
                }
            }
            if still.is_empty() || begun.elapsed() >= AT_LAST {
                return Ok(());
            }
            open = still;
            std::thread::sleep(PAUSE);
        }
    }

    /// The other threads of its process.
    fn others(&mut self, tid: Tid) -> io::Result<Vec<Tid>> {
        let pid = self.known(tid)?.pid;
        let others = |t: &&super::Thread| t.tid != tid && t.pid == pid;
        Ok(self.threads.values().filter(others).map(|t| t.tid).collect())
    }

    /// Whether a thread has trapped and its trap was not dealt with.
    fn has_trapped(&mut self, tid: Tid) -> io::Result<bool> {
        let stop = sys::wait(Whom::One(tid), false, false);
        let on_its_way =
            || procfs::status(tid).is_ok_and(|s| s.pending & !s.blocked & TRAP_BIT != 0);
        Ok(match stop.ok().flatten().map(|(_, status)| status) {
            Some(Status::Stopped { signal: libc::SIGTRAP, event: 0 }) => true,
            Some(Status::Stopped { event: EVENT_STOP, .. }) => on_its_way(),
            Some(_) => false,
            None => self.known(tid)?.state == State::Stopped && on_its_way(),
        })
    }

    fn doubt(&mut self, tid: Tid) -> io::Result<()> {
        let thread = self.known(tid)?;
        thread.unsure = None;
        if thread.doubt == Doubt::None {
            thread.doubt = Doubt::Trapped;
        }
        Ok(())
    }
}

fn is_in_call(tid: Tid) -> bool {
    matches!(procfs::whereabouts(tid), procfs::Whereabouts::InCall { number: 0.., .. })
}

impl super::Thread {
    /// Its mask is known for certain.
    pub(super) fn learn(&mut self, mask: u64) {
        (self.mask, self.followed, self.idle) = (Some(mask), true, 0);
        self.of_handler = false;
    }

    /// Whether it is known to block SIGTRAP, and is watched at its calls lest that change unseen.
    pub(super) fn is_followed(&self) -> bool {
        self.followed && self.mask.is_some_and(|mask| mask & TRAP_BIT != 0)
    }

    /// Whether a thread whose mask is now `blocked`, without SIGTRAP, probably blocked it before
    /// its trap: the rest of the mask is what is known of such a thread.
    fn likely_blocked(&self, blocked: u64) -> bool {
        let known = self.mask.filter(|mask| mask & TRAP_BIT != 0).map(|mask| mask & !TRAP_BIT);
        // What came on top since is a handler's.
        known.is_some_and(|mask| mask == blocked || self.followed && mask & !blocked == 0)
            || is_wide(blocked)
    }
}

/// A mask as libc sets it to be undisturbed, rather than one that a program composes.
fn is_wide(mask: u64) -> bool {
    mask.count_ones() >= 32
}
