//! The yardstick: how often the kernel's own uprobes say that each instruction ran.
//!
//! One `uprobe_multi` link holds thousands of sites, with a counter for each in a BPF array, and
//! goes away in milliseconds; through tracefs every removal would cost a tenth of a second. Only the
//! process that the command starts as counts, not its children.
//!
//! The kernel refuses a whole link when it cannot probe a single site of it; [`count`] finds
//! the culprits by halving.

mod bpf;
mod insns;

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::run::{Finished, Run};

/// The errno with which the kernel refused a site.
pub type Refused = i32;

/// How many return values are kept for each function.
pub const VALUES: usize = 512;

/// What the kernel saw at one place in an object's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The offset in the file.
    pub offset: u64,
    /// How often it ran, or why that cannot be known.
    pub hits: Result<u64, Refused>,
    /// The first [`VALUES`] return values, for a return probe.
    pub values: Vec<u64>,
}

/// Which moment of a function is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The instruction at the offset is about to run.
    Entry,
    /// The function that begins at the offset has returned.
    Return,
}

/// Runs `command` with a uprobe at each of `offsets` of `object`.
///
/// # Panics
/// Where BPF links for uprobes are not to be had (root, Linux 6.6): there is no yardstick then.
#[must_use]
pub fn count(object: &Path, offsets: &[u64], moment: Moment, command: &Run) -> Counts {
    let started = command.start_with(true, &[object]);
    let pid = started.pid();
    wait_for_stop(pid);
    let probe = bpf::Probe::new(pid, offsets.len(), moment == Moment::Return)
        .unwrap_or_else(|e| panic!("the kernel's uprobes through BPF: {e}"));
    let mut refused = vec![None; offsets.len()];
    let mut links = Vec::new();
    let all: Vec<usize> = (0..offsets.len()).collect();
    attach(&probe, object, offsets, &all, &mut links, &mut refused);
    run_to_exec(pid);
    // What the launcher itself ran is not the command's.
    (0..offsets.len()).for_each(|n| probe.reset(n));
    ptrace::detach(Pid::from_raw(pid.cast_signed()), None).expect("it is stopped");
    let finished = started.finish();
    let sites = offsets
        .iter()
        .zip(refused)
        .enumerate()
        .map(|(n, (&offset, refused))| {
            let hits = refused.map_or_else(|| Ok(probe.hits(n)), Err);
            let values = match (&hits, moment) {
                (&Ok(hits), Moment::Return) => probe.values(n, hits),
                _ => Vec::new(),
            };
            Counted { offset, hits, values }
        })
        .collect();
    Counts { finished, sites }
}

/// Arms `offsets` of `object` in a running process, all or none, for as long as the result lives.
///
/// # Panics
/// If the kernel refuses.
#[must_use]
pub fn arm(pid: u32, object: &Path, offsets: &[u64]) -> impl Sized + use<> {
    let probe = bpf::Probe::new(pid, offsets.len(), false);
    let probe = probe.unwrap_or_else(|e| panic!("the kernel's uprobes through BPF: {e}"));
    let sites: Vec<(u64, u64)> = offsets.iter().copied().zip(0..).collect();
    let link = probe.attach(object, &sites);
    (link.unwrap_or_else(|errno| panic!("uprobe_multi: errno {errno}")), probe)
}

/// A counted run.
#[derive(Clone, Debug)]
pub struct Counts {
    /// The command's own end.
    pub finished: Finished,
    /// One for each offset, in their order.
    pub sites: Vec<Counted>,
}

/// Attaches `some` of the `offsets`, in halves where the kernel refuses.
fn attach(
    probe: &bpf::Probe,
    object: &Path,
    offsets: &[u64],
    some: &[usize],
    links: &mut Vec<bpf::Link>,
    refused: &mut [Option<Refused>],
) {
    let sites: Vec<(u64, u64)> = some.iter().map(|&n| (offsets[n], n as u64)).collect();
    match (probe.attach(object, &sites), some) {
        (Ok(link), _) => links.push(link),
        (Err(errno), &[one]) => refused[one] = Some(errno),
        (Err(_), []) => {}
        (Err(_), _) => {
            let (left, right) = some.split_at(some.len() / 2);
            attach(probe, object, offsets, left, links, refused);
            attach(probe, object, offsets, right, links, refused);
        }
    }
}

/// Lets the launcher go on until its execve has replaced it; it stays stopped there, traced by us.
fn run_to_exec(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed());
    ptrace::seize(pid, ptrace::Options::PTRACE_O_TRACEEXEC).expect("tracing a child of ours");
    kill(pid, Signal::SIGCONT).expect("the stopped command is ours");
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::PtraceEvent(_, _, event)) if event == libc::PTRACE_EVENT_EXEC => return,
            Ok(WaitStatus::PtraceEvent(..)) => ptrace::cont(pid, None).expect("it is stopped"),
            Ok(WaitStatus::Stopped(_, signal)) => ptrace::cont(pid, signal).expect("it is stopped"),
            other => panic!("the launcher ended: {other:?}"),
        }
    }
}

/// Waits until the launcher stands in front of its execve.
fn wait_for_stop(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        match waitpid(pid, Some(WaitPidFlag::WUNTRACED | WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Stopped(..)) => return,
            Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_micros(200)),
            other => panic!("the launcher ended instead of stopping: {other:?}"),
        }
    }
    panic!("the launcher did not stop within ten seconds");
}
