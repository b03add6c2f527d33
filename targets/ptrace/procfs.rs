//! What /proc says: mappings, signal state, where a thread is.

use super::sys::{Pid, Tid};
use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use xol_arch::Addr;

/// One line of /proc/PID/maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First byte.
    pub start: Addr,
    /// One past the last.
    pub end: Addr,
    /// Offset of `start` in the file.
    pub offset: u64,
    /// Readable, writable, executable, shared.
    pub perms: Perms,
    /// Device and inode: 0:0 and 0 for anonymous memory.
    pub device: (u32, u32),
    /// The file's inode.
    pub inode: u64,
    /// Path as the kernel prints it, or `[stack]` and the like, or empty.
    pub name: String,
}

/// The permission letters of a mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Perms {
    /// r
    pub read: bool,
    /// w
    pub write: bool,
    /// x
    pub exec: bool,
    /// s: writes go to the file or to others.
    pub shared: bool,
}

/// The mappings of a process, in address order.
///
/// # Errors
/// ENOENT or ESRCH when the process is gone; EACCES when it is not ours to look at.
pub fn maps(pid: Pid) -> io::Result<Vec<Mapping>> {
    let mut text = fs::read(format!("/proc/{pid}/maps"))?;
    if text.is_empty() {
        text = fs::read(format!("/proc/{}/maps", with_memory(pid)))?;
    }
    Ok(text.split(|&b| b == b'\n').filter_map(parse_mapping).collect())
}

/// A thread of the process that has its memory: the first one may have ended before the others.
#[must_use]
pub fn with_memory(pid: Pid) -> Tid {
    if fs::read_link(format!("/proc/{pid}/exe")).is_ok() {
        return Tid(pid.0);
    }
    let has = |tid: &Tid| fs::read(format!("/proc/{tid}/maps")).is_ok_and(|text| !text.is_empty());
    let tasks = tasks(pid).unwrap_or_default();
    tasks.into_iter().find(has).unwrap_or(Tid(pid.0))
}

/// Returns what the file of a process's program is.
///
/// # Errors
/// ENOENT or ESRCH when the process is gone; EACCES where it may not be looked at.
pub fn exe(pid: Pid) -> io::Result<fs::Metadata> {
    fs::metadata(format!("/proc/{}/exe", with_memory(pid)))
}

/// Returns where the files of a thread's mount namespace are seen.
#[must_use]
pub fn root(tid: Tid) -> PathBuf {
    format!("/proc/{tid}/root").into()
}

/// Opens the file that a thread has mapped at a range, by `path` where the kernel does not show which one
/// it is (it asks for CAP_CHECKPOINT_RESTORE): then that must have this inode still.
///
/// # Errors
/// NotFound where the file was replaced meanwhile; those of opening it.
pub fn open_mapped(tid: Tid, range: Range<Addr>, path: &str, inode: u64) -> io::Result<fs::File> {
    let exact = format!("/proc/{tid}/map_files/{:x}-{:x}", range.start.0, range.end.0);
    if let Ok(file) = fs::File::open(exact) {
        return Ok(file);
    }
    let file = fs::File::open(format!("/proc/{tid}/root{path}"))?;
    if file.metadata()?.ino() != inode {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the file was replaced meanwhile"));
    }
    Ok(file)
}

/// Returns what a descriptor of a thread is open for: a path, or as in `socket:[123]`; of AT_FDCWD the
/// working directory.
#[must_use]
pub fn file_of(tid: Tid, fd: i32) -> Option<String> {
    let link = match fd {
        libc::AT_FDCWD => format!("/proc/{tid}/cwd"),
        _ => format!("/proc/{tid}/fd/{fd}"),
    };
    Some(fs::read_link(link).ok()?.to_string_lossy().into_owned())
}

/// Whether the page at `at` is guarded (arm64 BTI): VmFlags of /proc/PID/smaps have `bt`.
///
/// # Errors
/// ENOENT or ESRCH when the process is gone, and where the kernel has no smaps.
pub fn is_guarded(pid: Pid, at: Addr) -> io::Result<bool> {
    let text = fs::read(format!("/proc/{}/smaps", with_memory(pid)))?;
    Ok(guarded(&text, at))
}

fn guarded(smaps: &[u8], at: Addr) -> bool {
    let mut here = false;
    for line in smaps.split(|&b| b == b'\n') {
        if let Some(flags) = line.strip_prefix(b"VmFlags:") {
            if here {
                return flags.split(|&b| b == b' ').any(|flag| flag == b"bt");
            }
        } else if let Some(mapping) = parse_mapping(line) {
            here = mapping.start <= at && at < mapping.end;
        }
    }
    false
}

