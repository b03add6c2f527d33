//! `xol latency`, `count --by`, `--hist` and `--summary`, and `top`, beside a program that measures
//! its calls itself (`programs/latency.c`).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use serde_json::Value;

use xol_tests::programs::{Build, program};
use xol_tests::run::{Finished, Run, kill_group, run};
use xol_tests::xol::{command, count, reported, xol};

/// How many of a thousand the percentiles are.
const PERCENTILES: [(&str, u64); 4] =
    [("p50_ns", 500), ("p90_ns", 900), ("p99_ns", 990), ("p999_ns", 999)];

/// What two clocks may differ by: ticks are put between moments at which both were read.
const CLOCKS: u64 = 20_000;

/// `programs/latency.c`: HOW COUNT.
fn calls(how: &str, count: u64) -> Run {
    let program = run(program("latency", Build::Pie)).args([how.to_owned(), count.to_string()]);
    program.limit(Duration::from_secs(60))
}

fn objects(what: &str, options: &[&str], probes: &[&str], command: &Run) -> (Finished, Vec<Value>) {
    let (finished, text) = reported(what, options, probes, command);
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    (finished.ok(), text.lines().map(read).collect())
}

fn number(row: &Value, key: &str) -> u64 {
    row[key].as_u64().unwrap_or_else(|| panic!("no {key}: {row}"))
}

/// What holds of every row: bars add up to the calls, and nothing is shorter than the shortest.
fn adds_up(row: &Value) {
    let bars = row["buckets"].as_array().expect("an array");
    let bars: Vec<[u64; 3]> = bars
        .iter()
        .map(|bar| [0, 1, 2].map(|n| bar[n].as_u64().unwrap_or_else(|| panic!("{row}"))))
        .collect();
    assert_eq!(bars.iter().map(|bar| bar[2]).sum::<u64>(), number(row, "calls"), "{row}");
    assert!(bars.windows(2).all(|pair| pair[0][1] == pair[1][0]), "{row}");
    if number(row, "calls") == 0 {
        assert!(row["min_ns"].is_null() && row["p50_ns"].is_null(), "{row}");
        return;
    }
    let [calls, total, min, mean, max] =
        ["calls", "total_ns", "min_ns", "mean_ns", "max_ns"].map(|key| number(row, key));
    assert!(min <= mean && mean <= max && total >= calls * min && total <= calls * max, "{row}");
    assert_eq!(mean, total / calls, "{row}");
    let mut last = min;
    for (key, _) in PERCENTILES {
        assert!(number(row, key) >= last && number(row, key) <= max, "{row}");
        last = number(row, key);
    }
}

/// The only row of a function.
fn row_of<'a>(rows: &'a [Value], symbol: &str) -> &'a Value {
    let mut of = rows.iter().filter(|row| row["symbol"] == symbol);
    let row = of.next().unwrap_or_else(|| panic!("no {symbol}: {rows:?}"));
    assert!(of.next().is_none(), "{rows:?}");
    adds_up(row);
    row
}

/// Rows by their values.
fn by_value(rows: &[Value]) -> BTreeMap<String, &Value> {
    rows.iter().map(|row| (row["by"].to_string(), row)).collect()
}

#[test]
fn times_are_those_that_the_program_measures() {
    const NOMINAL: [u64; 4] = [20_000, 200_000, 2_000_000, 10_000_000];
    for strategy in ["auto", "boost"] {
        let options = ["--strategy", strategy];
        let (finished, rows) = objects("latency", &options, &["work"], &calls("times", 40));
        let row = row_of(&rows, "work");
        assert_eq!(number(row, "calls"), 40, "{row}");
        assert_eq!((number(row, "missed"), number(row, "unfinished")), (0, 0), "{row}");
        assert_eq!(row["strategy"], if strategy == "auto" { "jump" } else { "boost" });
        let out = finished.out();
        let mut outside: Vec<u64> = out.lines().map(|line| line.parse().expect("ns")).collect();
        let mut inside: Vec<u64> = NOMINAL.into_iter().cycle().take(40).collect();
        outside.sort_unstable();
        inside.sort_unstable();
        // What the caller sees is longer than the call, and what the call spends is shorter.
        for (key, part) in PERCENTILES {
            let rank = (40 * part).div_ceil(1000) as usize - 1;
            let (least, most, told) = (inside[rank], outside[rank], number(row, key));
            assert!(told + told / 128 + CLOCKS >= least, "{strategy} {key}: {least} {row}");
            assert!(told <= most + most / 128 + CLOCKS, "{strategy} {key}: {most} {row}");
        }
        let total = number(row, "total_ns");
        assert!(total + 40 * CLOCKS >= inside.iter().sum(), "{row}");
        assert!(total <= outside.iter().sum::<u64>() + 40 * CLOCKS, "{row}");
    }
}

