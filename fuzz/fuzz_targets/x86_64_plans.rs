//! Decoding and planning x86-64.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use xol_arch::x86_64::X86_64;
use xol_checks::plans;

fuzz_target!(|input: &[u8]| -> Corpus {
    if plans::check::<X86_64>(input) { Corpus::Keep } else { Corpus::Reject }
});
