//! How many instructions of what: by plan, by strategy, by reason; how many functions can be
//! probed where they begin; and the places that cannot.

use super::line::{Insn, Verdict};
use std::collections::BTreeMap;
use std::fmt::Write;
#[cfg(feature = "measure")]
use xol::compare::Share;
use xol::engine::{Wish, choose};
use xol::report::json::Object;
use xol_arch::{Reason, Strategy};

/// So many places are listed for each reason.
const LISTED: usize = 20;

#[derive(Default)]
pub(super) struct Sums {
    plans: BTreeMap<&'static str, u64>,
    /// What `auto` takes.
    strategies: BTreeMap<&'static str, u64>,
    /// What could be taken: an instruction counts for each that is correct.
    possible: BTreeMap<Strategy, u64>,
    reasons: BTreeMap<Reason, Rejected>,
    all: u64,
    entries: u64,
    entries_planned: u64,
    entries_jump: u64,
    /// Why there is no jump: at how many instructions, at how many functions' entries.
    no_jumps: BTreeMap<Reason, (u64, u64)>,
}

/// What cannot be probed, for one reason.
#[derive(Default)]
struct Rejected {
    count: u64,
    /// The first of them: where and what.
    places: Vec<String>,
}

impl Sums {
    /// Counts an instruction; `function` is where the one around it begins, and its name.
    pub(super) fn add(&mut self, insn: &Insn<'_>, function: Option<&(u64, String)>) {
        let entry = function.is_some_and(|(start, _)| *start == insn.addr);
        self.all += 1;
        self.entries += u64::from(entry);
        match insn.verdict.no_jump() {
            None => self.entries_jump += u64::from(entry),
            Some(reason) => {
                let (all, entries) = self.no_jumps.entry(reason).or_default();
                *all += 1;
                *entries += u64::from(entry);
            }
        }
        match &insn.verdict {
            Verdict::Plan { word, strategies, .. } => {
                self.entries_planned += u64::from(entry);
                *self.plans.entry(word).or_default() += 1;
                let strategy = choose(Wish::Auto, *strategies).map_or("none", |s| s.name());
                *self.strategies.entry(strategy).or_default() += 1;
                for strategy in strategies.iter() {
                    *self.possible.entry(strategy).or_default() += 1;
                }
            }
            Verdict::Reject(reject) => {
                *self.plans.entry("reject").or_default() += 1;
                let rejected = self.reasons.entry(reject.reason).or_default();
                rejected.count += 1;
                if rejected.places.len() < LISTED {
                    let mut place = format!("{:x}", insn.addr);
                    if let Some((start, name)) = function {
                        let _ = write!(place, " <{name}+{:#x}>", insn.addr.wrapping_sub(*start));
                    }
                    rejected.places.push(format!("{place}  {}", insn.text));
                }
            }
        }
    }

    /// How many instructions each strategy can take, of this object.
    #[cfg(feature = "measure")]
    pub(super) fn shares(&self, object: &str) -> Vec<Share> {
        let share = |(strategy, possible): (&Strategy, &u64)| Share {
            strategy: strategy.name().to_owned(),
            object: object.to_owned(),
            instructions: self.all,
            possible: *possible,
        };
        self.possible.iter().map(share).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all == 0
    }

    /// With `places`, what cannot be probed is listed.
    pub(super) fn text(&self, places: bool) -> String {
        let mut out = String::new();
        let share = |n: u64| n as f64 * 100.0 / self.all.max(1) as f64;
        let what = if self.all == 1 { "instruction" } else { "instructions" };
        let _ = writeln!(out, "\n{} {what}", self.all);
        for (name, n) in &self.plans {
            let _ = writeln!(out, "{n:>12}  {:>5.1} %  {name}", share(*n));
        }
        if !self.possible.is_empty() {
            let _ = writeln!(out, "by the strategies that are correct");
        }
        for (strategy, n) in &self.possible {
            let _ = writeln!(out, "{n:>12}  {:>5.1} %  {}", share(*n), strategy.name());
        }
        if !self.strategies.is_empty() {
            let _ = writeln!(out, "by the strategy that auto takes");
        }
        for (name, n) in &self.strategies {
            let _ = writeln!(out, "{n:>12}  {:>5.1} %  {name}", share(*n));
        }
        if self.entries > 0 {
            let (all, can) = (self.entries, self.entries_planned);
            let share = can as f64 * 100.0 / all as f64;
            let _ = writeln!(out, "functions that can be probed where they begin");
            let _ = writeln!(out, "{can:>12}  {share:>5.1} %  of {all}");
            let (can, share) = (self.entries_jump, self.entries_jump as f64 * 100.0 / all as f64);
            let _ = writeln!(out, "by a jump, where the process has room for it");
            let _ = writeln!(out, "{can:>12}  {share:>5.1} %  of {all}");
        }
        if !self.reasons.is_empty() {
            let _ = writeln!(out, "rejected because");
        }
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_unstable_by_key(|(reason, of)| (std::cmp::Reverse(of.count), **reason));
        for (reason, Rejected { count, places: first }) in reasons {
            let (id, sentence) = (reason.id(), reason.sentence());
            let _ = writeln!(out, "{count:>12}  {:>5.1} %  {id}: {sentence}", share(*count));
            if !places {
                continue;
            }
            for place in first {
                let _ = writeln!(out, "{:24}{place}", "");
            }
            if *count > first.len() as u64 {
                let _ = writeln!(out, "{:24}and {} more", "", count - first.len() as u64);
            }
        }
        self.no_jumps_text(&mut out);
        out
    }

    fn no_jumps_text(&self, out: &mut String) {
        if self.no_jumps.is_empty() {
            return;
        }
        let _ = writeln!(out, "no jump because; and so many of them where functions begin");
        let mut reasons: Vec<_> = self.no_jumps.iter().collect();
        reasons.sort_unstable_by_key(|(reason, (all, _))| (std::cmp::Reverse(*all), **reason));
        for (reason, (all, entries)) in reasons {
            let share = *all as f64 * 100.0 / self.all.max(1) as f64;
            let (id, sentence) = (reason.id(), reason.sentence());
            let _ = writeln!(out, "{all:>12}  {share:>5.1} % {entries:>7}  {id}: {sentence}");
        }
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
        let possible = self.possible.iter().map(|(strategy, n)| (strategy.name(), *n)).collect();
        let reasons = self.reasons.iter().map(|(reason, r)| (reason.id(), r.count)).collect();
        let no_jumps = self.no_jumps.iter();
        let no_jump = no_jumps.clone().map(|(reason, (all, _))| (reason.id(), *all)).collect();
        let at_entries =
            no_jumps.filter(|(_, n)| n.1 > 0).map(|(reason, n)| (reason.id(), n.1)).collect();
        object.nested("plans", |out| names(&self.plans, out));
        object.nested("possible", |out| names(&possible, out));
        object.nested("strategies", |out| names(&self.strategies, out));
        object.number("functions", self.entries);
        object.number("functions_planned", self.entries_planned);
        object.number("functions_jump", self.entries_jump);
        object.nested("reasons", |out| names(&reasons, out));
        object.nested("no_jump", |out| names(&no_jump, out));
        object.nested("functions_no_jump", |out| names(&at_entries, out));
        object.end();
        out.push('\n');
        out
    }
}
