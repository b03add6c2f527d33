//! Processes that run in one memory: vfork, posix_spawn, clone(CLONE_VM). Traps in it are met by all
//! of them, so that all must be traced (RULES C1).
//!
//! Those made while their creator is traced are traced by themselves. Those that are older are looked
//! for here.
#![allow(unsafe_code)]

use super::attach::{AttachError, is_ours};
use super::space::Space;
use super::sys::{Pid, Tid, check};
use super::thread::Thread;
use super::{Ptrace, SpaceId, procfs, tracer};
use std::{fs, io};

/// Of linux/kcmp.h.
const KCMP_VM: libc::c_long = 1;

impl Ptrace {
    /// Attaches to every process that has the memory of `pid`, which is attached to.
    ///
    /// # Errors
    /// [`AttachError::Shares`] for one that cannot be: nothing may be trapped in its memory.
    pub(super) fn attach_sharers(&mut self, pid: Pid, space: SpaceId) -> Result<(), AttachError> {
        // Until a look finds none that is new: one may be making another.
        loop {
            let sharers = self.sharers(pid, space);
            if sharers.is_empty() {
                return Ok(());
            }
            for sharer in sharers {
                let shares = |why| AttachError::Shares(pid, sharer, Box::new(why));
                let status = procfs::status(Tid(sharer.0)).unwrap_or_default();
                if status.tracer != 0 {
                    let by = procfs::status(Tid(status.tracer)).unwrap_or_default();
                    return Err(shares(AttachError::Traced(sharer, by.tgid, by.name)));
                }
                match self.seize_all(sharer, false) {
                    Ok(true) => {
                        self.add_process(sharer, space, false);
                        if let Some(process) = self.processes.get_mut(&sharer) {
                            process.shares_memory = true;
                        }
                        self.look_at_masks(sharer);
                    }
                    Ok(false) | Err(AttachError::Gone(_) | AttachError::Zombie(_)) => {}
                    Err(why) => return Err(shares(why)),
                }
            }
        }
    }

    /// Attaches to processes that were made in a space untraced (CLONE_UNTRACED), before what they may be
    /// in is unmapped. They have the signal handlers of those that made them.
    ///
    /// # Errors
    /// [`AttachError::Shares`] for one that cannot be traced.
    pub fn adopt_sharers(&mut self, space: SpaceId) -> Result<(), AttachError> {
        let Some(owner) = self.owner(space).cloned() else { return Ok(()) };
        let before: Vec<Pid> = self.processes.keys().copied().collect();
        let attached = self.attach_sharers(owner.pid, space);
        let new = self.processes.values_mut().filter(|p| !before.contains(&p.pid));
        for process in new {
            (process.action, process.known_action) = (owner.action, owner.known_action);
            process.protected = owner.protected;
        }
        attached
    }

    /// Attaches to children that run in a space untraced, if there are any: they must stand still where a jump
    /// is written.
    ///
    /// # Errors
    /// [`AttachError::Shares`] for one that cannot be traced.
    pub fn adopt_children(&mut self, space: SpaceId) -> Result<(), AttachError> {
        let threads = self.threads.values().filter(|t| self.space_of(t.tid) == Some(space));
        let stranger = |thread: &Thread| {
            let of_thread = procfs::children(thread.tid);
            of_thread.into_iter().any(|child| {
                !self.processes.contains_key(&child)
                    && same_memory(thread.tid, Tid(child.0)).unwrap_or(false)
            })
        };
        if threads.into_iter().any(stranger) { self.adopt_sharers(space) } else { Ok(()) }
    }

    /// The processes that have the memory of `pid` and are not traced by us.
    fn sharers(&self, pid: Pid, space: SpaceId) -> Vec<Pid> {
        // What has no executable has no memory either, and the kernel would say that two such share it.
        let exe = |tid: Tid| fs::read_link(format!("/proc/{tid}/exe")).ok();
        let with_memory = procfs::with_memory(pid);
        let Some(own) = exe(with_memory) else { return Vec::new() };
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid));
        pids.filter(|other| *other != pid && !self.processes.contains_key(other))
            .filter(|&other| {
                let same = same_memory(with_memory, Tid(other.0));
                // Looked at last, because that takes longest.
                let alike = || exe(Tid(other.0)).as_ref() == Some(&own);
                match same {
                    Ok(same) => same && alike(),
                    Err(_) => alike() && self.is_seen_in(space, other),
                }
            })
            // What a traced thread has just made is told of later.
            .filter(|&other| {
                let tracer = procfs::status(Tid(other.0)).map_or(0, |status| status.tracer);
                !is_ours(tracer) && !procfs::is_exiting(Tid(other.0))
            })
            .collect()
    }

    /// Whether what is written to a space is seen in the memory of another process: where the kernel
    /// has no kcmp(2), or does not let us have it. Written to padding where nothing executes.
    fn is_seen_in(&self, space: SpaceId, other: Pid) -> bool {
        let Some(space) = self.spaces.get(&space) else { return false };
        let (Ok(maps), Ok(theirs)) = (procfs::maps(space.pid), Space::open(other)) else {
            return false;
        };
        let Some(at) = space.bootstrap_stub(&maps) else { return false };
        let mark = (tracer::now_ns() | 1).to_ne_bytes();
        let mut seen = [0; 8];
        let written = space.write(at, &mark).is_ok();
        let read = theirs.read(at, &mut seen).is_ok();
        written && space.write(at, &[0; 8]).is_ok() && read && seen == mark
    }
}

/// Whether two threads have one memory.
fn same_memory(one: Tid, other: Tid) -> io::Result<bool> {
    let (one, other) = (libc::c_long::from(one.0), libc::c_long::from(other.0));
    // SAFETY: five numbers.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_VM, 0, 0) };
    check(order).map(|order| order == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forked_child_has_a_memory_of_its_own() {
        let own = Tid(std::process::id() as i32);
        let mut child = std::process::Command::new("sleep").arg("20").spawn().expect("it starts");
        let other = Tid(child.id() as i32);
        let found = [own, other].map(|tid| same_memory(own, tid));
        child.kill().expect("it runs");
        child.wait().expect("it has ended");
        // A container may forbid the call.
        if let [Ok(own), Ok(other)] = found {
            assert!(own && !other);
        }
    }
}
