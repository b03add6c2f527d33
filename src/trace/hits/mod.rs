//! hits

pub(in crate::trace) mod full;
pub(in crate::trace) mod hit;
pub(in crate::trace) mod in_jump;
pub(in crate::trace) mod signals;
pub(in crate::trace) mod stop;
