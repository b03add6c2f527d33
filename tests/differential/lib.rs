//! The differential executor: random instructions from random states, run by the hardware in
//! place and then in every way this project displaces them; everything they leave is compared.
//!
//! | room | holds |
//! |---|---|
//! | [`cpu`] | what an architecture must bring: [`cpu::Cpu`], and what a run leaves |
//! | [`calls`] | code made here, called as functions, and a handler that moves what traps |
//! | [`check`] | the ways to run an instruction, and the comparison; written once |
//! | `jump` | the same for trampolines: what they record, and every place in them |
//! | `window` | the same for windows of several instructions |
//! | [`jumping`] | real jumps in this process, with threads and a reader |
//! | [`run`] | many cases: counts by plan row, shrinking, the replay command |
//! | `x86_64`, `arm64` | the processor at hand, in-process: signal frames in and out |
//!
//! Nothing is emulated and nothing is stepped by a debugger: a case enters the tested code by
//! `rt_sigreturn` with all registers chosen, and leaves it by the trap or fault it runs into,
//! whose signal frame holds all registers again. That costs microseconds, not milliseconds.
//!
//! A case is a pair of numbers, the seed and the case's own; both generators start from them, so
//! that one line repeats it.

#[cfg(target_arch = "aarch64")]
pub mod arm64;
pub mod calls;
pub mod check;
pub mod cpu;
mod jump;
pub mod jumping;
pub mod rng;
pub mod run;
mod window;
#[cfg(target_arch = "x86_64")]
pub mod x86_64;

#[cfg(target_arch = "aarch64")]
pub use arm64::Hardware;
#[cfg(target_arch = "x86_64")]
pub use x86_64::Hardware;