#[test]
fn what_others_took_is_not_its_own() {
    let (finished, rows) =
        objects("latency", &["--self"], &["outer", "inner"], &calls("nested", 5));
    let [outer, inner] = ["outer", "inner"].map(|name| row_of(&rows, name));
    assert_eq!((number(outer, "calls"), number(inner, "calls")), (5, 15));
    let [all, within] = [outer, inner].map(|row| number(row, "total_ns"));
    assert_eq!(number(outer, "self_ns"), all - within, "{outer} {inner}");
    assert_eq!(number(inner, "self_ns"), within);
    let measured: u64 = finished.out().trim().parse().expect("ns");
    assert!(all <= measured + CLOCKS && number(outer, "self_ns") + CLOCKS >= 5_000_000, "{outer}");
    // Without --self there is no such field, and bars may be of one width.
    let options = ["--linear", "0,4ms,1ms"];
    let (_, rows) = objects("latency", &options, &["inner"], &calls("nested", 5));
    let inner = row_of(&rows, "inner");
    assert!(inner.get("self_ns").is_none() && inner["by"].is_null(), "{inner}");
    let bars = inner["buckets"].as_array().expect("an array");
    let first: Vec<u64> = bars[0].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
    assert_eq!(first, [0, 1_000_000, 0], "{inner}");
}

#[test]
fn recursion_is_many_calls() {
    let (_, rows) = objects("latency", &["--self"], &["recurse"], &calls("recursive", 4));
    let row = row_of(&rows, "recurse");
    assert_eq!(number(row, "calls"), 20);
    // Depths 4 to 0 take 5 to 1 ms, each of which is its own.
    assert!(number(row, "self_ns") + 20 * CLOCKS >= 20_000_000, "{row}");
    assert!(number(row, "total_ns") + 20 * CLOCKS >= 4 * 15_000_000, "{row}");
    assert!(number(row, "self_ns") < number(row, "total_ns"), "{row}");
    let (_, rows) =
        objects("latency", &["--by", "depth"], &["recurse(depth: i64)"], &calls("recursive", 4));
    let rows = by_value(&rows);
    assert_eq!(rows.len(), 5);
    for depth in 0..5 {
        let row = rows[&depth.to_string()];
        adds_up(row);
        assert_eq!(number(row, "calls"), 4);
        assert!(number(row, "min_ns") + 5 * CLOCKS >= (depth + 1) * 1_000_000, "{row}");
    }
}

#[test]
fn calls_that_are_left_are_unfinished() {
    for strategy in ["auto", "boost"] {
        let options = ["--strategy", strategy, "--self"];
        let (_, rows) = objects("latency", &options, &["tries", "leaves"], &calls("left", 30));
        let [tries, leaves] = ["tries", "leaves"].map(|name| row_of(&rows, name));
        assert_eq!((number(tries, "calls"), number(tries, "unfinished")), (30, 0), "{tries}");
        assert_eq!((number(leaves, "calls"), number(leaves, "unfinished")), (15, 15), "{leaves}");
        // The time behind a longjmp is that of who has set the place.
        assert!(number(tries, "self_ns") + 30 * CLOCKS >= 30 * 100_000, "{tries}");
    }
    // Exceptions: what does not return is what begins and has no return.
    let throws = run(program("throws", Build::Pie)).limit(Duration::from_secs(60));
    let begun = count(&[], &["deep".to_owned(), "rethrow".to_owned()], &throws);
    let returned = count(&[], &["return:deep".to_owned(), "return:rethrow".to_owned()], &throws);
    let (_, text) = reported("latency", &[], &["deep", "rethrow"], &throws);
    let rows: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    for ((begun, returned), row) in begun.lines.iter().zip(&returned.lines).zip(&rows) {
        adds_up(row);
        assert_eq!((&begun.symbol, begun.addr), (&returned.symbol, returned.addr));
        assert_eq!(
            (row["symbol"].as_str(), number(row, "addr")),
            (Some(&*begun.symbol), begun.addr)
        );
        assert_eq!(number(row, "calls"), returned.hits, "{row}");
        assert_eq!(number(row, "calls") + number(row, "unfinished"), begun.hits, "{row}");
    }
    assert_eq!(rows.len(), 2);
}

