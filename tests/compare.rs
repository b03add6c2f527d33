//! xol's counts beside the kernel's, site by site.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::elf::{Insn, Object, kernel_blind_spot, sample};
use crate::run::{Finished, Run};
use crate::uprobes::{self, Moment, Refused};
use crate::xol;

/// How often the kernel is asked again where its count and ours differ.
const AGAIN: usize = 4;

/// Which places of an object are compared.
#[derive(Clone, Debug)]
pub enum Choice {
    /// Function entries: all, or some.
    Entries {
        /// How many, if not all.
        some: Option<usize>,
        /// Which.
        seed: u64,
    },
    /// Instruction boundaries.
    Instructions {
        /// How many.
        some: usize,
        /// Which.
        seed: u64,
    },
    /// Entries whose names do not stand for functions that are chosen when the program is loaded.
    Named,
    /// Every instruction boundary of functions with these names.
    Functions(Vec<&'static str>),
}

/// One place and what both say about it.
#[derive(Clone, Debug)]
pub struct Row {
    /// The instruction there.
    pub insn: Insn,
    /// The function it is in, with the distance from its start.
    pub place: String,
    /// The kernel's count, or why it has none.
    pub kernel: Result<u64, Refused>,
    /// xol's count; `None` where it rejected the site.
    pub xol: Option<u64>,
    /// The strategy, or the reason of the reject.
    pub how: String,
}

impl Row {
    /// Whether what the two say can both be true.
    #[must_use]
    pub fn equal(&self) -> bool {
        match (self.kernel, self.xol) {
            (Ok(kernel), Some(xol)) => {
                // It steps through each round of a REP, and hits again.
                let rounds = kernel > xol && self.insn.text.starts_with("rep");
                let blind = kernel == 0 && kernel_blind_spot(&self.insn).is_some();
                kernel == xol || blind || rounds
            }
            // Nothing to compare with: listed, not judged.
            (Err(_), _) | (_, None) => true,
        }
    }
}

/// A comparison of one object in one command.
#[derive(Clone, Debug)]
pub struct Comparison {
    command: String,
    /// One for each place.
    pub rows: Vec<Row>,
    /// Places where runs under uprobes differed: the program is not deterministic there.
    pub unsteady: Vec<String>,
}

/// Places of an object that were chosen, to be compared in any number of commands.
#[derive(Clone, Debug)]
pub struct Places {
    object: Object,
    chosen: Vec<(Insn, String)>,
    /// What the kernel has refused already: finding out takes it seconds.
    refused: RefCell<BTreeMap<u64, Refused>>,
}

/// Counts with xol and with uprobes; with these again where they differ.
///
/// # Panics
/// If a run fails.
#[must_use]
pub fn compare(object: &Object, choice: &Choice, command: &Run) -> Comparison {
    places(object, choice).compare(command)
}

/// Chooses.
///
/// # Panics
/// If binutils do not understand the object.
#[must_use]
pub fn places(object: &Object, choice: &Choice) -> Places {
    let functions = object.functions();
    let instructions = object.instructions();
    let at: BTreeMap<u64, &Insn> = instructions.iter().map(|i| (i.addr, i)).collect();
    let chosen: Vec<Insn> = match *choice {
        Choice::Entries { some, seed } => {
            let mut addrs: Vec<u64> = functions.iter().map(|f| f.addr).collect();
            addrs.dedup();
            let addrs = some.map_or_else(|| addrs.clone(), |n| sample(&addrs, n, seed));
            addrs.iter().filter_map(|a| at.get(a).map(|&i| i.clone())).collect()
        }
        Choice::Instructions { some, seed } => {
            let inside = |i: &&Insn| {
                let next = functions.partition_point(|f| f.addr <= i.addr);
                functions[..next].last().is_some_and(|f| i.addr < f.addr + f.size)
            };
            let all: Vec<Insn> = instructions.iter().filter(inside).cloned().collect();
            sample(&all, some, seed)
        }
        Choice::Named => {
            let chosen: BTreeSet<u64> =
                functions.iter().filter(|f| f.ifunc).map(|f| f.addr).collect();
            let mut addrs: Vec<u64> = functions.iter().map(|f| f.addr).collect();
            addrs.dedup();
            let named = addrs.iter().filter(|addr| !chosen.contains(addr));
            named.filter_map(|a| at.get(a).map(|&i| i.clone())).collect()
        }
        Choice::Functions(ref names) => {
            let named = functions.iter().filter(|f| names.contains(&f.name.as_str()));
            let ranges: BTreeMap<u64, u64> = named.map(|f| (f.addr, f.addr + f.size)).collect();
            let inside = |i: &&Insn| {
                ranges.range(..=i.addr).next_back().is_some_and(|(_, &end)| i.addr < end)
            };
            instructions.iter().filter(inside).cloned().collect()
        }
    };
    let place = |insn: &Insn| {
        let around = functions.partition_point(|f| f.addr <= insn.addr);
        let around = functions[..around].last();
        around.map_or_else(String::new, |f| format!("{}+{:#x}", f.name, insn.addr - f.addr))
    };
    let chosen = chosen.into_iter().map(|insn| (insn.clone(), place(&insn))).collect();
    Places { object: object.clone(), chosen, refused: RefCell::default() }
}

impl Places {
    /// Counts in `command` with xol and with uprobes; with these again where they differ.
    ///
    /// # Panics
    /// If a run fails.
    #[must_use]
    pub fn compare(&self, command: &Run) -> Comparison {
        let path = self.object.path.display();
        let probes: Vec<String> =
            self.chosen.iter().map(|(i, _)| format!("{path}:{:#x}", i.addr)).collect();
        let same = self.compare_with(&[], &probes, command);
        assert_eq!(same.rows.len() + same.unsteady.len(), self.chosen.len(), "a place has no line");
        same
    }

