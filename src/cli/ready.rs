//! `--ready`: a script learns when the probes are in.

use super::failure::Failure;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;
use xol_targets::ptrace::tracer;

/// Where the line goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// A descriptor that xol was started with.
    Fd(i32),
    /// A file, or a FIFO.
    File(PathBuf),
}

/// Reads `FD|FILE`.
pub(super) fn parse(text: &str) -> Result<Ready, String> {
    match text.parse() {
        Ok(fd @ 0..) => Ok(Ready::Fd(fd)),
        _ if text.is_empty() => Err("a descriptor's number or a file is needed".to_owned()),
        _ => Ok(Ready::File(text.into())),
    }
}

impl Ready {
    /// Before anything is started: an older file has no line of ours, and the program does not inherit
    /// the descriptor.
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        match self {
            Ready::Fd(fd) => tracer::keep(*fd).map_err(|error| {
                Failure::usage(format!("--ready {fd}: {error}; open it first, as in {fd}>FILE"))
            }),
            Ready::File(path) if fs::metadata(path).map_or(true, |about| about.is_file()) => {
                let made = fs::write(path, "");
                made.map_err(|error| self.failure(&error))
            }
            Ready::File(_) => Ok(()),
        }
    }

    /// Writes the line.
    pub(super) fn tell(&self, line: &str) -> Result<(), Failure> {
        let written = match self {
            Ready::Fd(fd) => tracer::write_once(*fd, line.as_bytes()),
            Ready::File(path) => OpenOptions::new()
                .write(true)
                .open(path)
                .and_then(|mut file| file.write_all(line.as_bytes())),
        };
        match written {
            // Who has gone away is not told.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(self.failure(&error)),
            _ => Ok(()),
        }
    }

    fn failure(&self, error: &io::Error) -> Failure {
        let to = match self {
            Ready::Fd(fd) => fd.to_string(),
            Ready::File(path) => path.display().to_string(),
        };
        Failure::new(format!("--ready: cannot write to {to}: {error}"))
    }
}
