//! One command, run to its end under a limit, and everything that is known about it.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a command may take when nothing else is said.
const LIMIT: Duration = Duration::from_secs(60);

/// How much slower than a machine of today this one is said to be, by `XOL_SLOW`: an emulated one.
/// Limits are that much longer.
#[must_use]
pub fn slowness() -> u32 {
    std::env::var("XOL_SLOW").ok().and_then(|v| v.parse().ok()).unwrap_or(1).max(1)
}

/// How often something is to be done: `all` times, or `few` on a slow machine.
#[must_use]
pub fn as_often<N>(all: N, few: N) -> N {
    if slowness() > 1 { few } else { all }
}

/// A command to run: always with the same small environment, without address randomisation,
/// and in a process group of its own.
#[derive(Clone, Debug)]
pub struct Run {
    words: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cwd: PathBuf,
    stdin: Vec<u8>,
    limit: Duration,
}

/// Starts describing a command.
pub fn run(program: impl Into<OsString>) -> Run {
    Run {
        words: vec![program.into()],
        env: vec![
            ("PATH".into(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()),
            ("LC_ALL".into(), "C.UTF-8".into()),
            ("HOME".into(), "/nonexistent".into()),
        ],
        cwd: "/".into(),
        stdin: Vec::new(),
        limit: LIMIT,
    }
}

impl Run {
    /// Adds one word.
    #[must_use]
    pub fn arg(mut self, word: impl Into<OsString>) -> Self {
        self.words.push(word.into());
        self
    }

    /// Adds words.
    #[must_use]
    pub fn args<W: Into<OsString>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.words.extend(words.into_iter().map(Into::into));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Where it runs; `/` otherwise.
    #[must_use]
    pub fn cwd(mut self, cwd: impl Into<PathBuf>) -> Self {
        self.cwd = cwd.into();
        self
    }

    /// What it reads; nothing otherwise.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// How long it may take; a minute otherwise.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The words of the command.
    #[must_use]
    pub fn words(&self) -> &[OsString] {
        &self.words
    }

    /// The same surroundings, `before` put in front of the words: how a command is run under another.
    #[must_use]
    pub fn under<W: Into<OsString>>(mut self, before: impl IntoIterator<Item = W>) -> Self {
        self.words.splice(0..0, before.into_iter().map(Into::into));
        self
    }

    /// The command for [`std::process`], in front of it the one that sets its surroundings.
    fn command(&self, stopped: bool, maps: &[&Path]) -> Command {
        let mut command = Command::new(launcher());
        for object in maps {
            command.arg("--map").arg(object);
        }
        if stopped {
            command.arg("--stop");
        }
        command.arg("--").args(&self.words);
        command.env_clear().envs(self.env.iter().cloned()).current_dir(&self.cwd).process_group(0);
        command
    }

    /// Starts it and does not wait.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(&self) -> Started {
        self.start_with(false, &[])
    }

    /// Starts it; `stopped` in front of its execve, by SIGSTOP, with `maps` mapped executable.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start_with(&self, stopped: bool, maps: &[&Path]) -> Started {
        let mut command = self.command(stopped, maps);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{self}: {e}"));
        let mut stdin = child.stdin.take().expect("piped");
        let input = self.stdin.clone();
        // Ends by itself: a program that reads no input closes the pipe when it exits.
        thread::spawn(move || _ = stdin.write_all(&input));
        let stdout = drain(child.stdout.take().expect("piped"));
        let stderr = drain(child.stderr.take().expect("piped"));
        Started { run: self.clone(), child, stdout, stderr, begun: Instant::now() }
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// If it cannot be started or outlives its limit.
    #[must_use]
    pub fn finish(&self) -> Finished {
        self.start().finish()
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for word in &self.words {
            let word = word.to_string_lossy();
            let plain = !word.is_empty()
                && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./=:,+@".contains(&b));
            if plain { write!(f, "{word} ")? } else { write!(f, "'{word}' ")? }
        }
        write!(f, "(in {})", self.cwd.display())
    }
}

