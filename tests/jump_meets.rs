//! Jumps meet others who write to the same code, and ends at any moment.
#![cfg(target_arch = "x86_64")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xol_tests::elf::Object;
use xol_tests::killing::{Death, Victim, dies, strike, syscalls};
use xol_tests::programs::{Build, program};
use xol_tests::run::Started;
use xol_tests::target::Target;
use xol_tests::uprobes;
use xol_tests::xol::{Line, command, parse, scratch};

/// The first byte of a jump, and of a trap.
const JUMP: u8 = 0xe9;
const TRAP: u8 = 0xcc;
/// Where the third instruction of `several` begins, inside of its window.
const INSIDE: u64 = 4;

/// A visit of xol's that goes on until it is told to end.
struct Visit {
    xol: Started,
    report: PathBuf,
}

impl Visit {
    /// Probes `names` of the target with jumps.
    fn begin(target: &Target, names: &[&str]) -> Visit {
        let report = scratch("visit");
        let pid = target.pid().to_string();
        let words = ["count", "--strategy", "jump", "--format", "json", "-p", &pid, "-o"];
        let words = command(words).arg(&report);
        let probes = names.iter().map(|name| format!("{}:{name}", target.name()));
        Visit { xol: words.args(probes).limit(Duration::from_secs(60)).start(), report }
    }

    /// The same, and waits until a byte of the text is what is expected.
    fn until(target: &Target, names: &[&str], at: u64, byte: u8) -> Visit {
        let mut visit = Visit::begin(target, names);
        let begun = Instant::now();
        while target.byte(at) != byte {
            assert!(begun.elapsed() < Duration::from_secs(20), "no {byte:#x} at {at:#x}");
            assert!(!visit.xol.ended(), "xol has ended");
            std::thread::sleep(Duration::from_millis(1));
        }
        visit
    }

    /// Ends it: a line for each site.
    fn end(self) -> Vec<Line> {
        let pid = Pid::from_raw(self.xol.pid().cast_signed());
        kill(pid, Signal::SIGINT).expect("it runs");
        let finished = self.xol.finish();
        print!("{finished}");
        let text = std::fs::read_to_string(&self.report).expect("its report");
        _ = std::fs::remove_file(&self.report);
        parse(&text)
    }
}

fn meets() -> (Target, Object) {
    let path = program("meets", Build::Pie);
    (Target::start_with(path.clone(), &[]), Object::open(path))
}

/// Where a function begins, in the file.
fn address(object: &Object, name: &str) -> u64 {
    object.functions().iter().find(|f| f.name == name).expect(name).addr
}

/// The program's own end, with its text as it was.
fn ends_well(mut target: Target) {
    assert_eq!(target.ask("c"), "right\n");
    assert_eq!(target.ask("?"), "text changed: 0\n");
    let finished = target.end();
    assert_eq!(finished.code(), 5, "{finished}");
}

fn strategy_and_hits(lines: &[Line], name: &str) -> (String, u64) {
    let line = lines.iter().find(|l| l.symbol == name).unwrap_or_else(|| panic!("no {name}"));
    (line.reason.clone().unwrap_or_else(|| line.strategy.clone()), line.hits)
}

#[test]
fn alone() {
    let (mut target, object) = meets();
    let visit = Visit::until(&target, &["several", "across"], address(&object, "several"), JUMP);
    assert_eq!(target.byte(address(&object, "across")), JUMP);
    assert_eq!(target.byte(address(&object, "several") + INSIDE), TRAP);
    assert_eq!(target.ask("c"), "right\n");
    let lines = visit.end();
    for name in ["several", "across"] {
        assert_eq!(strategy_and_hits(&lines, name), ("jump".to_owned(), 1000), "{lines:?}");
    }
    ends_well(target);
}

/// Code that no branch of the function itself leads to: while xol lives, and when it is dead.
#[test]
fn threads_that_come_inside() {
    let (mut target, object) = meets();
    let visit = Visit::until(&target, &["several", "across"], address(&object, "several"), JUMP);
    assert_eq!(target.ask("i"), "inside, wrong: 0\n");
    assert_eq!(target.ask("c"), "right\n");
    assert_eq!(strategy_and_hits(&visit.end(), "several"), ("jump".to_owned(), 1000));
    let mut visit = Visit::until(&target, &["several*"], address(&object, "several"), JUMP);
    assert_eq!(target.ask("i"), "inside, wrong: 0\n");
    strike(visit.xol.pid(), Victim::Both);
    while !visit.xol.ended() {
        std::thread::sleep(Duration::from_millis(1));
    }
    for _ in 0..3 {
        assert_eq!(target.ask("i"), "inside, wrong: 0\n");
        assert_eq!(target.ask("c"), "right\n");
    }
    let finished = target.end();
    assert_eq!(finished.code(), 5, "{finished}");
}

