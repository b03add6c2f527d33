//! The reader of the ring that trampolines write (its layout is `xol_arch::jump`'s).
//!
//! One reader, many writers, none of which ever waits for the other in the ring: a writer that finds its
//! shard full traps, or counts a missed record elsewhere, a reader that finds a slot taken but not committed leaves
//! the shard for later. That writer was stopped or lost its processor between two instructions;
//! only when it is known to be gone may its record be [passed over](Reader::pass_over).
//!
//! Where records are missing is known: slots are given back from the last to the first, so a writer
//! that finds none finds none until the whole piece is free, and the first record behind it is
//! [after a gap](Note::after_gap).

use super::ids::RecorderId;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};
use xol_arch::jump::{HEAD, PROBE, SLOT, SLOTS, Shape, THREAD, TIME, TURN, VALUES, Value, Values};

/// Shards that a ring may have.
const MAX_SHARDS: usize = 64;

/// What a trampoline noted down at one hit. Times and values that its recorder was not asked for
/// are whatever was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// Which recorder has written it.
    pub recorder: RecorderId,
    /// TSC or CNTVCT.
    pub time: u64,
    /// The thread pointer. Another thread may get it later: times tell them apart.
    pub thread: u64,
    /// In the order of the recorder's [`Values`].
    pub values: [u64; Value::WORDS],
    /// Whether records of its shard may be missing right before it.
    pub after_gap: bool,
}

impl Note {
    /// Returns a value, if it is one of those that were asked for.
    #[must_use]
    pub fn value(&self, asked: Values, value: Value) -> Option<u64> {
        self.values.get(asked.word(value)?).copied()
    }
}

/// A record that keeps its shard waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Whose: threads with this [`Shape::shard_of`].
    pub shard: usize,
    /// Which: to see whether it is still the same one.
    pub position: u64,
}

/// Reads a ring in memory of its own or lent to it. The position in each shard is the reader's
/// own: a second reader would take the same records.
#[derive(Debug)]
pub struct Reader<W> {
    memory: W,
    shape: Shape,
    tails: [u64; MAX_SHARDS],
    /// For each shard the positions of the first and the last record that is after a gap, of those
    /// that were not read; in most cases it is one.
    gaps: [Option<(u64, u64)>; MAX_SHARDS],
}

/// The index of a word by its offset in bytes.
const fn index(offset: u64) -> usize {
    (offset / 8) as usize
}

/// The words of a shard's head and slots.
fn shard_of(words: &[AtomicU64], shape: Shape, shard: usize) -> Option<&[AtomicU64]> {
    let len = index(shape.shard_len());
    words.get(shard * len..(shard + 1) * len)
}

impl<W: AsRef<[AtomicU64]>> Reader<W> {
    /// A reader of an empty ring, whose memory is all zero; `None` where it is too short.
    #[must_use]
    pub fn new(memory: W, shape: Shape) -> Option<Reader<W>> {
        let whole = memory.as_ref().len() >= index(shape.len());
        let (tails, gaps) = ([0; MAX_SHARDS], [None; MAX_SHARDS]);
        whole.then_some(Reader { memory, shape, tails, gaps })
    }

