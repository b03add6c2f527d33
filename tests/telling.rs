//! What is told of calls, and how it is written: filters, errors, trees, files; each format is read by
//! somebody else.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xol_tests::events::trace;
use xol_tests::programs::{Build, program};
use xol_tests::run::{Run, as_often, run};
use xol_tests::xol::{WORK, command, count, python, scratch, told};

fn tells(what: &str) -> Run {
    run(program("tells", Build::Pie)).arg(what)
}

#[test]
fn filters_let_the_right_calls_through() {
    let ret = |n: i64| if n % 3 == 0 { -n } else { n };
    let float = |n: i64| n as f64 * 0.25;
    type Passes<'a> = &'a dyn Fn(i64) -> bool;
    let filters: [(&str, Passes<'_>); 12] = [
        ("ret < 0", &|n| ret(n) < 0),
        ("ret == 7 || ret == -9", &|n| [7, -9].contains(&ret(n))),
        ("n > 10 && ret < 0", &|n| n > 10 && ret(n) < 0),
        ("n > 10", &|n| n > 10),
        ("!(ret < 0) && n & 1", &|n| ret(n) >= 0 && n & 1 == 1),
        ("x > 2.5", &|n| float(n) > 2.5),
        ("1 <= x < 3.25 && ret > 0", &|n| (1.0..3.25).contains(&float(n)) && ret(n) > 0),
        ("s ~ \"*a\" && ret != 4", &|n| n % 3 != 2 && ret(n) != 4),
        ("s == \"beta\"", &|n| n % 3 == 1),
        ("n in 5..=9", &|n| (5..=9).contains(&n)),
        ("pid == 0 || n == 3", &|n| n == 3),
        ("duration >= 0ns && n < 4", &|n| n < 4),
    ];
    for (filter, passes) in filters {
        let traced = trace(&["--where", filter], &[WORK], &tells("work"));
        assert_eq!(traced.finished.code(), 0, "{filter}: {}", traced.finished);
        let seen: Vec<i64> = traced.events.iter().map(|e| e.args["n"].as_i64().unwrap()).collect();
        let expected: Vec<i64> = (0..30).filter(|&n| passes(n)).collect();
        assert_eq!(seen, expected, "{filter}");
        assert!(traced.events.iter().all(|e| e.ret.is_some()), "{filter}");
        // The same without a line for each.
        let counted = count(&["--where", filter], &[WORK.to_owned()], &tells("work"));
        let hits: u64 = counted.lines.iter().map(|line| line.hits).sum();
        assert_eq!(hits, expected.len() as u64, "{filter}: {}", counted.text);
    }
}

#[test]
fn threads_and_durations_are_filtered() {
    let of = |filter: &str| trace(&["--where", filter], &[WORK], &tells("threads")).events.len();
    assert_eq!(of("comm ~ \"worker-*\""), 5);
    assert_eq!(of("comm != \"worker-1\""), 10);
    assert_eq!(of("comm == \"main\" && ret < 0"), 1);
    let naps = |filter: &str| {
        let traced = trace(&["--where", filter], &["nap(ms: i32) -> i32"], &tells("naps"));
        traced.events.iter().map(|e| e.number("ms")).collect::<Vec<_>>()
    };
    assert_eq!(naps("duration > 50ms"), [60; 4]);
    assert_eq!(naps("duration > 50ms && ret == 1"), [0; 0]);
    assert_eq!(naps("duration > 0.05s || ms == 1").len(), 8);
}

#[test]
fn calls_that_fail_say_why() {
    let probes =
        ["return:libc:open", "return:libc:read", "return:libc:fopen", "return:libc:pthread_join"];
    let words: Vec<&str> =
        ["trace", "--failed", "--columns", "call,ret"].into_iter().chain(probes).collect();
    let (finished, text) = told(&words, "errors");
    assert_eq!(finished.code(), 0, "{finished}");
    let ends: Vec<(&str, &str)> = text
        .lines()
        .filter(|line| !line.ends_with('…') && !line.ends_with('>'))
        .map(|line| {
            (line.split(['(', ' ']).next().unwrap_or(""), line.split(" -> ").nth(1).unwrap_or(""))
        })
        .collect();
    let expected = [
        ("open", "-1 ENOENT"),
        ("open", "-1 ENOTDIR"),
        ("read", "-1 EBADF"),
        ("fopen", "NULL ENOENT"),
        ("pthread_join", "35 EDEADLK"),
    ];
    for one in expected {
        assert!(ends.contains(&one), "{one:?} is not in {text}");
    }
    // fopen may open by open(3).
    assert!(!text.contains("\"/dev/null\"") && ends.len() <= 6, "{text}");
    let mut words = words;
    words.splice(2..4, ["--format", "json"]);
    let (_, text) = told(&words, "errors");
    let of = |line: &str| -> serde_json::Value { serde_json::from_str(line).expect("JSON") };
    let errors: BTreeSet<String> =
        text.lines().map(|l| of(l)["errno"].as_str().unwrap_or("none").to_owned()).collect();
    assert_eq!(
        errors,
        ["EBADF", "EDEADLK", "ENOENT", "ENOTDIR"].map(str::to_owned).into(),
        "{text}"
    );
}

const NESTED: [&str; 3] = ["outer(n: i32) -> i32", "middle(n: i32) -> i32", "leaf(n: i32) -> i32"];

#[test]
fn calls_are_a_tree() {
    let words: Vec<&str> =
        ["trace", "--tree", "--columns", "call,ret"].into_iter().chain(NESTED).collect();
    let (finished, text) = told(&words, "nested");
    assert_eq!(finished.code(), 0, "{finished}");
    let one = |n: i32| {
        format!(
            "outer(n: {n}) {{
  middle(n: {n}) {{
    leaf(n: {n}) -> {}
    leaf(n: {}) -> {}
  }} middle -> {}
  leaf(n: 9) -> 18
}} outer -> {}
",
            n * 2,
            n + 1,
            (n + 1) * 2,
            n * 4 + 2,
            n * 4 + 20
        )
    };
    assert_eq!(text, one(1) + &one(2));
}

