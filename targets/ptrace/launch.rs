//! How a command becomes a target.
#![allow(unsafe_code)]

use super::Ptrace;
use super::attach::OPTIONS;
use super::space::Space;
use super::sys::{self, Pid, Status, Tid, Whom};
use super::thread::{State, Thread};
use std::ffi::CString;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;

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

impl Ptrace {
    /// Starts a command; returns when it has been told to exec, so that [`Ptrace::wait`] will
    /// report [`super::Event::Exec`] or its end.
    ///
    /// # Errors
    /// See [`LaunchError`].
    pub fn launch(&mut self, launch: &Launch) -> Result<Pid, LaunchError> {
        let (mut ready, mut go) = io::pipe().map_err(LaunchError::Io)?;
        let (mut failed, fail) = io::pipe().map_err(LaunchError::Io)?;
        let mut argv: Vec<*const libc::c_char> = launch.args.iter().map(|a| a.as_ptr()).collect();
        argv.push(std::ptr::null());
        // SAFETY: xol has one thread; what the child does before exec is async-signal-safe.
        let pid = unsafe { libc::fork() };
        if pid == -1 {
            return Err(LaunchError::Io(io::Error::last_os_error()));
        }
        if pid == 0 {
            child(&launch.program, &argv, ready.as_raw_fd(), go.as_raw_fd(), fail.as_raw_fd());
        }
        drop(fail);
        let tid = Tid(pid);
        sys::seize(tid, OPTIONS).map_err(LaunchError::Io)?;
        self.threads.insert(tid, Thread::new(tid, Pid(pid), State::Running));
        let space = Space::open(Pid(pid)).map_err(LaunchError::Io)?;
        let space = self.add_space(space);
        self.add_process(Pid(pid), space, true);
        go.write_all(&[1]).map_err(LaunchError::Io)?;
        drop(go);
        let _ = &mut ready;
        drop(ready);
        self.await_exec(tid, &mut failed)?;
        Ok(Pid(pid))
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
fn child(program: &CString, argv: &[*const libc::c_char], ready: i32, go: i32, fail: i32) -> ! {
    // SAFETY: a descriptor number.
    unsafe { libc::close(go) };
    // Rust's runtime ignores SIGPIPE in xol; the program gets the default.
    // SAFETY: SIG_DFL is a valid handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let mut byte = 0u8;
    // SAFETY: reads one byte into a byte.
    while unsafe { libc::read(ready, (&raw mut byte).cast(), 1) } == -1 {}
    // SAFETY: `program` and `argv` are NUL- and null-terminated.
    unsafe { libc::execvp(program.as_ptr(), argv.as_ptr()) };
    let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0).to_ne_bytes();
    // SAFETY: writes four bytes from an array of four.
    unsafe { libc::write(fail, errno.as_ptr().cast(), 4) };
    // SAFETY: ends the process.
    unsafe { libc::_exit(127) }
}
