//! `xol`: the command. Its forms, fields and statuses are a contract.
//!
//! Arguments become plain values first (`args`: parsing does no work), then one room does each
//! command. Reports go where `-o` says; what xol has to say itself goes to stderr as `xol: …`.
//!
//! | room | holds |
//! |---|---|
//! | `args` | the table of commands and options, and the values they become |
//! | `help` | what `--help` says beyond the options |
//! | `formats` | what `xol help output` says |
//! | `filters` | `--where`, checked against what is known of the probes |
//! | `failure` | exit statuses |
//! | `output` | where reports go, and what a closed pipe means |
//! | `manual` | man pages and completions |
//! | `look`, `pages` | how events are to be written, and into which files |
//! | `book` | where events go: lines, recordings, the newest of them |
//! | `show` | a recording told |
//! | `objects` | finding the OBJECT a user names |
//! | `whom` | processes as users name them |
//! | `ready` | telling a script that the probes are in |
//! | `list`, `plan`, `doctor` | one command each |
//! | `run` | `count` and `trace`, and what all that probe share |
//! | `asked` | the options of the commands that aggregate |
//! | `answers` | what makes sums of hits: rows by values |
//! | `latency`, `values`, `top` | `latency` and `count --summary`; `count --by`; `top` |
//! | `compare` | `compare`, and what the child does that it measures |
//! | `callers` | the names of return addresses |

mod answers;
mod args;
mod asked;
mod book;
mod callers;
#[cfg(feature = "measure")]
mod compare;
mod doctor;
mod failure;
mod filters;
mod formats;
mod help;
mod latency;
mod list;
mod look;
#[cfg_attr(not(feature = "manual"), path = "no_manual.rs")]
mod manual;
mod objects;
mod output;
mod pages;
mod plan;
mod ready;
mod run;
#[cfg_attr(not(feature = "show"), path = "no_show.rs")]
mod show;
#[cfg(test)]
mod tests;
mod top;
mod unbuilt;
mod values;
mod whom;

use args::Command;
use failure::Failure;
use std::process::ExitCode;

/// Runs the command line.
pub(crate) fn main() -> ExitCode {
    let command = match args::parse(std::env::args_os()) {
        Ok(command) => command,
        Err(outcome) => return outcome.exit(),
    };
    run(command).unwrap_or_else(Failure::exit)
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    let done = |()| ExitCode::SUCCESS;
    match command {
        Command::Run(run) => run::run(*run),
        Command::List(list) => list::run(&list).map(done),
        Command::Plan(plan) => plan::run(&plan).map(done),
        Command::Doctor(doctor) => doctor::run(&doctor).map(done),
        #[cfg(feature = "show")]
        Command::Show(args) => show::run(&args).map(done),
        #[cfg(feature = "measure")]
        Command::Compare(compare) => compare::run(&compare).map(done),
        #[cfg(feature = "measure")]
        Command::Loops(work, to) => compare::run_child(work, to).map(done),
    }
}
