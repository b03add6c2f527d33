//! Formats that others read: spreadsheets by a reader of CSV, Prometheus by its own parser.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xol_tests::programs::{Build, program};
use xol_tests::run::run;
use xol_tests::xol::{WORK, command, python, scratch, told};

#[test]
fn spreadsheets_would_read_it() {
    let path = scratch("csv");
    let run = |words: &[&str], probe: &str| {
        let finished = command(words.iter().copied())
            .args(["--format", "csv", "-o"])
            .arg(&path)
            .args([probe, "--"])
            .arg(program("tells", Build::Pie))
            .arg("work")
            .finish();
        assert_eq!(finished.code(), 0, "{finished}");
    };
    run(&["trace"], WORK);
    let script = "
import csv, json, sys
rows = list(csv.DictReader(open(sys.argv[1], newline='')))
assert len(rows) == 30, len(rows)
for n, row in enumerate(rows):
    assert None not in row and None not in row.values(), row
    args = json.loads(row['args'])
    assert args == {'n': n, 'x': n * 0.25, 's': ['alpha', 'beta', 'gamma, \"quoted\"\\n'][n % 3]}, args
    assert int(row['ret']) == (-n if n % 3 == 0 else n), row
    assert row['end'] == 'return' and row['errno'] == '' and int(row['duration_ns']) >= 0
    assert row['probe'].startswith('work(n: i32, x: f64')
print(','.join(rows[0]))
";
    let names =
        "ts_ns,pid,tid,comm,probe,object,symbol,offset,addr,args,ret,errno,duration_ns,end,names";
    assert_eq!(python(script, &path), names);
    run(&["trace", "--columns", "ret,symbol"], WORK);
    let text = std::fs::read_to_string(&path).expect("it was written");
    assert!(text.starts_with("ret,symbol\n0,work\n1,work\n2,work\n-3,work\n"), "{text}");
    run(&["count"], "work");
    let script = "
import csv, sys
rows = list(csv.DictReader(open(sys.argv[1], newline='')))
print([(r['symbol'], r['hits'], r['return']) for r in rows])
";
    assert_eq!(python(script, &path), "[('work', '30', 'false')]");
    _ = std::fs::remove_file(&path);
}

/// The hits in a text of OpenMetrics, as Prometheus' own parser reads it, or what it says is wrong.
fn metrics(text: &str) -> Result<Vec<u64>, String> {
    let script = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read
try:
    families = list(read(sys.stdin.read()))
except Exception as error:
    sys.exit(repr(error))
for sample in (s for f in families for s in f.samples if s.name == 'xol_hits_total'):
    print(int(sample.value))
";
    let finished = run("/usr/bin/python3").args(["-c", script]).stdin(text).finish();
    match finished.code() {
        0 => Ok(finished.out().lines().filter_map(|line| line.parse().ok()).collect()),
        _ => Err(finished.err()),
    }
}

