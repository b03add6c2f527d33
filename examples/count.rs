//! Counts the calls of a function in a command, and names the first argument of the largest:
//!
//!     cargo run --example count -- 'malloc(size: u64)' ls -l

use std::error::Error;
use std::process::ExitCode;
use xol::trace::{self, HitEvent, Options, RowState, Value};

fn main() -> ExitCode {
    match count(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("count: {error}");
            ExitCode::FAILURE
        }
    }
}

fn count(mut words: impl Iterator<Item = String>) -> Result<(), Box<dyn Error>> {
    let probe = words.next().ok_or("usage: count PROBE CMD ARG...")?;
    let mut options = Options::launch(words)?.probe(&probe)?;
    // Each hit is wanted, not only how many there were.
    options.events = true;

    let mut largest = None;
    let outcome = trace::run(&options, &mut |event: &HitEvent<'_>| {
        if let Some(Value::Bits(value)) = event.args.first() {
            largest = largest.max(Some(*value));
        }
    })?;

    for counted in &outcome.report.rows {
        match counted.row.state {
            RowState::Rejected(reject) => println!("{}: {reject}", counted.row),
            _ => println!("{} calls of {}", counted.hits, counted.row),
        }
    }
    for sentence in outcome.report.absent {
        println!("{sentence}");
    }
    if let Some(largest) = largest {
        println!("the largest first argument is {largest}");
    }
    Ok(())
}
