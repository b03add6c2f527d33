//! Events recorded and told later, and the newest of them told at the end.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xol_tests::killing::tracer_of;
use xol_tests::programs::{Build, program};
use xol_tests::run::{Finished, Run, slowness};
use xol_tests::xol::{command, scratch};

const WORK: &str = "work(n: i32, x: f64, s: str) -> i32";
const LEAF: &str = "leaf(n: i32)";
const TELL: &str = "tell(n: i64, tid: i32, pid: i32)";

/// A file that is gone when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        Scratch(scratch(name))
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap_or_default()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}

/// `xol WORDS -o FILE -- PROGRAM ARGUMENTS`.
fn traced(words: &[&str], to: &Scratch, name: &str, args: &[&str]) -> Run {
    command(words.iter().copied())
        .arg("-o")
        .arg(&to.0)
        .arg("--")
        .arg(program(name, Build::Pie))
        .args(args.iter().copied())
}

/// `xol show WORDS FILE`.
fn shown(words: &[&str], recording: &Scratch) -> Finished {
    command(["show"]).args(words.iter().copied()).arg(&recording.0).finish()
}

fn until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20) * slowness(), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_is_shown_is_what_was_told() {
    let (told, recording) = (Scratch::new("told"), Scratch::new("recording"));
    let nested = &[LEAF, "middle(n: i32) -> i32", "return:outer"][..];
    for (what, probes) in [
        ("work", &[WORK][..]),
        ("nested", nested),
        ("naps", &["nap(ms: i32) -> i32", "libc:nanosleep"]),
        ("threads", &[WORK]),
        ("forks", &[WORK, "return:libc:fork"]),
        ("errors", &["return:libc:open", "return:libc:read", "return:libc:close"]),
    ] {
        for options in [
            &[][..],
            &["--format", "json"],
            &["--format", "csv"],
            &["--format", "chrome"],
            &["--tree", "--time", "wall"],
            &["--columns", "time,comm,tid,probe,object,call,ret", "--time", "delta"],
        ] {
            let to = recording.0.to_str().unwrap();
            let words = [&["trace", "-f", "--record-too", to], options, probes].concat();
            let finished = traced(&words, &told, "tells", &[what]).finish();
            assert_eq!(finished.code(), 0, "{finished}");
            let shown = shown(options, &recording);
            assert_eq!((shown.code(), shown.err()), (0, String::new()), "{what} {options:?}");
            let text = told.text();
            assert!(text.lines().count() > 2, "{text}");
            assert_eq!(shown.out(), text, "{what} {options:?}");
        }
    }
}

#[test]
fn jumps_are_recorded_whole() {
    let recording = Scratch::new("jumps");
    let calls = 200_000;
    let words = ["trace", "--strategy", "jump", "--format", "record", TELL];
    let args = ["-", "2", &calls.to_string(), "0"];
    let finished = traced(&words, &recording, "stream", &args).finish();
    assert_eq!(finished.code(), 0, "{finished}");
    let size = std::fs::metadata(&recording.0).expect("it was written").len();
    assert!(size < 2 * calls * 25, "{size} bytes");
    let lines = shown(&["--columns", "tid,call"], &recording).ok().out();
    let mut next = std::collections::BTreeMap::new();
    for line in lines.lines() {
        let (tid, call) = line.trim_start().split_once(' ').expect("a thread and a call");
        let n = next.entry(tid.to_owned()).or_insert(0_u64);
        assert!(call.starts_with(&format!("tell(n: {n}, tid: {tid}, pid: ")), "{line}");
        *n += 1;
    }
    assert!(next.len() == 2 && next.values().all(|&n| n == calls), "{next:?}");
    // The last ones, and those that a filter lets through, into a recording of their own.
    let few = Scratch::new("few");
    let to = few.0.to_str().unwrap();
    let words = ["--where", "n % 5 == 0"];
    assert_eq!(shown(&words, &recording).code(), 2, "no such operator");
    let words = ["--where", "n >= 199990", "--format", "record", "-o", to];
    assert_eq!(shown(&words, &recording).ok().out(), "");
    let lines = shown(&["--columns", "call", "--last", "5"], &few).ok().out();
    assert_eq!(lines.lines().count(), 5, "{lines}");
    assert!(lines.lines().all(|line| line.contains("tell(n: 19999")), "{lines}");
}

