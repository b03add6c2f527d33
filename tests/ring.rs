//! Traces of jumps: the lines are those of traps, and the threads, the order and the times are
//! right, whatever ends the program or the trace.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use xol_tests::events::{Event, Traced, by_thread, missed, parse, trace};
use xol_tests::killing::{Death, Victim, dies, syscalls};
use xol_tests::programs::{Build, program};
use xol_tests::run::{Run, as_often, run, slowness};
use xol_tests::target::Target;
use xol_tests::xol::{command, count};

const TELL: &str = "tell(n: i64, tid: u32, pid: u32, letter: char, down: i16, odd: bool)";

fn traced(strategy: &str, probes: &[&str], command: &Run) -> Traced {
    let limit = Duration::from_secs(120);
    trace(&["-f", "--strategy", strategy], probes, &command.clone().limit(limit))
}

/// `programs/stream.c`: HOW THREADS CALLS NS.
fn stream(how: &str, threads: u64, calls: u64, ns: u64) -> Run {
    let words = [threads, calls, ns].map(|n| n.to_string());
    run(program("stream", Build::Pie)).arg(how).args(words)
}

/// That a probe's hits are really taken by jumps.
fn jumps(probe: &str, command: &Run) {
    let counted = count(&["-f", "--strategy", "jump"], &[probe.to_owned()], command);
    assert!(counted.lines.iter().all(|l| l.strategy == "jump"), "{}", counted.text);
}

/// That each call names the thread that made it, that every thread's calls are in order and so are
/// their times, and that the values are those of the source.
fn check(events: &[Event]) -> BTreeSet<u64> {
    let mut last: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for event in events {
        let n = event.number("n");
        assert_eq!((event.number("tid"), event.number("pid")), (event.tid, event.pid), "{event:?}");
        assert_eq!(event.args["letter"], char::from(b'a' + (n % 26) as u8).to_string());
        assert_eq!(event.args["down"], i64::from((n as i16).wrapping_neg()), "{event:?}");
        assert_eq!(event.args["odd"], n % 2 == 1, "{event:?}");
        if let Some(&(before, time)) = last.get(&event.tid) {
            assert!(n > before || n == 0, "{before}, then {event:?}");
            assert!(event.ts_ns >= time, "{time}, then {event:?}");
        }
        last.insert(event.tid, (n, event.ts_ns));
    }
    last.into_keys().collect()
}

/// Every strategy tells the same, thread by thread.
fn same_lines(probes: &[&str], command: &Run) -> Vec<Vec<String>> {
    let alone = command.finish();
    let [traps, jumps] = ["boost", "jump"].map(|strategy| traced(strategy, probes, command));
    for run in [&traps, &jumps] {
        alone.assert_same(&run.finished);
        assert_eq!(run.missed, 0);
        let mut times = BTreeMap::new();
        for event in &run.events {
            let last = times.insert(event.tid, event.ts_ns).unwrap_or(0);
            assert!(event.ts_ns >= last, "{event:?} after {last}");
        }
    }
    let [traps, jumps] = [traps, jumps].map(|run| by_thread(&run.events));
    assert!(!traps.is_empty());
    assert_eq!(traps.len(), jumps.len(), "threads");
    for (n, (traps, jumps)) in traps.iter().zip(&jumps).enumerate() {
        let first = traps.iter().zip(jumps).position(|(a, b)| a != b);
        assert_eq!((first, traps.len()), (None, jumps.len()), "thread {n}: the first difference");
    }
    jumps
}

#[test]
fn lines_are_those_of_traps() {
    // No more than fits into a shard, however slowly it is read.
    let words: Vec<u8> = (0..300_u32)
        .flat_map(|n| format!("line {}\n", n.wrapping_mul(2_654_435_761) % 9973).into_bytes())
        .collect();
    // Sizes and numbers only: where things are is another matter in every run.
    let libc = ["libc:malloc(size: u64)", "libc:memcpy()", "libc:strlen()", "libc:strcoll()"];
    let lines = same_lines(&libc, &run("sort").arg("-k2").stdin(words));
    // arm64's `sort` of Debian calls them 93 times here.
    let least = if cfg!(target_arch = "x86_64") { 1000 } else { 90 };
    assert!(lines[0].len() > least, "{} lines", lines[0].len());
    // One thread after the other; the probes of two objects, whose rings are far apart.
    let threads = run(program("threads", Build::Pie)).args(["10", "in order"]);
    let own = ["work(n: i64)", "libc:strtol()", "libc:snprintf()", "return:work() -> i64"];
    let lines = same_lines(&own, &threads);
    assert_eq!(lines.iter().filter(|lines| lines.len() == 40).count(), 40, "{lines:?}");
    // Every instruction, and both ends of calls.
    let calls = run(program("calls", Build::Pie)).args(["12", "5"]);
    assert!(!same_lines(&["calls-pie:*+*"], &calls)[0].is_empty());
    let returns = run(program("returns", Build::Pie));
    assert!(!same_lines(&["return:returns-pie:r_*() -> u8"], &returns)[0].is_empty());
}