#[test]
fn threads_and_processes_have_their_own() {
    let (_, rows) = objects("latency", &["--by", "ns"], &["work(ns: i64)"], &calls("threads", 5));
    let rows = by_value(&rows);
    let values: Vec<&str> = rows.keys().map(String::as_str).collect();
    assert_eq!(values, ["1000000", "2000000", "4000000", "8000000"]);
    for (value, row) in rows {
        adds_up(row);
        assert_eq!(number(row, "calls"), 5);
        assert!(number(row, "min_ns") + CLOCKS >= value.parse().expect("ns"), "{row}");
    }
    for (by, options, processes) in [("tid", &["--by", "tid"][..], 4), ("pid", &["--by", "pid"], 1)]
    {
        let (_, rows) = objects("latency", options, &["work"], &calls("threads", 3));
        assert_eq!(rows.len(), processes, "{by}");
        assert!(rows.iter().all(|row| number(row, "calls") == 12 / processes as u64), "{rows:?}");
    }
    let (_, rows) = objects("latency", &["-f", "--by", "pid"], &["work"], &calls("forks", 4));
    assert_eq!(rows.iter().map(|row| number(row, "calls")).collect::<Vec<_>>(), [4, 4]);
    let (_, rows) = objects("latency", &["--by", "comm"], &["work"], &calls("forks", 4));
    assert_eq!((number(&rows[0], "calls"), &rows[0]["by"]), (4, &Value::from("latency-pie")));
    // A program that ends at once.
    let (_, rows) = objects("latency", &["-f"], &["work", "recurse"], &calls("exits", 1));
    assert_eq!(["work", "recurse"].map(|name| number(row_of(&rows, name), "calls")), [2, 4]);
}

#[test]
fn callers_have_names() {
    for what in ["count", "latency"] {
        let (_, rows) = objects(what, &["--by", "caller"], &["recurse"], &calls("recursive", 3));
        let key = if what == "count" { "hits" } else { "calls" };
        let by = |name: &str| {
            let of = rows.iter().filter(|row| row["by"].as_str().expect("a name").contains(name));
            of.map(|row| number(row, key)).sum::<u64>()
        };
        assert_eq!((by("latency-pie:main+"), by("latency-pie:recurse+")), (3, 12), "{rows:?}");
    }
}

#[test]
fn what_cannot_be_kept_up_with_waits_or_is_missed() {
    const CALLS: u64 = 300_000;
    let (_, rows) = objects("latency", &[], &["work"], &calls("fast", CALLS));
    let row = row_of(&rows, "work");
    assert_eq!((number(row, "calls"), number(row, "missed")), (CALLS, 0), "{row}");
    let options = ["--when-full", "drop"];
    let (_, rows) = objects("latency", &options, &["work"], &calls("fast", CALLS));
    let row = row_of(&rows, "work");
    let [calls, missed, unfinished] = ["calls", "missed", "unfinished"].map(|key| number(row, key));
    assert!(calls > 0 && calls + unfinished <= CALLS, "{row}");
    // Each call has two records, of which one that is missing is enough.
    assert!(calls + unfinished + missed >= CALLS, "{row}");
}

#[test]
fn values_are_bounded_and_the_rest_is_one_row() {
    let (_, rows) =
        objects("latency", &["--by", "kind"], &["work(ns: i64, kind: i32)"], &calls("many", 1500));
    assert_eq!(rows.len(), 1025);
    rows.iter().for_each(adds_up);
    let rows = by_value(&rows);
    assert_eq!(number(rows["{\"others\":true}"], "calls"), 1500 - 1024);
    assert!(rows.iter().all(|(by, row)| by.starts_with('{') || number(row, "calls") == 1));
}

