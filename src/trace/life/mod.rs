//! Processes and threads from their beginning to their end, or to ours.
//!
//! Deals with each event, by calling the rooms below; follows forks and execs; leaves.
//!
//! | file | what is in it |
//! |---|---|
//! | `deal` | one event |
//! | `follow` | new processes, threads and programs |
//! | `vforks` | threads that wait for a child |
//! | `leftover` | what an xol that was killed has left |
//! | `leave` | everything left as it was found |
//! | `outside` | which threads are not in xol's code any more |

pub(in crate::trace) mod deal;
pub(in crate::trace) mod follow;
pub(in crate::trace) mod leave;
pub(in crate::trace) mod leftover;
pub(in crate::trace) mod outside;
pub(in crate::trace) mod vforks;

use crate::trace::life::leave::Leaving;
use std::collections::BTreeMap;
use xol_arch::Addr;
use xol_targets::ptrace::Pid;

/// What is known of processes that come and go.
#[derive(Debug, Default)]
pub(in crate::trace) struct Life {
    /// Forked children that are cleaned before they run: what their text had.
    pub(in crate::trace) to_clean: BTreeMap<Pid, Vec<Addr>>,
    /// How far leaving has come.
    pub(in crate::trace) leaving: Leaving,
}
