//! The table that the handler in the target finds orphaned sites in (RULES A3b).
//!
//! It is changed while the program runs and only read when xol is dead, so every state between
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

/// What a later xol must know has keys that no address can be.
const AREA: u64 = 1 << 63;
const JUMP: u64 = 1 << 62;
/// Bytes that one entry can hold, beside how many there are.
const HELD: usize = 15;

impl Orphan {
    /// For a later xol: memory that was mapped.
    pub(super) fn area(area: Area) -> Orphan {
        Orphan { site: Addr(area.start.0 | AREA), to: Some(Addr(area.len)), original: 0 }
    }

    /// For a later xol: the program's own bytes where a jump is written, 15 at most.
    #[must_use]
    pub fn jump(at: Addr, text: &[u8]) -> Orphan {
        let mut bytes = [0; HELD + 1];
        let len = text.len().min(HELD);
        bytes[..len].copy_from_slice(&text[..len]);
        bytes[HELD] = len as u8;
        let bytes = u128::from_le_bytes(bytes);
        let first = bytes as u64;
        let to = (first != 0).then_some(Addr(first));
        Orphan { site: Addr(at.0 | JUMP), to, original: (bytes >> 64) as u64 }
    }
}

/// One entry of a table that somebody else has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A site.
    Site(Orphan),
    /// Memory that was mapped.
    Area(Area),
    /// Where a jump was written, and the program's own bytes there.
    Jump(Addr, Vec<u8>),
}

impl Entry {
    pub(super) fn of(words: [u64; 3]) -> Option<Entry> {
        let [key, to, original] = words;
        let at = Addr(key & !(AREA | JUMP));
        match (key & AREA != 0, key & JUMP != 0) {
            _ if key == 0 => None,
            (true, _) => Some(Entry::Area(Area { start: at, len: to })),
            (_, true) => {
                let bytes = (u128::from(original) << 64 | u128::from(to)).to_le_bytes();
                let len = usize::from(bytes[HELD]).min(HELD);
                Some(Entry::Jump(at, bytes[..len].to_vec()))
            }
            _ => {
                let to = (to != 0).then_some(Addr(to));
                Some(Entry::Site(Orphan { site: at, to, original }))
            }
        }
    }
}

/// Reads a table that somebody else has written at `at`.
pub(super) fn read_table(space: &Space, at: Addr) -> io::Result<Vec<Entry>> {
    const MOST: u64 = 1 << 26;
    let mut mask = [0; 8];
    space.read(at, &mut mask)?;
    let capacity = u64::from_ne_bytes(mask).wrapping_add(1);
    if !capacity.is_power_of_two() || capacity > MOST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; (capacity * ENTRY) as usize];
    space.read(at.add(8), &mut bytes)?;
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, &b| word << 8 | u64::from(b));
    let entries = bytes.chunks_exact(ENTRY as usize);
    Ok(entries
        .filter_map(|e| Entry::of([word(&e[..8]), word(&e[8..16]), word(&e[16..])]))
        .collect())
}

const ENTRY: u64 = 24;
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
        self.entries.iter().filter(|e| e.0 != 0).map(|&(site, to, original)| Orphan {
            site: Addr(site),
            to: (to != 0).then_some(Addr(to)),
            original,
        })
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
    fn what_is_noted_for_a_later_xol_comes_out_again() {
        let entry = |o: Orphan| Entry::of([o.site.0, o.to.map_or(0, |to| to.0), o.original]);
        let area = Area { start: Addr(0x7fff_1234_0000), len: 0x3000 };
        assert_eq!(entry(Orphan::area(area)), Some(Entry::Area(area)));
        for len in 0..=11 {
            let text: Vec<u8> = (0..len).map(|n| if n < 8 { 0 } else { 0xf0 + n }).collect();
            let jump = Orphan::jump(Addr(0x5555_0000_1000), &text);
            assert_eq!(entry(jump), Some(Entry::Jump(Addr(0x5555_0000_1000), text)));
        }
        let site = Orphan { site: Addr(0x1000), to: None, original: 0x55 };
        assert_eq!(entry(site), Some(Entry::Site(site)));
        assert_eq!(Entry::of([0; 3]), None);
    }

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
