//! `bench-count-jump`: what counting by jumps costs a program, as rows of a table. Never a test.

use std::time::{Duration, Instant};

use xol_tests::bench::{Running, median};
use xol_tests::elf::Object;
use xol_tests::programs::{Build, program};
use xol_tests::run::run;
use xol_tests::target::Target;
use xol_tests::xol::xol;

const ROUNDS: usize = 5;

fn main() {
    _ = xol();
    println!("| what | goal | measured | command |\n|---|---|---|---|");
    calls();
    many();
}

/// Nanoseconds of one call of each function.
fn pace(strategy: Option<&str>, calls: &str) -> [f64; 2] {
    let command = run(program("pace", Build::Pie)).arg(calls).limit(Duration::from_secs(60));
    let words = |strategy| ["count", "--strategy", strategy, "-o", "/dev/null", "pace-pie:plain"];
    let command = match strategy {
        Some(strategy) => {
            let before = [xol().to_string_lossy().into_owned()].into_iter();
            let before = before.chain(words(strategy).map(str::to_owned));
            command.under(before.chain(["pace-pie:framed".to_owned(), "--".to_owned()]))
        }
        None => command,
    };
    let out = command.finish().ok().out();
    let mut numbers = out.split_whitespace().map(|n| n.parse().expect("a number"));
    [0; 2].map(|_| numbers.next().expect("two numbers"))
}

fn calls() {
    let (mut alone, mut jump, mut boost) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        alone.push(pace(None, "20000000"));
        jump.push(pace(Some("jump"), "20000000"));
        boost.push(pace(Some("boost"), "20000"));
    }
    for (n, what) in ["of two instructions", "with a frame"].into_iter().enumerate() {
        let of = |all: &[[f64; 2]]| median(&all.iter().map(|one| one[n]).collect::<Vec<_>>());
        let (alone, jump, boost) = (of(&alone), of(&jump), of(&boost));
        println!(
            "| a `jump` count at a function {what}, unprobed {alone:.1} ns | 8 ns | {:.1} ns more; \
             `boost` {:.0} times that | `bench-count-jump` |",
            jump - alone,
            (boost - alone) / (jump - alone)
        );
    }
}

fn many() {
    let object = Object::open(program("many", Build::Pie));
    let mut functions = object.functions();
    functions.retain(|f| f.name.starts_with('f') && f.name[1..].parse::<u32>().is_ok());
    assert_eq!(functions.len(), 10_000);
    let (mut arm, mut detach, mut memory, mut mappings) = (vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let target = Target::start("many");
        let pid = target.pid().to_string();
        let resident = || -> f64 {
            let all =
                std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it runs");
            let line = all.lines().find(|l| l.starts_with("Rss:")).expect("resident memory");
            line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
        };
        let maps = || -> usize {
            std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("it runs").lines().count()
        };
        let (before, mapped) = (resident(), maps());
        let probe = format!("{}:f*", target.name());
        let begun = Instant::now();
        let xol = Running::attach(&["--strategy", "jump", "-p", &pid, &probe, "-o", "/dev/null"]);
        // The last of them is a jump.
        while target.byte(functions[9999].addr) != 0xe9 {
            assert!(begun.elapsed() < Duration::from_secs(10), "it is never armed");
        }
        arm.push(begun.elapsed().as_secs_f64() * 1e3);
        memory.push((resident() - before) / 1024.0);
        mappings.push((maps() - mapped) as f64);
        let begun = Instant::now();
        _ = xol.interrupt();
        detach.push(begun.elapsed().as_secs_f64() * 1e3);
        assert!(target.end().out().ends_with("10000\n"));
    }
    let row = |what: &str, goal: &str, of: &[f64], unit: &str| {
        println!("| {what} | {goal} | {:.1} {unit} | `bench-count-jump` |", median(of));
    };
    row("starting, attaching and writing 10,000 jumps", "100 ms", &arm, "ms");
    row("taking them away, detaching and exiting", "100 ms", &detach, "ms");
    row("resident in the program meanwhile", "4 MiB", &memory, "MiB more");
    row("mappings meanwhile", "16,382", &mappings, "more");
}
