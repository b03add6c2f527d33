//! The options of `compare`.

use super::super::args::{Command, flag, one, option, positive, switch};
use super::super::output::Report;
use super::Work;
use clap::{Arg, ArgMatches};
use std::path::PathBuf;

/// `compare`.
#[derive(Debug)]
pub(in crate::cli) struct Compare {
    /// Whose instructions are counted; libc, or xol itself where there is none.
    pub(in crate::cli) object: Option<PathBuf>,
    /// How often everything is measured.
    pub(in crate::cli) rounds: u64,
    /// Hits of one measurement that stops for each.
    pub(in crate::cli) hits: u64,
    /// `--svg`.
    pub(in crate::cli) svg: Option<PathBuf>,
    /// The clock counts instructions.
    pub(in crate::cli) icount: bool,
    pub(in crate::cli) report: Report,
}

/// For the table of commands. The hidden ones are for a guest, and for the child that is measured.
pub(in crate::cli) fn options() -> [Arg; 7] {
    let path = || clap::value_parser!(PathBuf);
    [
        option("object", "OBJECT", "Whose instructions are counted [default: libc]")
            .value_parser(path()),
        option("rounds", "N", "How often everything is measured [default: 7]")
            .value_parser(positive),
        option("hits", "N", "Hits of one measurement [default: 1000]").value_parser(positive),
        option("svg", "FILE", "Draw it").value_parser(path()),
        switch("icount").hide(true),
        option("loops", "WORK", "").hide(true).value_parser(Work::parse),
        option("answer", "FD", "").hide(true).value_parser(clap::value_parser!(i32)),
    ]
}

/// What the command line asks for.
pub(in crate::cli) fn read(args: &ArgMatches, report: Report) -> Command {
    if let Some(work) = one(args, "loops") {
        return Command::Loops(work, one(args, "answer").unwrap_or(1));
    }
    Command::Compare(Compare {
        object: one(args, "object"),
        rounds: one(args, "rounds").unwrap_or(7),
        hits: one(args, "hits").unwrap_or(1000),
        svg: one(args, "svg"),
        icount: flag(args, "icount"),
        report,
    })
}
