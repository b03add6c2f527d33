//! Programs that trace their own children: xol lets go of a child before the program needs it.
//!
//! A process has one tracer. A child that is not followed is let go before it runs, and its parent
//! does not go on before that. Where a child shares its parent's memory (vfork) it stays traced until
//! it executes a program; if it asks to be traced by its parent, the traps are taken away while it
//! runs there, and it is let go. Its parent waits meanwhile, in the kernel; when that wait is over,
//! the traps are put back.

use crate::WhyNotJump;
use crate::trace::session::Session;
use crate::trace::space::jumps::{Jump, State};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;
use xol_arch::Addr;
use xol_targets::native;
use xol_targets::ptrace::{Pid, SpaceId, Tid};

/// Children that run in the memory of a parent that waits for them.
#[derive(Debug, Default)]
pub(in crate::trace) struct Vforks {
    /// Those that are traced, and the thread that waits for each.
    traced: BTreeMap<Pid, Tid>,
    /// Threads that wait for one which was let go; the traps of their spaces are away meanwhile.
    bare: BTreeMap<Tid, Bare>,
}

/// A space without traps, and the jumps that stood there.
#[derive(Debug)]
struct Bare {
    space: SpaceId,
    jumps: Vec<(usize, Rc<Jump>)>,
}

impl Vforks {
    /// Notes that `parent` waits for `child`.
    pub(in crate::trace) fn add(&mut self, child: Pid, parent: Tid) {
        self.traced.insert(child, parent);
    }

    /// Forgets a child that has a program of its own, or has ended.
    pub(in crate::trace) fn forget(&mut self, child: Pid) {
        self.traced.remove(&child);
    }

    /// The traced child that a thread waits for.
    pub(in crate::trace) fn child_of(&self, parent: Tid) -> Option<Pid> {
        self.traced.iter().find(|(_, of)| **of == parent).map(|(child, _)| *child)
    }
}

impl Session<'_> {
    /// A thread is about to call ptrace(2), at `at`.
    pub(in crate::trace) fn tracing(
        &mut self,
        tid: Tid,
        space: SpaceId,
        at: Addr,
    ) -> io::Result<()> {
        let request = native::syscall_arg(&self.target.regs(tid)?, 0);
        let Some(pid) = self.target.thread(tid).map(|t| t.pid) else { return Ok(()) };
        let Some(&parent) = self.vforks.traced.get(&pid) else { return Ok(()) };
        if request != native::PTRACE_TRACEME || self.options.follow {
            return Ok(());
        }
        let jumps = self.sites_mut(space).jumps.standing();
        self.take_jumps(space, &jumps)?;
        self.vforks.bare.insert(parent, Bare { space, jumps });
        self.write_armed(space, false)?;
        self.target.settle(tid)?;
        self.target.stopped(tid)?.set_pc(at);
        if self.target.check_calls(tid).is_ok()
            && let Err(error) = self.target.unprotect(tid)
        {
            self.note(format!("process {pid}: SIGTRAP's action could not be restored: {error}"));
        }
        // The call is then made in place.
        self.target.stopped(tid)?.set_pc(at);
        self.states.remove(&tid);
        self.vforks.forget(pid);
        self.target.detach_thread(tid, 0)?;
        self.target.forget(pid);
        Ok(())
    }

    /// Puts back the traps and jumps that were away while a child of `parent` ran.
    pub(in crate::trace) fn put_traps_back(&mut self, parent: Tid) -> io::Result<()> {
        let Some(Bare { space, jumps }) = self.vforks.bare.remove(&parent) else { return Ok(()) };
        if self.target.space(space).is_none() || self.target.is_leaving() {
            return Ok(());
        }
        let others = self.vforks.bare.values_mut().find(|bare| bare.space == space);
        if let Some(other) = others {
            other.jumps.extend(jumps);
            return Ok(());
        }
        self.write_armed(space, true)?;
        if !cfg!(feature = "jump") {
            return Ok(());
        }
        let (again, others): (Vec<_>, Vec<_>) =
            jumps.into_iter().partition(|(number, _)| self.may_return(space, *number));
        let all: Vec<_> = again.iter().map(|(_, jump)| jump.clone()).collect();
        let stand = self.write_jumps(space, &all)?.unwrap_or_else(|| vec![false; all.len()]);
        let mut traps: Vec<Rc<Jump>> = others.into_iter().map(|(_, jump)| jump).collect();
        for ((number, jump), stands) in again.into_iter().zip(stand) {
            match stands {
                true => self.sites_mut(space).jumps.set(number, State::On),
                false => traps.push(jump),
            }
        }
        for jump in &traps {
            self.falls_back(space, jump, WhyNotJump::GaveWay);
        }
        Ok(())
    }

    /// Writes, or takes away, the traps of all armed sites of a space.
    fn write_armed(&mut self, space: SpaceId, arm: bool) -> io::Result<()> {
        let armed = self.sites_mut(space).sites.iter().filter(|site| site.armed);
        let armed: BTreeSet<u64> = armed.map(|site| site.addr.0).collect();
        self.write_traps(space, armed.into_iter(), arm).map(|_| ())
    }
}
