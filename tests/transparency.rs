//! Programs run with every function of libc probed as they run without: output, errors, status.

use std::collections::BTreeMap;
use std::time::Duration;

use xol_tests::commands;
use xol_tests::programs::{Build, program};
use xol_tests::run::{Run, as_often, run};
use xol_tests::xol::{Counted, command, count};

/// Runs `command` alone and under `xol count -f OPTIONS PROBES`, and compares.
fn same(options: &[&str], probes: &[&str], command: &Run) -> Counted {
    let alone = command.finish();
    let again = command.finish();
    alone.assert_same(&again);
    let probes: Vec<String> = probes.iter().map(|&p| p.to_owned()).collect();
    let options: Vec<&str> = ["-f"].iter().chain(options).copied().collect();
    let probed = count(&options, &probes, &command.clone().limit(Duration::from_secs(120)));
    alone.assert_same(&probed.finished);
    probed
}

/// As above with every function of libc, nearly all of which must have been armed.
fn libc_everywhere(command: &Run) {
    let probed = same(&[], &["libc:*"], command);
    let libc: Vec<_> = probed.lines.iter().filter(|l| l.object.contains("libc.so")).collect();
    let armed = libc.iter().filter(|l| l.reason.is_none()).count();
    let hit = libc.iter().filter(|l| l.hits > 0).count();
    let hits: u64 = libc.iter().map(|l| l.hits).sum();
    let mut strategies: BTreeMap<&str, usize> = BTreeMap::new();
    for line in &libc {
        *strategies.entry(&line.strategy).or_default() += 1;
    }
    println!(
        "{command} in {:?}: {armed} of {} armed, {hit} hit, {hits} hits, {strategies:?}",
        probed.finished.took,
        libc.len()
    );
    for (reason, lines) in probed.rejects() {
        let names: Vec<_> = lines.iter().take(12).map(|l| l.symbol.as_str()).collect();
        println!("  {reason}: {} ({})", lines.len(), names.join(" "));
    }
    assert!(armed * 100 >= libc.len() * 99, "{armed} of {} armed", libc.len());
    assert!(libc.len() > 2000, "libc has more functions than {}", libc.len());
    assert!(hits > 0, "{}", probed.text);
    assert_eq!(libc.iter().map(|l| l.missed).sum::<u64>(), 0, "missed hits");
}

#[test]
fn ls() {
    libc_everywhere(&commands::ls());
}

#[test]
fn sort() {
    libc_everywhere(&commands::sort());
}

#[test]
fn gzip() {
    libc_everywhere(&commands::gzip());
}

#[test]
fn coreutils_that_fail() {
    libc_everywhere(&run("cat").args(["/etc/passwd", "/nonexistent", "/"]));
}

#[test]
fn sha256sum_and_find() {
    libc_everywhere(&commands::find());
}

#[test]
fn perl() {
    libc_everywhere(&commands::perl());
}

#[test]
fn python3() {
    libc_everywhere(&commands::python());
}

#[test]
fn git() {
    libc_everywhere(&commands::git());
}

#[test]
fn sqlite3() {
    libc_everywhere(&commands::sqlite());
}

#[test]
fn shell_pipeline() {
    libc_everywhere(&commands::shell());
}

#[test]
fn busybox() {
    libc_everywhere(&commands::busybox());
}

#[test]
fn tar_and_awk() {
    libc_everywhere(&commands::tar());
}

#[test]
fn threads() {
    libc_everywhere(&run(program("threads", Build::Pie)).arg(as_often("200", "10")));
}

#[test]
fn forks_spawns_and_shells() {
    libc_everywhere(&run(program("forks", Build::Pie)));
}

#[test]
fn exceptions() {
    libc_everywhere(&run(program("throws", Build::Pie)));
}

