//! Memory that trampolines note down hits in: made near their code, given to forked children, given up
//! where thread pointers do not tell threads apart.

use crate::trace::session::Session;
use std::io;
use xol_arch::{Addr, Arch};
use xol_targets::Native;
use xol_targets::ptrace::{Area, SpaceId, Tid};

impl Session<'_> {
    /// A ring that code there reaches, made if there is none.
    pub(in crate::trace) fn ring_near(
        &mut self,
        space: SpaceId,
        tid: Tid,
        code: Area,
    ) -> Option<Addr> {
        let end = code.start.add(code.len);
        let reaches = |at: Addr| {
            let near = |from: Addr| at.distance_from(from).unsigned_abs() < Native::JUMP_REACH;
            near(code.start) && near(end)
        };
        let known = self.rings.areas(space).map(|area| area.start).find(|&start| reaches(start));
        if known.is_some() {
            return known;
        }
        if !self.may_take(space, crate::trace::recorded::ring::shape().len()) {
            return None;
        }
        let first = self.rings.areas(space).next().is_none();
        match self.target.map_shared(tid, code, crate::trace::recorded::ring::shape().len()) {
            Ok((shared, area)) => {
                self.rings.add(space, area, shared);
                self.sites_mut(space).jumps.rings.push(area);
                if first {
                    self.name_all(space);
                }
                // From the first record on: nothing else may wake us.
                self.pace(1).ok()?;
                if !xol_targets::ptrace::ticks_are_steady() {
                    self.note(format!(
                        "times of events are from the {}, which this processor does not keep \
                         at one pace",
                        xol_targets::native::TICKS
                    ));
                }
                Some(area.start)
            }
            Err(error) => {
                self.note(format!("no room for events of jumps: {error}"));
                None
            }
        }
    }

    /// Gives a forked child rings of its own, before it runs: its threads have the thread pointers
    /// of its parent's. Where that cannot be, it has no jumps.
    pub(in crate::trace) fn own_rings(&mut self, space: SpaceId, tid: Tid) -> io::Result<()> {
        if !cfg!(feature = "jump") {
            return Ok(());
        }
        let areas = self.sites_mut(space).jumps.rings.clone();
        if areas.is_empty() || self.rings.areas(space).next().is_some() {
            return Ok(());
        }
        for area in areas {
            match self.target.unshare(tid, area) {
                Ok(shared) => self.rings.add(space, area, shared),
                Err(error) => {
                    self.note(format!("no jumps in a forked process: {error}"));
                    self.sites_mut(space).jumps.shared_pointers = true;
                    return self.give_up_jumps(space);
                }
            }
        }
        Ok(())
    }

    /// Names a new thread by its thread pointer. One that another thread of its process has too
    /// names nobody: events are then taken by traps.
    pub(in crate::trace) fn name_new(&mut self, space: SpaceId, tid: Tid) -> io::Result<()> {
        if !cfg!(feature = "jump") {
            return Ok(());
        }
        if self.rings.areas(space).next().is_none() {
            return Ok(());
        }
        let pid = self.target.thread(tid).map(|t| t.pid);
        let of_process = self.target.threads().filter(|t| Some(t.pid) == pid).count();
        let pointer = self.target.thread_pointer(tid)?;
        if of_process > 1 && self.is_ambiguous(space, pointer) {
            self.drain(None)?;
            self.note("threads share a thread pointer: events are taken by traps".to_owned());
            self.sites_mut(space).jumps.shared_pointers = true;
            self.give_up_jumps(space)?;
        }
        self.name_thread(tid);
        Ok(())
    }

    /// All jumps of a space become traps, and reports say so.
    fn give_up_jumps(&mut self, space: SpaceId) -> io::Result<()> {
        let standing = self.sites_mut(space).jumps.standing();
        let mut at: Vec<Addr> = standing.iter().map(|(_, jump)| jump.window.at).collect();
        at.sort_unstable();
        self.make_way(space, &at)
    }
}
