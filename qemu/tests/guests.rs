//! Both guests, booted: what comes out of a command is exactly what it did.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use xol_qemu::{Error, Guest, Output, Vm, host};

/// A directory for this test's files.
fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// One of `tests/programs`, static.
fn program(name: &str, guest: Guest) -> PathBuf {
    let gcc = format!("{}-linux-gnu-gcc", guest.cpu());
    let gcc =
        host::tool(&gcc, &format!("gcc-{}-linux-gnu", guest.cpu().replace('_', "-"))).unwrap();
    let source =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(format!("{name}.c"));
    let out = scratch(guest.name()).join(name);
    let status =
        Command::new(gcc).args(["-O1", "-static", "-o"]).args([&out, &source]).status().unwrap();
    assert!(status.success(), "compiling {name}.c");
    out
}

/// Where `symbol` lies in the file of a static program that is linked at `base`.
fn offset(program: &Path, symbol: &str, base: u64) -> u64 {
    let out = Command::new("nm").arg(program).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let line = text.lines().find(|l| l.ends_with(&format!(" {symbol}"))).expect(symbol);
    u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap() - base
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Every byte, in runs that no block size divides.
fn noise() -> Vec<u8> {
    (0..300_007u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn a_guest_is_exact(guest: Guest) {
    let dir = scratch(&format!("{guest}-exact"));
    let data = dir.join("noise");
    std::fs::write(&data, noise()).unwrap();
    let script = dir.join("script");
    std::fs::write(&script, "#!/bin/sh\nprintf 'out\\r\\n'; printf 'err\\0' >&2; exit \"$1\"\n")
        .unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();

    let vm = Vm::new(guest).file(&data).file(&script).file(program("stop", guest));
    let mut session = vm.boot().unwrap();
    let mut sh = |script: &str| session.run(["sh", "-c", script]).unwrap();

    let out = sh("cat noise; cat noise >&2");
    assert_eq!(out.status, 0);
    assert!(out.stdout == noise(), "{} bytes of {}", out.stdout.len(), noise().len());
    assert!(out.stderr == noise(), "{} bytes of {}", out.stderr.len(), noise().len());

    let expected = |status| Output {
        status,
        stdout: b"out\r\n".to_vec(),
        stderr: b"err\0".to_vec(),
        out_of_memory: None,
    };
    for status in [0, 1, 125, 255] {
        assert_eq!(sh(&format!("exec ./script {status}")), expected(status));
    }
    let silent = |status| Output { status, stdout: vec![], stderr: vec![], out_of_memory: None };
    assert_eq!(sh("kill -TERM $$"), silent(128 + 15), "a signal is told by its number");
    assert_eq!(sh("./noise 2>/dev/null").status, 126, "data is not executable");
    assert_eq!(sh("test -x script && test ! -x noise"), silent(0), "the executable bits");

    // What a program inherits: nothing ignored, no descriptor of ours, a session of its own.
    let inherited =
        sh("grep SigIgn /proc/self/status; ls /proc/self/fd | wc -l; readlink /proc/self/fd/0");
    // ls has the directory open beside its three.
    assert_eq!(text(&inherited.stdout), "SigIgn:\t0000000000000000\n4\n/dev/null\n");

    // What it leaves running does not keep the next one waiting.
    let left = sh("sleep 1000 & echo $! >pid; echo started");
    assert_eq!(text(&left.stdout), "started\n");
    assert_eq!(sh("test -e /proc/$(cat pid)").status, 1, "the sleeper is gone");

    assert_eq!(text(&sh("uname -m").stdout).trim(), guest.cpu());
    let stops = sh("./stop stops");
    assert_eq!(text(&stops.stdout), "3 traps, child 0\n", "ptrace works");
    let at = offset(&program("stop", guest), "probed", 0x40_0000);
    let uprobe = sh(&format!(
        "cd /sys/kernel/tracing && echo 'p:xol/probed /tmp/stop:{at:#x}' >uprobe_events && \
         echo 1 >events/xol/probed/enable && /tmp/stop calls 25 && cat uprobe_profile"
    ));
    assert_eq!(
        text(&uprobe.stdout).split_whitespace().last(),
        Some("25"),
        "uprobes work: {uprobe:?}"
    );

    session.put("/tmp/late", 0o755, &noise()).unwrap();
    let late = session.run(["sh", "-c", "cmp late noise && test -x late"]).unwrap();
    assert_eq!(late.status, 0, "{late:?}");
    let words: [OsString; 5] = ["printf", "%s|", "it's", "$HOME", "a\nb"].map(OsString::from);
    assert_eq!(session.run(&words).unwrap().stdout, b"it's|$HOME|a\nb|");
    assert_eq!(session.run(["no-such-program"]).unwrap().status, 127);
}

#[test]
fn an_arm64_guest_is_exact() {
    a_guest_is_exact(Guest::Arm64);
}

#[test]
fn an_x86_64_guest_is_exact() {
    a_guest_is_exact(Guest::X86_64);
}

#[test]
fn a_package_comes_with_its_libraries() {
    let vm = Vm::new(Guest::Arm64).package("sqlite3");
    let out = vm.run(["sqlite3", ":memory:", "select 6 * 7"]).unwrap();
    assert_eq!((out.status, text(&out.stdout)), (0, "42\n"), "{out:?}");
}

#[test]
fn with_icount_time_is_instructions() {
    for guest in Guest::ALL {
        let mut session = Vm::new(guest).icount().file(program("clock", guest)).boot().unwrap();
        let mut took = || -> i64 {
            let out = session.run(["./clock"]).unwrap();
            text(&out.stdout).trim().parse().unwrap()
        };
        let (first, second) = (took(), took());
        // Two instructions ten thousand times, and reading the clock.
        assert!((20_000..20_200).contains(&first), "{guest}: {first} ns");
        // arm64's counter has 62.5 MHz: it moves every sixteen instructions.
        assert!((first - second).abs() <= 16, "{guest}: {first} and {second} ns");
    }
}

#[test]
fn a_hanging_guest_is_ended() {
    let mut session = Vm::new(Guest::Arm64).timeout(Duration::from_secs(2)).boot().unwrap();
    session.run(["sh", "-c", "echo '<0>stuck here' >/dev/kmsg"]).unwrap();
    let error = session.run(["sleep", "1000"]).unwrap_err();
    assert!(matches!(error, Error::Hang { .. }), "{error}");
    let said = error.to_string();
    assert!(said.starts_with("the guest was still running after 2 s"), "{said}");
    assert!(said.contains("stuck here"), "its console: {said}");
    let error = session.run(["true"]).unwrap_err();
    assert!(!error.to_string().is_empty(), "an ended guest takes no commands");
}

#[test]
fn a_panicking_guest_is_told_from_a_hanging_one() {
    for guest in Guest::ALL {
        let error = Vm::new(guest).run(["sh", "-c", "echo c >/proc/sysrq-trigger"]).unwrap_err();
        assert!(matches!(error, Error::Panic { .. }), "{guest}: {error}");
        assert!(error.to_string().contains("sysrq triggered crash"), "{guest}: {error}");
    }
}

#[test]
fn memory_that_runs_out_is_named() {
    let out = Vm::new(Guest::Arm64).memory(160).run(["tail", "/dev/zero"]).unwrap();
    assert_eq!(out.status, 128 + 9);
    let sentence = out.out_of_memory.expect("a sentence");
    assert!(sentence.contains("(tail)") && sentence.contains("--memory 320"), "{sentence}");
    let error = Vm::new(Guest::Arm64).memory(100).run(["true"]).unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { memory: 100, .. }), "{error}");
}

#[test]
fn the_oldest_kernel_boots() {
    let out = Vm::new(Guest::Arm64).kernel("5.10").run(["uname", "-r"]).unwrap();
    assert!(text(&out.stdout).starts_with("5.10."), "{out:?}");
}

#[test]
fn pages_of_16_kib_boot() {
    let vm = Vm::new(Guest::Arm64).kernel("6.12-16k");
    let out = vm.run(["sh", "-c", "grep KernelPageSize /proc/self/smaps | sort -u"]).unwrap();
    assert_eq!(text(&out.stdout).split_whitespace().nth(1), Some("16"), "{out:?}");
}
