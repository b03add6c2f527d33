//! `compare-counts`: xol's counts and the kernel's, in full. Status 1 if they differ.
//!
//! Every function entry of libc and 3,000 random instructions of it, in `ls`, `sort` and `gzip`;
//! then the returns of 30 functions.

use std::process::ExitCode;

use xol_tests::compare::{Choice, Comparison, Row, compare};
use xol_tests::elf::Object;
use xol_tests::returns;
use xol_tests::run::{Run, run};

fn commands() -> [Run; 3] {
    let text: String = (0..3000u64).map(|n| format!("{} {n}\n", n * 7919 % 9973)).collect();
    [
        run("ls").args(["-l", "/usr/bin"]),
        run("sort").args(["-k1", "-n"]).stdin(text.clone()),
        run("gzip").arg("-c").stdin(text),
    ]
}

fn main() -> ExitCode {
    let mut same = true;
    let libc = Object::libc();
    let mut show = |comparison: Comparison| {
        println!("{comparison}");
        same &= comparison.rows.iter().all(Row::equal);
    };
    for command in commands() {
        show(compare(&libc, &Choice::Entries { some: None, seed: 0 }, &command));
        let seed = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(1);
        show(compare(&libc, &Choice::Instructions { some: 3000, seed }, &command));
    }
    for command in commands() {
        for returns in returns::compare(&libc, returns::FUNCTIONS, &command, &["auto", "jump"]) {
            println!("{returns}");
            same &= returns.differences().next().is_none();
        }
    }
    if same { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
