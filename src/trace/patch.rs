//! Jumps written and taken back: no thread runs meanwhile.

use super::jumps::{Jump, LEN, State};
use super::session::{PATIENCE, Session};
use crate::engine::Wish;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use xol_arch::{Addr, Arch};
use xol_targets::Native;
use xol_targets::ptrace::procfs::{Whereabouts, whereabouts};
use xol_targets::ptrace::{Space, SpaceId, Tid, is_gone};

const TRAP: usize = Native::TRAP.len();

impl Session<'_> {
    /// Stops every thread of the space that runs: once for any number of jumps. Those that are
    /// blocked in calls are left alone: when they come back, each place where they may find the
    /// text changed traps. `None`, and all of them run on, if one does not stop.
    fn halt(&mut self, space: SpaceId, limit: Duration) -> io::Result<Option<Vec<Tid>>> {
        let running: Vec<Tid> = self
            .target
            .threads()
            .filter(|t| self.target.space_of(t.tid) == Some(space) && !t.is_stopped())
            .map(|t| t.tid)
            .collect();
        let mut halted = Vec::new();
        for tid in running {
            if let Whereabouts::InCall { number, pc, .. } = whereabouts(tid)
                // The first thread of a process may have ended before the others: it has no stack.
                && (number >= 0 || pc.0 == 0)
            {
                continue;
            }
            match self.target.stop(tid, limit) {
                Ok(true) => halted.push(tid),
                // It has stopped for something that is looked at later.
                Ok(false) => {}
                Err(error) if is_gone(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    self.note_no_jumps(&format_args!("thread {tid} does not stop"));
                    self.resume(halted)?;
                    return Ok(None);
                }
                Err(error) => {
                    self.resume(halted)?;
                    return Err(error);
                }
            }
        }
        Ok(Some(halted))
    }

    /// Whether nobody but one thread runs what is in this address space.
    pub(super) fn is_alone(&self, space: SpaceId) -> bool {
        self.target.threads().filter(|t| self.target.space_of(t.tid) == Some(space)).count() == 1
    }

    /// Before another thread can count: counts lock the bus from now on.
    pub(super) fn lock_counts(&mut self, space: SpaceId) -> io::Result<()> {
        let jumps = &mut self.sites_mut(space).jumps;
        if !std::mem::take(&mut jumps.alone) {
            return Ok(());
        }
        let halted = self.halt(space, PATIENCE)?.unwrap_or_default();
        for region in self.sites_mut(space).jumps.regions.clone() {
            let mut code = vec![0; region.used as usize];
            let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
            if memory.read(region.code.start, &mut code).is_err() {
                // The program has unmapped it.
                continue;
            }
            self.sites_mut(space).jumps.lock(region.code.start, &mut code);
            let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
            memory.write(region.code.start, &code)?;
        }
        self.resume(halted)
    }

    fn resume(&mut self, halted: Vec<Tid>) -> io::Result<()> {
        let given_back = halted.into_iter().map(|tid| self.give_back(tid));
        given_back.fold(Ok(()), io::Result::and)
    }

    /// Writes jumps over the traps of their sites; whether each stands. `None` if a thread does
    /// not stop.
    pub(super) fn write_jumps(
        &mut self,
        space: SpaceId,
        jumps: &[Rc<Jump>],
    ) -> io::Result<Option<Vec<bool>>> {
        // Who has not asked for jumps does not wait for one.
        let limit = if self.options.wish == Wish::Auto { PATIENCE / 20 } else { PATIENCE };
        let Some(halted) = self.halt(space, limit)? else { return Ok(None) };
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        let written = jumps.iter().map(|jump| write(memory, jump)).collect();
        self.resume(halted)?;
        Ok(Some(written))
    }

    /// Puts the traps of their sites back in the place of jumps.
    pub(super) fn take_jumps(
        &mut self,
        space: SpaceId,
        jumps: &[(usize, Rc<Jump>)],
    ) -> io::Result<()> {
        if jumps.is_empty() {
            return Ok(());
        }
        // One that does not stop runs nothing now.
        let halted = self.halt(space, PATIENCE)?.unwrap_or_default();
        for (number, jump) in jumps {
            let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
            if !take(memory, jump)? {
                let at = jump.window.at;
                self.note(format!("the jump at {at} is not ours any more; it was left alone"));
            }
            self.sites_mut(space).jumps.set(*number, State::Off);
        }
        self.resume(halted)
    }

    /// All jumps of a space become traps.
    pub(super) fn take_all_jumps(&mut self, space: SpaceId) -> io::Result<()> {
        let standing = self.sites_mut(space).jumps.standing();
        self.take_jumps(space, &standing)
    }

    /// Those jumps become traps for good that stand over one of these addresses, sorted: what is
    /// wanted there does not go together with them.
    pub(super) fn make_way(&mut self, space: SpaceId, addrs: &[Addr]) -> io::Result<()> {
        let jumps = &self.sites_mut(space).jumps;
        let mut over: Vec<(usize, Rc<Jump>)> = addrs
            .iter()
            .filter_map(|&at| jumps.over(at).map(|(number, jump, _)| (number, jump.clone())))
            .collect();
        over.dedup_by_key(|(number, _)| *number);
        self.take_jumps(space, &over)?;
        for (_, jump) in &over {
            self.falls_back(space, jump, "gave-way");
        }
        Ok(())
    }
}

/// Whether the text is as expected.
fn is_there(memory: &Space, at: Addr, expected: &[u8]) -> bool {
    let mut here = [0; LEN];
    let here = &mut here[..expected.len()];
    memory.read(at, here).is_ok() && *here == *expected
}

/// The tail, then the head: whoever comes there meanwhile traps.
fn write(memory: &Space, jump: &Jump) -> bool {
    let (at, len) = (jump.window.at, jump.len());
    is_there(memory, at, &jump.trapped[..len])
        && memory.write(at.add(TRAP as u64), &jump.jumped[TRAP..len]).is_ok()
        && memory.write(at, &jump.jumped[..TRAP]).is_ok()
}

/// The head, then the tail. Where that is in two pages, the second one first: should we die between
/// them, no instruction is half there.
fn take(memory: &Space, jump: &Jump) -> io::Result<bool> {
    let (at, len) = (jump.window.at, jump.len());
    let mut headed = jump.jumped;
    headed[..TRAP].copy_from_slice(&jump.trapped[..TRAP]);
    if is_there(memory, at, &jump.jumped[..len]) {
        memory.write(at, &headed[..TRAP])?;
    } else if !is_there(memory, at, &headed[..len]) {
        return Ok(false);
    }
    let split = (4096 - at.0 % 4096).clamp(TRAP as u64, len as u64) as usize;
    for (from, to) in [(split, len), (TRAP, split)] {
        if from < to {
            memory.write(at.add(from as u64), &jump.trapped[from..to])?;
        }
    }
    Ok(true)
}
