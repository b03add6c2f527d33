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
