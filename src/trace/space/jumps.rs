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

use crate::WhyNotJump;
use crate::landing::Landings;
use crate::trace::space::tally::Tally;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;
use xol_arch::jump::{LOCK, Order, Record, Trampoline, Window, build};
use xol_arch::{Addr, Arch, Reject, Rules, Text};
use xol_targets::Native;
use xol_targets::ptrace::Orphan;
use xol_targets::ptrace::{Area, features};

/// Bytes of a landing place.
pub(in crate::trace) const LANDING: u64 = 5;
/// Bytes of the text that a jump changes, at most.
pub(in crate::trace) const LEN: usize = 11;
/// Whether a jump can have a shadow: where it is more than one instruction.
pub(in crate::trace) const SHADOWS: bool = Native::INSN_ALIGN == 1 && cfg!(feature = "jump");
/// Whether a jump can have a landing place: the same.
pub(in crate::trace) const LANDINGS: bool = SHADOWS;

/// One jump: kept as long as a thread may be in its trampoline.
#[derive(Debug)]
pub(in crate::trace) struct Jump {
    pub(in crate::trace) window: Window,
    /// The program's own code from the window on.
    pub(in crate::trace) text: Vec<u8>,
    pub(in crate::trace) function: Option<(Addr, Addr)>,
    pub(in crate::trace) guarded: bool,
    pub(in crate::trace) rules: Rules,
    pub(in crate::trace) records: Vec<Record>,
    /// How many consumers its sites had when it was built: those that its records are for.
    pub(in crate::trace) told: usize,
    /// Its trampoline, and how long that is.
    pub(in crate::trace) to: Addr,
    pub(in crate::trace) len: u16,
    /// Where each covered instruction is entered.
    pub(in crate::trace) enters: Vec<(u8, u16)>,
    /// Where a recorder traps that finds its ring full, and where it begins.
    pub(in crate::trace) fulls: Vec<crate::trace::space::jumps::Full>,
    /// Where a thread that has trapped in the window's shadow goes on when xol is dead.
    pub(in crate::trace) shadow: Option<u16>,
    pub(in crate::trace) landing: Option<Addr>,
    /// The LOCK prefixes in its trampoline, by offset.
    pub(in crate::trace) locks: Vec<u16>,
    /// What stands in the window while its sites are traps, and while it is a jump.
    pub(in crate::trace) trapped: [u8; LEN],
    pub(in crate::trace) jumped: [u8; LEN],
}

/// What stands in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::trace) enum State {
    /// The jump.
    On,
    /// A trap, and the jump's displacement behind it.
    Headed,
    /// What was there before it; or its mapping is gone.
    Off,
}

/// Where in code of ours a thread is.
#[derive(Clone, Debug)]
pub(in crate::trace) enum Spot {
    /// On a landing place: at the site.
    Landing(Rc<Jump>),
    /// In the trampoline, at this offset.
    Trampoline(Rc<Jump>, u16),
}

/// Memory for trampolines, and the counters that they reach.
#[derive(Clone, Debug)]
pub(in crate::trace) struct Region {
    pub(in crate::trace) code: Area,
    pub(in crate::trace) used: u64,
    pub(in crate::trace) counters: Area,
    pub(in crate::trace) tally: Rc<Tally>,
}

/// All jumps of an address space.
#[derive(Clone, Debug, Default)]
pub(in crate::trace) struct Jumps {
    all: Vec<(Rc<Jump>, State)>,
    by_window: BTreeMap<u64, usize>,
    by_code: BTreeMap<u64, usize>,
    by_landing: BTreeMap<u64, usize>,
    /// Landing places of jumps that no longer stand, by where those began: the next one there goes by
    /// the same place, which may be the only one.
    left: BTreeMap<u64, Addr>,
    /// Where no instruction begins: the instruction that a thread there was about to execute, and
    /// by how much its stack pointer is too low. It may be there when the jump is gone.
    by_shadow: BTreeMap<u64, (Addr, u8)>,
    pub(in crate::trace) regions: Vec<Region>,
    /// Landing places, and the pages that are mapped for them.
    pub(in crate::trace) landings: Landings,
    pub(in crate::trace) pages: BTreeSet<u64>,
    /// Why there is no jump at an address, where one was asked for.
    pub(in crate::trace) refusals: FxHashMap<u64, WhyNotJump>,
    /// Memory that trampolines note down hits in.
    pub(in crate::trace) rings: Vec<Area>,
    /// Whether thread pointers do not tell the threads apart.
    pub(in crate::trace) shared_pointers: bool,
    /// Whether counts are without LOCK: one thread alone can come to them.
    pub(in crate::trace) counts_unlocked: bool,
}

