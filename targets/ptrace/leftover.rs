//! What an xol that was killed has left in a process: found by its head, and taken away.
//!
//! The head has a signature, and leads to the table of orphaned sites, where what was mapped and what
//! jumps replaced is noted too. The text is put back by whoever knows objects; here is the rest.

use super::inject::InjectError;
use super::orphan::{Entry, read_table};
use super::procfs::Mapping;
use super::signals::Action;
use super::space::PAGE;
use super::sys::{Pid, Tid};
use super::{Area, Orphan, Ptrace, Space, SpaceId, gone, procfs};
use crate::native::{self, head};
use std::io;
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
                && let Ok(left) = read(&space, Addr(at))
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

fn word(space: &Space, at: Addr) -> io::Result<u64> {
    let mut word = [0; 8];
    space.read(at, &mut word)?;
    Ok(u64::from_ne_bytes(word))
}

fn read(space: &Space, at: Addr) -> io::Result<Leftover> {
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
            Entry::Area(area) => left.areas.push(area),
            Entry::Jump(at, text) => left.jumps.push((at, text)),
        }
    }
    Ok(left)
}

impl Leftover {
    /// Whether an address is in what was mapped.
    #[must_use]
    pub fn has(&self, at: Addr) -> bool {
        self.areas.iter().any(|area| area.has(at))
    }
}

impl Space {
    /// Notes for a later xol that `area` was mapped, if there is room.
    pub(super) fn note_area(&mut self, area: Area) -> io::Result<()> {
        let Some(mut table) = self.table.take() else { return Ok(()) };
        let room = table.has_room(1);
        let noted = match room {
            true => table.set(&[Orphan::area(area)], &|at, bytes| self.write(at, bytes)),
            false => Ok(()),
        };
        self.table = Some(table);
        noted
    }
}

impl Ptrace {
    /// Takes away what was left, but for the text, which must be the program's own again; no thread may
    /// be inside. SIGTRAP's action first: until then the handler answers for whoever traps.
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
