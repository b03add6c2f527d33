//! New processes, new threads, new programs.
//!
//! A fork copies the memory as it is at some moment inside the call, and is told of later. If xol
//! has changed the memory since the forking thread was let go on, what the copy has of it is not
//! known: its own table of orphans says so, as after an xol that was killed (`leftover`). A child
//! that is not followed is then cleaned by that table; one that is followed is cleaned and armed
//! anew.

use crate::report::End;
use crate::trace::session::Session;
use crate::trace::space::borrow::PATIENCE;
use std::collections::BTreeSet;
use std::io;
use xol_arch::Addr;
use xol_targets::ptrace::{Go, Pid, SpaceId, Tid};

impl Session<'_> {
    /// A process was made. Its memory is a copy of what there is now, or is shared.
    pub(in crate::trace) fn on_fork(&mut self, parent: Tid, child: Tid) -> io::Result<()> {
        let pid = self.target.thread(child).map(|t| t.pid);
        let (Some(pid), Some(from)) = (pid, self.target.space_of(parent)) else {
            return self.target.go(parent, Go::On);
        };
        let shares = self.target.process(pid).is_some_and(|p| p.shares_memory);
        let in_doubt = self.target.process(pid).is_some_and(|p| p.in_doubt);
        if self.target.process(pid).is_some_and(|p| p.vforked) {
            self.vforks.add(pid, parent);
        }
        if let Some(to) = self.target.process(pid).map(|p| p.space)
            && !shares
        {
            let copy = self.spaces.get(&from).cloned().unwrap_or_default();
            if self.options.follow && !self.target.is_leaving() {
                if let Some(of) = self.target.thread(parent).map(|t| t.pid) {
                    let whose = ((of, parent), (pid, child));
                    self.teller.calls +=
                        self.teller.frames.fork_space(from, to, whose, self.teller.calls + 1);
                }
                // Both count in the same memory.
                self.lock_counts(from)?;
            } else {
                let armed = copy.sites.iter().filter(|s| s.armed || in_doubt);
                self.life.to_clean.insert(pid, armed.map(|s| s.addr).collect());
            }
            self.spaces.insert(to, copy);
        }
        self.await_clean(child, pid)?;
        self.target.go(parent, Go::On)
    }

    /// A thread or process is about to run its first instruction.
    pub(in crate::trace) fn on_start(&mut self, tid: Tid) -> io::Result<()> {
        // It was made by a call that may have been run in a slot.
        self.move_out(tid)?;
        let pid = self.target.thread(tid).map(|t| t.pid);
        if let Some(pid) = pid
            && let Some(text) = self.life.to_clean.remove(&pid)
        {
            return self.clean(tid, pid, &text);
        }
        if self.target.process_of(tid).is_some_and(|p| p.in_doubt) {
            self.begin_anew(tid)?;
        }
        if self.target.is_leaving() && self.let_start(tid)? {
            return Ok(());
        }
        if let Some(space) = self.target.space_of(tid) {
            self.own_rings(space, tid)?;
            self.name_new(space, tid)?;
        }
        if let Some(space) = self.target.space_of(tid)
            && (!self.is_alone(space) || self.spaces.len() > 1)
        {
            self.lock_counts(space)?;
        }
        self.target.go(tid, Go::On)
    }

    /// A thread's vfork is over. Its process may have had no thread that could make a call for us.
    pub(in crate::trace) fn on_return(&mut self, tid: Tid) -> io::Result<()> {
        self.name_thread(tid);
        self.vfork_over(tid)?;
        self.target.go(tid, Go::On)?;
        if !self.target.is_leaving()
            && self.target.wants_protection(tid)
            && self.stop_thread(tid, PATIENCE)?
        {
            self.protect(tid);
            self.give_back(tid)?;
        }
        Ok(())
    }

    /// A child that is not followed: nothing of ours is in it when it runs.
    fn clean(&mut self, tid: Tid, pid: Pid, text: &[Addr]) -> io::Result<()> {
        let Some(space) = self.target.space_of(tid) else { return Ok(()) };
        if self.target.process(pid).is_some_and(|p| p.in_doubt) {
            self.purge(tid, pid, space)?;
            return self.let_go_clean(tid, pid, space);
        }
        self.take_all_jumps(space)?;
        let addrs: BTreeSet<u64> = text.iter().map(|addr| addr.0).collect();
        self.write_traps(space, addrs.into_iter(), false)?;
        self.target.clear_padding(space)?;
        if self.target.check_calls(tid).is_ok() {
            self.unprotect(tid)?;
            match self.target.unmap_all(tid) {
                // Killed at birth, its end is told of in its turn.
                Err(error) if error.is_gone() => return Err(io::ErrorKind::NotFound.into()),
                Err(error) => {
                    self.note(format!("process {pid}: xol's pages could not be unmapped: {error}"));
                }
                Ok(()) => {}
            }
        }
        self.let_go_clean(tid, pid, space)
    }

    fn let_go_clean(&mut self, tid: Tid, pid: Pid, space: SpaceId) -> io::Result<()> {
        self.target.detach_thread(tid, 0)?;
        self.target.forget(pid);
        self.forget_unused(Some(space));
        self.spaces.remove(&space);
        Ok(())
    }

    /// Arms a followed child anew, of whose memory is not known what of its parent's changes it has.
    fn begin_anew(&mut self, tid: Tid) -> io::Result<()> {
        let Some((pid, space)) =
            self.target.thread(tid).map(|t| t.pid).zip(self.target.space_of(tid))
        else {
            return Ok(());
        };
        self.purge(tid, pid, space)?;
        self.spaces.remove(&space);
        self.new_space(space);
        self.refresh(space, Some(tid))
    }

    /// A process has a new program.
    pub(in crate::trace) fn on_exec(
        &mut self,
        tid: Tid,
        old: SpaceId,
        former: Tid,
    ) -> io::Result<()> {
        self.vforks.forget(Pid(tid.0));
        let mut later = self.states.remove(&former).map(|state| state.later).unwrap_or_default();
        self.states.remove(&tid);
        if let Some(held) = self.target.take_held(tid) {
            later.add_first(held, false);
        }
        if !later.is_empty() {
            // The kernel keeps what is pending for a thread that execs.
            self.states.entry(tid).or_default().later = later;
            self.send_later(tid)?;
        }
        let Some((pid, space)) =
            self.target.thread(tid).map(|t| t.pid).zip(self.target.space_of(tid))
        else {
            return Ok(());
        };
        let wanted = self.options.follow
            || self.root == Some(pid)
            || matches!(&self.options.subject, crate::trace::options::Subject::Attach(all) if all.contains(&pid));
        let unused = !self.target.processes().any(|p| p.space == old);
        if unused {
            self.finish_rings(old);
        }
        self.end_process(pid, old, End::Exec)?;
        if unused {
            self.teller.end_space(old);
            self.target.drop_space(old);
            self.spaces.remove(&old);
            self.teller.rows.read_tallies();
        }
        if !wanted {
            if self.target.check_calls(tid).is_ok() {
                self.unprotect(tid)?;
            }
            self.target.detach_thread(tid, 0)?;
            self.target.forget(pid);
            return Ok(());
        }
        self.new_space(space);
        if self.target.is_leaving() {
            if self.target.check_calls(tid).is_ok() {
                self.unprotect(tid)?;
            }
            return self.target.go(tid, Go::On);
        }
        match self.check_program(pid) {
            Ok(()) => {}
            Err(why) if self.root == Some(pid) && !self.teller.rows.armed_once => {
                self.fatal = Some(why);
                return Ok(());
            }
            Err(why) => {
                self.note(why.to_string());
                self.target.detach_thread(tid, 0)?;
                self.target.forget(pid);
                return Ok(());
            }
        }
        self.refresh(space, Some(tid))?;
        if self.fatal.is_none() {
            self.target.go(tid, Go::On)?;
        }
        Ok(())
    }
}
