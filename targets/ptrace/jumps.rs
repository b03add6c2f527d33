//! What jumps need in a target: memory for code near the text and at given addresses, memory
//! that is shared with us, and what its processor can do.

use super::inject::{BUFFER, InjectError};
use super::space::{Area, Space, SpaceId};
use super::sys::{Pid, Tid};
use super::{Ptrace, gone, procfs};
use crate::native;
use crate::shared::Shared;
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;
use xol_arch::Addr;
use xol_arch::jump::Features;

impl Ptrace {
    /// Maps `len` bytes for code near `near`; unmapped with the rest.
    ///
    /// # Errors
    /// See [`InjectError`].
    pub fn map_code(&mut self, tid: Tid, near: Area, len: u64) -> Result<Area, InjectError> {
        let space = self.space_of(tid).ok_or_else(gone)?;
        let area = self.map(tid, near, len, native::SLOT_REACH)?;
        self.spaces.get_mut(&space).ok_or_else(gone)?.add_code(area);
        Ok(area)
    }

    /// Maps code at exactly `area`: whole pages.
    ///
    /// # Errors
    /// As for [`Ptrace::map_code`], and where something else is there by now.
    pub fn map_code_at(&mut self, tid: Tid, area: Area) -> Result<(), InjectError> {
        let space = self.space_of(tid).ok_or_else(gone)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        let protection = libc::PROT_READ | libc::PROT_EXEC;
        let args = [area.start.0, area.len, protection as u64, flags as u64, u64::MAX, 0];
        self.map_exactly(tid, area, args)?;
        self.spaces.get_mut(&space).ok_or_else(gone)?.add_code(area);
        Ok(())
    }

    /// Makes memory that the target and we share, near `near`: a file without a name that the
    /// target makes, and closes again once it is mapped in both.
    ///
    /// # Errors
    /// As for [`Ptrace::map_code`]; the limits of the target.
    pub fn map_shared(
        &mut self,
        tid: Tid,
        near: Area,
        len: u64,
    ) -> Result<(Shared, Area), InjectError> {
        let space = self.space_of(tid).ok_or_else(gone)?;
        let pid = self.known(tid)?.pid;
        let len = len.next_multiple_of(self.grain(pid));
        let at = free_near(pid, near, len)?;
        let area = Area { start: at, len };
        let shared = self.share_new(tid, area, libc::MAP_FIXED_NOREPLACE)?;
        self.spaces.get_mut(&space).ok_or_else(gone)?.extra.push(area);
        Ok((shared, area))
    }

    /// Gives a forked child memory of its own in the place of what it shares with its parent.
    ///
    /// # Errors
    /// As for [`Ptrace::map_shared`]; both then still have the same.
    pub fn unshare(&mut self, tid: Tid, area: Area) -> Result<Shared, InjectError> {
        self.share_new(tid, area, libc::MAP_FIXED)
    }

    /// Makes a file in the target, maps it in both, and closes it there.
    fn share_new(&mut self, tid: Tid, area: Area, fixed: i32) -> Result<Shared, InjectError> {
        let fd = self.nameless_file(tid)?;
        let mapped = self.share(tid, fd, area, fixed);
        let closed = self.call(tid, libc::SYS_close, [fd, 0, 0, 0, 0, 0], &mut [])?;
        let shared = mapped?;
        refused("close", closed)?;
        Ok(shared)
    }

