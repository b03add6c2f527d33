//! SIGTRAP's mask and action as if we were not there (RULES A1).
//!
//! A trap taken while SIGTRAP is blocked or ignored makes the kernel unblock it in that thread
//! and reset its action for the whole process before we look. Since our handler (or the
//! program's own) is always installed, a default action tells that this happened. Looking costs
//! a read of /proc, so a thread that was found clean is watched instead where that is cheaper:
//! its mask can only change by a system call or a signal, and both show themselves.

use super::inject::{BUFFER, InjectError};
use super::sys::{self, EVENT_STOP, Status, Tid, Whom};
use super::{Ptrace, gone, procfs};
use crate::native::head;
use std::io;

/// SIGTRAP as a bit of a signal mask.
pub(super) const TRAP_BIT: u64 = 1 << (libc::SIGTRAP - 1);
const SIGSET_SIZE: u64 = 8;

/// What a program wants done with SIGTRAP: the kernel's struct sigaction (sa_handler, sa_flags,
/// sa_restorer, sa_mask), kept whole because the program may read it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The default: it ends with a core.
    Default([u64; 4]),
    /// Nothing.
    Ignore([u64; 4]),
    /// A handler.
    Handler([u64; 4]),
}

impl Default for Action {
    fn default() -> Self {
        Action::Default([0; 4])
    }
}

impl Action {
    /// From the kernel's struct, as bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Action {
        let words = words_of(bytes);
        match words[0] {
            0 => Action::Default(words),
            1 => Action::Ignore(words),
            _ => Action::Handler(words),
        }
    }

    /// The kernel's struct.
    #[must_use]
    pub fn words(self) -> [u64; 4] {
        let (Action::Default(words) | Action::Ignore(words) | Action::Handler(words)) = self;
        words
    }

    /// Whether the signal would be discarded.
    #[must_use]
    pub fn is_ignore(self) -> bool {
        matches!(self, Action::Ignore(_))
    }

    /// Whether nothing but the default is there.
    #[must_use]
    pub fn is_default(self) -> bool {
        matches!(self, Action::Default(_))
    }
}

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

impl Ptrace {
    /// What the kernel has for SIGTRAP in the thread's process.
    fn read_action(&mut self, tid: Tid) -> Result<Action, InjectError> {
        let mut words = [0u8; 32];
        let args = [libc::SIGTRAP as u64, 0, BUFFER, SIGSET_SIZE, 0, 0];
        let value = self.call(tid, libc::SYS_rt_sigaction, args, &mut words)?;
        refused("rt_sigaction", value)?;
        Ok(Action::from_bytes(&words))
    }

    fn write_action(&mut self, tid: Tid, words: [u64; 4]) -> Result<(), InjectError> {
        let mut bytes = [0u8; 32];
        for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        let args = [libc::SIGTRAP as u64, BUFFER, 0, SIGSET_SIZE, 0, 0];
        let value = self.call(tid, libc::SYS_rt_sigaction, args, &mut bytes)?;
        refused("rt_sigaction", value)
    }

    /// Learns the program's action and puts our handler in its place, unless the program has a
    /// handler of its own.
    pub(super) fn protect(&mut self, tid: Tid) -> Result<(), InjectError> {
        let action = self.read_action(tid)?;
        self.set_program_action(tid, action)
    }

    /// The program wants `action` (it may just have set it in the kernel): remembers it, and
    /// lets our handler stand in for a default or ignored SIGTRAP.
    ///
    /// # Errors
    /// See [`InjectError`].
    pub fn set_program_action(&mut self, tid: Tid, action: Action) -> Result<(), InjectError> {
        let pid = self.known(tid)?.pid;
        let process = self.processes.get_mut(&pid).ok_or_else(gone)?;
        process.action = action;
        process.protected = false;
        let space = process.space;
        let Some(home) = self.spaces.get(&space).and_then(|s| s.head) else { return Ok(()) };
        if let Action::Handler(_) = action {
            return Ok(());
        }
        let memory = self.spaces.get(&space).ok_or_else(gone)?;
        let ignored = u64::from(action.is_ignore());
        memory.write(home.start.add(head::IGNORED), &ignored.to_ne_bytes())?;
        self.write_action(tid, ours(home))?;
        self.processes.get_mut(&pid).ok_or_else(gone)?.protected = true;
        Ok(())
    }

