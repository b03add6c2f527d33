//! Where a report goes.

use super::failure::Failure;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

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

impl Report {
    /// What `--format` says, to where `to` says.
    pub(crate) fn new(args: &clap::ArgMatches, to: Option<PathBuf>) -> Report {
        let format = match super::args::one::<String>(args, "format").as_deref() {
            Some("json") => Format::Json,
            _ => Format::Text,
        };
        Report { to, format }
    }
}

/// FILE of `-o`, which other tools let be a program as well.
pub(super) fn file(name: std::ffi::OsString) -> Result<PathBuf, String> {
    let path = PathBuf::from(name);
    match path.to_string_lossy().strip_prefix('|') {
        Some(program) => Err(format!(
            "it is a file, and no program: -o >({}) in bash, or ./{} if that is meant",
            program.trim(),
            path.display()
        )),
        None => Ok(path),
    }
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

    /// A file of its own, opened only while it is written: there may be many. What it ends with is
    /// there after each write, so that it is whole whenever we are killed.
    pub(crate) fn reopened(path: &Path, ending: &'static str) -> Result<Output, Failure> {
        let name = path.display().to_string();
        File::create(path).map_err(|e| Failure::new(format!("cannot write to {name}: {e}")))?;
        let ended = Ended { held: Held::Path(path.to_owned()), ending, begun: false };
        Ok(Output { writer: BufWriter::with_capacity(64 << 10, Box::new(ended)), name })
    }

    /// As [`Output::stderr`], with something that the report ends with. Returns whether that is
    /// there after each write, and not to be written at the end.
    pub(crate) fn ended(report: &Report, ending: &'static str) -> Result<(Output, bool), Failure> {
        let path = report.to.as_deref().filter(|path| path.as_os_str() != "-");
        let output = Output::stderr(report)?;
        let Some(path) = path.filter(|path| path.is_file()) else { return Ok((output, false)) };
        let shown = path.display().to_string();
        let file = File::create(path)
            .map_err(|e| Failure::new(format!("cannot write to {shown}: {e}")))?;
        let ended = Ended { held: Held::File(file), ending, begun: false };
        let writer = BufWriter::with_capacity(64 << 10, Box::new(ended) as Box<dyn Write>);
        Ok((Output { writer, name: shown }, true))
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

/// A file that ends with the same text after each write.
struct Ended {
    held: Held,
    ending: &'static str,
    /// Whether the ending is there.
    begun: bool,
}

enum Held {
    File(File),
    Path(PathBuf),
}

impl Ended {
    fn put(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        let back = if self.begun { self.ending.len() as i64 } else { 0 };
        file.seek(SeekFrom::End(-back))?;
        file.write_all(&[bytes, self.ending.as_bytes()].concat())
    }
}

impl Write for Ended {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.held {
            Held::File(file) => self.put(&mut file.try_clone()?, bytes)?,
            Held::Path(path) => self.put(&mut File::options().write(true).open(path)?, bytes)?,
        }
        self.begun = true;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Replaces a file by one with this text, so that a reader sees one of them whole. What is no file (a
/// device, a pipe) stays what it is, and is written to; a link leads to the same place as before.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let led = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let path = led.as_path();
    if std::fs::metadata(path).is_ok_and(|known| !known.is_file()) {
        let mut file = File::options().write(true).open(path);
        let written =
            file.as_mut().map_or_else(|e| Err(e.kind().into()), |f| f.write_all(text.as_bytes()));
        return written
            .map_err(|error| Failure::new(format!("cannot write to {}: {error}", path.display())));
    }
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".xol-{}", std::process::id()));
    let beside = path.with_file_name(name);
    let known = std::fs::metadata(path).ok();
    let written = std::fs::write(&beside, text).and_then(|()| {
        if let Some(known) = known {
            // Who may read it stays as it was.
            std::fs::set_permissions(&beside, known.permissions())?;
        }
        std::fs::rename(&beside, path)
    });
    written.map_err(|error| {
        let _ = std::fs::remove_file(&beside);
        Failure::new(format!("cannot write to {}: {error}", path.display()))
    })
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
