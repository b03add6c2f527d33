//! Threads run through sites while these become jumps and traps a hundred thousand times: no call
//! goes uncounted.

use std::time::{Duration, Instant};

use xol_tests::killing::{Death, End, Victim, dies};
use xol_tests::programs::{Build, program};
use xol_tests::run::{Finished, as_often, slowness};
use xol_tests::target::Target;
use xol_tests::xol::{Line, parse, scratch, xol};

/// The functions of `programs/toggles.c`: five of each.
const SHAPES: [&str; 16] = [
    "whole", "longer", "frame", "pushes", "saves", "keeps", "pad", "calls", "later", "leaf",
    "reads", "branch", "flags", "across", "entered", "tail",
];

/// What the program says it did.
struct Did {
    calls: u64,
    ticks: u64,
}

/// Runs the program until so many jumps were taken back and written again; a line for each site.
fn toggled(build: Build, times: u32, every: &str, args: &[&str]) -> (Did, Vec<Line>) {
    let path = program("toggles", build);
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    let report = scratch("toggles");
    let begun = Instant::now();
    let mut words: Vec<String> =
        ["count", "--strategy", "jump", "--format", "json", "--toggle"].map(str::to_owned).into();
    words.extend([times.to_string(), "-o".to_owned(), report.to_string_lossy().into_owned()]);
    words.extend(SHAPES.iter().map(|shape| format!("{name}:{shape}_*{every}")));
    words.extend(["same", "on_tick", "on_tick_calls"].map(|f| format!("{name}:{f}{every}")));
    words.extend(["--".to_owned(), path.to_string_lossy().into_owned()]);
    words.extend(args.iter().map(|&arg| arg.to_owned()));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut target = Target::start_with(xol().to_owned(), &words);
    target.complains("jumps were taken back and written again");
    let finished = target.end();
    let text = std::fs::read_to_string(&report).unwrap_or_else(|e| panic!("{e}\n{finished}"));
    _ = std::fs::remove_file(&report);
    let did = did(&finished);
    println!("{} calls and {} ticks in {:?}", did.calls, did.ticks, begun.elapsed());
    (did, parse(&text))
}

/// What the program says at its end.
fn did(finished: &Finished) -> Did {
    let out = finished.out();
    let number = |name: &str| -> u64 {
        let rest = out.split(name).nth(1).unwrap_or_else(|| panic!("{finished}"));
        rest.split([',', '\n']).next().and_then(|n| n.parse().ok()).expect("a number")
    };
    assert_eq!((finished.code(), number("wrong: ")), (5, 0), "{finished}");
    Did { calls: number("calls: "), ticks: number("ticks: ") }
}

/// That each function was entered as often as the program says, and most as jumps.
fn assert_exact(did: &Did, lines: &[Line]) {
    let mut jumps = 0;
    let functions = SHAPES.iter().flat_map(|shape| (0..5).map(move |n| format!("{shape}_{n}")));
    for function in functions.chain(["same", "on_tick", "on_tick_calls"].map(str::to_owned)) {
        let entry = lines.iter().filter(|l| l.symbol == function).min_by_key(|l| l.addr);
        let entry = entry.unwrap_or_else(|| panic!("no {function}"));
        let calls = match &*function {
            "on_tick" | "on_tick_calls" => did.ticks,
            // Two shapes call it, and one jumps to the first leaf.
            "same" => did.calls * 10,
            "leaf_0" => did.calls * 6,
            _ => did.calls,
        };
        assert_eq!(entry.hits + entry.missed, calls, "{function}: {entry:?}");
        jumps += usize::from(entry.strategy == "jump");
    }
    assert!(jumps >= 50, "{jumps} jumps");
    // How far it gets meanwhile is the machine's affair.
    assert!(did.calls > 0, "{} calls", did.calls);
}

#[test]
fn a_hundred_thousand_times() {
    let (did, lines) = toggled(Build::Pie, as_often(100_000, 2_000), "", &[]);
    assert_exact(&did, &lines);
}

#[test]
fn and_under_a_thousand_signals_a_second() {
    let (did, lines) = toggled(Build::Pie, as_often(100_000, 2_000), "", &["1000"]);
    assert_exact(&did, &lines);
    assert!(did.ticks > 0, "{} ticks", did.ticks);
}

/// Where a jump's last byte is no trap by itself.
#[test]
fn at_low_addresses() {
    let (did, lines) = toggled(Build::NoPie, as_often(100_000, 2_000), "", &["1000"]);
    assert_exact(&did, &lines);
    assert!(did.ticks > 0, "{} ticks", did.ticks);
}

