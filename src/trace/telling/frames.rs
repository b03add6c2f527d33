//! Calls that have not returned.

use crate::engine::RowId;
use crate::spec::Condition;
use crate::trace::Value;
use crate::trace::rows::consumer::Resolver;
use crate::trace::telling::names::Who;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use xol_arch::Addr;
use xol_targets::ptrace::{SpaceId, Tid};

/// Frames that are waited for at most, in all.
const MOST: usize = 1 << 20;
/// As many may wait before those that cannot return any more are looked for.
const MANY: usize = 1 << 16;

/// Calls with one and the same key: tail calls without an end are cut off here.
const DEEP: usize = 1 << 10;

/// What a return is waited for.
#[derive(Clone, Debug)]
pub(in crate::trace) enum Expect {
    /// This row counts it.
    Row(RowId, Entry),
    /// It says what an IFUNC stands for.
    Resolver(Rc<Resolver>),
}

impl Expect {
    fn is_of(&self, row: RowId) -> bool {
        matches!(self, Expect::Row(r, _) if *r == row)
    }
}

/// What is kept of the entry until the end.
#[derive(Clone, Debug)]
pub(in crate::trace) struct Entry {
    /// The call's number; a number of its own for each call that is told of.
    pub(in crate::trace) call: u64,
    /// The thread that has made it.
    pub(in crate::trace) who: Who,
    pub(in crate::trace) ts_ns: u64,
    pub(in crate::trace) args: Vec<Value>,
    /// What of the filter is left to be seen at the end; the call is told of then.
    pub(in crate::trace) rest: Option<Arc<Condition>>,
    /// How long its thread had waited for room in a ring, in ns.
    pub(in crate::trace) waited: u64,
    /// Whether records may be missing since: the next return with this key may be that of a later
    /// call.
    pub(in crate::trace) doubtful: bool,
}

/// Names a call: no two that are both under way have the same, but for tail calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::trace) struct Key {
    /// The address space.
    pub(in crate::trace) space: SpaceId,
    /// 0, or the goroutine: its stack may be moved.
    pub(in crate::trace) goroutine: Addr,
    /// The stack pointer behind the return; of a goroutine, less the end of its stack.
    pub(in crate::trace) sp: Addr,
    /// The return address.
    pub(in crate::trace) back: Addr,
}

/// One call.
#[derive(Clone, Debug)]
pub(in crate::trace) struct Frame {
    pub(in crate::trace) expect: Expect,
    /// Whether coming to the return address ends it. If not, only a RET does.
    pub(in crate::trace) awaited: bool,
    /// Whether it was left by a tail call: a later call with the same key does not replace it.
    pub(in crate::trace) left: bool,
    /// Whether its thread was seen further up the stack since: unless it has changed stacks, the
    /// call cannot return.
    pub(in crate::trace) passed: bool,
}

impl Frame {
    /// A call that has just been made.
    pub(in crate::trace) fn new(expect: Expect, awaited: bool) -> Frame {
        Frame { expect, awaited, left: false, passed: false }
    }

    /// What was kept of its entry, with the row that it is of.
    pub(in crate::trace) fn entry(self) -> Option<(RowId, Entry)> {
        match self.expect {
            Expect::Row(row, entry) => Some((row, entry)),
            Expect::Resolver(_) => None,
        }
    }

    fn is_by(&self, who: Who) -> bool {
        matches!(&self.expect, Expect::Row(_, entry) if entry.who == who)
    }
}

/// What became of a call that was to be remembered.
#[derive(Debug)]
pub(in crate::trace) enum Added {
    /// It is.
    Alone,
    /// It is, in the place of one with the same key, which never returned.
    For(Frame),
    /// It goes on: Go's code begins a function again when it has made room on the stack.
    Again,
    /// There is no room.
    No,
}

