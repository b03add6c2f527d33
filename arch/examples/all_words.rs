//! Plans every one of the 2^32 arm64 words, alone, and prints how many have which plan and
//! which reason: `cargo run --release -p xol-arch --example all_words`. It fails where a word
//! that reads the PC, is exclusive, touches DAIF or changes the exception level is a plain copy:
//! by a table of pictures that shares nothing with the decoder, and for every thousandth copied
//! word by capstone too, which is asked at two addresses.
//!
//! `all_words FIRST LAST` does so for a part, both in hexadecimal.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;
use xol_arch::arm64::Arm64;
use xol_arch::{Addr, Arch, Copied, Reject, Rules, Text};

#[path = "../tests/judges/mod.rs"]
mod judges;

/// Somewhere that is no multiple of a page, so that ADRP shows; and somewhere else.
const AT: Addr = Addr(0x40_0a28);
const ELSEWHERE: Addr = Addr(0x7f_1234_5d6c);

/// Of so many copied words, capstone is asked about one.
const ASKED: u64 = 1000;

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
    let judge = judges::Judge::new();
    let harmful = by_first_byte();
    let (mut copied, mut asked) = (0_u64, 0_u64);
    let mut counts = BTreeMap::new();
    let mut run = (row(*range.start()), 0_u64);
    for word in range {
        let row = row(word);
        if row == "copy" {
            copied += 1;
            if let Some(why) = judges::listed(word, &harmful[(word >> 24) as usize]) {
                eprintln!("{word:08x} is a plain copy: {why}");
                return ExitCode::FAILURE;
            }
            if copied.is_multiple_of(ASKED) {
                let [here, there] = [AT, ELSEWHERE].map(|at| judge.text(word, at));
                if here != there {
                    eprintln!("{word:08x} is a plain copy: {here:?}, elsewhere {there:?}");
                    return ExitCode::FAILURE;
                }
                asked += u64::from(here.is_some());
            }
        }
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
    println!("no plain copy is harmful; of {asked} of them capstone has the same text elsewhere");
    ExitCode::SUCCESS
}

/// The rows of the table that words with each first byte may be in.
fn by_first_byte() -> Vec<Vec<judges::Row>> {
    let rows = |byte: u32| {
        let may = |&&(mask, value, _): &&judges::Row| (byte << 24 ^ value) & mask >> 24 << 24 == 0;
        judges::HARMFUL.iter().filter(may).copied().collect()
    };
    (0..256).map(rows).collect()
}

/// The name of the row of the plan table that `word` falls into. A signed branch has a copy that
/// is another instruction, by which it is authenticated.
fn row(word: u32) -> &'static str {
    let bytes = word.to_le_bytes();
    match Arm64::plan(&Text::new(AT, &bytes), AT, Rules::default()) {
        Ok(plan) => match plan.copied {
            Some(Copied { jump_behind: false, .. }) => "copy, and the engine branches",
            _ => plan.word(),
        },
        Err(Reject { reason, .. }) => reason.id(),
    }
}
