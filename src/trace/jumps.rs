//! The jumps of one address space: what they replace, what they lead to, what they have counted.
//!
//! Counters are in a memory file that the target itself makes, by injected calls that leave its
//! descriptors as they were; xol opens the file through /proc/PID/fd. Forked children share it, and
//! it outlives exec and the death of the program. A row of the report is the sum of what trapped
//! and what was counted there.
//!
//! A site is armed with a trap and a slot first, and stays one underneath its jump: the jump is
//! written over it where a trampoline does all that is wanted of the site and of every other site
//! in the window. So whatever is not right for a jump falls back to the trap.

use super::consumer::Consumer;
use super::session::Session;
use crate::WhyNotJump;
use crate::landing::Landings;
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use xol_arch::jump::{LOCK, Order, Record, Trampoline, Window, build};
use xol_arch::{Addr, Arch, Reject, Rules, Text};
use xol_targets::Native;
use xol_targets::ptrace::{Area, features};
use xol_targets::shared::Shared;

/// Bytes of a landing place.
pub(super) const LANDING: u64 = 5;
/// Bytes of the text that a jump changes, at most.
pub(super) const LEN: usize = 11;
/// Whether a jump can have a shadow: where it is more than one instruction.
pub(super) const SHADOWS: bool = Native::INSN_ALIGN == 1 && cfg!(feature = "jump");

/// One jump: kept as long as a thread may be in its trampoline.
#[derive(Debug)]
pub(super) struct Jump {
    pub(super) window: Window,
    /// The program's own code from the window on.
    pub(super) text: Vec<u8>,
    pub(super) function: Option<(Addr, Addr)>,
    pub(super) guarded: bool,
    pub(super) rules: Rules,
    pub(super) records: Vec<Record>,
    /// Its trampoline, and how long that is.
    pub(super) to: Addr,
    pub(super) len: u16,
    /// Where each covered instruction is entered.
    pub(super) enters: Vec<(u8, u16)>,
    /// Where a recorder traps that finds its ring full, and where it begins.
    pub(super) fulls: Vec<super::full::Full>,
    /// Where a thread that has trapped in the window's shadow goes on when xol is dead.
    pub(super) shadow: Option<u16>,
    pub(super) landing: Option<Addr>,
    /// The LOCK prefixes in its trampoline, by offset.
    pub(super) locks: Vec<u16>,
    /// What stands in the window while its sites are traps, and while it is a jump.
    pub(super) trapped: [u8; LEN],
    pub(super) jumped: [u8; LEN],
}

/// What stands in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The jump.
    On,
    /// A trap, and the jump's displacement behind it.
    Headed,
    /// What was there before it; or its mapping is gone.
    Off,
}

/// Where in code of ours a thread is.
#[derive(Clone, Debug)]
pub(super) enum Spot {
    /// On a landing place: at the site.
    Landing(Rc<Jump>),
    /// In the trampoline, at this offset.
    Trampoline(Rc<Jump>, u16),
}

/// Memory for trampolines, and the counters that they reach.
#[derive(Clone, Debug)]
pub(super) struct Region {
    pub(super) code: Area,
    pub(super) used: u64,
    pub(super) counters: Area,
    pub(super) tally: Rc<Tally>,
}

/// All jumps of an address space.
#[derive(Clone, Debug, Default)]
pub(super) struct Jumps {
    all: Vec<(Rc<Jump>, State)>,
    by_window: BTreeMap<u64, usize>,
    by_code: BTreeMap<u64, usize>,
    by_landing: BTreeMap<u64, usize>,
    /// Where no instruction begins: the instruction that a thread there was about to execute, and
    /// by how much its stack pointer is too low. It may be there when the jump is gone.
    by_shadow: BTreeMap<u64, (Addr, u8)>,
    pub(super) regions: Vec<Region>,
    /// Landing places, and the pages that are mapped for them.
    pub(super) landings: Landings,
    pub(super) pages: BTreeSet<u64>,
    /// Why there is no jump at an address, where one was asked for.
    pub(super) refusals: FxHashMap<u64, WhyNotJump>,
    /// Memory that trampolines note down hits in.
    pub(super) rings: Vec<Area>,
    /// Whether thread pointers do not tell the threads apart.
    pub(super) shared_pointers: bool,
    /// Whether counts are without LOCK: one thread alone can come to them.
    pub(super) counts_unlocked: bool,
}

impl Jump {
    /// The trampoline again, as it was built.
    pub(super) fn trampoline(&self) -> Result<Trampoline, Reject> {
        let text = Text {
            base: self.window.at,
            bytes: &self.text,
            function: self.function,
            guarded: self.guarded,
        };
        let order = Order {
            text: &text,
            window: &self.window,
            rules: self.rules,
            records: &self.records,
            features: features(),
        };
        build::<Native>(&order, self.to)
    }

