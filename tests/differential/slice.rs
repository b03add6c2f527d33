//! The bounded run of the test command: a program of its own, because the signals it takes over
//! are the whole process's. `ci/arm64 run` does the same for arm64 under an emulator.

use std::process::ExitCode;
use std::time::Duration;
use xol_differential::Hardware;
use xol_differential::cpu::Cpu;
use xol_differential::run::{Until, run};

fn main() -> ExitCode {
    let mut hardware = Hardware::open();
    match run(&mut hardware, 1, Until::Time(Duration::from_secs(20))) {
        Ok(counts) => {
            println!("{counts}");
            let missing = counts.below(1, hardware.rows());
            if missing.is_empty() {
                return ExitCode::SUCCESS;
            }
            eprintln!("no case of: {missing:?}");
            ExitCode::FAILURE
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}
