//! What users ask of calls beyond their arguments: one of several functions of a name, what a format
//! asks for, what descriptors are open for, who calls, registers.

use std::path::Path;

use serde_json::Value;
use xol_tests::elf::Object;
use xol_tests::events::trace;
use xol_tests::programs::{Build, program};
use xol_tests::run::{Run, run};
use xol_tests::xol::{command, count, reported, scratch};

fn asked() -> Run {
    run(program("asked", Build::Pie))
}

/// The events as they were written.
fn told(options: &[&str], probes: &[&str]) -> Vec<Value> {
    let (finished, text) = reported("trace", options, probes, &asked());
    assert_eq!(finished.code(), 0, "{finished}");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn overloads_are_chosen_by_their_parameters() {
    for (probe, hits) in [
        ("geo::over", 13),
        ("geo::over(int)", 11),
        ("geo::over(double)", 1),
        ("geo::over(const char*, const Shape&)", 0),
        ("geo::over(const char*, const geo::Shape&)", 1),
        ("geo::over(char const*, geo::Shape const&)", 1),
        ("geo::over(int)(n: i32) -> i32", 11),
    ] {
        let counted = count(&[], &[probe.to_owned(), "main".to_owned()], &asked());
        let of_probe = counted.lines.iter().filter(|line| line.probe == probe);
        assert_eq!(of_probe.map(|line| line.hits).sum::<u64>(), hits, "{probe}: {}", counted.text);
    }
    let events = told(&[], &["geo::over(double)(x: f64) -> i32"]);
    assert_eq!((&events[0]["args"]["x"], &events[0]["ret"]), (&2.5.into(), &5.into()));
}

#[test]
fn registers_are_read_at_an_instruction() {
    let (name, other) = if cfg!(target_arch = "x86_64") { ("ebx", "x20") } else { ("w20", "rbx") };
    // Without symbols, by address, too.
    let object = Object::open(program("asked", Build::Pie));
    let functions = object.functions();
    let middle = functions.iter().find(|f| f.name == "middle").expect("middle");
    let insns = object.instructions();
    let nop = insns.iter().find(|insn| {
        (middle.addr..middle.addr + middle.size).contains(&insn.addr)
            && insn.text.split_whitespace().next() == Some("nop")
    });
    let offset = nop.expect("a nop").addr - middle.addr;
    let of = |strategy: &str, probe: &str| {
        let traced = trace(&["--strategy", strategy], &[probe], &asked());
        assert_eq!(traced.finished.code(), 0, "{probe}: {}", traced.finished);
        let all = traced.events.iter().map(|event| event.args[name].as_i64().expect("a number"));
        all.collect::<Vec<_>>()
    };
    let expected: Vec<i64> = (0..5).map(|n| n * 7).collect();
    let probe = format!("middle+{offset:#x}({name}: i32)");
    for strategy in ["auto", "boost", "jump"] {
        assert_eq!(of(strategy, &probe), expected, "{strategy}");
    }
    assert_eq!(count(&["--strategy", "jump"], &[probe], &asked()).lines[0].strategy, "jump");
    let by_address = format!("asked-pie:{:#x}({name}: i32)", middle.addr + offset);
    assert_eq!(of("auto", &by_address), expected);
    let filter = format!("{name} >= 14");
    let counted =
        count(&["--where", &filter], &[format!("middle+{offset:#x}({name}: i32)")], &asked());
    assert_eq!(counted.lines[0].hits, 3, "{}", counted.text);
    let foreign =
        count(&[], &[format!("middle+{offset:#x}({other}: i32)"), "main".into()], &asked());
    assert_eq!(foreign.lines[0].reason.as_deref(), Some("other-registers"), "{}", foreign.text);
    let wrong = command(["trace", "middle+4(n: i32)", "--", "true"]).finish();
    assert_eq!(wrong.code(), 2, "{wrong}");
    assert!(wrong.err().contains("'n' is none"), "{wrong}");
}

#[test]
fn a_function_without_a_name_has_arguments_by_its_address() {
    let object = Object::open(program("asked", Build::Pie));
    let functions = object.functions();
    let first = functions.iter().find(|f| f.name == "first").expect("first");
    let stripped = run(program("asked", Build::Stripped));
    let probe = format!("asked-stripped:{:#x}(n: i32) -> i32", first.addr);
    let traced = trace(&[], &[&probe], &stripped);
    let told: Vec<(i64, i64)> = traced
        .events
        .iter()
        .map(|e| (e.args["n"].as_i64().unwrap(), e.ret.as_ref().unwrap().as_i64().unwrap()))
        .collect();
    assert_eq!(told, (0..5).map(|n| (n, n + 1)).collect::<Vec<_>>(), "{}", traced.finished);
    // By names of ours, which `xol list` shows.
    let name = format!("sub_{:x}", first.addr);
    let listed = command(["list"]).arg(program("asked", Build::Stripped)).finish();
    assert!(listed.out().lines().any(|line| line.ends_with(&format!(" {name}"))), "{listed}");
    let counted = count(&[], &["asked-stripped:sub_*".to_owned()], &stripped);
    let of_first = counted.lines.iter().find(|line| line.addr == first.addr).expect("first");
    assert_eq!(of_first.hits, 5, "{}", counted.text);
    let traced = trace(&[], &[&format!("{name}(n: i32) -> i32")], &stripped);
    assert_eq!(traced.events.len(), 5, "{}", traced.finished);
    let none = count(&[], &["asked-stripped:*".to_owned()], &stripped);
    assert!(none.finished.err().contains("asked-stripped:sub_*"), "{}", none.finished);
}

#[test]
fn what_a_format_asks_for_is_told() {
    let events = told(&[], &["return:libc:snprintf"]);
    let expected =
        ["-7", "abc", "2.5", "'x'", "0xff", "3", "5", "6", "7", "8", "0.5"].map(Value::from);
    assert_eq!(events[0]["args"]["..."], Value::from(expected.to_vec()), "{events:?}");
    // What it has made of them is what the program prints.
    assert_eq!(events[0]["args"]["buf"], "-7 abc 2.5 x ff   5 % 6 7 8 0.500000\n");
}

#[test]
fn descriptors_have_files() {
    let events = told(&["-y"], &["libc:open -> fd", "libc:read", "libc:close"]);
    let of = |probe: &str| events.iter().filter(|e| e["symbol"] == probe).collect::<Vec<_>>();
    assert_eq!(of("read")[0]["names"]["fd"], "/etc/passwd", "{events:?}");
    let closed: Vec<&Value> = of("close").iter().map(|e| &e["names"]["fd"]).collect();
    assert_eq!(closed, [&Value::from("/etc/passwd"), &Value::Null]);
    let path = scratch("files");
    let finished = command(["trace", "-y", "libc:read", "-o"]).arg(&path).arg("--");
    let finished = finished.arg(program("asked", Build::Pie)).finish();
    let text = std::fs::read_to_string(&path).expect("the report");
    _ = std::fs::remove_file(&path);
    assert!(text.contains("</etc/passwd>, buf: "), "{text}\n{finished}");
}

/// What trampolines record of floats and of the stack is what a stop reads there.
#[test]
fn jumps_record_floats_and_the_stack() {
    let probe = "mixed(a: i32, x: f64, y: f32, b: i64, c: i64, d: i64, e: i64, f: i64, g: i64, \
                 h: i16) -> f64";
    let with = |strategy| {
        let events = told(&["--strategy", strategy], &[probe]);
        events.into_iter().map(|e| (e["args"].clone(), e["ret"].clone())).collect::<Vec<_>>()
    };
    let (jumps, traps) = (with("jump"), with("boost"));
    assert_eq!(jumps, traps);
    for (n, (args, ret)) in (0..).map(f64::from).zip(&jumps) {
        let all = ["x", "y", "g", "h"].map(|name| args[name].as_f64().expect("a number"));
        assert_eq!(all, [n * 0.5, n * 0.25, -n, -n], "{args}");
        assert_eq!(ret.as_f64(), Some(n + n * 0.75 + 5.0 * n + 15.0 - 2.0 * n + n * 1.5));
    }
    assert_eq!(jumps.len(), 100);
    let counted = count(&["--strategy", "jump"], &[probe.to_owned()], &asked());
    assert_eq!(counted.lines[0].strategy, "jump", "{}", counted.text);
    let many = probe.replace("h: i16", "h: i16, z: f64");
    let traced = command(["trace", "--strategy", "jump", &many, "--format", "json", "--"]);
    let traced = traced.arg(program("asked", Build::Pie)).finish();
    assert!(traced.err().contains("\"z\":148.5"), "{traced}");
}

#[test]
fn calls_are_filtered_by_their_caller() {
    for (filter, hits) in [
        ("caller == \"asked-pie:first\"", 5),
        ("caller ~ \"*:second\" && n > 11", 3),
        ("caller ~ \"asked-pie:*\"", 11),
        ("!(caller ~ \"*:first\")", 6),
    ] {
        let probe = "geo::over(int)(n: i32)".to_owned();
        let counted = count(&["--where", filter], &[probe], &asked());
        assert_eq!(counted.lines[0].hits, hits, "{filter}: {}", counted.text);
    }
    let wrong = command(["count", "main+4", "--where", "caller ~ \"a\"", "--", "true"]).finish();
    assert_eq!(wrong.code(), 2, "{wrong}");
}

/// What Python's readers make of a report of `xol latency`.
fn read(script: &str, file: &Path) -> String {
    let finished = run("python3").args(["-c", script]).arg(file).finish();
    assert_eq!(finished.code(), 0, "{finished}");
    finished.out().trim().to_owned()
}

#[test]
fn latencies_are_read_by_others() {
    let report = |format: &str| {
        let path = scratch(format);
        let finished = command(["latency", "geo::over(int)", "first", "--format", format, "-o"])
            .arg(&path)
            .arg("--")
            .arg(program("asked", Build::Pie))
            .finish();
        assert_eq!(finished.code(), 0, "{finished}");
        path
    };
    let csv = report("csv");
    let script = "import csv, sys\n\
         for row in csv.DictReader(open(sys.argv[1])):\n\
        \x20 print(row['symbol'], row['calls'], int(row['min_ns']) <= int(row['p50_ns']) <= int(row['max_ns']))";
    let rows = read(script, &csv);
    assert_eq!(rows, "geo::over 11 True\nfirst 5 True", "{rows}");
    let metrics = report("openmetrics");
    let script = "import sys\n\
         from prometheus_client.openmetrics.parser import text_string_to_metric_families as read\n\
         for family in read(open(sys.argv[1]).read()):\n\
        \x20 if family.name == 'xol_latency_seconds':\n\
        \x20  assert family.type == 'histogram' and family.unit == 'seconds'\n\
        \x20  for s in family.samples:\n\
        \x20   if s.name.endswith('_count'): print(s.labels['symbol'], int(s.value))";
    assert_eq!(read(script, &metrics), "geo::over 11\nfirst 5");
    for path in [csv, metrics] {
        _ = std::fs::remove_file(path);
    }
}

#[test]
fn the_time_of_day_is_local() {
    let probes = &["middle"][..];
    let (_, text) = reported("trace", &["--time", "wall"], probes, &asked());
    let time = |line: &str| {
        let value: Value = serde_json::from_str(line).expect("JSON");
        value["time"].as_str().expect("a time").to_owned()
    };
    let first = time(text.lines().next().expect("a line"));
    let path = scratch("zone");
    let ahead = command(["trace", "--time", "wall", "middle", "--format", "csv", "-o"])
        .arg(&path)
        .args(["--"])
        .arg(program("asked", Build::Pie))
        .env("TZ", "XOL-05:30")
        .finish();
    assert_eq!(ahead.code(), 0, "{ahead}");
    let text = std::fs::read_to_string(&path).expect("the report");
    _ = std::fs::remove_file(&path);
    let second = text.lines().nth(1).and_then(|line| line.split(',').next()).expect("a record");
    assert!(second.ends_with("+05:30"), "{second}");
    let script = "import sys, datetime\n\
         of = [datetime.datetime.fromisoformat(t.replace('Z', '+00:00')) for t in sys.argv[1:3]]\n\
         now = datetime.datetime.now(datetime.timezone.utc)\n\
         print(of[0] <= of[1] <= now, (now - of[0]).total_seconds() < 600)";
    let finished = run("python3").args(["-c", script, &first, second]).finish();
    assert_eq!(finished.out().trim(), "True True", "{first} {second} {finished}");
}

/// Flags of descriptors as strace names them.
#[test]
fn flags_of_descriptors_have_their_names() {
    let script = "
import os, socket
os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
os.pipe2(os.O_DIRECT)
os.dup2(1, 99, inheritable=False)
listening = socket.socket(socket.AF_UNIX)
listening.bind('\\0xol-test-%d' % os.getpid())
listening.listen()
peer = socket.socket(socket.AF_UNIX)
peer.connect(listening.getsockname())
listening.accept()
";
    let python = || run("/usr/bin/python3").args(["-S", "-c", script]);
    let names = |text: &str| {
        let mut names: Vec<String> = text.split('|').map(str::to_owned).collect();
        names.sort();
        names
    };
    let strace = run("strace").args(["-e", "trace=pipe2,dup3,accept4", "/usr/bin/python3"]);
    let traced = strace.args(["-S", "-c", script]).finish();
    assert_eq!(traced.code(), 0, "{traced}");
    // "pipe2([3, 4], O_NONBLOCK|O_CLOEXEC) = 0"
    let flags = |line: &str| {
        let call = line.split_once(" = ")?.0.trim_end().strip_suffix(')')?;
        Some((call.split('(').next()?.to_owned(), names(call.rsplit(", ").next()?)))
    };
    let expected: Vec<_> = traced.err().lines().filter_map(flags).collect();
    assert_eq!(expected.len(), 4, "{traced}");
    let (finished, text) =
        reported("trace", &[], &["libc:pipe2", "libc:dup3", "libc:accept4"], &python());
    assert_eq!(finished.code(), 0, "{finished}");
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let told = events.map(|event| {
        let symbol = event["symbol"].as_str().expect("a name").to_owned();
        (symbol, names(event["names"]["flags"].as_str().expect("names")))
    });
    assert_eq!(told.collect::<Vec<_>>(), expected, "{text}");
}
