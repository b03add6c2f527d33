use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};

use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::host::Scratch;
use crate::launch::Talk;
use crate::vm::script;
use crate::{Error, Output, Vm};

/// Which of a command's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Its standard output.
    Stdout,
    /// Its standard error.
    Stderr,
}

/// A guest that has booted and takes one command after the other. Dropping it ends it.
pub struct Session {
    qemu: Child,
    orders: Option<ChildStdin>,
    answers: Receiver<String>,
    stdout: File,
    stderr: File,
    scratch: Scratch,
    memory: u32,
    limit: Duration,
    /// How much of the console has been looked at for the marks of the out-of-memory killer.
    console_seen: usize,
}

/// How often the streams are looked at while a command runs.
const POLL: Duration = Duration::from_millis(10);

/// How long a boot may take; three seconds is usual.
const BOOT: Duration = Duration::from_secs(120);

/// What a kernel says whose memory was too small for the file system.
const TRUNCATED: &str = "Initramfs unpacking failed";

impl Session {
    pub(crate) fn start(vm: &Vm) -> Result<Session, Error> {
        let scratch = Scratch::new(&std::env::temp_dir(), "xol-vm")?;
        let dir = scratch.path();
        let launch = vm.prepare(dir)?;
        for name in ["console", "stdout", "stderr"] {
            let path = dir.join(name);
            File::create(&path).map_err(|e| Error::io("create", &path, &e))?;
        }
        let said = dir.join("emulator");
        let said = File::create(&said).map_err(|e| Error::io("create", &said, &e))?;
        let mut qemu = launch
            .command(vm, &Talk::Ports { dir })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(said)
            .spawn()
            .map_err(|e| Error::other(format!("cannot start {}: {e}", vm.guest.emulator())))?;
        let orders = qemu.stdin.take();
        let (send, answers) = mpsc::channel();
        if let Some(from) = qemu.stdout.take() {
            // Ends when the emulator does.
            thread::spawn(move || {
                BufReader::new(from)
                    .lines()
                    .map_while(Result::ok)
                    .try_for_each(|line| send.send(line))
            });
        }
        let open = |name: &str| {
            File::open(dir.join(name)).map_err(|e| Error::io("read", &dir.join(name), &e))
        };
        let (stdout, stderr) = (open("stdout")?, open("stderr")?);
        let mut session = Session {
            qemu,
            orders,
            answers,
            stdout,
            stderr,
            memory: launch.memory,
            limit: BOOT.max(vm.timeout),
            console_seen: 0,
            scratch,
        };
        session.answer(&mut |_, _| {})?;
        session.limit = vm.timeout;
        let console = session.console();
        // It boots all the same, with files missing.
        if console.contains(TRUNCATED) {
            return Err(Error::OutOfMemory { memory: session.memory, console });
        }
        Ok(session)
    }

    /// Runs `command` in `/tmp` and waits for it. What it leaves running is killed.
    pub fn run<S: AsRef<OsStr>>(
        &mut self,
        command: impl IntoIterator<Item = S>,
    ) -> Result<Output, Error> {
        let mut output =
            Output { status: 0, stdout: Vec::new(), stderr: Vec::new(), out_of_memory: None };
        let (status, out_of_memory) = self.stream(command, &mut |stream, bytes| match stream {
            Stream::Stdout => output.stdout.extend_from_slice(bytes),
            Stream::Stderr => output.stderr.extend_from_slice(bytes),
        })?;
        Ok(Output { status, out_of_memory, ..output })
    }

