//! Counts are the kernel's own: a slice of what `compare-counts` compares in full.

use std::time::{Duration, Instant};

use xol_tests::compare::{Choice, Row, compare, places};
use xol_tests::elf::Object;
use xol_tests::programs::{Build, program};
use xol_tests::returns;
use xol_tests::run::{as_often, run};
use xol_tests::target::Target;
use xol_tests::xol::{command, parse};

#[test]
fn entries_of_libc_in_ls() {
    compare(
        &Object::libc(),
        &Choice::Entries { some: Some(200), seed: 1 },
        &run("ls").arg("/usr/bin"),
    )
    .assert_equal();
}

#[test]
fn instructions_of_libc_in_sort() {
    let numbers: String = (0..500u64).map(|n| format!("{}\n", n * 7919 % 503)).collect();
    let sort = run("sort").arg("-n").stdin(numbers);
    compare(&Object::libc(), &Choice::Instructions { some: 200, seed: 2 }, &sort).assert_equal();
}

/// Every entry of libc, in programs of every kind.
#[test]
fn all_of_libc_in_ten_programs() {
    let all = places(&Object::libc(), &Choice::Entries { some: None, seed: 0 });
    let text: String = (0..200u64).map(|n| format!("line {}\n", n * 7919 % 503)).collect();
    let threads = program("threads", Build::Pie);
    let commands = [
        run("ls").args(["-l", "/etc"]),
        run(threads).args(["5", "in turn"]),
        run("gzip").args(["-9", "-c"]).stdin(text.clone()),
        run("sort").args(["-k2", "-n"]).stdin(text.clone()),
        run("find").args(["/etc", "-maxdepth", "1", "-name", "p*"]),
        run("busybox").args(["sed", "s/1/one/g"]).stdin(text.clone()),
        // Its hashes grow by where their keys fall.
        run("perl")
            .env("PERL_HASH_SEED", "0")
            .args(["-e", "print map { lc } reverse <STDIN>"])
            .stdin(text.clone()),
        // The first run would leave compiled modules to the next.
        run("/usr/bin/python3").env("PYTHONHASHSEED", "0").args([
            "-B",
            "-s",
            "-S",
            "-c",
            "print(sum(range(99)))",
        ]),
        run("sqlite3").args([":memory:", "select max(value) from generate_series(1, 50);"]),
        // Forks; the kernel counts no child, nor is it asked of xol.
        run("sh").args(["-c", "for i in 1 2 3; do echo $i | tr 1-3 a-c; done; exit 4"]),
    ];
    for command in &commands[..as_often(commands.len(), 3)] {
        let same = all.compare(command);
        println!("{same}");
        assert!(same.rows.iter().all(Row::equal), "{same}");
        let armed = same.rows.iter().filter(|r| r.xol.is_some()).count();
        assert!(armed * 100 >= same.rows.len() * 99, "{armed} of {} armed", same.rows.len());
        assert!(same.rows.iter().filter(|r| r.xol > Some(0)).count() > 20, "{same}");
        assert!(same.unsteady.len() * 40 <= same.rows.len(), "not deterministic: {same}");
    }
}

#[test]
fn instructions_of_a_program() {
    let path = program("calls", Build::Pie);
    let command = run(&path).args(["20", "9"]);
    compare(&Object::open(&path), &Choice::Instructions { some: 200, seed: 3 }, &command)
        .assert_equal();
}

#[test]
fn returns_and_their_values() {
    let path = program("returns", Build::Pie);
    let object = Object::open(&path);
    let functions = object.functions();
    let names: Vec<&str> =
        functions.iter().map(|f| f.name.as_str()).filter(|n| n.starts_with("r_")).collect();
    let names: Vec<&str> = names.into_iter().filter(|n| !n.contains('.')).collect();
    for returns in returns::compare(&object, &names, &run(&path), &["auto", "jump"]) {
        println!("{returns}");
        assert!(returns.rows.len() >= 30, "{returns}");
        assert_eq!(returns.differences().count(), 0, "{returns}");
    }
}

#[test]
fn returns_of_libc() {
    let command = run("ls").args(["-l", "/usr/bin"]);
    let strategies = ["auto", "jump"];
    for returns in returns::compare(&Object::libc(), returns::FUNCTIONS, &command, &strategies) {
        println!("{returns}");
        assert!(returns.rows.len() >= 15, "{returns}");
        assert_eq!(returns.differences().count(), 0, "{returns}");
    }
}

/// Whoever waits until it is traced has it go on at once: what it does then is counted.
#[test]
fn from_the_moment_it_is_seen_to_be_traced() {
    let times = as_often(40, 8);
    let mut ended_between = 0;
    for strategy in ["auto", "jump", "boost", "simulate"].into_iter().cycle().take(times) {
        let target = Target::start("ready");
        let pid = target.pid().to_string();
        let status = format!("/proc/{pid}/status");
        let words = ["count", "--strategy", strategy, "--format", "json", "libc:exit", "-p", &pid];
        let counting = command(words).start();
        let is_traced = || {
            let status = std::fs::read_to_string(&status).expect("it waits for us");
            !status.contains("TracerPid:\t0\n")
        };
        while !is_traced() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(target.end().code(), 3);
        let counted = counting.finish();
        // The kernel has no one call that traces and stops: we may have lost the CPU between the two.
        if counted.code() == 125 && counted.err().contains("no such process") {
            ended_between += 1;
            continue;
        }
        let hits: Vec<u64> = parse(&counted.err()).iter().map(|line| line.hits).collect();
        assert_eq!((counted.code(), hits), (0, vec![1]), "{strategy}: {counted}");
    }
    println!("{ended_between} of {times} ended between two calls of ours");
    assert!(ended_between * 8 <= times, "{ended_between} of {times}");
}

/// Each table of `--interval` begins with its time, and has the hits by then.
#[test]
fn tables_of_an_interval_have_their_time() {
    for what in ["count", "latency"] {
        let begun = Instant::now();
        let words = [what, "leaf", "--interval", "0.2", "--duration", "1.1", "--"];
        let finished = command(words).arg(program("tells", Build::Pie)).arg("long").finish();
        let whole = begun.elapsed().as_secs_f64();
        let said = finished.err();
        let lines: Vec<&str> = said.lines().collect();
        let times = lines.iter().enumerate().filter_map(|(n, line)| {
            let time: f64 = line.strip_prefix("TIME")?.trim().parse().expect("seconds");
            let head = lines[n + 1].contains(if what == "count" { "HITS" } else { "CALLS" });
            assert!(head && lines[n + 2].ends_with(":leaf"), "{said}");
            let count = lines[n + 2].split_whitespace().next().and_then(|word| word.parse().ok());
            Some((time, count.unwrap_or_else(|| panic!("a number: {said}"))))
        });
        let times: Vec<(f64, u64)> = times.collect();
        assert_eq!(said.matches("PLACE\n").count(), times.len(), "{said}");
        assert!(times.len() > 1, "{said}");
        // None comes before its time: so there are no more than the time has intervals.
        let mut due = (1..times.len()).map(|n| f64::from(n as u32) * 0.2);
        assert!(times.iter().all(|(time, _)| due.next().is_none_or(|due| *time >= due)), "{said}");
        for pair in times.windows(2) {
            assert!(pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1, "{said}");
        }
        let (first, last) = (times[0].0, times[times.len() - 1].0);
        assert!(first >= 0.2 && last >= 1.1 && last <= whole, "{whole}: {said}");
    }
    let once = command(["count", "leaf", "--", "true"]).finish();
    assert!(!once.err().contains("TIME"), "{once}");
}
