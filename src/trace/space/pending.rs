//! Traps and faults that a thread has taken and has not stopped for yet.

use crate::trace::space::libc_signal;
use xol_targets::ptrace::Tid;

/// Whether a thread has trapped and not stopped for it yet.
pub(in crate::trace) fn trap_on_its_way(tid: Tid) -> bool {
    is_pending(tid, &[libc_signal::TRAP])
}

/// Whether a thread has faulted and not stopped for it yet: an interrupt comes first. The signal is about
/// where the thread is.
pub(in crate::trace) fn has_faulted(tid: Tid) -> bool {
    use libc_signal::{BUS, FPE, ILL, SEGV};
    is_pending(tid, &[ILL, BUS, FPE, SEGV])
}

/// Whether a thread has trapped or faulted and not stopped for it yet.
pub(in crate::trace) fn fault_on_its_way(tid: Tid) -> bool {
    use libc_signal::{BUS, FPE, ILL, SEGV, TRAP};
    is_pending(tid, &[ILL, TRAP, BUS, FPE, SEGV])
}

/// Whether one of these signals is on its way to a thread, of its own doing perhaps: what others send
/// to its process is not meant.
fn is_pending(tid: Tid, signals: &[i32]) -> bool {
    let set = signals.iter().fold(0u64, |set, signal| set | 1 << (signal - 1));
    let status = xol_targets::ptrace::procfs::status(tid);
    status.is_ok_and(|s| s.pending_alone & !s.blocked & set != 0)
}