    /// The same with these OPTIONS and PROBEs of xol's. Places that they do not mean are left out.
    ///
    /// # Panics
    /// If a run fails.
    #[must_use]
    pub fn compare_with(&self, options: &[&str], probes: &[String], command: &Run) -> Comparison {
        let counted = xol::count(options, probes, command);
        let lines: BTreeMap<u64, &xol::Line> = counted.lines.iter().map(|l| (l.addr, l)).collect();
        let chosen = self.chosen.iter().filter(|(insn, _)| lines.contains_key(&insn.addr));
        let chosen: Vec<_> = chosen.collect();
        let (finished, kernel) = self.ask(&chosen, command);
        finished.assert_same(&counted.finished);
        let mut rows = Vec::new();
        let mut unsteady = Vec::new();
        for (insn, place) in chosen.iter().copied() {
            let line = lines[&insn.addr];
            let how = line.reason.clone().unwrap_or_else(|| line.strategy.clone());
            let xol = line.reason.is_none().then_some(line.hits);
            let (insn, place) = (insn.clone(), place.clone());
            rows.push(Row { kernel: kernel[&insn.addr], insn, place, xol, how });
        }
        // What one run does, another may not (hashes, addresses, caches that are cold): the kernel says,
        // or we do when we count what it has counted.
        for _ in 0..AGAIN {
            if rows.iter().all(Row::equal) {
                break;
            }
            let (_, hits) = self.ask(&chosen, command);
            let counted = xol::count(options, probes, command);
            rows.retain(|row| {
                let now = hits[&row.insn.addr];
                let line = counted.lines.iter().find(|l| l.addr == row.insn.addr);
                let ours = line.map(|l| l.hits);
                let steady = now == row.kernel && (row.equal() || ours != now.ok());
                if !steady {
                    let Row { place, kernel, xol, .. } = row;
                    unsteady
                        .push(format!("{place}: {kernel:?} then {now:?}; {xol:?} then {ours:?}"));
                }
                steady
            });
        }
        Comparison { command: command.to_string(), rows, unsteady }
    }

    /// What the kernel counts in `command`, by address, and how that ended.
    fn ask(
        &self,
        chosen: &[&(Insn, String)],
        command: &Run,
    ) -> (Finished, BTreeMap<u64, Result<u64, Refused>>) {
        let mut refused = self.refused.borrow_mut();
        let asked: Vec<u64> =
            chosen.iter().map(|(i, _)| i.addr).filter(|at| !refused.contains_key(at)).collect();
        let offset = |&at: &u64| self.object.offset(at).expect("an instruction of a segment");
        let offsets: Vec<u64> = asked.iter().map(offset).collect();
        let counts = uprobes::count(&self.object.path, &offsets, Moment::Entry, command);
        let mut hits: BTreeMap<u64, _> = refused.iter().map(|(&at, &why)| (at, Err(why))).collect();
        for (at, site) in asked.into_iter().zip(counts.sites) {
            if let Err(why) = site.hits {
                refused.insert(at, why);
            }
            hits.insert(at, site.hits);
        }
        (counts.finished, hits)
    }
}

impl Comparison {
    /// That nothing differs, and that there was something to compare.
    ///
    /// # Panics
    /// If something differs, with the table of what does.
    pub fn assert_equal(&self) {
        println!("{self}");
        let hit = self.rows.iter().filter(|r| r.xol.is_some_and(|n| n > 0)).count();
        assert!(self.rows.iter().all(Row::equal), "{self}");
        assert!(hit > 0, "nothing was hit: {self}");
        assert!(self.unsteady.len() * 100 <= self.rows.len(), "not deterministic: {self}");
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is = |what: fn(&Row) -> bool| self.rows.iter().filter(|r| what(r)).count();
        writeln!(f, "{}: {} sites", self.command, self.rows.len())?;
        let equal = is(|r| matches!((r.kernel, r.xol), (Ok(k), Some(x)) if k == x));
        let hit = is(|r| matches!((r.kernel, r.xol), (Ok(k), Some(x)) if k == x && k > 0));
        writeln!(f, "  equal: {equal}, of these {hit} above zero")?;
        writeln!(f, "  not deterministic: {}", self.unsteady.len())?;
        let list = |f: &mut fmt::Formatter<'_>, title: &str, what: fn(&Row) -> bool| {
            let rows: Vec<&Row> = self.rows.iter().filter(|r| what(r)).collect();
            writeln!(f, "  {title}: {}", rows.len())?;
            rows.iter().take(60).try_for_each(|r| writeln!(f, "    {r}"))
        };
        list(f, "DIFFERENT", |r| !r.equal())?;
        list(f, "hit by xol, refused by the kernel", |r| r.kernel.is_err() && r.xol.is_some())?;
        list(
            f,
            "hit by xol, accepted but never hit by the kernel",
            |r| matches!((r.kernel, r.xol), (Ok(0), Some(x)) if x > 0),
        )?;
        list(f, "rejected by xol", |r| r.xol.is_none())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kernel = match self.kernel {
            Ok(hits) => hits.to_string(),
            Err(errno) => format!("refused ({errno})"),
        };
        let xol = self.xol.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let Insn { addr, text, .. } = &self.insn;
        write!(f, "{addr:#x} {} `{text}`: kernel {kernel}, xol {xol} ({})", self.place, self.how)
    }
}
