//! Calls as the ABI has them: return addresses.

use crate::ptrace::Stopped;
use xol_arch::Addr;

/// At a function's first instruction: where it returns to, and the stack pointer behind the
/// return (AAPCS64).
#[must_use]
pub fn caller(machine: &mut Stopped<'_>) -> Option<(Addr, Addr)> {
    let regs = machine.seen();
    Some(called(regs.sp, regs.x[30]))
}

/// The same of a thread with this stack pointer and link register.
#[must_use]
pub const fn called(sp: u64, link: u64) -> (Addr, Addr) {
    (Addr(link), Addr(sp))
}

/// As [`called`], at a RET.
#[must_use]
pub const fn returned(sp: u64, link: u64) -> (Addr, Addr) {
    (Addr(link & ((1 << 48) - 1)), Addr(sp))
}

/// At a RET or a tail call: where it returns to, and the stack pointer behind the return. RETAA
/// finds it signed: the signature is in the bits above those of a user's address.
#[must_use]
pub fn returning(machine: &mut Stopped<'_>) -> Option<(Addr, Addr)> {
    let regs = machine.seen();
    Some(returned(regs.sp, regs.x[30]))
}

/// Where the return address of a call is kept: in a register, until the function says otherwise.
#[must_use]
pub fn return_slot(_: Addr) -> Option<Addr> {
    None
}

/// The number of the call that a thread on the instruction is about to make.
#[must_use]
pub fn next_call(r: &super::Regs) -> i64 {
    r.x[8] as i64
}
