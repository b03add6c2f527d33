//! The engine: what a probe is.
#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(feature = "std")]
pub mod spec;
#[cfg(feature = "std")]
pub mod symbols;
