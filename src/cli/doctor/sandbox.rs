//! What encloses xol, or the process it is to look at: filters, namespaces, limits.

use super::Finding;
use super::procfs::{Status, line};
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use xol_targets::ptrace::sys::vm_read;
use xol_targets::ptrace::trial::{self, Answer};
use xol_targets::ptrace::{Pid, Tid, procfs, would_forbid};

/// CAP_SYS_ADMIN (capabilities(7)).
const CAP_SYS_ADMIN: u32 = 21;

/// Looks at what encloses xol and so everything that it starts.
pub(super) fn look(me: &Status) -> Vec<Finding> {
    let mut findings: Vec<Finding> = filters(me).into_iter().collect();
    findings.extend(proc());
    findings.extend(memory_calls());
    findings.extend(enclosed(me, line("/proc/self/uid_map").as_deref()));
    findings
}

/// The seccomp filters that xol has, and with it what it starts.
fn filters(me: &Status) -> Option<Finding> {
    if me.number("Seccomp").unwrap_or(0) == 0 {
        return None;
    }
    let filters = counted(me);
    let named = |answer: Answer| -> Vec<&str> {
        let all = trial::CALLS.iter().zip(trial::answers());
        all.filter(|(_, said)| **said == answer).map(|((name, _), _)| *name).collect()
    };
    Some(said(&filters, &named(Answer::Kills), &named(Answer::Traps), &named(Answer::Refused)))
}

fn said(filters: &str, kills: &[&str], traps: &[&str], refused: &[&str]) -> Finding {
    let check = "sandbox";
    // What can be done without.
    let spare = ["memfd_create", "openat", "close", "sigaltstack"];
    if let Some(call) = kills.iter().find(|call| !spare.contains(call)) {
        return Finding::note(check, format!("{filters}, which would end a program for {call}"))
            .advice("a profile that lets it through; without it slots are few and jumps are none");
    }
    let without: Vec<&str> = [kills, traps, refused].concat();
    if without.is_empty() {
        return Finding::ok(check, format!("{filters}, which let xol's calls through"));
    }
    let detail = format!("{filters}, which let xol's calls through but {}", without.join(", "));
    match without.iter().any(|call| ["mmap", "munmap", "rt_sigaction"].contains(call)) {
        true => Finding::note(check, detail).advice("a profile that lets them through"),
        false => Finding::ok(check, detail + ": done without"),
    }
}

fn counted(status: &Status) -> String {
    match status.number("Seccomp_filters") {
        Some(1) => "1 seccomp filter".to_owned(),
        Some(n) => format!("{n} seccomp filters"),
        None => "seccomp filters".to_owned(),
    }
}

