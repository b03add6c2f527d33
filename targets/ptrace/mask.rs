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
//! Where several threads have trapped at one moment, the mask that each had outside of handlers, the frames
//! of handlers on its stack and what their actions block tell whose signal was forced.
//!
//! Looking costs a read of /proc, so a thread that was found clean is watched instead where that is
//! cheaper: its mask can only change by a system call or a signal, and both show themselves.

use super::inject::InjectError;
use super::signals::{Action, TRAP_BIT};
use super::sys::{self, Status, Tid, Whom};
use super::{Ptrace, gone, procfs};
use crate::native;
use std::io;
use std::time::{Duration, Instant};
use xol_arch::Regs as _;

/// How long a thread may take from its trap to its stop where many want the CPU; between two looks.
const AT_LAST: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_micros(50);
/// How much of a stack is searched for the frame of a handler, in bytes.
const SEARCHED: usize = 16384;
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
        let (pid, doubt) = (thread.pid, std::mem::take(&mut thread.doubt));
        let process = self.processes.get(&pid).ok_or_else(gone)?;
        let caught = process.protected || matches!(process.action, Action::Handler(_));
        let ignored = !caught && process.action.is_ignore();
        let status = procfs::status(tid)?;
        if !caught && !ignored {
            // No action that could tell: only what was known before.
            if self.known(tid)?.mask.is_some_and(|mask| mask & TRAP_BIT != 0)
                && self.evidence(tid, tid, status.blocked) == Some(true)
            {
                self.lift(tid, &status)?;
            }
            return Ok(());
        }
        if (status.caught | status.ignored) & TRAP_BIT != 0 {
            // Another thread's trap may have had the action put back that ours had taken away.
            let forced = match doubt {
                Doubt::None => false,
                Doubt::Trapped => self.evidence(tid, tid, status.blocked) == Some(true),
                Doubt::Blamed => true,
            };
            if forced {
                return self.lift(tid, &status);
            }
            let doubt = doubt != Doubt::None;
            self.learn(tid, status.blocked)?;
            let thread = self.known(tid)?;
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
        let own = self.evidence(tid, tid, status.blocked);
        if own != Some(true) && caught {
            self.await_traps(tid)?;
        }
        if own == Some(true) || caught && self.was_it(tid, own)? {
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
        self.learn(tid, status.blocked | TRAP_BIT)?;
        let thread = self.known(tid)?;
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
                let outside = self.is_outside(tid, mask);
                let thread = self.known(tid)?;
                if outside {
                    thread.mask = Some(mask);
                }
                thread.followed = follow;
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
                self.learn(tid, mask)?;
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

    /// Whether, of all threads of the process that may have had their trap forced, it was this one, of
    /// which `own` tells. If it must have been others, they are blamed.
    fn was_it(&mut self, tid: Tid, own: Option<bool>) -> io::Result<bool> {
        let mut as_likely = Vec::new();
        for other in self.others(tid)? {
            if self.known(other)?.doubt == Doubt::None {
                continue;
            }
            let Ok(status) = procfs::status(other) else { continue };
            if status.blocked & TRAP_BIT != 0 {
                continue;
            }
            match self.evidence(other, tid, status.blocked) {
                Some(true) => return Ok(false),
                None => as_likely.push(other),
                Some(false) => {}
            }
        }
        if own.is_none() || as_likely.is_empty() {
            return Ok(true);
        }
        for other in as_likely {
            self.known(other)?.doubt = Doubt::Blamed;
        }
        Ok(false)
    }

    /// What tells whether a thread whose mask is now `blocked`, without SIGTRAP, blocked it until
    /// its trap. The thread `by` can ask the kernel.
    fn evidence(&mut self, tid: Tid, by: Tid, blocked: u64) -> Option<bool> {
        if let Some(&before) = self.frames(tid).first() {
            let told = self.told_by_handler(by, before, blocked);
            return told.or(is_wide(blocked).then_some(true));
        }
        let thread = self.threads.get(&tid)?;
        if thread.likely_blocked(blocked) {
            return Some(true);
        }
        (thread.mask == Some(blocked)).then_some(false)
    }

    /// Whether a handler blocks SIGTRAP in which a mask is `blocked`, beside that, and was `before` outside:
    /// whose it is, its frame does not always say, but what it blocks is in its action.
    fn told_by_handler(&mut self, by: Tid, before: u64, blocked: u64) -> Option<bool> {
        const AT_MOST: u32 = 4;
        if before & TRAP_BIT != 0 {
            return Some(true);
        }
        let more = blocked & !before;
        if more.count_ones() > AT_MOST {
            return None;
        }
        let mut told = None;
        for signal in (1..=64).filter(|n| (more | TRAP_BIT) >> (n - 1) & 1 != 0) {
            let blocks = self.action_of(by, signal).ok()?.blocks(signal);
            if (before | blocks) & !TRAP_BIT == blocked {
                let trap = blocks & TRAP_BIT != 0;
                if told.is_some_and(|told| told != trap) {
                    return None;
                }
                told = Some(trap);
            }
        }
        told
    }

    /// A mask is known for certain; that of a handler is not what the thread has outside.
    pub(super) fn learn(&mut self, tid: Tid, mask: u64) -> io::Result<()> {
        if self.is_outside(tid, mask) {
            let thread = self.known(tid)?;
            (thread.mask, thread.followed, thread.idle) = (Some(mask), true, 0);
        }
        Ok(())
    }

    /// What a thread is known to block when it stops for the first time since it was attached to may be what
    /// a handler blocks; the frames say what it has outside.
    pub(super) fn correct_mask(&mut self, tid: Tid) -> io::Result<()> {
        if let Some(&outside) = self.frames(tid).last() {
            self.known(tid)?.mask = Some(outside);
        }
        Ok(())
    }

    /// Whether a thread whose mask is now `mask` is outside of handlers, as far as can be told.
    fn is_outside(&self, tid: Tid, mask: u64) -> bool {
        let known = self.threads.get(&tid).and_then(|thread| thread.mask);
        known == Some(mask) || self.frames(tid).is_empty()
    }

    /// What the frames of handlers on the stack of a stopped thread restore as its mask, the innermost first.
    /// None are found where the program has no handler of SIGTRAP to tell what handlers return to.
    fn frames(&self, tid: Tid) -> Vec<u64> {
        self.told_frames(tid).unwrap_or_default()
    }

    fn told_frames(&self, tid: Tid) -> Option<Vec<u64>> {
        let process = self.threads.get(&tid).and_then(|t| self.processes.get(&t.pid))?;
        let Action::Handler([_, flags, restorer, _]) = process.action else { return None };
        let restorer = self.restorer(tid, flags, restorer)?;
        let space = self.spaces.get(&process.space)?;
        let regs = sys::get_regs(tid).ok()?;
        let mut stack = [0; SEARCHED];
        let n = space.read_some(regs.sp(), &mut stack).unwrap_or(0);
        Some(native::masks_of_handlers(&stack[..n], &regs, restorer))
    }

    /// The action was put back: threads whose trap is older than that cannot be told by it.
    pub(super) fn doubt_others(&mut self, tid: Tid) -> io::Result<()> {
        for other in self.others(tid)? {
            if has_trapped(other) {
                let thread = self.known(other)?;
                if thread.doubt == Doubt::None {
                    thread.doubt = Doubt::Trapped;
                }
            }
        }
        Ok(())
    }

    /// Waits until those have stopped whose trap is on its way: what they block is then to be seen.
    /// Stopping them would be quicker, and would interrupt a call that one is about to make.
    fn await_traps(&mut self, tid: Tid) -> io::Result<()> {
        let begun = Instant::now();
        for other in self.others(tid)? {
            while self.known(other)?.doubt != Doubt::None
                && sys::get_regs(other).is_err()
                && is_trapping(other)
                && begun.elapsed() < AT_LAST
            {
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    /// The other threads of its process.
    fn others(&mut self, tid: Tid) -> io::Result<Vec<Tid>> {
        let pid = self.known(tid)?.pid;
        let others = |t: &&super::Thread| t.tid != tid && t.pid == pid;
        Ok(self.threads.values().filter(others).map(|t| t.tid).collect())
    }
}

/// Whether a thread has trapped and its trap was not dealt with. The kernel has the signal pending until
/// the thread has stopped for it, so the stop is looked for second (force_sig_info_to_task() and
/// get_signal(), each under the lock that reading the status takes).
fn has_trapped(tid: Tid) -> bool {
    is_trapping(tid)
        || matches!(
            sys::wait(Whom::One(tid), false, false),
            Ok(Some((_, Status::Stopped { signal: libc::SIGTRAP, event: 0 })))
        )
}

/// Whether a thread's trap is on its way to its stop.
fn is_trapping(tid: Tid) -> bool {
    procfs::status(tid).is_ok_and(|s| s.pending_alone & !s.blocked & TRAP_BIT != 0)
}

impl super::Thread {
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
