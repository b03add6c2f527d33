//! What a child of `xol compare` does, which is xol itself: it runs the loops, and times them.

use super::super::failure::Failure;
use std::fmt::Write;
use std::fs;
use xol_targets::loops::{self, KINDS};
use xol_targets::ptrace::own;

/// Turns in which a site and its twin alternate.
const TURNS: u64 = 4;

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
            Work::Kinds { times, warm } => times / TURNS * TURNS + warm,
            Work::Trap { times } => times,
            Work::Idle => 0,
        }
    }
}

/// What a child has seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// For each kind: nanoseconds of the twin's calls, those of the site's, and stops meanwhile.
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
                    let times = number()?.max(1.0);
                    seen.kinds.push([number()? / times, number()? / times, number()? / times]);
                }
                "trap" => seen.trap = number()? / number()?.max(1.0),
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
                kinds(&mut out, kind, times / TURNS, warm);
            }
        }
        Work::Trap { times } => {
            let begun = own::now_ns();
            loops::trap(times);
            let _ = writeln!(out, "trap {} {times}", own::now_ns() - begun);
        }
        Work::Idle => {}
    }
    if let Some(bytes) = memory() {
        let _ = writeln!(out, "memory {bytes}");
    }
    out.push_str("end 0\n");
    let written = own::write_once(to, out.as_bytes());
    written.map_err(|error| Failure::new(format!("cannot answer: {error}")))
}

fn kinds(out: &mut String, kind: usize, times: u64, warm: u64) {
    loops::run(kind, false, warm);
    loops::run(kind, true, warm);
    let (mut twin, mut site) = (0, 0);
    let before = switches();
    for _ in 0..TURNS {
        let begun = own::now_ns();
        loops::run(kind, false, times);
        let between = own::now_ns();
        loops::run(kind, true, times);
        let ended = own::now_ns();
        twin += between - begun;
        site += ended - between;
    }
    let stops = switches() - before;
    let _ = writeln!(out, "kind {} {twin} {site} {stops}", times * TURNS);
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
        let whole = "kind 10 100 900 10\nkind 10 20 30 0\nmemory 4096\nend 0\n";
        let seen = Seen::read(whole).unwrap();
        assert_eq!(seen.kinds, [[10.0, 90.0, 1.0], [2.0, 3.0, 0.0]]);
        assert_eq!(seen.memory, Some(4096.0));
        assert!(Seen::read("kind 10 100 900 10\nkind 10").is_none());
        assert!(Seen::read("kind 10 100 900 10\n").is_none() && Seen::read("").is_none());
    }

    #[test]
    fn every_kind_is_come_to_as_often_as_was_asked() {
        let mut out = String::new();
        kinds(&mut out, 0, 10, 3);
        assert!(out.starts_with("kind 40 "), "{out}");
        assert_eq!(Work::Kinds { times: 43, warm: 3 }.calls(), 43);
    }
}
