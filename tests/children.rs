//! Processes that a program makes all the time, in the moments in which xol comes, writes jumps and leaves: what
//! they have of its memory may be from before or from after.

use std::time::Duration;

use xol_tests::programs::{Build, program};
use xol_tests::run::as_often;
use xol_tests::target::Target;
use xol_tests::xol::command;

const ALL: [&str; 4] = ["jump", "auto", "boost", "xol"];

#[test]
fn children_forked_while_xol_comes_and_goes_are_the_programs_own() {
    visits(&["fork", "3"], &[], &ALL, as_often(60, 8));
}

#[test]
fn so_are_those_of_one_thread() {
    visits(&["fork", "1"], &[], &ALL, as_often(40, 8));
}

#[test]
fn followed_they_run_as_without() {
    visits(&["fork", "3"], &["-f"], &ALL, as_often(40, 8));
}

#[test]
fn those_that_nobody_is_told_of_run_as_without() {
    visits(&["untraced", "2"], &[], &ALL, as_often(40, 8));
}

#[test]
fn those_in_the_memory_of_their_maker_do_too() {
    visits(&["shared", "2"], &[], &ALL, as_often(60, 8));
}

/// Comes to a program that makes children in this way and goes again, so many times.
fn visits(how: &[&str], options: &[&str], strategies: &[&str], times: usize) {
    let target = Target::start_with(program("copies", Build::Pie), how);
    let (pid, name) = (target.pid().to_string(), target.name());
    for n in 0..times {
        let words = ["count", "-o", "/dev/null", "--duration", "0.02", "-p", &pid];
        let visit = command(words)
            .args(["--strategy", strategies[n % strategies.len()]])
            .args(options)
            .args([format!("{name}:work"), "libc:*".into()])
            .limit(Duration::from_secs(20))
            .finish();
        if visit.code() != 0 {
            panic!("visit {n}:\n{visit}\nthe target:\n{}", target.end());
        }
    }
    let finished = target.end();
    let seen = if options.is_empty() { "xol seen: 0\n" } else { "" };
    let right = format!("ready\nwrong: 0, killed: 0, {seen}");
    assert!(finished.code() == 0 && finished.out().starts_with(&right), "{finished}");
}
