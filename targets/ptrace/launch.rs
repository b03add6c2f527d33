//! How a command becomes a target: it is started and waits, is traced, and then becomes the program.
#![allow(unsafe_code)]

use super::Ptrace;
use super::attach::OPTIONS;
use super::space::Space;
use super::sys::{self, Pid, Status, Tid, Whom};
use super::thread::{State, Thread};
use std::ffi::CString;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;

/// prctl(2): names who may trace this process where Yama restricts that.
const PR_SET_PTRACER: i32 = 0x5961_6d61;

/// A command to be started.
#[derive(Debug)]
pub struct Launch {
    /// The program, looked up in PATH as execvp(3) does.
    pub program: CString,
    /// Its arguments, the program's name first.
    pub args: Vec<CString>,
}

/// Why a command could not be started.
#[derive(Debug)]
pub enum LaunchError {
    /// exec failed: as a shell reports it, status 127 for ENOENT, else 126.
    Exec(io::Error),
    /// fork, pipe or ptrace failed.
    Io(io::Error),
}

/// A command that was started and waits until it is let go.
#[derive(Debug)]
pub struct Begun {
    pid: Pid,
    go: PipeWriter,
    /// Says that it waits, and later why it could not be started.
    said: PipeReader,
}

impl Launch {
    /// Starts the command, as a child of this process. It waits for a tracer.
    ///
    /// # Errors
    /// [`LaunchError::Io`].
    pub fn begin(&self) -> Result<Begun, LaunchError> {
        let (ready, go) = io::pipe().map_err(LaunchError::Io)?;
        let (said, say) = io::pipe().map_err(LaunchError::Io)?;
        let mut argv: Vec<*const libc::c_char> = self.args.iter().map(|a| a.as_ptr()).collect();
        argv.push(std::ptr::null());
        // SAFETY: xol has one thread; what the child does before exec is async-signal-safe.
        let pid = unsafe { libc::fork() };
        if pid == -1 {
            return Err(LaunchError::Io(io::Error::last_os_error()));
        }
        if pid == 0 {
            child(&self.program, &argv, ready.as_raw_fd(), go.as_raw_fd(), say.as_raw_fd());
        }
        Ok(Begun { pid: Pid(pid), go, said })
    }
}

impl Begun {
    /// The command's process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }
}

impl Ptrace {
    /// Traces a command that waits, and lets it go; returns when it has been told to exec, so that
    /// [`Ptrace::wait`] will report [`super::Event::Exec`] or its end.
    ///
    /// # Errors
    /// See [`LaunchError`].
    pub fn launch(&mut self, mut begun: Begun) -> Result<Pid, LaunchError> {
        let tid = Tid(begun.pid.0);
        // Where Yama is, only a parent or whom the child names may trace it.
        let us = std::process::id().to_ne_bytes();
        begun.go.write_all(&us).map_err(LaunchError::Io)?;
        begun.said.read_exact(&mut [0]).map_err(LaunchError::Io)?;
        sys::seize(tid, OPTIONS).map_err(LaunchError::Io)?;
        self.threads.insert(tid, Thread::new(tid, begun.pid, State::Running));
        let space = Space::open(begun.pid).map_err(LaunchError::Io)?;
        let space = self.add_space(space);
        self.add_process(begun.pid, space, true);
        begun.go.write_all(&[1]).map_err(LaunchError::Io)?;
        self.await_exec(tid, &mut begun.said)?;
        Ok(begun.pid)
    }

    /// Waits until exec has succeeded (its stop stays to be reported) or failed.
    fn await_exec(&mut self, tid: Tid, failed: &mut impl Read) -> Result<(), LaunchError> {
        loop {
            match sys::wait(Whom::One(tid), false, true) {
                Ok(Some((_, Status::Stopped { event: libc::PTRACE_EVENT_EXEC, .. }))) => {
                    return Ok(());
                }
                Ok(Some((_, Status::Stopped { signal, event: 0 }))) => {
                    sys::cont(tid, signal).map_err(LaunchError::Io)?;
                }
                Ok(Some((_, Status::Stopped { .. }))) => {
                    sys::cont(tid, 0).map_err(LaunchError::Io)?;
                }
                Ok(Some((_, Status::Exited(_) | Status::Killed(_)))) => {
                    // Reaping only keeps the process table tidy.
                    let _ = sys::wait(Whom::One(tid), true, false);
                    self.threads.remove(&tid);
                    self.forget(Pid(tid.0));
                    let mut errno = [0; 4];
                    let code = match failed.read_exact(&mut errno) {
                        Ok(()) => i32::from_ne_bytes(errno),
                        Err(_) => libc::EINTR,
                    };
                    return Err(LaunchError::Exec(io::Error::from_raw_os_error(code)));
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(LaunchError::Io(error)),
            }
        }
    }
}

/// The child: waits until it is traced, then becomes the program.
fn child(program: &CString, argv: &[*const libc::c_char], ready: i32, go: i32, say: i32) -> ! {
    // SAFETY: a descriptor number.
    unsafe { libc::close(go) };
    // Rust's runtime ignores SIGPIPE in xol; the program gets the default.
    // SAFETY: SIG_DFL is a valid handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let mut tracer = [0u8; 4];
    // SAFETY: reads four bytes into an array of four.
    while unsafe { libc::read(ready, tracer.as_mut_ptr().cast(), 4) } == -1 {}
    // Fails where Yama is not, and nobody needs it.
    // SAFETY: numbers only.
    unsafe { libc::prctl(PR_SET_PTRACER, u64::from(u32::from_ne_bytes(tracer)), 0, 0, 0) };
    let mut byte = 0u8;
    // SAFETY: writes one byte from a byte.
    unsafe { libc::write(say, (&raw const byte).cast(), 1) };
    // SAFETY: reads one byte into a byte.
    while unsafe { libc::read(ready, (&raw mut byte).cast(), 1) } == -1 {}
    // SAFETY: `program` and `argv` are NUL- and null-terminated.
    unsafe { libc::execvp(program.as_ptr(), argv.as_ptr()) };
    let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0).to_ne_bytes();
    // SAFETY: writes four bytes from an array of four.
    unsafe { libc::write(say, errno.as_ptr().cast(), 4) };
    // SAFETY: ends the process.
    unsafe { libc::_exit(127) }
}
