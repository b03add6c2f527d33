//! Calls that have not returned.

use super::Value;
use super::consumer::Resolver;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use xol_arch::Addr;
use xol_targets::ptrace::SpaceId;

/// Frames that are waited for at most, in all.
const MOST: usize = 1 << 20;
/// As many may wait before those that cannot return any more are looked for.
const MANY: usize = 1 << 16;

/// Calls with one and the same key: tail calls without an end are cut off here.
const DEEP: usize = 1 << 10;

/// What a return is waited for.
#[derive(Clone, Debug)]
pub(super) enum Expect {
    /// This row counts it.
    Row(u32, Entry),
    /// It says what an IFUNC stands for.
    Resolver(Rc<Resolver>),
}

impl Expect {
    fn is_of(&self, row: u32) -> bool {
        matches!(self, Expect::Row(r, _) if *r == row)
    }
}

/// What is kept of the entry until the return.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) ts_ns: u64,
    pub(super) args: Vec<Value>,
}

/// Names a call: no two that are both under way have the same, but for tail calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    /// The address space.
    pub(super) space: SpaceId,
    /// The stack pointer behind the return.
    pub(super) sp: Addr,
    /// The return address.
    pub(super) back: Addr,
}

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) expect: Expect,
    /// Whether coming to the return address ends it. If not, only a RET does.
    pub(super) awaited: bool,
    /// Whether it was left by a tail call: a later call with the same key does not replace it.
    pub(super) left: bool,
}

/// The calls that have not returned. They belong to stacks, not to threads.
#[derive(Debug)]
pub(super) struct Frames {
    waiting: BTreeMap<Key, Vec<Frame>>,
    count: usize,
    limit: usize,
    /// For each row the consumers of its exits: RETs, jumps that may leave.
    pub(super) exits: HashMap<u32, [u32; 2]>,
}

impl Default for Frames {
    fn default() -> Frames {
        Frames { waiting: BTreeMap::new(), count: 0, limit: MANY, exits: HashMap::new() }
    }
}

impl Frames {
    /// Whether to look for frames that cannot return any more.
    pub(super) fn is_crowded(&self) -> bool {
        self.count >= self.limit
    }

    /// Adds one; `false` if there is no room.
    pub(super) fn add(&mut self, key: Key, frame: Frame) -> bool {
        if self.count >= MOST {
            return false;
        }
        let all = self.waiting.entry(key).or_default();
        if all.len() >= DEEP {
            return false;
        }
        if let Expect::Row(row, _) = frame.expect
            && let Some(i) = all.iter().position(|f| f.expect.is_of(row) && !f.left)
        {
            // The same frame again: the call before it never returned (longjmp, unwinding).
            all.remove(i);
            self.count -= 1;
        }
        all.push(frame);
        self.count += 1;
        true
    }

    /// Takes the frames that coming to the return address ends, the last first.
    pub(super) fn take_awaited(&mut self, key: Key) -> Vec<Expect> {
        let mut taken = self.remove(key, |frame| frame.awaited);
        taken.reverse();
        taken.into_iter().map(|frame| frame.expect).collect()
    }

    /// Takes the last frame of `row`.
    pub(super) fn take_last(&mut self, key: Key, row: u32) -> Option<Entry> {
        let all = self.waiting.get_mut(&key)?;
        let i = all.iter().rposition(|f| f.expect.is_of(row))?;
        let frame = all.remove(i);
        if all.is_empty() {
            self.waiting.remove(&key);
        }
        self.count -= 1;
        match frame.expect {
            Expect::Row(_, entry) => Some(entry),
            Expect::Resolver(_) => None,
        }
    }

    /// Drops calls that were left by a tail call and cannot return: the same call is made again.
    pub(super) fn drop_left(&mut self, key: Key) {
        self.remove(key, |frame| frame.left);
    }

    fn remove(&mut self, key: Key, which: impl Fn(&Frame) -> bool) -> Vec<Frame> {
        let Some(all) = self.waiting.get_mut(&key) else { return Vec::new() };
        let (taken, kept) = std::mem::take(all).into_iter().partition::<Vec<_>, _>(|f| which(f));
        self.count -= taken.len();
        if kept.is_empty() {
            self.waiting.remove(&key);
        } else {
            *all = kept;
        }
        taken
    }

    /// The last frame of `row` with this key.
    pub(super) fn last_mut(&mut self, key: Key, row: u32) -> Option<&mut Frame> {
        self.waiting.get_mut(&key)?.iter_mut().rfind(|f| f.expect.is_of(row))
    }

    /// The innermost frame of `row` that a thread with stack pointer `key.sp` may be in.
    pub(super) fn innermost(&self, key: Key, row: u32) -> Option<Key> {
        // Deeper stacks have more frames of other rows between; beyond that, none is found.
        const LOOK: usize = 4096;
        let above = self.waiting.range(Key { back: Addr(0), ..key }..).take(LOOK);
        let mut here = above.take_while(|(k, _)| k.space == key.space);
        here.find(|(_, all)| all.iter().any(|f| f.expect.is_of(row))).map(|(k, _)| *k)
    }

