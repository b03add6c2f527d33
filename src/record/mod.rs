//! Events as they are, before they are formatted: in a file for later, or the newest of them in memory.
//!
//! A recording can be read on any machine: numbers are little-endian, and nothing depends on where it was
//! made. It is made of blocks, each with its length and checksum, and can be read up to the last whole one.
//! The first block tells the run, the last one how it ended; what rows are comes before their first event.
//! What is not needed to tell events as lines, but may be to look further, is there too: each object's
//! build-id, addresses in files and in memory.
//!
//! | room | what is in it |
//! |---|---|
//! | `block` | what a file begins with, and each block |
//! | `numbers` | numbers and texts as bytes |
//! | `pack` | events as bytes |
//! | `tables` | the run, its rows and its end as bytes |
//! | `recorder`, `player` | a recording written, and read |
//! | `newest` | the newest events, in memory |
//! | `again` | a filter for what is told again |

mod again;
mod block;
mod newest;
mod numbers;
mod pack;
mod player;
mod recorder;
mod tables;
#[cfg(test)]
mod tests;

pub use again::Again;
pub use newest::Newest;
pub use player::{Ended, Player, RecordError, Told, resealed};
pub use recorder::Recorder;
pub use tables::{Gaps, Probed, Recorded};

use crate::trace::{HitEvent, Moment, Value};

/// One event, in numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record<'a> {
    /// What has happened.
    pub moment: Moment,
    /// CLOCK_MONOTONIC, in nanoseconds.
    pub ts_ns: u64,
    /// The process.
    pub pid: i32,
    /// The thread.
    pub tid: i32,
    /// The thread's name, if known.
    pub comm: Option<&'a str>,
    /// The row that says what was hit.
    pub row: u32,
    /// The address in memory.
    pub addr: u64,
    /// The arguments, as many as were read.
    pub args: &'a [Value],
    /// The return value, at a return.
    pub ret: Option<&'a Value>,
    /// The error's number.
    pub errno: Option<i32>,
    /// From entry to end, where both are known.
    pub duration_ns: Option<u64>,
    /// Whether anything was missed before, so that the end of a call may be.
    pub missed: bool,
}

impl<'a> From<&'a HitEvent<'_>> for Record<'a> {
    fn from(event: &'a HitEvent<'_>) -> Record<'a> {
        Record {
            moment: event.moment,
            ts_ns: event.ts_ns,
            pid: event.pid.0,
            tid: event.tid.0,
            comm: event.comm,
            row: event.number,
            addr: event.addr.0,
            args: event.args,
            ret: event.ret.as_ref(),
            errno: event.errno,
            duration_ns: event.duration_ns,
            missed: event.missed,
        }
    }
}
