//! Processes made to survive xol, and threads that are borrowed where the program cannot see that.
//!
//! A process that has a trap has a handler of SIGTRAP too, for the case that xol is killed. The program must
//! not see it: the thread whose process is protected stands outside of every call that sees SIGTRAP's
//! action.

use crate::engine::ConsumerId;
use crate::engine::SiteId;
use crate::trace::rows::consumer::Consumer;
use crate::trace::session::Session;
use crate::trace::space::borrow::TURN;
use crate::trace::space::pending::trap_on_its_way;
use std::collections::BTreeSet;
use std::io;
use xol_targets::ptrace::{Pid, SpaceId, Tid, is_gone};

/// How often a thread is looked at until it stands where it may be borrowed. Eight were too few for one
/// that does nothing but set SIGTRAP's action.
const LOOKS: u32 = 64;

impl Session<'_> {
    /// Makes the processes of a space survive xol, as far as they can be stopped now, and arms the places
    /// that see SIGTRAP's action while a thread that might ask for it stands still: between the two the
    /// program would see ours. `tid`: one that is stopped already.
    pub(in crate::trace) fn arm_watched(
        &mut self,
        space: SpaceId,
        tid: Option<Tid>,
        watched: &BTreeSet<u64>,
    ) -> io::Result<()> {
        let of_space = self.target.threads().filter(|t| {
            self.target.space_of(t.tid) == Some(space)
                && self.target.wants_protection(t.tid)
                && !self.target.is_deaf(t.tid)
        });
        let pids: BTreeSet<Pid> = of_space.map(|t| t.pid).collect();
        for pid in pids {
            let stopped = tid.filter(|&tid| self.target.thread(tid).is_some_and(|t| t.pid == pid));
            let borrowed = match stopped {
                Some(tid) => Some(tid),
                None => self.borrow_outside(pid, space)?,
            };
            let Some(tid) = borrowed else { continue };
            self.protect(tid);
            let written = self.write_traps(space, watched.iter().copied(), true);
            if stopped.is_none() {
                self.give_back(tid)?;
            }
            written?;
        }
        // What was made untraced before that has no handler.
        if let Err(error) = self.target.adopt_children(space) {
            self.note(error.to_string());
        }
        Ok(())
    }

    /// Whether a site sees SIGTRAP's action.
    pub(in crate::trace) fn sees_action(&self, space: SpaceId, number: SiteId) -> bool {
        let Some(sites) = self.spaces.get(&space) else { return false };
        sites.consumers(number).any(|consumer| self.is_watched(consumer))
    }

    /// Whether the sites of a consumer see SIGTRAP's action.
    pub(in crate::trace) fn is_watched(&self, consumer: ConsumerId) -> bool {
        use Consumer::{ActionSet, AnyCall, AnyCalled, AnyCaller, SettingAction};
        let consumer = self.teller.rows.consumer(consumer);
        matches!(consumer, Some(ActionSet | AnyCall | AnyCalled | AnyCaller | SettingAction))
    }

    /// Borrows a thread that is not on its way through a call which sees SIGTRAP's action: one that stands
    /// before the trap behind it has been told ours, and is put right there.
    pub(in crate::trace) fn borrow_outside(
        &mut self,
        pid: Pid,
        space: SpaceId,
    ) -> io::Result<Option<Tid>> {
        for _ in 0..LOOKS {
            let Some(tid) = self.borrow_thread_of(pid) else { return Ok(None) };
            let found = match self.is_outside(tid, space) {
                Ok(false) => self.let_come(tid).map(|()| false),
                found => found,
            };
            match found {
                Ok(true) => return Ok(Some(tid)),
                Ok(false) => {}
                // Killed meanwhile; another may live.
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.borrow_thread_of(pid))
    }

    /// Whether a stopped thread is not on its way through a call which sees SIGTRAP's action.
    pub(in crate::trace) fn is_outside(&mut self, tid: Tid, space: SpaceId) -> io::Result<bool> {
        let pc = self.target.pc(tid)?;
        let site = self.sites(space).and_then(|sites| sites.find(pc));
        let inside = self.target.space(space).is_some_and(|s| s.is_ours(pc))
            || self.is_calling(tid, space, pc)?
            || site.is_some_and(|site| self.sees_action(space, site));
        Ok(!inside && !trap_on_its_way(tid))
    }

    /// A borrowed thread, or another, at a moment when none of its process has trapped and not stopped for
    /// it yet: where the program ignores SIGTRAP, the kernel drops what waits as soon as it is told so.
    pub(in crate::trace) fn borrow_untrapped(
        &mut self,
        tid: Tid,
        pid: Pid,
    ) -> io::Result<Option<Tid>> {
        let mut borrowed = tid;
        for _ in 0..LOOKS {
            let of_process = self.target.threads().filter(|t| t.pid == pid).map(|t| t.tid);
            let trapped: Vec<Tid> = of_process.filter(|&tid| trap_on_its_way(tid)).collect();
            if trapped.is_empty() {
                break;
            }
            for &tid in trapped.iter().filter(|&&tid| tid != borrowed) {
                self.target.await_turn(tid, u64::MAX, TURN);
                match self.take_event_of(tid) {
                    // The borrowed one must go on all the same.
                    Err(error) if !is_gone(&error) => return Err(error),
                    _ => {}
                }
            }
            // It sees the program's action as long as it stands still.
            if !trapped.contains(&borrowed) {
                continue;
            }
            match self.let_come(borrowed) {
                Err(error) if !is_gone(&error) => return Err(error),
                _ => {}
            }
            let Some(tid) = self.borrow_thread_of(pid) else { return Ok(None) };
            borrowed = tid;
        }
        Ok(Some(borrowed))
    }

    /// Lets a borrowed thread go on as far as what it is about to stop for, and deals with that.
    pub(in crate::trace) fn let_come(&mut self, tid: Tid) -> io::Result<()> {
        let turns = self.target.turns(tid);
        self.give_back(tid)?;
        self.target.await_turn(tid, turns, TURN);
        self.take_event_of(tid)
    }

    /// Makes a stopped thread's process survive xol.
    pub(in crate::trace) fn protect(&mut self, tid: Tid) {
        if self.target.check_calls(tid).is_ok()
            && let Err(error) = self.target.protect(tid)
            && !error.is_gone()
            && let Some(pid) = self.target.thread(tid).map(|t| t.pid)
        {
            self.note(format!("process {pid} does not survive xol being killed: {error}"));
        }
    }

    /// Puts SIGTRAP's own action back in a stopped thread's process.
    ///
    /// # Errors
    /// That it is gone: nothing is wrong then.
    pub(in crate::trace) fn unprotect(&mut self, tid: Tid) -> io::Result<()> {
        match self.target.unprotect(tid) {
            Err(error) if error.is_gone() => Err(io::ErrorKind::NotFound.into()),
            Err(error) => {
                let pid = self.target.thread(tid).map_or(Pid(tid.0), |t| t.pid);
                self.note(format!(
                    "process {pid}: SIGTRAP's action could not be restored: {error}"
                ));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}