/// The calls that have not returned. They belong to stacks, not to threads.
#[derive(Debug)]
pub(in crate::trace) struct Frames {
    waiting: BTreeMap<Key, Vec<Frame>>,
    count: usize,
    limit: usize,
    /// The calls that a thread has made and not returned from, the last one last; some of them may
    /// be over.
    made: FxHashMap<Who, Vec<Key>>,
    /// Those that it was seen further up the stack of: they are over, unless it has changed stacks.
    passed: FxHashMap<Who, Vec<Key>>,
}

impl Default for Frames {
    fn default() -> Frames {
        Frames {
            waiting: BTreeMap::new(),
            count: 0,
            limit: MANY,
            made: FxHashMap::default(),
            passed: FxHashMap::default(),
        }
    }
}

impl Frames {
    /// Whether to look for frames that cannot return any more.
    pub(in crate::trace) fn is_crowded(&self) -> bool {
        self.count >= self.limit
    }

    /// Adds one.
    pub(in crate::trace) fn add(&mut self, key: Key, frame: Frame) -> Added {
        if self.count >= MOST {
            return Added::No;
        }
        let all = self.waiting.entry(key).or_default();
        if all.len() >= DEEP {
            return Added::No;
        }
        // Go makes no tail calls; it jumps back to a function's beginning when its stack was moved.
        let go = key.goroutine != Addr(0);
        let mut before = None;
        if let Expect::Row(row, entry) = &frame.expect
            && let Some(i) = all.iter().position(|f| f.expect.is_of(*row) && (go || !f.left))
        {
            if go && matches!(&all[i].expect, Expect::Row(_, was) if was.args == entry.args) {
                return Added::Again;
            }
            // The same frame again: the call before it never returned (longjmp, unwinding).
            before = Some(all.remove(i));
            self.count -= 1;
        }
        all.push(frame);
        self.count += 1;
        before.map_or(Added::Alone, Added::For)
    }

    /// A thread has made a call. Those that it has made before further down the stack are passed.
    pub(in crate::trace) fn begins(&mut self, who: Who, key: Key) {
        self.pass(who, key);
        let Frames { made, waiting, .. } = self;
        let made = made.entry(who).or_default();
        made.pop_if(|last| *last == key);
        if made.len() >= MANY {
            made.retain(|key| waiting.contains_key(key));
        }
        made.push(key);
    }

    /// A thread has returned from a call.
    pub(in crate::trace) fn ends(&mut self, who: Who, key: Key) {
        self.pass(who, key);
        for all in [&mut self.made, &mut self.passed] {
            let Some(all) = all.get_mut(&who) else { continue };
            if let Some(i) = all.iter().rposition(|made| *made == key) {
                all.remove(i);
            }
        }
    }

    /// A thread was seen at `now`. The calls that it has made before further down the stack are passed.
    fn pass(&mut self, who: Who, now: Key) {
        let Some(made) = self.made.get_mut(&who) else { return };
        while let Some(key) = made.pop_if(|key| is_below(key, &now)) {
            let frames = self.waiting.get_mut(&key).into_iter().flatten();
            let mut waiting = false;
            for frame in frames.filter(|frame| frame.is_by(who)) {
                (frame.passed, waiting) = (true, true);
            }
            let passed = self.passed.entry(who).or_default();
            if waiting && passed.len() < MANY {
                passed.push(key);
            }
        }
    }

    /// Takes the calls of a thread that are over because it makes another one of `row`, whose return address
    /// is where theirs was; and the calls that were made inside them.
    pub(in crate::trace) fn take_replaced(
        &mut self,
        who: Who,
        now: Key,
        row: RowId,
    ) -> Vec<(Key, Frame)> {
        if now.goroutine != Addr(0) {
            return Vec::new();
        }
        // From the same place, a call of another row may be the same call.
        let mut same = self.waiting.get(&now).into_iter().flatten();
        let again = same.any(|f| f.expect.is_of(row) && f.is_by(who) && !f.left);
        let replaced =
            |key: &Key| Key { back: key.back, ..now } == *key && (again || key.back != now.back);
        let mut over = Vec::new();
        let mut first = None;
        if let Some(made) = self.made.get_mut(&who)
            && let Some(i) = made.iter().rposition(replaced)
        {
            let outer = *first.insert(made[i]);
            over.extend(made.extract_if(i.., |key| *key == outer || is_below(key, &outer)));
        }
        if let Some(passed) = self.passed.get_mut(&who) {
            let inside = |key: &Key| first.is_some_and(|outer| is_below(key, &outer));
            over.extend(passed.extract_if(.., |key| replaced(key) || inside(key)));
        }
        self.take_made(who, &over)
    }

