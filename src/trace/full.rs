//! A full ring is waited for, so that nothing is missed however slowly it is told.
//!
//! A recorder that finds no room for its record traps, with the program's registers kept on its stack.
//! By then the ring has been read, as before every trap; the thread gets its registers back and records
//! the hit again. When xol is dead, the handler in the program has the thread go on behind the trap, where
//! the record is counted as missed.

use super::jumps::{Jump, Spot};
use super::session::Session;
use std::io;
use xol_arch::{Addr, Arch as _, Machine as _, Regs as _};
use xol_targets::Native;
use xol_targets::ptrace::{Go, Orphan, SpaceId, Tid};

impl Jump {
    /// Where each of its recorders goes on when xol is dead and the ring is full.
    pub(super) fn orphans_of_full(&self) -> impl Iterator<Item = Orphan> {
        let trap = Native::TRAP.len() as u64;
        let mut nop = [0; 8];
        nop[..Native::TRAP.len()].copy_from_slice(Native::NOP);
        let original = u64::from_le_bytes(nop);
        self.fulls.iter().map(move |&(full, _)| {
            let site = self.to.add(full.into());
            Orphan { site, to: Some(site.add(trap)), original }
        })
    }
}

impl Session<'_> {
    /// Has a thread record its hit again that has trapped at `at` because its ring was full. Returns
    /// whether it trapped for that.
    pub(super) fn record_again(&mut self, tid: Tid, space: SpaceId, at: Addr) -> io::Result<bool> {
        let Some(Spot::Trampoline(jump, offset)) = self.sites_mut(space).jumps.spot(at) else {
            return Ok(false);
        };
        let Some(&(_, start)) = jump.fulls.iter().find(|(full, _)| *full == offset) else {
            return Ok(false);
        };
        let Ok(trampoline) = jump.trampoline() else { return Ok(false) };
        let mut machine = self.target.stopped(tid)?;
        let mut regs = *machine.seen();
        if trampoline.rewind::<Native>(offset, &mut regs, &mut machine).is_err() {
            // Its stack is gone: it goes on as it is, and the record is missed.
            return Ok(false);
        }
        regs.set_pc(jump.to.add(start.into()));
        *machine.regs() = regs;
        // A record of another thread may be in the way, which has lost its processor.
        std::thread::yield_now();
        if self.visits.get(&tid).is_some_and(|visit| visit.jumping) {
            self.stepped_in_jump(tid, space)?;
        } else {
            self.target.go(tid, Go::FromTrap)?;
        }
        Ok(true)
    }
}