#[test]
fn objects_that_come_and_go() {
    let plugin = program("plugin", Build::Shared);
    let loads = run(program("loads", Build::Pie)).arg(&plugin);
    let lines = same_lines(&["plugin-shared:plugin_work(n: i64) -> i64"], &loads);
    assert_eq!(lines[0].len(), 40, "{lines:?}");
    // By the leader and by other threads.
    let execs = run(program("execs", Build::Pie));
    let traced = traced("jump", &["execs-pie:work(n: i64)"], &execs);
    assert_eq!(traced.finished.code(), 0);
    let mains: Vec<_> = traced.events.iter().filter(|e| e.tid == e.pid).collect();
    let rounds: Vec<u64> = mains.iter().map(|e| e.number("n")).collect();
    assert_eq!(rounds, [0, 1, 2, 3, 4, 5, 6], "{mains:?}");
    assert!(traced.events.iter().any(|e| e.tid != e.pid));
}

/// As above, where a thread that finds no room goes on.
fn dropping(run: &Run) -> Traced {
    let options = ["-f", "--strategy", "jump", "--when-full", "drop"];
    trace(&options, &[TELL], &run.clone().limit(Duration::from_secs(120)))
}

/// Threads as fast as they can be: they wait, and every call is told.
#[test]
fn every_call_is_told() {
    let calls = as_often(100_000, 1_000);
    jumps(TELL, &stream("plain", 8, 10, 0));
    for strategy in ["jump", "auto"] {
        let traced = traced(strategy, &[TELL], &stream("plain", 8, calls, 0));
        assert_eq!(traced.finished.code(), 0);
        assert_eq!((traced.events.len() as u64, traced.missed), (8 * calls, 0), "{strategy}");
        assert_eq!(check(&traced.events).len(), 8, "{strategy}");
    }
}

/// The same where they do not wait: what is not told is missed, and counted.
#[test]
fn every_call_is_told_or_missed() {
    let calls = as_often(100_000, 1_000);
    let traced = dropping(&stream("plain", 8, calls, 0));
    assert_eq!(traced.finished.code(), 0);
    println!("{} told, {} missed", traced.events.len(), traced.missed);
    assert_eq!(traced.events.len() as u64 + traced.missed, 8 * calls);
    assert!(!check(&traced.events).is_empty());
}

/// Whoever reads the lines slowly slows the program down, and misses nothing.
#[test]
fn a_slow_reader_is_waited_for() {
    let calls = as_often(60_000, 500);
    let slow = "import os, sys, time\nwhile b := os.read(0, 65536):\n  time.sleep(0.005)\n  \
                sys.stdout.buffer.write(b)";
    let shell =
        ["sh", "-c", "slow=$1; shift; \"$@\" 3>&1 >/dev/null | python3 -c \"$slow\"", "sh", slow];
    let words = ["trace", "-f", "--format", "json", "-o", "/dev/fd/3", TELL, "--"];
    let piped = command(words).args(stream("plain", 2, calls, 0).words().iter().cloned());
    let piped = piped.under(shell).limit(Duration::from_secs(120));
    let finished = piped.finish();
    // The program says something, too.
    let out = finished.out();
    let lines: Vec<&str> = out.lines().filter(|line| line.starts_with('{')).collect();
    let events = parse(&lines.join("\n"));
    assert_eq!((events.len() as u64, missed(&finished.err())), (2 * calls, 0));
    assert_eq!(check(&events).len(), 2);
}

/// Every other strategy tells the same of this program.
/// From the first record on, not from the next time that something else wakes xol: the ring is full
/// before that.
#[test]
fn the_first_words_are_heard() {
    let traced = dropping(&stream("plain", 1, 60_000, 1000 * u64::from(slowness())));
    let told = traced.events.len();
    println!("{told} told, {} missed", traced.missed);
    assert_eq!(told as u64 + traced.missed, 60_000);
    assert!(told > 25_000, "{told}");
}

