//! From the processor's ticks to CLOCK_MONOTONIC.

use std::collections::VecDeque;

/// Moments that are remembered: older records are rare, and less exact.
const MOST: usize = 64;

/// Moments at which both clocks were read. Between two of them time goes evenly, so what is older
/// in ticks is never younger in nanoseconds.
#[derive(Debug, Default)]
pub(in crate::trace) struct Clock {
    moments: VecDeque<(u64, u64)>,
}

impl Clock {
    /// Reads both clocks: the ticks before and after the time. The tightest of a few counts.
    pub(in crate::trace) fn mark(&mut self, ticks: impl Fn() -> u64, ns: impl Fn() -> u64) {
        let tries = (0..4).map(|_| (ticks(), ns(), ticks()));
        if let Some((before, ns, after)) = tries.min_by_key(|(before, _, after)| after - before) {
            self.add((before + (after - before) / 2, ns));
        }
    }

    fn add(&mut self, (ticks, ns): (u64, u64)) {
        if self.moments.back().is_some_and(|&(t, n)| ticks <= t || ns <= n) {
            return;
        }
        if self.moments.len() == MOST {
            // The first stays: with it the pace is known best.
            self.moments.remove(1);
        }
        self.moments.push_back((ticks, ns));
    }

    /// The time of a tick that is not younger than the last moment; older than the first, it is
    /// reckoned back.
    pub(in crate::trace) fn ns(&self, ticks: u64) -> u64 {
        let last = self.moments.len().saturating_sub(1);
        // Most are as young as that.
        let at = match last.checked_sub(1).and_then(|before| self.moments.get(before)) {
            Some(&(t, _)) if t < ticks => last,
            _ => self.moments.partition_point(|&(t, _)| t < ticks),
        };
        let to = at.clamp(1.min(last), last);
        let (Some(&a), Some(&b)) = (self.moments.get(to.saturating_sub(1)), self.moments.get(to))
        else {
            return 0;
        };
        let (ticks_between, ns_between) = (b.0 - a.0, b.1 - a.1);
        if ticks_between == 0 {
            return a.1;
        }
        // A division of half the width is several times faster.
        if let Some(since) = ticks.checked_sub(a.0)
            && let Some(scaled) = since.checked_mul(ns_between)
        {
            return a.1.saturating_add(scaled / ticks_between);
        }
        let since = i128::from(ticks) - i128::from(a.0);
        let ns = since * i128::from(ns_between) / i128::from(ticks_between);
        u64::try_from(i128::from(a.1) + ns).unwrap_or(0)
    }

    /// About how many ticks go by in `ns`.
    pub(in crate::trace) fn ticks_in(&self, ns: u64) -> u64 {
        let (Some(a), Some(b)) = (self.moments.front(), self.moments.back()) else { return 0 };
        let (ticks, all) = (u128::from(b.0 - a.0), u128::from(b.1 - a.1));
        u64::try_from(u128::from(ns) * ticks / all.max(1)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_evenly_between_two_moments() {
        let mut clock = Clock::default();
        for moment in [(1000, 500), (2000, 1000), (3000, 1400)] {
            clock.add(moment);
        }
        let ns = [500, 1000, 1500, 2000, 2500, 3000, 3500].map(|ticks| clock.ns(ticks));
        assert_eq!(ns, [250, 500, 750, 1000, 1200, 1400, 1600]);
        assert_eq!(clock.ticks_in(900), 2000);
    }

    #[test]
    fn what_is_later_is_never_earlier() {
        let mut clock = Clock::default();
        let mut last = 0;
        for n in 0..200_u64 {
            // A clock that is slewed, and sometimes read late.
            clock.add((n * 1_000_003, n * 400_000 + n % 7 * 13_000));
            for k in 0..10 {
                let ticks = n.saturating_sub(1) * 1_000_003 + k * 100_000;
                let now = clock.ns(ticks);
                assert!(now >= last, "{n} {k}");
                last = now;
            }
        }
        assert!(clock.moments.len() <= MOST && last > 199 * 300_000);
    }

    #[test]
    fn one_moment_or_none_is_no_pace() {
        let mut clock = Clock::default();
        assert_eq!((clock.ns(5), clock.ticks_in(5)), (0, 0));
        clock.add((100, 200));
        assert_eq!((clock.ns(150), clock.ticks_in(5)), (200, 0));
    }
}
