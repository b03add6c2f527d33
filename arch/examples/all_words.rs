//! Plans every one of the 2^32 arm64 words, alone, and prints how many have which plan and
//! which reason: `cargo run --release -p xol-arch --example all_words`.
//!
//! `all_words FIRST LAST` does so for a part, both in hexadecimal.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;
use xol_arch::arm64::Arm64;
use xol_arch::{Addr, Arch, Reject, Rules, Text};

/// Somewhere that is no multiple of a page, so that ADRP shows.
const AT: Addr = Addr(0x40_0a28);

fn main() -> ExitCode {
    let arguments: Result<Vec<u32>, _> = std::env::args()
        .skip(1)
        .map(|a| u32::from_str_radix(a.trim_start_matches("0x"), 16))
        .collect();
    let range = match arguments.as_deref() {
        Ok([]) => 0..=u32::MAX,
        Ok(&[first, last]) => first..=last,
        _ => {
            eprintln!("usage: all_words [FIRST LAST], in hexadecimal");
            return ExitCode::from(2);
        }
    };
    let started = Instant::now();
    let mut counts = BTreeMap::new();
    let mut run = (row(*range.start()), 0_u64);
    for word in range {
        let row = row(word);
        if row == run.0 {
            run.1 += 1;
        } else {
            *counts.entry(run.0).or_insert(0) += run.1;
            run = (row, 1);
        }
    }
    *counts.entry(run.0).or_insert(0) += run.1;
    let took = started.elapsed();
    for (row, count) in &counts {
        println!("{count:>11}  {row}");
    }
    let total: u64 = counts.values().sum();
    println!("{total:>11}  words in {:.1} s", took.as_secs_f64());
    ExitCode::SUCCESS
}

/// The name of the row of the plan table that `word` falls into.
fn row(word: u32) -> &'static str {
    let bytes = word.to_le_bytes();
    match Arm64::plan(&Text::new(AT, &bytes), AT, Rules::default()) {
        Ok(plan) => plan.word(),
        Err(Reject { reason, .. }) => reason.id(),
    }
}
