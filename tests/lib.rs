//! End-to-end tests of xol: each compares a probed run with something independent.
//!
//! - [`run`]: one command, run to its end under a limit, and everything that is known about it.
//! - [`xol`]: the command under test.
//! - [`programs`]: the small programs that are probed, built by the compiler at hand.
//! - [`elf`]: an object's functions and instruction boundaries, as binutils sees them.
//! - [`uprobes`]: the yardstick, the kernel's own counts.

pub mod elf;
pub mod programs;
pub mod run;
pub mod uprobes;
pub mod xol;