/// Where the heap of brk begins: the 47th field of /proc/PID/stat.
///
/// # Errors
/// ENOENT or ESRCH when the process is gone.
pub(super) fn heap(pid: Pid) -> io::Result<Addr> {
    let at = heap_of(Tid(pid.0))?;
    if at.0 == 0 { heap_of(with_memory(pid)) } else { Ok(at) }
}

fn heap_of(tid: Tid) -> io::Result<Addr> {
    let stat = fs::read_to_string(format!("/proc/{tid}/stat"))?;
    // The second field, the name, may hold spaces and parentheses.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let start = fields.split_whitespace().nth(47 - 3).and_then(|v| v.parse().ok());
    Ok(Addr(start.unwrap_or(0)))
}

/// How many bytes more a process may map, where that is limited (RLIMIT_AS).
///
/// # Errors
/// ENOENT or ESRCH when the process is gone.
pub fn room(pid: Pid) -> io::Result<Option<u64>> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    let Some(limit) = soft.and_then(|v| v.parse::<u64>().ok()) else { return Ok(None) };
    let statm = fs::read_to_string(format!("/proc/{}/statm", with_memory(pid)))?;
    let pages: u64 = statm.split(' ').next().and_then(|v| v.parse().ok()).unwrap_or(0);
    Ok(Some(limit.saturating_sub(pages * super::tracer::page_size())))
}

fn parse_mapping(line: &[u8]) -> Option<Mapping> {
    let line = String::from_utf8_lossy(line);
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let perms = fields.next()?.as_bytes();
    let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
    let (major, minor) = fields.next()?.split_once(':')?;
    let inode = fields.next()?.parse().ok()?;
    let name = fields.next().unwrap_or("").trim_start().to_owned();
    Some(Mapping {
        start: Addr(u64::from_str_radix(start, 16).ok()?),
        end: Addr(u64::from_str_radix(end, 16).ok()?),
        offset,
        perms: Perms {
            read: perms.first() == Some(&b'r'),
            write: perms.get(1) == Some(&b'w'),
            exec: perms.get(2) == Some(&b'x'),
            shared: perms.get(3) == Some(&b's'),
        },
        device: (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?),
        inode,
        name,
    })
}

/// The fields of /proc/PID/task/TID/status that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskStatus {
    /// Tgid.
    pub tgid: i32,
    /// State: R, S, D, T, t, Z, X…
    pub state: u8,
    /// TracerPid.
    pub tracer: i32,
    /// Effective user.
    pub euid: u32,
    /// Signals pending for the thread and for the process.
    pub pending: u64,
    /// Of these, the thread's own: what it has done itself is among them.
    pub pending_alone: u64,
    /// SigBlk: bit 0 for signal 1.
    pub blocked: u64,
    /// SigIgn.
    pub ignored: u64,
    /// SigCgt.
    pub caught: u64,
    /// Seccomp: 0 none, 1 strict, 2 filter.
    pub seccomp: u32,
    /// Seccomp_filters: how many there are, since Linux 5.9.
    pub filters: Option<u32>,
    /// The command's name.
    pub name: String,
    /// VmHWM in KiB.
    pub peak_kib: u64,
}

/// Reads a thread's status.
///
/// # Errors
/// ENOENT or ESRCH when it is gone.
pub fn status(tid: Tid) -> io::Result<TaskStatus> {
    // Numeric /proc/TID works for threads too, and is one component shorter.
    let mut buffer = [0u8; 4096];
    let mut file = fs::File::open(format!("/proc/{tid}/status"))?;
    let n = file.read(&mut buffer)?;
    Ok(parse_status(&buffer[..n]))
}