#[test]
fn filters_are_applied_later_as_at_once() {
    let (told, recording) = (Scratch::new("filtered"), Scratch::new("unfiltered"));
    let words = ["trace", "--format", "record", WORK];
    _ = traced(&words, &recording, "tells", &["work"]).finish().ok();
    let columns = ["--columns", "probe,object,call,ret"];
    for filter in [
        "n > 10",
        "ret < 0",
        "ret == 7 || n == 12",
        "x > 2.5 && s ~ \"a*\"",
        "duration >= 0ns && n < 4",
    ] {
        let options = [&columns[..], &["--where", filter]].concat();
        let words = [&["trace"], &options[..], &[WORK]].concat();
        _ = traced(&words, &told, "tells", &["work"]).finish().ok();
        let at_once = told.text();
        assert!(!at_once.is_empty(), "{filter}");
        assert_eq!(shown(&options, &recording).ok().out(), at_once, "{filter}");
    }
    let failed = [&columns[..], &["--failed"]].concat();
    assert_eq!(shown(&failed, &recording).ok().out().lines().count(), 9);
    let wrong = shown(&["--where", "size > 3"], &recording);
    assert!(wrong.code() == 2 && wrong.err().contains("no argument is called 'size'"), "{wrong}");
}

#[test]
fn each_process_gets_a_file_when_it_is_shown() {
    let (recording, each) = (Scratch::new("processes"), Scratch::new("each"));
    let words = ["trace", "-f", "--format", "record", WORK];
    _ = traced(&words, &recording, "tells", &["forks"]).finish().ok();
    _ = shown(&["-ff", "-o", each.0.to_str().unwrap()], &recording).ok();
    let folder = each.0.parent().expect("a folder");
    let name = format!("{}.", each.0.file_name().unwrap().to_string_lossy());
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mine = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(&name);
    let texts: Vec<String> = files
        .filter(mine)
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            _ = std::fs::remove_file(&path);
            text
        })
        .collect();
    assert!(texts.len() == 4 && texts.iter().all(|text| text.lines().count() == 1), "{texts:?}");
}

#[test]
fn what_was_recorded_before_a_kill_is_told() {
    let recording = Scratch::new("killed");
    let size = || std::fs::metadata(&recording.0).map_or(0, |m| m.len());
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let words = ["trace", "--format", "record", "outer(n: i32) -> i32", LEAF];
        let running = traced(&words, &recording, "tells", &["long"]).start();
        until("it records", || size() > 2_000);
        let tracer = tracer_of(running.pid()).expect("a tracer");
        kill(tracer, signal).expect("it runs");
        _ = running.finish();
        let shown = shown(&["--columns", "call,ret"], &recording);
        let cut = shown.err().contains("ends before the run did");
        assert_eq!((shown.code(), cut), (0, signal == Signal::SIGKILL), "{shown}");
        let text = shown.out();
        assert!(text.matches("leaf(n: 1)\nleaf(n: 2)\nleaf(n: 9)\n").count() > 3, "{text}");
        _ = std::fs::remove_file(&recording.0);
    }
}

#[test]
fn what_is_no_recording_or_is_damaged_gets_a_sentence() {
    let recording = Scratch::new("damaged");
    let words = ["trace", "--format", "record", WORK];
    _ = traced(&words, &recording, "tells", &["work"]).finish().ok();
    let whole = std::fs::read(&recording.0).expect("it was written");
    let mut damaged = whole.clone();
    let at = damaged.len() - 40;
    damaged[at] ^= 1;
    for (bytes, status, said) in [
        (&damaged[..], 125, "is damaged"),
        (&whole[..whole.len() - 1], 0, "ends before the run did"),
        (&whole[..20], 125, "ends before its first event"),
        (b"time call\n 1.0 work", 125, "it is no recording"),
        (b"", 125, "ends before its first event"),
    ] {
        std::fs::write(&recording.0, bytes).expect("a file");
        let shown = shown(&[], &recording);
        assert_eq!((shown.code(), shown.err().contains(said)), (status, true), "{shown}");
        assert_eq!(shown.err().lines().count(), 1, "{shown}");
    }
    _ = std::fs::remove_file(&recording.0);
    let missing = shown(&[], &recording);
    assert!(missing.code() == 125 && missing.err().contains("cannot open"), "{missing}");
}

