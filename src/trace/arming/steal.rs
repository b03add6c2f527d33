//! When all slots are used: the least recently hit site that no thread is inside gives its up.

use crate::engine::SiteId;
use crate::engine::write_slot;
use crate::trace::arming::traps::word;
use crate::trace::session::Session;
use crate::trace::space::borrow::PATIENCE;
use std::io;
use xol_arch::{Addr, Arch, Text};
use xol_targets::Native;
use xol_targets::ptrace::procfs::{Whereabouts, whereabouts};
use xol_targets::ptrace::{Orphan, SpaceId, Tid};

impl Session<'_> {
    /// Gives `site`, which `tid` has hit, a slot: a free one or another site's. `None` where
    /// there is none in reach.
    pub(in crate::trace) fn steal_slot(
        &mut self,
        space: SpaceId,
        site: SiteId,
        tid: Tid,
    ) -> io::Result<Option<Addr>> {
        let addr = self.sites_mut(space)[site].addr;
        let reach = Native::JUMP_REACH;
        let mut to = self.sites_mut(space).slots.take(addr, reach, site);
        if to.is_none() {
            self.evict(space, addr, tid)?;
            to = self.sites_mut(space).slots.take(addr, reach, site);
        }
        let Some(to) = to else { return Ok(None) };
        let (plan, strategy, original) = {
            let site = &self.sites_mut(space)[site];
            (site.plan, site.strategy, site.original)
        };
        let mut bytes = [0; 16];
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        let n = memory.read_some(addr, &mut bytes)?;
        self.spaces[&space].jumps.restore(addr.0, &mut bytes[..n]);
        bytes[..Native::TRAP.len()].copy_from_slice(&original[..Native::TRAP.len()]);
        let text = Text::new(addr, &bytes[..n]);
        let Ok(code) = write_slot(&text, addr, &plan, strategy, to) else {
            self.sites_mut(space).slots.release(to);
            return Ok(None);
        };
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        memory.write(to, &code.code)?;
        let orphan =
            Orphan { site: addr, to: code.stands_alone.then_some(to), original: word(original) };
        self.target.set_orphans(space, &[orphan])?;
        let site = &mut self.sites_mut(space)[site];
        site.slot = Some(code.slot);
        site.fixup = code.fixup;
        Ok(Some(to))
    }

    /// Takes the slot of the least recently hit site that no thread is inside.
    fn evict(&mut self, space: SpaceId, near: Addr, asking: Tid) -> io::Result<()> {
        let reach = Native::JUMP_REACH;
        // A slot whose thread does not leave it is passed over, and there are only so many.
        let mut tries = self.sites_mut(space).slots.used();
        while tries > 0 {
            tries -= 1;
            let sites = self.sites_mut(space);
            // Under a jump, nothing can be put back in place.
            let last_hit = |site: SiteId| {
                let site = sites.sites.get(site.index())?;
                sites.jumps.over(site.addr).is_none().then_some(site.last_hit)
            };
            let Some((_, victim, at)) = sites.slots.oldest(near, reach, &last_hit) else { break };
            if !self.vacate(space, at, asking)? {
                continue;
            }
            let (addr, original) = {
                let site = &self.sites_mut(space)[victim];
                (site.addr, site.original)
            };
            // From here on an orphan of that site is put back in place.
            self.target
                .set_orphans(space, &[Orphan { site: addr, to: None, original: word(original) }])?;
            let sites = self.sites_mut(space);
            sites[victim].slot = None;
            sites.slots.release(at);
            self.stolen += 1;
            return Ok(());
        }
        Ok(())
    }

    /// Whether no thread is in the slot at `at`, making sure of those that were sent there.
    fn vacate(&mut self, space: SpaceId, at: Addr, asking: Tid) -> io::Result<bool> {
        let inside: Vec<Tid> = self
            .target
            .threads()
            .filter(|t| t.slot == Some(at) && t.tid != asking)
            .filter(|t| self.target.space_of(t.tid) == Some(space))
            .map(|t| t.tid)
            .collect();
        for tid in inside {
            if self.target.thread(tid).is_some_and(|t| t.held.is_some()) {
                return Ok(false);
            }
            let elsewhere = match whereabouts(tid) {
                Whereabouts::InCall { pc, .. } => {
                    !self.target.space(space).is_some_and(|s| s.is_ours(pc))
                        && self.target.poll_is_quiet(tid)
                }
                _ => false,
            };
            if !elsewhere && !self.is_elsewhere(tid, at)? {
                return Ok(false);
            }
            self.target.set_slot(tid, None);
        }
        Ok(true)
    }

    /// Stops a running thread to see whether it has left the slot.
    fn is_elsewhere(&mut self, tid: Tid, slot: Addr) -> io::Result<bool> {
        use xol_arch::Regs as _;
        for _ in 0..4 {
            match self.stop_thread(tid, PATIENCE) {
                Ok(true) => {
                    let pc = self.target.regs(tid)?.pc();
                    let inside = pc.0.wrapping_sub(slot.0) < crate::engine::SLOT_SIZE;
                    let turns = self.target.turns(tid);
                    self.give_back(tid)?;
                    if !inside {
                        return Ok(true);
                    }
                    self.target.await_turn(tid, turns, crate::trace::space::borrow::TURN);
                }
                // It has stopped somewhere of its own; that is looked at in its turn.
                _ => return Ok(false),
            }
        }
        Ok(false)
    }
}
