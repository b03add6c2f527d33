//! Reading recordings.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use xol_checks::recordings;

fuzz_target!(|input: &[u8]| -> Corpus {
    if recordings::check(input) { Corpus::Keep } else { Corpus::Reject }
});