    /// The bytes of the text that it changes.
    pub(super) fn len(&self) -> usize {
        self.window.len.into()
    }

    /// Whether hits of the site at `at` are counted in its trampoline.
    pub(super) fn counts(&self, at: Addr) -> bool {
        self.records.iter().any(|record| self.window.at.add(record.offset.into()) == at)
    }

    /// The sites whose hits are counted there.
    pub(super) fn sites(&self) -> impl Iterator<Item = Addr> {
        self.records.iter().map(|record| self.window.at.add(record.offset.into()))
    }
}

impl Jumps {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Puts the LOCK prefixes into `bytes`, code that was read at `base`.
    pub(super) fn lock(&self, base: Addr, bytes: &mut [u8]) {
        for (jump, _) in &self.all {
            let start = jump.to.0.wrapping_sub(base.0);
            for &lock in &jump.locks {
                let at = start.wrapping_add(lock.into());
                if let Some(byte) = bytes.get_mut(usize::try_from(at).unwrap_or(usize::MAX)) {
                    *byte = LOCK;
                }
            }
        }
    }

    /// Adds a jump that stands in the text.
    pub(super) fn add(&mut self, jump: Rc<Jump>) {
        let number = self.all.len();
        self.by_window.insert(jump.window.at.0, number);
        self.by_code.insert(jump.to.0, number);
        if let Some(landing) = jump.landing {
            self.by_landing.insert(landing.0, number);
        }
        if SHADOWS && let Some(shadow) = jump.window.shadow() {
            let at = |offset: u8| jump.window.at.add(offset.into());
            self.by_shadow.insert(at(shadow.offset).0, (at(shadow.of), shadow.pushed));
        }
        self.all.push((jump, State::On));
    }

    /// Whether there is no use in asking for a jump at `at` again.
    pub(super) fn is_refused(&self, at: Addr) -> bool {
        self.refusals.get(&at.0).is_some_and(|&why| !why.may_pass())
    }

    /// The jump that stands in the text over `at`.
    pub(super) fn over(&self, at: Addr) -> Option<(usize, &Rc<Jump>, State)> {
        if !cfg!(feature = "jump") {
            return None;
        }
        let (_, &number) = self.by_window.range(..=at.0).next_back()?;
        let (jump, state) = &self.all[number];
        jump.window.overwrites(at).then_some((number, jump, *state))
    }

    /// Whether one stands anywhere in `from..to`.
    pub(super) fn any_in(&self, from: Addr, to: Addr) -> bool {
        if !cfg!(feature = "jump") {
            return false;
        }
        self.over(from).is_some() || self.by_window.range(from.0..to.0).next().is_some()
    }

    /// Whether hits of the site at `at` are counted without a stop.
    pub(super) fn counts(&self, at: Addr) -> bool {
        self.over(at).is_some_and(|(_, jump, state)| state == State::On && jump.counts(at))
    }

    /// Where a thread goes on that trapped at an instruction in a jump's displacement.
    pub(super) fn enter(&self, at: Addr) -> Option<Addr> {
        if !cfg!(feature = "jump") {
            return None;
        }
        let (_, jump, _) = self.over(at)?;
        let offset = u8::try_from(at.distance_from(jump.window.at)).ok().filter(|&o| o > 0)?;
        let &(_, enter) = jump.enters.iter().find(|(o, _)| *o == offset)?;
        Some(jump.to.add(enter.into()))
    }

    /// What a thread at `at` was about to execute, where it cannot be without a jump's last byte; and
    /// by how many bytes its stack pointer is too low.
    pub(super) fn shadow(&self, at: Addr) -> Option<(Addr, u8)> {
        if !SHADOWS {
            return None;
        }
        self.by_shadow.get(&at.0).copied()
    }

    /// What `pc` is in, of what jumps lead to.
    pub(super) fn spot(&self, pc: Addr) -> Option<Spot> {
        if !cfg!(feature = "jump") {
            return None;
        }
        let before = |map: &BTreeMap<u64, usize>| {
            let (&start, &number) =
                map.range((Bound::Unbounded, Bound::Included(pc.0))).next_back()?;
            Some((pc.0 - start, self.all[number].0.clone()))
        };
        if let Some((offset, jump)) = before(&self.by_code)
            && offset < u64::from(jump.len)
        {
            return Some(Spot::Trampoline(jump, offset as u16));
        }
        let (offset, jump) = before(&self.by_landing)?;
        (offset < LANDING).then_some(Spot::Landing(jump))
    }

    /// Those that stand in the text, by address, with their numbers.
    pub(super) fn standing(&self) -> Vec<(usize, Rc<Jump>)> {
        if !cfg!(feature = "jump") {
            return Vec::new();
        }
        self.by_window.values().map(|&number| (number, self.all[number].0.clone())).collect()
    }

