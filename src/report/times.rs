//! How long calls took, however many there were: in buckets of one relative width.
//!
//! Every power of two from 64 ns on is cut into 64 buckets of one width; what is shorter is counted
//! exactly. A percentile is the middle of the bucket that the exact one is in, so it is wrong by no
//! more than one part in 128: less than 0.8 %. Sum, shortest and longest are exact. Memory is taken
//! for the powers of two that occur, 512 bytes each, 59 at most.

/// Buckets of a power of two.
const PARTS: u64 = 64;
/// Its binary logarithm.
const PARTS_LOG: u32 = PARTS.ilog2();

/// One bar of a histogram: from, up to but without, and how many.
pub type Bar = (u64, u64, u64);

/// The durations of calls, in ns.
#[derive(Clone, Debug, Default)]
pub struct Times {
    /// The first has 0..64, the others a power of two each.
    blocks: Vec<Option<Box<[u64; PARTS as usize]>>>,
    calls: u64,
    total: u64,
    min: u64,
    max: u64,
}

/// Where a time is counted: the block, and the bucket in it.
fn place(ns: u64) -> (usize, usize) {
    match ns.checked_ilog2() {
        Some(log) if log >= PARTS_LOG => {
            let shift = log - PARTS_LOG;
            (shift as usize + 1, ((ns >> shift) - PARTS) as usize)
        }
        _ => (0, ns as usize),
    }
}

/// The first time that is counted there, and how many more are.
fn bucket((block, part): (usize, usize)) -> (u64, u64) {
    match block.checked_sub(1) {
        Some(shift) => ((PARTS + part as u64) << shift, 1 << shift),
        None => (part as u64, 1),
    }
}

impl Times {
    /// Counts one call.
    pub fn add(&mut self, ns: u64) {
        let (block, part) = place(ns);
        if self.blocks.len() <= block {
            self.blocks.resize_with(block + 1, || None);
        }
        if let Some(place) = self.blocks.get_mut(block) {
            let counts = place.get_or_insert_with(|| Box::new([0; PARTS as usize]));
            counts[part % PARTS as usize] += 1;
        }
        self.min = if self.calls == 0 { ns } else { self.min.min(ns) };
        self.max = self.max.max(ns);
        self.calls += 1;
        self.total = self.total.saturating_add(ns);
    }

    /// How many calls there were.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Their sum.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The shortest; `None` where there was no call.
    #[must_use]
    pub fn min(&self) -> Option<u64> {
        (self.calls > 0).then_some(self.min)
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Option<u64> {
        (self.calls > 0).then_some(self.max)
    }

    /// The mean, rounded down.
    #[must_use]
    pub fn mean(&self) -> Option<u64> {
        self.total.checked_div(self.calls)
    }

    /// The time that so many of a thousand calls do not exceed, less than 0.8 % off.
    #[must_use]
    pub fn per_mille(&self, part: u64) -> Option<u64> {
        let rank = (u128::from(self.calls) * u128::from(part)).div_ceil(1000).max(1);
        let mut seen = 0;
        let found = self.buckets().find(|&(_, _, calls)| {
            seen += u128::from(calls);
            seen >= rank
        });
        found.map(|(from, width, _)| (from + width / 2).clamp(self.min, self.max))
    }

    /// First time, width and number of calls of each bucket that has any, the shortest first.
    fn buckets(&self) -> impl Iterator<Item = Bar> {
        self.blocks.iter().enumerate().flat_map(|(block, counts)| {
            counts.iter().flat_map(move |counts| {
                let calls = counts.iter().enumerate().filter(|&(_, &calls)| calls > 0);
                calls.map(move |(part, &calls)| {
                    let (from, width) = bucket((block, part));
                    (from, width, calls)
                })
            })
        })
    }

    /// How many calls were shorter than so many ns: a power of two from 64 on.
    #[must_use]
    pub fn shorter_than(&self, power: u64) -> u64 {
        self.buckets().filter(|&(from, ..)| from < power).map(|(.., calls)| calls).sum()
    }

    /// The calls by powers of two, without the empty ones at both ends. The first may be 0 alone.
    #[must_use]
    pub fn powers(&self) -> Vec<Bar> {
        let mut bars: Vec<Bar> = Vec::new();
        for (from, _, calls) in self.buckets() {
            let mut next = bars.last().map_or_else(|| power(from), |&(_, to, _)| power(to));
            loop {
                if bars.last().is_some_and(|&(_, to, _)| from < to) {
                    break;
                }
                bars.push((next.0, next.1, 0));
                next = power(next.1);
            }
            if let Some(bar) = bars.last_mut() {
                bar.2 += calls;
            }
        }
        bars
    }
}

/// The power of two that a number is in.
fn power(n: u64) -> (u64, u64) {
    let from = n.checked_ilog2().map_or(0, |log| 1 << log);
    (from, if from == 0 { 1 } else { from.saturating_mul(2) })
}

/// Bars of one width: `--linear A,B,STEP`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    from: u64,
    step: u64,
    bars: usize,
}

impl Linear {
    /// The most bars that make sense.
    pub const MOST: u64 = 1000;

