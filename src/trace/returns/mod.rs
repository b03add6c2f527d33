//! returns

pub(in crate::trace) mod exits;
pub(in crate::trace) mod matching;