    /// Puts the program's own action back into the kernel.
    ///
    /// # Errors
    /// See [`InjectError`].
    pub fn unprotect(&mut self, tid: Tid) -> Result<(), InjectError> {
        let pid = self.known(tid)?.pid;
        let process = self.processes.get_mut(&pid).ok_or_else(gone)?;
        if std::mem::take(&mut process.protected) {
            let action = process.action;
            self.write_action(tid, action.words())?;
        }
        Ok(())
    }

    /// Before a SIGTRAP of the program's own is delivered: puts its handler back if a trap of
    /// another thread has just made the kernel forget it. Whether that was so; the stop that the
    /// signal was reported with is then used up.
    ///
    /// # Errors
    /// See [`InjectError`].
    pub fn ensure_action(&mut self, tid: Tid) -> Result<bool, InjectError> {
        let pid = self.known(tid)?.pid;
        let process = self.processes.get(&pid).ok_or_else(gone)?;
        let Action::Handler(words) = process.action else { return Ok(false) };
        if procfs::status(tid)?.caught & TRAP_BIT != 0 {
            return Ok(false);
        }
        self.doubt_others(tid);
        self.write_action(tid, words)?;
        Ok(true)
    }

    /// Has SIGTRAP end the program, as the kernel does when it forces a signal.
    ///
    /// # Errors
    /// See [`InjectError`].
    pub fn reset_action(&mut self, tid: Tid) -> Result<(), InjectError> {
        let pid = self.known(tid)?.pid;
        self.write_action(tid, [0; 4])?;
        let process = self.processes.get_mut(&pid).ok_or_else(gone)?;
        (process.protected, process.action) = (false, Action::default());
        Ok(())
    }

    /// After a trap of ours and before the thread goes on: if the kernel had to force the signal,
    /// undoes what that changed.
    pub(super) fn settle_mask(&mut self, tid: Tid) -> io::Result<()> {
        let thread = self.threads.get_mut(&tid).ok_or_else(gone)?;
        if let Watch::Watched { traps, .. } = &mut thread.watch {
            *traps += 1;
            return Ok(());
        }
        let (pid, doubt) = (thread.pid, std::mem::take(&mut thread.doubt));
        let process = self.processes.get(&pid).ok_or_else(gone)?;
        let status = procfs::status(tid)?;
        let caught = process.protected || matches!(process.action, Action::Handler(_));
        let ignored = !caught && process.action.is_ignore();
        if !caught && !ignored {
            return Ok(());
        }
        if (status.caught | status.ignored) & TRAP_BIT != 0 {
            if doubt && (is_wide(status.blocked) || self.known(tid)?.blocks_trap) {
                sys::set_sigmask(tid, status.blocked | TRAP_BIT)?;
            }
            let thread = self.known(tid)?;
            thread.blocks_trap &= doubt;
            if let Watch::Look { clean, enough } = &mut thread.watch {
                *clean += 1;
                if *clean >= *enough && !doubt {
                    let enough = *enough;
                    thread.watch = Watch::Watched { traps: 0, enough };
                }
            }
            return Ok(());
        }
        // Forced. A caught signal is only forced when it is blocked: by this thread, unless
        // another one's trap is on its way whose mask says so.
        let before = is_wide(status.blocked) || self.known(tid)?.blocks_trap;
        if before || caught && !self.another_is_blocked(tid) {
            self.block_again(tid, status.blocked)?;
        }
        self.doubt_others(tid);
        let words = match (process_words(self, tid)?, caught) {
            (Some(words), true) => words,
            (_, _) => process_action(self, tid)?.words(),
        };
        match self.write_action(tid, words) {
            Ok(()) => Ok(()),
            Err(InjectError::Io(error)) => Err(error),
            // Nothing more can be done: it is the program's own action that is lost.
            Err(_) => Ok(()),
        }
    }

    fn block_again(&mut self, tid: Tid, blocked: u64) -> io::Result<()> {
        self.known(tid)?.blocks_trap = true;
        sys::set_sigmask(tid, blocked | TRAP_BIT)
    }

