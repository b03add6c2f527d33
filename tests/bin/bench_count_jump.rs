//! `bench-count-jump`: what counting by jumps costs a program, as rows of a table. Never a test.

use std::time::{Duration, Instant};

use xol_tests::bench::{Running, median};
use xol_tests::elf::Object;
use xol_tests::programs::{Build, program};
use xol_tests::run::run;
use xol_tests::target::Target;
use xol_tests::uprobes;
use xol_tests::xol::xol;

const ROUNDS: usize = 5;
/// Calls in one measurement that no stop slows.
const CALLS: u64 = 20_000_000;
/// An entry that the kernel optimizes, one that it steps and one that it emulates, with our goals.
const ENTRIES: [(&str, &str, &str); 3] =
    [("nop", "a nop5", "40"), ("lea", "`lea`", "800"), ("push", "`push`", "")];

fn main() {
    _ = xol();
    println!("| what | goal | measured | command |\n|---|---|---|---|");
    calls();
    beside_the_kernel();
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

/// Beside the kernel's uprobes with a BPF program that counts, in the program that was attached to.
fn beside_the_kernel() {
    let path = program("hits", Build::Pie);
    let object = Object::open(&path);
    let functions = object.functions();
    let addr = |name: &str| functions.iter().find(|f| f.name == name).expect("it is there").addr;
    let mut target = Target::start("hits");
    let pid = target.pid().to_string();
    let alone = ENTRIES.map(|entry| (entry, ""));
    // Then counts have to be atomic.
    let many = ENTRIES.map(|entry| (entry, " in a program with threads"));
    for ((entry, what, goal), how) in alone.into_iter().chain(many) {
        if !how.is_empty() && entry == "nop" {
            _ = timed(&mut target, "thread", 1);
        }
        let (probed, twin) = (format!("{entry}_probed"), format!("{entry}_twin"));
        let at = addr(&probed);
        let offset = object.offset(at).expect("in the text");
        let probe = format!("{}:{probed}", target.name());
        let (mut kernel, mut jump) = (vec![], vec![]);
        for _ in 0..ROUNDS {
            let uprobe = uprobes::arm(target.pid(), &path, &[offset]);
            // Whatever the kernel does better from the second hit on.
            _ = timed(&mut target, &probed, 1000);
            let with = timed(&mut target, &probed, 100_000);
            kernel.push(with - timed(&mut target, &twin, 100_000));
            drop(uprobe);
            let xol = Running::attach(&["--strategy", "jump", "-p", &pid, &probe]);
            xol.jumps(&target, at);
            let with = timed(&mut target, &probed, CALLS);
            jump.push(with - timed(&mut target, &twin, CALLS));
            let counts = xol.interrupt();
            assert!(counts.contains(&CALLS.to_string()), "{probed}: {counts}");
        }
        let (kernel, jump) = (median(&kernel), median(&jump));
        println!(
            "| a `jump` count at {what}{how}, {jump:.1} ns; the kernel's uprobe with BPF there, \
             {kernel:.0} ns | {goal} | {:.0} | `bench-count-jump` |",
            kernel / jump
        );
    }
}

/// Nanoseconds of one call, told by the target itself.
fn timed(target: &mut Target, name: &str, times: u64) -> f64 {
    let answer = target.ask(&format!("{name} {times}\n"));
    answer.trim().parse::<f64>().expect("picoseconds") / 1000.0
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
