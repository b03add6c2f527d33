//! Puts the text of traced programs back when their tracer was killed.
//!
//! What was written stands in the table that the handler in the program reads ([`super::orphan`]):
//! each site with its original bytes. Until a trap is gone, that handler answers for the threads that
//! meet it. Jumps stay: they need no tracer.

use super::orphan::{Entry, Orphan, read_table};
use super::space::{Space, SpaceId};
use super::sys::Pid;
use crate::native::{Native, head};
use std::collections::BTreeMap;
use std::io;
use xol_arch::{Addr, Arch as _};

const TRAP: &[u8] = Native::TRAP;
/// Text that is written at once.
const PAGE: u64 = 4096;

/// The address spaces that have traps.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    spaces: BTreeMap<SpaceId, (Space, Addr)>,
}

impl Keeper {
    /// Looks after a space, whose head is mapped at `head`. The memory of its current image is opened
    /// now: it is found again whatever becomes of the process.
    pub(super) fn begin(&mut self, space: SpaceId, pid: Pid, head: Addr) {
        if let Ok(memory) = Space::open(pid) {
            self.spaces.insert(space, (memory, head));
        }
    }

    /// Lets go of a space.
    pub(super) fn end(&mut self, space: SpaceId) {
        self.spaces.remove(&space);
    }

    /// Takes all traps away that the tracer has left; how many there were.
    pub(super) fn restore_all(&mut self) -> usize {
        let spaces = std::mem::take(&mut self.spaces);
        spaces.values().map(|(space, head)| restore(space, *head).unwrap_or(0)).sum()
    }
}

/// Puts back what stood at the sites of one space.
fn restore(space: &Space, head: Addr) -> io::Result<usize> {
    let mut table = [0; 8];
    space.read(head.add(head::TABLE), &mut table)?;
    let entries = read_table(space, Addr(u64::from_ne_bytes(table)))?;
    let mut count = 0;
    for page in sites(entries).chunk_by(same_page) {
        // A mapping that is gone took its sites along.
        count += restore_page(space, page).unwrap_or(0);
    }
    Ok(count)
}

fn same_page(one: &Orphan, next: &Orphan) -> bool {
    one.site.align_down(PAGE) == next.site.align_down(PAGE)
}

/// The sites of a table, by address. What is part of a jump, or was, is left to the handler: a byte
/// that traps there may be the jump's own.
fn sites(entries: Vec<Entry>) -> Vec<Orphan> {
    let (mut sites, mut jumps) = (Vec::new(), BTreeMap::new());
    for entry in entries {
        match entry {
            Entry::Site(site) => sites.push(site),
            Entry::Jump(at, text) => _ = jumps.insert(at, text.len() as u64),
            Entry::Area(_) => {}
        }
    }
    let in_jump = |at: Addr| {
        let before = jumps.range(..=at).next_back();
        before.is_some_and(|(start, len)| at.0 - start.0 < *len)
    };
    sites.retain(|orphan| !in_jump(orphan.site));
    sites.sort_unstable_by_key(|orphan| orphan.site);
    sites
}

/// Puts back the sites of one page; how many were traps.
fn restore_page(space: &Space, sites: &[Orphan]) -> io::Result<usize> {
    let (Some(first), Some(last)) = (sites.first(), sites.last()) else { return Ok(0) };
    let base = first.site;
    let mut bytes = vec![0; last.site.distance_from(base) as usize + TRAP.len()];
    space.read(base, &mut bytes)?;
    let count = put_back(base, &mut bytes, sites);
    if count > 0 {
        space.write(base, &bytes)?;
    }
    Ok(count)
}

/// Puts original bytes in the place of traps in `bytes`, which were read at `base`.
fn put_back(base: Addr, bytes: &mut [u8], sites: &[Orphan]) -> usize {
    let mut count = 0;
    for orphan in sites {
        let here = &mut bytes[orphan.site.distance_from(base) as usize..][..TRAP.len()];
        if here == TRAP {
            here.copy_from_slice(&orphan.original.to_le_bytes()[..TRAP.len()]);
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_jump_covers_is_left_alone() {
        let site = |at: u64| Entry::Site(Orphan { site: Addr(at), to: None, original: 0x55 });
        let jump = Entry::Jump(Addr(0x2000), vec![0; 5]);
        let all = vec![site(0x2005), site(0x2004), jump, site(0x2000), site(0x1fff)];
        let left: Vec<u64> = sites(all).iter().map(|orphan| orphan.site.0).collect();
        assert_eq!(left, [0x1fff, 0x2005]);
    }

    #[test]
    fn only_traps_are_put_back() {
        let base = Addr(0x1000);
        let step = 4 * TRAP.len() as u64;
        let site = |n: u64| Orphan { site: base.add(n * step), to: None, original: 0x5554_5352 };
        let sites = [site(0), site(1), site(2)];
        let mut bytes = vec![0x90; 2 * step as usize + TRAP.len()];
        bytes[..TRAP.len()].copy_from_slice(TRAP);
        bytes[2 * step as usize..].copy_from_slice(TRAP);
        assert_eq!(put_back(base, &mut bytes, &sites), 2);
        let original = &0x5554_5352_u32.to_le_bytes()[..TRAP.len()];
        assert_eq!(&bytes[..TRAP.len()], original);
        assert_eq!(bytes[step as usize], 0x90, "somebody else's byte is left alone");
        assert_eq!(&bytes[2 * step as usize..], original);
    }
}