    /// Makes a file without a name in the target: of memory, or where that is refused in a folder
    /// for such files.
    fn nameless_file(&mut self, tid: Tid) -> Result<u64, InjectError> {
        let mut name = *b"xol\0\0\0\0\0";
        let flags = u64::from(libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
        let args = [BUFFER, flags, 0, 0, 0, 0];
        let made = self.call(tid, libc::SYS_memfd_create, args, &mut name);
        let error = match made.and_then(|made| refused("memfd_create", made)) {
            Ok(fd) => return Ok(fd),
            Err(error @ (InjectError::Refused(..) | InjectError::Seccomp(_))) => error,
            Err(error) => return Err(error),
        };
        for folder in ["/dev/shm", "/tmp", "/var/tmp"] {
            let mut path = folder.as_bytes().to_vec();
            path.resize((path.len() + 1).next_multiple_of(8), 0);
            let flags = libc::O_TMPFILE | libc::O_RDWR | libc::O_CLOEXEC;
            let args = [libc::AT_FDCWD as u64, BUFFER, flags as u64, 0o600, 0, 0];
            let made = self.call(tid, libc::SYS_openat, args, &mut path)?;
            if made >= 0 {
                return Ok(made as u64);
            }
        }
        Err(error)
    }

    fn share(&mut self, tid: Tid, fd: u64, area: Area, fixed: i32) -> Result<Shared, InjectError> {
        let file =
            OpenOptions::new().read(true).write(true).open(format!("/proc/{tid}/fd/{fd}"))?;
        // Another thread may have put a file of the program's own there.
        let ours = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let ours = ours.to_string_lossy();
        let named = !ours.contains("memfd:xol") && !ours.contains("/#");
        let about = file.metadata()?;
        if named || about.len() != 0 || about.nlink() != 0 {
            return Err(io::Error::from_raw_os_error(libc::EBUSY).into());
        }
        let shared = Shared::of(file, area.len as usize)?;
        let flags = libc::MAP_SHARED | fixed;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let args = [area.start.0, area.len, protection as u64, flags as u64, fd, 0];
        self.map_exactly(tid, area, args)?;
        Ok(shared)
    }

    fn map_exactly(&mut self, tid: Tid, area: Area, args: [u64; 6]) -> Result<(), InjectError> {
        self.note_area(tid, area)?;
        let value = self.call(tid, libc::SYS_mmap, args, &mut [])?;
        if value as u64 != area.start.0 {
            self.note_area(tid, Area { len: 0, ..area })?;
        }
        let got = refused("mmap", value)?;
        if got != area.start.0 {
            // A kernel before 4.17 took the address as a hint.
            self.call(tid, libc::SYS_munmap, [got, area.len, 0, 0, 0, 0], &mut [])?;
            let error = io::Error::from_raw_os_error(libc::EEXIST);
            return Err(InjectError::Refused("mmap", error));
        }
        Ok(())
    }

    /// The free ranges of an address space, without those that the heap and stacks grow into, as if
    /// nothing of ours was mapped at these pages.
    ///
    /// # Errors
    /// Those of reading /proc.
    pub fn holes(&self, space: SpaceId, ours: &BTreeSet<u64>) -> io::Result<Vec<Range<u64>>> {
        let pid = self.spaces.get(&space).ok_or_else(gone)?.pid;
        let mut maps = procfs::maps(pid)?;
        // Neighbours are one mapping for the kernel.
        maps.retain(|map| {
            let mut pages = (map.start.0..map.end.0).step_by(4096);
            !ours.contains(&map.start.0) || !pages.all(|page| ours.contains(&page))
        });
        Ok(Space::holes(&maps, procfs::heap(pid)?))
    }
}

/// What a program may use here, of what a recorder needs: as /proc/cpuinfo names it.
#[must_use]
pub fn features() -> Features {
    static FOUND: OnceLock<Features> = OnceLock::new();
    *FOUND.get_or_init(|| Features {
        fsgsbase: cpu_has("fsgsbase"),
        lahf: cpu_has("lahf_lm"),
        atomics: native::HAS_ATOMICS || cpu_has("atomics"),
    })
}

/// How many mappings a process may have.
#[must_use]
pub fn max_mappings() -> usize {
    let text = fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
    text.trim().parse().unwrap_or(65530)
}

/// Whether the clock that recorders read never stops and never changes its pace.
#[must_use]
pub fn ticks_are_steady() -> bool {
    native::STEADY.iter().all(|feature| cpu_has(feature))
}

fn cpu_has(feature: &str) -> bool {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("flags") || line.starts_with("Features"));
    line.is_some_and(|line| line.split_ascii_whitespace().any(|word| word == feature))
}

fn free_near(pid: Pid, near: Area, len: u64) -> Result<Addr, InjectError> {
    let (maps, heap) = (procfs::maps(pid)?, procfs::heap(pid)?);
    Space::hole(&maps, heap, near, len, native::SLOT_REACH).ok_or_else(|| {
        InjectError::Refused("mmap near the code", io::Error::from_raw_os_error(libc::ENOMEM))
    })
}

fn refused(call: &'static str, value: i64) -> Result<u64, InjectError> {
    if (-4095..0).contains(&value) {
        return Err(InjectError::Refused(call, io::Error::from_raw_os_error(-value as i32)));
    }
    Ok(value as u64)
}

impl Space {
    fn add_code(&mut self, area: Area) {
        let at = self.code.partition_point(|other| other.start < area.start);
        self.code.insert(at, area);
    }

    /// Whether `at` is in code that jumps lead to.
    pub(super) fn is_jump_code(&self, at: Addr) -> bool {
        let next = self.code.partition_point(|area| area.start <= at);
        next > 0 && self.code[next - 1].has(at)
    }
}
