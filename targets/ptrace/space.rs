//! An address space: its memory, and what xol mapped into it.

use super::absent::{Slow, is_there};
use super::procfs::{self, Mapping};
use super::sys::{Pid, Tid};
use super::{gone, is_gone, tracer};
use crate::native;
use std::cell::{Cell, OnceCell, RefCell};
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use xol_arch::Addr;

/// Names an address space; not reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpaceId(pub u32);

/// Executable memory that xol mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// First byte.
    pub start: Addr,
    /// Length in bytes.
    pub len: u64,
}

impl Area {
    /// Whether `at` is inside.
    #[must_use]
    pub fn has(&self, at: Addr) -> bool {
        at.0.wrapping_sub(self.start.0) < self.len
    }
}

/// One address space, which several processes may share (CLONE_VM).
#[derive(Debug)]
pub struct Space {
    /// A process that has it.
    pub pid: Pid,
    mem: File,
    /// Which of its pages are in memory, where /proc tells it.
    pagemap: OnceCell<Option<File>>,
    /// The thread that reads those that are not.
    slow: RefCell<Option<Slow>>,
    /// The head: call stub and handler; the first area.
    pub(super) head: Option<Area>,
    /// All areas, the head's first.
    pub(super) areas: Vec<Area>,
    /// Mapped, but not for slots: tables that were outgrown or replaced one.
    pub(super) extra: Vec<Area>,
    /// Behind text segments, and used for slots.
    pub(super) padding: Vec<Area>,
    /// Code that jumps lead to, by address.
    pub(super) code: Vec<Area>,
    /// The table of orphaned sites as it stands in the target.
    pub(super) table: Option<super::orphan::Table>,
    /// Whether its last trap is gone.
    pub(super) bare: bool,
    /// What was mapped, and is unmapped.
    pub(super) former: Vec<Area>,
    /// How often what is ours in it was changed.
    changes: Cell<u64>,
}

impl Space {
    /// Opens the memory of `pid`'s current image.
    ///
    /// # Errors
    /// EACCES without the right to ptrace, ENOENT.
    pub fn open(pid: Pid) -> io::Result<Space> {
        Ok(Space {
            pid,
            mem: open_mem(pid)?,
            pagemap: OnceCell::new(),
            slow: RefCell::new(None),
            head: None,
            areas: Vec::new(),
            extra: Vec::new(),
            padding: Vec::new(),
            code: Vec::new(),
            table: None,
            bare: false,
            former: Vec::new(),
            changes: Cell::new(0),
        })
    }

    /// The copy of this space that a fork made for `child`.
    ///
    /// # Errors
    /// As for [`Space::open`].
    pub fn forked(&self, child: Pid) -> io::Result<Space> {
        Ok(Space {
            pid: child,
            mem: open_mem(child)?,
            pagemap: OnceCell::new(),
            slow: RefCell::new(None),
            head: self.head,
            areas: self.areas.clone(),
            extra: self.extra.clone(),
            padding: self.padding.clone(),
            code: self.code.clone(),
            table: self.table.clone(),
            bare: self.bare,
            former: self.former.clone(),
            changes: Cell::new(0),
        })
    }

    /// Reads code or data, whatever its protection.
    ///
    /// # Errors
    /// EIO where nothing is mapped; ESRCH when the memory is no process's any more.
    pub fn read(&self, at: Addr, to: &mut [u8]) -> io::Result<()> {
        self.mem.read_exact_at(to, at.0).map_err(ended)
    }

