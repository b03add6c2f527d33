//! Records that cannot be read yet because another thread's is on its way before them.

use crate::engine::Pending;
use crate::trace::recorded::ring::{APART, Rings};
use crate::trace::session::Session;
use std::io;
use std::time::{Duration, Instant};
use xol_arch::Regs as _;
use xol_targets::ptrace::procfs::{Whereabouts, run_ns, whereabouts};
use xol_targets::ptrace::{Area, SpaceId, Tid, sys};

/// How long a record that is on its way is waited for at least, where a thread whose records are behind it
/// has stopped. A writer that has stopped is seen through before; one that has lost the CPU is waited for
/// until it has run.
const WAIT: Duration = Duration::from_millis(50);
/// And how long at most.
const LIMIT: Duration = Duration::from_secs(2);
/// After so long it is looked for one that has stopped.
const LOOK: Duration = Duration::from_micros(50);
impl Rings {
    /// Whether a record is still on its way.
    fn is_pending(&self, space: SpaceId, area: Area, pending: Pending) -> bool {
        let mut rings = self.all.get(&space).into_iter().flatten();
        let ring = rings.find(|ring| ring.area == area);
        ring.is_some_and(|ring| ring.reader.pending(pending.shard) == Some(pending))
    }

    /// The record that is on its way, if one of a thread may be behind it, and is worth waiting for.
    fn blocked_by(&self, space: SpaceId, pointer: u64) -> Option<(SpaceId, Area, Pending)> {
        let blocked = self.all.get(&space)?.iter().find_map(|ring| {
            let shard = ring.reader.shape().shard_of(pointer) as usize;
            let pending = ring.reader.pending(shard).filter(|pending| pending.shard == shard)?;
            Some((space, ring.area, pending))
        });
        blocked.filter(|_| blocked != self.waited)
    }
}

impl Session<'_> {
    /// Waits until all that a stopped thread has written can be read. How many records were read.
    pub(in crate::trace) fn await_records(
        &mut self,
        rings: &mut Rings,
        tid: Tid,
        space: SpaceId,
        pointer: u64,
    ) -> io::Result<usize> {
        let (mut count, mut look, mut starved) = (0, LOOK, None);
        let begun = Instant::now();
        if let Some((of, area, pending)) = rings.waited
            && !rings.is_pending(of, area, pending)
        {
            rings.waited = None;
        }
        while let Some(blocking) = rings.blocked_by(space, pointer) {
            // In the middle of a record itself, it waits for nobody.
            if self.is_recording(tid, space) {
                break;
            }
            if begun.elapsed() >= WAIT {
                let starved = starved.get_or_insert_with(|| self.runnable(tid, space));
                starved
                    .retain(|&(t, ran)| run_ns(t) == ran && whereabouts(t) == Whereabouts::Running);
                if starved.is_empty() || begun.elapsed() >= LIMIT {
                    rings.waited = Some(blocking);
                    break;
                }
            }
            if begun.elapsed() >= look {
                look *= 4;
                self.see_recorders_through(tid, space)?;
            }
            std::thread::yield_now();
            count += rings.read();
        }
        Ok(count)
    }

    /// Other threads of the space that want a CPU, or have one, and how long each has run.
    fn runnable(&self, tid: Tid, space: SpaceId) -> Vec<(Tid, u64)> {
        let others = self.target.threads().filter(|t| t.tid != tid && !t.is_stopped());
        others
            .filter(|t| self.target.space_of(t.tid) == Some(space))
            .filter(|t| whereabouts(t.tid) == Whereabouts::Running)
            .map(|t| (t.tid, run_ns(t.tid)))
            .filter(|&(_, ran)| ran > 0)
            .collect()
    }

    /// Whether records of a space cannot be read because of one that was waited for in vain.
    pub(in crate::trace) fn is_behind(&self, space: SpaceId) -> bool {
        cfg!(feature = "jump") && self.rings.waited.is_some_and(|(of, ..)| of == space)
    }

    /// Whether a thread that has stopped, for whatever that is, stands in a trampoline.
    fn is_recording(&mut self, tid: Tid, space: SpaceId) -> bool {
        let Ok(pc) = sys::get_regs(tid).map(|regs| regs.pc()) else { return false };
        self.sites(space).is_some_and(|sites| sites.jumps.spot(pc).is_some())
    }

    /// Lets other threads of the space go on that have stopped in a trampoline.
    fn see_recorders_through(&mut self, tid: Tid, space: SpaceId) -> io::Result<()> {
        let others: Vec<Tid> = self
            .target
            .threads()
            .filter(|t| t.tid != tid && !t.is_stopped())
            .filter(|t| self.target.space_of(t.tid) == Some(space))
            .map(|t| t.tid)
            .collect();
        for other in others {
            if !self.target.poll_is_quiet(other) && self.is_recording(other, space) {
                self.take_event_of(other)?;
            }
        }
        Ok(())
    }

    /// Tells of what other threads noted down before this one stopped: it may be in a call that another
    /// has begun, on a stack that went from one to the other. Whether there may have been something.
    pub(in crate::trace) fn catch_up(&mut self, tid: Tid) -> io::Result<bool> {
        if !cfg!(feature = "jump") || self.rings.is_empty() {
            return Ok(false);
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_nanos(2 * APART) {
            std::hint::spin_loop();
        }
        self.drain(Some(tid)).map(|_| true)
    }
}
