//! What the kernel's uprobes get wrong on arm64, right; and what only arm64 has.
//!
//! Runs on an arm64 machine; elsewhere in a guest: `cargo vm test arm64` (qemu/README.md).
#![cfg(target_arch = "aarch64")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use xol_tests::programs::{Build, folder, program};
use xol_tests::run::run;
use xol_tests::xol::{Counted, command, count, scratch};

const STRATEGIES: [&str; 4] = ["auto", "boost", "xol", "step"];

/// The functions of `programs/arm64.c`, but for the landings.
const FUNCTIONS: [&str; 22] = [
    "ldr_d",
    "ldr_s",
    "ldr_x",
    "ldr_w",
    "ldrsw",
    "prfm",
    "ldr_q",
    "adr",
    "adrp",
    "retaa",
    "blraa",
    "spoilt",
    "exclusive",
    "lse",
    "sve",
    "by_br_x1",
    "by_br_x16",
    "by_blr",
    "by_ret",
    "tag",
    "load",
    "copy",
];

/// A probe on each instruction of each of `functions`.
fn everywhere(path: &Path, functions: &[&str]) -> Vec<String> {
    let object = path.file_name().expect("a file").to_string_lossy();
    functions.iter().map(|function| format!("{object}:{function}+*")).collect()
}

/// Hits, and strategy or reason, by function and distance.
fn sites(counted: &Counted, path: &Path, function: &str) -> Vec<(u64, String)> {
    let mut sites: BTreeMap<u64, (u64, String)> = BTreeMap::new();
    for line in counted.lines.iter().filter(|l| l.symbol == function) {
        assert_eq!(Path::new(&line.object).file_name(), path.file_name());
        let how = line.reason.clone().unwrap_or_else(|| line.strategy.clone());
        sites.insert(line.addr, (line.hits, how));
    }
    sites.into_values().collect()
}

/// Hits of the instructions of `function`, in order.
fn hits(counted: &Counted, path: &Path, function: &str) -> Vec<u64> {
    sites(counted, path, function).into_iter().map(|(hits, _)| hits).collect()
}

#[test]
fn every_instruction_does_what_it_does_without_a_probe() {
    let path = program("arm64", Build::Pie);
    let alone = run(&path).finish();
    assert!(
        alone.out().starts_with("42 42.5 123456789abcdef0 fedcba98 fffffffffedcba98 7 "),
        "{alone}"
    );
    for strategy in STRATEGIES {
        let probes = everywhere(&path, &FUNCTIONS);
        let tries = scratch("tries");
        let command = run(&path).env("TRIES", &tries);
        let counted = count(&["--strategy", strategy], &probes, &command);
        alone.assert_same(&counted.finished);
        let rejects: BTreeSet<(String, usize)> =
            counted.rejects().into_iter().map(|(reason, lines)| (reason, lines.len())).collect();
        let expected = [("exclusive-sequence", 3), ("mops-sequence", 2)];
        let expected = expected.map(|(reason, n)| (reason.to_owned(), n));
        assert_eq!(rejects, BTreeSet::from(expected), "{}", counted.text);

        for literal in ["ldr_d", "ldr_s", "ldr_x", "ldr_w", "ldrsw", "prfm", "ldr_q"] {
            let first = &sites(&counted, &path, literal)[0];
            // ldr_x is the function that BLRAA calls, too.
            let times =
                if literal == "ldr_x" && alone.out().contains("no pointer") { 1 } else { first.0 };
            assert_eq!(*first, (times.max(1), "simulate".to_owned()), "{strategy}: {literal}");
        }
        if !alone.out().contains("no pointer authentication") {
            assert_eq!(hits(&counted, &path, "retaa"), [5, 5], "{strategy}");
            assert_eq!(hits(&counted, &path, "blraa"), [1; 9], "{strategy}");
            assert_eq!(hits(&counted, &path, "ldr_x"), [2, 2], "{strategy}");
            // The last is the one that faults, or hands the fault on.
            assert_eq!(hits(&counted, &path, "spoilt"), [1, 1, 1], "{strategy}");
        }
        // An interrupt between its ends fails the store: the program counts how often it tries.
        let n = std::fs::read_to_string(&tries).ok().and_then(|text| text.parse().ok());
        let n: u64 = n.expect("the program has written it");
        let exclusive = [100, 0, 0, 0, n, n, 100];
        assert_eq!(hits(&counted, &path, "exclusive"), exclusive, "{strategy}");
        if !alone.out().contains("no SVE") {
            assert_eq!(hits(&counted, &path, "sve"), [10; 8], "{strategy}");
        }
        if !alone.out().contains("no MTE") {
            assert_eq!(hits(&counted, &path, "tag"), [5; 4], "{strategy}");
            assert_eq!(hits(&counted, &path, "load"), [10, 5], "{strategy}");
        }
        if !alone.out().contains("no MOPS") {
            assert_eq!(hits(&counted, &path, "copy"), [10, 0, 0, 10], "{strategy}");
        }
        assert_eq!(counted.lines.iter().map(|l| l.missed).sum::<u64>(), 0, "{}", counted.text);
    }
}

