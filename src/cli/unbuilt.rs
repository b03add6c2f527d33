//! Options that are known, and not built yet.

use super::failure::Failure;
use clap::{Arg, ArgAction, ArgMatches};

/// Of the commands that start a program.
pub(super) fn options() -> [Arg; 4] {
    let word = |name: &'static str| Arg::new(name).long(name).hide(true);
    [
        word("stack").num_args(0..=1).require_equals(true),
        word("sysroot").num_args(1),
        word("preload").action(ArgAction::SetTrue),
        word("inject").action(ArgAction::SetTrue),
    ]
}

/// Says which of them was given.
///
/// # Errors
/// That it is not built yet.
pub(super) fn check(args: &ArgMatches) -> Result<(), Failure> {
    let given =
        |name: &str| args.value_source(name) == Some(clap::parser::ValueSource::CommandLine);
    let names = [("gdb", "-g"), ("stack", "--stack"), ("sysroot", "--sysroot")];
    let names = names.into_iter().chain([("preload", "--preload"), ("inject", "--inject")]);
    match names.into_iter().find(|(name, _)| given(name)) {
        Some((_, shown)) => Err(Failure::not_built_yet(shown)),
        None => Ok(()),
    }
}
