//! Slots where nothing may be mapped: in what is left of the last page of a text segment.
//!
//! It is executable, belongs to no segment, and nothing leads there but our traps. It is zero
//! again when we leave. If xol dies, there is no handler that answers for the traps.

use crate::engine::SLOT_SIZE;
use crate::trace::session::Session;
use std::io;
use xol_arch::Addr;
use xol_targets::ptrace::{Area, SpaceId};

impl Session<'_> {
    /// Adds slots behind the text of what is mapped, because of `why` nothing can be mapped.
    pub(in crate::trace) fn slots_in_padding(
        &mut self,
        space: SpaceId,
        why: String,
    ) -> io::Result<()> {
        let Some(pid) = self.target.owner(space).map(|p| p.pid) else {
            return Ok(());
        };
        for loaded in self.sites_mut(space).objects.clone() {
            let Some(object) = self.open(pid, &loaded).filter(|_| !loaded.shared) else { continue };
            let Some(bias) = loaded.bias(&object) else { continue };
            let ends = object
                .segments()
                .iter()
                .filter(|s| s.executable())
                .map(|s| bias.wrapping_add(s.vaddr).wrapping_add(s.memsz.max(s.filesz)));
            for end in ends.filter(|&end| loaded.has(Addr(end))).collect::<Vec<u64>>() {
                self.add_padding(space, end.next_multiple_of(SLOT_SIZE), loaded.end.0)?;
            }
        }
        if !self.target.space(space).is_some_and(|s| s.has_head()) {
            self.note(format!("process {pid} would not survive xol being killed: {why}"));
        }
        self.sites_mut(space).no_slots = Some(why);
        Ok(())
    }

    fn add_padding(&mut self, space: SpaceId, from: u64, to: u64) -> io::Result<()> {
        let len = to.saturating_sub(from) / SLOT_SIZE * SLOT_SIZE;
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        if len == 0 || memory.is_ours(Addr(from)) {
            return Ok(());
        }
        let mut bytes = vec![0xff; len as usize];
        let zero = memory.read(Addr(from), &mut bytes).is_ok() && bytes.iter().all(|&b| b == 0);
        if zero {
            let area = Area { start: Addr(from), len };
            self.target.use_padding(space, area);
            self.sites_mut(space).slots.add_area(area.start, area.len);
        }
        Ok(())
    }
}
