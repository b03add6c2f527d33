//! `bench`: what a probe costs on this machine, as rows of the README's table. Never a test.

use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use xol_tests::bench::{Running, median};
use xol_tests::elf::Object;
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

/// Nanoseconds of one call, told by the target itself.
fn timed(target: &mut Target, name: &str, times: u64) -> f64 {
    let answer = target.ask(&format!("{name} {times}\n"));
    answer.trim().parse::<f64>().expect("picoseconds") / 1000.0
}

/// The cost of a bare stop: the target's own INT3, waited for and continued, and nothing else. With
/// `least`, also the least that a tracer cannot do without: the stop read with WNOWAIT (its signal
/// must outlive us), the signal told from one that somebody sent, the PC read and written.
fn bare(target: &mut Target, least: bool) -> f64 {
    /// offsetof(struct user, regs.rip)
    const RIP: ptrace::AddressType = (16 * 8) as ptrace::AddressType;
    let pid = Pid::from_raw(target.pid().cast_signed());
    ptrace::seize(pid, Options::empty()).expect("tracing a child");
    target.tell(&format!("trap {HITS}\n"));
    let mut left = HITS;
    while left > 0 {
        if least {
            let flags = WaitPidFlag::__WALL
                | WaitPidFlag::WSTOPPED
                | WaitPidFlag::WEXITED
                | WaitPidFlag::WNOWAIT;
            match waitid(Id::All, flags) {
                Ok(WaitStatus::PtraceEvent(_, Signal::SIGTRAP, 0)) => {
                    left -= 1;
                    _ = ptrace::getsiginfo(pid).expect("it is stopped");
                    let pc = ptrace::read_user(pid, RIP).expect("it is stopped");
                    ptrace::write_user(pid, RIP, pc).expect("it is stopped");
                    ptrace::cont(pid, None).expect("it is stopped");
                    continue;
                }
                other => panic!("{other:?}"),
            }
        }
        match waitpid(pid, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Stopped(_, Signal::SIGTRAP)) => {
                left -= 1;
                ptrace::cont(pid, None).expect("it is stopped");
            }
            other => panic!("{other:?}"),
        }
    }
    let answer = target.line();
    ptrace::interrupt(pid).expect("it is traced");
    _ = waitpid(pid, Some(WaitPidFlag::__WALL)).expect("it stops");
    ptrace::detach(pid, None).expect("it is stopped");
    answer.trim().parse::<f64>().expect("picoseconds") / 1000.0
}

fn hits() {
    let mut target = Target::start("hits");
    let pid = target.pid().to_string();
    let name = target.name();
    let kinds = [
        ("boost", "push"),
        ("boost", "mov"),
        ("simulate", "jmp"),
        ("xol", "push"),
        ("step", "push"),
    ];
    let (mut bares, mut leasts) = (Vec::new(), Vec::new());
    let mut costs = vec![Vec::new(); kinds.len()];
    let functions = Object::open(program("hits", Build::Pie)).functions();
    let addr = |name: &str| functions.iter().find(|f| f.name == name).expect("it is there").addr;
    for _ in 0..ROUNDS {
        let base = timed(&mut target, "push_twin", 1_000_000);
        bares.push(bare(&mut target, false) - base);
        leasts.push(bare(&mut target, true) - base);
        for ((strategy, entry), costs) in kinds.iter().zip(&mut costs) {
            let probe = format!("{name}:{entry}_probed");
            let xol = Running::attach(&["--strategy", strategy, "-p", &pid, &probe]);
            xol.armed(&target, addr(&format!("{entry}_probed")));
            costs.push(timed(&mut target, &format!("{entry}_probed"), HITS) - base);
            let counts = xol.interrupt();
            assert!(counts.contains(&HITS.to_string()), "{strategy} {entry}: {counts}");
        }
    }
    let bare = median(&bares);
    println!("| a bare ptrace stop and continue | | {:.1} µs | `bench` |", bare / 1000.0);
    println!(
        "| the least a tracer does at one, against that | | {:.2} | `bench` |",
        median(&leasts) / bare
    );
    for ((strategy, entry), costs) in kinds.iter().zip(&costs) {
        let goal = if matches!(*strategy, "boost" | "simulate") { "1.15" } else { "" };
        let ratio = median(costs) / bare;
        let best = costs.iter().zip(&bares).map(|(c, b)| c / b).fold(f64::MAX, f64::min);
        let worst = costs.iter().zip(&bares).map(|(c, b)| c / b).fold(0.0, f64::max);
        println!(
            "| a `{strategy}` hit at `{entry}`, against the bare stop | {goal} | {ratio:.2} \
             [{best:.2}–{worst:.2}] ({:.1} µs) | `bench` |",
            median(costs) / 1000.0
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
    let status = std::fs::read_to_string(format!("/proc/{}/status", xol.pid())).expect("it runs");
    let peak = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or("VmHWM: 0 kB");
    let kib: f64 = peak.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0.0);
    println!("| peak memory on `libc:*` | 8 MiB | {:.1} MiB | `bench` |", kib / 1024.0);
    _ = xol.interrupt();
    let finished = target.end();
    assert_eq!(finished.code(), 5, "{finished}");
}
