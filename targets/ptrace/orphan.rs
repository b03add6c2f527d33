//! The table that the handler in the target finds orphaned sites in (RULES A3b).
//!
//! It is changed while the program runs and only read when we are dead, so every state between
//! two writes must be whole: an entry is written before its trap is, and a larger table before
//! the pointer to it.

use super::space::{Area, Space};
use crate::native::head;
use std::io;
use xol_arch::Addr;

/// What an orphaned site does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The site.
    pub site: Addr,
    /// Code with the effect of the displaced instruction; none: the original bytes are put back.
    pub to: Option<Addr>,
    /// The bytes the trap replaced, as the target's native word.
    pub original: u64,
}

impl Orphan {
    fn from_words([site, to, original]: [u64; 3]) -> Orphan {
        Orphan { site: Addr(site), to: (to != 0).then_some(Addr(to)), original }
    }
}

/// In [`Orphan::original`], above the bytes: the site is in a jump, or was. A byte there that traps may
/// be the jump's own.
pub(super) const IN_JUMP: u64 = 1 << 63;

const ENTRY: u64 = 24;
/// Entries of a table at most: more is not a table of ours.
const MOST: u64 = 1 << 24;
const K: u64 = 0x9e37_79b9_7f4a_7c15;

/// Our image of the table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    area: Area,
    mask: u64,
    entries: Vec<(u64, u64, u64)>,
    used: usize,
}

impl Table {
    /// Bytes needed for `sites` entries, at most half full.
    #[must_use]
    pub(super) fn size_for(sites: usize) -> u64 {
        8 + ENTRY * (sites.max(64) * 2).next_power_of_two() as u64
    }

    /// An empty table in fresh, zeroed memory.
    #[must_use]
    pub(super) fn new(area: Area, sites: usize) -> Table {
        let capacity = (sites.max(64) * 2).next_power_of_two();
        Table { area, mask: capacity as u64 - 1, entries: vec![(0, 0, 0); capacity], used: 0 }
    }

    /// Whether `more` entries can be added.
    #[must_use]
    pub(super) fn has_room(&self, more: usize) -> bool {
        (self.used + more) * 2 <= self.entries.len()
    }

    /// How many entries are used.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// The used entries.
    pub(super) fn iter(&self) -> impl Iterator<Item = Orphan> {
        let used = self.entries.iter().filter(|e| e.0 != 0);
        used.map(|&(site, to, original)| Orphan::from_words([site, to, original]))
    }

    /// Where the entry of `site` is, or the free one it would get.
    fn index(&self, site: Addr) -> usize {
        let mut i = site.0.wrapping_mul(K) >> 32 & self.mask;
        while !matches!(self.entries[i as usize].0, s if s == 0 || s == site.0) {
            i = (i + 1) & self.mask;
        }
        i as usize
    }

    fn put(&mut self, orphan: &Orphan) -> usize {
        let i = self.index(orphan.site);
        self.used += usize::from(self.entries[i].0 == 0);
        self.entries[i] = (orphan.site.0, orphan.to.map_or(0, |to| to.0), orphan.original);
        i
    }

    fn bytes(&self, from: usize, to: usize) -> Vec<u8> {
        let words = self.entries[from..to].iter().flat_map(|e| [e.0, e.1, e.2]);
        words.flat_map(u64::to_ne_bytes).collect()
    }

    fn at(&self, index: usize) -> Addr {
        self.area.start.add(8 + ENTRY * index as u64)
    }

    /// Says of sites in the table that a jump is over them, in the target too.
    ///
    /// # Errors
    /// Those of [`Space::write`].
    pub(super) fn set_in_jump(
        &mut self,
        sites: impl Iterator<Item = Addr>,
        write: &dyn Fn(Addr, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        for site in sites {
            let i = self.index(site);
            let entry = &mut self.entries[i];
            if entry.0 == site.0 && entry.2 & IN_JUMP == 0 {
                entry.2 |= IN_JUMP;
                write(self.at(i), &self.bytes(i, i + 1))?;
            }
        }
        Ok(())
    }

    /// The entries of the table that the pointer at `pointer` in a space leads to.
    ///
    /// # Errors
    /// Those of [`Space::read`]; InvalidData for what is no table.
    pub(super) fn read(space: &Space, pointer: Addr) -> io::Result<Vec<Orphan>> {
        let word = |at: Addr| {
            let mut word = [0; 8];
            space.read(at, &mut word).map(|()| u64::from_ne_bytes(word))
        };
        let table = Addr(word(pointer)?);
        let mask = word(table)?;
        if mask >= MOST || !(mask + 1).is_power_of_two() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; ((mask + 1) * ENTRY) as usize];
        space.read(table.add(8), &mut bytes)?;
        let entries = bytes.chunks_exact(ENTRY as usize).map(|entry| {
            let mut words = [0; 3];
            for (word, from) in words.iter_mut().zip(entry.chunks_exact(8)) {
                let mut eight = [0; 8];
                eight.copy_from_slice(from);
                *word = u64::from_ne_bytes(eight);
            }
            words
        });
        Ok(entries.filter(|&[site, ..]| site != 0).map(Orphan::from_words).collect())
    }

    /// Adds or changes entries, in the target too.
    ///
    /// # Errors
    /// Those of [`Space::write`].
    pub(super) fn set(
        &mut self,
        orphans: &[Orphan],
        write: &dyn Fn(Addr, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut changed: Vec<usize> = orphans.iter().map(|orphan| self.put(orphan)).collect();
        changed.sort_unstable();
        // One write for entries that lie close together.
        let mut i = 0;
        while i < changed.len() {
            let mut j = i + 1;
            while j < changed.len() && changed[j] - changed[j - 1] < 64 {
                j += 1;
            }
            write(self.at(changed[i]), &self.bytes(changed[i], changed[j - 1] + 1))?;
            i = j;
        }
        Ok(())
    }

    /// Writes the mask: with it the table is whole, and the head may point to it.
    pub(super) fn publish(&self, space: &Space, head: Area) -> io::Result<()> {
        space.write(self.area.start, &self.mask.to_ne_bytes())?;
        space.write(head.start.add(head::TABLE), &self.area.start.0.to_ne_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn what_is_written_is_what_the_handler_would_find() {
        let area = Area { start: Addr(0x1000), len: Table::size_for(500) };
        let mut table = Table::new(area, 500);
        let memory = RefCell::new(vec![0u8; area.len as usize]);
        let write = |at: Addr, bytes: &[u8]| {
            let from = (at.0 - 0x1000) as usize;
            memory.borrow_mut()[from..from + bytes.len()].copy_from_slice(bytes);
            Ok(())
        };
        let site = |i: u64| Addr(0x7f00_0000_0000 + i * i * 3);
        for i in 1..=500 {
            let orphan = Orphan { site: site(i), to: Some(Addr(i)), original: i * 7 };
            table.set(&[orphan], &write).unwrap();
        }
        assert_eq!(table.len(), 500);
        let memory = memory.borrow();
        let word = |i: u64| {
            let at = 8 * i as usize;
            u64::from_ne_bytes(memory[at..at + 8].try_into().unwrap())
        };
        for i in 1..=500 {
            // The handler's search, in its own words.
            let mut index = site(i).0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            loop {
                index &= table.mask;
                if word(1 + 3 * index) == site(i).0 {
                    break;
                }
                assert_ne!(word(1 + 3 * index), 0, "entry {i} is not found");
                index += 1;
            }
            assert_eq!((word(2 + 3 * index), word(3 + 3 * index)), (i, i * 7));
        }
    }
}
