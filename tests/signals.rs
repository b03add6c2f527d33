//! Waiting threads under attach and detach: results, durations, masks, actions, text.

use std::time::{Duration, Instant};

use xol_tests::programs::{Build, program};
use xol_tests::run::as_often;
use xol_tests::target::Target;
use xol_tests::xol::command;

#[test]
fn a_thousand_visits_disturb_no_wait() {
    visits(as_often(1000, 30), &ALL, &[as_often("150", "1500")]);
}

#[test]
fn nor_do_a_hundred_with_jumps_alone() {
    visits(as_often(100, 15), &["jump"], &[as_often("150", "1500")]);
}

#[test]
fn nor_where_probed_code_runs_with_sigtrap_blocked() {
    visits(as_often(300, 15), &ALL, &[as_often("150", "1500"), "blocked"]);
}

/// A program that is in SIGTRAP's handler nearly always, which blocks it, is left as it was: what a handler
/// blocks is not what the program does.
#[test]
fn visits_to_a_handler_leave_nothing_blocked() {
    visit_handlers(Target::start("handles"), as_often(40, 8));
}

/// The same with threads whose handlers run probed code: which of them had its trap forced is known.
#[test]
fn nor_where_threads_handle_it_with_probed_code() {
    let target = Target::start_with(program("handles", Build::Pie), &["threads"]);
    visit_handlers(target, as_often(200, 12));
}

fn visit_handlers(target: Target, times: usize) {
    let pid = target.pid().to_string();
    for strategy in ALL.into_iter().cycle().take(times) {
        let name = target.name();
        let words = ["count", "--duration", "0.02", "--strategy", strategy, "-p", &pid];
        let visit = command(words).arg(format!("{name}:work")).finish();
        assert_eq!(visit.code(), 0, "{visit}");
    }
    let finished = target.end();
    assert_eq!((finished.code(), finished.out()), (0, "ready\nlost: 0, blocked: 0\n".into()));
}

const ALL: [&str; 4] = ["auto", "boost", "xol", "jump"];

/// Comes and goes `times` times, with one strategy after the other.
fn visits(times: usize, strategies: &[&str], args: &[&str]) {
    // A stop takes a few milliseconds on two busy cores; a wait that began again at each visit
    // would never end.
    let target = Target::start_with(program("waits", Build::Pie), args);
    let pid = target.pid().to_string();
    let begun = Instant::now();
    let mut hits = 0;
    for n in 0..times {
        let name = target.name();
        let visit = command(["count", "--format", "json", "-o", "-", "--duration", "0.004"])
            .args(["--strategy", strategies[n % strategies.len()], "-p", &pid])
            .arg(format!("{name}:work"))
            .args(["libc:poll", "libc:nanosleep", "libc:clock_nanosleep", "libc:epoll_wait"])
            .limit(Duration::from_secs(20))
            .finish();
        if visit.code() != 0 {
            panic!("visit {n}:\n{visit}\nthe target:\n{}", target.end());
        }
        hits += xol_tests::xol::parse(&visit.out()).iter().map(|l| l.hits).sum::<u64>();
    }
    println!("{times} visits in {:?}, {hits} hits", begun.elapsed());
    let finished = target.end();
    print!("{finished}");
    let out = finished.out();
    assert!(finished.code() == 0 && !out.contains("BAD") && !out.contains("never"), "{finished}");
    assert!(out.contains("action: own 10000000\n"), "{finished}");
    assert!(out.contains("text changed: 0\n"), "{finished}");
    assert!(hits > times as u64, "{hits} hits");
}
