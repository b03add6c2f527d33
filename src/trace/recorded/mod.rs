//! recorded

pub(in crate::trace) mod behind;
pub(in crate::trace) mod ring;
pub(in crate::trace) mod sweep;