#[test]
fn times_are_as_asked_for() {
    let first = |which: &str| {
        let (finished, text) =
            told(&["trace", "leaf", "--time", which, "--columns", "time"], "nested");
        assert_eq!(finished.code(), 0, "{finished}");
        text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    let seconds = |text: &str| text.parse::<f64>().expect("seconds");
    let relative: Vec<f64> = first("relative").iter().map(|t| seconds(t)).collect();
    assert!(relative.len() == 6 && relative.is_sorted(), "{relative:?}");
    let delta: Vec<f64> = first("delta").iter().map(|t| seconds(t)).collect();
    assert!(delta.len() == 6 && delta[0] == 0.0 && delta.iter().sum::<f64>() < 5.0, "{delta:?}");
    let date = |at: &str| run("date").args(["-u", at, "+%Y-%m-%dT%H:%M:%S"]).finish().out();
    let before = date("-dnow");
    let wall = first("wall");
    let after = date("-dnow");
    for time in &wall {
        assert!(time.len() == 27 && time.ends_with('Z'), "{time}");
        assert!(
            before.trim() <= time.as_str() && &time[..19] <= after.trim(),
            "{before} {time} {after}"
        );
    }
}

/// Reads a Chrome trace: slices of a thread lie in one another or apart.
const CHROME: &str = "
import json, sys
events = json.load(open(sys.argv[1]))
assert isinstance(events, list)
threads, names, instants = {}, {}, 0
for e in events:
    assert e['ph'] in 'XBiM', e
    if e['ph'] == 'M':
        names[(e['name'], e['pid'], e['tid'])] = e['args']['name']
        continue
    assert isinstance(e['ts'], float) and isinstance(e['pid'], int), e
    if e['ph'] == 'i':
        instants += 1
        assert ('thread_name', e['pid'], e['tid']) in names and e['s'] == 't', e
    if e['ph'] == 'X':
        threads.setdefault((e['pid'], e['tid']), []).append((e['ts'], -e['dur'], e))
count = {}
for (pid, tid), slices in threads.items():
    assert ('thread_name', pid, tid) in names
    stack = []
    for ts, dur, e in sorted(slices, key=lambda s: s[:2]):
        end = ts - dur
        while stack and stack[-1][0] <= ts:
            stack.pop()
        assert not stack or end <= stack[-1][0] + 0.001, (e, stack)
        parent = stack[-1][1] if stack else '-'
        key = parent + '/' + e['name']
        count[key] = count.get(key, 0) + 1
        stack.append((end, e['name']))
if instants:
    count['instants'] = instants
print(' '.join(f'{k}:{n}' for k, n in sorted(count.items())))
";

#[test]
fn perfetto_would_read_it() {
    let path = scratch("chrome");
    let words: Vec<&str> = ["trace", "--format", "chrome"].into_iter().chain(NESTED).collect();
    let run = |what: &str| {
        command(words.iter().copied())
            .arg("-o")
            .arg(&path)
            .arg("--")
            .arg(program("tells", Build::Pie))
            .arg(what)
    };
    let finished = run("nested").finish();
    assert_eq!(finished.code(), 0, "{finished}");
    let expected = "-/outer:2 middle/leaf:4 outer/leaf:2 outer/middle:2";
    assert_eq!(python(CHROME, &path), expected);
    // A million, of four threads.
    let calls = as_often(250_000, 2_500);
    let many = command(["trace", "--format", "chrome", "tell", "-o"])
        .arg(&path)
        .arg("--")
        .arg(program("stream", Build::Pie))
        .args(["plain", "4", &calls.to_string(), "0"])
        .finish();
    assert_eq!(many.code(), 0, "{many}");
    assert_eq!(python(CHROME, &path), format!("instants:{}", 4 * calls));
    // Nothing was told.
    assert_eq!(run("work").finish().code(), 0);
    assert_eq!(python(CHROME, &path), "");
    // Cut by a signal, and by one that leaves no time for an end.
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let running = run("long").start();
        let size = || std::fs::metadata(&path).map_or(0, |m| m.len());
        let begin = Instant::now();
        while size() < 5_000 && begin.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
        kill(Pid::from_raw(running.pid().cast_signed()), signal).expect("it runs");
        let seen = python(CHROME, &path);
        assert!(seen.contains("outer/middle:"), "{signal}: {seen}");
        _ = running.finish();
    }
    _ = std::fs::remove_file(&path);
}

