//! xol in guests, in a quarter of an hour: `full.rs` takes an hour, and has the rest.

mod suite;

use suite::{Much, passes};
use xol_qemu::Guest;

/// The longest: by its name it begins first, and the others run beside it.
#[test]
fn as_debian_has_it() {
    passes("arm64:6.1", Much::Quick, Guest::Arm64, |vm| vm);
}

#[test]
fn on_a_newer_kernel_and_processor() {
    passes("arm64:6.12", Much::Quick, Guest::Arm64, |vm| vm.emulator("trixie").kernel("6.12"));
}

#[test]
fn on_the_oldest_kernel() {
    passes("arm64:5.10", Much::Quick, Guest::Arm64, |vm| vm.kernel("5.10"));
}

#[test]
fn on_pages_of_16_kib() {
    passes("arm64:16k", Much::Quick, Guest::Arm64, |vm| vm.kernel("6.12-16k"));
}

#[test]
fn on_an_emulated_x86_64() {
    passes("x86_64:6.1", Much::Quick, Guest::X86_64, |vm| vm);
}