#[test]
fn hits_are_counted_by_value() {
    const WORK: &str = "work(ns: i64, kind: i32) -> i32";
    let calls = calls("many", 90);
    let (_, rows) = objects("count", &["--by", "ret"], &[WORK], &calls);
    let rows = by_value(&rows);
    // A third returns -1, the others their number.
    assert_eq!((number(rows["-1"], "hits"), number(rows["0"], "hits"), rows.len()), (30, 1, 61));
    let (_, rows) = objects("count", &["--hist", "kind"], &[WORK], &calls);
    assert_eq!(number(&rows[0], "hits"), 90);
    let bars = "[[0,1,1],[1,2,1],[2,4,2],[4,8,4],[8,16,8],[16,32,16],[32,64,32],[64,128,26]]";
    assert_eq!(rows[0]["buckets"].to_string(), bars);
    let (_, rows) = objects("count", &["--summary"], &[WORK, "inner"], &calls);
    assert_eq!((number(&rows[0], "hits"), number(&rows[0], "errors")), (90, 30), "{rows:?}");
    assert_eq!((number(&rows[1], "hits"), rows[0]["share"].as_f64()), (0, Some(100.0)));
    let (_, rows) = objects("count", &["--by", "kind", "--where", "kind < 3"], &[WORK], &calls);
    assert_eq!(rows.len(), 3);
}

/// Calls and errors of system calls as `strace -c` has them for `programs/asks.c`.
fn calls_by_strace(rounds: u32) -> BTreeMap<String, [u64; 2]> {
    let asks = program("asks", Build::Pie);
    let finished = run("strace")
        .args(["-c", "-e", "trace=openat,read,close"])
        .arg(asks)
        .arg(rounds.to_string());
    let told = finished.limit(Duration::from_secs(60)).finish().ok().err();
    // "% time, seconds, usecs/call, calls, errors if there are any, name"
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = words.last().filter(|name| ["openat", "read", "close"].contains(name))?;
        let number = |n: usize| words.get(n).and_then(|word| word.parse().ok()).unwrap_or(0);
        let errors = if words.len() == 6 { number(4) } else { 0 };
        Some(((*name).to_owned(), [number(3), errors]))
    };
    told.lines().filter_map(row).collect()
}

#[test]
fn sums_are_those_of_strace() {
    const ROUNDS: u32 = 2_000;
    let whole = calls_by_strace(ROUNDS);
    // What the loader asks for is no call of libc's functions.
    let start = calls_by_strace(0);
    let asks = run(program("asks", Build::Pie)).arg(ROUNDS.to_string());
    let (_, rows) =
        objects("count", &["--summary"], &["libc:open", "libc:read", "libc:close"], &asks);
    for (symbol, call) in [("open", "openat"), ("read", "read"), ("close", "close")] {
        let of_strace = [0, 1].map(|n| whole[call][n] - start.get(call).map_or(0, |row| row[n]));
        let row = rows.iter().find(|row| row["symbol"] == symbol).expect("a row");
        assert_eq!([number(row, "hits"), number(row, "errors")], of_strace, "{row}");
        // No error's number is asked for, so nothing has to stop.
        assert_eq!(row["strategy"], "jump", "{row}");
    }
    assert_eq!(whole["openat"][0] - start["openat"][0], 2 * u64::from(ROUNDS));
}

#[test]
fn slow_calls_have_lines() {
    const WORK: &str = "work(ns: i64, kind: i32) -> i32";
    let (_, rows) = objects("latency", &["--slower", "9ms"], &[WORK], &calls("times", 12));
    let (lines, rows): (Vec<Value>, Vec<Value>) =
        rows.into_iter().partition(|row| row.get("ts_ns").is_some());
    assert!(lines.len() >= 3 && rows.len() == 1, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line["args"]["ns"] == 10_000_000).count(), 3);
    assert!(lines.iter().all(|line| number(line, "duration_ns") >= 9_000_000), "{lines:?}");
    let words = ["latency", "--slower", "9ms", WORK, "--"];
    let said = calls("times", 4)
        .under([&[xol().as_os_str()], &words.map(OsStr::new)[..]].concat())
        .finish()
        .err();
    let line = said.lines().find(|line| line.contains("ns: 10000000")).expect("a line");
    assert!(line.contains(" work(ns: 10000000, kind: 3) -> 3  "), "{said}");
    assert!(said.contains("     CALLS  STRATEGY") && said.contains("########"), "{said}");
}

