//! `differential --arch ARCH [--seed N] [--floor N] [--states N | --seconds N | --case N]`
//!
//! With `--floor`, every row must have so many states each way: `--states` goes on until it has,
//! `--seconds` fails where it has not.

use std::process::ExitCode;
use std::time::Duration;
use xol_arch::Arch;
use xol_differential::Hardware;
use xol_differential::cpu::Cpu;
use xol_differential::run::{Until, replay, run};

const USAGE: &str =
    "usage: differential --arch ARCH [--seed N] [--floor N] [--states N | --seconds N | --case N]";

struct Options {
    arch: String,
    seed: u64,
    until: Until,
    floor: u64,
    case: Option<u64>,
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let outcome = match options.arch.as_str() {
        name if name == <Hardware as Cpu>::Arch::NAME => go(&mut Hardware::open(), &options),
        other => Err(format!("{other} cannot be run on this machine")),
    };
    match outcome {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn go<C: Cpu>(cpu: &mut C, options: &Options) -> Result<String, String> {
    match options.case {
        Some(number) => replay(cpu, options.seed, number).map_err(|failure| failure.to_string()),
        None => match run(cpu, options.seed, options.until) {
            Ok(counts) => match counts.below(options.floor, cpu.rows()) {
                below if below.is_empty() || options.floor == 0 => Ok(counts.to_string()),
                below => Err(format!("{counts}\nbelow {}: {below:?}", options.floor)),
            },
            Err(failure) => Err(failure.to_string()),
        },
    }
}

fn options() -> Option<Options> {
    let mut options = Options {
        arch: String::new(),
        seed: 1,
        until: Until::States(1_000_000),
        floor: 0,
        case: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next()?;
        let number = value.parse();
        match word.as_str() {
            "--arch" => options.arch = value,
            "--seed" => options.seed = number.ok()?,
            "--states" => options.until = Until::States(number.ok()?),
            "--seconds" => options.until = Until::Time(Duration::from_secs(number.ok()?)),
            "--floor" => options.floor = number.ok()?,
            "--case" => options.case = Some(number.ok()?),
            _ => return None,
        }
    }
    if let (Until::States(states), 1..) = (options.until, options.floor) {
        options.until = Until::Floor { states, floor: options.floor };
    }
    (!options.arch.is_empty()).then_some(options)
}
