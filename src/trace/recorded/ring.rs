//! What trampolines have noted down, read: in the order of its time, and before a trap of the
//! same thread is dealt with.
//!
//! A ring is near the code that writes to it, so a space has several. Within one shard a thread's
//! records are in order; over several rings their times say the order. What is younger than the
//! moment at which the reading began waits for the next one: of two records of a thread, the older
//! may still be missing.
//!
//! Rings are read from a timer (each millisecond while records come, else each eighth), at the end,
//! and before an event of a thread is dealt with. While the reader has much to read it leaves the
//! processor of the traced thread. The memory of a dead program is read to its end.

use crate::engine::RecorderId;
use crate::engine::{Note, Pending, Reader};
use crate::trace::session::Session;
use crate::trace::space::borrow::PATIENCE;
use crate::trace::telling::clock::Clock;
use crate::trace::telling::names::{Names, Who};
use rustc_hash::FxHashMap;
use std::io;
use std::ops::Range;
use std::sync::OnceLock;
use std::time::Duration;
use xol_arch::jump::Shape;
use xol_targets::native;
use xol_targets::ptrace::procfs::{Whereabouts, whereabouts};
use xol_targets::ptrace::{Area, Pid, SpaceId, Thread, Tid, procfs, tracer};
use xol_targets::shared::Shared;

/// How far records of one thread may be seen in another order than they were written, in ns:
/// what a processor holds back in its store buffer, generously.
pub(in crate::trace) const APART: u64 = 3_000;
/// How often a ring is read: while records come, and when none does. At a million a second a shard
/// is full in 16 ms.
const BUSY: Duration = Duration::from_millis(1);
const IDLE: Duration = Duration::from_millis(8);

/// All rings of a run.
#[derive(Debug, Default)]
pub(in crate::trace) struct Rings {
    pub(in crate::trace) all: FxHashMap<SpaceId, Vec<Ring>>,
    names: FxHashMap<SpaceId, Names>,
    clock: Clock,
    /// Read, and not told yet.
    held: Vec<Held>,
    /// Room for as many.
    spare: Vec<Held>,
    /// The time of the newest record that was told, in ns.
    newest: u64,
    /// How often they are read now; nothing is read where there is no ring.
    period: Duration,
    /// The record that was waited for in vain.
    pub(in crate::trace) waited: Option<(SpaceId, Area, Pending)>,
}

#[derive(Debug)]
pub(in crate::trace) struct Ring {
    pub(in crate::trace) area: Area,
    pub(in crate::trace) reader: Reader<Shared>,
    /// The record that a shard waits for, and since which tick.
    pending: Option<(Pending, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    space: SpaceId,
    note: Note,
}

/// The shape of every ring: a shard for each processor, up to eight of them; 4 MiB, or 8. It is
/// asked once: where the tracer follows a thread, it has one processor itself.
pub(in crate::trace) fn shape() -> Shape {
    static SHAPE: OnceLock<Shape> = OnceLock::new();
    *SHAPE.get_or_init(|| {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = processors.next_power_of_two().trailing_zeros().min(3) as u8;
        let slots = if shards > 1 { 13 } else { 14 };
        Shape::new(shards, slots).unwrap_or_else(|| unreachable!("within the bounds of a shape"))
    })
}

impl Rings {
    pub(in crate::trace) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The time of the newest record that was told, in ns of CLOCK_MONOTONIC.
    pub(in crate::trace) fn newest(&self) -> u64 {
        self.newest
    }

    /// Adds a ring, which is empty.
    pub(in crate::trace) fn add(&mut self, space: SpaceId, area: Area, shared: Shared) {
        if let Some(reader) = Reader::new(shared, shape()) {
            self.clock.mark(native::ticks, tracer::now_ns);
            self.all.entry(space).or_default().push(Ring { area, reader, pending: None });
        }
    }

    /// The rings of a space.
    pub(in crate::trace) fn areas(&self, space: SpaceId) -> impl Iterator<Item = Area> {
        self.all.get(&space).into_iter().flatten().map(|ring| ring.area)
    }

    /// Reads what is committed; how much there was.
    pub(in crate::trace) fn read(&mut self) -> usize {
        let Rings { all, held, .. } = self;
        let before = held.len();
        for (&space, rings) in all.iter_mut() {
            for ring in rings {
                let most = ring.reader.shape().slots() as usize;
                ring.reader.read(most, &mut |note| held.push(Held { space, note: *note }));
            }
        }
        held.len() - before
    }

