//! What bad input gets: one sentence that says what and what to try, a status, and a program that
//! is none the worse for it.
#![cfg(target_arch = "x86_64")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xol_tests::programs::{Build, folder, program};
use xol_tests::run::{Finished, run};
use xol_tests::target::Target;
use xol_tests::xol::{command, parse, scratch, xol};

/// xol failed, said so without a backtrace, and said all of `words`.
fn refused(finished: &Finished, status: i32, words: &[&str]) {
    let said = finished.err();
    assert_eq!(finished.code(), status, "{finished}");
    assert!(!said.contains("panicked") && !said.contains("RUST_BACKTRACE"), "{finished}");
    for word in words {
        assert!(said.contains(word), "not said: {word}\n{finished}");
    }
    assert!(said.starts_with("xol: ") && said.lines().count() <= 4, "{finished}");
    println!("{said}");
}

#[test]
fn unknown_symbols_are_told_their_neighbours() {
    let wrong = command(["count", "libc:mallco", "--", "true"]).finish();
    refused(&wrong, 125, &["mallco", "malloc"]);
    // One that is found is enough to go on.
    let half =
        command(["count", "libc:mallco", "libc:malloc", "--", "sh", "-c", "exit 7"]).finish();
    assert_eq!(half.code(), 7, "{half}");
    assert!(half.err().contains("mallco"), "{half}");
}

#[test]
fn a_pid_that_is_gone() {
    let gone = run("true").start();
    let pid = gone.pid().to_string();
    _ = gone.finish();
    let wrong = command(["count", "libc:malloc", "-p", &pid]).finish();
    refused(&wrong, 125, &[&pid, "no such process"]);
    for nonsense in ["0", "-1", "x", "99999999999999999999"] {
        let wrong = command(["count", "libc:malloc", "-p", nonsense]).finish();
        assert!([2, 125].contains(&wrong.code()), "{wrong}");
        assert!(!wrong.err().contains("panicked"), "{wrong}");
    }
}

