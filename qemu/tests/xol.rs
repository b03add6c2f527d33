//! xol in an arm64 guest: the tests of `tests/`, built here and run there.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use xol_qemu::board::{self, Toolchain};
use xol_qemu::cargo_test::CargoTest;
use xol_qemu::{Guest, Stream, Vm};

/// What the tests compile, compare with and probe.
const PACKAGES: [&str; 5] = ["gcc", "libc6-dev", "binutils", "coreutils", "procps"];

/// Test programs of `tests/` that hold on every machine that is not this one.
const TESTS: [&str; 1] = ["arm64"];

fn guest() -> Vm {
    let xol = board::build(Guest::Arm64, Some(Toolchain::Rustup)).unwrap();
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/programs");
    let vm = Vm::new(Guest::Arm64).xol(xol.path).timeout(Duration::from_secs(900));
    PACKAGES.iter().fold(vm, |vm, &package| vm.package(package)).in_place(programs).unwrap()
}

fn passes(vm: Vm, tests: &[&str]) {
    let mut cargo = vec!["--quiet".into(), "--package".into(), "xol-tests".into()];
    for test in tests {
        cargo.extend(["--test".into(), (*test).into()]);
    }
    let environment = vec!["XOL=/usr/local/bin/xol".into()];
    let suite = CargoTest { vm, environment, cargo, libtest: Vec::new() };
    let failed = suite.run(&mut |stream, bytes| {
        let _ = match stream {
            Stream::Stdout => std::io::stdout().write_all(bytes),
            Stream::Stderr => std::io::stderr().write_all(bytes),
        };
    });
    assert_eq!(failed.unwrap(), 0, "test programs failed, see above");
}

#[test]
fn on_debians_kernel() {
    passes(guest(), &TESTS);
}

#[test]
fn where_there_is_mops() {
    passes(guest().emulator("trixie").kernel("6.12"), &["arm64"]);
}

#[test]
fn on_the_oldest_kernel() {
    passes(guest().kernel("5.10"), &["arm64"]);
}

#[test]
fn on_pages_of_16_kib() {
    passes(guest().kernel("6.12-16k"), &["arm64"]);
}