#[test]
fn branches_land_as_without_a_probe_on_guarded_pages() {
    let path = program("arm64", Build::Guarded);
    let landings = run(&path).arg("landings");
    let alone = landings.finish();
    // The processor has BTI: both verdicts are there.
    assert!(alone.out().contains("br x1 to c: code 1, pc 1, address 1, type 3\n"), "{alone}");
    assert!(alone.out().contains("br x1 to j: 1\n"), "{alone}");
    for strategy in STRATEGIES {
        let branches = everywhere(&path, &["by_br_x1", "by_br_x16", "by_blr", "by_ret"]);
        // Landing pads as well, where they are met by branches that they accept.
        let object = path.file_name().expect("a file").to_string_lossy();
        let counted = count(&["--strategy", strategy], &branches, &landings);
        alone.assert_same(&counted.finished);
        for function in ["by_br_x1", "by_br_x16", "by_blr", "by_ret"] {
            let hits = hits(&counted, &path, function);
            assert_eq!(hits[..5], [5; 5], "{strategy}: {function}");
        }
        let pad = count(&["--strategy", strategy], &[format!("{object}:at_jc")], &landings);
        alone.assert_same(&pad.finished);
        assert_eq!(hits_of(&pad), [4], "{strategy}");
        // And where they are not accepted: a trap is, but the program gets its fault.
        let every = count(&["--strategy", strategy], &[format!("{object}:at_*+*")], &landings);
        alone.assert_same(&every.finished);
        assert_eq!(hits(&every, &path, "at_none"), [4, 1, 1], "{strategy}");
        assert_eq!(hits(&every, &path, "at_c"), [4, 3, 3], "{strategy}");
        assert_eq!(hits(&every, &path, "at_j"), [4, 3, 3], "{strategy}");
    }
}

fn hits_of(counted: &Counted) -> Vec<u64> {
    counted.lines.iter().map(|l| l.hits).collect()
}

#[test]
fn an_exclusive_sequence_is_rejected_with_the_nearest_place() {
    let path = program("arm64", Build::Pie);
    let object = path.file_name().expect("a file").to_string_lossy();
    // LDXR, what is behind it, STXR.
    for distance in [4, 8, 12] {
        let probe = format!("{object}:exclusive+{distance}");
        let wrong = command(["count", &probe, "--"]).arg(&path).arg("exclusives").finish();
        assert_eq!(wrong.code(), 125, "{wrong}");
        let err = wrong.err();
        assert!(err.contains("[exclusive-sequence]") && err.contains("nearest place"), "{wrong}");
    }
}

#[test]
fn two_seconds_of_sleep_stay_two_seconds() {
    let begun = Instant::now();
    let sleep = run("sleep").arg("2").start();
    let pid = sleep.pid().to_string();
    // It is asleep by then.
    std::thread::sleep(Duration::from_millis(300));
    let mut visits = 0;
    while begun.elapsed() < Duration::from_millis(1700) {
        let visit = command([
            "count",
            "libc:clock_nanosleep",
            "libc:nanosleep",
            "--duration",
            "0.05",
            "-p",
            &pid,
        ])
        .finish();
        assert_eq!(visit.code(), 0, "{visit}");
        visits += 1;
    }
    assert_eq!(sleep.finish().code(), 0);
    let took = begun.elapsed();
    println!("{visits} visits, {took:?}");
    assert!(visits > 2, "{visits}");
    // One that begins again at each visit does not end before they do.
    assert!((Duration::from_secs(2)..Duration::from_secs(4)).contains(&took), "{took:?}");
}

