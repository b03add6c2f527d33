//! What can be stopped, read and written: the processes that xol puts probes into.
//!
//! A target knows threads, signals, memory and calls made on a program's behalf. It knows no
//! probe. All `unsafe`, all system calls and all `cfg(target_arch)` of xol are in this crate.

pub mod local;
#[cfg(target_os = "linux")]
pub mod loops;
#[cfg(target_os = "linux")]
pub mod native;
pub mod ptrace;
pub mod shared;
pub mod terminal;

/// The native architecture: the one place where the build decides.
pub use native::Native;
