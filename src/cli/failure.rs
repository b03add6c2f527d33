//! How xol ends when it cannot do what it was asked.

use std::io;
use std::process::ExitCode;

/// xol itself failed.
const FAILED: u8 = 125;
/// The command line is wrong, or asks for what is not built yet.
const USAGE: u8 = 2;

/// Why xol ends, and with which status.
#[derive(Debug)]
pub(crate) struct Failure {
    status: u8,
    /// What stderr is told; nothing where there is nobody to listen.
    message: Option<String>,
}

impl Failure {
    /// xol cannot do it: 125.
    pub(crate) fn new(message: impl Into<String>) -> Failure {
        Failure { status: FAILED, message: Some(message.into()) }
    }

    /// For another reason that has a status of its own.
    pub(crate) fn with_status(status: u8, message: impl Into<String>) -> Failure {
        Failure { status, message: Some(message.into()) }
    }

    /// The command line is wrong: 2.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure { status: USAGE, message: Some(message.into()) }
    }

    /// The command line is right, but nothing stands behind it yet: 2.
    pub(crate) fn not_built_yet(what: &str) -> Failure {
        Failure::usage(format!("{what}: not built yet"))
    }

    /// A report could not be written. A reader who has seen enough is no failure.
    pub(crate) fn writing(to: &str, error: &io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure { status: 0, message: None };
        }
        Failure::new(format!("cannot write to {to}: {error}"))
    }

    /// Says why and gives the status.
    pub(crate) fn exit(self) -> ExitCode {
        if let Some(message) = self.message {
            // Not eprintln!, which panics when stderr is closed.
            let _ = io::Write::write_all(&mut io::stderr(), format!("xol: {message}\n").as_bytes());
        }
        ExitCode::from(self.status)
    }
}
