//! life

pub(in crate::trace) mod deal;
pub(in crate::trace) mod follow;
pub(in crate::trace) mod leave;
pub(in crate::trace) mod leftover;
pub(in crate::trace) mod outside;
pub(in crate::trace) mod vforks;
