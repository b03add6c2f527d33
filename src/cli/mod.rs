//! `xol`: the command. Its forms, fields and statuses are a contract.
//!
//! Arguments become plain values first (`args`: parsing does no work), then one room does each
//! command. Reports go where `-o` says; what xol has to say itself goes to stderr as `xol: …`.
//!
//! | room | holds |
//! |---|---|
//! | `args` | the table of commands and options, and the values they become |
//! | `help` | what `--help` says beyond the options |
//! | `failure` | exit statuses |
//! | `output` | where reports go, and what a closed pipe means |
//! | `objects` | finding the OBJECT a user names |
//! | `list`, `plan`, `doctor` | one command each |

mod args;
mod doctor;
mod failure;
mod help;
mod list;
mod objects;
mod output;
mod plan;
#[cfg(test)]
mod tests;

use args::Command;
use failure::Failure;
use std::process::ExitCode;

/// Runs the command line.
pub(crate) fn main() -> ExitCode {
    let command = match args::parse(std::env::args_os()) {
        Ok(command) => command,
        Err(outcome) => return outcome.exit(),
    };
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.exit(),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Count(_) => Err(Failure::not_built_yet("count")),
        Command::Trace(_) => Err(Failure::not_built_yet("trace")),
        Command::List(list) => list::run(&list),
        Command::Plan(plan) => plan::run(&plan),
        Command::Doctor(doctor) => doctor::run(&doctor),
    }
}
