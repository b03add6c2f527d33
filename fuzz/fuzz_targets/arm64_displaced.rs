//! What is simulated and what is relocated, on arm64.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use xol_arch::arm64::Arm64;
use xol_checks::displaced;

fuzz_target!(|input: &[u8]| -> Corpus {
    if displaced::check::<Arm64>(input) { Corpus::Keep } else { Corpus::Reject }
});