#[test]
fn each_process_has_a_file() {
    let path = scratch("each");
    let finished = command(["trace", "-ff", "--columns", "pid,call", WORK, "-o"])
        .arg(&path)
        .arg("--")
        .arg(program("tells", Build::Pie))
        .arg("forks")
        .finish();
    assert_eq!(finished.code(), 0, "{finished}");
    let name = format!("{}.", path.file_name().expect("a name").to_string_lossy());
    let folder = path.parent().expect("a folder");
    let files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("a folder")
        .filter_map(|file| Some(file.ok()?.path()))
        .filter(|file| file.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&name)))
        .collect();
    let mut calls = Vec::new();
    for file in &files {
        let pid = file.extension().expect("a pid").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(file).expect("it was written");
        for line in text.lines() {
            let (of, call) = line.trim().split_once(' ').expect("two columns");
            assert_eq!(of, pid, "{text}");
            calls.push(call.split(',').next().unwrap_or("").to_owned());
        }
        _ = std::fs::remove_file(file);
    }
    calls.sort();
    assert_eq!(calls, ["work(n: 0", "work(n: 1", "work(n: 100", "work(n: 2"], "{files:?}");
    assert_eq!(files.len(), 4);
    assert!(!path.exists());
}

#[test]
fn colours_are_for_terminals() {
    let escapes = |environment: &str, words: &str| {
        let line = format!(
            "{environment} {} trace return:libc:open {words} -- {} errors",
            xol_tests::xol::xol().display(),
            program("tells", Build::Pie).display()
        );
        let finished = run("script").args(["-qec", &line, "/dev/null"]).finish();
        assert!(finished.out().contains("ENOENT"), "{finished}");
        finished.out().contains("\u{1b}[31m -> -1 ENOENT")
    };
    assert!(escapes("TERM=xterm", ""));
    assert!(!escapes("TERM=dumb", ""));
    assert!(!escapes("TERM=xterm NO_COLOR=1", ""));
    assert!(!escapes("TERM=xterm", "-o /dev/stderr"));
}

