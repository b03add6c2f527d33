//! xol is two processes: the command in front, and the tracer behind it. Each looks after what the
//! other leaves.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xol_tests::killing::{Victim, strike, tracer_of};
use xol_tests::run::{Started, slowness};
use xol_tests::target::Target;
use xol_tests::xol::{command, parse, scratch};

/// Waits until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20) * slowness(), "not within time: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The words of /proc/PID/stat from the third, the state, on.
fn stat(pid: u32) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
    let rest = text.rsplit_once(") ").expect("a name").1;
    rest.split_ascii_whitespace().map(str::to_owned).collect()
}

/// The executable mappings of a process: where each is, its file, and what is in it.
fn text(pid: u32) -> Vec<(String, Vec<u8>)> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("it runs");
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).expect("it is ours");
    let is_text = |line: &&str| line.contains("r-xp") && line.contains('/');
    let lines = maps.lines().filter(is_text).map(|line| {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let range = range.map(|(a, b)| (u64::from_str_radix(a, 16), u64::from_str_radix(b, 16)));
        let Some((Ok(start), Ok(end))) = range else { panic!("{line}") };
        let mut bytes = vec![0; (end - start) as usize];
        memory.read_exact_at(&mut bytes, start).expect("it is mapped");
        (line.to_owned(), bytes)
    });
    lines.collect()
}

fn differing(one: &[(String, Vec<u8>)], other: &[(String, Vec<u8>)]) -> usize {
    let each = one.iter().zip(other).map(|((_, a), (_, b))| {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).filter(|(a, b)| a != b).count()
    });
    each.sum()
}

/// Counts calls of the target, and of libc, with traps. Not those that libc makes with all signals
/// blocked: whoever meets such a trap before it is taken away has no handler.
fn visit(target: &Target, report: &Path) -> Started {
    let pid = target.pid().to_string();
    let words = ["count", "--strategy", "boost", "--format", "json", "-p", &pid, "-o"];
    let probes = ["probed_*", "libc:str*", "libc:*printf*", "libc:wc*"];
    command(words).arg(report).args(probes).limit(Duration::from_secs(60)).start()
}

fn ends_well(target: Target) {
    let finished = target.end();
    assert_eq!(finished.code(), 5, "{finished}");
    assert!(finished.out().ends_with("ran: 1, ticked: 1, wrong: 0\n"), "{finished}");
}

#[test]
fn who_is_who() {
    let probe = ["count", "libc:malloc", "-o", "/dev/null", "--"];
    let mut started = command(probe).args(["sleep", "30"]).start();
    let front = started.pid();
    until("there is a tracer", || tracer_of(front).is_some());
    let tracer = tracer_of(front).expect("it is there").as_raw().cast_unsigned();
    let program = || {
        let path = format!("/proc/{front}/task/{front}/children");
        let children = std::fs::read_to_string(path).unwrap_or_default();
        let mut pids = children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
        pids.find(|&pid: &u32| pid != tracer)
    };
    let is_sleep = |pid: u32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
    };
    until("the program runs", || program().is_some_and(is_sleep));
    let program = program().expect("it runs");
    // Parent, group and session: the program is the command's as without a tracer.
    assert_eq!(stat(program)[1..4], [&front.to_string()[..], &stat(front)[2], &stat(front)[3]]);
    let own = tracer.to_string();
    assert_eq!(stat(tracer)[1..4], [&front.to_string()[..], &own, &own]);
    // Neither `pkill xol` nor `pkill -f xol` matches it.
    for file in ["comm", "cmdline"] {
        let name = std::fs::read_to_string(format!("/proc/{tracer}/{file}")).expect("it runs");
        assert!(name.starts_with("probe-tracer") && !name.contains("xol"), "{file}: {name:?}");
    }
    // A command that is stopped, as by Ctrl-Z, holds nobody up.
    kill(Pid::from_raw(front.cast_signed()), Signal::SIGSTOP).expect("it runs");
    kill(Pid::from_raw(program.cast_signed()), Signal::SIGTERM).expect("it runs");
    until("the program ends", || {
        !Path::new(&format!("/proc/{program}")).exists() || stat(program)[0] == "Z"
    });
    kill(Pid::from_raw(front.cast_signed()), Signal::SIGCONT).expect("it runs");
    until("the command ends", || !Path::new(&format!("/proc/{tracer}")).exists());
    assert!(!started.ended() || started.finish().code() == 128 + 15);
}

#[test]
fn the_command_is_killed() {
    for _ in 0..5 {
        let target = Target::start("loops");
        let before = text(target.pid());
        let report = scratch("killed");
        let mut started = visit(&target, &report);
        until("there are traps", || differing(&before, &text(target.pid())) > 100);
        std::thread::sleep(Duration::from_millis(50) * slowness());
        let tracer = tracer_of(started.pid()).expect("it traces");
        strike(started.pid(), Victim::Front);
        until("it is dead", || started.ended());
        until("the tracer has left", || {
            let stat = std::fs::read_to_string(format!("/proc/{tracer}/stat")).unwrap_or_default();
            !stat.contains(") ") || stat.contains(") Z ")
        });
        assert_eq!(text(target.pid()), before);
        let lines = parse(&std::fs::read_to_string(&report).expect("its report"));
        assert!(lines.iter().map(|line| line.hits).sum::<u64>() > 0, "the report is written");
        _ = std::fs::remove_file(&report);
        ends_well(target);
    }
}

#[test]
fn the_tracer_is_killed() {
    for _ in 0..5 {
        let target = Target::start("loops");
        let before = text(target.pid());
        let report = scratch("killed");
        let started = visit(&target, &report);
        until("there are traps", || differing(&before, &text(target.pid())) > 100);
        strike(started.pid(), Victim::Tracer);
        let finished = started.finish();
        assert_eq!(finished.code(), 125, "{finished}");
        assert!(finished.err().contains("killed by signal 9"), "{finished}");
        assert_eq!(differing(&before, &text(target.pid())), 0, "{finished}");
        _ = std::fs::remove_file(&report);
        ends_well(target);
    }
}
