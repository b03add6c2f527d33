//! What xol maps first: the head with the handler, the orphan table and the first slots.
//!
//! The handler of SIGTRAP becomes active when the tracer is gone. It looks the trap up in the
//! orphan table and moves the thread to the site's copy, or puts the original byte back where there
//! is none. A simulated hit marks its pending signal (`SI_DONE`) before registers change, so that
//! the handler does not simulate it again. Where another signal was about to be delivered in the
//! place of a trap, the head says which (`DELIVERING`): to the kernel, siginfo and number are of
//! two.

use super::inject::InjectError;
use super::orphan::{Orphan, Table};
use super::space::{Area, Space, SpaceId};
use super::sys::Tid;
use super::tracer;
use super::{Ptrace, gone};
use crate::native::{self, head};
use std::io;

impl Ptrace {
    /// Maps the head, a table for `sites` orphans and `slots` bytes for slots near `near`; the area for
    /// slots. Done once for a space; before a trap is written, [`Ptrace::protect`] has the handler in
    /// the head stand in for SIGTRAP's action.
    ///
    /// # Errors
    /// See [`InjectError`]; nothing of ours is then left.
    pub fn install(
        &mut self,
        tid: Tid,
        near: Area,
        sites: usize,
        slots: u64,
    ) -> Result<Area, InjectError> {
        let space = self.space_of(tid).ok_or_else(gone)?;
        let table_size = Table::size_for(sites).next_multiple_of(native::PAGE);
        let len = native::PAGE + table_size + slots;
        let area = self.map(tid, near, len, native::SLOT_REACH)?;
        let slots_at = area.start.add(native::PAGE + table_size);
        let slots = Area { start: slots_at, len: area.start.0 + area.len - slots_at.0 };
        let memory = self.spaces.get_mut(&space).ok_or_else(gone)?;
        memory.write(area.start, head::head())?;
        if let Some(offset) = head::PAGE_SIZE {
            memory.write(area.start.add(offset), &tracer::page_size().to_ne_bytes())?;
        }
        write_range(memory, area, 0, slots)?;
        let table = Area { start: area.start.add(native::PAGE), len: table_size };
        let table = Table::new(table, sites);
        table.publish(memory, area)?;
        memory.table = Some(table);
        memory.head = Some(area);
        memory.areas.push(area);
        self.tell_front(space);
        Ok(slots)
    }

    /// Maps one more area for slots.
    ///
    /// # Errors
    /// As for [`Ptrace::install`], and where the head has no room for one more range.
    pub fn map_slots(&mut self, tid: Tid, near: Area, len: u64) -> Result<Area, InjectError> {
        let space = self.space_of(tid).ok_or_else(gone)?;
        let used = self.spaces.get(&space).ok_or_else(gone)?.areas.len();
        if used >= head::MAX_RANGES {
            let error = io::Error::from_raw_os_error(libc::ENOSPC);
            return Err(InjectError::Refused("one more area for slots", error));
        }
        let area = self.map(tid, near, len, native::SLOT_REACH)?;
        let memory = self.spaces.get_mut(&space).ok_or_else(gone)?;
        let home = memory.head.ok_or_else(gone)?;
        write_range(memory, home, used, area)?;
        memory.areas.push(area);
        Ok(area)
    }

    /// Tells the handler in the target what to do with these sites if xol dies. To be called
    /// before their traps are written. Without a head there is no handler to tell.
    ///
    /// # Errors
    /// Those of writing to the target.
    pub fn set_orphans(&mut self, space: SpaceId, orphans: &[Orphan]) -> io::Result<()> {
        let memory = self.spaces.get_mut(&space).ok_or_else(gone)?;
        let Some(mut table) = memory.table.take() else { return Ok(()) };
        let result = table.set(orphans, &|at, bytes| memory.write(at, bytes));
        memory.table = Some(table);
        result
    }

    /// Whether the table has room for `more` sites.
    #[must_use]
    pub fn has_room_for(&self, space: SpaceId, more: usize) -> bool {
        let table = self.spaces.get(&space).and_then(|s| s.table.as_ref());
        table.is_none_or(|table| table.has_room(more))
    }

    /// Gives the space a larger table, with room for `more` sites.
    ///
    /// # Errors
    /// As for [`Ptrace::install`]; the old table then stays.
    pub fn grow_table(&mut self, tid: Tid, more: usize) -> Result<(), InjectError> {
        let space = self.space_of(tid).ok_or_else(gone)?;
        let memory = self.spaces.get(&space).ok_or_else(gone)?;
        let (Some(old), Some(home)) = (memory.table.clone(), memory.head) else { return Ok(()) };
        let sites = (old.len() + more) * 2;
        let area = self.map(tid, home, Table::size_for(sites), native::SLOT_REACH)?;
        let memory = self.spaces.get_mut(&space).ok_or_else(gone)?;
        let mut table = Table::new(area, sites);
        let all: Vec<Orphan> = old.iter().collect();
        table.set(&all, &|at, bytes| memory.write(at, bytes))?;
        table.publish(memory, home)?;
        memory.table = Some(table);
        memory.extra.push(area);
        Ok(())
    }

    /// Uses zero padding behind a text segment for slots.
    pub fn use_padding(&mut self, space: SpaceId, area: Area) {
        if let Some(memory) = self.spaces.get_mut(&space) {
            memory.padding.push(area);
        }
    }

    /// Makes it zero again. No thread may be inside, and no trap lead there.
    ///
    /// # Errors
    /// Those of writing to the target.
    pub fn clear_padding(&mut self, space: SpaceId) -> io::Result<()> {
        let Some(memory) = self.spaces.get_mut(&space) else { return Ok(()) };
        for area in std::mem::take(&mut memory.padding) {
            memory.write(area.start, &vec![0; area.len as usize])?;
        }
        Ok(())
    }

    /// Takes away all that xol mapped. No thread may be inside, and no trap be left.
    ///
    /// # Errors
    /// See [`InjectError`].
    pub fn unmap_all(&mut self, tid: Tid) -> Result<(), InjectError> {
        let space = self.space_of(tid).ok_or_else(gone)?;
        let memory = self.spaces.get_mut(&space).ok_or_else(gone)?;
        memory.former = memory.mapped().collect();
        // The many first, while the head has a stub for it.
        for area in memory.code.split_off(0) {
            self.call(tid, libc::SYS_munmap, [area.start.0, area.len, 0, 0, 0, 0], &mut [])?;
        }
        let memory = self.spaces.get_mut(&space).ok_or_else(gone)?;
        let areas: Vec<Area> = memory.areas.drain(..).chain(memory.extra.drain(..)).collect();
        (memory.head, memory.table) = (None, None);
        self.tell_front(space);
        for area in areas {
            let args = [area.start.0, area.len, 0, 0, 0, 0];
            self.call_from_padding(tid, space, libc::SYS_munmap, args, &mut [])?;
        }
        Ok(())
    }
}

/// Announces a range of slots to the handler.
fn write_range(memory: &Space, home: Area, index: usize, slots: Area) -> io::Result<()> {
    let mut pair = [0; 16];
    pair[..8].copy_from_slice(&slots.start.0.to_ne_bytes());
    pair[8..].copy_from_slice(&(slots.start.0 + slots.len).to_ne_bytes());
    memory.write(home.start.add(head::RANGES + 16 * index as u64), &pair)
}