/// A small program that prints what it found out about itself, probed in all its own functions and
/// in libc's, with the cheapest strategies and with each one alone.
fn every_way(command: &Run, object: &str) {
    let own = format!("{object}:*");
    // An emulated machine takes ten seconds for each; `auto` has traps and jumps.
    let all = ["auto", "xol", "jump", "boost"];
    for strategy in &all[..as_often(4, 2)] {
        println!("{command} with {strategy}");
        let probed = same(&["--strategy", strategy], &[&own, "libc:*"], command);
        assert!(probed.lines.iter().any(|l| l.hits > 0), "{}", probed.text);
    }
    if as_often(true, false) {
        println!("{command} with trace");
        let words = ["trace", "-f", "-o", "/dev/null", &own, "libc:*", "--"];
        let traced = xol_tests::xol::command(words).args(command.words().iter().cloned());
        command.finish().assert_same(&traced.limit(Duration::from_secs(120)).finish());
    }
}

#[test]
fn masks_and_actions_stay_the_programs() {
    let rounds = as_often("1000", "40");
    every_way(&run(program("masks", Build::Pie)).arg(rounds), "masks-pie");
}

/// As nohup(1) and a shell's `&` leave them.
#[test]
fn what_is_ignored_stays_so() {
    let ignoring = ["sh", "-c", "trap '' INT QUIT HUP; exec \"$@\"", "sh"];
    let show = ["perl", "-ne", "print if /SigIgn/", "/proc/self/status"];
    let alone = run("sh").args(&ignoring[1..]).args(show).finish().ok();
    assert!(alone.out().ends_with("7\n"), "{alone}");
    let words = ["count", "-o", "/dev/null", "libc:malloc", "--"];
    let probed = command(words).args(show).under(ignoring).finish();
    alone.assert_same(&probed);
}

#[test]
fn own_traps_stay_the_programs() {
    every_way(&run(program("traps", Build::Pie)), "traps-pie");
}

#[test]
fn long_jumps_and_coroutines() {
    every_way(&run(program("jumps", Build::Pie)), "jumps-pie");
}

#[test]
fn faults_have_the_original_address() {
    every_way(&run(program("faults", Build::Pie)), "faults-pie");
}

#[test]
fn stops_and_restarts() {
    every_way(&run(program("stops", Build::Pie)), "stops-pie");
}

#[test]
fn exec_by_any_thread() {
    every_way(&run(program("execs", Build::Pie)), "execs-pie");
}

#[test]
fn filters_that_kill() {
    for how in ["kill", "errno", "after"] {
        every_way(&run(program("filters", Build::Pie)).arg(how), "filters-pie");
    }
}

#[test]
fn objects_that_come_and_go() {
    let plugin = program("plugin", Build::Shared);
    let command = run(program("loads", Build::Pie)).arg(&plugin);
    every_way(&command, "plugin-shared");
    let probed = same(&[], &["plugin-shared:plugin_work"], &command);
    // A constructor, two calls, and a destructor each time.
    assert_eq!(probed.lines.iter().map(|l| l.hits).sum::<u64>(), 40, "{}", probed.text);
}

/// A program with every kind of instruction at a function's entry, and what of it is probed.
fn entries() -> (&'static str, &'static str) {
    match std::env::consts::ARCH {
        "x86_64" => ("entries", "entries-pie:e_*+*"),
        _ => ("arm64", "arm64-pie:*+*"),
    }
}

/// A sequence that no section describes is found at the first hit in it, and nothing near it becomes
/// a jump: a thread that jumped out of one would not be seen to have left it.
#[test]
#[cfg(target_arch = "x86_64")]
fn restartable_sequences() {
    let told = xol_tests::xol::scratch("aborts");
    let command = run(program("sequence", Build::Pie)).arg(&told);
    let inside = [0xb, 0xe, 0xf, 0x13].map(|at| format!("sequence-pie:sequence+{at:#x}"));
    let mut probes: Vec<&str> = inside.iter().map(String::as_str).collect();
    probes.extend(["sequence-pie:sequence", "sequence-pie:sequence+0x16"]);
    for strategy in ["auto", "jump", "boost"] {
        let probed = same(&["--strategy", strategy], &probes, &command);
        let rejects = probed.rejects();
        assert_eq!(rejects["restartable-sequence"].len(), 4, "{}", probed.text);
        let armed: Vec<_> = probed.lines.iter().filter(|l| l.reason.is_none()).collect();
        // Each site that was in the way aborts it once, and the kernel may for reasons of its own: the
        // program knows how often it was aborted.
        let told = std::fs::read_to_string(&told).expect("what the program has told");
        let aborts: u64 = told.trim().parse().expect("a number");
        assert!(aborts >= 4, "{aborts}");
        let hits: Vec<u64> = armed.iter().map(|l| l.hits).collect();
        assert_eq!(hits, [1000 + aborts, 1000], "{}", probed.text);
        let why = if strategy == "boost" { "not-asked-for" } else { "may-be-restartable" };
        for line in armed {
            assert_eq!(line.why_not_jump.as_deref(), Some(why), "{strategy}: {}", probed.text);
        }
    }
}