    /// The ring's shape.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    fn shard(&self, shard: usize) -> Option<&[AtomicU64]> {
        shard_of(self.memory.as_ref(), self.shape, shard)
    }

    /// Gives `each` what is committed, up to `limit` records of each shard: within a shard in the
    /// order in which the slots were taken. Returns how many there were.
    pub fn read(&mut self, limit: usize, each: &mut impl FnMut(&Note)) -> usize {
        let mut count = 0;
        for shard in 0..self.shape.shards() as usize {
            count += self.read_shard(shard, limit, each);
        }
        count
    }

    fn read_shard(&mut self, shard: usize, limit: usize, each: &mut impl FnMut(&Note)) -> usize {
        let Some(words) = shard_of(self.memory.as_ref(), self.shape, shard) else { return 0 };
        let Some(&begun) = self.tails.get(shard) else { return 0 };
        let mut tail = begun;
        for _ in 0..limit {
            let Some(slot) = slot(words, self.shape, tail) else { break };
            if slot.turn.load(Ordering::Acquire) != self.lap(tail) + 1 {
                break;
            }
            let after_gap = is_after_gap(self.gaps.get_mut(shard), tail);
            each(&Note { after_gap, ..slot.note() });
            tail = tail.wrapping_add(1);
        }
        self.give_back(shard, begun..tail);
        tail.wrapping_sub(begun) as usize
    }

    /// The first position of the lap that a position is in.
    const fn lap(&self, position: u64) -> u64 {
        position & !(self.shape.slots() - 1)
    }

    /// Gives slots back to the writers of a shard, and notes whether there was none.
    fn give_back(&mut self, shard: usize, positions: Range<u64>) {
        let slots = self.shape.slots();
        let Some(words) = shard_of(self.memory.as_ref(), self.shape, shard) else { return };
        for position in positions.clone().rev() {
            if let Some(slot) = slot(words, self.shape, position) {
                let lap = self.lap(position).wrapping_add(slots);
                slot.turn.store(lap, Ordering::Release);
            }
        }
        if let Some(place) = self.tails.get_mut(shard) {
            *place = positions.end;
        }
        let full = positions.start.wrapping_add(slots);
        let head = words.get(index(HEAD)).map_or(0, |head| head.load(Ordering::Acquire));
        if !positions.is_empty()
            && head >= full
            && let Some(gap) = self.gaps.get_mut(shard)
        {
            *gap = Some((gap.map_or(full, |gap| gap.0), full));
        }
    }

    /// The first shard from `from` on that waits for a record which is taken and not committed.
    /// When everything else has been read: with nothing running, it never will be.
    #[must_use]
    pub fn pending(&self, from: usize) -> Option<Pending> {
        (from..self.shape.shards() as usize).find_map(|shard| {
            let words = self.shard(shard)?;
            let &position = self.tails.get(shard)?;
            let head = words.get(index(HEAD))?.load(Ordering::Acquire);
            let turn = slot(words, self.shape, position)?.turn.load(Ordering::Acquire);
            let lap = position & !(self.shape.slots() - 1);
            (head != position && turn == lap).then_some(Pending { shard, position })
        })
    }

    /// Gives up a record whose writer is known to be gone, so that the shard goes on behind it;
    /// false if it is committed or read by now. A writer that was not gone would spoil the shard.
    pub fn pass_over(&mut self, pending: Pending) -> bool {
        if self.pending(pending.shard) != Some(pending) {
            return false;
        }
        self.give_back(pending.shard, pending.position..pending.position.wrapping_add(1));
        true
    }
}

/// Whether the record at `position`, which is read now, is after a gap. One that was passed over
/// leaves that to the next.
fn is_after_gap(gap: Option<&mut Option<(u64, u64)>>, position: u64) -> bool {
    let Some(gap) = gap else { return false };
    let Some((first, last)) = *gap else { return false };
    if position >= last {
        *gap = None;
    }
    position >= first
}

/// One slot.
struct Slot<'a> {
    turn: &'a AtomicU64,
    time: &'a AtomicU64,
    thread: &'a AtomicU64,
    probe: &'a AtomicU64,
    values: &'a [AtomicU64; Value::WORDS],
}

/// The slot of a position.
fn slot(shard: &[AtomicU64], shape: Shape, position: u64) -> Option<Slot<'_>> {
    let at = index(SLOTS + (position & (shape.slots() - 1)) * SLOT);
    let words: &[AtomicU64; index(SLOT)] = shard.get(at..)?.first_chunk()?;
    let values = words.get(index(VALUES)..)?.first_chunk()?;
    Some(Slot {
        turn: words.get(index(TURN))?,
        time: words.get(index(TIME))?,
        thread: words.get(index(THREAD))?,
        probe: words.get(index(PROBE))?,
        values,
    })
}