#[test]
fn a_process_of_somebody_else() {
    // nobody cannot look into our folders.
    let copy = PathBuf::from(format!("/tmp/xol-of-nobody-{}", std::process::id()));
    // By a process of its own: what another test starts meanwhile would hold a copy of ours open for writing.
    assert_eq!(run("cp").arg(xol()).arg(&copy).finish().code(), 0, "/tmp is writable");
    let target = Target::start("ready");
    let wrong = run("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&copy)
        .args(["count", "libc:malloc", "-p", &target.pid().to_string()])
        .finish();
    std::fs::remove_file(&copy).expect("it was made above");
    refused(&wrong, 125, &[&target.pid().to_string(), "root"]);
    assert_eq!(target.end().code(), 3);
}

/// With fewer descriptors than xol needs it says so, and the program is let go: whichever is the first that
/// is not to be had.
#[test]
fn too_few_descriptors() {
    let mut ends = std::collections::BTreeMap::new();
    for most in 4..=20 {
        let script =
            format!("ulimit -n {most}; exec \"$0\" count libc:malloc -o /dev/null -- true");
        let ended = run("bash").args(["-c", &script]).arg(xol()).finish();
        let code = ended.code();
        assert!(code == 0 || ended.err().contains("Too many open files"), "{most}: {ended}");
        assert!(matches!(code, 0 | 125..=127), "{most}: {ended}");
        *ends.entry(code).or_insert(0) += 1;
    }
    assert!(ends.len() > 1, "{ends:?}");
}

#[test]
fn a_process_that_is_traced_already() {
    let target = Target::start("ready");
    let pid = Pid::from_raw(target.pid().cast_signed());
    ptrace::seize(pid, Options::empty()).expect("tracing a child");
    let wrong = command(["count", "libc:malloc", "-p", &pid.to_string()]).finish();
    refused(&wrong, 125, &[&pid.to_string(), "traced", &std::process::id().to_string()]);
    ptrace::interrupt(pid).expect("it is traced");
    nix::sys::wait::waitpid(pid, Some(nix::sys::wait::WaitPidFlag::__WALL)).expect("it stops");
    ptrace::detach(pid, None).expect("it is stopped");
    assert_eq!(target.end().code(), 3);
}

#[test]
fn programs_of_32_bits() {
    let path = program("small32", Build::Bits32);
    let target = Target::start_with(path.clone(), &[]);
    let wrong = command(["count", "main", "-p", &target.pid().to_string()]).finish();
    refused(&wrong, 125, &[&target.pid().to_string(), "32-bit"]);
    assert_eq!(target.end().code(), 3);
    let wrong = command(["count", "_start", "--"]).arg(&path).finish();
    refused(&wrong, 125, &["32-bit"]);
}

#[test]
fn programs_of_another_architecture() {
    let path = program("ready", Build::Arm64);
    let wrong = command(["count", "main", "--"]).arg(&path).finish();
    assert!([125, 126].contains(&wrong.code()), "{wrong}");
    refused(&wrong, wrong.code(), &["arm64"]);
}

#[test]
fn emulators() {
    let path = program("ready", Build::Arm64);
    let target = Target::start_with("/usr/bin/qemu-aarch64".into(), &[&path.to_string_lossy()]);
    let wrong = command(["count", "main", "-p", &target.pid().to_string()]).finish();
    refused(&wrong, 125, &["emulat", "qemu"]);
    assert_eq!(target.end().code(), 3);
}

/// `xol` looks at a file that may be anything, and neither panics nor takes long.
fn looks_at(file: &Path) {
    for words in [&["list"][..], &["plan", "--summary"]] {
        let looked =
            command(words.iter().copied()).arg(file).limit(Duration::from_secs(20)).finish();
        assert!([0, 125].contains(&looked.code()), "{looked}");
        assert!(!looked.err().contains("panicked"), "{looked}");
        assert!(looked.code() == 0 || looked.err().starts_with("xol: "), "{looked}");
    }
}

#[test]
fn files_that_lie() {
    let good = std::fs::read(program("calls", Build::Pie)).expect("just built");
    let bad = folder().join(format!("lying-{}", std::process::id()));
    let mut lengths: Vec<usize> = (0..70).collect();
    lengths.extend((1..20).map(|n| good.len() * n / 20));
    for len in lengths {
        std::fs::write(&bad, &good[..len]).expect("the folder is writable");
        looks_at(&bad);
    }
    // Wrong numbers in the headers: the file's, the segments', the sections'.
    let word = |at: usize| usize::from_le_bytes(good[at..at + 8].try_into().expect("eight"));
    let sections = word(0x28);
    let places = (4..64).chain(64..64 + 56 * 6).chain(sections..good.len());
    let mut state = 1u64;
    for (n, at) in places.step_by(3).enumerate() {
        let mut lie = good.clone();
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wrong = [0xff, 0x00, 0x80, (state >> 56) as u8][n % 4];
        let end = (at + [1, 4, 8][n % 3]).min(lie.len());
        lie[at..end].fill(wrong);
        std::fs::write(&bad, &lie).expect("the folder is writable");
        looks_at(&bad);
    }
    for text in ["", "#!/bin/sh\necho\n", "\u{7f}ELF"] {
        std::fs::write(&bad, text).expect("the folder is writable");
        looks_at(&bad);
    }
    looks_at(Path::new("/nonexistent"));
    looks_at(Path::new("/"));
    std::fs::remove_file(&bad).expect("it was made above");
}

#[test]
fn an_address_inside_an_instruction() {
    let path = program("calls", Build::Pie);
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    // `lock incq (%rdi)` is four bytes long.
    let wrong = command(["count", &format!("{name}:locked+2"), "--"]).arg(&path).finish();
    refused(&wrong, 125, &["locked+0x2", "inside", "locked"]);
}

#[test]
fn a_target_that_dies_while_probed() {
    let target = Target::start("loops");
    let pid = target.pid();
    let name = target.name();
    let counting = command(["count", "--format", "json", "-o", "-", "-p", &pid.to_string()])
        .arg(format!("{name}:probed_*"))
        .start();
    std::thread::sleep(Duration::from_millis(300));
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).expect("our child");
    let finished = counting.finish();
    assert_eq!(finished.code(), 0, "{finished}");
    let hits: u64 = parse(&finished.out()).iter().map(|l| l.hits).sum();
    assert!(hits > 0, "{finished}");
    // And one that xol started: its status is passed on.
    let died = command(["count", "--format", "json", "-o", "-", "libc:*", "--", "sh", "-c"])
        .arg("kill -KILL $$")
        .finish();
    assert_eq!(died.code(), 137, "{died}");
    assert!(parse(&died.out()).iter().any(|l| l.hits > 0), "{died}");
}

