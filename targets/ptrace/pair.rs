//! Two processes: the command in front, and the tracer behind it.
//!
//! People kill the process that they see: it runs out of memory, its terminal goes away, somebody
//! types `kill -9`. The kernel lets traced threads run the moment their tracer dies, so that process
//! must not be the tracer. The one in front is the parent of the launched program, gets the signals,
//! and has the exit status. The one behind it traces, in a session of its own. Each looks after the
//! other: when the one in front dies, the kernel tells the tracer (PR_SET_PDEATHSIG), which leaves as
//! at Ctrl-C; when the tracer dies, its end of the socket between them closes before its threads are
//! let go (do_exit() of the kernel closes files first), and the one in front puts the text back
//! (`keeper`).
//!
//! # Safety
//! As in `sys`: every `unsafe` block is one libc call whose pointers point to storage visible in the
//! same function. Between fork and the end of [`split`] xol has one thread.
#![allow(unsafe_code)]

use super::keeper::Keeper;
use super::space::SpaceId;
use super::sys::{Pid, SI_KERNEL, check};
use super::tracer;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, Ordering};
use xol_arch::Addr;

/// What the tracer is called in `ps`. `pkill xol` does not match it.
const NAME: &str = "probe-tracer";
/// `si_value` of a signal that a terminal sent to the process in front.
pub(super) const FROM_TERMINAL: usize = 1;
/// Bytes of a message on the socket: kind, space, process, address.
const MESSAGE: usize = 32;

/// Which of the two processes this is.
#[derive(Debug)]
pub enum Side {
    /// The one in front.
    Front(Front),
    /// The one that traces.
    Tracer(Link),
}

/// The process in front, with the tracer behind it.
#[derive(Debug)]
pub struct Front {
    tracer: Pid,
    program: Option<Pid>,
    link: UnixStream,
}

/// How the tracer has ended, as the process in front sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order, with this exit status.
    Exited(u8),
    /// Somebody killed it with this signal; so many traps were taken away since.
    Killed(i32, usize),
}

/// The tracer's end of the socket. Nothing it sends is waited for.
#[derive(Debug)]
pub struct Link(UnixStream);

/// What the tracer tells the process in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The text of this space has traps; the head in it is mapped here.
    Began(SpaceId, Pid, Addr),
    /// Nobody has that space any more, or nothing of ours is in it.
    Ended(SpaceId),
    /// The tracer is done.
    Done,
}

impl Message {
    fn to_bytes(self) -> [u8; MESSAGE] {
        let words = match self {
            Message::Began(space, pid, head) => [1, space.0.into(), pid.0 as u64, head.0],
            Message::Ended(space) => [2, space.0.into(), 0, 0],
            Message::Done => [3, 0, 0, 0],
        };
        let mut bytes = [0; MESSAGE];
        for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; MESSAGE]) -> Option<Message> {
        let mut words = [0; 4];
        for (word, from) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            let mut eight = [0; 8];
            eight.copy_from_slice(from);
            *word = u64::from_ne_bytes(eight);
        }
        let space = SpaceId(words[1] as u32);
        match words[0] {
            1 => Some(Message::Began(space, Pid(words[2] as i32), Addr(words[3]))),
            2 => Some(Message::Ended(space)),
            3 => Some(Message::Done),
            _ => None,
        }
    }
}

impl Link {
    /// Sends a message. One that finds no room is lost: the process in front may be stopped, and the
    /// traced program must not wait for that.
    pub(super) fn send(&self, message: Message) {
        let _ = (&self.0).write(&message.to_bytes());
    }

    /// Says that the tracer is done and nothing of it is left in any program.
    pub fn done(&self) {
        self.send(Message::Done);
    }
}

/// Makes two processes of this one, which must have one thread. `program` is a child that waits to be
/// let go.
///
/// # Errors
/// Those of socketpair(2) and fork(2): there is then one process, as before.
pub fn split(program: Option<Pid>) -> io::Result<Side> {
    let (front, behind) = UnixStream::pair()?;
    behind.set_nonblocking(true)?;
    let parent = std::process::id();
    // None is lost that comes before both know what to do with it.
    tracer::block_ending(true)?;
    // SAFETY: xol has one thread, so the child may do whatever it likes.
    let pid = unsafe { libc::fork() };
    let forked = check(pid.into());
    if pid == 0 {
        drop(front);
        if step_behind(parent).and_then(|()| tracer::block_ending(false)).is_err() {
            // There would be two that trace.
            std::process::exit(1);
        }
        return Ok(Side::Tracer(Link(behind)));
    }
    let forwarded = forked.and_then(|_| forward_signals(pid));
    tracer::block_ending(false)?;
    forwarded?;
    drop(behind);
    Ok(Side::Front(Front { tracer: Pid(pid), program, link: front }))
}

/// What the tracer does before anything else.
fn step_behind(parent: u32) -> io::Result<()> {
    tracer::catch_ending()?;
    // SAFETY: numbers only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, tracer::FRONT_IS_GONE) };
    if std::os::unix::process::parent_id() != parent {
        // It died before the kernel knew whom to tell.
        std::process::exit(0);
    }
    // SAFETY: no arguments; a process that was just forked leads no group, so it does not fail.
    unsafe { libc::setsid() };
    // What follows is for people and for luck: where it cannot be, the tracer works all the same.
    let _ = fs::write("/proc/self/comm", NAME);
    let _ = rename(&format!("{NAME} for {parent}"));
    let _ = lower_score();
    if let Ok(null) = File::open("/dev/null") {
        // SAFETY: two descriptors.
        unsafe { libc::dup2(null.as_raw_fd(), 0) };
    }
    Ok(())
}

