//! Which thread a thread pointer names, and when: pointers are used again, and a vfork child has
//! its parent's (RULES G3).
//!
//! A record has the thread pointer of its thread. Here is from which tick on each pointer is which
//! thread's: noted when a thread starts, when a vfork gives its parent's pointer back, and looked
//! up in stopped threads where one is unknown. If two threads have one pointer, the space's jumps
//! become traps.

use rustc_hash::FxHashMap;
use std::ops::Range;
use xol_targets::ptrace::{Pid, Tid};

/// A thread in its process.
pub(in crate::trace) type Who = (Pid, Tid);

/// How often a pointer may have changed hands between two looks at the ring.
const MOST: usize = 256;

/// The thread pointers of one address space.
#[derive(Debug, Default)]
pub(in crate::trace) struct Names {
    /// Whose a pointer is, and from which tick on.
    owners: FxHashMap<u64, Vec<(u64, Who)>>,
    /// The pointers of threads that live. 0 is none yet.
    known: FxHashMap<Tid, u64>,
    /// Threads that were gone before their pointers were known.
    lost: Vec<Who>,
}

impl Names {
    /// From this tick on the pointer is that thread's.
    pub(in crate::trace) fn begin(&mut self, pointer: u64, from: u64, who: Who) {
        self.known.insert(who.1, pointer);
        let owners = self.owners.entry(pointer).or_default();
        let at = owners.partition_point(|&(since, _)| since <= from);
        owners.insert(at, (from, who));
        if owners.len() > MOST {
            owners.remove(0);
        }
    }

    /// A thread that there is, whose pointer is not known yet.
    pub(in crate::trace) fn there_is(&mut self, tid: Tid) {
        self.known.entry(tid).or_insert(0);
    }

    /// The thread is gone, if it was one of these. What it has written may still be read.
    pub(in crate::trace) fn end(&mut self, who: Who) {
        if self.known.remove(&who.1) == Some(0) {
            self.lost.push(who);
        }
    }

    /// Whose the pointer was at a tick.
    pub(in crate::trace) fn who(&self, pointer: u64, at: u64) -> Option<Who> {
        self.holder(pointer, at).map(|(who, _)| who)
    }

    /// The same, and from which tick on and up to which that holds.
    pub(in crate::trace) fn holder(&self, pointer: u64, at: u64) -> Option<(Who, Range<u64>)> {
        let owners = self.owners.get(&pointer)?;
        let behind = owners.partition_point(|&(since, _)| since <= at);
        let &(since, who) = owners.get(behind.saturating_sub(1))?;
        let from = if behind == 0 { 0 } else { since };
        let until = match behind {
            // What was written before the first one began is the first one's, too.
            0 => owners.get(1),
            _ => owners.get(behind),
        };
        Some((who, from..until.map_or(u64::MAX, |&(next, _)| next)))
    }

    /// The pointer of a thread, if it is known to have one.
    pub(in crate::trace) fn pointer(&self, tid: Tid) -> Option<u64> {
        self.known.get(&tid).copied().filter(|&pointer| pointer != 0)
    }

    /// The threads that have this pointer, as far as their ends are known.
    pub(in crate::trace) fn owners(&self, pointer: u64) -> impl Iterator<Item = Tid> {
        self.known.iter().filter(move |(_, known)| **known == pointer).map(|(&tid, _)| tid)
    }

    /// A thread that was never named, and is gone.
    pub(in crate::trace) fn take_lost(&mut self) -> Option<Who> {
        self.lost.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn who(n: i32) -> Who {
        (Pid(1), Tid(n))
    }

    #[test]
    fn a_pointer_is_whose_it_was_then() {
        let mut names = Names::default();
        names.begin(0x1000, 10, who(1));
        names.begin(0x2000, 10, who(2));
        names.begin(0x1000, 20, who(3));
        let at = |tick| names.who(0x1000, tick);
        assert_eq!([at(10), at(19), at(20), at(99)], [who(1), who(1), who(3), who(3)].map(Some));
        // What was written before it was looked is the first one's.
        assert_eq!((at(5), names.who(0x3000, 20)), (Some(who(1)), None));
        let held = [(5, 0..20), (10, 10..20), (19, 10..20), (20, 20..u64::MAX)];
        for (tick, span) in held {
            let (_, held) = names.holder(0x1000, tick).unwrap();
            assert!(held == span && held.contains(&tick), "{tick} {held:?}");
        }
    }

    #[test]
    fn a_thread_that_was_never_named_is_remembered() {
        let mut names = Names::default();
        names.there_is(Tid(1));
        names.begin(0, 0, who(3));
        names.begin(0x1000, 0, who(2));
        assert_eq!((names.pointer(Tid(1)), names.pointer(Tid(2))), (None, Some(0x1000)));
        assert_eq!(names.owners(0x1000).collect::<Vec<_>>(), [Tid(2)]);
        for n in 1..=3 {
            names.end(who(n));
        }
        assert_eq!(names.owners(0x1000).count(), 0);
        assert_eq!([names.take_lost(), names.take_lost()], [Some(who(3)), Some(who(1))]);
        assert_eq!((names.take_lost(), names.who(0x1000, 7)), (None, Some(who(2))));
    }
}