/// A debugger's trap inside what a jump would replace: it stays its own.
#[test]
fn a_trap_inside_that_is_there_already() {
    let (mut target, object) = meets();
    assert_eq!(target.ask("t"), "right\n");
    let visit = Visit::until(&target, &["several", "across"], address(&object, "across"), JUMP);
    assert_eq!(target.ask("c"), "right\n");
    let lines = visit.end();
    let (strategy, hits) = strategy_and_hits(&lines, "several");
    assert!(strategy != "jump" && hits == 1000, "{lines:?}");
    assert_eq!(target.byte(address(&object, "several") + INSIDE), TRAP, "it was taken away");
    assert_eq!(target.ask("T"), "trapped 2000\n");
    ends_well(target);
}

/// A uprobe of the kernel's inside what a jump would replace.
#[test]
fn a_uprobe_inside_that_is_there_already() {
    let (mut target, object) = meets();
    let offset = object.offset(address(&object, "several") + INSIDE).expect("in the text");
    let uprobe = uprobes::arm(target.pid(), &object.path, &[offset]);
    let visit = Visit::until(&target, &["several", "across"], address(&object, "across"), JUMP);
    assert_eq!(target.ask("c"), "right\n");
    let (strategy, hits) = strategy_and_hits(&visit.end(), "several");
    assert!(strategy != "jump" && hits == 1000, "{strategy}: {hits} hits");
    assert_eq!(target.ask("c"), "right\n");
    drop(uprobe);
    ends_well(target);
}

/// A uprobe at the same entry that comes later, and stays longer or goes first.
#[test]
fn a_uprobe_at_the_entry_that_comes_later() {
    for goes_first in [false, true] {
        let (mut target, object) = meets();
        let at = address(&object, "several");
        let visit = Visit::until(&target, &["several", "across"], at, JUMP);
        assert_eq!(target.ask("c"), "right\n");
        let uprobe = uprobes::arm(target.pid(), &object.path, &[object.offset(at).expect("text")]);
        assert_eq!(target.ask("c"), "right\n");
        let mut uprobe = Some(uprobe);
        if goes_first {
            uprobe = None;
            assert_eq!(target.ask("c"), "right\n");
        }
        let lines = visit.end();
        // What the kernel has taken is not counted.
        let (_, hits) = strategy_and_hits(&lines, "several");
        assert!(hits >= 1000, "{lines:?}");
        assert_eq!(target.ask("c"), "right\n");
        drop(uprobe);
        ends_well(target);
    }
}

/// A uprobe that comes later, inside of a window, and stays longer.
#[test]
fn a_uprobe_inside_that_comes_later() {
    let (mut target, object) = meets();
    let at = address(&object, "several");
    let visit = Visit::until(&target, &["several", "across"], at, JUMP);
    let offset = object.offset(at + INSIDE).expect("in the text");
    let uprobe = uprobes::arm(target.pid(), &object.path, &[offset]);
    assert_eq!(target.ask("c"), "right\n");
    assert_eq!(strategy_and_hits(&visit.end(), "several"), ("jump".to_owned(), 1000));
    assert_eq!(target.ask("c"), "right\n");
    drop(uprobe);
    ends_well(target);
}

/// The same behind a jump that leaves what is there as it is: the jump still goes where it must.
#[test]
fn a_uprobe_behind_that_comes_later() {
    // A RET, and what a branch goes to behind it.
    const RET: u64 = 10;
    for goes_first in [false, true] {
        let (mut target, object) = meets();
        let at = address(&object, "beside") + RET;
        let visit = Visit::until(&target, &["beside+0xa"], at, JUMP);
        let behind = target.byte(at + 1);
        assert_eq!(target.ask("c"), "right\n");
        let offset = object.offset(at + 1).expect("in the text");
        let mut uprobe = Some(uprobes::arm(target.pid(), &object.path, &[offset]));
        assert_eq!((target.byte(at), target.byte(at + 1)), (JUMP, TRAP));
        assert_eq!(target.ask("c"), "right\n");
        if goes_first {
            uprobe = None;
            assert_eq!((target.byte(at), target.byte(at + 1)), (JUMP, behind));
        }
        let lines = visit.end();
        assert_eq!(strategy_and_hits(&lines, "beside"), ("jump".to_owned(), 1000), "{lines:?}");
        assert_eq!(target.ask("c"), "right\n");
        drop(uprobe);
        ends_well(target);
    }
}

