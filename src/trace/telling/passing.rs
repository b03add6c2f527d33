//! Whether a call passes the filter by how it ended.

use crate::report::End;
use crate::spec::{Condition, Seen, What};
use crate::trace::telling::value::Value;
use std::sync::Arc;

/// Whether a call passes what was left of the filter when it began. `None` where that depends on
/// what is not known of its end.
pub(crate) fn passes_at_end(
    rest: Option<&Arc<Condition>>,
    ret: Option<&Value>,
    duration: Seen<'_>,
) -> Option<bool> {
    let Some(rest) = rest else { return Some(true) };
    rest.holds(&|what| match what {
        What::Ret => ret.map_or(Seen::Unknown, seen),
        What::Duration => duration,
        _ => Seen::Unknown,
    })
}

/// How long a call has lasted that has ended without a return, or has not ended.
pub(crate) fn lasted(end: End, known: Option<u64>, so_far: u64, missed: bool) -> Seen<'static> {
    match (known, end) {
        (Some(ns), _) => Seen::Bits(ns),
        // It goes on.
        (None, End::Unfinished) if !missed => Seen::AtLeast(so_far),
        _ => Seen::Unknown,
    }
}

pub(crate) fn seen(value: &Value) -> Seen<'_> {
    match value {
        Value::Text(text, _) => Seen::Text(text),
        Value::Bits(bits) | Value::File(bits, _) => Seen::Bits(*bits),
        Value::Bad(at) => Seen::Address(*at),
        Value::Texts(..) | Value::Unknown(_) => Seen::Unknown,
    }
}
