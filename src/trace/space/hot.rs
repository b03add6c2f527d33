//! Sites that have become hot, which become jumps together.

use std::time::{Duration, Instant};
use xol_arch::Addr;

/// How long the first of a batch waits for others: those of one loop get hot together, and may
/// share a window.
pub(in crate::trace) const GATHER: Duration = Duration::from_millis(3);
/// Sites in one batch at most; more wait until they are twice as hot.
const BATCH: usize = 256;

/// The next batch of one address space. Adding to it allocates nothing.
#[derive(Clone, Debug)]
pub(in crate::trace) struct Hot {
    sites: [Addr; BATCH],
    len: usize,
    since: Option<Instant>,
    /// How long the first one waits.
    pub(in crate::trace) wait: Duration,
}

impl Default for Hot {
    fn default() -> Hot {
        Hot { sites: [Addr(0); BATCH], len: 0, since: None, wait: GATHER }
    }
}

impl Hot {
    pub(in crate::trace) fn add(&mut self, at: Addr) {
        let Some(place) = self.sites.get_mut(self.len) else { return };
        *place = at;
        self.len += 1;
        self.since.get_or_insert_with(Instant::now);
    }

    pub(in crate::trace) fn is_due(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= self.wait)
    }

    pub(in crate::trace) fn take(&mut self) -> Vec<Addr> {
        self.since = None;
        self.sites[..std::mem::take(&mut self.len)].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_due_when_its_first_is_old() {
        let mut hot = Hot::default();
        assert!(!hot.is_due());
        for n in 0..BATCH as u64 + 3 {
            hot.add(Addr(n));
        }
        std::thread::sleep(GATHER);
        assert!(hot.is_due());
        assert_eq!((hot.take().len(), hot.is_due()), (BATCH, false));
        hot.wait = Duration::from_secs(1000);
        hot.add(Addr(7));
        std::thread::sleep(GATHER);
        assert!(!hot.is_due());
        assert_eq!(hot.take(), [Addr(7)]);
    }
}
