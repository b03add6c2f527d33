//! What an xol that was killed has left in a process: found by its head, and taken away.
//!
//! The head has a signature, and leads to the table of orphaned sites, where what was mapped and what
//! jumps replaced is noted too. The text is put back by the caller, which knows objects; here is the rest.

use super::inject::InjectError;
use super::orphan::{Entry, read_table};
use super::procfs::Mapping;
use super::signals::Action;
use super::space::PAGE;
use super::sys::{Pid, Tid};
use super::{Area, Orphan, Ptrace, Space, SpaceId, gone, procfs};
use crate::native::{self, head};
use std::{fs, io};
use xol_arch::Addr;

/// What one xol has left.
#[derive(Clone, Debug)]
pub struct Leftover {
    head: Addr,
    /// Its sites: where a trap may be, and what it replaced.
    pub sites: Vec<Orphan>,
    /// Where a jump may be, and what it replaced.
    pub jumps: Vec<(Addr, Vec<u8>)>,
    /// All that it mapped, as far as is known.
    pub areas: Vec<Area>,
    /// Whether the program ignores SIGTRAP.
    ignored: bool,
}

/// Finds what was left in a process, which nobody else may trace.
///
/// # Errors
/// Those of reading /proc; EACCES without the right to ptrace.
pub fn find_leftovers(pid: Pid) -> io::Result<Vec<Leftover>> {
    let space = Space::open(pid)?;
    let maps = procfs::maps(pid)?;
    let ours = |m: &&Mapping| {
        m.perms.exec && !m.perms.write && !m.perms.shared && m.inode == 0 && m.name.is_empty()
    };
    let mut found = Vec::new();
    for map in maps.iter().filter(ours) {
        let heads = map.start.0.next_multiple_of(PAGE)..map.end.0;
        for at in heads.step_by(PAGE as usize) {
            if is_head(&space, Addr(at))
                && let Ok(left) = read(&space, &maps, Addr(at))
            {
                found.push(left);
            }
        }
    }
    Ok(found)
}

fn is_head(space: &Space, at: Addr) -> bool {
    let mut signed = [0; head::SIGNATURE.len()];
    space.read(at.add(head::SIGNED), &mut signed).is_ok() && signed == head::SIGNATURE
}

/// Whether a mapping is of `area` and may have been made by an xol.
fn is_part(map: &Mapping, area: Area) -> bool {
    let code = map.inode == 0 && map.name.is_empty() && map.perms.exec && !map.perms.write;
    let shared = map.name.starts_with("/memfd:xol");
    area.len > 0 && (map.start..map.end).contains(&area.start) && (code || shared)
}

fn word(space: &Space, at: Addr) -> io::Result<u64> {
    let mut word = [0; 8];
    space.read(at, &mut word)?;
    Ok(u64::from_ne_bytes(word))
}

fn read(space: &Space, maps: &[Mapping], at: Addr) -> io::Result<Leftover> {
    let ignored = word(space, at.add(head::IGNORED))? != 0;
    let mut left =
        Leftover { head: at, sites: Vec::new(), jumps: Vec::new(), areas: Vec::new(), ignored };
    for n in 0..head::MAX_RANGES as u64 {
        let start = word(space, at.add(head::RANGES + 16 * n))?;
        let end = word(space, at.add(head::RANGES + 16 * n + 8))?;
        // The first area begins with the head and the table.
        let start = if n == 0 { at.0 } else { start };
        if start != 0 && end > start {
            left.areas.push(Area { start: Addr(start), len: end - start });
        }
    }
    let table = word(space, at.add(head::TABLE))?;
    if table == 0 {
        return Ok(left);
    }
    for entry in read_table(space, Addr(table))? {
        match entry {
            Entry::Site(site) => left.sites.push(site),
            // What was to be mapped, and may not have been.
            Entry::Area(area) if maps.iter().any(|m| is_part(m, area)) => left.areas.push(area),
            Entry::Area(_) => {}
            Entry::Jump(at, text) => left.jumps.push((at, text)),
        }
    }
    Ok(left)
}

/// Descriptors of memory files that were not closed yet.
fn left_open(pid: Pid) -> Vec<u64> {
    let all = fs::read_dir(format!("/proc/{}/fd", procfs::with_memory(pid)))
        .into_iter()
        .flatten()
        .flatten();
    let ours = all.filter(|entry| {
        fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == "/memfd:xol (deleted)")
    });
    ours.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

