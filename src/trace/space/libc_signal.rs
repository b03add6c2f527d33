//! Signal numbers that are the same on all architectures of Linux.

/// SIGKILL
pub(in crate::trace) const KILL: i32 = 9;

/// SIGCONT, the first of those for job control: SIGSTOP, SIGTSTP, SIGTTIN and SIGTTOU follow.
pub(in crate::trace) const CONT: i32 = 18;

/// SIGTTOU
pub(in crate::trace) const TTOU: i32 = 22;

/// SIGTRAP
pub(in crate::trace) const TRAP: i32 = 5;

/// SIGILL
pub(in crate::trace) const ILL: i32 = 4;

/// ILL_ILLOPC
pub(in crate::trace) const ILL_ILLOPC: i32 = 1;

/// SIGSTOP
pub(in crate::trace) const STOP: i32 = 19;

/// SIGTSTP, SIGTTIN, SIGTTOU
pub(in crate::trace) const TERMINAL_STOPS: [i32; 3] = [20, 21, 22];

/// SIGBUS
pub(in crate::trace) const BUS: i32 = 7;

/// SIGFPE
pub(in crate::trace) const FPE: i32 = 8;

/// SIGSEGV
pub(in crate::trace) const SEGV: i32 = 11;

/// SEGV_MAPERR
pub(in crate::trace) const SEGV_MAPERR: i32 = 1;
