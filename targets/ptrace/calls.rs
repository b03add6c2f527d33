//! Whether calls may be made in a thread, which its seccomp filters may end it for (RULES B2).
//!
//! - The kernel may suspend the filters for our calls (PTRACE_O_SUSPEND_SECCOMP, with
//!   CAP_SYS_ADMIN, without a filter of our own, and with CONFIG_CHECKPOINT_RESTORE).
//! - A filter is never taken off, and children have their parent's: a process in the same
//!   namespaces that has as many as we have has the same ones, unless somebody put as many others
//!   on either by hand. What they say to a call, [`trial`] finds out.
//! - The user may know (`--calls`).
//!
//! A program that puts filters of its own on has more than we have: from then on nothing is called.

use super::sys::Tid;
use super::{Ptrace, procfs, trial};
use crate::ptrace::attach::{resume_filter, suspend_filter};
use std::fmt;
use std::fs;
use trial::Answer;

/// Why no call is made in a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forbidden {
    /// Seccomp's strict mode ends it for any.
    Strict,
    /// It has filters that we have not: how many it has, and we.
    Others(u32, u32),
    /// It has a filter, and the kernel does not count them (before Linux 5.9).
    Uncounted,
    /// It has as many as we have, but is in another container.
    Elsewhere,
    /// Our own filters end the process that makes this call.
    Kills(&'static str),
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const VOUCH: &str = "--calls vouches that they let mmap, munmap and rt_sigaction through";
        match self {
            Forbidden::Strict => {
                f.write_str("seccomp's strict mode ends the process for any call made in it")
            }
            Forbidden::Others(theirs, ours) => write!(
                f,
                "the process has {theirs} seccomp filter{} (xol has {ours}), which may end it for \
                 a call made in it; {VOUCH}",
                if *theirs == 1 { "" } else { "s" }
            ),
            Forbidden::Uncounted => write!(
                f,
                "the process has a seccomp filter, which may end it for a call made in it; {VOUCH}"
            ),
            Forbidden::Elsewhere => write!(
                f,
                "the process has the seccomp filters of another container, which may end it for a \
                 call made in it; run xol in that container, or {VOUCH}"
            ),
            Forbidden::Kills(call) => write!(
                f,
                "the seccomp filter of this container ends who calls {call}; run it with one that \
                 does not"
            ),
        }
    }
}

/// How calls are made in a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    /// There is no filter.
    Free,
    /// The kernel suspends the filters for the call.
    Suspended,
    /// Its filters are ours.
    Same,
    /// The user says so.
    Vouched,
}

/// What a permit makes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is made.
    Make,
    /// It would only raise SIGSYS: as if there was no such call.
    Lacking,
}

impl Permit {
    /// Whether and how the call `number` is made.
    pub(super) fn of(self, number: i64) -> Result<Verdict, Forbidden> {
        if self != Permit::Same {
            return Ok(Verdict::Make);
        }
        match trial::answer_to(number) {
            Answer::Returns | Answer::Refused => Ok(Verdict::Make),
            Answer::Traps => Ok(Verdict::Lacking),
            Answer::Kills => {
                let name = trial::CALLS.iter().find(|&&(_, n)| n == number);
                Err(Forbidden::Kills(name.map_or("what xol needs", |&(name, _)| name)))
            }
        }
    }
}

/// Whether calls may be made in a thread, whose filters the kernel does not suspend.
///
/// # Errors
/// The reason why not. A thread that is gone has no filters.
fn permit(tid: Tid, vouched: bool) -> Result<Permit, Forbidden> {
    let Ok(theirs) = procfs::status(tid) else { return Ok(Permit::Free) };
    match theirs.seccomp {
        0 => return Ok(Permit::Free),
        1 => return Err(Forbidden::Strict),
        _ if vouched => return Ok(Permit::Vouched),
        _ => {}
    }
    let ours = procfs::status(Tid(std::process::id() as i32)).unwrap_or_default();
    let Some(count) = theirs.filters else { return Err(Forbidden::Uncounted) };
    let own = ours.filters.unwrap_or(0);
    if count != own {
        return Err(Forbidden::Others(count, own));
    }
    if !same_namespaces(tid) {
        return Err(Forbidden::Elsewhere);
    }
    Ok(Permit::Same)
}

/// What is needed first: without it nothing is begun.
fn essential(permit: Permit) -> Result<Permit, Forbidden> {
    for call in [libc::SYS_rt_sigreturn, libc::SYS_mmap, libc::SYS_munmap, libc::SYS_rt_sigaction] {
        permit.of(call)?;
    }
    Ok(permit)
}

/// Whether a thread is in none of the namespaces that make a container in which we are not.
fn same_namespaces(tid: Tid) -> bool {
    ["user", "pid", "mnt"].iter().all(|name| {
        let theirs = fs::read_link(format!("/proc/{tid}/ns/{name}"));
        let ours = fs::read_link(format!("/proc/self/ns/{name}"));
        match (theirs, ours) {
            (Ok(theirs), Ok(ours)) => theirs == ours,
            // A kernel without that kind.
            (Err(_), Err(_)) => true,
            _ => false,
        }
    })
}

/// The same of a process that is not attached to: where it has a filter, whether and why no call
/// would be made in it.
#[must_use]
pub fn would_forbid(tid: Tid) -> Option<Forbidden> {
    permit(tid, false).and_then(essential).err()
}

impl Ptrace {
    /// The user vouches that seccomp filters let our calls through.
    pub fn vouch(&mut self) {
        self.vouched = true;
    }

    /// How calls are made in a stopped thread.
    pub(super) fn permit(&self, tid: Tid) -> Result<Permit, Forbidden> {
        match permit(tid, self.vouched) {
            Ok(Permit::Free) => Ok(Permit::Free),
            _ if suspend_filter(tid) && resume_filter(tid) => Ok(Permit::Suspended),
            other => other,
        }
    }

    /// Whether calls may be made in a stopped thread; a seccomp filter may be new.
    ///
    /// # Errors
    /// The reason why not.
    pub fn check_calls(&self, tid: Tid) -> Result<(), Forbidden> {
        self.permit(tid).and_then(essential).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_filter_calls_are_free() {
        let us = Tid(std::process::id() as i32);
        assert_eq!(permit(us, false), Ok(Permit::Free));
        assert_eq!(would_forbid(us), None);
        assert!(same_namespaces(us));
    }

    #[test]
    fn what_the_user_vouches_for_is_made_whatever_it_is() {
        assert_eq!(Permit::Vouched.of(libc::SYS_reboot), Ok(Verdict::Make));
        assert_eq!(Permit::Same.of(libc::SYS_mmap), Ok(Verdict::Make));
        assert_eq!(Permit::Same.of(libc::SYS_reboot), Err(Forbidden::Kills("what xol needs")));
    }

    #[test]
    fn a_reason_says_what_to_do() {
        let text = Forbidden::Others(1, 0).to_string();
        assert!(
            text.contains("1 seccomp filter (xol has 0)") && text.contains("--calls"),
            "{text}"
        );
        assert!(Forbidden::Others(2, 1).to_string().contains("2 seccomp filters"));
    }
}
