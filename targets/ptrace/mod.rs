//! Processes of this machine, through ptrace(2).
//!
//! | room | what is in it |
//! |---|---|
//! | `sys` | the system calls, one function each |
//! | `own` | our own process: CPU, clock, signals |
//! | `procfs` | what /proc says |
//! | `space` | an address space: its memory and what xol mapped into it |
//! | `absent` | memory that is not there yet |
//! | `thread` | threads and processes as they are known here |
//! | `event`, `wait`, `halt` | stops, and going on |
//! | `attach`, `launch` | how a target begins and ends being one |
//! | `bare` | a program that is traced and not probed, to be compared with |
//! | `pair`, `keeper` | the command in front, the tracer behind it, and what one does when the other dies |
//! | `share` | processes that run in one memory |
//! | `inject`, `chain` | calls made in the target that right themselves |
//! | `calls`, `trial` | whether a seccomp filter lets them through |
//! | `vm` | a thread's memory as the thread itself may use it |
//! | `jumps` | memory for jumps: code at given addresses, and shared |
//! | `orphan` | what keeps the target running when its tracer dies |
//! | `leftover` | what an xol that was killed has left |
//! | `signals`, `mask`, `deliver` | SIGTRAP's action and mask as if we were not there |
//! | `siginfo` | what comes with a signal |
//! | `restart` | calls that our own stop interrupted |
//! | `retry` | executions that were counted and are made once more |
//! | `rseq` | restartable sequences |
//! | `affinity` | on which CPU the tracer runs |

mod absent;
mod affinity;
mod attach;
mod bare;
mod calls;
mod chain;
mod deliver;
mod event;
mod halt;
mod head;
mod inject;
mod jumps;
mod keeper;
mod launch;
mod leftover;
mod mask;
mod orphan;
pub mod pair;
pub mod procfs;
mod restart;
mod retry;
mod rseq;
mod share;
mod siginfo;
mod signals;
mod space;
mod stopped;
pub mod sys;
mod thread;
pub mod tracer;
pub mod trial;
mod vm;
mod wait;

pub use attach::{AttachError, check_program, foreign_machine};
pub use bare::run_bare;
pub use calls::{Forbidden, would_forbid};
pub use event::{Event, Go};
pub use inject::InjectError;
pub use jumps::{features, max_mappings, ticks_are_steady};
pub use launch::{Begun, Launch, LaunchError};
pub use leftover::{Leftover, find_leftovers};
pub use orphan::Orphan;
pub use retry::Retries;
pub use siginfo::SigInfo;
pub use signals::Action;
pub use space::{Area, PAGE, Space, SpaceId};
pub use stopped::Stopped;
pub use sys::{Pid, Tid};
pub use thread::{Process, Thread};
pub use vm::is_refused as is_vm_refused;

use rustc_hash::FxHashMap as HashMap;
use std::collections::{BTreeMap, VecDeque};
use std::io;

/// All that is traced.
#[derive(Debug, Default)]
pub struct Ptrace {
    threads: HashMap<Tid, Thread>,
    processes: BTreeMap<Pid, Process>,
    spaces: BTreeMap<SpaceId, Space>,
    next_space: u32,
    /// New tracees that stopped before their parent told of them.
    early: Vec<Tid>,
    /// Those of them that it has told of since: ready to start.
    started: Vec<Tid>,
    /// Threads that were found stopped, in the order in which they are served.
    queue: VecDeque<Tid>,
    /// Stops taken since all threads were looked at.
    unlooked: u32,
    /// Whether the last event was a tick.
    ticked: bool,
    affinity: affinity::Affinity,
    /// Nothing is lifted or watched any more.
    leaving: bool,
    /// The process in front, if this one stands behind another.
    front: Option<pair::Link>,
    /// The user says that seccomp filters let calls through.
    vouched: bool,
    /// Descriptors that are given up when we leave: where no more can be had, that takes some.
    spare: Vec<std::fs::File>,
}

impl Ptrace {
    /// With nothing traced yet.
    #[must_use]
    pub fn new() -> Ptrace {
        Ptrace::default()
    }