#[test]
fn threads_are_named() {
    for (how, threads, all, named) in
        [("rounds", 4, 4 * 20 * 50, 80), ("forks", 0, 50 + 100, 6), ("vforks", 0, 50 + 100, 6)]
    {
        for strategy in ["jump", "boost"] {
            let traced = traced(strategy, &[TELL], &stream(how, threads, 50, 0));
            assert_eq!(traced.finished.code(), 0, "{how}: {}", traced.finished);
            assert_eq!((traced.events.len(), traced.missed), (all, 0), "{how} {strategy}");
            assert_eq!(check(&traced.events).len(), named, "{how} {strategy}");
            let said = traced.finished.err();
            assert!(!said.contains("taken by traps"), "{said}");
        }
    }
    // A child that is not followed tells nothing.
    let forks = stream("forks", 0, 50, 0);
    let traced = trace(&["--strategy", "jump"], &[TELL], &forks);
    assert_eq!((traced.events.len(), check(&traced.events).len()), (100, 1));
}

/// What was written before the end is told, whatever that is.
#[test]
fn the_last_words_are_heard() {
    for (how, status) in [("plain", 0), ("kill", 137), ("exec", 0), ("exit", 7)] {
        for threads in [0, 4] {
            let run = stream(how, threads, 2_000, 0);
            let traced = traced("jump", &[TELL], &run);
            assert_eq!(traced.finished.code(), status, "{}", traced.finished);
            let calls = 2_000 * threads.max(1) as usize;
            assert_eq!((traced.events.len(), traced.missed), (calls, 0), "{how} {threads}");
            check(&traced.events);
        }
    }
}

/// RDTSC raises SIGSEGV in a program that has forbidden it: it traps from then on.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_program_without_a_clock() {
    let traced = traced("jump", &[TELL], &stream("tsc", 3, 200, 0));
    assert_eq!(traced.finished.code(), 0, "{}", traced.finished);
    assert_eq!((traced.events.len(), traced.missed), (600, 0));
    assert_eq!(check(&traced.events).len(), 3);
}

#[test]
fn so_many_events_and_no_more() {
    for most in ["1", "100", "5000"] {
        let options = ["--strategy", "jump", "--max-events", most];
        let traced = trace(&options, &[TELL], &stream("plain", 3, 20_000, 0));
        assert_eq!(traced.finished.code(), 0, "{}", traced.finished);
        assert_eq!(traced.events.len().to_string(), most);
        check(&traced.events);
    }
}

/// A filter lets the same through wherever it is evaluated: by the tracer at a trap, by the code of
/// a trampoline, and here.
#[test]
fn filters_let_the_same_through() {
    type Passes = fn(u64) -> bool;
    let filters: [(&str, bool, Passes); 7] = [
        ("letter == 'c'", true, |n| n % 26 == 2),
        ("down < -40 && odd", true, |n| n > 40 && n % 2 == 1),
        ("n & 0x6 == 2 && pid", true, |n| n & 6 == 2),
        ("!(n < 100 || letter > 'm')", true, |n| n >= 100 && n % 26 <= 12),
        ("down <= -0x3ff && down & 0x8000", true, |n| n >= 0x3ff),
        ("n > 1990 || n == 5", false, |n| n > 1990 || n == 5),
        ("n & 0x7 != 3", false, |n| n & 7 != 3),
    ];
    for (filter, compiled, passes) in filters {
        let expected: Vec<u64> = (0..2000).filter(|&n| passes(n)).collect();
        for strategy in ["jump", "boost"] {
            let options = ["--strategy", strategy, "--where", filter];
            let command = stream("plain", 0, 2000, 0);
            let traced = trace(&options, &[TELL], &command);
            let told: Vec<u64> = traced.events.iter().map(|e| e.number("n")).collect();
            assert_eq!((&told, traced.missed), (&expected, 0), "{filter} {strategy}");
            let counted = count(&options, &[TELL.to_owned()], &command);
            let [line] = &counted.lines[..] else { panic!("{}", counted.text) };
            let jumps = strategy == "jump" && compiled;
            let hits = (line.hits as usize, line.strategy == "jump");
            assert_eq!(hits, (expected.len(), jumps), "{filter} {strategy}");
            let returns = format!("return:{TELL} -> i64");
            let counted = count(&options, &[returns], &command);
            assert_eq!(counted.lines[0].hits as usize, expected.len(), "{}", counted.text);
        }
    }
    let cat = run("cat").args(["/etc/hostname", "/etc/passwd"]);
    for (filter, calls) in [("path ~ \"/etc/h*\"", 1), ("path ~ \"/etc/*\" && flags == 0", 2)] {
        let traced = trace(&["--where", filter], &["libc:open64(path: str, flags: hex)"], &cat);
        assert_eq!(traced.events.len(), calls, "{filter}: {:?}", traced.events);
    }
}

