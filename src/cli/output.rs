//! Where a report goes.

use super::failure::Failure;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `-o` and `--format`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// `-o`; `-` is stdout.
    pub(crate) to: Option<PathBuf>,
    /// `--format`.
    pub(crate) format: Format,
}

/// A report being written.
pub(crate) struct Output {
    writer: BufWriter<Box<dyn Write>>,
    name: String,
}

impl Output {
    /// For commands that start no program: stdout unless `-o` says otherwise.
    pub(crate) fn stdout(report: &Report) -> Result<Output, Failure> {
        Output::open(report, (Box::new(io::stdout()), "stdout".to_owned()))
    }

    /// For commands that start one, whose stdout stays its own: stderr unless `-o` says otherwise.
    pub(crate) fn stderr(report: &Report) -> Result<Output, Failure> {
        Output::open(report, (Box::new(io::stderr()), "stderr".to_owned()))
    }

    fn open(report: &Report, default: (Box<dyn Write>, String)) -> Result<Output, Failure> {
        let (writer, name): (Box<dyn Write>, String) = match &report.to {
            Some(path) if path.as_os_str() == "-" => (Box::new(io::stdout()), "stdout".to_owned()),
            Some(path) => {
                let shown = path.display().to_string();
                let file = File::create(path)
                    .map_err(|e| Failure::new(format!("cannot write to {shown}: {e}")))?;
                (Box::new(file), shown)
            }
            None => default,
        };
        Ok(Output { writer: BufWriter::with_capacity(64 << 10, writer), name })
    }

    /// Writes a piece.
    pub(crate) fn write(&mut self, text: &str) -> Result<(), Failure> {
        self.writer.write_all(text.as_bytes()).map_err(|e| Failure::writing(&self.name, &e))
    }

    /// Writes what is buffered.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(|e| Failure::writing(&self.name, &e))
    }

    /// Writes what is left. A report is only good when this has succeeded.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(|e| Failure::writing(&self.name, &e))
    }
}

/// How far a long command has come, on stderr and only if that is a terminal.
pub(crate) struct Progress {
    what: &'static str,
    total: u64,
    next: std::time::Instant,
    terminal: bool,
    shown: bool,
}

impl Progress {
    const EVERY: std::time::Duration = std::time::Duration::from_millis(200);

    pub(crate) fn new(what: &'static str, total: u64) -> Progress {
        let terminal = io::stderr().is_terminal();
        Progress {
            what,
            total,
            next: std::time::Instant::now() + Self::EVERY,
            terminal,
            shown: false,
        }
    }

    pub(crate) fn at(&mut self, done: u64) {
        if !self.terminal || std::time::Instant::now() < self.next {
            return;
        }
        self.next = std::time::Instant::now() + Self::EVERY;
        self.shown = true;
        let percent = done.saturating_mul(100) / self.total.max(1);
        let _ = write!(io::stderr(), "\rxol: {} {percent} % ", self.what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            // Back to the first column, and the line cleared.
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
