//! A filter for events that are told again: those of a recording.

use super::{Moment, Probed, Record};
use crate::spec::{AtEntry, Called, Condition, Fails, Seen, Spec, What, Where};
use crate::trace::{lasted, passes_at_end, seen};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// A call that has passed so far.
#[derive(Debug)]
struct Open {
    /// What is left to be seen at its end: then that it has begun was not told.
    rest: Option<Arc<Condition>>,
    ts_ns: u64,
    pid: i32,
    tid: i32,
}

/// Lets those events through that pass a filter.
#[derive(Debug)]
pub struct Again {
    filter: Where,
    probes: Vec<Spec>,
    bound: FxHashMap<u32, Option<Condition>>,
    /// Calls that have begun and not ended, by their numbers.
    open: FxHashMap<u64, Open>,
}

impl Again {
    /// A filter for events of these probes.
    #[must_use]
    pub fn new(filter: Where, probes: Vec<Spec>) -> Again {
        Again { filter, probes, bound: FxHashMap::default(), open: FxHashMap::default() }
    }

    /// What the filter says of a row; `None` where it cannot be applied: no event of it passes.
    fn bind(&self, probed: &Probed) -> Option<Condition> {
        let spec = self.probes.get(probed.probe)?;
        let entry = probed.is_return || probed.offset == 0;
        let signature = probed.signature.as_ref();
        let ty = signature.and_then(|signature| signature.ret);
        let name = probed.mangled.as_deref().unwrap_or(&probed.symbol);
        let fails = ty.filter(|_| spec.signature.is_none()).map(|ty| Fails::of_libc(name, ty).0);
        let of = Called { signature, returns: spec.when.ret() && entry, fails };
        self.filter.bind(&of).ok()
    }

    /// Tells of an event if it passes; of the end of a call, that it has begun too, where that
    /// could not be told before.
    pub fn event(
        &mut self,
        record: &Record<'_>,
        probed: &Probed,
        tell: &mut dyn FnMut(&Record<'_>),
    ) {
        if !self.bound.contains_key(&record.row) {
            let condition = self.bind(probed);
            self.bound.insert(record.row, condition);
        }
        let Some(Some(condition)) = self.bound.get(&record.row) else { return };
        let call = match record.moment {
            Moment::Ends(call, end) => {
                let Some(open) = self.open.remove(&call) else { return };
                let so_far = record.ts_ns.saturating_sub(open.ts_ns);
                let duration = lasted(end, record.duration_ns, so_far, record.missed);
                if passes_at_end(open.rest.as_ref(), record.ret, duration) != Some(true) {
                    return;
                }
                if open.rest.is_some() {
                    tell(&Record {
                        moment: Moment::Begins(call),
                        ts_ns: open.ts_ns,
                        pid: open.pid,
                        tid: open.tid,
                        ret: None,
                        errno: None,
                        duration_ns: None,
                        ..*record
                    });
                }
                return tell(record);
            }
            Moment::Begins(call) => Some(call),
            Moment::Hit => None,
        };
        let found = condition.at_entry(&|what| match what {
            What::Arg(n) => record.args.get(n).map_or(Seen::Unknown, seen),
            What::Pid => Seen::Bits(record.pid.cast_unsigned().into()),
            What::Tid => Seen::Bits(record.tid.cast_unsigned().into()),
            // Where calls come from is not recorded.
            What::Caller => Seen::Unknown,
            What::Comm => record.comm.map_or(Seen::Unknown, |name| Seen::Text(name.as_bytes())),
            What::Ret | What::Duration => Seen::Unknown,
        });
        let rest = match found {
            AtEntry::Known(Some(true)) => None,
            AtEntry::Open(rest) => Some(Arc::new(rest)),
            AtEntry::Known(_) => return,
        };
        let is_open = rest.is_some();
        if let Some(call) = call {
            let Record { ts_ns, pid, tid, .. } = *record;
            self.open.insert(call, Open { rest, ts_ns, pid, tid });
        }
        if !is_open {
            tell(record);
        }
    }
}
