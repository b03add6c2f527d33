//! telling

pub(in crate::trace) mod arguments;
pub(in crate::trace) mod calls;
pub(in crate::trace) mod clock;
pub(in crate::trace) mod comms;
pub(in crate::trace) mod conditions;
pub(in crate::trace) mod dead;
pub(in crate::trace) mod errno;
pub(in crate::trace) mod events;
pub(in crate::trace) mod frames;
pub(in crate::trace) mod names;
pub(in crate::trace) mod notes;
pub(in crate::trace) mod waits;
