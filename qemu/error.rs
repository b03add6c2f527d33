use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Guest;

/// Why a guest could not be prepared, or did not finish. `Display` is a sentence and what to do;
/// where there is a console, its end follows.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A file that was to be sent into the guest is not there.
    MissingFile(PathBuf),
    /// A program for another machine than the guest.
    WrongArchitecture {
        /// The program.
        file: PathBuf,
        /// What it is for, in words.
        is_for: String,
        /// Where it was to run.
        guest: Guest,
    },
    /// The distribution has no such package.
    UnknownPackage {
        /// As asked for.
        package: String,
        /// The distribution's release that was searched.
        suite: String,
        /// For which architecture.
        guest: Guest,
    },
    /// A program of the host is missing and could not be installed.
    MissingTool {
        /// The program.
        tool: String,
        /// The command that installs it.
        install: String,
    },
    /// The guest did not answer in time and was ended.
    Hang {
        /// The limit.
        limit: Duration,
        /// The console so far.
        console: String,
    },
    /// The guest's kernel panicked.
    Panic {
        /// The console so far.
        console: String,
    },
    /// The guest's kernel ran out of memory.
    OutOfMemory {
        /// What it had, in MiB.
        memory: u32,
        /// The console so far.
        console: String,
    },
    /// The guest ended before its command did.
    Gone {
        /// The console so far.
        console: String,
    },
    /// The emulator refused; what it said.
    Emulator(String),
    /// Anything else a sentence can say.
    Other(String),
}

impl Error {
    pub(crate) fn other(text: impl Into<String>) -> Error {
        Error::Other(text.into())
    }

    /// An I/O error with what was being done: "cannot read X: no such file".
    pub(crate) fn io(doing: &str, path: &Path, error: &io::Error) -> Error {
        Error::Other(format!("cannot {doing} {}: {error}", path.display()))
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::MissingFile(path) => {
                write!(
                    f,
                    "{}: there is no such file to send into the guest; check the path",
                    path.display()
                )
            }
            Error::WrongArchitecture { file, is_for, guest } => write!(
                f,
                "{} is a program for {is_for} and the guest is {guest}: build it for {}-unknown-linux-musl, \
                 choose the other guest, or clear its executable bit to send it as data",
                file.display(),
                guest.cpu()
            ),
            Error::UnknownPackage { package, suite, guest } => write!(
                f,
                "Debian {suite} has no installable package {package} for {}; look for its name on \
                 https://packages.debian.org/{suite}/{package}, or choose another release with --suite",
                guest.debian()
            ),
            Error::MissingTool { tool, install } => {
                write!(f, "{tool} is not installed; install it with: {install}")
            }
            Error::Hang { limit, console } => {
                write!(
                    f,
                    "the guest was still running after {} s and was ended; raise the limit with --timeout",
                    limit.as_secs()
                )?;
                tail(f, console)
            }
            Error::Panic { console } => {
                write!(f, "the guest's kernel panicked")?;
                tail(f, console)
            }
            Error::OutOfMemory { memory, console } => {
                write!(
                    f,
                    "the guest ran out of memory; it had {memory} MiB, give it more with --memory {}",
                    memory.saturating_mul(2)
                )?;
                tail(f, console)
            }
            Error::Gone { console } => {
                write!(f, "the guest powered off before the command had ended")?;
                tail(f, console)
            }
            Error::Emulator(said) => {
                write!(
                    f,
                    "the emulator refused to start the guest; check --cpu and --memory. It said: {}",
                    said.trim()
                )
            }
            Error::Other(text) => f.write_str(text),
        }
    }
}

/// How many lines of the console an error shows.
const TAIL: usize = 30;

fn tail(f: &mut fmt::Formatter<'_>, console: &str) -> fmt::Result {
    let lines: Vec<&str> = console.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect();
    if lines.is_empty() {
        return f.write_str("\nits console is empty");
    }
    // A panic is told in its first line; what follows may be longer than we show.
    let told = lines.iter().position(|line| line.contains("Kernel panic"));
    let from = told.unwrap_or(lines.len().saturating_sub(TAIL));
    f.write_str("\nthe end of its console:")?;
    lines[from..].iter().take(TAIL).try_for_each(|line| write!(f, "\n    {line}"))
}
