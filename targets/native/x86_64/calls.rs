//! Calls as the ABI has them: return addresses. And frames of signal handlers.

use super::{FRAME_PC, SYSCALL_LEN};
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

/// At the rt_sigreturn of a signal handler, whose frame stands at the stack pointer but for the return
/// address: the PC and stack pointer that it leads to.
#[must_use]
pub fn sigreturn(machine: &mut Stopped<'_>) -> Option<(Addr, Addr)> {
    let regs = machine.seen();
    let frame = regs.rsp.wrapping_sub(8);
    let returns = regs.orig_rax as i64 == libc::SYS_rt_sigreturn;
    returns.then(|| saved_in(machine, Addr(frame)))?
}

/// At the first instruction of a signal handler: the PC and stack pointer it will return to.
#[must_use]
pub fn saved_pc(machine: &mut Stopped<'_>) -> Option<(Addr, Addr)> {
    let frame = machine.seen().rsp;
    saved_in(machine, Addr(frame))
}

/// The PC and stack pointer in a signal frame.
fn saved_in(machine: &mut Stopped<'_>, frame: Addr) -> Option<(Addr, Addr)> {
    let (mut pc, mut sp) = ([0; 8], [0; 8]);
    machine.read(frame.add(FRAME_PC), &mut pc).ok()?;
    machine.read(frame.add(8 + 40 + 15 * 8), &mut sp).ok()?;
    Some((Addr(u64::from_ne_bytes(pc)), Addr(u64::from_ne_bytes(sp))))
}

/// Changes that PC to `to`, for a call whose instruction is at `site`.
pub fn set_saved_pc(machine: &mut Stopped<'_>, to: Addr, site: Addr) {
    let frame = machine.seen().rsp;
    // The kernel has just written the frame there.
    let _ = machine.write(Addr(frame + FRAME_PC), &to.0.to_ne_bytes());
    // SYSCALL left the address behind it in RCX.
    let _ = machine.write(Addr(frame + 8 + 40 + 14 * 8), &site.add(SYSCALL_LEN).0.to_ne_bytes());
}

/// The number of the call that a thread on the instruction is about to make.
#[must_use]
pub fn next_call(r: &super::Regs) -> i64 {
    r.rax as i64
}
