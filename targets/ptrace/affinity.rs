//! On which CPU the tracer runs (RULES A7).
//!
//! A stop costs a fraction where tracer and tracee share a CPU. So the tracer follows the thread
//! that traps, unless threads trap on several CPUs at a time, or one of them is real-time: it
//! would not let us run.

use super::procfs;
use super::sys::Tid;
use super::tracer::{self, CpuSet};

const CHECK_EVERY_NS: u64 = 5_000_000;

#[derive(Debug, Default)]
pub(super) struct Affinity {
    home: Option<CpuSet>,
    pinned: Option<usize>,
    /// Threads that trapped since the last check.
    seen: [Option<Tid>; 4],
    traps: u32,
    checked_ns: u64,
    last: Option<Tid>,
    /// Traps when there was last something else to do.
    before: u32,
}

impl Affinity {
    pub(super) fn trapped(&mut self, tid: Tid) {
        if self.last != Some(tid) {
            self.last = Some(tid);
            if !self.seen.contains(&Some(tid)) {
                let i = self.seen.iter().position(Option::is_none).unwrap_or(0);
                self.seen[i] = Some(tid);
            }
        }
        self.traps = self.traps.wrapping_add(1);
        if self.traps & 31 == 1 {
            let now = tracer::now_ns();
            if now - self.checked_ns > CHECK_EVERY_NS {
                self.checked_ns = now;
                self.follow();
            }
        }
    }

    /// Lets the scheduler choose if no thread has trapped since the last time: what threads write
    /// without a stop must be read, and on the CPU of one that does not stop we would come too late.
    pub(super) fn elsewhere(&mut self) {
        let quiet = std::mem::replace(&mut self.before, self.traps) == self.traps;
        if quiet
            && self.pinned.is_some()
            && let Some(home) = self.home
            && tracer::set_affinity(&home).is_ok()
        {
            self.pinned = None;
        }
    }

    /// Moves to the CPU that all recent traps came from, or lets the scheduler choose.
    fn follow(&mut self) {
        let home = match self.home {
            Some(home) => home,
            None => match tracer::get_affinity() {
                Ok(home) => *self.home.insert(home),
                Err(_) => return,
            },
        };
        let mut common = None;
        let mut one = true;
        for tid in self.seen.iter().flatten() {
            let Some((cpu, policy)) = procfs::cpu_and_policy(*tid) else { continue };
            one &=
                !procfs::is_real_time(policy) && common.is_none_or(|c| c == cpu) && home.has(cpu);
            common = Some(cpu);
        }
        self.seen = [self.last, None, None, None];
        let want = common.filter(|_| one);
        if want != self.pinned {
            let set = want.map_or(home, CpuSet::only);
            if tracer::set_affinity(&set).is_ok() {
                self.pinned = want;
            }
        }
    }
}