#[test]
fn a_full_disk() {
    let mut target = Target::start("loops");
    let name = target.name();
    let pid = target.pid().to_string();
    for command in [
        command(["trace", "-o", "/dev/full", "-p", &pid]).arg(format!("{name}:probed_*")),
        command(["count", "-o", "/dev/full", "--duration", "0.2", "-p", &pid])
            .arg(format!("{name}:probed_*")),
    ] {
        let full = command.limit(Duration::from_secs(20)).finish();
        refused(&full, 125, &["/dev/full", "No space left"]);
        assert_eq!(target.ask("?"), "text changed: 0\n");
    }
    assert_eq!(target.end().code(), 5);
    let launched = command(["trace", "-o", "/dev/full", "libc:malloc", "--", "ls", "/"]).finish();
    let alone = run("ls").arg("/").finish();
    assert_eq!(launched.stdout, alone.stdout, "{launched}");
    refused(&launched, 125, &["No space left"]);
}

#[test]
fn a_reader_that_has_seen_enough() {
    let mut target = Target::start("loops");
    let script = format!(
        "{} trace -o - -p {} '{}:probed_*' | head -n 3",
        xol().display(),
        target.pid(),
        target.name()
    );
    let piped = run("bash").args(["-c", &script]).limit(Duration::from_secs(20)).finish().ok();
    assert_eq!(piped.out().lines().count(), 3, "{piped}");
    assert!(!piped.err().contains("panicked"), "{piped}");
    // It ends by itself; then the text is as it was.
    for _ in 0..200 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", target.pid()));
        if status.is_ok_and(|s| s.contains("TracerPid:\t0\n")) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(target.ask("?"), "text changed: 0\n");
    assert_eq!(target.end().code(), 5);
}

#[test]
fn programs_that_cannot_be_started() {
    let missing = command(["count", "malloc", "--", "no-such-program"]).finish();
    refused(&missing, 127, &["no-such-program"]);
    let directory = command(["count", "malloc", "--", "/"]).finish();
    refused(&directory, 126, &["/", "it is a folder"]);
    let script = scratch("script");
    std::fs::write(&script, "#!/no/such\n").expect("/tmp is writable");
    assert_eq!(run("chmod").args(["+x"]).arg(&script).finish().code(), 0);
    let alone = command(["count", "malloc", "--"]).arg(&script).finish();
    refused(&alone, 127, &["what is to run it"]);
    _ = std::fs::remove_file(&script);
    let nothing = command(["count", "malloc"]).finish();
    refused(&nothing, 2, &[]);
    let nonsense = command(["count", "--no-such-option"]).finish();
    refused(&nonsense, 2, &["--no-such-option"]);
}

#[test]
fn signals_to_xol_end_it_cleanly() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut target = Target::start("loops");
        let counting = command(["count", "--format", "json", "-o", "-", "-p"])
            .arg(target.pid().to_string())
            .arg(format!("{}:probed_*", target.name()))
            .start();
        std::thread::sleep(Duration::from_millis(200));
        kill(Pid::from_raw(counting.pid().cast_signed()), signal).expect("our child");
        let finished = counting.finish();
        let hits: u64 = parse(&finished.out()).iter().map(|l| l.hits).sum();
        assert!(hits > 0, "{signal}: {finished}");
        assert_eq!(target.ask("?"), "text changed: 0\n", "{signal}");
        assert_eq!(target.end().code(), 5);
    }
}
