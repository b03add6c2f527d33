//! rows

pub(in crate::trace) mod asked;
pub(in crate::trace) mod consumer;
pub(in crate::trace) mod fails;
pub(in crate::trace) mod table;