    /// At a trap right behind the program's own rt_sigaction, which has set `action`: if that
    /// trap had to be forced, undoes what it did to the mask.
    ///
    /// # Errors
    /// Those of ptrace and of reading /proc.
    pub fn settle_mask_behind(&mut self, tid: Tid, action: Action) -> io::Result<()> {
        let status = procfs::status(tid)?;
        let stands = (status.caught | status.ignored) & TRAP_BIT != 0;
        let blocked = is_wide(status.blocked) || self.known(tid)?.blocks_trap;
        // A handler is only taken away because the signal was blocked; an ignored signal is
        // forced in any case.
        if !stands && (blocked || matches!(action, Action::Handler(_))) {
            self.block_again(tid, status.blocked)?;
        }
        Ok(())
    }

    /// Whether the kernel had to force SIGTRAP on this thread or another of its process: the action
    /// is not what stands there otherwise.
    ///
    /// # Errors
    /// Those of reading /proc.
    pub fn was_forced(&self, tid: Tid) -> io::Result<bool> {
        let pid = self.threads.get(&tid).ok_or_else(gone)?.pid;
        let process = self.processes.get(&pid).ok_or_else(gone)?;
        let stands = process.protected || !process.action.is_default();
        let status = procfs::status(tid)?;
        Ok(stands && (status.caught | status.ignored) & TRAP_BIT == 0)
    }

    /// Whether another thread of the process has trapped with nearly everything blocked, as libc
    /// does around clone. Its stop may be a moment away.
    fn another_is_blocked(&self, tid: Tid) -> bool {
        let Some(pid) = self.threads.get(&tid).map(|t| t.pid) else { return false };
        let others = || self.threads.values().filter(|t| t.tid != tid && t.pid == pid);
        if others().next().is_none() {
            return false;
        }
        for _ in 0..3 {
            for other in others() {
                let status = sys::wait(Whom::One(other.tid), false, false);
                if let Ok(Some((_, Status::Stopped { signal: libc::SIGTRAP, event: 0 }))) = status
                    && procfs::status(other.tid).is_ok_and(|s| is_wide(s.blocked))
                {
                    return true;
                }
            }
            std::thread::sleep(std::time::Duration::from_micros(50));
        }
        false
    }

    /// Threads whose trap is older than the action that is about to be restored cannot be told
    /// by it.
    fn doubt_others(&mut self, tid: Tid) {
        let Some(pid) = self.threads.get(&tid).map(|t| t.pid) else { return };
        for (&other, thread) in &mut self.threads {
            if other != tid && thread.pid == pid {
                let status = sys::wait(Whom::One(other), false, false);
                if let Ok(Some((_, Status::Stopped { signal: libc::SIGTRAP, event }))) = status
                    && event != EVENT_STOP
                {
                    thread.doubt = true;
                }
            }
        }
    }
}

/// A mask as libc sets it to be undisturbed, rather than one that a program composes.
fn is_wide(mask: u64) -> bool {
    mask.count_ones() >= 32
}

/// What stands in the kernel for the thread's process: our handler or the program's.
fn process_words(target: &Ptrace, tid: Tid) -> io::Result<Option<[u64; 4]>> {
    let pid = target.threads.get(&tid).ok_or_else(gone)?.pid;
    let process = target.processes.get(&pid).ok_or_else(gone)?;
    if process.protected {
        let home = target.spaces.get(&process.space).and_then(|s| s.head);
        return Ok(home.map(ours));
    }
    Ok(Some(process.action.words()))
}

fn process_action(target: &Ptrace, tid: Tid) -> io::Result<Action> {
    let pid = target.threads.get(&tid).ok_or_else(gone)?.pid;
    Ok(target.processes.get(&pid).ok_or_else(gone)?.action)
}

fn ours(home: super::Area) -> [u64; 4] {
    [home.start.add(head::HANDLER).0, head::SA_FLAGS, home.start.add(head::RESTORER).0, 0]
}

fn words_of(bytes: &[u8; 32]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, from) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        let mut eight = [0; 8];
        eight.copy_from_slice(from);
        *word = u64::from_ne_bytes(eight);
    }
    words
}

fn refused(call: &'static str, value: i64) -> Result<(), InjectError> {
    if value < 0 {
        return Err(InjectError::Refused(call, io::Error::from_raw_os_error(-value as i32)));
    }
    Ok(())
}
