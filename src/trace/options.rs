//! What a run is asked to do.

use super::TraceError;
use crate::engine::Wish;
use crate::spec::{Spec, SpecError, Where};
use std::ffi::CString;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;
use xol_arch::Rules;
use xol_targets::ptrace::{Begun, Launch, LaunchError, Pid};

/// What is probed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Subject {
    /// A command that xol starts.
    Launch(Launch),
    /// A command that was started, and waits; taken when the run begins.
    Begun(Mutex<Option<Begun>>),
    /// Running processes.
    Attach(Vec<Pid>),
}

/// What a thread does whose record finds no room, because it is faster than its events are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// It waits: nothing is missed.
    #[default]
    Wait,
    /// It goes on: the record is counted as missed.
    Drop,
}

impl std::str::FromStr for WhenFull {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<WhenFull, Self::Err> {
        match text {
            "wait" => Ok(WhenFull::Wait),
            "drop" => Ok(WhenFull::Drop),
            _ => Err("it is wait or drop"),
        }
    }
}

/// One run, as asked for. Nothing has been looked up yet.
///
/// It begins with [`Options::launch`], [`Options::attach`] or [`Options::to_count`]; what is not as it
/// is there is set afterwards.
///
/// ```
/// use std::time::Duration;
/// use xol::trace::Options;
///
/// let mut options = Options::launch(["ls", "-l"])?.probe("libc:malloc")?;
/// options.follow = true;
/// options.duration = Some(Duration::from_secs(10));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Options {
    /// What is to be probed.
    pub probes: Vec<Spec>,
    /// What must hold of a call's arguments for it to count.
    pub filter: Option<Where>,
    /// Whom.
    pub subject: Subject,
    /// Follow children that have memory of their own.
    pub follow: bool,
    /// How displaced instructions run.
    pub wish: Wish,
    /// What is allowed beyond the safe default.
    pub rules: Rules,
    /// Slots in each process at most.
    pub slots: usize,
    /// Sites in each process at most.
    pub max_sites: usize,
    /// A site disarms itself after so many hits.
    pub hits_per_site: Option<u64>,
    /// The run ends after so many events.
    pub max_events: Option<u64>,
    /// The run ends after this time.
    pub duration: Option<Duration>,
    /// Folders that debug files are looked for in, beside the machine's own.
    pub debug_folders: Vec<PathBuf>,
    /// Counts are reported this often.
    pub interval: Option<Duration>,
    /// What a thread does whose record finds no room.
    pub when_full: WhenFull,
    /// For tests: jumps are taken back and written again, one after the other and as often as that
    /// in all, while the program runs. A note says when it is
    /// done. Nothing else may be armed meanwhile.
    pub toggle: Option<u64>,
    /// The user vouches that the program's seccomp filters let xol's calls through.
    pub calls: bool,
    /// Whether each hit is wanted, or only the counts.
    pub events: bool,
    /// Whether the number of an error that libc has told is wanted, not only that there was one: where
    /// it is in errno, the program stops when the function returns.
    pub errno: bool,
    /// Whether the names of threads are wanted.
    pub comm: bool,
    /// Whether descriptors are told with what they are open for: the program stops at such calls.
    pub files: bool,
    /// How many bytes of a string are read at most.
    pub string: usize,
}

impl Options {
    /// Slots where the user said nothing: 1 MiB of them.
    pub const SLOTS: usize = 16384;
    /// Sites where the user said nothing.
    pub const MAX_SITES: usize = 1 << 20;
    /// Bytes of a string where the user said nothing.
    pub const STRING: usize = 256;

    /// A run of a command, which is looked up in PATH as a shell does. It has no probes yet.
    ///
    /// # Errors
    /// There is no word, or one has a NUL byte.
    pub fn launch<W: Into<Vec<u8>>>(
        command: impl IntoIterator<Item = W>,
    ) -> Result<Options, TraceError> {
        let args: Result<Vec<CString>, _> = command.into_iter().map(CString::new).collect();
        let no_command = |why: &str| {
            TraceError::Launch(LaunchError::Exec(io::Error::new(io::ErrorKind::InvalidInput, why)))
        };
        let args = args.map_err(|_| no_command("a word of the command has a NUL byte"))?;
        let program =
            args.first().cloned().ok_or_else(|| no_command("the command has no words"))?;
        Ok(Options::to_count(Subject::Launch(Launch { program, args }), Vec::new()))
    }

    /// A run of processes that exist. It has no probes yet.
    #[must_use]
    pub fn attach(pids: impl IntoIterator<Item = i32>) -> Options {
        Options::to_count(Subject::Attach(pids.into_iter().map(Pid).collect()), Vec::new())
    }

    /// With one more PROBE, written as for the command.
    ///
    /// # Errors
    /// What is wrong with it, where, and what to try.
    pub fn probe(mut self, text: &str) -> Result<Options, SpecError> {
        self.probes.push(Spec::parse(text)?);
        Ok(self)
    }

    /// Counts the hits of these probes, with everything else as it is where the user said nothing.
    #[must_use]
    pub fn to_count(subject: Subject, probes: Vec<Spec>) -> Options {
        Options {
            probes,
            filter: None,
            subject,
            follow: false,
            wish: Wish::Auto,
            rules: Rules::default(),
            slots: Options::SLOTS,
            max_sites: Options::MAX_SITES,
            hits_per_site: None,
            max_events: None,
            duration: None,
            debug_folders: Vec::new(),
            interval: None,
            when_full: WhenFull::Drop,
            toggle: None,
            calls: false,
            events: false,
            errno: true,
            comm: false,
            files: false,
            string: Options::STRING,
        }
    }
}
