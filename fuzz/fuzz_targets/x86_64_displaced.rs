//! What is simulated and what is relocated, on x86-64.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use xol_arch::x86_64::X86_64;
use xol_checks::displaced;

fuzz_target!(|input: &[u8]| -> Corpus {
    if displaced::check::<X86_64>(input) { Corpus::Keep } else { Corpus::Reject }
});
