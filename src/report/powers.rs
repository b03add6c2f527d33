//! Whole numbers by powers of two, negative ones too.

use std::collections::BTreeMap;

/// How often numbers came, by powers of two. At most 130 bars.
#[derive(Clone, Debug, Default)]
pub struct Powers {
    bars: BTreeMap<i128, (i128, u64)>,
    sum: i128,
}

/// The bar that a number is in: from, up to but without.
fn bar(n: i128) -> (i128, i128) {
    match n.unsigned_abs().checked_ilog2() {
        None => (0, 1),
        Some(log) if n > 0 => (1 << log, 1 << (log + 1)),
        Some(log) => (1 - (1 << (log + 1)), 1 - (1 << log)),
    }
}

impl Powers {
    /// Counts one. Numbers have 64 bits at most, with or without a sign.
    pub fn add(&mut self, n: i128) {
        let (from, to) = bar(n);
        self.bars.entry(from).or_insert((to, 0)).1 += 1;
        self.sum += n;
    }

    /// The sum of all numbers.
    #[must_use]
    pub fn sum(&self) -> i128 {
        self.sum
    }

    /// From, up to but without, how many: the lowest first, without the empty ones at both ends.
    #[must_use]
    pub fn bars(&self) -> Vec<(i128, i128, u64)> {
        let mut all: Vec<(i128, i128, u64)> = Vec::new();
        for (&from, &(to, count)) in &self.bars {
            while let Some(next) = all.last().map(|last| bar(last.1)).filter(|next| next.0 < from) {
                all.push((next.0, next.1, 0));
            }
            all.push((from, to, count));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_one_bar() {
        let mut powers = Powers::default();
        for n in -1000..1000 {
            let (from, to) = bar(n);
            assert!(from <= n && n < to, "{n}: {from} {to}");
            powers.add(n);
        }
        let bars = powers.bars();
        assert!(bars.windows(2).all(|pair| pair[0].1 == pair[1].0), "{bars:?}");
        assert_eq!(bars.iter().map(|bar| bar.2).sum::<u64>(), 2000);
        assert_eq!(powers.sum(), -1000);
        let mut few = Powers::default();
        [-5, 2, 3].into_iter().for_each(|n| few.add(n));
        let bars = [(-7, -3, 1), (-3, -1, 0), (-1, 0, 0), (0, 1, 0), (1, 2, 0), (2, 4, 2)];
        assert_eq!(few.bars(), bars);
        let mut ends = Powers::default();
        [i128::from(i64::MIN), i128::from(u64::MAX)].into_iter().for_each(|n| ends.add(n));
        assert_eq!(ends.bars().len(), 64 + 1 + 64);
    }
}