/// Has the shells themselves complete three lines.
fn fish_and_zsh_complete(said: &dyn Fn(&[&str]) -> String) {
    let folder = scratch("completions");
    std::fs::create_dir_all(&folder).expect("the folder is writable");
    for (shell, name) in [("fish", "xol.fish"), ("zsh", "_xol")] {
        std::fs::write(folder.join(name), said(&["completions", shell])).expect("it is writable");
    }
    let fish = "source $argv[1]/xol.fish
        for line in 'xol tr' 'xol trace --fo' 'xol count --format open'
            complete -C $line | string replace -r '\\t.*' ''
        end";
    let finished =
        run("fish").env("HOME", &folder).args(["--no-config", "-c", fish]).arg(&folder).finish();
    assert_eq!(finished.out(), "trace\n--follow\n--format\nopenmetrics\n", "{finished}");
    // zsh completes on a terminal only.
    let zsh = "zmodload zsh/zpty
        zpty z zsh -f -i
        zpty -w z \"PS1=; autoload -U compinit; fpath=($1 \\$fpath); compinit -u -D; echo re''ady\"
        zpty -r z out '*ready*'
        for line want in 'xol tr' trace 'xol trace --fo' '--follow*--format' \\
                'xol count --format open' openmetrics; do
            zpty -w -n z $line$'\\t'
            zpty -r z out \"*$want*\" && echo $want
            zpty -w -n z $'\\x15'
        done";
    let finished =
        run("zsh").env("HOME", &folder).args(["-f", "-c", zsh, "zsh"]).arg(&folder).finish();
    assert_eq!(finished.out(), "trace\n--follow*--format\nopenmetrics\n", "{finished}");
    _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn who_installs_it_is_served() {
    let said = |words: &[&str]| {
        let finished = command(words.iter().copied()).finish();
        assert_eq!(finished.code(), 0, "{finished}");
        finished.out()
    };
    let version = said(&["--version"]);
    assert!(version.starts_with("xol 0.") && version.contains("features: jump, "), "{version}");
    let short = said(&["-V"]);
    assert!(version.starts_with(short.trim_end()), "{short}");
    assert_eq!((short.lines().count(), short.split(' ').count()), (1, 2), "{short}");
    let probe = said(&["help", "PROBE"]);
    for part in ["libc:memcpy@GLIBC_2.14", "return:read", "f64", "+OFFSET"] {
        assert!(probe.contains(part), "{part}");
    }
    // What bash offers for `xol tr`, and behind `--form`.
    let completion = scratch("completion");
    std::fs::write(&completion, said(&["completions", "bash"])).expect("the folder is writable");
    let offered = |words: &str, last: usize| {
        let script = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={last}; _xol xol \"${{COMP_WORDS[{last}]}}\" \"${{COMP_WORDS[{last}-1]}}\"; \
             echo \"${{COMPREPLY[@]}}\"",
            completion.display()
        );
        let finished = run("bash").args(["-c", &script]).finish();
        assert_eq!(finished.code(), 0, "{finished}");
        finished.out().trim().to_owned()
    };
    assert_eq!(offered("xol tr", 1), "trace");
    assert_eq!(offered("xol trace --fo", 2), "--follow --format");
    assert_eq!(offered("xol count --format open", 3), "openmetrics");
    _ = std::fs::remove_file(&completion);
    fish_and_zsh_complete(&said);
    let pages = scratch("pages");
    let folder = pages.to_string_lossy().into_owned();
    assert_eq!(said(&["man", &folder]), "");
    // A page for each command that the help lists.
    let help = said(&["--help"]);
    let (_, commands) = help.split_once("Commands:\n").expect("commands");
    let listed = commands.lines().map_while(|line| line.strip_prefix("  ")?.split(' ').next());
    let mut names: Vec<String> = listed.map(|name| format!("xol-{name}")).collect();
    assert!(names.len() > 10 && names.contains(&"xol-man".to_owned()), "{names:?}");
    names.push("xol".to_owned());
    for name in names {
        let page = pages.join(format!("{name}.1"));
        let read = run("man").args(["--warnings", "-l"]).arg(&page).finish();
        assert!(read.code() == 0 && read.err().is_empty(), "{name}: {read}");
        assert!(read.out().contains("NAME"), "{name}: {read}");
    }
    let trace = run("man").arg("-l").arg(pages.join("xol-trace.1")).finish().out();
    // Examples keep their lines.
    let whole =
        "       'open(path: str, flags: hex) -> i32'   typed arguments, and the return value";
    assert!(trace.lines().any(|line| line.trim() == whole.trim()), "{trace}");
    _ = std::fs::remove_dir_all(&pages);
    let wrong = command(["man", "/dev/null/x"]).finish();
    assert!(wrong.code() == 125 && wrong.err().contains("cannot write to /dev/null/x"), "{wrong}");
}
