//! Without recordings read, as on a board.

/// No command.
pub(super) fn commands() -> [clap::Command; 0] {
    []
}