    /// Takes out what is to be told now: what is older than `until`, and all that `first` wrote.
    fn take(&mut self, until: u64, first: Option<(SpaceId, u64)>) -> Vec<Held> {
        let mut now = std::mem::replace(&mut self.held, std::mem::take(&mut self.spare));
        let is_first = |held: &Held| first == Some((held.space, held.note.thread));
        self.held.extend(now.extract_if(.., |h| h.note.time > until && !is_first(h)));
        // Those of one thread are in order.
        if !now.is_sorted_by_key(|held| held.note.time) {
            now.sort_by_key(|held| held.note.time);
        }
        now
    }

    /// Gives back what was told.
    fn told(&mut self, mut notes: Vec<Held>) {
        notes.clear();
        self.spare = notes;
    }

    /// Gives up records whose writers are gone: no thread that was there when they were first seen
    /// is left which may have begun them (RULES G4).
    fn pass_over(&mut self, lives: impl Fn(SpaceId, &dyn Fn(u64) -> bool, u64) -> bool) {
        let now = native::ticks();
        for (&space, rings) in &mut self.all {
            for ring in rings {
                let pending = ring.reader.pending(0);
                let since = ring.pending.filter(|&(p, _)| Some(p) == pending).map(|(_, s)| s);
                ring.pending = pending.map(|p| (p, since.unwrap_or(now)));
                let (Some(pending), Some(since)) = (pending, since) else { continue };
                let shape = ring.reader.shape();
                let in_shard = |pointer: u64| shape.shard_of(pointer) as usize == pending.shard;
                if !lives(space, &in_shard, since) {
                    ring.reader.pass_over(pending);
                }
            }
        }
    }
}

impl Session<'_> {
    /// Tells of what was noted down. Before an event of a thread that has stopped, all that it has
    /// written is told.
    pub(in crate::trace) fn drain(&mut self, stopped: Option<Tid>) -> io::Result<usize> {
        if !cfg!(feature = "jump") {
            return Ok(0);
        }
        // Where they are read right now, nothing can be said of what is in them.
        if self.rings.is_empty() {
            return Ok(0);
        }
        let count = self.drain_until(stopped, None)?;
        self.sweep_noted()?;
        Ok(count)
    }

    /// Tells of all that was noted down, whatever may be missing yet.
    pub(in crate::trace) fn drain_all(&mut self) -> io::Result<usize> {
        if !cfg!(feature = "jump") {
            return Ok(0);
        }
        self.drain_until(None, Some(u64::MAX))
    }

    fn drain_until(&mut self, stopped: Option<Tid>, until: Option<u64>) -> io::Result<usize> {
        if self.rings.is_empty() {
            return Ok(0);
        }
        // Whatever is done meanwhile finds no rings.
        let mut rings = std::mem::take(&mut self.rings);
        let result = self.drain_of(&mut rings, stopped, until);
        self.rings = rings;
        result
    }

    fn drain_of(
        &mut self,
        rings: &mut Rings,
        stopped: Option<Tid>,
        until: Option<u64>,
    ) -> io::Result<usize> {
        let now = native::ticks();
        let mut count = rings.read();
        let mut first = None;
        if let Some(tid) = stopped
            && let Some(space) = self.target.space_of(tid)
            && rings.all.contains_key(&space)
            && let Some(pointer) = self.pointer_of(rings, space, tid)
        {
            first = Some((space, pointer));
            count += self.await_records(rings, tid, space, pointer)?;
        }
        self.tell_due(rings, now, first, until);
        Ok(count)
    }

    /// Tells of what was read by the tick `now`, and is old enough; and of all that `first` wrote.
    fn tell_due(
        &mut self,
        rings: &mut Rings,
        now: u64,
        first: Option<(SpaceId, u64)>,
        until: Option<u64>,
    ) {
        if rings.held.is_empty() {
            return;
        }
        rings.clock.mark(native::ticks, tracer::now_ns);
        let before = now.saturating_sub(rings.clock.ticks_in(APART));
        let notes = rings.take(until.unwrap_or(before), first);
        self.tell_notes(rings, &notes);
        rings.told(notes);
    }

