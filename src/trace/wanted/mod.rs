//! wanted

pub(in crate::trace) mod ahead;
pub(in crate::trace) mod probes;
pub(in crate::trace) mod resolvers;
pub(in crate::trace) mod unfound;
pub(in crate::trace) mod want;
