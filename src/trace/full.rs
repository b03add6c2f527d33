//! A full ring is waited for, so that nothing is missed however slowly it is told.
//!
//! A recorder that finds no room for its record traps, with the program's registers kept on its stack.
//! By then the ring has been read, as before every trap; the thread gets its registers back and records
//! the hit again. When xol is dead, the handler in the program takes the trap away, and from then on such
//! a record is counted as missed.

use super::jumps::{Jump, Spot};
use super::session::Session;
use rustc_hash::FxHashMap;
use std::io;
use xol_arch::{Addr, Arch as _, Machine as _, Memory as _, Regs as _};
use xol_targets::Native;
use xol_targets::ptrace::{Go, Orphan, SpaceId, Tid};

/// A trap in a trampoline whose threads find no room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Full {
    /// Its offset.
    pub(super) at: u16,
    /// Where its recorder begins.
    pub(super) start: u16,
    /// Where the time of the hit is, in bytes above the stack pointer.
    pub(super) time: u16,
}

/// How long threads have waited for room: no part of the time of their calls.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// The tick since which a thread waits, whose record is not read yet.
    since: FxHashMap<Tid, u64>,
    /// How long each has waited in all, in ns.
    waited: FxHashMap<Tid, u64>,
}

impl Waits {
    /// A thread has found no room at a tick. It may find none again.
    fn begin(&mut self, tid: Tid, tick: u64) {
        self.since.entry(tid).or_insert(tick);
    }

    /// The next record of a thread is read, which it has written at `now`.
    pub(super) fn end(&mut self, tid: Tid, now: u64, ns: impl Fn(u64) -> u64) {
        if !self.since.is_empty()
            && let Some(since) = self.since.remove(&tid)
        {
            *self.waited.entry(tid).or_default() += now.saturating_sub(ns(since));
        }
    }

    /// How long a thread has waited so far.
    pub(super) fn of(&self, tid: Tid) -> u64 {
        if self.waited.is_empty() { 0 } else { self.waited.get(&tid).copied().unwrap_or(0) }
    }

    /// A thread is gone.
    pub(super) fn forget(&mut self, tid: Tid) {
        self.since.remove(&tid);
        self.waited.remove(&tid);
    }
}

impl Jump {
    /// What becomes of the traps of its recorders when xol is dead: they are taken away by calls that a
    /// filter may forbid; in a program that has one, each thread goes on behind them.
    pub(super) fn orphans_of_full(&self, filtered: bool) -> impl Iterator<Item = Orphan> {
        let trap = Native::TRAP.len() as u64;
        let mut nop = [0; 8];
        nop[..Native::TRAP.len()].copy_from_slice(Native::NOP);
        let original = u64::from_le_bytes(nop);
        self.fulls.iter().map(move |full| {
            let site = self.to.add(full.at.into());
            Orphan { site, to: filtered.then_some(site.add(trap)), original }
        })
    }
}

impl Session<'_> {
    /// Makes a thread record its hit again that has trapped at `at` because its ring was full. Returns
    /// whether it trapped for that.
    pub(super) fn record_again(&mut self, tid: Tid, space: SpaceId, at: Addr) -> io::Result<bool> {
        let Some(Spot::Trampoline(jump, offset)) = self.sites_mut(space).jumps.spot(at) else {
            return Ok(false);
        };
        let Some(&full) = jump.fulls.iter().find(|full| full.at == offset) else {
            return Ok(false);
        };
        let Ok(trampoline) = jump.trampoline() else { return Ok(false) };
        let mut machine = self.target.stopped(tid)?;
        let mut regs = *machine.seen();
        let mut tick = [0; 8];
        let time = regs.sp().add(full.time.into());
        let begun = machine.read(time, &mut tick).is_ok().then(|| u64::from_le_bytes(tick));
        if trampoline.rewind::<Native>(offset, &mut regs, &mut machine).is_err() {
            // Its stack is gone: it goes on as it is, and the record is missed.
            return Ok(false);
        }
        regs.set_pc(jump.to.add(full.start.into()));
        *machine.regs() = regs;
        if let Some(tick) = begun.filter(|_| self.options.events) {
            self.waits.begin(tid, tick);
        }
        // A record of another thread may be in the way, which has lost its processor.
        std::thread::yield_now();
        if self.doing(tid).is_trampoline() {
            self.stepped_in_jump(tid, space)?;
        } else {
            self.target.go(tid, Go::FromTrap)?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_waits_from_its_first_try_to_its_record() {
        let mut waits = Waits::default();
        waits.begin(Tid(1), 100);
        // Again, for the same hit.
        waits.begin(Tid(1), 130);
        waits.end(Tid(2), 900, |tick| tick * 2);
        assert_eq!((waits.of(Tid(1)), waits.of(Tid(2))), (0, 0));
        waits.end(Tid(1), 250, |tick| tick * 2);
        waits.end(Tid(1), 800, |tick| tick * 2);
        assert_eq!(waits.of(Tid(1)), 50);
        waits.begin(Tid(1), 500);
        waits.end(Tid(1), 1007, |tick| tick * 2);
        assert_eq!(waits.of(Tid(1)), 57);
        waits.forget(Tid(1));
        assert_eq!(waits.of(Tid(1)), 0);
    }
}
