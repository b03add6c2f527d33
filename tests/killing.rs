//! Kills xol with SIGKILL: at one of its system calls, or after a while.

use std::time::{Duration, Instant};

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::run::slowness;
use crate::xol::command;

/// How long a run may take from call to call.
const LIMIT: Duration = Duration::from_secs(20);

/// When it dies.
#[derive(Clone, Copy, Debug)]
pub enum Death {
    /// In front of its `n`th system call, the first being 1.
    AtCall(u64),
    /// That long after its start.
    After(Duration),
}

/// How a killed run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was killed.
    Killed,
    /// It was done before.
    Ended(i32),
}

/// Runs `xol WORDS` until its death.
///
/// # Panics
/// If it cannot be run.
#[must_use]
pub fn dies(words: &[String], death: Death) -> End {
    match death {
        Death::AtCall(n) => counted(words, Some(n)).0,
        Death::After(time) => {
            let mut started = command(words).start();
            let begun = Instant::now();
            while begun.elapsed() < time && !started.ended() {
                std::thread::sleep(Duration::from_micros(100).min(time));
            }
            _ = kill(Pid::from_raw(started.pid().cast_signed()), Signal::SIGKILL);
            let finished = started.finish();
            finished.status.code().map_or(End::Killed, End::Ended)
        }
    }
}

/// How many system calls `xol WORDS` makes.
///
/// # Panics
/// If it fails.
#[must_use]
pub fn syscalls(words: &[String]) -> u64 {
    let (end, calls) = counted(words, None);
    assert_eq!(end, End::Ended(0), "xol {words:?}");
    calls
}

/// Runs `xol WORDS` from call to call, all its threads together.
fn counted(words: &[String], last: Option<u64>) -> (End, u64) {
    let started = command(words).start_with(true, &[]);
    let leader = Pid::from_raw(started.pid().cast_signed());
    let stopped = waitpid(leader, Some(WaitPidFlag::WUNTRACED)).expect("our child");
    assert!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");
    let options =
        Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEEXEC;
    ptrace::seize(leader, options).expect("tracing a child of ours");
    kill(leader, Signal::SIGCONT).expect("our child");
    let mut calls = 0;
    let mut running = false;
    let begun = Instant::now();
    // Each thread stops at both ends of a call.
    let mut inside = std::collections::BTreeSet::new();
    loop {
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD | WaitPidFlag::WNOHANG;
        let (tid, signal) = match waitpid(None, Some(flags)) {
            Ok(WaitStatus::StillAlive) => {
                if begun.elapsed() > LIMIT * slowness() {
                    kill(leader, Signal::SIGKILL).expect("our child");
                    panic!("xol {words:?} still runs after {LIMIT:?} and {calls} calls");
                }
                std::thread::sleep(Duration::from_micros(20));
                continue;
            }
            Ok(WaitStatus::PtraceSyscall(tid)) => {
                if running && !inside.remove(&tid) {
                    inside.insert(tid);
                    calls += 1;
                    if last == Some(calls) {
                        kill(leader, Signal::SIGKILL).expect("our child");
                        _ = started.finish();
                        return (End::Killed, calls);
                    }
                }
                (tid, None)
            }
            Ok(WaitStatus::PtraceEvent(tid, _, event)) => {
                if event == nix::libc::PTRACE_EVENT_EXEC {
                    // Counted from the end of the execve on.
                    running = true;
                    inside.insert(tid);
                }
                (tid, None)
            }
            Ok(WaitStatus::Stopped(tid, signal)) => (tid, Some(signal)),
            Ok(WaitStatus::Exited(pid, code)) if pid == leader => {
                return (End::Ended(code), calls);
            }
            Ok(WaitStatus::Signaled(pid, ..)) if pid == leader => return (End::Killed, calls),
            Ok(_) => continue,
            Err(e) => panic!("waiting for xol: {e}"),
        };
        // ESRCH: it was killed meanwhile, and says so next.
        _ = ptrace::syscall(tid, signal);
    }
}