impl Slot<'_> {
    fn note(&self) -> Note {
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        Note {
            // The lower half, on little-endian machines, which both architectures are.
            recorder: RecorderId(load(self.probe) as u32),
            time: load(self.time),
            thread: load(self.thread),
            values: core::array::from_fn(|n| self.values.get(n).map_or(0, load)),
            after_gap: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn shape() -> Shape {
        Shape::new(1, 2).unwrap()
    }

    fn ring() -> Vec<AtomicU64> {
        (0..shape().len() / 8).map(|_| AtomicU64::new(0)).collect()
    }

    /// What a trampoline does, in Rust: takes a slot, if there is one, and says which.
    fn take(words: &[AtomicU64], shard: usize) -> Option<u64> {
        let shard = &words[shard * index(shape().shard_len())..];
        let head = shard[index(HEAD)].load(Ordering::Relaxed);
        let slot = slot(shard, shape(), head).unwrap();
        if slot.turn.load(Ordering::Relaxed) != head & !3 {
            return None;
        }
        shard[index(HEAD)].store(head + 1, Ordering::Relaxed);
        Some(head)
    }

    fn commit(words: &[AtomicU64], shard: usize, position: u64, probe: u64) {
        let shard = &words[shard * index(shape().shard_len())..];
        let slot = slot(shard, shape(), position).unwrap();
        slot.probe.store(0xdead_0000_0000 | probe, Ordering::Relaxed);
        slot.values[2].store(probe * 10, Ordering::Relaxed);
        slot.turn.store((position & !3) + 1, Ordering::Release);
    }

    fn probes(reader: &mut Reader<&Vec<AtomicU64>>) -> Vec<u32> {
        let mut probes = Vec::new();
        reader.read(100, &mut |note| {
            assert_eq!(
                note.value(Values::args(3), Value::Arg(2)),
                Some(u64::from(note.recorder.0) * 10)
            );
            probes.push(note.recorder.0);
        });
        probes
    }

    #[test]
    fn laps_go_round() {
        let words = ring();
        let mut reader = Reader::new(&words, shape()).unwrap();
        assert!(probes(&mut reader).is_empty());
        for lap in 0..5 {
            for n in 0..3 {
                let position = take(&words, 1).unwrap();
                commit(&words, 1, position, lap * 3 + n);
            }
            let three: Vec<u32> = (0..3).map(|n| (lap * 3 + n) as u32).collect();
            assert_eq!(probes(&mut reader), three);
        }
        assert_eq!(reader.pending(0), None);
    }

    #[test]
    fn a_full_shard_misses() {
        let words = ring();
        let mut reader = Reader::new(&words, shape()).unwrap();
        for n in 0..4 {
            let position = take(&words, 0).unwrap();
            commit(&words, 0, position, n);
        }
        assert_eq!([(); 3].map(|()| take(&words, 0)), [None; 3]);
        assert_eq!(probes(&mut reader), [0, 1, 2, 3]);
        let position = take(&words, 0).unwrap();
        commit(&words, 0, position, 9);
        assert_eq!(probes(&mut reader), [9]);
    }

    #[test]
    fn what_is_missing_is_missing_before_a_record() {
        let words = ring();
        let mut reader = Reader::new(&words, shape()).unwrap();
        let write = |count: u64| {
            let mut lost = 0;
            for _ in 0..count {
                match take(&words, 0) {
                    Some(position) => commit(&words, 0, position, 1),
                    None => lost += 1,
                }
            }
            lost
        };
        let gaps = |reader: &mut Reader<&Vec<AtomicU64>>| {
            let mut gaps = Vec::new();
            reader.read(100, &mut |note| gaps.push(note.after_gap));
            gaps
        };
        assert_eq!((write(3), gaps(&mut reader)), (0, vec![false; 3]));
        // Full, and two that find no room: the next one is behind them.
        assert_eq!((write(6), gaps(&mut reader)), (2, vec![false; 4]));
        assert_eq!((write(2), gaps(&mut reader)), (0, vec![true, false]));
        // Again and again.
        assert_eq!((write(5), gaps(&mut reader)), (1, vec![false; 4]));
        assert_eq!((write(5), gaps(&mut reader)), (1, vec![true, false, false, false]));
        // One that is passed over while all are taken: any of those behind it may be after a gap.
        let pending = [(); 4].map(|()| take(&words, 0).unwrap())[0];
        assert_eq!(write(1), 1);
        assert!(reader.pass_over(Pending { shard: 0, position: pending }));
        (1..4).for_each(|n| commit(&words, 0, pending + n, 1));
        assert_eq!(gaps(&mut reader), [true; 3]);
        assert_eq!((write(1), gaps(&mut reader)), (0, vec![true]));
        assert_eq!((write(3), gaps(&mut reader)), (0, vec![false; 3]));
    }

    #[test]
    fn a_record_on_its_way_is_waited_for_or_passed_over() {
        let words = ring();
        let mut reader = Reader::new(&words, shape()).unwrap();
        let first = take(&words, 1).unwrap();
        let second = take(&words, 1).unwrap();
        commit(&words, 1, second, 2);
        assert!(probes(&mut reader).is_empty());
        let pending = reader.pending(0).unwrap();
        assert_eq!(pending, Pending { shard: 1, position: 0 });
        commit(&words, 1, first, 1);
        assert!(!reader.pass_over(pending));
        assert_eq!(probes(&mut reader), [1, 2]);

        let _gone = take(&words, 1).unwrap();
        let last = take(&words, 1).unwrap();
        commit(&words, 1, last, 4);
        let pending = reader.pending(0).unwrap();
        assert!(reader.pass_over(pending));
        assert!(!reader.pass_over(pending));
        assert_eq!(probes(&mut reader), [4]);
        // Its slot is used again.
        for n in 5..9 {
            let position = take(&words, 1).unwrap();
            commit(&words, 1, position, n);
        }
        assert_eq!(probes(&mut reader), [5, 6, 7, 8]);
        assert_eq!(reader.pending(0), None);
    }

    #[test]
    fn a_short_ring_is_none() {
        let words = ring();
        assert!(Reader::new(&words[1..], shape()).is_none());
    }
}
