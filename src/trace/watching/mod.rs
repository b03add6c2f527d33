//! watching

pub(in crate::trace) mod action;
pub(in crate::trace) mod changing;
pub(in crate::trace) mod own_sites;
pub(in crate::trace) mod refresh;
pub(in crate::trace) mod tracers;
