//! A run: PROBEs into processes, hits out of them.
//!
//! A room uses those above it in this table, and none below; `tests/layers.rs` asserts it.
//!
//! | room | what it knows |
//! |---|---|
//! | `space` | what xol has put into each address space; threads stopped for a moment |
//! | `rows` | the rows of the report, the consumers of hits, their counters |
//! | `telling` | open calls and events: one teller, for stopped threads and for records |
//! | `reading` | what a stopped thread's registers and memory say |
//! | `wanted` | from PROBEs and what is mapped to rows and wanted places |
//! | `recorded` | what trampolines have recorded, in order |
//! | `arming` | from wanted places to traps |
//! | `jumping` | from traps to jumps, and back |
//! | `returns` | where functions are left, and which call ends there |
//! | `watching` | what the program does that concerns xol |
//! | `hits` | stopped threads: traps, steps and signals |
//! | `life` | processes and threads from beginning to end; leaving |
//! | `session` | one run: the loop |
//!
//! Beside them stand `options`, what a run is asked to do; `report`, the counts of a moment; and `silent`,
//! a sink of nothing.

mod arming;
mod hits;
mod jumping;
mod life;
mod options;
mod reading;
mod recorded;
mod report;
mod returns;
mod rows;
mod session;
mod silent;
mod space;
mod telling;
mod wanted;
mod watching;

pub use options::{Options, Subject, WhenFull};
pub use rows::consumer::{Row, RowState};
pub use session::Stage;
pub use silent::Silent;
pub use telling::events::{HitEvent, Moment};
pub(crate) use telling::passing::{lasted, passes_at_end, seen};
pub use telling::value::Value;

use crate::WhyNotJump;
use std::time::Duration;
use std::{fmt, io};
use xol_targets::ptrace::pair::Link;

pub use crate::engine::Wish;
pub use xol_arch::{Addr, Rules, Strategy};
pub use xol_targets::ptrace::sys::Status;
pub use xol_targets::ptrace::{AttachError, Launch, LaunchError, Pid, Tid};

/// Where a run's hits and messages go. It cannot touch the target. A closure that takes a hit is one
/// too, and hears of nothing else.
pub trait Sink {
    /// A hit, or the beginning or end of a call.
    fn hit(&mut self, event: &HitEvent<'_>);
    /// The counts so far, every `--interval`.
    fn interval(&mut self, _report: &Report) {}
    /// A signal asks for what there is by now.
    fn asked(&mut self, report: &Report) {
        self.interval(report);
    }
    /// Something the user should know; each is said once.
    fn note(&mut self, _text: &str) {}
    /// Long work goes on.
    fn progress(&mut self, _stage: Stage, _done: usize, _of: usize) {}
    /// So many places are armed before the program goes on, which takes about so long.
    fn arming(&mut self, _places: usize, _takes: Duration) {}
    /// The first probes are in, in so many places, and how long that took.
    fn armed(&mut self, _places: usize, _took: Duration) {}
    /// It is done.
    fn progress_done(&mut self) {}
    /// Nothing happened for a moment: what is buffered can be shown.
    fn tick(&mut self) {}
    /// Whether nothing more can be written: the run ends.
    fn failed(&self) -> bool {
        false
    }
}

impl<F: FnMut(&HitEvent<'_>)> Sink for F {
    fn hit(&mut self, event: &HitEvent<'_>) {
        self(event);
    }
}

/// One row with its counts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Counted {
    /// What was probed.
    pub row: Row,
    /// Hits.
    pub hits: u64,
    /// Hits that could not be told of.
    pub missed: u64,
    /// Why hits stop the program where they do, in kebab-case.
    pub why_not_jump: Option<WhyNotJump>,
}

/// All counts at one moment.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// One for each probe and place.
    pub rows: Vec<Counted>,
    /// Probes that never had a place, neither found nor rejected: a sentence for each.
    pub absent: Vec<String>,
    /// Why probes have no hits, as far as their objects say, at the end: a sentence for each.
    pub hints: Vec<String>,
    /// Hits that trampolines found no room to note down: rows cannot be told apart.
    pub unread: u64,
    /// How often a slot was taken from one site for another.
    pub stolen: u64,
    /// Why there were no slots, where there were none.
    pub no_slots: Option<String>,
}

/// How a run ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The counts.
    pub report: Report,
    /// How the launched command ended, if it did.
    pub status: Option<Status>,
    /// The launched command, if it goes on without us.
    pub running: Option<Pid>,
    /// The signal that asked us to end.
    pub signal: Option<i32>,
}

/// Why a run failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum TraceError {
    /// The command did not start.
    Launch(LaunchError),
    /// The process cannot be probed.
    Attach(AttachError),
    /// No probe is left: each with its reason.
    NoneLeft(Vec<String>),
    /// Part of a PROBE's form is known, but not what to do with it.
    NotBuiltYet(&'static str),
    /// A system call failed where that is not expected.
    Io(io::Error),
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TraceError::Launch(LaunchError::Exec(error)) => {
                write!(f, "cannot start the command: {error}")
            }
            TraceError::Launch(LaunchError::Io(error)) => {
                write!(f, "cannot start and trace a process: {error}; `xol doctor` may say why")
            }
            TraceError::Attach(error) => error.fmt(f),
            TraceError::NoneLeft(why) => {
                f.write_str("no probe is left:")?;
                why.iter().try_for_each(|line| write!(f, "\n  {line}"))
            }
            TraceError::NotBuiltYet(what) => write!(f, "{what}: not built yet"),
            TraceError::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => write!(
                f,
                "tracing failed: {error}; the kernel lets nobody but root look into a program whose \
                 file the user may execute and not read, or that gets other rights when it starts: \
                 make the file readable (chmod +r), or run xol as root; the program goes on"
            ),
            TraceError::Io(error) => write!(f, "tracing failed: {error}; the program goes on"),
        }
    }
}

impl std::error::Error for TraceError {}

/// Runs to the end. Whatever the result, the program's text is then as it was found.
///
/// It runs in a thread of its own, and waits for nobody but whom it has started or traces. SIGINT,
/// SIGTERM, SIGHUP and SIGQUIT to the calling program end it; SIGUSR1 and SIGALRM are used by it. Afterwards
/// their handlers are what they were, but for a SIGALRM that nobody handled: it is then ignored. A program
/// makes one run at a time.
///
/// # Errors
/// See [`TraceError`].
pub fn run(options: &Options, sink: &mut (dyn Sink + Send)) -> Result<Outcome, TraceError> {
    xol_targets::ptrace::tracer::apart(|| run_behind(options, sink, None))
        .map_err(TraceError::Io)?
}

/// The same in a process that stands behind another, which puts the text back should this one be
/// killed.
///
/// # Errors
/// See [`TraceError`].
pub fn run_behind(
    options: &Options,
    sink: &mut dyn Sink,
    front: Option<Link>,
) -> Result<Outcome, TraceError> {
    session::Session::new(options, sink, front).run()
}
