//! A program that runs until it is told to end, for attaching to.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use crate::programs::{Build, program};
use crate::run::{Finished, beside, run, slowness};

/// A running program that said `ready`, and reads its stdin.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
    said: String,
    complained: String,
}

impl Target {
    /// Starts `name`, built the default way.
    ///
    /// # Panics
    /// If it does not start and say that it is ready.
    #[must_use]
    pub fn start(name: &str) -> Target {
        Target::start_with(program(name, Build::Pie), &[])
    }

    /// Starts the program at `path` with `args`.
    ///
    /// # Panics
    /// If it does not start and say that it is ready.
    #[must_use]
    pub fn start_with(path: PathBuf, args: &[&str]) -> Target {
        let mut child = Command::new(beside("launch"))
            .arg("--")
            .arg(&path)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (said, complained) = (String::new(), String::new());
        let mut target = Target { path, child, stdin, stdout, stderr, said, complained };
        let line = target.line();
        assert_eq!(line, "ready\n", "{target:?}");
        target
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its object's name, as a PROBE says it.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The next line that it prints.
    ///
    /// # Panics
    /// If its output cannot be read.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("its stdout");
        self.said += &line;
        line
    }

    /// Waits until it prints a line with `words` on its stderr.
    ///
    /// # Panics
    /// If it ends before.
    pub fn complains(&mut self, words: &str) {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            let read = self.stderr.read_line(&mut line).expect("its stderr");
            self.complained += &line;
            assert!(read > 0, "no \"{words}\" before its end: {}", self.complained);
        }
    }

    /// Writes to its stdin.
    ///
    /// # Panics
    /// If it does not read.
    pub fn tell(&mut self, words: &str) {
        let stdin = self.stdin.as_mut().expect("not ended");
        stdin.write_all(words.as_bytes()).expect("its stdin");
    }

    /// Asks something, and returns the line that answers.
    ///
    /// # Panics
    /// If it does not read.
    pub fn ask(&mut self, question: &str) -> String {
        self.tell(question);
        self.line()
    }

    /// The byte at an address in the file of its program.
    ///
    /// # Panics
    /// If its memory cannot be read.
    #[must_use]
    pub fn byte(&self, addr: u64) -> u8 {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.pid())).expect("it runs");
        let line = maps.lines().find(|l| l.ends_with(&self.name())).expect("it is mapped");
        let base = u64::from_str_radix(line.split('-').next().unwrap_or(""), 16).expect("hex");
        let memory = std::fs::File::open(format!("/proc/{}/mem", self.pid())).expect("it is ours");
        let mut byte = [0];
        memory.read_exact_at(&mut byte, base + addr).expect("it is mapped");
        byte[0]
    }

    /// Ends its stdin, and waits until it has ended.
    ///
    /// # Panics
    /// If it does not end within a minute.
    #[must_use]
    pub fn end(mut self) -> Finished {
        drop(self.stdin.take());
        let begun = std::time::Instant::now();
        let pid = self.pid();
        let watch = std::thread::spawn({
            let limit = std::time::Duration::from_secs(30) * slowness();
            move || {
                // Until the zombie is gone, the id is still the program's own.
                while begun.elapsed() < limit {
                    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
                    if stat.is_err() || stat.is_ok_and(|s| s.contains(") Z ")) {
                        return false;
                    }
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
                let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
                // It may have ended just now.
                _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
                true
            }
        });
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("its stdout");
        self.said += &rest;
        let mut stderr = std::mem::take(&mut self.complained).into_bytes();
        _ = self.stderr.read_to_end(&mut stderr);
        let hung = watch.join().expect("the watch does not panic");
        let status: ExitStatus = self.child.wait().expect("our child");
        let finished = Finished {
            run: run(&self.path),
            status,
            stdout: std::mem::take(&mut self.said).into_bytes(),
            stderr,
            took: begun.elapsed(),
        };
        assert!(!hung, "it did not end:\n{finished}");
        finished
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // A test that fails leaves nothing running.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