    /// The frames of a space, and when the last call with each key was made.
    pub(super) fn of(&self, space: SpaceId) -> impl Iterator<Item = (Key, u64)> {
        let from = Key { space, sp: Addr(0), back: Addr(0) };
        let here = self.waiting.range(from..).take_while(move |(key, _)| key.space == space);
        here.map(|(key, all)| {
            let made = all.iter().map(|frame| match &frame.expect {
                Expect::Row(_, entry) => entry.ts_ns,
                Expect::Resolver(_) => u64::MAX,
            });
            (*key, made.max().unwrap_or(0))
        })
    }

    /// Drops the frames of a space for which `dead` says so.
    pub(super) fn sweep(&mut self, space: SpaceId, mut dead: impl FnMut(&Key) -> bool) {
        self.waiting.retain(|key, _| key.space != space || !dead(key));
        self.recount();
        self.limit = (self.count * 2).clamp(MANY, MOST);
    }

    pub(super) fn forget_space(&mut self, space: SpaceId) {
        self.waiting.retain(|key, _| key.space != space);
        self.recount();
    }

    pub(super) fn fork_space(&mut self, from: SpaceId, to: SpaceId) {
        let of_parent = self.waiting.iter().filter(|(key, _)| key.space == from);
        let copies: Vec<_> =
            of_parent.map(|(key, all)| (Key { space: to, ..*key }, all.clone())).collect();
        self.waiting.extend(copies);
        self.recount();
    }

    fn recount(&mut self) {
        self.count = self.waiting.values().map(Vec::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(sp: u64, back: u64) -> Key {
        Key { space: SpaceId(1), sp: Addr(sp), back: Addr(back) }
    }

    fn frame(row: u32, ts_ns: u64) -> Frame {
        let expect = Expect::Row(row, Entry { ts_ns, args: Vec::new() });
        Frame { expect, awaited: false, left: false }
    }

    #[test]
    fn the_same_call_again_replaces_one_that_never_returned() {
        let mut frames = Frames::default();
        assert!(frames.add(key(0x1000, 7), frame(0, 1)));
        assert!(frames.add(key(0x1000, 7), frame(0, 2)));
        assert_eq!(frames.count, 1);
        assert_eq!(frames.take_last(key(0x1000, 7), 0).map(|e| e.ts_ns), Some(2));
        assert!(frames.take_last(key(0x1000, 7), 0).is_none());
        assert_eq!(frames.count, 0);
    }

    #[test]
    fn a_tail_call_does_not() {
        let mut frames = Frames::default();
        assert!(frames.add(key(0x1000, 7), frame(0, 1)));
        let last = frames.last_mut(key(0x1000, 7), 0).expect("it was added");
        (last.awaited, last.left) = (true, true);
        assert!(frames.add(key(0x1000, 7), frame(0, 2)));
        assert_eq!(frames.take_last(key(0x1000, 7), 0).map(|e| e.ts_ns), Some(2));
        assert_eq!(frames.take_awaited(key(0x1000, 7)).len(), 1);
        assert_eq!(frames.count, 0);
    }

    #[test]
    fn a_return_address_ends_what_is_awaited() {
        let mut frames = Frames::default();
        assert!(frames.add(key(0x1000, 7), frame(0, 1)));
        assert!(frames.add(key(0x1000, 7), Frame { awaited: true, ..frame(1, 2) }));
        assert_eq!(frames.take_awaited(key(0x1000, 7)).len(), 1);
        assert!(frames.last_mut(key(0x1000, 7), 0).is_some());
        assert_eq!(frames.count, 1);
    }

    #[test]
    fn the_innermost_frame_is_the_next_one_up_the_stack() {
        let mut frames = Frames::default();
        for (row, sp) in [(0, 0x1000), (1, 0x1100), (0, 0x2000)] {
            assert!(frames.add(key(sp, 7), frame(row, sp)));
        }
        assert_eq!(frames.innermost(key(0x1000, 9), 0), Some(key(0x1000, 7)));
        assert_eq!(frames.innermost(key(0x1001, 9), 0), Some(key(0x2000, 7)));
        assert_eq!(frames.innermost(key(0x1101, 9), 1), None);
        let other = Key { space: SpaceId(0), ..key(0, 0) };
        assert_eq!(frames.innermost(other, 0), None);
    }

    #[test]
    fn a_forked_space_has_the_same_frames() {
        let mut frames = Frames::default();
        assert!(frames.add(key(0x1000, 7), frame(0, 1)));
        frames.fork_space(SpaceId(1), SpaceId(2));
        assert_eq!(frames.count, 2);
        frames.sweep(SpaceId(1), |_| true);
        assert_eq!(frames.count, 1);
        assert!(frames.take_last(Key { space: SpaceId(2), ..key(0x1000, 7) }, 0).is_some());
    }

    #[test]
    fn there_is_a_limit() {
        let mut frames = Frames { count: MOST, ..Frames::default() };
        assert!(frames.is_crowded());
        assert!(!frames.add(key(0x1000, 7), frame(0, 1)));
        let mut frames = Frames::default();
        let left = || Frame { awaited: true, left: true, ..frame(0, 1) };
        assert!((0..DEEP).all(|_| frames.add(key(0x1000, 7), left())));
        assert!(!frames.add(key(0x1000, 7), left()));
        frames.drop_left(key(0x1000, 7));
        assert_eq!(frames.count, 0);
    }
}
