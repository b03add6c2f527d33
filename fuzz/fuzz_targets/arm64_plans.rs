//! Decoding and planning arm64.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use xol_arch::arm64::Arm64;
use xol_checks::plans;

fuzz_target!(|input: &[u8]| -> Corpus {
    if plans::check::<Arm64>(input) { Corpus::Keep } else { Corpus::Reject }
});