impl Leftover {
    /// Whether an address is in what was mapped.
    #[must_use]
    pub fn has(&self, at: Addr) -> bool {
        self.areas.iter().any(|area| area.has(at))
    }
}

impl Ptrace {
    /// Forgets what is known of the memory of a process, but for padding that may be used: it was copied
    /// while its parent's was changed by us, and may have less or more. Returns what may be mapped there.
    ///
    /// # Errors
    /// As for [`Space::open`].
    pub fn forget_memory(&mut self, pid: Pid) -> io::Result<Vec<Area>> {
        let process = self.processes.get_mut(&pid).ok_or_else(gone)?;
        (process.in_doubt, process.protected) = (false, false);
        let memory = self.spaces.get_mut(&process.space).ok_or_else(gone)?;
        let padding = std::mem::take(&mut memory.padding);
        let mut known = std::mem::take(&mut memory.former);
        known.extend(memory.mapped());
        *memory = Space::open(pid)?;
        memory.padding = padding;
        Ok(known)
    }

    /// Unmaps what is mapped of these areas, and looks like memory of ours.
    ///
    /// # Errors
    /// See [`InjectError`].
    pub fn unmap_known(&mut self, tid: Tid, known: &[Area]) -> Result<(), InjectError> {
        let space = self.space_of(tid).ok_or_else(gone)?;
        let maps = procfs::maps(self.known(tid)?.pid)?;
        for area in known.iter().filter(|area| maps.iter().any(|map| is_part(map, **area))) {
            let args = [area.start.0, area.len, 0, 0, 0, 0];
            self.call_from_padding(tid, space, libc::SYS_munmap, args, &mut [])?;
        }
        Ok(())
    }

    /// Notes for a later xol what is about to be mapped, if there is a table with room.
    pub(super) fn note_area(&mut self, tid: Tid, area: Area) -> io::Result<()> {
        let space = self.space_of(tid).ok_or_else(gone)?;
        let table = self.spaces.get(&space).and_then(|s| s.table.as_ref());
        if !table.is_some_and(|table| table.has_room(1)) {
            return Ok(());
        }
        self.set_orphans(space, &[Orphan::area(area)])
    }

    /// Takes away call stubs that were left in the padding behind text: an xol was killed while a call
    /// was made with one.
    ///
    /// # Errors
    /// Those of reading /proc and of writing to the target.
    pub fn clear_stubs(&self, space: SpaceId) -> io::Result<()> {
        let memory = self.spaces.get(&space).ok_or_else(gone)?;
        for map in procfs::maps(memory.pid)? {
            let Some(at) = Space::stub_place(&map) else { continue };
            let mut here = [0; native::CALL_STUB.len()];
            if memory.read(at, &mut here).is_ok() && here == *native::CALL_STUB {
                memory.write(at, &[0; native::CALL_STUB.len()])?;
            }
        }
        Ok(())
    }

    /// Takes away what was left, but for the text, which must be the program's own again; no thread may
    /// be inside. SIGTRAP's action first: until then the handler answers for threads that trap.
    ///
    /// # Errors
    /// See [`InjectError`].
    pub fn unmap_leftover(&mut self, tid: Tid, left: &Leftover) -> Result<(), InjectError> {
        let space = self.space_of(tid).ok_or_else(gone)?;
        if let Action::Handler([handler, ..]) = self.read_action(tid)?
            && handler == left.head.0 + head::HANDLER
        {
            self.write_action(tid, [u64::from(left.ignored), 0, 0, 0])?;
        }
        for fd in left_open(self.known(tid)?.pid) {
            self.call_from_padding(tid, space, libc::SYS_close, [fd, 0, 0, 0, 0, 0], &mut [])?;
        }
        for area in left.areas.iter().rev() {
            let len = area.len.next_multiple_of(native::PAGE);
            let args = [area.start.0, len, 0, 0, 0, 0];
            self.call_from_padding(tid, space, libc::SYS_munmap, args, &mut [])?;
        }
        Ok(())
    }

    /// The program's own action where the kernel has the handler of an xol that was killed.
    pub(super) fn behind_leftover(&self, space: SpaceId, action: Action) -> Action {
        let Action::Handler([handler, ..]) = action else { return action };
        let Some(memory) = self.spaces.get(&space) else { return action };
        let at = Addr(handler.wrapping_sub(head::HANDLER));
        if !is_head(memory, at) {
            return action;
        }
        match word(memory, at.add(head::IGNORED)) {
            Ok(1) => Action::Ignore([1, 0, 0, 0]),
            _ => Action::default(),
        }
    }
}