    fn tell_notes(&mut self, rings: &mut Rings, notes: &[Held]) {
        // Whose the last one was, and between which ticks that holds.
        let mut last: Option<(SpaceId, u64, Who, Range<u64>)> = None;
        for Held { space, note } in notes {
            // Where threads wait for room, nothing is missing there.
            if note.after_gap && self.teller.rows.missed_records() > 0 {
                let names = rings.names.get(space);
                let shard = shape().shard_of(note.thread);
                self.teller.frames.doubt(*space, |who| {
                    let pointer = names.and_then(|names| names.pointer(who.1));
                    pointer.is_none_or(|pointer| shape().shard_of(pointer) == shard)
                });
            }
            if note.recorder == RecorderId::EMPTY {
                continue;
            }
            let who = match &last {
                Some((of, thread, who, ticks))
                    if (of, *thread) == (space, note.thread) && ticks.contains(&note.time) =>
                {
                    *who
                }
                _ => {
                    let who = self.who(rings, *space, note);
                    let names = rings.names.get(space);
                    let held = names.and_then(|names| names.holder(note.thread, note.time));
                    last = held.map(|(who, ticks)| (*space, note.thread, who, ticks));
                    who
                }
            };
            let ts_ns = rings.clock.ns(note.time);
            self.teller.waits.end(who.1, ts_ns, |tick| rings.clock.ns(tick));
            rings.newest = rings.newest.max(ts_ns);
            self.teller.tell_note(*space, note, who, ts_ns);
            if let Some((pid, key, seen)) = self.teller.crowded.take() {
                self.drop_dead_noted(pid, key, seen);
            }
        }
    }

    /// The thread that wrote a record.
    fn who(&mut self, rings: &mut Rings, space: SpaceId, note: &Note) -> Who {
        let names = rings.names.entry(space).or_default();
        if let Some(who) = names.who(note.thread, note.time) {
            return who;
        }
        let found = self.find_thread(rings, space, note.thread);
        let names = rings.names.entry(space).or_default();
        let pid = self.target.space(space).map_or(Pid(0), |space| space.pid);
        let who = found.or_else(|| names.take_lost()).unwrap_or((pid, Tid(pid.0)));
        names.begin(note.thread, note.time, who);
        who
    }

    fn threads_of(&self, space: SpaceId) -> Vec<Who> {
        let of_space = |t: &&Thread| self.target.space_of(t.tid) == Some(space);
        self.target.threads().filter(of_space).map(|t| (t.pid, t.tid)).collect()
    }

    /// The thread of a space that has this thread pointer: one that was never seen stopped since
    /// it has a pointer. Alone, it is the only one; else it is looked.
    fn find_thread(&mut self, rings: &mut Rings, space: SpaceId, pointer: u64) -> Option<Who> {
        let names = rings.names.entry(space).or_default();
        let all = self.threads_of(space);
        if let [one] = all[..] {
            return Some(one);
        }
        let mut unknown: Vec<Who> =
            all.iter().copied().filter(|who| names.pointer(who.1).is_none()).collect();
        if let [one] = unknown[..] {
            return Some(one);
        }
        if unknown.is_empty() {
            // Somebody has given itself another one.
            unknown = all;
        }
        // It has just run: those that do come first.
        unknown.sort_unstable_by_key(|who| !matches!(whereabouts(who.1), Whereabouts::Running));
        for who in unknown {
            let Ok(ours) = self.target.stop(who.1, PATIENCE) else { continue };
            let has = self.target.thread_pointer(who.1);
            if ours && self.give_back(who.1).is_err() {
                continue;
            }
            let Ok(has) = has else { continue };
            rings.names.entry(space).or_default().begin(has, 0, who);
            if has == pointer {
                return Some(who);
            }
        }
        None
    }

    fn pointer_of(&mut self, rings: &mut Rings, space: SpaceId, tid: Tid) -> Option<u64> {
        let names = rings.names.entry(space).or_default();
        if let Some(pointer) = names.pointer(tid) {
            return Some(pointer);
        }
        let pid = self.target.thread(tid)?.pid;
        let pointer = self.target.thread_pointer(tid).ok()?;
        if names.who(pointer, u64::MAX) != Some((pid, tid)) {
            names.begin(pointer, 0, (pid, tid));
        }
        Some(pointer)
    }

    /// Notes the thread pointer of a stopped thread, which is its own from now on.
    pub(in crate::trace) fn name_thread(&mut self, tid: Tid) {
        if !cfg!(feature = "jump") {
            return;
        }
        let (Some(space), Some(pid)) =
            (self.target.space_of(tid), self.target.thread(tid).map(|t| t.pid))
        else {
            return;
        };
        if self.rings.all.contains_key(&space)
            && let Ok(pointer) = self.target.thread_pointer(tid)
        {
            let names = self.rings.names.entry(space).or_default();
            names.begin(pointer, native::ticks(), (pid, tid));
        }
    }

