//! Reading PROBEs.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use xol_checks::probes;

fuzz_target!(|input: &[u8]| -> Corpus {
    if probes::check(input) { Corpus::Keep } else { Corpus::Reject }
});
