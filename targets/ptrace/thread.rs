//! Threads and processes as they are known here.

use super::event::Event;
use super::is_gone;
use super::mask::{Block, Doubt, Watch};
use super::retry::Retries;
use super::siginfo::SigInfo;
use super::signals::Action;
use super::space::SpaceId;
use super::sys::{Pid, Tid};
use crate::native::Regs;
use std::io;
use std::time::{Duration, Instant};
use xol_arch::Addr;

/// What a thread is doing as far as ptrace knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Announced by its parent, its first stop not seen yet.
    Starting,
    /// On its own.
    Running,
    /// In a stop that takes no signal away when it is continued.
    Stopped,
    /// In a signal-delivery stop that has not been dealt with: the kernel still holds the signal.
    Delivering,
    /// In a group stop, listening.
    Listening,
}

/// A traced thread.
#[derive(Debug)]
pub struct Thread {
    /// Its id.
    pub tid: Tid,
    /// Its process.
    pub pid: Pid,
    /// What it is doing.
    pub state: State,
    /// Registers of a stopped thread, read when first asked for.
    pub(super) regs: Option<Regs>,
    /// The PC, where nothing else was asked for.
    pub(super) pc: Option<Addr>,
    pub(super) dirty: Dirty,
    /// Whether SIGTRAP's mask is known not to have changed.
    pub(super) watch: Watch,
    /// A signal that waits until the copy in a slot has run.
    pub held: Option<SigInfo>,
    /// To be given back to the program when its current call returns: argument and value.
    pub(super) give_back: Option<GiveBack>,
    /// Where the program will execute again instructions whose hit was counted.
    pub retries: Retries,
    /// The call it was blocked in when it was stopped.
    pub(super) entered: Option<super::restart::Entered>,
    /// Its registers when it was last stopped, where that was not in `restart_syscall`.
    pub(super) call: Option<Regs>,
    /// Whether an INTERRUPT is on its way to it: its call ends with EINTR if we go before it stops.
    pub(super) asked: bool,
    /// Whether it is in a signal-delivery stop of SIGTRAP.
    pub(super) by_trap: bool,
    /// Whether it must go back into the group stop it was taken out of.
    pub(super) rejoin: bool,
    /// Its signal mask as the program has it outside of handlers, when that was last known for certain.
    pub(super) mask: Option<u64>,
    /// Whether that was looked at since it was attached to and first stopped.
    pub(super) is_corrected: bool,
    /// Whether every change of a mask that blocks SIGTRAP would have been seen since.
    pub(super) followed: bool,
    /// Stops at calls since then.
    pub(super) idle: u32,
    /// Whether the kernel has its block of SIGTRAP.
    pub(super) block: Block,
    /// Whether its SIGTRAP may have been forced before the action was put back for another.
    pub(super) doubt: Doubt,
    /// The slot it was last sent to: it may still be inside.
    pub slot: Option<Addr>,
    /// How often its memory had been changed by us when it was last let go on.
    pub(super) let_go_at: Option<u64>,
}

/// What of the cached registers was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dirty {
    No,
    Pc,
    All,
}

/// An argument register that a restarted call has instead of the program's.
#[derive(Clone, Copy, Debug)]
pub(super) struct GiveBack {
    pub arg: usize,
    pub value: u64,
    pub entered: bool,
    /// What it points to, if that is ours.
    pub scratch: Option<Addr>,
}

impl Thread {
    pub(super) fn new(tid: Tid, pid: Pid, state: State) -> Thread {
        Thread {
            tid,
            pid,
            state,
            regs: None,
            pc: None,
            dirty: Dirty::No,
            watch: Watch::default(),
            held: None,
            give_back: None,
            retries: Retries::default(),
            call: None,
            entered: None,
            asked: false,
            by_trap: false,
            rejoin: false,
            mask: None,
            is_corrected: false,
            followed: false,
            idle: 0,
            block: Block::Set,
            doubt: Doubt::None,
            slot: None,
            let_go_at: None,
        }
    }

    /// The registers are the thread's again.
    pub(super) fn forget_regs(&mut self) {
        (self.regs, self.pc, self.dirty) = (None, None, Dirty::No);
    }

    /// Whether it is in a stop of any kind but a group stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        matches!(self.state, State::Stopped | State::Delivering)
    }
}

/// A traced process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its id.
    pub pid: Pid,
    /// Its address space.
    pub space: SpaceId,
    /// What the program itself wants done with SIGTRAP.
    pub action: Action,
    /// Whether that was asked, or seen.
    pub known_action: bool,
    /// Whether every call that set it was seen since.
    pub seen_action: bool,
    /// Whether our handler stands in for it in the kernel.
    pub protected: bool,
    /// Whose table of signal handlers it has: its own, or its creator's (CLONE_SIGHAND).
    pub handlers: Pid,
    /// A vfork child or another that shares its creator's memory.
    pub shares_memory: bool,
    /// Whether the thread that made it waits until it has memory of its own, or is gone (vfork).
    pub vforked: bool,
    /// Whether xol started it.
    pub launched: bool,
    /// Whether its memory was copied from its parent's while that may have been changed by us: what is in
    /// it is not known.
    pub in_doubt: bool,
}

impl super::Ptrace {
    /// Notes the slot a thread was sent to.
    pub fn set_slot(&mut self, tid: Tid, slot: Option<Addr>) {
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.slot = slot;
        }
    }

    /// Keeps a signal back.
    pub fn hold(&mut self, tid: Tid, info: SigInfo) {
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.held = Some(info);
        }
    }

    /// The signal that was kept back.
    pub fn take_held(&mut self, tid: Tid) -> Option<SigInfo> {
        self.threads.get_mut(&tid)?.held.take()
    }

    /// Where executions that were counted will begin again.
    pub fn retries(&mut self, tid: Tid) -> Option<&mut Retries> {
        self.threads.get_mut(&tid).map(|thread| &mut thread.retries)
    }

    /// Whether the thread is in a stop of any kind but a group stop.
    #[must_use]
    pub fn is_stopped(&self, tid: Tid) -> bool {
        self.threads.get(&tid).is_some_and(Thread::is_stopped)
    }

    /// Whether its first stop was seen.
    #[must_use]
    pub fn has_begun(&self, tid: Tid) -> bool {
        self.threads.get(&tid).is_some_and(|t| t.state != State::Starting)
    }

    /// Whether a thread that was interrupted has not stopped for that yet.
    #[must_use]
    pub fn is_asked(&self, tid: Tid) -> bool {
        self.threads.get(&tid).is_some_and(|t| t.asked)
    }

    /// Whether it is in a signal-delivery stop whose signal the kernel still holds.
    #[must_use]
    pub fn is_delivering(&self, tid: Tid) -> bool {
        self.threads.get(&tid).is_some_and(|t| t.state == State::Delivering)
    }

    /// Waits, for `limit` at most, for the next event of one thread, which is certain to have one soon.
    ///
    /// # Errors
    /// Those of ptrace; a thread that is gone has none to wait for.
    pub fn await_event(&mut self, tid: Tid, limit: Duration) -> io::Result<Option<Event>> {
        let begun = Instant::now();
        loop {
            if let Some(i) = self.started.iter().position(|&child| child == tid) {
                self.started.swap_remove(i);
                return Ok(Some(self.begun(tid)));
            }
            match self.poll(tid) {
                Ok(None) if begun.elapsed() > limit => return Ok(None),
                Ok(None) => std::thread::yield_now(),
                Err(error) if is_gone(&error) => return Ok(None),
                other => return other,
            }
        }
    }
}
