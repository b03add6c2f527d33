//! How long threads have waited for room in a ring.

use rustc_hash::FxHashMap;
use xol_targets::ptrace::Tid;

/// How long threads have waited for room: no part of the time of their calls.
#[derive(Debug, Default)]
pub(in crate::trace) struct Waits {
    /// The tick since which a thread waits, whose record is not read yet.
    since: FxHashMap<Tid, u64>,
    /// How long each has waited in all, in ns.
    waited: FxHashMap<Tid, u64>,
}

impl Waits {
    /// A thread has found no room at a tick. It may find none again.
    pub(in crate::trace) fn begin(&mut self, tid: Tid, tick: u64) {
        self.since.entry(tid).or_insert(tick);
    }

    /// The next record of a thread is read, which it has written at `now`.
    pub(in crate::trace) fn end(&mut self, tid: Tid, now: u64, ns: impl Fn(u64) -> u64) {
        if !self.since.is_empty()
            && let Some(since) = self.since.remove(&tid)
        {
            *self.waited.entry(tid).or_default() += now.saturating_sub(ns(since));
        }
    }

    /// How long a thread has waited so far.
    pub(in crate::trace) fn of(&self, tid: Tid) -> u64 {
        if self.waited.is_empty() { 0 } else { self.waited.get(&tid).copied().unwrap_or(0) }
    }

    /// A thread is gone.
    pub(in crate::trace) fn forget(&mut self, tid: Tid) {
        self.since.remove(&tid);
        self.waited.remove(&tid);
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