#[test]
fn prometheus_would_read_it() {
    let (finished, text) = told(&["count", "--format", "openmetrics", "leaf", "outer"], "nested");
    assert_eq!(finished.code(), 0, "{finished}");
    assert_eq!(metrics(&text), Ok(vec![6, 2]), "{text}");
    assert!(metrics(&text.replace("} 6", "} six")).is_err() && metrics(&text[1..]).is_err());
    // It grows, and is whole whenever it is looked at.
    let path = scratch("metrics");
    let running = command(["count", "--format", "openmetrics", "--interval", "0.05", "-o"])
        .arg(&path)
        .args(["leaf", "--duration", "2", "--"])
        .arg(program("tells", Build::Pie))
        .arg("long")
        .start();
    let (begin, mut seen) = (Instant::now(), BTreeSet::new());
    while seen.len() < 5 && begin.elapsed() < Duration::from_secs(20) {
        if let Ok(text) = std::fs::read_to_string(&path) {
            let hits = metrics(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
            seen.extend(hits);
        }
    }
    kill(Pid::from_raw(running.pid().cast_signed()), Signal::SIGTERM).expect("it runs");
    _ = running.finish();
    assert!(seen.len() >= 5, "{seen:?}");
    let folder = path.parent().expect("a folder");
    let rest = std::fs::read_dir(folder).expect("a folder").filter_map(Result::ok);
    let rest: Vec<_> = rest.filter(|f| f.file_name().to_string_lossy().contains(".xol-")).collect();
    assert!(rest.is_empty(), "{rest:?}");
    _ = std::fs::remove_file(&path);
    // Nowhere to write to.
    let wrong =
        command(["count", "leaf", "--format", "openmetrics", "-o", "/nonexistent/x", "--", "true"]);
    let wrong = wrong.finish();
    assert_eq!(wrong.code(), 125, "{wrong}");
    assert!(wrong.err().contains("cannot write to /nonexistent/x"), "{wrong}");
}

/// What `programs/latency.c` is asked: `many` has numbers from 0 on, of which a third returns -1.
const MANY: &str = "work(ns: i64, kind: i32) -> i32";
/// What it does not call then.
const NEVER: &str = "inner(kind: i32) -> i32";

/// The report of `xol WORDS --format FORM -o FILE -- latency many 90`, read by a Python script.
fn read_of_many(form: &str, words: &[&str], script: &str) -> String {
    let path = scratch("many");
    let finished = command(words.iter().copied())
        .args(["--format", form, "-o"])
        .arg(&path)
        .args([MANY, NEVER, "--"])
        .arg(program("latency", Build::Pie))
        .args(["many", "90"])
        .finish();
    assert_eq!(finished.code(), 0, "{finished}");
    let begin = if form == "csv" { ROWS } else { SAMPLES };
    let said = python(&format!("{begin}{script}"), &path);
    _ = std::fs::remove_file(&path);
    said
}

/// Each row's cells, by the names in the first line.
const ROWS: &str = "
import csv, json, sys
rows = list(csv.DictReader(open(sys.argv[1], newline='')))
for row in rows:
    assert None not in row and None not in row.values(), row
work = [r for r in rows if r['symbol'] == 'work']
inner = [r for r in rows if r['symbol'] == 'inner']
";

#[test]
fn values_and_sums_are_records() {
    let of = |words: &[&str], script: &str| read_of_many("csv", words, script);
    let by = of(
        &["count", "--by", "ret"],
        "
by = {json.loads(r['by']): int(r['hits']) for r in work}
assert len(by) == len(work) and len(inner) == 1 and inner[0]['by'] == ''
print(len(by), by[-1], by[0], sum(by.values()), inner[0]['hits'])
",
    );
    assert_eq!(by, "61 30 1 90 0");
    let hist = of(
        &["count", "--hist", "kind"],
        "
assert all(r['hits'] == '90' for r in work), work
assert [r['from'] for r in work[1:]] == [r['to'] for r in work[:-1]], work
assert inner[0]['from'] == inner[0]['within'] == '', inner
print(work[0]['from'], work[-1]['to'], ' '.join(r['within'] for r in work))
",
    );
    assert_eq!(hist, "0 128 1 1 2 4 8 16 32 26");
    let summary = of(
        &["count", "--summary"],
        "
(work,), (inner,) = work, inner
[total, least, mean, most] = [int(work[k]) for k in ['total_ns', 'min_ns', 'mean_ns', 'max_ns']]
assert least <= mean <= most and total // 90 == mean and inner['min_ns'] == ''
print(work['hits'], work['errors'], work['unfinished'], work['share'], inner['hits'])
",
    );
    assert_eq!(summary, "90 30 0 100.00 0");
    // Calls that were slow, as trace has them; the sums are elsewhere.
    let path = scratch("slow");
    let finished = command(["latency", "--slower", "9ms", "--format", "csv", "-o"])
        .arg(&path)
        .args([MANY, "--"])
        .arg(program("latency", Build::Pie))
        .args(["times", "12"])
        .finish();
    assert_eq!(finished.code(), 0, "{finished}");
    let script = "
import csv, json, sys
rows = list(csv.DictReader(open(sys.argv[1], newline='')))
assert all(int(r['duration_ns']) >= 9_000_000 and r['end'] == 'return' for r in rows), rows
print(sum(json.loads(r['args'])['ns'] == 10_000_000 for r in rows))
";
    assert_eq!(python(script, &path), "3");
    let table = "     CALLS  STRATEGY";
    assert!(
        finished.err().starts_with(table) && finished.err().contains("        12  "),
        "{finished}"
    );
    _ = std::fs::remove_file(&path);
    let metrics = ["latency", "--slower", "9ms", "--format", "openmetrics", "work", "--", "true"];
    let wrong = command(metrics).finish();
    assert!(wrong.code() == 2 && wrong.err().contains("is no metric"), "{wrong}");
}

/// The samples of a text as Prometheus' own parser reads it, by name and value of `--by`.
const SAMPLES: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read
families = {f.name: f for f in read(open(sys.argv[1]).read())}
def of(family, name, symbol='work'):
    return {s.labels.get('value', s.labels.get('le')): float(s.value)
        for s in families[family].samples if s.name == name and s.labels['symbol'] == symbol}
";

#[test]
fn values_and_sums_are_metrics() {
    let of = |words: &[&str], script: &str| read_of_many("openmetrics", words, script);
    let by = of(
        &["count", "--by", "ret"],
        "
hits = of('xol_hits', 'xol_hits_total')
assert families['xol_hits'].type == 'counter' and 'xol_value' not in families
assert list(of('xol_missed', 'xol_missed_total').values()) == [0.0]
print(len(hits), hits['-1'], hits['0'], sum(hits.values()))
",
    );
    assert_eq!(by, "61 30.0 1.0 90.0");
    let hist = of(
        &["count", "--hist", "kind"],
        "
assert families['xol_value'].type == 'histogram'
print(of('xol_value', 'xol_value_bucket'), of('xol_value', 'xol_value_count'),
    of('xol_value', 'xol_value_sum'), of('xol_value', 'xol_value_count', 'inner'))
",
    );
    // kind is 0 to 89.
    let buckets: Vec<String> = [0, 1, 3, 7, 15, 31, 63, 127]
        .map(|most: u64| format!("'{most}.0': {}.0", 90.min(most + 1)))
        .into();
    let sum = (0..90).sum::<u64>();
    let expected = format!(
        "{{{}, '+Inf': 90.0}} {{None: 90.0}} {{None: {sum}.0}} {{None: 0.0}}",
        buckets.join(", ")
    );
    assert_eq!(hist, expected);
    // A third is -1: the format has no sum then.
    let negative = of(
        &["count", "--hist", "ret"],
        "
buckets = of('xol_value', 'xol_value_bucket')
print(buckets['-1.0'], buckets['0.0'], buckets['+Inf'], of('xol_value', 'xol_value_sum'))
",
    );
    assert_eq!(negative, "30.0 31.0 90.0 {}");
    let both = of(
        &["count", "--by", "ret", "--hist", "kind"],
        "
buckets = [s for s in families['xol_value'].samples if s.labels.get('value') == '-1']
print(len(of('xol_hits', 'xol_hits_total')), [float(s.value) for s in buckets if s.name.endswith('count')])
",
    );
    assert_eq!(both, "61 [30.0]");
    let summary = of(
        &["count", "--summary"],
        "
calls = families['xol_call_seconds']
assert calls.type == 'summary' and calls.unit == 'seconds'
(seconds,) = of('xol_call_seconds', 'xol_call_seconds_sum').values()
assert 0 < seconds < 60, seconds
print(*(list(of(f, n).values()) for f, n in [('xol_call_seconds', 'xol_call_seconds_count'),
    ('xol_errors', 'xol_errors_total'), ('xol_unfinished', 'xol_unfinished_total')]))
",
    );
    assert_eq!(summary, "[90.0] [30.0] [0.0]");
}