/// Where a section describes them, what is not in one may be a jump, and may not reach into one.
#[test]
#[cfg(target_arch = "x86_64")]
fn described_sequences() {
    let command = run(program("described", Build::Pie));
    let own = "described-pie";
    let probes: Vec<String> = ["first", "last", "main"].map(|f| format!("{own}:{f}")).into();
    let probes = probes.into_iter().chain([format!("{own}:sequence+*")]).collect::<Vec<_>>();
    let probes: Vec<&str> = probes.iter().map(String::as_str).collect();
    for strategy in ["auto", "jump"] {
        let probed = same(&["--strategy", strategy], &probes, &command);
        let hits = |symbol: &str| -> Vec<(u64, &str)> {
            let of = probed.lines.iter().filter(|l| l.symbol == symbol && l.reason.is_none());
            of.map(|l| (l.hits, &*l.strategy)).collect()
        };
        assert_eq!(hits("first"), [(1000, "jump")], "{strategy}: {}", probed.text);
        assert_eq!(hits("last"), [(1000, "jump")], "{strategy}: {}", probed.text);
        let rejects = probed.rejects();
        // The four of it, and the MOV that tells the kernel of it.
        assert_eq!(rejects["restartable-sequence"].len(), 5, "{}", probed.text);
        // LEA before it, MOV and RET behind it, XOR and RET where it would be aborted to.
        let around = hits("sequence");
        assert_eq!(around.iter().filter(|(hits, _)| *hits == 1000).count(), 3, "{}", probed.text);
        // What would be aborted to is never come to. In the place of RET a jump has one place to land, which may
        // be taken.
        let jumps = around.iter().filter(|(_, strategy)| *strategy == "jump").count();
        let least = if strategy == "jump" { 4 } else { 2 };
        assert!((least..=least + 1).contains(&jumps), "{strategy}: {}", probed.text);
    }
}

#[test]
fn every_kind_of_entry() {
    let (name, probe) = entries();
    let path = program(name, Build::Pie);
    for strategy in ["auto", "jump", "xol", "boost", "simulate", "step"] {
        println!("{strategy}");
        let probed = same(&["--strategy", strategy], &[probe], &run(&path));
        for (reason, lines) in probed.rejects() {
            let names: Vec<_> = lines.iter().map(|l| l.probe.as_str()).collect();
            println!("  {reason}: {}", names.join(" "));
        }
        let entries = probed.lines.iter().filter(|l| l.reason.is_none());
        if strategy == "auto" {
            let quiet: Vec<_> = entries.filter(|l| l.hits == 0).map(|l| l.probe.clone()).collect();
            println!("  never run: {}", quiet.join(" "));
        }
    }
}

#[test]
fn every_link() {
    for build in [Build::NoPie, Build::Static, Build::StaticPie, Build::Musl] {
        let path = program("calls", build);
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let probe = format!("{name}:*");
        let probed = same(&[], &[&probe], &run(&path).args(["12", "5"]));
        let leaf = probed.lines.iter().find(|l| l.symbol == "leaf");
        let leaf = leaf.unwrap_or_else(|| panic!("no leaf: {}", probed.text));
        assert_eq!(leaf.hits, 12, "{}", probed.text);
        let recurse = probed.lines.iter().find(|l| l.symbol == "recurse").expect("there too");
        assert_eq!(recurse.hits, 6, "{}", probed.text);
    }
}