    /// Says what stands in the text now.
    pub(super) fn set(&mut self, number: usize, state: State) {
        let Some((jump, was)) = self.all.get_mut(number) else { return };
        *was = state;
        match state {
            State::Off => {
                self.by_window.remove(&jump.window.at.0);
                // There may be room for another now.
                self.refusals.clear();
            }
            State::On | State::Headed => _ = self.by_window.insert(jump.window.at.0, number),
        }
    }

    /// Puts the program's own bytes into `bytes`, which were read at `base`.
    pub(super) fn restore(&self, base: u64, bytes: &mut [u8]) {
        let end = base + bytes.len() as u64;
        let first = base.saturating_sub(LEN as u64);
        for &number in self.by_window.range(first..end).map(|(_, number)| number) {
            let jump = &self.all[number].0;
            for (at, &byte) in (jump.window.at.0..).zip(&jump.text[..jump.len()]) {
                if (base..end).contains(&at) {
                    bytes[(at - base) as usize] = byte;
                }
            }
        }
    }

    /// Forgets what stood in mappings that are gone. Threads may still be in the trampolines.
    pub(super) fn retain(&mut self, keep: impl Fn(Addr) -> bool) {
        self.refusals.clear();
        if SHADOWS {
            self.by_shadow.retain(|&at, _| keep(Addr(at)));
        }
        let all = &mut self.all;
        self.by_window.retain(|&at, &mut number| {
            let kept = keep(Addr(at));
            if !kept {
                all[number].1 = State::Off;
            }
            kept
        });
    }
}

/// Counters in memory that processes of one origin share, and whose they are.
#[derive(Debug)]
pub(super) struct Tally {
    shared: Shared,
    inner: RefCell<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// What was passed on of each counter already.
    passed: Vec<u64>,
    /// Whom it is for, and whether it counts what they missed.
    consumers: Vec<(Vec<u32>, bool)>,
}

impl Tally {
    pub(super) fn new(shared: Shared) -> Tally {
        Tally { shared, inner: RefCell::default() }
    }

    /// How many counters are free.
    pub(super) fn free(&self) -> usize {
        self.shared.words().len() - self.inner.borrow().passed.len()
    }

    /// A new counter of hits for `consumers`, or of records that they missed: its offset in bytes.
    pub(super) fn add(&self, consumers: Vec<u32>, missed: bool) -> Option<u64> {
        let mut inner = self.inner.borrow_mut();
        let number = inner.passed.len();
        let word = self.shared.words().get(number)?;
        inner.passed.push(word.load(Ordering::Relaxed));
        inner.consumers.push((consumers, missed));
        Some(number as u64 * 8)
    }

    /// Gives each counter's growth to `counted`: whom it is for, whether it is of missed records,
    /// how much.
    fn pass_on(&self, counted: &mut dyn FnMut(&[u32], bool, u64)) {
        let mut inner = self.inner.borrow_mut();
        let Inner { passed, consumers } = &mut *inner;
        let words = self.shared.words().iter().zip(passed).zip(consumers);
        for ((word, passed), (consumers, missed)) in words {
            let now = word.load(Ordering::Relaxed);
            let more = now.wrapping_sub(std::mem::replace(passed, now));
            if more != 0 {
                counted(consumers, *missed, more);
            }
        }
    }
}

impl Session<'_> {
    /// Reads what trampolines have counted. Memory that no address space has any more is let go.
    pub(super) fn read_tallies(&mut self) {
        if !cfg!(feature = "jump") {
            return;
        }
        let (consumers, rows, counters) = (&self.consumers, &self.rows, &mut self.counters);
        let lost = &mut self.lost;
        for tally in &self.tallies {
            tally.pass_on(&mut |told, missed, more| {
                *lost = lost.wrapping_add(if missed { more } else { 0 });
                for &consumer in told {
                    // The ends of a call are counted by its row.
                    let counter = match consumers.get(consumer as usize) {
                        Some(&Consumer::Exit(row)) => rows[row as usize].consumer,
                        _ => consumer,
                    };
                    let Some(counter) = counters.get_mut(counter as usize) else { continue };
                    let count = if missed { &mut counter.missed } else { &mut counter.hits };
                    *count = count.wrapping_add(more);
                }
            });
        }
        self.tallies.retain(|tally| Rc::strong_count(tally) > 1);
    }

    /// How many records have found no room so far.
    pub(super) fn missed_records(&mut self) -> u64 {
        self.read_tallies();
        self.lost
    }
}

/// Whether the bytes of a jump trap wherever an instruction begins.
pub(super) fn traps_inside(window: &Window, jumped: &[u8]) -> bool {
    (1..window.len).filter(|n| window.traps >> n & 1 == 1).all(|n| {
        let Some(bytes) = jumped.get(usize::from(n)..) else { return false };
        bytes.starts_with(Native::TRAP)
            || SHADOWS
                && window.shadow().is_some_and(|shadow| shadow.of == n)
                && bytes.first().is_some_and(|&byte| window.last.bytes().has(byte))
    })
}
