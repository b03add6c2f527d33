//! This machine's architecture: register sets, system-call numbers and signal frames as the
//! kernel lays them out. The only `cfg(target_arch)` of the project is here.

#[cfg(target_arch = "aarch64")]
mod arm64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub use arm64::*;
#[cfg(target_arch = "x86_64")]
pub use x86_64::*;