/// /proc must be writable, and show the processes that are to be probed.
fn proc() -> Option<Finding> {
    let opened = OpenOptions::new().write(true).open("/proc/self/mem");
    if opened.is_err_and(|error| error.kind() == ErrorKind::ReadOnlyFilesystem) {
        return Some(
            Finding::no(
                "proc",
                "/proc is mounted read-only: text is written through /proc/PID/mem",
            )
            .advice("mount -o remount,rw /proc, or a container with a /proc of its own"),
        );
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    hidden(&mounts)
}

fn hidden(mounts: &str) -> Option<Finding> {
    let proc = mounts.lines().rfind(|line| line.split(' ').nth(1) == Some("/proc"))?;
    let hide = proc.split([' ', ',']).find_map(|option| option.strip_prefix("hidepid="))?;
    (!["0", "off"].contains(&hide))
        .then(|| Finding::ok("proc", format!("shows this user's processes only (hidepid={hide})")))
}

/// Without these calls, a target's memory is read through /proc.
fn memory_calls() -> Option<Finding> {
    let (word, mut seen) = ([7u8; 8], [0u8; 8]);
    let at = xol_arch::Addr(word.as_ptr() as u64);
    let read = vm_read(Tid(std::process::id() as i32), at, &mut seen);
    let done_without = xol_targets::ptrace::is_vm_refused();
    (done_without && read.is_ok()).then(|| {
        Finding::ok("memory calls", "process_vm_readv is refused: /proc/PID/mem does instead")
    })
}

/// Namespaces and promises that limit what can be attached to or started.
fn enclosed(me: &Status, uid_map: Option<&str>) -> Option<Finding> {
    let mut about = Vec::new();
    if !uid_map.is_none_or(is_whole) {
        about.push("in a user namespace: processes outside of it are not to be probed");
    }
    if me.number("NoNewPrivs") == Some(1) {
        about.push("no new privileges: set-user-ID programs run as this user");
    }
    (!about.is_empty()).then(|| Finding::ok("enclosure", about.join("; ")))
}

/// Whether a map of user ids is that of the first namespace.
fn is_whole(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// The seccomp filters of a process.
pub(super) fn filters_of(pid: i32, status: &Status, me: &Status) -> Option<Finding> {
    let check = "seccomp";
    if status.number("Seccomp").unwrap_or(0) == 0 {
        return None;
    }
    let filters = counted(status);
    if me.has_bit("CapEff", CAP_SYS_ADMIN) && me.number("Seccomp") == Some(0) {
        let detail = format!("{filters}, which the kernel suspends for xol's calls, if it can");
        return Some(Finding::ok(check, detail));
    }
    Some(match would_forbid(Tid(pid)) {
        None => Finding::ok(check, format!("{filters}, the same as xol's: its calls can be made")),
        Some(why) => Finding::note(check, why.to_string()).advice(
            "nothing: without calls, slots are few, jumps none, and it ends if xol is killed",
        ),
    })
}

/// A limit of the address space.
pub(super) fn room_of(pid: i32) -> Option<Finding> {
    let left = procfs::room(Pid(pid)).ok()??;
    let detail = format!("{} KiB of its address space are left (ulimit -v)", left >> 10);
    Some(
        Finding::note("room", detail)
            .advice("nothing: where there is little room, probes are traps"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_filter_that_kills_is_told_from_one_that_refuses() {
        let verdict = |kills: &[&str], traps: &[&str], refused: &[&str]| {
            said("1 seccomp filter", kills, traps, refused).verdict
        };
        assert_eq!(verdict(&[], &[], &[]), Verdict::Ok);
        assert_eq!(verdict(&["memfd_create"], &[], &["openat"]), Verdict::Ok);
        assert_eq!(verdict(&["mmap"], &[], &[]), Verdict::Note);
        assert_eq!(verdict(&[], &["rt_sigaction"], &[]), Verdict::Note);
        assert_eq!(verdict(&[], &[], &["mmap"]), Verdict::Note);
        let text = said("1 seccomp filter", &[], &[], &["memfd_create"]).detail;
        assert!(text.contains("but memfd_create: done without"), "{text}");
    }

    #[test]
    fn a_proc_that_hides_is_told() {
        let of = |options: &str| hidden(&format!("proc /proc proc rw,{options} 0 0\nx /y z 0 0"));
        assert!(of("nosuid,hidepid=invisible").is_some_and(|f| f.verdict == Verdict::Ok));
        assert!(of("hidepid=2,gid=4").is_some_and(|f| f.detail.contains("hidepid=2")));
        assert_eq!((of("nosuid"), of("hidepid=off")), (None, None));
    }

    #[test]
    fn user_namespaces_and_promises_are_told() {
        let status = |text: &str| Status::from_text(text);
        let whole = Some("         0          0 4294967295");
        assert_eq!(enclosed(&status("NoNewPrivs:\t0\n"), whole), None);
        assert!(enclosed(&status(""), Some("0 1000 1")).is_some_and(|f| f.detail.contains("user")));
        let finding = enclosed(&status("NoNewPrivs:\t1\n"), whole);
        assert!(finding.is_some_and(|f| f.detail.starts_with("no new privileges")));
    }

    #[test]
    fn filters_of_others_are_told_from_ours() {
        let us = std::process::id() as i32;
        let plain = Status::from_text("Seccomp:\t0\nCapEff:\t0\n");
        assert_eq!(filters_of(us, &plain, &plain), None);
        let filtered = Status::from_text("Seccomp:\t2\nSeccomp_filters:\t1\nCapEff:\t0\n");
        let finding = filters_of(us, &filtered, &plain).expect("it has a filter");
        assert!(finding.detail.contains("1 seccomp filter, the same"), "{finding:?}");
        let root = Status::from_text("Seccomp:\t0\nCapEff:\t000001ffffffffff\n");
        let finding = filters_of(us, &filtered, &root).expect("it has a filter");
        assert!(finding.detail.contains("suspends"), "{finding:?}");
        assert_eq!(room_of(us), None);
    }
}