impl Jump {
    /// The trampoline again, as it was built.
    pub(in crate::trace) fn trampoline(&self) -> Result<Trampoline, Reject> {
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
    pub(in crate::trace) fn len(&self) -> usize {
        self.window.len.into()
    }

    /// Whether these bytes are what stands behind its first one, or behind the trap there: what belongs to
    /// the instructions behind the one that it replaces may have got traps of others since.
    pub(in crate::trace) fn has_tail(&self, here: &[u8]) -> bool {
        let trap = Native::TRAP.len();
        let of_others = |n: usize, byte: u8| {
            self.window.later >> n & 1 == 1 && Native::TRAP.first() == Some(&byte)
        };
        let tail = here.iter().zip(&self.jumped[..self.len()]).enumerate().skip(trap);
        here.len() >= self.len() && tail.into_iter().all(|(n, (a, b))| a == b || of_others(n, *a))
    }

    /// The same, and its first byte is there too.
    pub(in crate::trace) fn stands_in(&self, here: &[u8]) -> bool {
        here.starts_with(&self.jumped[..Native::TRAP.len()]) && self.has_tail(here)
    }

    /// Whether hits of the site at `at` are counted in its trampoline.
    pub(in crate::trace) fn counts(&self, at: Addr) -> bool {
        self.records.iter().any(|record| self.window.at.add(record.offset.into()) == at)
    }

    /// The sites whose hits are counted there.
    pub(in crate::trace) fn sites(&self) -> impl Iterator<Item = Addr> {
        self.records.iter().map(|record| self.window.at.add(record.offset.into()))
    }
}

impl Jumps {
    pub(in crate::trace) fn len(&self) -> usize {
        self.all.len()
    }

