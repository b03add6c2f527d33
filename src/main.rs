//! `xol`: the command.

fn main() {}
