//! What a child of `xol compare` does, which is xol itself: it runs the loops, and times them.

use super::super::failure::Failure;
use std::fmt::Write;
use std::fs;
use xol_targets::loops::{self, KINDS};
use xol_targets::ptrace::tracer;

/// Turns in which a site and its twin alternate, at most.
const TURNS: u64 = 16;

/// What a child is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Come to the site of each kind, and to its twin, so often, after so many times to warm up.
    Kinds { times: u64, warm: u64 },
    /// Trap that often.
    Trap { times: u64 },
    /// Nothing.
    Idle,
}

impl Work {
    /// As the child's command line has it.
    pub(super) fn word(self) -> String {
        match self {
            Work::Kinds { times, warm } => format!("kinds,{times},{warm}"),
            Work::Trap { times } => format!("trap,{times},0"),
            Work::Idle => "idle,0,0".to_owned(),
        }
    }

    /// The other way round.
    pub(in crate::cli) fn parse(text: &str) -> Result<Work, &'static str> {
        let mut words = text.split(',');
        let name = words.next().unwrap_or("");
        let mut number =
            || words.next().and_then(|n| n.parse().ok()).ok_or("two numbers are needed");
        let (times, warm) = (number()?, number()?);
        match name {
            "kinds" => Ok(Work::Kinds { times, warm }),
            "trap" => Ok(Work::Trap { times }),
            "idle" => Ok(Work::Idle),
            _ => Err("it is kinds, trap or idle"),
        }
    }

    /// How often each site is come to.
    pub(super) fn calls(self) -> u64 {
        match self {
            Work::Kinds { times, warm } => times / turns(times) * turns(times) + warm,
            Work::Trap { times } => times / turns(times) * turns(times),
            Work::Idle => 0,
        }
    }
}

/// What a child has seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// For each kind: nanoseconds of one call of the twin, of one of the site, and stops in it.
    pub(super) kinds: Vec<[f64; 3]>,
    /// Nanoseconds of one trap.
    pub(super) trap: f64,
    /// Bytes of memory that are its own, if the kernel says.
    pub(super) memory: Option<f64>,
}

impl Seen {
    /// Reads what [`run`] wrote; `None` where it is not whole.
    pub(super) fn read(text: &str) -> Option<Seen> {
        let mut seen = Seen::default();
        for line in text.lines() {
            let (name, numbers) = line.split_once(' ')?;
            let mut numbers = numbers.split(' ').map(str::parse::<u64>);
            let mut number = || Some(numbers.next()?.ok()? as f64);
            match name {
                "kind" => {
                    let mut part = || Some(number()? / 1000.0);
                    seen.kinds.push([part()?, part()?, part()?]);
                }
                "trap" => seen.trap = number()? / 1000.0,
                "memory" => seen.memory = Some(number()?),
                "end" => return Some(seen),
                _ => return None,
            }
        }
        None
    }
}

/// Does the work, and writes what it has seen to a descriptor.
pub(in crate::cli) fn run(work: Work, to: i32) -> Result<(), Failure> {
    let mut out = String::new();
    match work {
        Work::Kinds { times, warm } => {
            for kind in 0..KINDS.len() {
                kinds(&mut out, kind, times, warm);
            }
        }
        Work::Trap { times } => {
            let turns = turns(times);
            let each = (0..turns).map(|_| timed(|| loops::trap(times / turns))).collect();
            let _ = writeln!(out, "trap {}", middle(each, times / turns));
        }
        Work::Idle => {}
    }
    if let Some(bytes) = memory() {
        let _ = writeln!(out, "memory {bytes}");
    }
    out.push_str("end 0\n");
    let written = tracer::write_once(to, out.as_bytes());
    written.map_err(|error| Failure::new(format!("cannot answer: {error}")))
}

fn kinds(out: &mut String, kind: usize, times: u64, warm: u64) {
    loops::run(kind, false, warm);
    loops::run(kind, true, warm);
    let (mut twins, mut sites) = (Vec::new(), Vec::new());
    let before = switches();
    let turns = turns(times);
    for _ in 0..turns {
        twins.push(timed(|| loops::run(kind, false, times / turns)));
        sites.push(timed(|| loops::run(kind, true, times / turns)));
    }
    let stops = switches() - before;
    let (twin, site) = (middle(twins, times / turns), middle(sites, times / turns));
    let _ = writeln!(out, "kind {twin} {site} {}", stops * 1000 / (times / turns * turns));
}

/// As many turns as there is something for.
fn turns(times: u64) -> u64 {
    times.clamp(1, TURNS)
}

fn timed(run: impl FnOnce()) -> u64 {
    let begun = tracer::now_ns();
    run();
    tracer::now_ns() - begun
}

/// Picoseconds of one of so many calls, in the turn in the middle: what else runs on the machine takes
/// a few turns long, and not the others.
fn middle(mut turns: Vec<u64>, calls: u64) -> u64 {
    turns.sort_unstable();
    turns[turns.len() / 2].saturating_mul(1000) / calls.max(1)
}

/// How often this process has given its processor away: at every stop.
fn switches() -> u64 {
    field("/proc/self/status", "voluntary_ctxt_switches:").unwrap_or(0)
}

/// Memory that this process shares with no file.
fn memory() -> Option<u64> {
    let part = |name| field("/proc/self/status", name);
    Some((part("RssAnon:")? + part("RssShmem:")?) << 10)
}

fn field(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_written_as_it_is_read() {
        for work in [Work::Kinds { times: 40, warm: 7 }, Work::Trap { times: 3 }, Work::Idle] {
            assert_eq!(Work::parse(&work.word()), Ok(work));
        }
        assert!(Work::parse("kinds,1").is_err() && Work::parse("none,1,2").is_err());
    }

    #[test]
    fn an_answer_that_is_cut_is_none() {
        let whole = "kind 10500 90000 1000\nkind 2000 3000 0\nmemory 4096\nend 0\n";
        let seen = Seen::read(whole).unwrap();
        assert_eq!(seen.kinds, [[10.5, 90.0, 1.0], [2.0, 3.0, 0.0]]);
        assert_eq!(seen.memory, Some(4096.0));
        assert!(Seen::read("kind 10500 90000 1000\nkind 10").is_none());
        assert!(Seen::read("kind 10500 90000 1000\n").is_none() && Seen::read("").is_none());
    }

    #[test]
    fn a_turn_that_was_interrupted_does_not_count() {
        assert_eq!(middle(vec![300, 100_000, 310, 290, 305], 100), 3050);
        assert_eq!(Work::Kinds { times: 43, warm: 3 }.calls(), 35);
        assert_eq!((Work::Kinds { times: 1, warm: 0 }.calls(), turns(0)), (1, 1));
    }
}