    /// Whether the memory is no process's any more: the last has exited or has a new program.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.mem.read_at(&mut [0], 0), Ok(0))
    }

    /// Reads data that a probe shows, which may not be there: the pager that delivers it may have stopped for xol.
    ///
    /// # Errors
    /// As for [`Space::read`]; TimedOut where it does not come in a moment.
    pub fn read_data(&self, at: Addr, to: &mut [u8]) -> io::Result<()> {
        let pagemap = self.pagemap.get_or_init(|| {
            let path = format!("/proc/{}/pagemap", self.pid);
            File::open(path).ok()
        });
        let (page, last) = (tracer::page_size(), at.0.saturating_add(to.len() as u64).max(1) - 1);
        if pagemap.as_ref().is_none_or(|map| is_there(map, at.0, page) && is_there(map, last, page))
        {
            return self.read(at, to);
        }
        let mut slow = self.slow.borrow_mut();
        if slow.is_none() {
            let mem = self.mem.try_clone()?;
            *slow = Some(Slow::new(move |at, len| {
                let mut bytes = vec![0; len];
                mem.read_exact_at(&mut bytes, at).map(|()| bytes)
            })?);
        }
        let slow = slow.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let bytes = slow.read(at.0, to.len())?;
        to.copy_from_slice(&bytes);
        Ok(())
    }

    /// As much as can be read from `at` on, up to the length of `to`.
    ///
    /// # Errors
    /// EIO where nothing is mapped at `at`; ENOENT and ESRCH when the process is gone.
    pub fn read_some(&self, at: Addr, to: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < to.len() {
            match self.mem.read_at(&mut to[done..], at.0 + done as u64) {
                Ok(0) if done == 0 => return Err(gone()),
                Ok(0) => break,
                Ok(n) => done += n,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Writes over any protection (FOLL_FORCE): text and our own areas.
    ///
    /// # Errors
    /// EIO for shared or unmapped memory (RULES C2); ESRCH when it is no process's any more.
    pub fn write(&self, at: Addr, from: &[u8]) -> io::Result<()> {
        self.changed();
        self.write_for_now(at, from)
    }

    /// The same for what is of no use to a copy of this memory: it concerns a thread that has stopped.
    ///
    /// # Errors
    /// As for [`Space::write`].
    pub fn write_for_now(&self, at: Addr, from: &[u8]) -> io::Result<()> {
        self.mem.write_all_at(from, at.0).map_err(ended)
    }

    /// All that xol has mapped.
    pub(super) fn mapped(&self) -> impl Iterator<Item = Area> {
        self.code.iter().chain(&self.areas).chain(&self.extra).copied()
    }

    /// Notes that what is ours in it is changed.
    pub(super) fn changed(&self) {
        self.changes.set(self.changes.get() + 1);
    }

    /// How often what is ours in it was changed so far.
    pub(super) fn changes(&self) -> u64 {
        self.changes.get()
    }

    /// Whether anything of ours is mapped.
    #[must_use]
    pub fn has_head(&self) -> bool {
        self.head.is_some()
    }

    /// Whether `at` is in memory that xol mapped, or in padding that it uses.
    #[must_use]
    pub fn is_ours(&self, at: Addr) -> bool {
        let mut areas = self.areas.iter().chain(&self.padding);
        areas.any(|area| area.has(at)) || self.is_jump_code(at)
    }

    /// Whether `at` is in the handler that answers for untraced threads, or in what it returns by.
    #[must_use]
    pub fn is_in_handler(&self, at: Addr) -> bool {
        self.head.is_some_and(|head| Area { len: native::PAGE, ..head }.has(at))
    }

    /// A place for the first call stub: the zero padding at the end of a text mapping, where
    /// nothing executes. The padding behind a segment is not part of it, and is zero.
    pub(super) fn bootstrap_stub(&self, maps: &[Mapping]) -> Option<Addr> {
        maps.iter().find_map(|map| {
            let at = Space::stub_place(map)?;
            let mut tail = [0xff; STUB_ROOM];
            self.read(Addr(map.end.0 - STUB_ROOM as u64), &mut tail).ok()?;
            tail.iter().all(|&b| b == 0).then_some(at)
        })
    }

    /// Where in a mapping of text that would be.
    pub(super) fn stub_place(map: &Mapping) -> Option<Addr> {
        let is_text = map.perms.exec && !map.perms.shared && map.inode != 0;
        let at = map.end.0.checked_sub(STUB_ROOM as u64).filter(|_| is_text)?;
        Some(Addr((at + 16 + 15) & !15))
    }

    /// A hole of `len` bytes within `reach` of all of `near`, away from other mappings and from
    /// where the heap grows, which begins at `heap`.
    pub(super) fn hole(
        maps: &[Mapping],
        heap: Addr,
        near: Area,
        len: u64,
        reach: u64,
    ) -> Option<Addr> {
        // Not over the first megabyte (vm.mmap_min_addr).
        let low = near.start.0.saturating_add(near.len).saturating_sub(reach);
        let high = near.start.0.saturating_add(reach).min(native::USER_END);
        let mut best: Option<u64> = None;
        for hole in Space::holes(maps, heap) {
            let (start, end) = (hole.start.max(low), hole.end.min(high));
            if end <= start || end - start < len {
                continue;
            }
            // The end of the hole nearest to the code.
            let at = if start >= near.start.0 { start } else { (end - len) & !(PAGE - 1) };
            let at = (at + PAGE - 1) & !(PAGE - 1);
            if at + len <= end
                && best.is_none_or(|b| b.abs_diff(near.start.0) > at.abs_diff(near.start.0))
            {
                best = Some(at);
            }
        }
        best.map(Addr)
    }

    /// What is free, by address, without what the heap, which begins at `heap`, and stacks may
    /// grow into, and the lowest megabyte (vm.mmap_min_addr).
    pub(super) fn holes(maps: &[Mapping], heap: Addr) -> Vec<Range<u64>> {
        // More than brk gives a program that knows mmap.
        const HEAP: u64 = 1 << 30;
        const GUARD: u64 = 1 << 20;
        let mut holes = Vec::new();
        let mut consider = |start: u64, end: u64| {
            let end = end.min(native::USER_END);
            if start < end {
                holes.push(start..end);
            }
        };
        let mut last = GUARD;
        for m in maps {
            let stack = m.name.starts_with("[stack");
            let end = if stack { m.start.0.saturating_sub(64 * GUARD) } else { m.start.0 };
            // Heaps grow up, the mmap region grows down: leave both some pages. Below the lowest
            // mapping, a program at a fixed address or what is ours, nothing grows.
            let room = if last == GUARD { 0 } else { 16 * PAGE };
            let ours = last..end.saturating_sub(room);
            if ours.contains(&heap.0) {
                consider(ours.start, heap.0.saturating_sub(16 * PAGE));
                consider(heap.0 + HEAP, ours.end);
            } else {
                consider(ours.start, ours.end);
            }
            last = if m.name == "[heap]" { heap.0 + HEAP.max(m.end.0 - heap.0) } else { m.end.0 };
        }
        consider(last, native::USER_END);
        holes
    }
}

/// Zero padding that is asked for around a call stub.
const STUB_ROOM: usize = 64;

/// The largest page size there is (arm64 with 64K pages): alignment that suits all of them.
pub const PAGE: u64 = 65536;

fn open_mem(pid: Pid) -> io::Result<File> {
    let open =
        |tid: Tid| OpenOptions::new().read(true).write(true).open(format!("/proc/{tid}/mem"));
    let opened = match open(Tid(pid.0)) {
        // The first thread may have ended before the others.
        Err(error) if is_gone(&error) => open(procfs::with_memory(pid)),
        opened => opened,
    };
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => io::Error::new(
            error.kind(),
            "/proc is mounted read-only, and text is written through it",
        ),
        _ => error,
    })
}

/// The kernel reads and writes nothing where the last process has exited or has a new program.
fn ended(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::WriteZero => gone(),
        _ => error,
    }
}
