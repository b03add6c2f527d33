//! Calls as the ABI has them: return addresses.

use crate::ptrace::Stopped;
use xol_arch::{Addr, Memory as _};

/// At a function's first instruction: where it returns to, and the stack pointer behind the
/// return (System V ABI, 3.2.2).
#[must_use]
pub fn caller(machine: &mut Stopped<'_>) -> Option<(Addr, Addr)> {
    let sp = machine.seen().rsp;
    let mut word = [0; 8];
    machine.read(Addr(sp), &mut word).ok()?;
    Some(called(sp, u64::from_ne_bytes(word)))
}

/// The same of a thread with this stack pointer and this word there.
#[must_use]
pub const fn called(sp: u64, word: u64) -> (Addr, Addr) {
    (Addr(word), Addr(sp.wrapping_add(8)))
}

/// As [`called`], at a RET.
#[must_use]
pub const fn returned(sp: u64, word: u64) -> (Addr, Addr) {
    called(sp, word)
}

/// At a RET or a tail call: where it returns to, and the stack pointer behind the return.
#[must_use]
pub fn returning(machine: &mut Stopped<'_>) -> Option<(Addr, Addr)> {
    caller(machine)
}

/// Where the return address of a call is kept whose stack pointer behind the return is `sp`.
#[must_use]
pub fn return_slot(sp: Addr) -> Option<Addr> {
    Some(sp.offset(-8))
}
