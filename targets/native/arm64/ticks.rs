//! The clock that trampolines read, and the pointer that names a thread in their records.
//!
//! # Safety
//! Each `unsafe` block is one instruction that any program may run and that touches no memory.
#![allow(unsafe_code, reason = "CNTVCT_EL0")]

use crate::ptrace::Tid;
use crate::ptrace::sys;

/// Whether recorders may take a slot by instructions that a single step leads through: only where
/// the processor has more than load- and store-exclusive.
pub const HAS_ATOMICS: bool = false;

/// CNTVCT_EL0: after everything before, and before everything after.
#[must_use]
pub fn ticks() -> u64 {
    let now: u64;
    // SAFETY: the kernel lets programs read it; ISB has no operand.
    unsafe {
        std::arch::asm!("isb", "mrs {now}, cntvct_el0", "isb", now = out(reg) now, options(nostack));
    }
    now
}

/// What the clock is called.
pub const TICKS: &str = "CNTVCT";

/// Nothing: the architecture has the counter go on at one pace (Arm ARM, D12.1).
pub const STEADY: &[&str] = &[];

/// The thread pointer of a stopped thread: TPIDR_EL0.
///
/// # Errors
/// ESRCH.
pub fn thread_pointer(tid: Tid) -> std::io::Result<u64> {
    const NT_ARM_TLS: i32 = 0x401;
    // With SME, TPIDR2_EL0 comes behind it.
    let mut words = [0; 16];
    sys::get_regset(tid, NT_ARM_TLS, &mut words)?;
    let [a, b, c, d, e, f, g, h, ..] = words;
    Ok(u64::from_ne_bytes([a, b, c, d, e, f, g, h]))
}
