//! How many instructions of what: by plan, by the strategy `auto` takes, by reason.

use super::line::Verdict;
use std::collections::BTreeMap;
use std::fmt::Write;
use xol::engine::{Wish, choose};
use xol::report::json::Object;
use xol_arch::Reason;

#[derive(Default)]
pub(super) struct Sums {
    plans: BTreeMap<&'static str, u64>,
    strategies: BTreeMap<&'static str, u64>,
    reasons: BTreeMap<Reason, u64>,
    all: u64,
}

impl Sums {
    pub(super) fn add(&mut self, verdict: &Verdict) {
        self.all += 1;
        match verdict {
            Verdict::Plan { word, strategies } => {
                *self.plans.entry(word).or_default() += 1;
                let strategy = choose(Wish::Auto, *strategies).map_or("none", |s| s.name());
                *self.strategies.entry(strategy).or_default() += 1;
            }
            Verdict::Reject(reject) => {
                *self.plans.entry("reject").or_default() += 1;
                *self.reasons.entry(reject.reason).or_default() += 1;
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all == 0
    }

    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        let share = |n: u64| n as f64 * 100.0 / self.all.max(1) as f64;
        let what = if self.all == 1 { "instruction" } else { "instructions" };
        let _ = writeln!(out, "\n{} {what}", self.all);
        for (name, n) in &self.plans {
            let _ = writeln!(out, "{n:>12}  {:>5.1} %  {name}", share(*n));
        }
        if !self.strategies.is_empty() {
            let _ = writeln!(out, "by the strategy that auto takes");
        }
        for (name, n) in &self.strategies {
            let _ = writeln!(out, "{n:>12}  {:>5.1} %  {name}", share(*n));
        }
        if !self.reasons.is_empty() {
            let _ = writeln!(out, "rejected because");
        }
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
        for (reason, n) in reasons {
            let (id, sentence) = (reason.id(), reason.sentence());
            let _ = writeln!(out, "{n:>12}  {:>5.1} %  {id}: {sentence}", share(*n));
        }
        out
    }

    pub(super) fn json(&self) -> String {
        let mut out = String::new();
        let mut object = Object::new(&mut out);
        object.number("instructions", self.all);
        let names = |map: &BTreeMap<&'static str, u64>, out: &mut String| {
            let mut object = Object::new(out);
            map.iter().for_each(|(name, n)| object.number(name, n));
            object.end();
        };
        object.nested("plans", |out| names(&self.plans, out));
        object.nested("strategies", |out| names(&self.strategies, out));
        let reasons = self.reasons.iter().map(|(reason, n)| (reason.id(), *n)).collect();
        object.nested("reasons", |out| names(&reasons, out));
        object.end();
        out.push('\n');
        out
    }
}