/// A program that writes other code over probed code, and maps other code in its place.
#[test]
fn a_program_that_changes_its_code() {
    for order in ["sg", "gs"] {
        let (mut target, object) = meets();
        let names = ["several", "across", "changes", "goes"];
        let visit = Visit::until(&target, &names, address(&object, "goes"), JUMP);
        assert_eq!(target.ask("a"), "all 11\n");
        for what in order.chars() {
            let said = target.ask(&what.to_string());
            assert_eq!(said, if what == 's' { "changes 2\n" } else { "goes 2\n" });
        }
        assert_eq!(target.ask("a"), "all 22\n");
        assert_eq!(target.ask("c"), "right\n");
        let lines = visit.end();
        // Text that the program may write has no jumps: it was taken back before that was so.
        assert_eq!(strategy_and_hits(&lines, "changes"), ("boost".to_owned(), 1), "{lines:?}");
        assert_eq!(strategy_and_hits(&lines, "several"), ("boost".to_owned(), 1000), "{lines:?}");
        assert_eq!(target.ask("a"), "all 22\n");
        assert_eq!(target.ask("c"), "right\n");
        // And it can be visited again.
        let visit =
            Visit::until(&target, &["several", "across"], address(&object, "several"), JUMP);
        assert_eq!(target.ask("c"), "right\n");
        assert_eq!(strategy_and_hits(&visit.end(), "across"), ("jump".to_owned(), 1000));
        let finished = target.end();
        assert_eq!(finished.code(), 5, "{finished}");
    }
}

/// Only one can trace; the other changes nothing.
#[test]
fn a_second_xol() {
    let (mut target, object) = meets();
    let at = address(&object, "several");
    let visit = Visit::until(&target, &["several", "across"], at, JUMP);
    for _ in 0..5 {
        let pid = target.pid().to_string();
        let words = ["count", "--strategy", "jump", "-p", &pid, "libc:*"];
        let second = command(words).finish();
        assert_eq!(second.code(), 125, "{second}");
        assert!(second.err().contains("traced"), "{second}");
        assert_eq!(target.ask("c"), "right\n");
    }
    assert_eq!(strategy_and_hits(&visit.end(), "several"), ("jump".to_owned(), 5000));
    ends_well(target);
}

/// As many mappings as a process may have, but for a few.
#[test]
fn a_program_full_of_mappings() {
    let (mut target, object) = meets();
    assert_eq!(target.ask("m"), "many 1\n");
    let visit = Visit::until(&target, &["several", "across"], address(&object, "several"), JUMP);
    assert_eq!(target.ask("c"), "right\n");
    assert_eq!(strategy_and_hits(&visit.end(), "several"), ("jump".to_owned(), 1000));
    ends_well(target);
}

/// Asked to end while every probe is hit all the time.
#[test]
fn ends_that_are_asked_for() {
    let mut target = Target::start("loops");
    // Under nohup(1), or in a shell's background, some are ignored, and xol leaves them so.
    let status = std::fs::read_to_string("/proc/self/status").expect("it is ours");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t"));
    let ignored = ignored.and_then(|set| u64::from_str_radix(set, 16).ok()).expect("a set");
    let signals = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].map(|signal| {
        let is_ignored = ignored >> (signal as i32 - 1) & 1 == 1;
        if is_ignored { Signal::SIGTERM } else { signal }
    });
    for n in 0..40 {
        let every = if n % 2 == 0 { "" } else { "+*" };
        let pid = target.pid().to_string();
        let started = command(["count", "--strategy", "jump", "-o", "/dev/null", "-p", &pid])
            .args([format!("{}:probed_*{every}", target.name()), "libc:*".to_owned()])
            .limit(Duration::from_secs(20))
            .start();
        std::thread::sleep(Duration::from_micros(2_000 * n));
        let signal = signals[n as usize % 3];
        kill(Pid::from_raw(started.pid().cast_signed()), signal).expect("it runs");
        let finished = started.finish();
        // Before it has begun to catch signals, it dies of them.
        assert!(!finished.err().contains("panicked"), "visit {n}: {finished}");
        assert_eq!(target.ask("?"), "text changed: 0\n", "visit {n}: {finished}");
    }
    let finished = target.end();
    let out = finished.out();
    assert!(finished.code() == 5 && out.ends_with("ran: 1, ticked: 1, wrong: 0\n"), "{finished}");
}

/// What xol does before it is killed: jumps that come and go all the time.
fn toggles(target: &Target) -> Vec<String> {
    let words = ["count", "--strategy", "jump", "--toggle", "1000000", "--duration", "0.03"];
    let mut words: Vec<String> = words.map(str::to_owned).into();
    words.extend(["-o", "/dev/null", "-p"].map(str::to_owned));
    words.push(target.pid().to_string());
    words.push(format!("{}:probed_*", target.name()));
    words.push(format!("{}:returns_*+*", target.name()));
    words
}

#[test]
fn death_while_jumps_come_and_go() {
    let target = Target::start("loops");
    let calls = syscalls(&toggles(&target));
    assert_eq!(target.end().code(), 5);
    let calls = (1..=calls).step_by((calls / 60).max(1) as usize).map(Death::AtCall);
    let moments = (0..40).map(|n| Death::After(Duration::from_micros(1_100 * n + 137)));
    for death in calls.chain(moments) {
        let target = Target::start("loops");
        let end = dies(&toggles(&target), death, Victim::Both);
        std::thread::sleep(Duration::from_millis(3));
        let finished = target.end();
        let out = finished.out();
        assert!(
            finished.code() == 5 && out == "ready\nran: 1, ticked: 1, wrong: 0\n",
            "{death:?}, xol ended with {end:?}:\n{finished}"
        );
    }
}
