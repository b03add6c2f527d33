//! System calls tried on ourselves: what xol's own seccomp filters say to them.
//!
//! A process that has the same filters would get the same answer. A filter may kill, so a child
//! tries the calls, one after the other, and says which it has come back from; where it ends,
//! another one goes on behind that call. A filter that answers with an error does no harm and
//! counts as an answer: the call can be made, and its error is dealt with where it is made.
//!
//! # Safety
//! Every `unsafe` block is one libc call; what a child does between fork and _exit is
//! async-signal-safe.
#![allow(unsafe_code)]

use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What became of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It returned.
    Returns,
    /// It returned an error that a filter may have in its place.
    Refused,
    /// The filter sent SIGSYS instead, which a handler survives.
    Traps,
    /// The filter ends the process that makes it, or never answers.
    Kills,
}

/// The calls that xol makes in a target, by name and number.
pub const CALLS: [(&str, libc::c_long); 8] = [
    ("rt_sigreturn", libc::SYS_rt_sigreturn),
    ("rt_sigaction", libc::SYS_rt_sigaction),
    ("mmap", libc::SYS_mmap),
    ("munmap", libc::SYS_munmap),
    ("sigaltstack", libc::SYS_sigaltstack),
    ("memfd_create", libc::SYS_memfd_create),
    ("openat", libc::SYS_openat),
    ("close", libc::SYS_close),
];

/// Long enough for a call that does nothing; a supervisor that is asked (SECCOMP_RET_USER_NOTIF)
/// and does not answer counts as a filter that kills.
const LIMIT: Duration = Duration::from_secs(2);

/// What our own filters say to each of [`CALLS`]. Tried once.
#[must_use]
pub fn answers() -> &'static [Answer; CALLS.len()] {
    static ANSWERS: OnceLock<[Answer; CALLS.len()]> = OnceLock::new();
    ANSWERS.get_or_init(|| {
        let mut answers = [Answer::Kills; CALLS.len()];
        let mut next = 0;
        while next < CALLS.len() {
            let Ok(said) = try_from(next) else { break };
            for &byte in &said {
                if let Some(answer) = answers.get_mut(next) {
                    *answer = match byte {
                        b't' => Answer::Traps,
                        b'e' => Answer::Refused,
                        _ => Answer::Returns,
                    };
                }
                next += 1;
            }
            // The one it did not come back from.
            next += 1;
        }
        answers
    })
}

/// What our own filters say to a call; one that was not tried may kill.
#[must_use]
pub fn answer_to(number: libc::c_long) -> Answer {
    let at = CALLS.iter().position(|&(_, n)| n == number);
    at.map_or(Answer::Kills, |at| answers()[at])
}

/// Makes a child try the calls from number `first` on: a byte for each that it came back from.
fn try_from(first: usize) -> io::Result<Vec<u8>> {
    let (mut said, says) = io::pipe()?;
    // SAFETY: no arguments.
    let pid = unsafe { libc::fork() };
    if pid == -1 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        child(first, says.as_raw_fd());
    }
    drop(says);
    let begun = Instant::now();
    let mut all = Vec::new();
    loop {
        let mut ready = libc::pollfd { fd: said.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let left = LIMIT.saturating_sub(begun.elapsed()).as_millis() as libc::c_int;
        // SAFETY: reads and writes one pollfd.
        match unsafe { libc::poll(&raw mut ready, 1, left) } {
            0 => break,
            -1 if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted => break,
            -1 => continue,
            _ => {}
        }
        let mut bytes = [0; CALLS.len()];
        match said.read(&mut bytes) {
            Ok(0) => break,
            Ok(n) => all.extend_from_slice(&bytes[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    // SAFETY: two numbers; it is our child and not waited for yet.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    // SAFETY: no status is asked for.
    while unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) } == -1
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
    Ok(all)
}

static TRAPPED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_sigsys(_: libc::c_int) {
    TRAPPED.store(true, Ordering::Relaxed);
}

extern "C" fn on_nothing(_: libc::c_int) {}

/// The child: tries, says so, ends.
fn child(first: usize, says: RawFd) -> ! {
    // It may be killed by SIGSYS, which nobody need be told of by a core file.
    // SAFETY: numbers only.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    // SAFETY: a handler that does nothing but set a flag.
    unsafe { libc::signal(libc::SIGSYS, on_sigsys as *const () as libc::sighandler_t) };
    for &(_, number) in CALLS.iter().skip(first) {
        TRAPPED.store(false, Ordering::Relaxed);
        let refused = attempt(number) == -1
            && matches!(
                io::Error::last_os_error().raw_os_error(),
                Some(libc::EPERM | libc::ENOSYS | libc::EACCES)
            );
        let byte = match (TRAPPED.load(Ordering::Relaxed), refused) {
            (true, _) => b't',
            (false, true) => b'e',
            (false, false) => b'r',
        };
        // SAFETY: writes one byte from a byte.
        unsafe { libc::write(says, (&raw const byte).cast(), 1) };
    }
    // SAFETY: ends the process.
    unsafe { libc::_exit(0) }
}

/// Makes a call as xol makes it in a target, without effect on anything but this process.
fn attempt(number: libc::c_long) -> libc::c_long {
    let page = 4096usize;
    match number {
        libc::SYS_rt_sigreturn => {
            // What a handler ends with.
            // SAFETY: a handler that does nothing.
            unsafe { libc::signal(libc::SIGUSR1, on_nothing as *const () as libc::sighandler_t) };
            // SAFETY: a number.
            unsafe { libc::raise(libc::SIGUSR1) }.into()
        }
        libc::SYS_rt_sigaction => {
            let mut action = [0u64; 4];
            // SAFETY: the kernel writes its struct sigaction, 32 bytes, to as many.
            unsafe { libc::syscall(number, libc::SIGTRAP, 0usize, &raw mut action, 8usize) }
        }
        libc::SYS_mmap => {
            let protection = libc::PROT_READ | libc::PROT_EXEC;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: a new mapping, wherever the kernel likes.
            unsafe { libc::syscall(number, 0usize, page, protection, flags, -1, 0usize) }
        }
        // SAFETY: of no bytes, which the kernel refuses.
        libc::SYS_munmap => unsafe { libc::syscall(number, 0usize, 0usize) },
        libc::SYS_sigaltstack => {
            let mut stack = [0u64; 3];
            // SAFETY: the kernel writes its stack_t, 24 bytes, to as many.
            unsafe { libc::syscall(number, 0usize, &raw mut stack) }
        }
        libc::SYS_memfd_create => {
            let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
            // SAFETY: a name that ends with a NUL.
            unsafe { libc::syscall(number, c"xol".as_ptr(), flags) }
        }
        libc::SYS_openat => {
            let flags = libc::O_RDONLY | libc::O_CLOEXEC;
            // SAFETY: a path that ends with a NUL.
            unsafe { libc::syscall(number, libc::AT_FDCWD, c"/".as_ptr(), flags, 0) }
        }
        // SAFETY: no descriptor has this number.
        libc::SYS_close => unsafe { libc::syscall(number, -1) },
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_filter_every_call_returns() {
        assert_eq!(answers(), &[Answer::Returns; CALLS.len()]);
        assert_eq!(answer_to(libc::SYS_mmap), Answer::Returns);
        assert_eq!(answer_to(libc::SYS_reboot), Answer::Kills, "not tried");
    }
}
