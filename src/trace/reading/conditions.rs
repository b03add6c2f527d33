//! `--where` and `--failed`, at the beginning of a call and at its end.

use crate::engine::RowId;
use crate::spec::{AtEntry, Seen, What};
use crate::trace::session::Session;
use crate::trace::telling::passing::seen;
use std::io;
use xol_targets::ptrace::{Tid, procfs};

impl Session<'_> {
    /// Whether a thread that is at a function's entry passes the filter, or what is left to be seen
    /// at the end of the call. What cannot be read passes none, and is missed.
    pub(in crate::trace) fn at_entry(&mut self, tid: Tid, row: RowId) -> io::Result<AtEntry> {
        let Some(condition) = self.teller.rows[row].condition.clone() else {
            return Ok(AtEntry::Known(Some(true)));
        };
        let args = self.read_args_up_to(tid, row, self.compared())?;
        let Some(pid) = self.target.thread(tid).map(|t| t.pid) else {
            return Ok(AtEntry::Known(Some(false)));
        };
        // Not what it was called a moment ago.
        let comm = if condition.has_comm() { procfs::comm(pid, tid) } else { None };
        let caller = if condition.has_caller() { self.caller(tid)? } else { None };
        let found = condition.at_entry(&|what| match what {
            What::Arg(n) => args.get(n).map_or(Seen::Unknown, seen),
            What::Pid => Seen::Bits(pid.0.cast_unsigned().into()),
            What::Tid => Seen::Bits(tid.0.cast_unsigned().into()),
            What::Caller => {
                caller.as_ref().map_or(Seen::Unknown, |name| Seen::Text(name.as_bytes()))
            }
            What::Comm => comm.as_ref().map_or(Seen::Unknown, |name| Seen::Text(name.as_bytes())),
            What::Ret | What::Duration => Seen::Unknown,
        });
        if found == AtEntry::Known(None) {
            self.teller.rows.missed(Some(row));
        }
        Ok(found)
    }

    /// Whether a thread that is at a place passes the filter.
    pub(in crate::trace) fn passes(&mut self, tid: Tid, row: RowId) -> io::Result<bool> {
        Ok(self.at_entry(tid, row)? == AtEntry::Known(Some(true)))
    }
}
