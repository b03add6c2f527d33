//! Many cases: counting, shrinking, and the line that repeats one.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};
use xol_arch::{Arch, Strategy, Text};

use crate::check::{Difference, check};
use crate::cpu::{Case, Cpu, Way};
use crate::rng::Rng;

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After so many compared states (a state run one way is one).
    States(u64),
    /// After so many states, and then only with the rows that have a way with fewer states than
    /// the floor, until there is none.
    Floor {
        /// In all.
        states: u64,
        /// In each row, each way.
        floor: u64,
    },
    /// After so long.
    Time(Duration),
}

/// How many cases may be made for one that counts before a row is given up.
const PATIENCE: u64 = 200;

/// Compared states by plan row and way.
#[derive(Debug, Default)]
pub struct Counts {
    /// The counts.
    pub rows: BTreeMap<String, BTreeMap<Way, u64>>,
    /// Cases that were run.
    pub cases: u64,
    /// Cases without a plan or an end.
    pub skipped: u64,
}

impl Counts {
    /// All compared states.
    #[must_use]
    pub fn states(&self) -> u64 {
        self.rows.values().flat_map(BTreeMap::values).sum()
    }

    /// The rows, of `rows` and of those that were reached, that have fewer than `floor` states
    /// some way.
    #[must_use]
    pub fn below(&self, floor: u64, rows: &[&str]) -> Vec<String> {
        let missing = rows.iter().filter(|row| !self.rows.contains_key(**row));
        let few = self.rows.iter().filter(|(row, _)| !self.full(row, floor)).map(|(row, _)| row);
        missing.map(ToString::to_string).chain(few.cloned()).collect()
    }

    /// Whether the row was reached, and has `floor` states each way that it has any.
    fn full(&self, row: &str, floor: u64) -> bool {
        self.rows
            .get(row)
            .is_some_and(|ways| !ways.is_empty() && ways.values().all(|n| *n >= floor))
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WAYS: [Way; 8] = [
            Way::Near(Strategy::Step),
            Way::Near(Strategy::Xol),
            Way::Near(Strategy::Boost),
            Way::Near(Strategy::Simulate),
            Way::Near(Strategy::Jump),
            Way::Far,
            Way::Orphan,
            Way::Window,
        ];
        write!(f, "{:32}", "row")?;
        for way in WAYS {
            write!(f, " {way:>9}")?;
        }
        writeln!(f)?;
        for (row, ways) in &self.rows {
            write!(f, "{row:32}")?;
            for way in WAYS {
                match ways.get(&way) {
                    Some(n) => write!(f, " {n:9}")?,
                    None => write!(f, " {:>9}", "-")?,
                }
            }
            writeln!(f)?;
        }
        let fewest = self.rows.values().flat_map(BTreeMap::values).min().unwrap_or(&0);
        write!(
            f,
            "{} states of {} cases, at least {fewest} in a row and way, no difference; {} cases had no plan or no end",
            self.states(),
            self.cases,
            self.skipped
        )
    }
}

/// A difference with everything needed to look into it.
#[derive(Debug)]
pub struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Runs cases from `seed` on.
///
/// # Errors
/// The first difference, shrunk; with [`Until::Floor`], the rows that stay below.
pub fn run<C: Cpu>(cpu: &mut C, seed: u64, until: Until) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    let (start, mut states, mut number, mut idle) = (Instant::now(), 0, 0_u64, 0);
    loop {
        // What a case must bring to be run: fewer states than this some way.
        let mut wanted = u64::MAX;
        let over = match until {
            Until::States(n) => states >= n,
            Until::Time(limit) => number.is_multiple_of(64) && start.elapsed() >= limit,
            Until::Floor { states: n, floor } if states >= n => {
                wanted = floor;
                let below = || counts.below(floor, cpu.rows());
                if idle > PATIENCE * floor {
                    return Err(Failure(format!("{counts}\nbelow {floor}: {:?}", below())));
                }
                number.is_multiple_of(64) && below().is_empty()
            }
            Until::Floor { .. } => false,
        };
        if over {
            return Ok(counts);
        }
        (number, idle) = (number + 1, idle + 1);
        let mut rng = Rng::new(seed, number - 1);
        let Some((layout, bytes)) = cpu.code(&mut rng) else {
            counts.skipped += 1;
            continue;
        };
        let row = cpu.row(&layout, &bytes);
        if counts.full(&row, wanted) {
            continue;
        }
        let state = cpu.state(&mut rng, &layout, &bytes);
        let case = Case { layout, bytes, state };
        counts.cases += 1;
        match check(cpu, &case) {
            Ok(None) => counts.skipped += 1,
            Ok(Some(ways)) => {
                idle = 0;
                let row = counts.rows.entry(row).or_default();
                for way in ways {
                    *row.entry(way).or_default() += 1;
                    states += 1;
                }
            }
            Err(difference) => return Err(explain(cpu, seed, number - 1, case, difference)),
        }
    }
}

/// Repeats one case.
///
/// # Errors
/// Its difference, shrunk.
pub fn replay<C: Cpu>(cpu: &mut C, seed: u64, number: u64) -> Result<String, Failure> {
    let Some(case) = cpu.case(&mut Rng::new(seed, number)) else {
        return Ok("that case is none: the dice made no instruction".into());
    };
    match check(cpu, &case) {
        Ok(ways) => Ok(format!("{}\nno difference: {ways:?}", describe(&case))),
        Err(difference) => Err(explain(cpu, seed, number, case, difference)),
    }
}

/// Makes the state simpler as long as the same way differs.
fn explain<C: Cpu>(
    cpu: &mut C,
    seed: u64,
    number: u64,
    mut case: Case<C>,
    mut difference: Difference,
) -> Failure {
    while let Some((simpler, as_well)) = cpu.simpler(&case.state).into_iter().find_map(|state| {
        let simpler = Case { state, ..case.clone() };
        match check(cpu, &simpler) {
            Err(found) if found.way == difference.way => Some((simpler, found)),
            _ => None,
        }
    }) {
        (case, difference) = (simpler, as_well);
    }
    Failure(format!(
        "{}\n{}: {} differs\n{}before, shrunk: {:x?}\nrepeat with: cargo run --release -p xol-differential -- --arch {} --seed {seed} --case {number}",
        describe(&case),
        cpu.row(&case.layout, &case.bytes),
        difference.way,
        difference.what,
        case.state.regs,
        C::Arch::NAME,
    ))
}

fn describe<C: Cpu>(case: &Case<C>) -> String {
    let mut text = String::new();
    let site = case.layout.site;
    let _ = C::Arch::disassemble(&Text::new(site, &case.bytes), site, &mut text);
    let bytes: Vec<_> = case.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{site}: {}  {text}", bytes.join(" "))
}
