//! jumping

pub(in crate::trace) mod arm;
pub(in crate::trace) mod ends;
pub(in crate::trace) mod in_trampoline;
pub(in crate::trace) mod land;
pub(in crate::trace) mod patch;
pub(in crate::trace) mod rings;
pub(in crate::trace) mod toggle;
pub(in crate::trace) mod trampolines;
pub(in crate::trace) mod upgrade;
pub(in crate::trace) mod windows;
pub(in crate::trace) mod writable;
