//! Signal numbers that are the same on all architectures of Linux.

/// SIGKILL
pub(super) const KILL: i32 = 9;

/// SIGCONT, the first of those for job control: SIGSTOP, SIGTSTP, SIGTTIN and SIGTTOU follow.
pub(super) const CONT: i32 = 18;

/// SIGTTOU
pub(super) const TTOU: i32 = 22;

/// SIGTRAP
pub(super) const TRAP: i32 = 5;

/// SIGILL
pub(super) const ILL: i32 = 4;

/// ILL_ILLOPC
pub(super) const ILL_ILLOPC: i32 = 1;

/// SIGSTOP
pub(super) const STOP: i32 = 19;

/// SIGTSTP, SIGTTIN, SIGTTOU
pub(super) const TERMINAL_STOPS: [i32; 3] = [20, 21, 22];

/// SIGBUS
pub(super) const BUS: i32 = 7;

/// SIGFPE
pub(super) const FPE: i32 = 8;

/// SIGSEGV
pub(super) const SEGV: i32 = 11;

/// SEGV_MAPERR
pub(super) const SEGV_MAPERR: i32 = 1;
