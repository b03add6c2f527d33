//! The clock that trampolines read, and the pointer that names a thread in their records.
//!
//! # Safety
//! Each `unsafe` block is one instruction that any program may run and that touches no memory.
#![allow(unsafe_code, reason = "RDTSC")]

use super::Regs;
use crate::ptrace::Tid;
use crate::ptrace::sys;
use std::arch::x86_64::{_mm_lfence, _rdtsc};

/// Whether recorders may take a slot by instructions that a single step leads through: always.
pub const HAS_ATOMICS: bool = true;

/// TSC: after everything before, and before everything after (Intel SDM 2B, RDTSC).
#[must_use]
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has SSE2.
    unsafe { _mm_lfence() };
    // SAFETY: allowed to us; a program that forbids itself RDTSC (PR_SET_TSC) does not run this.
    let now = unsafe { _rdtsc() };
    // SAFETY: as above.
    unsafe { _mm_lfence() };
    now
}

/// What the clock is called.
pub const TICKS: &str = "TSC";

/// What /proc/cpuinfo says of a processor whose clock never stops and never changes its pace.
pub const STEADY: &[&str] = &["constant_tsc", "nonstop_tsc"];

/// The thread pointer of a stopped thread: the base of FS.
///
/// # Errors
/// ESRCH.
pub fn thread_pointer(tid: Tid) -> std::io::Result<u64> {
    let regs: Regs = sys::get_regs(tid)?;
    Ok(regs.fs_base)
}