/// What a time without a unit is answered, wherever it stands.
const NO_UNIT: &str = "a time is written with its unit: ns, us, ms or s";

#[test]
fn what_makes_no_sense_is_one_sentence() {
    for (words, status, said) in [
        ("latency malloc --by foo -- true", 2, "nothing is called 'foo'; there are size, ret"),
        ("latency malloc --linear 9ns,1ns,1ns -- true", 2, "B must be more than A"),
        ("latency malloc --slower 1h -- true", 2, "'1h' is no time"),
        ("latency malloc --slower 10 -- true", 2, NO_UNIT),
        ("latency malloc --linear 0,10,1ns -- true", 2, NO_UNIT),
        ("latency malloc --where duration>10 -- true", 2, NO_UNIT),
        ("trace return:malloc --where duration>1.5 -- true", 2, NO_UNIT),
        ("count read --hist foo -- true", 2, "nothing is called 'foo'; there are fd, buf"),
        ("latency no_such_function_1 -- true", 125, "no_such_function_1"),
        ("top no_such_function_1 -- true", 125, "no_such_function_1"),
        ("top malloc", 2, "nothing to probe"),
    ] {
        let finished = command(words.split(' ')).limit(Duration::from_secs(60)).finish();
        assert_eq!(finished.code(), status, "{words}: {finished}");
        assert!(finished.err().contains(said), "{words}: {finished}");
        assert!(finished.out().is_empty(), "{words}: {finished}");
    }
}

#[test]
fn rates_are_blocks_where_there_is_no_terminal() {
    let (_, rows) = objects("top", &[], &["work"], &calls("times", 500));
    assert!(rows.len() >= 2, "{rows:?}");
    let mut last = 0;
    for row in &rows {
        assert!(number(row, "hits") >= last && row["symbol"] == "work", "{row}");
        last = number(row, "hits");
    }
    assert_eq!(last, 500);
    let words = ["top", "work", "--"];
    let said = calls("times", 4)
        .under([&[xol().as_os_str()], &words.map(OsStr::new)[..]].concat())
        .finish();
    let said = said.ok().err();
    assert!(said.contains("HITS/S") && !said.contains('\x1b'), "{said}");
}

#[test]
fn a_terminal_is_drawn_on_and_its_keys_are_heard() {
    let program = calls("times", 5000).start();
    let size = Winsize { ws_row: 6, ws_col: 34, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(Some(&size), None).expect("a terminal");
    let mut child = Command::new(xol())
        .args(["top", "libc:clock_gettime", "work", "-p", &program.pid().to_string()])
        .stdin(Stdio::null())
        .stdout(pty.slave.try_clone().expect("a descriptor"))
        .stderr(Stdio::null())
        .spawn()
        .expect("xol");
    // Without it, reading ends when xol ends.
    drop(pty.slave);
    let mut master = File::from(pty.master);
    let mut seen = String::new();
    let mut wait_for = |words: &str, key: &str| {
        let begun = Instant::now();
        let mut piece = [0; 4096];
        while !seen.contains(words) {
            assert!(begun.elapsed() < Duration::from_secs(60), "no {words}: {seen:?}");
            let len = master.read(&mut piece).expect("the terminal");
            seen.push_str(&String::from_utf8_lossy(&piece[..len]));
        }
        let text = std::mem::take(&mut seen);
        master.write_all(key.as_bytes()).expect("a key");
        text
    };
    let first = wait_for("by rate", "s");
    let second = wait_for("by hits", "p");
    wait_for("paused", "q");
    for line in (first + &second).split("\n") {
        // Without what moves the cursor.
        let text = line.replace("\x1b[H", "").replace("\x1b[K", "").replace("\x1b[J", "");
        let text = text.trim_end_matches('\r');
        assert!(text.chars().count() <= 34, "{line:?}");
    }
    let begun = Instant::now();
    while child.try_wait().expect("xol").is_none() {
        assert!(begun.elapsed() < Duration::from_secs(20), "q does not end it");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(child.wait().expect("xol").success());
    kill_group(program.pid());
}
