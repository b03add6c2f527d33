//! The tests of `tests/`, built here and run in guests, as `tests/targets.txt` says. Clocks count
//! instructions, so that how busy this machine is changes nothing.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use xol_qemu::board::{self, Toolchain};
use xol_qemu::cargo_test::CargoTest;
use xol_qemu::{Guest, Stream, Vm};

const TARGETS: &str = include_str!("../../../tests/targets.txt");

/// What the tests compile, compare with and probe.
const PACKAGES: [&str; 19] = [
    "bash",
    "binutils",
    "busybox",
    "coreutils",
    "findutils",
    "g++",
    "gcc",
    "git",
    "gzip",
    "libc6-dev",
    "mawk",
    "musl-tools",
    "openssl",
    "perl",
    "procps",
    "python3",
    "sqlite3",
    "tar",
    "util-linux",
];

/// A test for each guest, which runs this much of its column. Tests run in the order of their names: the
/// longest begins first.
macro_rules! guests {
    ($much:expr) => {
        #[test]
        fn as_debian_has_it() {
            $crate::suite::passes("arm64:6.1", $much, xol_qemu::Guest::Arm64, |vm| vm);
        }

        #[test]
        fn on_a_newer_kernel_and_processor() {
            $crate::suite::passes("arm64:6.12", $much, xol_qemu::Guest::Arm64, |vm| {
                vm.emulator("trixie").kernel("6.12")
            });
        }

        #[test]
        fn on_the_oldest_kernel() {
            $crate::suite::passes("arm64:5.10", $much, xol_qemu::Guest::Arm64, |vm| {
                vm.kernel("5.10")
            });
        }

        #[test]
        fn on_pages_of_16_kib() {
            $crate::suite::passes("arm64:16k", $much, xol_qemu::Guest::Arm64, |vm| {
                vm.kernel("6.12-16k")
            });
        }

        #[test]
        fn on_an_emulated_x86_64() {
            $crate::suite::passes("x86_64:6.1", $much, xol_qemu::Guest::X86_64, |vm| vm);
        }
    };
}
pub(crate) use guests;

/// How much of a column is run: `QUICK/FULL`, where that is not the same.
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "each of the two files has one of them")]
pub(crate) enum Much {
    Quick,
    Full,
}

/// The tests of one column, each with the names of its parts, if not all of it.
fn column(target: &str, much: Much) -> Vec<(&'static str, Vec<OsString>)> {
    let mut rows = TARGETS.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let head = rows.find(|row| row.first() == Some(&"test")).expect("a head");
    let at = head.iter().position(|&cell| cell == target).expect("a column");
    let rows = rows.take_while(|row| !row.is_empty());
    let cell = |row: &[&'static str]| match (row[at].split_once('/'), much) {
        (Some((quick, _)), Much::Quick) => quick,
        (Some((_, full)), Much::Full) => full,
        (None, _) => row[at],
    };
    let runs = rows.filter(|row| !cell(row).starts_with('-'));
    let parts = |cell: &'static str| match cell {
        "all" => Vec::new(),
        names => names.split(',').map(OsString::from).collect(),
    };
    runs.map(|row| (row[0], parts(cell(&row)))).collect()
}

/// Runs the tests of the column `target` in `vm`, which is of its kind.
pub(crate) fn passes(target: &str, much: Much, guest: Guest, vm: impl FnOnce(Vm) -> Vm) {
    let tests = column(target, much);
    assert!(!tests.is_empty(), "{target} has nothing to run");
    let xol = board::build(guest, Some(Toolchain::Rustup), board::Parts::Measuring).unwrap();
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/programs");
    let plain = Vm::new(guest).xol(xol.path).timeout(Duration::from_secs(1800)).icount();
    let plain = PACKAGES.iter().fold(plain, |vm, &package| vm.package(package));
    let mut cargo: Vec<OsString> = vec!["--quiet".into(), "--package".into(), "xol-tests".into()];
    for (test, _) in &tests {
        cargo.extend(["--test".into(), (*test).into()]);
    }
    let environment = ["XOL=/usr/local/bin/xol", "XOL_ICOUNT=1", "XOL_SLOW=4"].map(Into::into);
    let suite = CargoTest {
        vm: vm(plain).in_place(programs).unwrap(),
        environment: environment.into(),
        cargo,
        libtest: ["--test-threads", "1", "--nocapture"].map(Into::into).into(),
        filters: tests.into_iter().map(|(test, parts)| (test.to_owned(), parts)).collect(),
    };
    let failed = suite.run(&mut |stream, bytes| {
        let _ = match stream {
            Stream::Stdout => std::io::stdout().write_all(bytes),
            Stream::Stderr => std::io::stderr().write_all(bytes),
        };
    });
    assert_eq!(failed.unwrap(), 0, "test programs failed, see above");
}