/// Changes the words that `ps` shows: they stand where the kernel put the arguments, which fields 48
/// and 49 of /proc/PID/stat name.
fn rename(name: &str) -> io::Result<()> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace();
    let start: u64 = fields.nth(48 - 3).and_then(|v| v.parse().ok()).ok_or(io::ErrorKind::Other)?;
    let end: u64 = fields.next().and_then(|v| v.parse().ok()).ok_or(io::ErrorKind::Other)?;
    let mut words = vec![0; end.saturating_sub(start) as usize];
    let n = words.len().saturating_sub(1).min(name.len());
    words[..n].copy_from_slice(&name.as_bytes()[..n]);
    OpenOptions::new().write(true).open("/proc/self/mem")?.write_all_at(&words, start)
}

/// Asks the kernel to end other processes first when memory runs out (proc(5), oom_score_adj), where that
/// is allowed.
fn lower_score() -> io::Result<()> {
    const LESS: i32 = 500;
    let path = "/proc/self/oom_score_adj";
    let score: i32 = fs::read_to_string(path)?.trim().parse().unwrap_or(0);
    fs::write(path, (score - LESS).max(-1000).to_string())
}

/// The tracer, for the handler.
static TRACER: AtomicI32 = AtomicI32::new(0);

extern "C" fn forward(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: SA_SIGINFO: the kernel passes a valid siginfo_t.
    let code = unsafe { (*info).si_code };
    let value = if code == SI_KERNEL { FROM_TERMINAL } else { 0 };
    let value = libc::sigval { sival_ptr: value as *mut libc::c_void };
    let tracer = TRACER.load(Ordering::Relaxed);
    // SAFETY: it takes nothing and always has a result.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: the address of this thread's errno, valid as long as the thread is.
    let had = unsafe { *errno };
    // Where no more can be queued (RLIMIT_SIGPENDING), the kernel sends all but real-time signals without
    // their value.
    // SAFETY: three numbers; sigqueue(3) may be called in a handler.
    unsafe { libc::sigqueue(tracer, signal, value) };
    // SAFETY: as above.
    unsafe { *errno = had };
}

extern "C" fn wake(_: i32) {}

/// Passes the signals that ask us to end on to the tracer. Those that are ignored stay so.
fn forward_signals(tracer: i32) -> io::Result<()> {
    TRACER.store(tracer, Ordering::Relaxed);
    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = forward;
    for signal in tracer::ENDING.into_iter().chain([tracer::ASKING]) {
        tracer::handle(signal, handler as usize, libc::SA_SIGINFO | libc::SA_RESTART)?;
    }
    let handler: extern "C" fn(i32) = wake;
    // Ignored, the end of the tracer could not be told from that of another child.
    // SAFETY: SIG_DFL is a valid handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    tracer::handle(libc::SIGCHLD, handler as usize, 0)
}

impl Front {
    /// Waits for the tracer's end. Puts the text of every traced program back if that was not in
    /// order.
    #[must_use]
    pub fn wait(mut self) -> End {
        let mut keeper = Keeper::default();
        let mut bytes = [0; MESSAGE];
        let mut have = 0;
        let mut done = false;
        loop {
            match self.link.read(&mut bytes[have..]) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => self.reap_program(),
                Err(_) => break,
            }
            if have < MESSAGE {
                continue;
            }
            have = 0;
            match Message::from_bytes(&bytes) {
                Some(Message::Began(space, pid, head)) => keeper.begin(space, pid, head),
                Some(Message::Ended(space)) => keeper.end(space),
                Some(Message::Done) => done = true,
                None => {}
            }
        }
        // Before anything else: the threads of the program are about to run.
        let restored = if done { 0 } else { keeper.restore_all() };
        let status = self.reap_tracer();
        self.reap_program();
        if libc::WIFSIGNALED(status) {
            End::Killed(libc::WTERMSIG(status), restored)
        } else {
            End::Exited(libc::WEXITSTATUS(status) as u8)
        }
    }

    /// The wait status of the tracer.
    fn reap_tracer(&self) -> i32 {
        let mut status = 0;
        // SAFETY: the kernel writes one int.
        while unsafe { libc::waitpid(self.tracer.0, &raw mut status, 0) } == -1 {
            if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                break;
            }
        }
        status
    }

    /// Takes notice of the program's end, if it has come: no zombie is left for as long as its
    /// children are traced.
    fn reap_program(&mut self) {
        let Some(program) = self.program else { return };
        let mut status = 0;
        // SAFETY: the kernel writes one int.
        if unsafe { libc::waitpid(program.0, &raw mut status, libc::WNOHANG) } == program.0 {
            self.program = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_what_was_sent() {
        let all = [
            Message::Began(SpaceId(7), Pid(4711), Addr(0x7fff_1234_5000)),
            Message::Ended(SpaceId(u32::MAX)),
            Message::Done,
        ];
        for message in all {
            assert_eq!(Message::from_bytes(&message.to_bytes()), Some(message));
        }
        assert_eq!(Message::from_bytes(&[0; MESSAGE]), None);
    }
}
