//! space

pub(in crate::trace) mod borrow;
pub(in crate::trace) mod exits;
pub(in crate::trace) mod halt;
pub(in crate::trace) mod hot;
pub(in crate::trace) mod jumps;
pub(in crate::trace) mod later;
pub(in crate::trace) mod libc_signal;
pub(in crate::trace) mod objects;
pub(in crate::trace) mod opened;
pub(in crate::trace) mod pending;
pub(in crate::trace) mod sites;
pub(in crate::trace) mod slots;
pub(in crate::trace) mod state;
pub(in crate::trace) mod tally;
pub(in crate::trace) mod text;