#[test]
fn a_recording_travels_through_a_pipe() {
    let recording = Scratch::new("piped");
    let to_stdout = Scratch(PathBuf::from("-"));
    let words = ["trace", "--format", "record", WORK];
    let bytes = traced(&words, &to_stdout, "tells", &["work"]).finish().ok().stdout;
    std::fs::write(&recording.0, &bytes).expect("a file");
    let from_file = shown(&[], &recording).ok().out();
    let from_stdin = command(["show", "-"]).stdin(bytes).finish().ok().out();
    assert_eq!(from_file.lines().count(), 30, "{from_file}");
    assert_eq!(from_stdin, from_file);
}

#[test]
fn the_newest_are_told_at_the_end() {
    let told = Scratch::new("newest");
    let calls = 100_000;
    for strategy in ["jump", "auto"] {
        for (format, lines) in [("text", 7), ("json", 7), ("csv", 8), ("record", 7)] {
            let words = ["trace", "--strategy", strategy, "--last", "7", "--format", format];
            let words = [&words[..], &[TELL]].concat();
            let count = if strategy == "jump" { calls } else { 2000 };
            let args = ["-", "1", &count.to_string(), "0"];
            let finished = traced(&words, &told, "stream", &args).finish();
            assert_eq!((finished.code(), finished.err()), (0, String::new()), "{format}");
            let text = match format {
                "record" => shown(&[], &told).ok().out(),
                _ => told.text(),
            };
            let seen: Vec<&str> = text.lines().collect();
            assert_eq!(seen.len(), lines, "{text}");
            for (n, line) in seen[lines - 7..].iter().enumerate() {
                let n = (count - 7 + n as u64).to_string();
                assert!(
                    line.contains(&format!(": {n},")) || line.contains(&format!(":{n},")),
                    "{line}"
                );
            }
        }
    }
    // A call whose beginning is forgotten has one line.
    let words = ["trace", "--last", "2", "--columns", "call,ret"];
    let words = [&words[..], &[LEAF, "outer(n: i32) -> i32"]].concat();
    _ = traced(&words, &told, "tells", &["nested"]).finish().ok();
    assert_eq!(told.text(), "leaf(n: 9)\nouter(n: 2) -> 28\n");
}

#[test]
fn the_newest_are_told_when_the_program_is_killed_or_somebody_asks() {
    let told = Scratch::new("asked");
    let lines = || told.text().lines().count();
    for (how, status) in [(Signal::SIGKILL, 128 + 9), (Signal::SIGINT, 128 + 2)] {
        let words = ["trace", "--last", "12", "--columns", "call,ret", LEAF];
        let running = traced(&words, &told, "tells", &["long"]).start();
        let xol = Pid::from_raw(running.pid().cast_signed());
        until("it is traced", || tracer_of(running.pid()).is_some() && told.0.exists());
        std::thread::sleep(Duration::from_millis(500) * slowness());
        assert_eq!(told.text(), "", "nothing is told before the end");
        kill(xol, Signal::SIGUSR1).expect("it runs");
        until("it tells when it is asked", || lines() >= 12);
        assert_eq!(lines(), 12, "{}", told.text());
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(lines(), 12, "it goes on, and is silent");
        match how {
            Signal::SIGKILL => {
                let children = format!("/proc/{xol}/task/{xol}/children");
                let children = std::fs::read_to_string(children).expect("its children");
                let tracer = tracer_of(running.pid()).expect("a tracer").as_raw();
                let mut pids = children.split_whitespace().filter_map(|pid| pid.parse().ok());
                let program = pids.find(|&pid: &i32| pid != tracer).expect("the program");
                kill(Pid::from_raw(program), how).expect("it runs");
            }
            _ => kill(xol, how).expect("it runs"),
        }
        let finished = running.finish();
        assert_eq!(finished.code(), status, "{finished}");
        let text = told.text();
        assert_eq!(text.lines().count(), 24, "{text}");
        assert!(text.lines().all(|line| line.starts_with("leaf(n: ")), "{text}");
        _ = std::fs::remove_file(&told.0);
    }
}
