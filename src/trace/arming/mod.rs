//! arming

pub(in crate::trace) mod padding;
pub(in crate::trace) mod protect;
pub(in crate::trace) mod steal;
pub(in crate::trace) mod syscalls;
pub(in crate::trace) mod traps;