fn parse_status(text: &[u8]) -> TaskStatus {
    let mut status = TaskStatus::default();
    for line in text.split(|&b| b == b'\n') {
        let Some(colon) = line.iter().position(|&b| b == b':') else { continue };
        let (key, value) = (&line[..colon], &line[colon + 1..]);
        let value = std::str::from_utf8(value).unwrap_or("").trim();
        let hex = || u64::from_str_radix(value, 16).unwrap_or(0);
        match key {
            b"Name" => value.clone_into(&mut status.name),
            b"Tgid" => status.tgid = value.parse().unwrap_or(0),
            b"State" => status.state = value.bytes().next().unwrap_or(b'?'),
            b"TracerPid" => status.tracer = value.parse().unwrap_or(0),
            b"Uid" => {
                let euid = value.split_whitespace().nth(1);
                status.euid = euid.and_then(|v| v.parse().ok()).unwrap_or(0);
            }
            b"VmHWM" => {
                let kib = value.split_whitespace().next();
                status.peak_kib = kib.and_then(|v| v.parse().ok()).unwrap_or(0);
            }
            b"SigPnd" => {
                status.pending_alone = hex();
                status.pending |= hex();
            }
            b"ShdPnd" => status.pending |= hex(),
            b"SigBlk" => status.blocked = hex(),
            b"SigIgn" => status.ignored = hex(),
            b"SigCgt" => status.caught = hex(),
            b"Seccomp" => status.seccomp = value.parse().unwrap_or(0),
            b"Seccomp_filters" => status.filters = value.parse().ok(),
            _ => {}
        }
    }
    status
}

/// Whether calls of a thread also push to a shadow stack, which is not ours to write.
#[must_use]
pub fn has_shadow_stack(tid: Tid) -> bool {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
    crate::native::has_shadow_stack(tid, &status)
}

/// Where a thread is, as /proc/TID/syscall tells without stopping it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// On a CPU or ready to be.
    Running,
    /// Blocked in a system call: its number, user stack pointer and user PC (behind the
    /// instruction that made the call).
    InCall {
        /// The number, -1 for none (a page fault, a stop).
        number: i64,
        /// Its arguments.
        args: [u64; 6],
        /// User PC.
        pc: Addr,
    },
    /// The kernel does not say (no CONFIG_HAVE_ARCH_TRACEHOOK, or the thread is gone).
    Unknown,
}

/// Reads /proc/TID/syscall.
#[must_use]
pub fn whereabouts(tid: Tid) -> Whereabouts {
    let Ok(text) = fs::read_to_string(format!("/proc/{tid}/syscall")) else {
        return Whereabouts::Unknown;
    };
    let text = text.trim();
    if text == "running" {
        return Whereabouts::Running;
    }
    let number = text.split(' ').next().and_then(|v| v.parse().ok());
    let hex = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
    // The number, six arguments where there is one, SP, PC.
    let words: Vec<u64> = text.split(' ').skip(1).filter_map(hex).collect();
    let mut args = [0; 6];
    if let Some(six) = words.first_chunk::<6>() {
        args = *six;
    }
    match (number, words.last()) {
        (Some(number), Some(&pc)) => Whereabouts::InCall { number, args, pc: Addr(pc) },
        _ => Whereabouts::Unknown,
    }
}

/// The threads of a process.
///
/// # Errors
/// ENOENT when it is gone.
pub fn tasks(pid: Pid) -> io::Result<Vec<Tid>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        if let Some(tid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            all.push(Tid(tid));
        }
    }
    Ok(all)
}

/// The name of a thread.
#[must_use]
pub fn comm(pid: Pid, tid: Tid) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/task/{tid}/comm")).ok()?;
    let name = String::from_utf8_lossy(&name);
    Some(name.strip_suffix('\n').unwrap_or(&name).to_owned())
}

/// When a thread last left a CPU, in nanoseconds of the scheduler's clock, where
/// /proc/TID/sched has it.
#[must_use]
pub fn last_ran_ns(tid: Tid) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{tid}/sched")).ok()?;
    let line = text.lines().find(|line| line.starts_with("se.exec_start"))?;
    let (ms, rest) = line.rsplit(' ').next()?.split_once('.')?;
    Some(ms.parse::<u64>().ok()? * 1_000_000 + rest.parse::<u64>().ok()?)
}