    /// Bars from `from` to `to`.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(from: u64, to: u64, step: u64) -> Result<Linear, &'static str> {
        if step == 0 {
            return Err("a bar needs a width: STEP is 0");
        }
        let Some(range) = to.checked_sub(from).filter(|&range| range > 0) else {
            return Err("B must be more than A");
        };
        let bars = range.div_ceil(step);
        if bars > Self::MOST {
            return Err("that is more than 1000 bars: a bigger STEP is needed");
        }
        Ok(Linear { from, step, bars: bars as usize })
    }
}

/// Counts by [`Linear`] bars.
#[derive(Clone, Debug)]
pub struct Counts {
    of: Linear,
    below: u64,
    within: Vec<u64>,
    above: u64,
}

impl Counts {
    /// None yet.
    #[must_use]
    pub fn new(of: Linear) -> Counts {
        Counts { of, below: 0, within: vec![0; of.bars], above: 0 }
    }

    /// Counts one.
    pub fn add(&mut self, n: u64) {
        let place = match n.checked_sub(self.of.from) {
            None => &mut self.below,
            Some(over) => match self.within.get_mut((over / self.of.step) as usize) {
                Some(bar) => bar,
                None => &mut self.above,
            },
        };
        *place += 1;
    }

    /// All of them; what is below and above is a bar each where there is any. `max` is the biggest.
    #[must_use]
    pub fn bars(&self, max: u64) -> Vec<Bar> {
        let Linear { from, step, bars } = self.of;
        let end = from.saturating_add(step.saturating_mul(bars as u64));
        let within = self.within.iter().enumerate().map(|(n, &calls)| {
            let low = from + step * n as u64;
            (low, low.saturating_add(step), calls)
        });
        let below = (self.below > 0).then_some((0, from, self.below));
        let above = (self.above > 0).then_some((end, max.saturating_add(1), self.above));
        below.into_iter().chain(within).chain(above).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of every size, the same in each run (splitmix64).
    fn random(n: usize) -> Vec<u64> {
        let mut state = 0x1234_5678_u64;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ z >> 31
        };
        (0..n).map(|_| next() >> (next() % 64)).collect()
    }

    #[test]
    fn percentiles_are_within_the_bound() {
        for n in [1, 2, 3, 10, 99, 1000, 54_321] {
            for all in [random(n), random(n).iter().map(|r| r % 5000).collect()] {
                let mut times = Times::default();
                all.iter().for_each(|&ns| times.add(ns));
                let mut sorted = all.clone();
                sorted.sort_unstable();
                for part in [1, 250, 500, 900, 990, 999, 1000] {
                    let rank = (n as u64 * part).div_ceil(1000).max(1) as usize;
                    let (exact, told) = (sorted[rank - 1], times.per_mille(part).unwrap());
                    let off = u128::from(exact.abs_diff(told));
                    assert!(off * 128 <= u128::from(exact), "{part} of {n}: {told} for {exact}");
                }
                assert_eq!(
                    (times.min(), times.max()),
                    (sorted.first().copied(), Some(sorted[n - 1]))
                );
                let sum = all.iter().fold(0_u64, |sum, &ns| sum.saturating_add(ns));
                assert_eq!((times.total(), times.calls()), (sum, n as u64));
            }
        }
        let none = Times::default();
        assert_eq!((none.per_mille(500), none.mean(), none.min()), (None, None, None));
        assert!(none.powers().is_empty());
    }

    #[test]
    fn buckets_have_no_gaps() {
        let mut next = 0;
        for block in 0..59 {
            for part in 0..64 {
                let (from, width) = bucket((block, part));
                assert_eq!((from, place(from)), (next, (block, part)));
                assert_eq!(place(from + (width - 1)), (block, part));
                next = from.wrapping_add(width);
            }
        }
        assert_eq!(next, 0, "the last one ends with the numbers");
    }

    #[test]
    fn powers_of_two_add_up() {
        let all = random(10_000);
        let mut times = Times::default();
        all.iter().for_each(|&ns| times.add(ns));
        let bars = times.powers();
        for &(from, to, calls) in &bars {
            let within = |ns: &&u64| **ns >= from && (**ns < to || to == u64::MAX);
            assert_eq!(calls, all.iter().filter(within).count() as u64, "{from} {to}");
        }
        assert!(bars.windows(2).all(|pair| pair[0].1 == pair[1].0), "{bars:?}");
        assert_eq!(bars.iter().map(|bar| bar.2).sum::<u64>(), 10_000);
        let mut few = Times::default();
        [0, 5, 6, 40].into_iter().for_each(|ns| few.add(ns));
        let bars =
            [(0, 1, 1), (1, 2, 0), (2, 4, 0), (4, 8, 2), (8, 16, 0), (16, 32, 0), (32, 64, 1)];
        assert_eq!(few.powers(), bars);
    }

    #[test]
    fn bars_of_one_width_have_what_is_outside_too() {
        let mut counts = Counts::new(Linear::new(10, 40, 15).unwrap());
        [0, 9, 10, 24, 25, 39, 40, 1000].into_iter().for_each(|n| counts.add(n));
        assert_eq!(counts.bars(1000), [(0, 10, 2), (10, 25, 2), (25, 40, 2), (40, 1001, 2)]);
        for (from, to, step) in [(0, 10, 0), (10, 10, 1), (10, 5, 1), (0, 1_000_000, 1)] {
            assert!(Linear::new(from, to, step).is_err(), "{from} {to} {step}");
        }
    }
}