    fn take_made(&mut self, who: Who, keys: &[Key]) -> Vec<(Key, Frame)> {
        let taken = keys.iter().flat_map(|&key| {
            let frames = self.remove(key, |frame| frame.is_by(who));
            frames.into_iter().map(move |frame| (key, frame))
        });
        taken.collect()
    }

    /// Takes the frames that coming to the return address ends, the last first.
    pub(in crate::trace) fn take_awaited(&mut self, key: Key) -> Vec<Expect> {
        let mut taken = self.remove(key, |frame| frame.awaited);
        taken.reverse();
        taken.into_iter().map(|frame| frame.expect).collect()
    }

    /// Takes the last frame of `row`.
    pub(in crate::trace) fn take_last(&mut self, key: Key, row: RowId) -> Option<Entry> {
        let all = self.waiting.get_mut(&key)?;
        let i = all.iter().rposition(|f| f.expect.is_of(row))?;
        let frame = all.remove(i);
        if all.is_empty() {
            self.waiting.remove(&key);
        }
        self.count -= 1;
        frame.entry().map(|(_, entry)| entry)
    }

    /// Has coming to their return addresses end the calls of a row that are under way; returns those.
    pub(in crate::trace) fn await_all(&mut self, space: SpaceId, row: RowId) -> Vec<Addr> {
        let mut backs = Vec::new();
        for (key, all) in self.waiting.iter_mut().filter(|(key, _)| key.space == space) {
            for frame in all.iter_mut().filter(|frame| frame.expect.is_of(row)) {
                frame.awaited = true;
                backs.push(key.back);
            }
        }
        backs.sort_unstable();
        backs.dedup();
        backs
    }

