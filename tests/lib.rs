//! End-to-end tests of xol: each compares a probed run with something independent.
//!
//! - [`killing`]: the death of a tracer.
//! - [`target`]: a program to attach to.
//! - [`returns`]: the same for returns and their values.
//! - [`run`]: one command, run to its end under a limit, and everything that is known about it.
//! - [`events`]: the lines of a trace.
//! - [`xol`]: the command under test.
//! - [`commands`]: those of every system that are probed.
//! - [`programs`]: the small programs that are probed, built by the compiler at hand.
//! - [`mod@bench`]: what measurements share.
//! - [`cost`]: what a hit costs.
//! - [`compare`]: xol and the kernel, site by site.
//! - [`elf`]: an object's functions and instruction boundaries, as binutils sees them.
//! - [`uprobes`]: the yardstick, the kernel's own counts.

pub mod bench;
pub mod commands;
pub mod compare;
pub mod cost;
pub mod elf;
pub mod events;
pub mod killing;
pub mod programs;
pub mod returns;
pub mod run;
pub mod target;
pub mod uprobes;
pub mod xol;
