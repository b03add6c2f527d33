//! This machine's architecture: register sets, system-call numbers and signal frames as the
//! kernel lays them out. The only `cfg(target_arch)` of the project is here.

#[cfg(target_arch = "aarch64")]
mod arm64;
mod functions;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub use arm64::*;
#[cfg(target_arch = "x86_64")]
pub use x86_64::*;

/// A thread that is to run a handler, and everything its signal frame says.
#[derive(Debug)]
pub struct HandlerEntry<'a> {
    /// Its registers now.
    pub regs: &'a Regs,
    /// Its extended state, as `get_fpstate` gives it.
    pub fpstate: &'a [u8],
    /// Its mask now: what the handler's return restores.
    pub mask: u64,
    /// Its alternate stack as stack_t.
    pub stack: [u64; 3],
    /// Where the handler's stack begins, if not below the stack pointer.
    pub stack_top: Option<xol_arch::Addr>,
    /// siginfo_t.
    pub info: &'a [u8; 128],
    /// Where to.
    pub handler: xol_arch::Addr,
    /// Where it returns to.
    pub restorer: xol_arch::Addr,
}

/// mprotect(2).
pub const SYS_MPROTECT: i64 = libc::SYS_mprotect;
/// pkey_mprotect(2).
pub const SYS_PKEY_MPROTECT: i64 = libc::SYS_pkey_mprotect;
/// mremap(2).
pub const SYS_MREMAP: i64 = libc::SYS_mremap;
/// MREMAP_FIXED.
pub const MREMAP_FIXED: u64 = libc::MREMAP_FIXED as u64;

/// Whether a call makes a process or thread: clone(2), clone3(2), vfork(2), fork(2).
#[must_use]
pub fn makes_processes(number: i64) -> bool {
    matches!(number, libc::SYS_clone | libc::SYS_clone3) || is_vfork(number) || is_fork(number)
}
