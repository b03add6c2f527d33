//! Kills xol with SIGKILL: at one of its system calls, or after a while. xol is two processes; each
//! of them can be the one that dies.

use std::collections::BTreeSet;
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
    /// In front of the `n`th system call of both, the first being 1.
    AtCall(u64),
    /// That long after its start.
    After(Duration),
}

/// Which of its processes die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// The command: the tracer leaves in order.
    Front,
    /// The tracer: the command puts the text back.
    Tracer,
    /// Both at one moment.
    Both,
}

/// The process that traces behind the command `front`, once it is there.
#[must_use]
pub fn tracer_of(front: u32) -> Option<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{front}/task/{front}/children")).ok()?;
    let mut children = children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
    children
        .find(|pid: &i32| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim() == "probe-tracer")
        })
        .map(Pid::from_raw)
}

/// Kills the processes of the command `front` that are to die.
pub fn strike(front: u32, victim: Victim) {
    let tracer = tracer_of(front);
    let front = Pid::from_raw(front.cast_signed());
    // Where there is no tracer yet, the command is all there is.
    if victim != Victim::Tracer || tracer.is_none() {
        _ = kill(front, Signal::SIGKILL);
    }
    if let Some(tracer) = tracer.filter(|_| victim != Victim::Front) {
        _ = kill(tracer, Signal::SIGKILL);
    }
}

/// How a killed run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was killed.
    Killed,
    /// It was done before.
    Ended(i32),
}

/// Runs `xol WORDS` until its death. Returns when none of its processes is left.
///
/// # Panics
/// If it cannot be run.
#[must_use]
pub fn dies(words: &[String], death: Death, victim: Victim) -> End {
    match death {
        Death::AtCall(n) => counted(words, Some((n, victim))).0,
        Death::After(time) => {
            let mut started = command(words).start();
            let begun = Instant::now();
            while begun.elapsed() < time && !started.ended() {
                std::thread::sleep(Duration::from_micros(100).min(time));
            }
            let tracer = tracer_of(started.pid());
            strike(started.pid(), victim);
            let finished = started.finish();
            let begun = Instant::now();
            // A tracer whose command has died is still leaving; as a zombie it is gone.
            while tracer.is_some_and(is_alive) && begun.elapsed() < LIMIT * slowness() {
                std::thread::sleep(Duration::from_micros(100));
            }
            finished.status.code().filter(|&code| code != 125).map_or(End::Killed, End::Ended)
        }
    }
}

/// What a thread that does not end is doing.
fn state(pid: Pid) -> String {
    let file = |name: &str| {
        std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default().trim().to_owned()
    };
    let status = file("status");
    let lines = ["Name", "State", "SigQ", "SigPnd", "ShdPnd", "SigBlk", "SigCgt", "Threads"];
    let told = status.lines().filter(|line| lines.iter().any(|name| line.starts_with(name)));
    let told: Vec<&str> = told.collect();
    format!("{pid} {}\n  syscall {}\n  wchan {}\n", told.join(", "), file("syscall"), file("wchan"))
}

fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
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

/// Runs `xol WORDS` from call to call, all its threads and processes together.
fn counted(words: &[String], last: Option<(u64, Victim)>) -> (End, u64) {
    let started = command(words).start_with(true, &[]);
    let leader = Pid::from_raw(started.pid().cast_signed());
    let stopped = waitpid(leader, Some(WaitPidFlag::WUNTRACED)).expect("our child");
    assert!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEEXEC;
    ptrace::seize(leader, options).expect("tracing a child of ours");
    kill(leader, Signal::SIGCONT).expect("our child");
    let mut calls = 0;
    let mut running = false;
    let mut end = None;
    let begun = Instant::now();
    // Each thread stops at both ends of a call.
    let mut inside = BTreeSet::new();
    let mut left = BTreeSet::from([leader]);
    while !left.is_empty() {
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD | WaitPidFlag::WNOHANG;
        let (tid, signal) = match waitpid(None, Some(flags)) {
            Ok(WaitStatus::StillAlive) => {
                if begun.elapsed() > LIMIT * slowness() {
                    let states: Vec<String> = left.iter().map(|&pid| state(pid)).collect();
                    left.iter().for_each(|&pid| _ = kill(pid, Signal::SIGKILL));
                    panic!(
                        "xol {words:?} still runs after {LIMIT:?} and {calls} calls:\n{}",
                        states.concat()
                    );
                }
                std::thread::sleep(Duration::from_micros(20));
                continue;
            }
            Ok(WaitStatus::PtraceSyscall(tid)) => {
                if running && !inside.remove(&tid) {
                    inside.insert(tid);
                    calls += 1;
                    if let Some((_, victim)) = last.filter(|&(at, _)| at == calls) {
                        strike(started.pid(), victim);
                        end = Some(End::Killed);
                    }
                }
                (tid, None)
            }
            Ok(WaitStatus::PtraceEvent(tid, signal, event)) => {
                if event == nix::libc::PTRACE_EVENT_EXEC {
                    // Counted from the end of the execve on.
                    running = true;
                    inside.insert(tid);
                }
                left.insert(tid);
                // A group stop of a tracee: xol itself is never stopped.
                _ = signal;
                (tid, None)
            }
            Ok(WaitStatus::Stopped(tid, signal)) => (tid, Some(signal)),
            Ok(WaitStatus::Exited(pid, code)) => {
                left.remove(&pid);
                if pid == leader {
                    end = end.or(Some(End::Ended(code)));
                }
                continue;
            }
            Ok(WaitStatus::Signaled(pid, ..)) => {
                left.remove(&pid);
                end = end.or(Some(End::Killed));
                continue;
            }
            Ok(_) => continue,
            Err(nix::errno::Errno::ECHILD) => break,
            Err(e) => panic!("waiting for xol: {e}"),
        };
        // ESRCH: it was killed meanwhile, and says so next.
        _ = ptrace::syscall(tid, signal);
    }
    (end.unwrap_or(End::Killed), calls)
}
