//! xol in guests, all of it, and a board's with the distribution's toolchain: too long for each change.
//! `ci/guests` runs this.

mod suite;

use suite::{Much, passes};
use xol_qemu::board::{self, Parts, Toolchain};
use xol_qemu::{Guest, Vm};

#[test]
fn as_debian_has_it() {
    passes("arm64:6.1", Much::Full, Guest::Arm64, |vm| vm);
}

#[test]
fn on_a_newer_kernel_and_processor() {
    passes("arm64:6.12", Much::Full, Guest::Arm64, |vm| vm.emulator("trixie").kernel("6.12"));
}

#[test]
fn on_the_oldest_kernel() {
    passes("arm64:5.10", Much::Full, Guest::Arm64, |vm| vm.kernel("5.10"));
}

#[test]
fn on_pages_of_16_kib() {
    passes("arm64:16k", Much::Full, Guest::Arm64, |vm| vm.kernel("6.12-16k"));
}

#[test]
fn on_an_emulated_x86_64() {
    passes("x86_64:6.1", Much::Full, Guest::X86_64, |vm| vm);
}

#[test]
fn the_distributions_toolchain_makes_one_for_a_board() {
    let binary = board::build(Guest::X86_64, Some(Toolchain::Debian), Parts::Usual).unwrap();
    eprintln!("{} bytes", binary.size);
    assert!(binary.size <= 7 << 19, "{} bytes", binary.size);
    let vm = Vm::new(Guest::X86_64).xol(&binary.path).memory(160);
    let out = vm.run(["xol", "--help"]).unwrap();
    assert_eq!(out.status, 0, "{out:?}");
    assert!(String::from_utf8_lossy(&out.stdout).contains("Usage: xol"), "{out:?}");
}
