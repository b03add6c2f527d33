//! Leaving: every trap taken away, every thread out of our code, every page of ours unmapped.

use super::hit::libc_signal;
use super::session::{PATIENCE, Session, Stage};
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::time::Duration;
use xol_targets::ptrace::procfs::{Whereabouts, whereabouts};
use xol_targets::ptrace::{SpaceId, Tid, is_gone};

impl Session<'_> {
    /// Leaves everything as it was found. Goes on over errors; the first is returned.
    pub(super) fn leave(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        self.target.begin_leaving();
        let spaces: Vec<SpaceId> = self.spaces.keys().copied().collect();
        for space in spaces {
            if self.target.space(space).is_none() {
                continue;
            }
            match self.leave_space(space) {
                Err(error) if !is_gone(&error) && result.is_ok() => result = Err(error),
                _ => {}
            }
        }
        // What is left is blocked in calls and has nothing of ours: the kernel lets it go,
        // without a stop, when we end.
        result
    }

    fn leave_space(&mut self, space: SpaceId) -> io::Result<()> {
        self.take_all_jumps(space)?;
        let addrs: BTreeMap<u64, ()> = self
            .sites_mut(space)
            .sites
            .iter()
            .filter(|s| s.armed)
            .map(|s| (s.addr.0, ()))
            .collect();
        let count = addrs.len();
        let foreign = self.write_traps(space, addrs.into_keys(), false)?;
        self.restore_all_moved(space)?;
        for at in foreign {
            self.note(format!("the byte at {at:#x} is not ours any more; it was left alone"));
        }
        for site in &mut self.sites_mut(space).sites {
            site.armed = false;
        }
        self.progress(Stage::Disarmed, count, count);
        self.empty(space)?;
        if !self.stuck.contains(&space) {
            self.target.clear_padding(space)?;
        }
        self.take_back(space)
    }

    /// Sees every thread of the space once outside of our code. It cannot come back: no trap
    /// leads there.
    fn empty(&mut self, space: SpaceId) -> io::Result<()> {
        let mut seen: HashSet<Tid> = HashSet::new();
        loop {
            let next = self
                .target
                .threads()
                .filter(|t| self.target.space_of(t.tid) == Some(space) && !seen.contains(&t.tid))
                .map(|t| t.tid)
                .next();
            let Some(tid) = next else { return Ok(()) };
            if self.is_out(space, tid)? {
                seen.insert(tid);
            }
        }
    }

    /// Whether a thread is out of our code, or is now. `false`: it stopped for something else
    /// first, or has a copy to run.
    fn is_out(&mut self, space: SpaceId, tid: Tid) -> io::Result<bool> {
        let stopped = self.target.is_stopped(tid);
        if !stopped {
            // Blocked in a call, with no signal on its way: not disturbed, unless it is to
            // return into a slot.
            if let Whereabouts::InCall { number, pc, .. } = whereabouts(tid)
                && number >= 0
                && !self.target.is_asked(tid)
                && !self.target.space(space).is_some_and(|s| s.is_ours(pc))
                && self.target.poll_is_quiet(tid)
            {
                self.send_rest(tid)?;
                return Ok(true);
            }
        }
        if !stopped && self.visits.get(&tid).is_some_and(|visit| visit.jumping) {
            // Asked to stop again and again, it would never make its step.
            std::thread::yield_now();
            if self.target.poll_is_quiet(tid) {
                std::thread::sleep(Duration::from_micros(50));
            }
            self.take_event_of(tid).or_else(|e| if is_gone(&e) { Ok(()) } else { Err(e) })?;
            return Ok(self.target.thread(tid).is_none());
        }
        match self.target.stop(tid, PATIENCE) {
            Ok(true) => {
                // A trap or fault that was taken just before the stop is still on its way: its signal
                // must come while we are there.
                let out = !fault_on_its_way(tid) && self.move_out(tid)?;
                let out = out && !self.has_undelivered(tid)?;
                if out {
                    self.give_back(tid)?;
                } else {
                    self.give_back(tid)?;
                    std::thread::yield_now();
                }
                Ok(out)
            }
            Ok(false) => {
                self.take_event_of(tid)?;
                Ok(self.target.thread(tid).is_none())
            }
            Err(error) if is_gone(&error) => {
                // Its exit will be reported to whoever waits next.
                if self.target.thread(tid).is_some() {
                    self.take_event_of(tid)
                        .or_else(|e| if is_gone(&e) { Ok(()) } else { Err(e) })?;
                }
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.note(format!(
                    "thread {tid} does not stop (state {}); what it may be in stays mapped",
                    state_of(tid)
                ));
                self.stuck.insert(space);
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// Puts SIGTRAP's action back and unmaps what is ours, through one thread of each process.
    fn take_back(&mut self, space: SpaceId) -> io::Result<()> {
        let head = self.target.space(space).is_some_and(|s| s.has_head());
        if !head {
            return Ok(());
        }
        let processes: Vec<_> =
            self.target.processes().filter(|p| p.space == space).map(|p| p.pid).collect();
        for (i, &pid) in processes.iter().enumerate() {
            let Some(tid) = self.borrow_thread_of(pid) else { continue };
            if let Err(why) = self.target.check_calls(tid) {
                self.note(format!(
                    "process {pid}: xol's pages stay mapped and its handler of SIGTRAP stays: {why}"
                ));
                self.give_back(tid)?;
                continue;
            }
            if let Err(error) = self.unprotect(tid) {
                // Its end is told to nobody any more.
                if !is_gone(&error) {
                    return Err(error);
                }
                continue;
            }
            if i + 1 == processes.len() && !self.stuck.contains(&space) {
                match self.target.unmap_all(tid) {
                    Ok(()) => {}
                    Err(error) if error.is_gone() => {}
                    Err(error) => {
                        self.note(format!("process {pid}: xol's pages stay mapped: {error}"));
                    }
                }
            }
            self.target
                .detach_thread(tid, 0)
                .or_else(|e| if is_gone(&e) { Ok(()) } else { Err(e) })?;
        }
        Ok(())
    }
}

/// Whether a thread has trapped and not stopped for it yet.
pub(super) fn trap_on_its_way(tid: Tid) -> bool {
    is_pending(tid, &[libc_signal::TRAP])
}

/// Whether a thread has trapped or faulted and not stopped for it yet: an interrupt comes first. The
/// signal is about where the thread is.
pub(super) fn fault_on_its_way(tid: Tid) -> bool {
    use libc_signal::{BUS, FPE, ILL, SEGV, TRAP};
    is_pending(tid, &[ILL, TRAP, BUS, FPE, SEGV])
}

fn is_pending(tid: Tid, signals: &[i32]) -> bool {
    let set = signals.iter().fold(0u64, |set, signal| set | 1 << (signal - 1));
    let status = xol_targets::ptrace::procfs::status(tid);
    status.is_ok_and(|s| s.pending & !s.blocked & set != 0)
}

fn state_of(tid: Tid) -> char {
    xol_targets::ptrace::procfs::status(tid).map_or('?', |s| s.state as char)
}