    /// Names those threads that are stopped when a space gets its first ring.
    pub(in crate::trace) fn name_all(&mut self, space: SpaceId) {
        let all = self.threads_of(space);
        let names = self.rings.names.entry(space).or_default();
        for who in all {
            names.there_is(who.1);
            if names.pointer(who.1).is_none()
                && self.target.is_stopped(who.1)
                && let Ok(pointer) = self.target.thread_pointer(who.1)
            {
                names.begin(pointer, 0, who);
            }
        }
    }

    /// A thread is gone.
    pub(in crate::trace) fn unname_thread(&mut self, pid: Pid, tid: Tid) {
        if !cfg!(feature = "jump") {
            return;
        }
        self.rings.names.values_mut().for_each(|names| names.end((pid, tid)));
    }

    /// Whether the thread pointer of a new thread names another one of its process, too. The end of
    /// one whose stack is used again may still be on its way to us.
    pub(in crate::trace) fn is_ambiguous(&self, space: SpaceId, pointer: u64) -> bool {
        let names = self.rings.names.get(&space);
        names.is_some_and(|names| names.owners(pointer).any(|tid| !procfs::is_exiting(tid)))
    }

    /// All that was noted down in a space that nobody has any more.
    pub(in crate::trace) fn finish_rings(&mut self, space: SpaceId) {
        if !cfg!(feature = "jump") {
            return;
        }
        let Some(mut own) = self.rings.all.remove(&space) else { return };
        for ring in &mut own {
            let held = &mut self.rings.held;
            loop {
                let most = ring.reader.shape().slots() as usize;
                ring.reader.read(most, &mut |note| held.push(Held { space, note: *note }));
                // Nobody is left who could commit it.
                let Some(pending) = ring.reader.pending(0) else { break };
                ring.reader.pass_over(pending);
            }
        }
        let mut rings = std::mem::take(&mut self.rings);
        rings.clock.mark(native::ticks, tracer::now_ns);
        let notes = rings.take(u64::MAX, None);
        self.tell_notes(&mut rings, &notes);
        rings.names.remove(&space);
        self.rings = rings;
    }

    /// The same of all spaces, when the run is over.
    pub(in crate::trace) fn finish_all_rings(&mut self) {
        if !cfg!(feature = "jump") {
            return;
        }
        let spaces: Vec<SpaceId> = self.rings.all.keys().copied().collect();
        spaces.into_iter().for_each(|space| self.finish_rings(space));
    }

    /// Reads the rings as often as there is something in them.
    pub(in crate::trace) fn pace(&mut self, count: usize) -> io::Result<()> {
        if !cfg!(feature = "jump") {
            return Ok(());
        }
        if self.rings.is_empty() {
            return Ok(());
        }
        self.target.unpin_if_idle();
        let before = self.rings.period;
        let slower = if before.is_zero() { BUSY } else { (before * 2).min(IDLE) };
        let period = if count > 0 { BUSY } else { slower };
        if period != before {
            self.rings.period = period;
            tracer::tick(period, period)?;
        }
        let target = &self.target;
        let mut rings = std::mem::take(&mut self.rings);
        let names = std::mem::take(&mut rings.names);
        rings.pass_over(|space, in_shard, since| {
            let names = names.get(&space);
            target.threads().filter(|t| target.space_of(t.tid) == Some(space)).any(|thread| {
                let pointer = names.and_then(|names| names.pointer(thread.tid));
                pointer.is_none_or(|pointer| {
                    let then = names.and_then(|names| names.who(pointer, since));
                    in_shard(pointer) && then.is_some_and(|who| who.1 == thread.tid)
                })
            })
        });
        rings.names = names;
        self.rings = rings;
        Ok(())
    }

    /// Before a thread's end is dealt with, all that it has written is told.
    pub(in crate::trace) fn drain_gone(&mut self, (pid, tid): Who) -> io::Result<()> {
        if !cfg!(feature = "jump") || self.rings.is_empty() {
            return Ok(());
        }
        let space = self.target.process(pid).map(|process| process.space);
        let pointer = |space| self.rings.names.get(&space)?.pointer(tid);
        let first = space.and_then(|space| Some((space, pointer(space)?)));
        let mut rings = std::mem::take(&mut self.rings);
        let now = native::ticks();
        rings.read();
        self.tell_due(&mut rings, now, first, None);
        self.rings = rings;
        Ok(())
    }
}