/// Each call that eight threads make returns, with timers that find them in the middle of records: one
/// that waits for another's record, and one whose next signal is there before its next instruction, go on.
#[test]
fn returns_of_threads_under_fast_timers() {
    let path = program("toggles", Build::Pie);
    let report = scratch("toggles");
    for strategy in ["auto", "jump"] {
        let mut words: Vec<String> =
            ["count", "--strategy", strategy, "--format", "json", "-o"].map(str::to_owned).into();
        words.push(report.to_string_lossy().into_owned());
        words.extend(SHAPES.iter().map(|shape| format!("return:toggles-pie:{shape}_*")));
        words.extend(["return:toggles-pie:on_tick", "--"].map(str::to_owned));
        words.extend([path.to_string_lossy().into_owned(), "1000".to_owned()]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let target = Target::start_with(xol().to_owned(), &words);
        std::thread::sleep(Duration::from_secs(2));
        let finished = target.end();
        let text = std::fs::read_to_string(&report).unwrap_or_else(|e| panic!("{e}\n{finished}"));
        _ = std::fs::remove_file(&report);
        let did = did(&finished);
        println!("{strategy}: {} calls and {} ticks", did.calls, did.ticks);
        let lines = parse(&text);
        for shape in SHAPES {
            for n in 0..5 {
                let symbol = format!("{shape}_{n}");
                let line = lines.iter().find(|l| l.symbol == symbol).expect("it is asked for");
                let calls = if line.symbol == "leaf_0" { did.calls * 6 } else { did.calls };
                assert_eq!(line.hits, calls, "{strategy}: {line:?}");
            }
        }
        let on_tick = lines.iter().find(|l| l.symbol == "on_tick").expect("it is asked for");
        assert_eq!(on_tick.hits, did.ticks, "{strategy}: {on_tick:?}");
        assert!(did.calls > 0, "{strategy}");
    }
}

/// Threads come to the last byte of jumps, by traps that signals interrupt, while these are taken
/// away: in the middle of what stands there for an instruction, none is seen.
#[test]
fn entered_at_the_last_byte() {
    for build in [Build::Pie, Build::NoPie] {
        let (did, lines) = toggled(build, as_often(60_000, 200), "", &["5000", "inside"]);
        assert_exact(&did, &lines);
    }
}

/// Windows that hold several sites, each counted.
#[test]
fn with_every_instruction_a_site() {
    let (did, lines) = toggled(Build::Pie, as_often(100_000, 2_000), "+*", &["1000"]);
    assert_exact(&did, &lines);
    // What is run on every path of its function.
    for shape in ["whole", "longer", "frame", "pushes", "pad", "calls", "later", "reads", "across"]
    {
        for n in 0..5 {
            let function = format!("{shape}_{n}");
            let sites = lines.iter().filter(|l| l.symbol.starts_with(&function));
            let armed: Vec<_> = sites.filter(|l| l.reason.is_none()).collect();
            assert!(armed.len() > 1, "{function}");
            assert!(armed.iter().all(|l| l.hits + l.missed == did.calls), "{function}: {armed:?}");
        }
    }
}

/// What xol does with the same program before it leaves, or dies.
fn visit(target: &Target, seconds: &str) -> Vec<String> {
    let words = ["count", "--strategy", "jump", "-o", "/dev/null", "--duration", seconds];
    let own = [format!("-p{}", target.pid()), format!("{}:*_?", target.name())];
    words.into_iter().map(str::to_owned).chain(own).collect()
}

#[test]
fn left_at_the_last_byte() {
    for build in [Build::Pie, Build::NoPie] {
        let start = |how| Target::start_with(program("toggles", build), &["5000", how]);
        let target = start("inside");
        for n in 0..as_often(100, 10) {
            let end =
                dies(&visit(&target, "0.01"), Death::After(Duration::from_secs(20)), Victim::Both);
            assert_eq!(end, End::Ended(0), "visit {n}");
        }
        let finished = target.end();
        assert!(finished.code() == 5, "{finished}");
        for n in 0..as_often(60_u64, 10) {
            let target = start("blind");
            let after = Duration::from_micros(5_000 + 700 * n) * slowness();
            let end = dies(&visit(&target, "10"), Death::After(after), Victim::Both);
            std::thread::sleep(Duration::from_millis(5));
            let finished = target.end();
            assert!(finished.code() == 5, "after {after:?} ({end:?}):\n{finished}");
        }
    }
}