    /// Like [`Session::run`], and hands `sink` what the command says while it says it. Returns the
    /// status, and a sentence if the guest ran out of memory.
    pub fn stream<S: AsRef<OsStr>>(
        &mut self,
        command: impl IntoIterator<Item = S>,
        sink: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<(u8, Option<String>), Error> {
        let script = script(command);
        if script == b"exec\n" {
            return Err(Error::other("there is no command to run: put it behind --"));
        }
        self.order(format!("run {}\n", script.len()).as_bytes(), &script)?;
        let answer = self.answer(sink)?;
        let status = answer.strip_prefix("done ").and_then(|s| s.trim().parse().ok());
        let status =
            status.ok_or_else(|| Error::other(format!("the guest answered nonsense: {answer}")))?;
        let console = self.console();
        let fresh = console.get(self.console_seen..).unwrap_or_default();
        let killed = fresh.lines().find(|line| line.contains("Out of memory: Killed")).map(|line| {
            let what = line.split("Killed ").nth(1).unwrap_or(line);
            let what = what.split(" total-vm").next().unwrap_or(what);
            format!(
                "the guest ran out of memory and its kernel killed {what}; it had {} MiB, give it more with --memory {}",
                self.memory,
                self.memory.saturating_mul(2)
            )
        });
        self.console_seen = console.len();
        Ok((status, killed))
    }

    /// Puts a file into the guest, where it gets `mode`.
    pub fn put(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<(), Error> {
        self.order(
            format!("put {} {:o} {path}\n", content.len(), mode & 0o7777).as_bytes(),
            content,
        )?;
        match self.answer(&mut |_, _| {})?.as_str() {
            "done 0" => Ok(()),
            _ => Err(Error::other(format!(
                "cannot write {path} in the guest; check that its directory is there"
            ))),
        }
    }

    /// Everything on the console so far.
    pub fn console(&self) -> String {
        let bytes = fs::read(self.scratch.path().join("console")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn order(&mut self, line: &[u8], content: &[u8]) -> Result<(), Error> {
        let sent =
            self.orders.as_mut().map(|to| to.write_all(line).and_then(|()| to.write_all(content)));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(self.verdict(None)),
        }
    }

    /// Waits for a line, passing the streams on meanwhile.
    fn answer(&mut self, sink: &mut dyn FnMut(Stream, &[u8])) -> Result<String, Error> {
        let end = Instant::now() + self.limit;
        loop {
            let answer = self.answers.recv_timeout(POLL);
            // The guest answers when everything it wrote has arrived in the files.
            drain(&mut self.stdout, |bytes| sink(Stream::Stdout, bytes))
                .and_then(|()| drain(&mut self.stderr, |bytes| sink(Stream::Stderr, bytes)))
                .map_err(|e| Error::io("read the streams in", self.scratch.path(), &e))?;
            match answer {
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Timeout) if Instant::now() < end => {}
                Err(RecvTimeoutError::Timeout) => return Err(self.verdict(Some(self.limit))),
                Err(RecvTimeoutError::Disconnected) => return Err(self.verdict(None)),
            }
        }
    }

    /// Ends the guest and says why it did not answer.
    fn verdict(&mut self, limit: Option<Duration>) -> Error {
        self.orders = None;
        let ended = match limit {
            Some(_) => None,
            // Its streams are closed: it is about to be gone.
            None => wait(&mut self.qemu, Duration::from_secs(10)),
        };
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let console = self.console();
        let memory = self.memory;
        let has = |mark: &str| console.contains(mark);
        if has("System is deadlocked on memory") || has(TRUNCATED) {
            return Error::OutOfMemory { memory, console };
        }
        if has("Kernel panic") {
            return Error::Panic { console };
        }
        if let Some(limit) = limit {
            return Error::Hang { limit, console };
        }
        let said = fs::read_to_string(self.scratch.path().join("emulator")).unwrap_or_default();
        match ended {
            Some(status) if !status.success() => Error::Emulator(if said.trim().is_empty() {
                format!("nothing ({status})")
            } else {
                said
            }),
            _ => Error::Gone { console },
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The end of the orders powers the guest off; nobody waits for it to do so gracefully.
        self.orders = None;
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// Boots `vm` with its console on this terminal and returns when it has powered off.
pub fn shell(vm: &Vm) -> Result<(), Error> {
    if !io::stdin().is_terminal() {
        return Err(Error::other(
            "a shell needs a terminal; without one use `cargo vm run … -- sh -c SCRIPT`",
        ));
    }
    let scratch = Scratch::new(&std::env::temp_dir(), "xol-vm")?;
    let vm = vm.clone().package("bash");
    let launch = vm.prepare(scratch.path())?;
    eprintln!("cargo vm: `exit` powers the guest off, Ctrl-A X ends it at once");
    let status = launch
        .command(&vm, &Talk::Console)
        .status()
        .map_err(|e| Error::other(format!("cannot start {}: {e}", vm.guest.emulator())))?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::other(format!("the emulator ended with {status}")))
    }
}

fn drain(from: &mut File, mut sink: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = [0; 64 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            n => sink(&buffer[..n]),
        }
    }
}

fn wait(child: &mut Child, limit: Duration) -> Option<std::process::ExitStatus> {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        thread::sleep(POLL);
    }
    None
}
