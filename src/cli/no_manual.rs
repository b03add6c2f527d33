//! Without man pages and completions, as on a board.

use super::failure::Failure;
use clap::{ArgMatches, Command};

/// No commands.
pub(super) fn commands() -> Vec<Command> {
    Vec::new()
}

/// Every command is another one's.
pub(super) fn run(_: &str, _: &ArgMatches, _: fn() -> Command) -> Option<Result<String, Failure>> {
    None
}
