//! What happens to threads, and how they go on.

use super::siginfo::SigInfo;
use super::space::SpaceId;
use super::sys::{Pid, Status, Tid};

/// What happened. The thread named is stopped until [`Ptrace::go`](super::Ptrace::go), but for exits.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A breakpoint instruction was executed.
    Trap(Tid),
    /// A single step is done.
    Stepped(Tid),
    /// A signal is about to be delivered.
    Signal(Tid, SigInfo),
    /// A new process. The parent is stopped; the child's [`Event::Started`] follows.
    Forked {
        /// The thread that made it.
        parent: Tid,
        /// Its first thread.
        child: Tid,
    },
    /// A new thread or process is about to run its first instruction.
    Started(Tid),
    /// A process has a new image: its thread, the space it had, and the number that its thread had.
    Exec(Tid, SpaceId, Tid),
    /// A thread's vfork is over: it is about to go on in memory that was its child's meanwhile.
    Returned(Tid),
    /// A thread is gone, and others of its process are not.
    Gone(Tid, Pid),
    /// The last thread of a process is gone; how it ended.
    Ended(Pid, Status),
    /// Nothing, for now: a signal of our own, or a tick.
    Tick,
}

impl Event {
    /// The thread that stands still until the event is dealt with.
    #[must_use]
    pub fn stopped(&self) -> Option<Tid> {
        match *self {
            Event::Trap(tid)
            | Event::Stepped(tid)
            | Event::Signal(tid, _)
            | Event::Forked { parent: tid, .. }
            | Event::Started(tid)
            | Event::Exec(tid, ..)
            | Event::Returned(tid) => Some(tid),
            Event::Gone(..) | Event::Ended(..) | Event::Tick => None,
        }
    }
}

/// How a stopped thread goes on.
#[derive(Clone, Copy, Debug)]
pub enum Go {
    /// With nothing delivered.
    On,
    /// After a trap of ours: SIGTRAP's mask and action are put right first.
    FromTrap,
    /// Like `FromTrap`, for one instruction.
    Step,
    /// Like `On`, for one instruction.
    StepOn,
    /// With this signal.
    Deliver(SigInfo),
    /// With this signal, as far as the first instruction of its handler: that is reported as an
    /// [`Event::Signal`] with [`SigInfo::is_handler_entry`]. Without a handler, for one
    /// instruction: [`Event::Stepped`].
    DeliverStep(SigInfo),
}