    /// With nothing traced yet, behind another process that looks after the text should this one be
    /// killed.
    #[must_use]
    pub fn behind(front: Option<pair::Link>) -> Ptrace {
        // A file of /proc, and one of a folder there, beside what a library opens.
        const SPARE: usize = 3;
        let spare = (0..SPARE).map_while(|_| std::fs::File::open("/dev/null").ok()).collect();
        Ptrace { front, spare, ..Ptrace::default() }
    }

    /// Tells the process in front whether a space has a head, and where.
    fn tell_front(&self, id: SpaceId) {
        let Some(front) = &self.front else { return };
        let space = self.spaces.get(&id).and_then(|space| Some((space.pid, space.head?)));
        front.send(match space {
            Some((pid, head)) => pair::Message::Began(id, pid, head.start),
            None => pair::Message::Ended(id),
        });
    }

    /// Tells the process in front that nothing is traced any more and nothing of ours is left.
    pub fn say_done(&self) {
        if let Some(front) = &self.front {
            front.done();
        }
    }

    /// A traced thread.
    #[must_use]
    pub fn thread(&self, tid: Tid) -> Option<&Thread> {
        self.threads.get(&tid)
    }

    /// All traced threads.
    pub fn threads(&self) -> impl Iterator<Item = &Thread> {
        self.threads.values()
    }

    /// A traced process.
    #[must_use]
    pub fn process(&self, pid: Pid) -> Option<&Process> {
        self.processes.get(&pid)
    }

    /// The process of a thread.
    #[must_use]
    pub fn process_of(&self, tid: Tid) -> Option<&Process> {
        self.process(self.threads.get(&tid)?.pid)
    }

    /// All traced processes.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.processes.values()
    }

    /// The process that an address space is of: not one that was made in it and may exec at any moment,
    /// where there is another.
    #[must_use]
    pub fn owner(&self, space: SpaceId) -> Option<&Process> {
        let all = self.processes.values().filter(|p| p.space == space);
        all.min_by_key(|p| (p.shares_memory, p.pid))
    }

    /// An address space; `None` when its last process is gone.
    #[must_use]
    pub fn space(&self, id: SpaceId) -> Option<&Space> {
        self.spaces.get(&id)
    }

    /// The address space of a thread.
    #[must_use]
    pub fn space_of(&self, tid: Tid) -> Option<SpaceId> {
        Some(self.process_of(tid)?.space)
    }

    /// The thread pointer of a thread, whatever it has stopped for.
    ///
    /// # Errors
    /// ESRCH when it is gone, or runs.
    pub fn thread_pointer(&self, tid: Tid) -> io::Result<u64> {
        crate::native::thread_pointer(tid)
    }

    /// Whether nothing is traced any more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.threads.is_empty()
    }

    /// From now on threads get back what was changed in them, and keep it.
    pub fn begin_leaving(&mut self) {
        self.leaving = true;
        self.spare.clear();
    }

    /// The last trap of a space is gone: what the program wants of SIGTRAP is left to the kernel.
    pub fn begin_bare(&mut self, space: SpaceId) {
        if let Some(space) = self.spaces.get_mut(&space) {
            space.bare = true;
        }
    }

    /// Whether xol is about to leave.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    fn add_space(&mut self, space: Space) -> SpaceId {
        let id = SpaceId(self.next_space);
        self.next_space += 1;
        let has_head = space.has_head();
        self.spaces.insert(id, space);
        if has_head {
            self.tell_front(id);
        }
        id
    }

    /// Forgets a space that no process has any more.
    fn drop_unused_space(&mut self, id: SpaceId) {
        if !self.processes.values().any(|p| p.space == id) {
            let had_head = self.spaces.remove(&id).is_some_and(|space| space.has_head());
            if had_head {
                self.tell_front(id);
            }
        }
    }

    fn known(&mut self, tid: Tid) -> io::Result<&mut Thread> {
        self.threads.get_mut(&tid).ok_or_else(gone)
    }
}

fn gone() -> io::Error {
    io::Error::from_raw_os_error(libc::ESRCH)
}

/// Where a wait for one thread was interrupted: a first thread that another's exec has ended stops no
/// more, and its end is told of by nobody.
fn still_there(tid: Tid) -> io::Result<()> {
    if procfs::is_exiting(tid) { Err(gone()) } else { Ok(()) }
}

/// Whether an error says that the thread or process is no more.
#[must_use]
pub fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ECHILD))
}