#[test]
fn a_process_of_32_bits_is_named() {
    // ELF32, EM_ARM, one segment: `b .`
    let mut elf = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut half =
        |values: &[u16]| values.iter().for_each(|v| elf.extend_from_slice(&v.to_le_bytes()));
    half(&[2, 40, 1, 0, 0x54, 1, 52, 0, 0, 0, 0, 0x500, 52, 32, 1, 0, 0, 0]);
    half(&[1, 0, 0, 0, 0, 1, 0, 1, 0x58, 0, 0x58, 0, 5, 0, 0x1000, 0, 0xfffe, 0xeaff]);
    let (written, path) = (folder().join("arm32.elf"), folder().join("arm32"));
    std::fs::File::create(&written)
        .expect("it is writable")
        .write_all(&elf)
        .expect("it is writable");
    std::fs::set_permissions(&written, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    // By a process of its own: what another test starts meanwhile would hold a file of ours open for writing.
    let copied = run("cp").args([&written, &path]).finish();
    assert_eq!(copied.code(), 0, "{copied}");
    let target = run(&path).start();
    let pid = target.pid().to_string();
    std::thread::sleep(Duration::from_millis(300));
    let attached = command(["count", "main", "-p", &pid]).finish();
    assert_eq!(attached.code(), 125, "{attached}");
    assert!(attached.err().contains("32-bit"), "{attached}");
    let launched = command(["count", "main", "--"]).arg(&path).finish();
    assert_eq!(launched.code(), 125, "{launched}");
    assert!(launched.err().contains("32-bit"), "{launched}");
    let _ = nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(target.pid().cast_signed()),
        nix::sys::signal::Signal::SIGKILL,
    );
    assert_eq!(target.finish().status.code(), None);
}

/// Where distributions protect branches, every function begins with a landing pad: a jump is behind it,
/// counts what comes through it, and tells what a trap on the pad tells.
#[test]
fn jumps_are_behind_landing_pads() {
    let path = program("ticks", Build::Protected);
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    let object = xol_tests::elf::Object::open(&path);
    let functions = ["deep", "flat", "on_tick"];
    let word = |addr: u64| {
        let at = object.offset(addr).expect("in the text") as usize;
        let bytes = std::fs::read(&path).expect("it was built");
        u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
    };
    for function in functions {
        let at = object.functions().iter().find(|f| f.name == function).expect(function).addr;
        // BTI C, or PACIASP
        assert!([0xd503_245f, 0xd503_233f].contains(&word(at)), "{function}: {:x}", word(at));
    }
    for (strategy, every) in [("jump", ""), ("auto", ""), ("jump", "+*"), ("boost", "")] {
        let probes = functions.map(|function| format!("{name}:{function}{every}"));
        let calls = xol_tests::run::as_often("50000", "2000");
        let counted = count(&["--strategy", strategy], &probes, &run(&path).arg(calls));
        let out = counted.finished.out();
        let number = |name: &str| -> u64 {
            let rest = out.split(name).nth(1).unwrap_or_else(|| panic!("{}", counted.finished));
            rest.split([',', '\n']).next().and_then(|n| n.parse().ok()).expect("a number")
        };
        assert_eq!(number("wrong: "), 0, "{}", counted.finished);
        for function in functions {
            let lines = counted.lines.iter().filter(|line| line.symbol == function);
            let entry = lines.min_by_key(|line| line.addr).expect(function);
            let wanted = number(if function == "on_tick" { "ticks: " } else { "calls: " });
            assert_eq!(entry.hits, wanted, "{strategy} {every}: {entry:?}");
            let at = object.functions().iter().find(|f| f.name == function).expect(function).addr;
            assert_eq!(entry.addr, at, "{entry:?}");
            // A timer may not tick often enough to be worth a jump.
            // Who asks for each instruction asks for the pad itself.
            let how = if strategy == "boost" || !every.is_empty() { "boost" } else { "jump" };
            let rare = strategy == "auto" && wanted < 200;
            assert!(entry.strategy == how || rare, "{strategy} {every}: {entry:?}");
        }
    }
    let [jumps, traps] = ["jump", "boost"].map(|strategy| {
        let probe = [format!("{name}:flat(n: i64)")];
        let probe = probe.each_ref().map(String::as_str);
        let traced =
            xol_tests::events::trace(&["--strategy", strategy], &probe, &run(&path).arg("50"));
        assert_eq!(traced.missed, 0, "{strategy}");
        traced.events.iter().map(|event| event.number("n")).collect::<Vec<u64>>()
    });
    // Eight threads of fifty calls.
    let sorted = |mut all: Vec<u64>| {
        all.sort_unstable();
        all
    };
    assert_eq!(jumps.len(), 400);
    assert_eq!(sorted(jumps), sorted(traps));
}
