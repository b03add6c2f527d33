//! `--where` and `--failed`, at the beginning of a call and at its end.

use crate::engine::RowId;
use crate::report::End;
use crate::spec::{
    AtEntry, Called, Condition, Fails, Place, PlaceKind, Seen, Signature, What, Where,
};
use crate::symbols::Object;
use crate::trace::session::Session;
use crate::trace::telling::arguments::Value;
use std::io;
use std::sync::Arc;
use xol_targets::ptrace::{Tid, procfs};

impl Session<'_> {
    /// Whether the filter is about how calls end: then returns are counted and told, not entries.
    pub(in crate::trace) fn is_late(&self) -> bool {
        self.options.filter.as_ref().is_some_and(Where::is_late)
    }

    /// What the filter says of a place, if it can be applied to it.
    pub(in crate::trace) fn bound(
        &self,
        probe: usize,
        place: &Place,
        signature: Option<&Signature>,
        object: &Object,
    ) -> Option<Arc<Condition>> {
        let spec = &self.options.probes[probe];
        // Arguments are known at a function's entry only.
        let entry = place.kind != PlaceKind::Insn;
        let signature = signature.filter(|_| entry);
        let ty = signature.and_then(|signature| signature.ret);
        let fails = || {
            let name = object.symbols().ok()?.get(place.symbol?).name;
            Some(Fails::of_libc(name, ty?).0)
        };
        let fails = if spec.signature.is_none() { fails() } else { None };
        let of = Called { signature, returns: spec.when.ret() && entry, fails };
        self.options.filter.as_ref()?.bind(&of).ok().map(Arc::new)
    }

    /// Whether a thread that is at a function's entry passes the filter, or what is left to be seen
    /// at the end of the call. What cannot be read passes none, and is missed.
    pub(in crate::trace) fn at_entry(&mut self, tid: Tid, row: RowId) -> io::Result<AtEntry> {
        let Some(condition) = self.rows[row].condition.clone() else {
            return Ok(AtEntry::Known(Some(true)));
        };
        let args = self.read_args_up_to(tid, row, self.compared())?;
        let Some(pid) = self.target.thread(tid).map(|t| t.pid) else {
            return Ok(AtEntry::Known(Some(false)));
        };
        // Not what it was called a moment ago.
        let comm = if condition.has_comm() { procfs::comm(pid, tid) } else { None };
        let found = condition.at_entry(&|what| match what {
            What::Arg(n) => args.get(n).map_or(Seen::Unknown, seen),
            What::Pid => Seen::Bits(pid.0.cast_unsigned().into()),
            What::Tid => Seen::Bits(tid.0.cast_unsigned().into()),
            What::Comm => comm.as_ref().map_or(Seen::Unknown, |name| Seen::Text(name.as_bytes())),
            What::Ret | What::Duration => Seen::Unknown,
        });
        if found == AtEntry::Known(None) {
            self.rows.missed(Some(row));
        }
        Ok(found)
    }

    /// Whether a thread that is at a place passes the filter.
    pub(in crate::trace) fn passes(&mut self, tid: Tid, row: RowId) -> io::Result<bool> {
        Ok(self.at_entry(tid, row)? == AtEntry::Known(Some(true)))
    }
}

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
        Value::Bits(bits) => Seen::Bits(*bits),
        Value::Bad(at) => Seen::Address(*at),
        Value::Texts(..) | Value::Unknown(_) => Seen::Unknown,
    }
}