/// How long a thread has run in all, in nanoseconds; 0 where /proc/TID/schedstat does not say.
#[must_use]
pub fn run_ns(tid: Tid) -> u64 {
    let text = fs::read_to_string(format!("/proc/{tid}/schedstat")).unwrap_or_default();
    text.split(' ').next().and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// How often a thread was given a CPU; 0 where /proc/TID/schedstat does not say.
#[must_use]
pub fn runs(tid: Tid) -> u64 {
    let text = fs::read_to_string(format!("/proc/{tid}/schedstat")).unwrap_or_default();
    text.trim().rsplit(' ').next().and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// The CPU a thread last ran on and its scheduling policy (fields 39 and 41 of stat).
#[must_use]
pub fn cpu_and_policy(tid: Tid) -> Option<(usize, u32)> {
    let text = fs::read_to_string(format!("/proc/{tid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let cpu = fields.nth(36)?.parse().ok()?;
    let policy = fields.nth(1)?.parse().ok()?;
    Some((cpu, policy))
}

/// Whether a scheduling policy is one whose threads let others have their CPU only of themselves.
#[must_use]
pub fn is_real_time(policy: u32) -> bool {
    matches!(policy as i32, libc::SCHED_FIFO | libc::SCHED_RR | libc::SCHED_DEADLINE)
}

/// Whether a thread is on its way out or gone: it runs nothing any more (PF_EXITING of
/// linux/sched.h in field 9 of stat).
#[must_use]
pub fn is_exiting(tid: Tid) -> bool {
    const PF_EXITING: u32 = 4;
    flags(tid).is_none_or(|flags| flags & PF_EXITING != 0)
}

/// The children that a thread has made, where /proc tells them (CONFIG_PROC_CHILDREN).
#[must_use]
pub fn children(tid: Tid) -> Vec<Pid> {
    let text = fs::read_to_string(format!("/proc/{tid}/task/{tid}/children")).unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok().map(Pid)).collect()
}

/// Whether a thread is the kernel's own (PF_KTHREAD), or one of a program that never runs its code
/// (PF_IO_WORKER: io_uring's, since Linux 5.12).
#[must_use]
pub fn is_of_kernel(tid: Tid) -> bool {
    const PF_KTHREAD: u32 = 0x20_0000;
    const PF_IO_WORKER: u32 = 0x10;
    flags(tid).is_some_and(|flags| flags & (PF_KTHREAD | PF_IO_WORKER) != 0)
}

fn flags(tid: Tid) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{tid}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_ascii_whitespace().nth(6)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_runs_is_not_exiting() {
        assert!(!is_exiting(Tid(std::process::id() as i32)));
        let mut child = std::process::Command::new("true").spawn().expect("it starts");
        let tid = Tid(child.id() as i32);
        let begun = std::time::Instant::now();
        while !is_exiting(tid) && begun.elapsed().as_secs() < 20 {
            std::thread::yield_now();
        }
        assert!(is_exiting(tid));
        child.wait().expect("it has ended");
        assert!(is_exiting(tid));
    }

    #[test]
    fn a_mapping_with_spaces_in_its_name() {
        let line = b"7f00-8f00 r-xp 00001000 fe:01 123      /tmp/a b (deleted)";
        let m = parse_mapping(line).unwrap();
        assert_eq!((m.start, m.end, m.offset), (Addr(0x7f00), Addr(0x8f00), 0x1000));
        assert_eq!((m.device, m.inode), ((0xfe, 1), 123));
        assert_eq!(m.name, "/tmp/a b (deleted)");
        assert!(m.perms.exec && !m.perms.shared && !m.perms.write);
    }

    #[test]
    fn a_guarded_page_has_bt_among_its_flags() {
        let smaps = b"1000-3000 r-xp 00000000 fe:01 9 /lib/guarded\nSize: 8 kB\nRss: 4 kB\n\
            VmFlags: rd ex mr mw me bt \n3000-4000 r-xp 00000000 00:00 0 \nSize: 4 kB\n\
            VmFlags: rd ex mr mw me dw \n";
        assert!(guarded(smaps, Addr(0x1000)) && guarded(smaps, Addr(0x2fff)));
        assert!(!guarded(smaps, Addr(0x3000)) && !guarded(smaps, Addr(0xfff)));
        assert!(!guarded(smaps, Addr(0x4000)));
    }

    #[test]
    fn room_is_what_a_limit_leaves() {
        assert_eq!(room(Pid(std::process::id() as i32)).unwrap(), None);
        let limited = "ulimit -v 100000 && exec sleep 60";
        let mut child = std::process::Command::new("sh").args(["-c", limited]).spawn().unwrap();
        let begun = std::time::Instant::now();
        let mut left = None;
        while left.is_none() && begun.elapsed().as_secs() < 20 {
            left = room(Pid(child.id() as i32)).unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(left.is_some_and(|left| 0 < left && left < 100_000 << 10), "{left:?}");
    }

    #[test]
    fn our_own_status_agrees_with_what_we_know() {
        let pid = std::process::id() as i32;
        let status = status(Tid(pid)).unwrap();
        assert_eq!(status.tgid, pid);
        assert!(tasks(Pid(pid)).unwrap().contains(&Tid(pid)));
        assert!(maps(Pid(pid)).unwrap().iter().any(|m| m.perms.exec && m.inode != 0));
        assert!(cpu_and_policy(Tid(pid)).is_some());
    }
}
