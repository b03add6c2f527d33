//! `bench`: what a probe costs on this machine, as rows of the table in docs/measured.md. Never a test.

use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use xol_tests::bench::{Running, median};
use xol_tests::cost;
use xol_tests::elf::Object;
use xol_tests::killing::tracer_of;
use xol_tests::programs::{Build, program};
use xol_tests::target::Target;
use xol_tests::uprobes;

/// Alternations of everything that is compared.
const ROUNDS: usize = 7;
/// Hits in one measurement.
const HITS: u64 = 4000;

fn main() {
    // One CPU for everything, as BASELINE-like comparisons need: the target's and the tracer's.
    let mut cpu = CpuSet::new();
    cpu.set(0).expect("CPU 0 exists");
    sched_setaffinity(Pid::from_raw(0), &cpu).expect("CPU 0 is ours");
    println!("| what | goal | measured | command |");
    println!("|---|---|---|---|");
    hits();
    let mut all = CpuSet::new();
    for n in 0..std::thread::available_parallelism().map_or(1, usize::from).max(2) {
        // More than there are does not matter.
        _ = all.set(n);
    }
    sched_setaffinity(Pid::from_raw(0), &all).expect("our own CPUs");
    arming();
    memory();
}

fn hits() {
    let costs = cost::measure(ROUNDS, HITS);
    let bare = median(&costs.bare);
    println!("| a bare ptrace stop and continue | | {:.1} µs | `bench` |", bare / 1000.0);
    println!(
        "| the least a tracer does at one, against that | | {:.2} | `bench` |",
        median(&costs.least) / bare
    );
    for row in &costs.rows {
        let goal = if matches!(row.how, "boost" | "simulate") { "1.15" } else { "" };
        let (ratio, best, worst) = costs.ratio(row);
        println!(
            "| a `{}` hit at `{}`, against the bare stop | {goal} | {ratio:.2} \
             [{best:.2}–{worst:.2}] ({:.1} µs) | `bench` |",
            row.how,
            row.entry,
            median(&row.cost) / 1000.0
        );
    }
}

fn arming() {
    let path = program("many", Build::Pie);
    let object = Object::open(&path);
    let mut functions = object.functions();
    functions.retain(|f| f.name.starts_with('f') && f.name[1..].parse::<u32>().is_ok());
    assert_eq!(functions.len(), 10_000);
    let (mut arm, mut detach, mut kernel_arm, mut kernel_detach) = (vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let target = Target::start("many");
        let pid = target.pid().to_string();
        let begun = Instant::now();
        let xol =
            Running::attach(&["-p", &pid, &format!("{}:f*", target.name()), "-o", "/dev/null"]);
        for function in [&functions[0], &functions[9999]] {
            xol.armed(&target, function.addr);
        }
        arm.push(begun.elapsed().as_secs_f64() * 1e3);
        let begun = Instant::now();
        _ = xol.interrupt();
        detach.push(begun.elapsed().as_secs_f64() * 1e3);
        assert!(target.end().out().ends_with("10000\n"));

        let target = Target::start("many");
        let offsets: Vec<u64> = functions.iter().filter_map(|f| object.offset(f.addr)).collect();
        let begun = Instant::now();
        let link = uprobes::arm(target.pid(), &object.path, &offsets);
        kernel_arm.push(begun.elapsed().as_secs_f64() * 1e3);
        let begun = Instant::now();
        drop(link);
        kernel_detach.push(begun.elapsed().as_secs_f64() * 1e3);
        drop(target.end());
    }
    let row = |what: &str, goal: &str, times: &[f64], beside: &[f64]| {
        println!(
            "| {what} 10,000 sites of a running program | {goal} | {:.1} ms (uprobe_multi: {:.1} ms) | `bench` |",
            median(times),
            median(beside)
        );
    };
    row("starting, attaching and arming", "25 ms", &arm, &kernel_arm);
    row("disarming, detaching and exiting,", "15 ms", &detach, &kernel_detach);
}

fn memory() {
    let target = Target::start("loops");
    let pid = target.pid().to_string();
    let xol = Running::attach(&["-p", &pid, "libc:*", "-o", "/dev/null"]);
    std::thread::sleep(Duration::from_millis(1500));
    let tracer = tracer_of(xol.pid()).expect("it runs");
    let status = std::fs::read_to_string(format!("/proc/{tracer}/status")).expect("it runs");
    let peak = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or("VmHWM: 0 kB");
    let kib: f64 = peak.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0.0);
    println!("| peak memory on `libc:*` | 8 MiB | {:.1} MiB | `bench` |", kib / 1024.0);
    _ = xol.interrupt();
    let finished = target.end();
    assert_eq!(finished.code(), 5, "{finished}");
}
