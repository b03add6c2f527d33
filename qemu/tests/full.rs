//! xol in guests, all of it, and a board's with the distribution's toolchain: too long for each change.
//! `ci/guests` runs this.

mod suite;

use xol_qemu::board::{self, Parts, Toolchain};
use xol_qemu::{Guest, Vm};

suite::guests!(suite::Much::Full);

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