    /// Takes the calls that were left by a tail call and cannot return: the same call is made again.
    pub(in crate::trace) fn take_left(&mut self, key: Key) -> Vec<Frame> {
        self.remove(key, |frame| frame.left)
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
    pub(in crate::trace) fn last_mut(&mut self, key: Key, row: RowId) -> Option<&mut Frame> {
        self.waiting.get_mut(&key)?.iter_mut().rfind(|f| f.expect.is_of(row))
    }

    /// Exchanges the arguments of the last frame of `row`.
    pub(in crate::trace) fn swap_args(
        &mut self,
        key: Key,
        row: RowId,
        args: Vec<Value>,
    ) -> Vec<Value> {
        match self.last_mut(key, row).map(|frame| &mut frame.expect) {
            Some(Expect::Row(_, entry)) => std::mem::replace(&mut entry.args, args),
            _ => Vec::new(),
        }
    }

    /// The innermost frame of `row` that a thread with stack pointer `key.sp` may be in.
    pub(in crate::trace) fn innermost(&self, key: Key, row: RowId) -> Option<Key> {
        // Deeper stacks have more frames of other rows between; beyond that, none is found.
        const LOOK: usize = 4096;
        let above = self.waiting.range(Key { back: Addr(0), ..key }..).take(LOOK);
        let stack = (key.space, key.goroutine);
        let mut here = above.take_while(|(k, _)| (k.space, k.goroutine) == stack);
        here.find(|(_, all)| all.iter().any(|f| f.expect.is_of(row))).map(|(k, _)| *k)
    }

    /// The frames of a space, but for those of goroutines, and when the last call with each key was made.
    pub(in crate::trace) fn of(&self, space: SpaceId) -> impl Iterator<Item = (Key, u64)> {
        let stack = (space, Addr(0));
        let from = Key { space, goroutine: Addr(0), sp: Addr(0), back: Addr(0) };
        let here = self.waiting.range(from..);
        let here = here.take_while(move |(key, _)| (key.space, key.goroutine) == stack);
        here.map(|(key, all)| {
            let made = all.iter().map(|frame| match &frame.expect {
                Expect::Row(_, entry) => entry.ts_ns,
                Expect::Resolver(_) => u64::MAX,
            });
            (*key, made.max().unwrap_or(0))
        })
    }

    /// Takes the frames of a space for which `dead` says so, but for those of goroutines.
    pub(in crate::trace) fn sweep(
        &mut self,
        space: SpaceId,
        mut dead: impl FnMut(&Key) -> bool,
    ) -> Vec<(Key, Frame)> {
        let stack = (space, Addr(0));
        let dead = self.take_if(|key, _| (key.space, key.goroutine) == stack && dead(key));
        self.limit = (self.count * 2).clamp(MANY, MOST);
        dead
    }

    /// Takes the frames for which `which` says so.
    pub(in crate::trace) fn take_if(
        &mut self,
        mut which: impl FnMut(&Key, &Frame) -> bool,
    ) -> Vec<(Key, Frame)> {
        let mut taken = Vec::new();
        self.waiting.retain(|key, all| {
            taken.extend(all.extract_if(.., |frame| which(key, frame)).map(|f| (*key, f)));
            !all.is_empty()
        });
        self.count -= taken.len();
        taken
    }

    /// Records of threads of a space are missing: what is known of their calls may be of others.
    pub(in crate::trace) fn doubt(&mut self, space: SpaceId, whose: impl Fn(Who) -> bool) {
        for (_, frames) in self.waiting.iter_mut().filter(|(key, _)| key.space == space) {
            for frame in frames {
                if let Expect::Row(_, entry) = &mut frame.expect {
                    entry.doubtful |= whose(entry.who);
                }
            }
        }
    }

    /// Takes the frames of a space.
    pub(in crate::trace) fn take_space(&mut self, space: SpaceId) -> Vec<(Key, Frame)> {
        self.take_if(|key, _| key.space == space)
    }

    /// Takes the frames of a thread that is gone, but for those of goroutines, which others go on
    /// with.
    pub(in crate::trace) fn take_thread(&mut self, who: Who) -> Vec<(Key, Frame)> {
        self.passed.remove(&who);
        match self.made.remove(&who) {
            Some(_) => self.take_if(|key, frame| key.goroutine == Addr(0) && frame.is_by(who)),
            None => Vec::new(),
        }
    }

    /// Gives a forked process the calls of its parent, with numbers from `call` on: its one thread
    /// returns from those that the parent's had made, and nobody from the others. Returns how many
    /// there are.
    pub(in crate::trace) fn fork_space(
        &mut self,
        from: SpaceId,
        to: SpaceId,
        (parent, child): (Who, Who),
        call: u64,
    ) -> u64 {
        let of_parent = self.waiting.iter().filter(|(key, _)| key.space == from);
        let mut copies: Vec<(Key, Vec<Frame>)> =
            of_parent.map(|(key, all)| (Key { space: to, ..*key }, all.clone())).collect();
        let mut next = call;
        for frame in copies.iter_mut().flat_map(|(_, all)| all) {
            if let Expect::Row(_, entry) = &mut frame.expect {
                entry.who = if entry.who == parent { child } else { (child.0, Tid(0)) };
                entry.call = next;
                next += 1;
            }
        }
        self.waiting.extend(copies);
        self.recount();
        let of_parent = self.made.get(&parent).into_iter().flatten();
        let made = of_parent.map(|key| Key { space: to, ..*key }).collect();
        self.made.insert(child, made);
        next - call
    }

    fn recount(&mut self) {
        self.count = self.waiting.values().map(Vec::len).sum();
    }
}

/// Whether a call is further down the stack than another. A thread's stack is no bigger; another one may be
/// further away.
fn is_below(key: &Key, now: &Key) -> bool {
    const STACK: u64 = 8 << 20;
    (key.space, key.goroutine) == (now.space, now.goroutine)
        && key.sp < now.sp
        && now.sp.0 - key.sp.0 < STACK
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
