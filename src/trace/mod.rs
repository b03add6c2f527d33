//! A run: PROBEs into processes, hits out of them.
//!
//! | room | what is in it |
//! |---|---|
//! | `options` | what a run is asked to do |
//! | `session` | what is traced and counted, and the loop |
//! | `borrow` | threads stopped for a moment, for a call or for what they have stopped for |
//! | `objects`, `probes` | what is mapped, and what in it is wanted |
//! | `ahead` | what is looked at before anything is armed |
//! | `unfound` | what is said of probes that have no place, or no hits |
//! | `arm`, `sites`, `slots`, `padding`, `steal` | from wanted places to armed sites |
//! | `hit`, `signals` | traps, and signals that find a thread in a slot |
//! | `stop` | a stopped thread as the engine sees and moves it |
//! | `later`, `libc_signal` | signals that wait for their turn; numbers of signals |
//! | `returns`, `exits`, `frames` | return probes: hits, where functions are left, open calls |
//! | `upgrade` | traps that become jumps while the program runs |
//! | `windows`, `trampolines`, `land`, `jumps`, `patch`, `in_trampoline` | jumps instead of traps: chosen, built, placed, kept, written; threads found in them |
//! | `notes`, `ring`, `behind`, `names`, `clock` | what trampolines note down: which values, read, waited for, by whom, when |
//! | `ends` | jumps at the ends of calls, some of which begin before a RET |
//! | `rings` | memory for what trampolines note down |
//! | `own_sites`, `action` | sites that serve xol itself; SIGTRAP's action |
//! | `tracers` | programs that trace their own children |
//! | `changing` | text that the program itself writes or moves |
//! | `leftover` | what an xol that was killed has left |
//! | `follow`, `leave` | new processes and programs; the end |
//! | `outside` | which threads are not in our code any more |
//! | `toggle` | for tests: jumps taken back and written again |
//! | `arguments`, `comms` | arguments and values read; the names of threads |
//! | `errno` | which error a function of libc has told |
//! | `conditions` | which calls pass the filter, at their beginning and at their end |
//! | `calls` | open calls, and how they end |
//! | `events`, `silent` | events told, counts reported; to nobody |

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
