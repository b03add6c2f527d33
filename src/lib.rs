//! Probes for running arm64 and x86-64 Linux programs, from user space and without single-step.
//!
//! This crate is the engine and the command. The engine alone (`--no-default-features`) is
//! `no_std` and neither allocates nor panics on the path of a hit.
//!
//! # From a program
//!
//! A run is described by `trace::Options` and made by `trace::run`, which hands each hit to a closure
//! (or to any other `trace::Sink`) and returns the counts:
//!
//! ```no_run
//! use xol::trace::{self, HitEvent, Options};
//!
//! let mut options = Options::launch(["ls", "-l"])?.probe("malloc(size: u64)")?;
//! options.events = true;
//! let outcome = trace::run(&options, &mut |event: &HitEvent<'_>| {
//!     println!("{} in thread {}: {:?}", event.row, event.tid, event.args);
//! })?;
//! for counted in outcome.report.rows {
//!     println!("{} hits of {}", counted.hits, counted.row);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/count.rs` is a whole program. Errors are displayed as the command shows them.
//!
//! # Words
//!
//! | word | what it means here |
//! |---|---|
//! | PROBE | what a user asks for, in the words of the command line; it may fit many places |
//! | site | one address in one space where a trap or a jump of xol is, or is to be |
//! | trap | the breakpoint instruction at a site: INT3, BRK |
//! | displaced instruction | the program's own instruction at a site, which the trap replaces |
//! | plan | what `arch` says of an instruction: it may be copied, must be simulated, or is rejected |
//! | strategy | how hits of a site are taken: `boost`, `xol`, `step`, `simulate` or `jump` |
//! | slot | 64 bytes near the program's code with the copy of a displaced instruction |
//! | space | one address space, which several processes may share (vfork, CLONE_VM) |
//! | jump | a jump at a site instead of a trap; it leads to a trampoline |
//! | window | the instructions that a jump replaces, from the site to the last one it overwrites |
//! | trampoline | recorders, copies of the window's instructions, and the jump back |
//! | landing place | five bytes in reach of a jump that can go to few addresses; they lead to its trampoline |
//! | shadow | the last byte of a jump's displacement, where a thread may come that was about to execute an instruction of the window |
//! | recorder | the part of a trampoline that counts a hit or writes a record |
//! | record, ring | a hit as a recorder writes it: time, thread, values; the shared memory that it is written to |
//! | consumer | whom a hit of a site is for: a row, the end of a call, or xol itself |
//! | row | one line of a report: a place, with its hits |
//! | event | one hit, or the beginning or end of a call, as it is told to the sink |
//! | frame | a call that has begun and not ended yet |
//! | exit | an instruction by which a function is left: a RET, or a jump that may lead out of it |
//! | head | the first page that xol maps in a space: a stub for calls, and the handler of SIGTRAP |
//! | orphan | a site whose tracer is dead; the orphan table says what the handler does with it |
//! | stub | the instructions with which a thread makes a call for xol |
//! | visit | xol attaching to a program that runs, and leaving it again |
//! | leftover | what an xol of which both processes were killed has left in a program |
#![cfg_attr(not(feature = "compare"), no_std)]
#![forbid(unsafe_code)]

#[cfg(feature = "compare")]
pub mod compare;
pub mod engine;
#[cfg(feature = "compare")]
pub mod json;
#[cfg(feature = "std")]
pub mod landing;
#[cfg(feature = "std")]
pub mod record;
#[cfg(feature = "std")]
pub mod report;
#[cfg(all(test, feature = "arm64"))]
mod slot_tests;
#[cfg(feature = "std")]
pub mod spec;
#[cfg(feature = "std")]
pub mod symbols;
#[cfg(feature = "std")]
pub mod trace;
#[cfg(feature = "std")]
mod why_not_jump;

#[cfg(feature = "std")]
pub use spec::{Spec, SpecError};
#[cfg(feature = "std")]
pub use why_not_jump::WhyNotJump;