/// Both strategies at once: what trap sites tell stays in order with what jumps do.
#[test]
fn traps_and_jumps_of_one_thread() {
    let run = stream("plain", 4, as_often(300, 50), 1000);
    // A string is read by a stop.
    let probes = ["tell(n: i64, tid: u32, pid: u32)", "libc:clock_gettime(clock: i32)", "say"];
    let traced = traced("jump", &probes, &run);
    let mut tells: BTreeMap<u64, u64> = BTreeMap::new();
    let mut says: BTreeMap<u64, u64> = BTreeMap::new();
    for event in &traced.events {
        if event.probe == "say" {
            *says.entry(event.tid).or_default() += 1;
        } else if event.probe == probes[0] {
            assert_eq!(event.number("tid"), event.tid, "{event:?}");
            let told = tells.entry(event.tid).or_default();
            assert_eq!(event.number("n"), *told, "{event:?}");
            *told += 1;
        }
    }
    assert_eq!((traced.missed, tells.len()), (0, 4));
    assert!(tells.values().all(|&n| n == as_often(300, 50)), "{tells:?} {says:?}");
}

/// What is done to a running program: attached, traced, left.
fn visit(target: &Target, seconds: &str) -> Vec<String> {
    let words = ["trace", "--strategy", "jump", "--duration", seconds, "-o", "/dev/null", "-p"];
    let mut words: Vec<String> = words.map(str::to_owned).into();
    words.push(target.pid().to_string());
    words.push(format!("{}:probed_*", target.name()));
    words.push(format!("return:{}:returns_*", target.name()));
    words
}

#[test]
fn visits_leave_nothing_behind() {
    let target = Target::start("loops");
    for n in 0..as_often(20, 3) {
        let finished = command(visit(&target, "0.02")).limit(Duration::from_secs(30)).finish();
        assert_eq!(finished.code(), 0, "visit {n}: {finished}");
    }
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", target.pid())).expect("it runs");
    assert!(!maps.contains("memfd:xol"), "{maps}");
    let finished = target.end();
    let out = finished.out();
    assert!(finished.code() == 5 && out == "ready\nran: 1, ticked: 1, wrong: 0\n", "{finished}");
    // One that looks at its own text when it is over.
    let target = Target::start_with(program("waits", Build::Pie), &["150"]);
    let pid = target.pid().to_string();
    let (own, mut events) = (format!("{}:work", target.name()), 0);
    for n in 0..as_often(30, 3) {
        let words = ["trace", "--strategy", "jump", "--duration", "0.01", "-p", &pid, &own];
        let words = words.into_iter().chain(["--format", "json", "-o", "-"]);
        let finished = command(words).limit(Duration::from_secs(30)).finish();
        assert_eq!(finished.code(), 0, "visit {n}: {finished}");
        events += parse(&finished.out()).len() as u64 + missed(&finished.err());
    }
    let finished = target.end();
    let out = finished.out();
    let whole = ["results: ok, masks: ok\n", "text changed: 0\n", "main mask: ok\n"];
    assert!(finished.code() == 0 && whole.iter().all(|said| out.contains(said)), "{finished}");
    assert!(events > 0, "{finished}");
}

#[test]
fn the_target_outlives_its_tracer() {
    let target = Target::start("loops");
    let calls = syscalls(&visit(&target, "0.02"));
    assert_eq!(target.end().code(), 5);
    let deaths = (1..=calls).step_by((calls / as_often(40, 4)).max(1) as usize);
    let times = (0..as_often(20, 2)).map(|n| Duration::from_micros(2_000 * n + 137));
    let deaths: Vec<Death> = deaths.map(Death::AtCall).chain(times.map(Death::After)).collect();
    for death in deaths {
        let target = Target::start("loops");
        let end = dies(&visit(&target, "0.02"), death, Victim::Both);
        std::thread::sleep(Duration::from_millis(3));
        let finished = target.end();
        assert!(
            finished.code() == 5 && finished.out() == "ready\nran: 1, ticked: 1, wrong: 0\n",
            "{death:?}, xol ended with {end:?}:\n{finished}"
        );
    }
}
