//! SIGTRAP's action as if we were not there (RULES A1).
//!
//! Our handler stands in for a default or ignored SIGTRAP; a handler of the program's own stays.
//! `mask` says how it is noticed that the kernel has taken either away.

use super::inject::{BUFFER, InjectError};
use super::space::SpaceId;
use super::sys::Tid;
use super::{Ptrace, gone, procfs};
use crate::native::head;
use std::io;

/// SIGTRAP as a bit of a signal mask.
pub(super) const TRAP_BIT: u64 = 1 << (libc::SIGTRAP - 1);
const SIGSET_SIZE: u64 = 8;
pub(super) const SA_NODEFER: u64 = 0x4000_0000;

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

    /// What is blocked in a handler of `signal`, beside what was before (sigaction(2)).
    pub(super) fn blocks(self, signal: i32) -> u64 {
        let Action::Handler([_, flags, _, blocks]) = self else { return 0 };
        if flags & SA_NODEFER == 0 { blocks | 1 << (signal - 1) } else { blocks }
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

impl Ptrace {
    /// What the kernel has for SIGTRAP in the thread's process.
    pub(super) fn read_action(&mut self, tid: Tid) -> Result<Action, InjectError> {
        self.action_of(tid, libc::SIGTRAP)
    }

    /// What the kernel has for a signal in the thread's process.
    pub(super) fn action_of(&mut self, tid: Tid, signal: i32) -> Result<Action, InjectError> {
        let mut words = [0u8; 32];
        let args = [signal as u64, 0, BUFFER, SIGSET_SIZE, 0, 0];
        let value = self.call(tid, libc::SYS_rt_sigaction, args, &mut words)?;
        refused("rt_sigaction", value)?;
        Ok(Action::from_bytes(&words))
    }

    pub(super) fn write_action(&mut self, tid: Tid, words: [u64; 4]) -> Result<(), InjectError> {
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
    ///
    /// # Errors
    /// See [`InjectError`].
    pub fn protect(&mut self, tid: Tid) -> Result<(), InjectError> {
        let action = self.read_action(tid)?;
        let space = self.space_of(tid).ok_or_else(gone)?;
        let action = self.behind_leftover(space, action);
        self.set_program_action(tid, action)
    }

    /// Whether that is still to be done for the process of a thread, and can be.
    #[must_use]
    pub fn wants_protection(&self, tid: Tid) -> bool {
        let process = self.threads.get(&tid).and_then(|t| self.processes.get(&t.pid));
        process.is_some_and(|p| {
            !p.known_action && self.spaces.get(&p.space).is_some_and(|s| s.head.is_some())
        })
    }

    /// The program wants `action` (it may just have set it in the kernel): remembers it, and
    /// lets our handler stand in for a default or ignored SIGTRAP.
    ///
    /// # Errors
    /// See [`InjectError`].
    pub fn set_program_action(&mut self, tid: Tid, action: Action) -> Result<(), InjectError> {
        let space = self.note_action(tid, action, false)?;
        let Some(home) = self.spaces.get(&space).filter(|s| !s.bare).and_then(|s| s.head) else {
            return Ok(());
        };
        if matches!(action, Action::Handler(_)) {
            return Ok(());
        }
        let memory = self.spaces.get(&space).ok_or_else(gone)?;
        let ignored = u64::from(action.is_ignore());
        memory.write(home.start.add(head::IGNORED), &ignored.to_ne_bytes())?;
        self.write_action(tid, ours(home))?;
        self.note_action(tid, action, true)?;
        Ok(())
    }

    /// Notes what a process wants, and all that share its handlers (CLONE_SIGHAND); its space.
    fn note_action(&mut self, tid: Tid, action: Action, protected: bool) -> io::Result<SpaceId> {
        let pid = self.known(tid)?.pid;
        let process = self.processes.get(&pid).ok_or_else(gone)?;
        let (space, handlers) = (process.space, process.handlers);
        for process in self.processes.values_mut().filter(|p| p.handlers == handlers) {
            (process.action, process.protected) = (action, protected);
            process.known_action = true;
        }
        Ok(space)
    }

    /// Whether every call was seen that set SIGTRAP's action in a thread's process since the kernel was
    /// asked for it.
    #[must_use]
    pub fn has_seen_action(&self, tid: Tid) -> bool {
        let process = self.threads.get(&tid).and_then(|t| self.processes.get(&t.pid));
        process.is_some_and(|p| p.seen_action)
    }

    /// Whether the kernel alone knows SIGTRAP's action of a thread's process: nobody looked at it yet, or
    /// the last trap of its space is gone.
    #[must_use]
    pub fn is_unwatched(&self, tid: Tid) -> bool {
        let process = self.threads.get(&tid).and_then(|t| self.processes.get(&t.pid));
        process.is_none_or(|process| {
            !process.known_action || self.spaces.get(&process.space).is_some_and(|s| s.bare)
        })
    }

    /// Whether the kernel would show a thread's process, as its action, what stands in for it: our
    /// handler, also where the kernel has just taken it away and left the rest.
    #[must_use]
    pub fn is_stand_in(&self, tid: Tid, action: Action) -> bool {
        let space = self.space_of(tid).and_then(|id| self.spaces.get(&id));
        let ours = space.and_then(|space| space.head).map(ours);
        let [handler, rest @ ..] = action.words();
        ours.is_some_and(|[own, others @ ..]| rest == others && (handler == own || handler == 0))
    }

    /// Looks whether the kernel has what should stand there for SIGTRAP: the program may have set
    /// another action where nobody saw it yet.
    ///
    /// # Errors
    /// See [`InjectError`].
    pub fn look_at_action(&mut self, tid: Tid) -> Result<(), InjectError> {
        let space = self.space_of(tid).ok_or_else(gone)?;
        if self.spaces.get(&space).is_none_or(|space| space.head.is_none()) {
            return Ok(());
        }
        let action = self.read_action(tid)?;
        let pid = self.known(tid)?.pid;
        let process = self.processes.get_mut(&pid).ok_or_else(gone)?;
        process.seen_action = true;
        let (known, protected) = (process.action, process.protected);
        let [handler, rest @ ..] = action.words();
        // A trap of a thread that blocks it has just made the kernel forget the handler, and no more.
        let forgotten = handler == 0 && known.words()[1..] == rest;
        match protected {
            true if self.is_stand_in(tid, action) => Ok(()),
            false if action == known => Ok(()),
            false if forgotten => {
                self.write_standing_action(tid)?;
                // Whose trap it was is not to be seen any more.
                self.doubt_others(tid)?;
                Ok(())
            }
            _ => self.set_program_action(tid, action),
        }
    }

    /// Puts the program's own action back into the kernel.
    ///
    /// # Errors
    /// See [`InjectError`].
    pub fn unprotect(&mut self, tid: Tid) -> Result<(), InjectError> {
        let pid = self.known(tid)?.pid;
        let process = self.processes.get_mut(&pid).ok_or_else(gone)?;
        let action = process.action;
        if !std::mem::take(&mut process.protected) {
            self.remember_handler(tid)?;
        } else {
            // What the program has set where that was not seen stays.
            let now = self.read_action(tid)?;
            if self.is_stand_in(tid, now) {
                self.write_action(tid, action.words())?;
            }
            if now.words()[0] == 0 {
                self.doubt_others(tid)?;
            }
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
        self.write_action(tid, words)?;
        self.doubt_others(tid)?;
        Ok(true)
    }

    /// Puts the program's own handler back where a trap of a thread that blocks SIGTRAP has made the kernel
    /// forget it; its flags are then still there.
    fn remember_handler(&mut self, tid: Tid) -> Result<(), InjectError> {
        let pid = self.known(tid)?.pid;
        let process = self.processes.get(&pid).ok_or_else(gone)?;
        let Action::Handler(words) = process.action else { return Ok(()) };
        let [handler, rest @ ..] = self.read_action(tid)?.words();
        if handler == 0 && words[1..] == rest {
            self.write_action(tid, words)?;
            self.doubt_others(tid)?;
        }
        Ok(())
    }

    /// Puts into the kernel what stands there: our handler or the program's own action.
    pub(super) fn write_standing_action(&mut self, tid: Tid) -> Result<(), InjectError> {
        let pid = self.known(tid)?.pid;
        let process = self.processes.get(&pid).ok_or_else(gone)?;
        let home = self.spaces.get(&process.space).and_then(|s| s.head);
        let words = match home.filter(|_| process.protected) {
            Some(home) => ours(home),
            None => process.action.words(),
        };
        self.write_action(tid, words)
    }

    /// Makes SIGTRAP end the program, as the kernel does when it forces a signal.
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
        let now = stands && (status.caught | status.ignored) & TRAP_BIT == 0;
        Ok(now || self.threads.get(&tid).is_some_and(|t| t.doubt != super::mask::Doubt::None))
    }
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
