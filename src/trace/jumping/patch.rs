//! Jumps written and taken back: no thread runs meanwhile.
//!
//! Threads that run are stopped, once for any number of jumps. A jump is written tail first, then
//! head, and taken away in the opposite order. Threads that are blocked in calls are left alone: a
//! window has no system call, so none returns into it. A window that something else is wanted in
//! gives way until the site is hot again.
//!
//! What a jump cannot survive is a uprobe of the kernel that is placed inside its window later and
//! removed first: the kernel then puts the original of that byte into the jump's displacement. At
//! the window's beginning it only ends the count.

use crate::WhyNotJump;
use crate::engine::SiteId;
use crate::engine::Wish;
use crate::trace::session::Session;
use crate::trace::space::borrow::PATIENCE;
use crate::trace::space::jumps::{Jump, LEN, SHADOWS, State};
use crate::trace::space::pending::trap_on_its_way;
use std::io;
use std::rc::Rc;
use xol_arch::{Addr, Arch};
use xol_targets::Native;
use xol_targets::ptrace::{Space, SpaceId, Tid, is_gone};

const TRAP: usize = Native::TRAP.len();

impl Session<'_> {
    /// Before another thread can count: counts lock the bus from now on.
    pub(in crate::trace) fn lock_counts(&mut self, space: SpaceId) -> io::Result<()> {
        if !cfg!(feature = "jump") {
            return Ok(());
        }
        let jumps = &mut self.sites_mut(space).jumps;
        if !std::mem::take(&mut jumps.counts_unlocked) {
            return Ok(());
        }
        let halted = self.halt(space, PATIENCE, false)?.unwrap_or_default();
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

    /// Writes jumps over the traps of their sites; whether each stands. `None` if a thread does
    /// not stop.
    pub(in crate::trace) fn write_jumps(
        &mut self,
        space: SpaceId,
        jumps: &[Rc<Jump>],
    ) -> io::Result<Option<Vec<bool>>> {
        // Who has not asked for jumps does not wait for one.
        let limit = if self.options.wish == Wish::Auto { PATIENCE / 20 } else { PATIENCE };
        let Some(halted) = self.halt(space, limit, true)? else { return Ok(None) };
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        let mut written = Vec::with_capacity(jumps.len());
        for page in jumps.chunk_by(|one, next| in_one_page(one, next)) {
            write(memory, page, &mut written);
        }
        self.resume(halted)?;
        Ok(Some(written))
    }

    /// Whether a jump that was taken back may be written again as it was: nothing has come in its place, and
    /// nobody else is told of its sites.
    pub(in crate::trace) fn may_return(&self, space: SpaceId, number: usize) -> bool {
        let Some(sites) = self.spaces.get(&space) else { return false };
        let Some(jump) = sites.jumps.taken_back(number) else { return false };
        let told = jump.sites().filter_map(|at| sites.find(at));
        told.map(|site| sites.consumers(site).count()).sum::<usize>() == jump.told
    }

    /// Puts the traps of their sites back in the place of jumps.
    pub(in crate::trace) fn take_jumps(
        &mut self,
        space: SpaceId,
        jumps: &[(usize, Rc<Jump>)],
    ) -> io::Result<()> {
        if jumps.is_empty() {
            return Ok(());
        }
        let halted = self.halt(space, PATIENCE, false)?.unwrap_or_default();
        let taken = self.take_halted(space, jumps, &halted);
        self.resume(halted).and(taken)
    }

    fn take_halted(
        &mut self,
        space: SpaceId,
        jumps: &[(usize, Rc<Jump>)],
        halted: &[Tid],
    ) -> io::Result<()> {
        if SHADOWS && jumps.iter().any(|(_, jump)| jump.window.shadow().is_some()) {
            self.empty_shadows(space)?;
        }
        for page in jumps.chunk_by(|(_, one), (_, next)| in_one_page(one, next)) {
            let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
            let found = take(memory, page)?;
            for ((number, jump), found) in page.iter().zip(found) {
                if !found {
                    let at = jump.window.at;
                    self.note(format!(
                        "the jump at {at} was changed by somebody; that was left alone"
                    ));
                }
                self.sites_mut(space).jumps.set(*number, State::Off);
            }
        }
        for &tid in halted {
            match self.leave_taken(tid, space, jumps) {
                Err(error) if !is_gone(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Moves threads that have come to a jump's last byte, and not trapped yet, to before the instruction there:
    /// while the jump stands, and in the kernel too, in case xol dies. A thread with a trap on its way stands
    /// behind an INT3, one of which may be right before the shadow.
    fn empty_shadows(&mut self, space: SpaceId) -> io::Result<()> {
        let of_space = |t: &&xol_targets::ptrace::Thread| {
            self.target.space_of(t.tid) == Some(space) && t.is_stopped()
        };
        let stopped: Vec<Tid> = self.target.threads().filter(of_space).map(|t| t.tid).collect();
        for tid in stopped {
            match self.empty_shadow(space, tid) {
                Err(error) if !is_gone(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn empty_shadow(&mut self, space: SpaceId, tid: Tid) -> io::Result<()> {
        let pc = self.target.pc(tid)?;
        if self.sites_mut(space).jumps.shadow(pc).is_none()
            || self.target.is_trapping(tid)
            || trap_on_its_way(tid)
        {
            return Ok(());
        }
        self.out_of_shadow(tid, space, pc)?;
        self.target.flush_regs(tid)
    }

    /// All jumps of a space become traps.
    pub(in crate::trace) fn take_all_jumps(&mut self, space: SpaceId) -> io::Result<()> {
        if !cfg!(feature = "jump") {
            return Ok(());
        }
        let standing = self.sites_mut(space).jumps.standing();
        self.take_jumps(space, &standing)
    }

    /// Those jumps become traps for good that stand over one of these addresses, sorted: what is
    /// wanted there does not go together with them.
    pub(in crate::trace) fn make_way(&mut self, space: SpaceId, addrs: &[Addr]) -> io::Result<()> {
        if !cfg!(feature = "jump") {
            return Ok(());
        }
        let jumps = &self.sites_mut(space).jumps;
        let mut over: Vec<(usize, Rc<Jump>)> = addrs
            .iter()
            .filter_map(|&at| jumps.over(at).map(|(number, jump, _)| (number, jump.clone())))
            .collect();
        over.dedup_by_key(|(number, _)| *number);
        self.take_jumps(space, &over)?;
        for (_, jump) in &over {
            self.falls_back(space, jump, WhyNotJump::GaveWay);
        }
        Ok(())
    }

    /// Takes one trap away; threads on their way to it are put back when they stop.
    pub(in crate::trace) fn disarm(&mut self, space: SpaceId, site: SiteId) -> io::Result<()> {
        let Some(addr) = self.sites_mut(space).get(site).map(|s| s.addr) else {
            return Ok(());
        };
        self.make_way(space, &[addr])?;
        self.write_traps(space, std::iter::once(addr.0), false)?;
        if let Some(site) = self.sites_mut(space).get_mut(site) {
            site.armed = false;
        }
        Ok(())
    }
}

/// Writes jumps that begin in one page, by address: the tails, then the heads, so that a thread which comes
/// there meanwhile traps. Adds whether each stands.
fn write(memory: &Space, jumps: &[Rc<Jump>], written: &mut Vec<bool>) {
    let before = written.len();
    written.resize(before + jumps.len(), false);
    let (Some(first), Some(last)) = (jumps.first(), jumps.last()) else { return };
    let base = first.window.at;
    let mut bytes = vec![0; last.window.at.distance_from(base) as usize + last.len()];
    if memory.read(base, &mut bytes).is_err() {
        return;
    }
    let standing = &mut written[before..];
    for part in [TRAP..LEN, 0..TRAP] {
        for (jump, stands) in jumps.iter().zip(&mut *standing) {
            let here = &mut bytes[jump.window.at.distance_from(base) as usize..][..jump.len()];
            // What is there by now is not ours.
            *stands |= part.start > 0 && *here == jump.trapped[..jump.len()];
            let part = part.start.min(here.len())..part.end.min(here.len());
            if *stands {
                here[part.clone()].copy_from_slice(&jump.jumped[part]);
            }
        }
        if memory.write(base, &bytes).is_err() {
            standing.fill(false);
            return;
        }
    }
}

/// Takes jumps away that begin in one page, by address: the heads, then the tails. Where a tail goes
/// on in the next page, that end first: if xol dies between them, no instruction is half there. What
/// somebody else has written is left alone; says of each whether there was nothing.
fn take(memory: &Space, jumps: &[(usize, Rc<Jump>)]) -> io::Result<Vec<bool>> {
    let mut known = vec![false; jumps.len()];
    let (Some((_, first)), Some((_, last))) = (jumps.first(), jumps.last()) else {
        return Ok(known);
    };
    let base = first.window.at;
    let mut bytes = vec![0; last.window.at.distance_from(base) as usize + last.len()];
    if memory.read(base, &mut bytes).is_err() {
        return Ok(known);
    }
    let offset = |jump: &Jump| jump.window.at.distance_from(base) as usize;
    for (n, (_, jump)) in jumps.iter().enumerate() {
        let here = &mut bytes[offset(jump)..][..jump.len()];
        let (jumped, trapped) = (&jump.jumped[..jump.len()], &jump.trapped[..jump.len()]);
        let begins = here.starts_with(&trapped[..TRAP]) || here.starts_with(&jumped[..TRAP]);
        let ours = begins && jump.has_tail(here);
        // A uprobe that came later and went first has put the original of its byte back.
        let of_us = |(n, byte): (usize, &u8)| [jumped[n], trapped[n], jump.text[n]].contains(byte);
        known[n] = ours || here.iter().enumerate().all(of_us);
        if known[n] && here.starts_with(&jumped[..TRAP]) {
            here[..TRAP].copy_from_slice(&trapped[..TRAP]);
        }
    }
    memory.write(base, &bytes)?;
    for (_, (_, jump)) in known.iter().zip(jumps).filter(|(known, _)| **known) {
        let here = &mut bytes[offset(jump)..][..jump.len()];
        for (n, byte) in here.iter_mut().enumerate().skip(TRAP) {
            if *byte == jump.jumped[n] {
                *byte = jump.trapped[n];
            }
        }
    }
    let split = (4096 - last.window.at.0 % 4096) as usize;
    if split < last.len() {
        let from = offset(last) + split;
        memory.write(base.add(from as u64), &bytes[from..])?;
    }
    memory.write(base, &bytes)?;
    Ok(known)
}

/// Whether two jumps are in one page, one behind the other.
fn in_one_page(one: &Jump, next: &Jump) -> bool {
    let end = one.window.at.add(one.window.len.into());
    end <= next.window.at && end.align_down(4096) == next.window.at.align_down(4096)
}