    /// Puts the LOCK prefixes into `bytes`, code that was read at `base`.
    pub(in crate::trace) fn lock(&self, base: Addr, bytes: &mut [u8]) {
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

    /// Adds a jump that is not written yet. Its landing places lead to its trampoline from now on, also
    /// those that were another's.
    pub(in crate::trace) fn add(&mut self, jump: Rc<Jump>) {
        let number = self.all.len();
        self.by_code.insert(jump.to.0, number);
        if LANDINGS && let Some(landing) = jump.landing {
            self.by_landing.insert(landing.0, number);
            let others = jump.window.reach().others(landing);
            self.by_landing.extend(others.map(|at| (at.0, number)));
        }
        self.all.push((jump, State::Off));
    }

    /// A jump stands in the text.
    pub(in crate::trace) fn stands(&mut self, jump: &Jump) {
        if SHADOWS && let Some(shadow) = jump.window.shadow() {
            let at = |offset: u8| jump.window.at.add(offset.into());
            self.by_shadow.insert(at(shadow.offset).0, (at(shadow.of), shadow.pushed));
        }
        if let Some(&number) = self.by_code.get(&jump.to.0) {
            self.set(number, State::On);
        }
    }

    /// The jump of this number, if it was taken back and nothing has come in its place since.
    pub(in crate::trace) fn taken_back(&self, number: usize) -> Option<&Jump> {
        let (jump, state) = self.all.get(number)?;
        let end = jump.window.at.add(jump.window.len.into());
        let landing = jump.landing.filter(|_| LANDINGS);
        let its_own = landing.is_none_or(|at| self.by_landing.get(&at.0) == Some(&number));
        let taken = *state == State::Off && its_own && !self.any_in(jump.window.at, end);
        taken.then_some(&**jump)
    }

    /// Whether there is no use in asking for a jump at `at` again.
    pub(in crate::trace) fn is_refused(&self, at: Addr) -> bool {
        self.refusals.get(&at.0).is_some_and(|&why| !why.may_pass())
    }

    /// The jump that stands in the text over `at`.
    pub(in crate::trace) fn over(&self, at: Addr) -> Option<(usize, &Rc<Jump>, State)> {
        if !cfg!(feature = "jump") {
            return None;
        }
        let (_, &number) = self.by_window.range(..=at.0).next_back()?;
        let (jump, state) = &self.all[number];
        jump.window.overwrites(at).then_some((number, jump, *state))
    }

    /// Whether one stands anywhere in `from..to`.
    pub(in crate::trace) fn any_in(&self, from: Addr, to: Addr) -> bool {
        if !cfg!(feature = "jump") {
            return false;
        }
        self.over(from).is_some() || self.by_window.range(from.0..to.0).next().is_some()
    }

    /// Whether hits of the site at `at` are counted without a stop.
    pub(in crate::trace) fn counts(&self, at: Addr) -> bool {
        self.over(at).is_some_and(|(_, jump, state)| state == State::On && jump.counts(at))
    }

    /// Where a thread goes on that trapped at an instruction in a jump's displacement.
    pub(in crate::trace) fn enter(&self, at: Addr) -> Option<Addr> {
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
    pub(in crate::trace) fn shadow(&self, at: Addr) -> Option<(Addr, u8)> {
        if !SHADOWS {
            return None;
        }
        self.by_shadow.get(&at.0).copied()
    }

    /// What `pc` is in, of what jumps lead to.
    pub(in crate::trace) fn spot(&self, pc: Addr) -> Option<Spot> {
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
        if !LANDINGS {
            return None;
        }
        let (offset, jump) = before(&self.by_landing)?;
        (offset < LANDING).then_some(Spot::Landing(jump))
    }

    /// Those that stand in the text, by address, with their numbers.
    pub(in crate::trace) fn standing(&self) -> Vec<(usize, Rc<Jump>)> {
        if !cfg!(feature = "jump") {
            return Vec::new();
        }
        self.by_window.values().map(|&number| (number, self.all[number].0.clone())).collect()
    }

    /// Says what stands in the text now.
    pub(in crate::trace) fn set(&mut self, number: usize, state: State) {
        let Some((jump, was)) = self.all.get_mut(number) else { return };
        *was = state;
        match state {
            State::Off => {
                self.by_window.remove(&jump.window.at.0);
                if LANDINGS && let Some(landing) = jump.landing {
                    self.left.insert(jump.window.at.0, landing);
                }
                // There may be room for another now.
                self.refusals.clear();
            }
            State::On | State::Headed => {
                self.left.remove(&jump.window.at.0);
                self.by_window.insert(jump.window.at.0, number);
            }
        }
    }

    /// Where a jump at `at` landed that stands no longer. Threads that were on their way to it were moved.
    pub(in crate::trace) fn left_landing(&self, at: Addr) -> Option<Addr> {
        self.left.get(&at.0).copied()
    }

    /// The next jump at `at` may land there: no other does.
    pub(in crate::trace) fn leave_landing(&mut self, at: Addr, landing: Addr) {
        self.left.insert(at.0, landing);
    }

    /// Puts the program's own bytes into `bytes`, which were read at `base`.
    pub(in crate::trace) fn restore(&self, base: u64, bytes: &mut [u8]) {
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
    pub(in crate::trace) fn retain(&mut self, keep: impl Fn(Addr) -> bool) {
        self.refusals.clear();
        if SHADOWS {
            self.by_shadow.retain(|&at, _| keep(Addr(at)));
        }
        let (all, left) = (&mut self.all, &mut self.left);
        self.by_window.retain(|&at, &mut number| {
            let kept = keep(Addr(at));
            if !kept {
                all[number].1 = State::Off;
                left.extend(all[number].0.landing.map(|landing| (at, landing)));
            }
            kept
        });
    }
}

/// A trap in a trampoline whose threads find no room.
#[derive(Clone, Copy, Debug)]
pub(in crate::trace) struct Full {
    /// Its offset.
    pub(in crate::trace) at: u16,
    /// Where its recorder begins.
    pub(in crate::trace) start: u16,
    /// Where the time of the hit is, in bytes above the stack pointer.
    pub(in crate::trace) time: u16,
}

impl Jump {
    /// What becomes of the traps of its recorders when xol is dead: they are taken away by calls that a
    /// filter may forbid; in a program that has one, each thread goes on behind them.
    pub(in crate::trace) fn orphans_of_full(&self, filtered: bool) -> impl Iterator<Item = Orphan> {
        let trap = Native::TRAP.len() as u64;
        let mut nop = [0; 8];
        nop[..Native::TRAP.len()].copy_from_slice(Native::NOP);
        let original = u64::from_le_bytes(nop);
        self.fulls.iter().map(move |full| {
            let site = self.to.add(full.at.into());
            Orphan { site, to: filtered.then_some(site.add(trap)), original }
        })
    }
}
