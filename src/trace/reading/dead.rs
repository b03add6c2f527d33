//! Open calls whose frames are over: something else stands where their return addresses were.

use crate::trace::session::Session;
use crate::trace::telling::frames::Key;
use std::collections::HashMap;
use xol_targets::native;
use xol_targets::ptrace::{Pid, SpaceId, procfs};

impl Session<'_> {
    /// The frames in whose places something else was written than the return address, or nothing is
    /// mapped; and when they were made.
    pub(in crate::trace) fn overwritten(&self, space: SpaceId) -> HashMap<Key, u64> {
        let Some(memory) = self.target.space(space) else { return HashMap::new() };
        let gone = |key: &Key| {
            let mut word = [0; 8];
            let slot = native::return_slot(key.sp).unwrap_or(key.sp);
            let read = memory.read(slot, &mut word);
            read.is_err() || u64::from_ne_bytes(word) != key.back.0
        };
        self.teller.frames.of(space).filter(|(key, _)| gone(key)).collect()
    }

    /// The same for a call that was noted down: where frames are looked for in memory, that is done
    /// [later](Self::sweep_noted), since their returns may have been noted down too.
    pub(in crate::trace) fn drop_dead_noted(&mut self, pid: Pid, now: Key, seen: u64) {
        if native::return_slot(now.sp).is_some() {
            self.sweep_due = Some(now.space);
        } else {
            self.drop_below(pid, now, seen);
        }
    }

    /// Drops frames that cannot return any more: longjmp and exceptions leave them behind.
    pub(in crate::trace) fn drop_dead(&mut self, pid: Pid, now: Key, seen: u64) {
        if native::return_slot(now.sp).is_some() {
            let dead = self.overwritten(now.space);
            let dead = self.teller.frames.sweep(now.space, |key| dead.contains_key(key));
            self.teller.end_unwound(dead, seen);
        } else {
            self.drop_below(pid, now, seen);
        }
    }

    /// The return address is in a register: what is below on the same stack is over.
    pub(in crate::trace) fn drop_below(&mut self, pid: Pid, now: Key, seen: u64) {
        let maps = procfs::maps(pid).ok();
        let stack =
            maps.and_then(|maps| maps.into_iter().find(|m| m.start <= now.sp && now.sp < m.end));
        let dead = self.teller.frames.sweep(now.space, |key| {
            stack.as_ref().is_some_and(|stack| stack.start <= key.sp && key.sp < now.sp)
        });
        self.teller.end_unwound(dead, seen);
    }
}
