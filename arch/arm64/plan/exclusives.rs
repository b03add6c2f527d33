//! Exclusive sequences: a trap between a load-exclusive and its store-exclusive clears the
//! monitor, the store fails, the program tries again, traps again, and so for ever.
//!
//! An instruction is inside when some load-exclusive leads to it and it leads to some
//! store-exclusive or CLREX, both without another of the three in between. The ways are
//! followed through every direct branch, within the function if it is known and within
//! `REACH` of the site: a sequence that is guaranteed to make progress fits into 128 bytes.

use super::super::decode::{self, Insn};
use super::super::simulate::Effect;
use crate::{Addr, Reason, Text};

/// How far to look to either side, in instructions.
const REACH: usize = 256;
const BITS: usize = 2 * REACH;

/// Whether the instruction at `at` is between the two.
pub(super) fn inside(text: &Text<'_>, at: Addr, insn: Insn) -> bool {
    if matches!(insn, Insn::LoadExclusive | Insn::StoreExclusive | Insn::ClearExclusive) {
        return false; // The ends have their own rows in the plan.
    }
    let window = Window::around(text, at);
    let Some(site) = window.index(at) else { return false };
    let mut heads = window.load_exclusives().peekable();
    heads.peek().is_some()
        && window.walk(site).ends
        && heads.any(|head| window.walk_behind(head).seen.has(site))
}

/// Whether the load-exclusive at `at` is only waited with: it leads to WFE and to no
/// store-exclusive or CLREX. The exception return sets the event that a cleared monitor would
/// have set, so a trap anywhere in such a loop costs one more round.
pub(super) fn only_waits(text: &Text<'_>, at: Addr) -> bool {
    let window = Window::around(text, at);
    let Some(head) = window.index(at) else { return false };
    let walk = window.walk_behind(head);
    walk.waits && !walk.ends
}

/// The code around a site.
struct Window<'a> {
    base: Addr,
    words: &'a [[u8; 4]],
}

/// Where a walk came.
#[derive(Default)]
struct Walk {
    /// The instructions it came to, the ends not among them.
    seen: Set,
    /// It came to a store-exclusive or CLREX.
    ends: bool,
    /// It came to WFE.
    waits: bool,
}

impl<'a> Window<'a> {
    fn around(text: &Text<'a>, at: Addr) -> Window<'a> {
        let reach = 4 * REACH as u64;
        let range = text.range();
        let (mut from, mut to) = (range.start, range.end);
        // A site outside what is said to be its function is looked at all the same.
        if let Some((start, end)) = text.function.filter(|&(s, e)| s <= at && at < e) {
            from = from.max(start.0);
            to = to.min(end.0);
        }
        from = from.max(at.0.saturating_sub(reach));
        to = to.min(at.0.saturating_add(reach));
        // On the grid of the site, whatever the text's base is.
        let base = Addr(at.0 - (at.0.saturating_sub(from) & !3));
        let bytes = text.from(base);
        let len = usize::try_from(to.saturating_sub(base.0)).unwrap_or(0).min(bytes.len());
        let (words, _) = bytes[..len].as_chunks();
        Window { base, words }
    }

    fn index(&self, at: Addr) -> Option<usize> {
        let index = usize::try_from(at.0.checked_sub(self.base.0)? / 4).ok()?;
        (index < self.words.len()).then_some(index)
    }

    fn load_exclusives(&self) -> impl Iterator<Item = usize> {
        let words = self.words.iter().map(|&bytes| u32::from_le_bytes(bytes));
        words.enumerate().filter(|&(_, word)| decode::is_load_exclusive(word)).map(|(i, _)| i)
    }

    /// Follows every way behind the instruction at `head`.
    fn walk_behind(&self, head: usize) -> Walk {
        self.walk(head + 1)
    }

    /// Follows every way from the instruction at `first`, itself included.
    fn walk(&self, first: usize) -> Walk {
        let mut walk = Walk::default();
        let mut pending = Set::default();
        pending.add(first);
        while let Some(index) = pending.take() {
            let Some(&bytes) = self.words.get(index) else { continue };
            if walk.seen.has(index) {
                continue;
            }
            let insn = decode::decode(u32::from_le_bytes(bytes));
            match insn {
                Insn::LoadExclusive => continue,
                Insn::StoreExclusive | Insn::ClearExclusive => {
                    walk.ends = true;
                    continue;
                }
                Insn::WaitForEvent => walk.waits = true,
                _ => {}
            }
            walk.seen.add(index);
            let (next, target) = successors(insn);
            if next {
                pending.add(index + 1);
            }
            let at = self.base.add(4 * index as u64);
            if let Some(target) = target.and_then(|by| self.index(at.offset(by.into()))) {
                pending.add(target);
            }
        }
        walk
    }
}

/// Whether control goes on behind `insn`, and the offset of a direct branch. Calls are taken
/// to come back.
fn successors(insn: Insn) -> (bool, Option<i32>) {
    match insn {
        Insn::Simulated(effect) => match effect {
            Effect::Branch { offset } => (false, Some(offset)),
            Effect::BranchIf { offset, .. } => (true, Some(offset)),
            Effect::BranchRegister { .. } | Effect::Return { .. } => (false, None),
            _ => (true, None),
        },
        Insn::Signed(signed) => (signed.branch == decode::Indirect::Call, None),
        Insn::Refused(Reason::Undecodable | Reason::Exception | Reason::ExceptionReturn) => {
            (false, None)
        }
        _ => (true, None),
    }
}

/// A set of instructions in a window.
#[derive(Default)]
struct Set([u64; BITS / 64]);

impl Set {
    fn has(&self, index: usize) -> bool {
        self.0.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// Adds `index`; one outside the window is ignored.
    fn add(&mut self, index: usize) {
        if let Some(word) = self.0.get_mut(index / 64) {
            *word |= 1 << (index % 64);
        }
    }

    fn take(&mut self) -> Option<usize> {
        let (i, word) = self.0.iter_mut().enumerate().find(|(_, word)| **word != 0)?;
        let bit = word.trailing_zeros();
        *word &= *word - 1;
        Some(i * 64 + bit as usize)
    }
}