/// Reads a pipe to its end beside the command, so that it never blocks.
fn drain(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // An error ends the stream like its end does; the comparison shows what is missing.
        _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// A command that is running.
#[derive(Debug)]
pub struct Started {
    run: Run,
    child: Child,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
    begun: Instant,
}

impl Started {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended; its status is kept for [`Started::finish`].
    ///
    /// # Panics
    /// If it cannot be waited for.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().expect("try_wait").is_some()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it outlives its limit; everything that it started is killed first.
    #[must_use]
    pub fn finish(mut self) -> Finished {
        let mut pause = Duration::from_micros(200);
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("try_wait") {
                break status;
            }
            if self.begun.elapsed() > self.run.limit * slowness() {
                let state = describe(self.pid());
                kill_group(self.pid());
                let finished = self.collect(ExitStatus::from_raw(9));
                panic!("still running after {:?}: {state}\n{finished}", finished.run.limit);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        };
        self.collect(status)
    }

    fn collect(mut self, status: ExitStatus) -> Finished {
        _ = self.child.wait();
        let stdout = self.stdout.join().expect("the reader does not panic");
        let stderr = self.stderr.join().expect("the reader does not panic");
        Finished { run: self.run, status, stdout, stderr, took: self.begun.elapsed() }
    }
}

/// Kills a process group: the command and what it started.
pub fn kill_group(leader: u32) {
    let group = nix::unistd::Pid::from_raw(leader.cast_signed());
    // ESRCH: nothing left to kill.
    _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
}

/// What `/proc` says about a process and its children that do not end.
fn describe(pid: u32) -> String {
    let mut text = String::new();
    let mut left = vec![pid];
    while let Some(pid) = left.pop() {
        let read =
            |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        for line in read("status").lines() {
            if ["Name", "State", "Pid", "TracerPid", "SigPnd", "ShdPnd", "SigBlk"]
                .iter()
                .any(|key| line.split(':').next() == Some(key))
            {
                text += &line.replace('\t', " ");
                text += "; ";
            }
        }
        text += &format!("wchan {}; syscall {}\n", read("wchan"), read("syscall").trim());
        left.extend(
            read(&format!("task/{pid}/children"))
                .split_whitespace()
                .filter_map(|p| p.parse::<u32>().ok()),
        );
    }
    text
}

/// A command that has ended. Displayed, it is everything that a failure should show.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What was run.
    pub run: Run,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to stdout.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr.
    pub stderr: Vec<u8>,
    /// How long it took.
    pub took: Duration,
}

impl Finished {
    /// Itself, if it ended with status 0.
    ///
    /// # Panics
    /// If it did not.
    #[must_use]
    pub fn ok(self) -> Self {
        assert!(self.status.success(), "failed:\n{self}");
        self
    }

    /// Its stdout as text.
    #[must_use]
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Its stderr as text.
    #[must_use]
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The status as a shell shows it: 128 + N for signal N.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// That `other` wrote the same and ended the same way, but for what xol says of itself.
    ///
    /// # Panics
    /// If it did not, with both runs in full.
    pub fn assert_same(&self, other: &Finished) {
        let what = if self.code() != other.code() {
            "status"
        } else if self.stdout != other.stdout {
            "stdout"
        } else if self.err() != without_notes(&other.err()) {
            "stderr"
        } else {
            return;
        };
        let (alone, probed) = if what == "stderr" {
            (self.err(), without_notes(&other.err()))
        } else {
            (self.out(), other.out())
        };
        let lines: Vec<String> = (alone.lines().zip(probed.lines()).filter(|(a, p)| a != p))
            .map(|(a, p)| format!("  - {a}\n  + {p}\n"))
            .collect();
        panic!(
            "{what} differs in {} lines:\n{}--- alone:\n{self}\n--- probed:\n{other}",
            lines.len(),
            lines[..lines.len().min(20)].concat()
        );
    }
}

/// `text` without the lines in which xol speaks.
fn without_notes(text: &str) -> String {
    text.split_inclusive('\n').filter(|line| !line.starts_with("xol: ")).collect()
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "command: {}", self.run)?;
        writeln!(f, "status: {} after {:?}", self.status, self.took)?;
        for (name, bytes) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            let text = String::from_utf8_lossy(bytes);
            writeln!(f, "{name} ({} bytes):", bytes.len())?;
            let lines: Vec<&str> = text.lines().collect();
            let (head, tail) = if lines.len() > 60 {
                (&lines[..40], &lines[lines.len() - 20..])
            } else {
                (&lines[..], &[][..])
            };
            head.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
            if !tail.is_empty() {
                writeln!(f, "  … {} lines …", lines.len() - 60)?;
            }
            tail.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        Ok(())
    }
}

/// The binary that sets a command's surroundings, beside the tests.
fn launcher() -> PathBuf {
    beside("launch")
}

/// A binary of this crate: cargo builds it for the tests, and puts it one folder above them.
///
/// # Panics
/// If it is not there.
#[must_use]
pub fn beside(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("/proc/self/exe");
    let folder = own.parent().expect("a file is in a folder");
    let up = folder.parent().expect("target/debug");
    for at in [folder.join(name), up.join(name)] {
        if File::open(&at).is_ok() {
            return at;
        }
    }
    panic!("{name} is not beside {}: build it with `cargo build -p xol-tests`", own.display());
}
