//! Reading ELF files.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use xol_checks::objects;

fuzz_target!(|input: &[u8]| -> Corpus {
    if objects::check(input) { Corpus::Keep } else { Corpus::Reject }
});
