//! Counters that trampolines write.

use crate::engine::ConsumerId;
use std::cell::RefCell;
use std::sync::atomic::Ordering;
use xol_targets::shared::Shared;

/// Counters in memory that processes of one origin share, and whose they are.
#[derive(Debug)]
pub(in crate::trace) struct Tally {
    shared: Shared,
    inner: RefCell<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// What was passed on of each counter already.
    passed: Vec<u64>,
    /// Whom it is for, and whether it counts what they missed.
    consumers: Vec<(Vec<ConsumerId>, bool)>,
}

impl Tally {
    pub(in crate::trace) fn new(shared: Shared) -> Tally {
        Tally { shared, inner: RefCell::default() }
    }

    /// How many counters are free.
    pub(in crate::trace) fn free(&self) -> usize {
        self.shared.words().len() - self.inner.borrow().passed.len()
    }

    /// A new counter of hits for `consumers`, or of records that they missed: its offset in bytes.
    pub(in crate::trace) fn add(&self, consumers: Vec<ConsumerId>, missed: bool) -> Option<u64> {
        let mut inner = self.inner.borrow_mut();
        let number = inner.passed.len();
        let word = self.shared.words().get(number)?;
        inner.passed.push(word.load(Ordering::Relaxed));
        inner.consumers.push((consumers, missed));
        Some(number as u64 * 8)
    }

    /// Gives each counter's growth to `counted`: whom it is for, whether it is of missed records,
    /// how much.
    pub(in crate::trace) fn pass_on(&self, counted: &mut dyn FnMut(&[ConsumerId], bool, u64)) {
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
