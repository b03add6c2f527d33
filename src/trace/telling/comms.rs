//! The names of threads, as they are in /proc: looked up when an event is told.

use crate::trace::telling::names::Who;
use rustc_hash::FxHashMap;
use xol_targets::ptrace::{Tid, procfs};

/// How long a name is taken for what it was, in ns: threads name themselves when they have begun.
const FRESH: u64 = 20_000_000;

/// What threads were called when they were last looked at.
#[derive(Debug, Default)]
pub(in crate::trace) struct Comms {
    names: FxHashMap<Tid, (u64, String)>,
}

impl Comms {
    /// The name of a thread that has done something at `ts_ns`; of one that is gone, the last that
    /// was seen.
    pub(in crate::trace) fn of(&mut self, who: Who, ts_ns: u64) -> Option<&str> {
        let known = self.names.entry(who.1).or_default();
        if known.0 == 0 || ts_ns.saturating_sub(known.0) > FRESH {
            if let Some(name) = procfs::comm(who.0, who.1) {
                known.1 = name;
            }
            known.0 = ts_ns.max(1);
        }
        Some(known.1.as_str()).filter(|name| !name.is_empty())
    }

    /// The thread is gone; another may get its number.
    pub(in crate::trace) fn forget(&mut self, tid: Tid) {
        self.names.remove(&tid);
    }
}
