//! Text: what of it the program may write, which sites and jumps are in a stretch of it, and what they leave
//! there when it moves.

use crate::trace::space::jumps::{Jump, LEN};
use crate::trace::space::objects::FileId;
use crate::trace::space::sites::Sites;
use std::ops::Range;
use std::rc::Rc;
use xol_arch::{Addr, Arch};
use xol_targets::Native;

const TRAP: &[u8] = Native::TRAP;

/// What a site or a jump has left in text that went elsewhere.
#[derive(Clone, Debug)]
pub(in crate::trace) struct Away {
    pub(in crate::trace) file: FileId,
    pub(in crate::trace) offset: u64,
    pub(in crate::trace) len: u8,
    pub(in crate::trace) ours: [u8; LEN],
    pub(in crate::trace) original: [u8; LEN],
}

impl Away {
    /// Puts the program's own bytes into those that were read where it may be now, if it is there: what was
    /// not changed may be another's by now, and stays.
    pub(in crate::trace) fn restore(&self, here: &mut [u8]) -> bool {
        let changed = |(n, _): &(usize, &mut u8)| self.ours.get(*n) != self.original.get(*n);
        let mut changed = here.iter_mut().enumerate().filter(changed);
        if changed.any(|(n, byte)| self.ours[n] != *byte) {
            return false;
        }
        here.iter_mut().zip(self.ours).zip(self.original).for_each(|((byte, ours), original)| {
            if ours != original {
                *byte = original;
            }
        });
        true
    }
}

/// The pages of a stretch of memory.
pub(in crate::trace) fn pages(start: u64, len: u64) -> Range<Addr> {
    let end = start.saturating_add(len.max(1)).checked_next_multiple_of(4096);
    Addr(start).align_down(4096)..Addr(end.unwrap_or(u64::MAX))
}

pub(in crate::trace) fn overlaps(a: &Range<Addr>, b: &Range<Addr>) -> bool {
    a.start < b.end && b.start < a.end
}

impl Jump {
    /// The text that must stay as it was for what it does to be right.
    fn covers(&self) -> Range<Addr> {
        let len = self.window.len.max(self.window.span);
        self.window.at..self.window.at.add(len.into())
    }
}

impl Sites {
    /// Whether the program may write what is at these addresses.
    pub(in crate::trace) fn may_write(&self, range: &Range<Addr>) -> bool {
        self.writable.iter().any(|writable| overlaps(writable, range))
    }

    /// Whether there may be something of ours.
    pub(in crate::trace) fn has_code(&self, range: &Range<Addr>) -> bool {
        self.objects.iter().any(|l| overlaps(&(l.start..l.end), range))
    }

    /// Where in which file an address is.
    pub(in crate::trace) fn in_file(&self, at: Addr) -> Option<(FileId, u64)> {
        let loaded = self.objects.iter().find(|l| l.has(at))?;
        Some((loaded.file, at.0 - loaded.start.0 + loaded.offset))
    }

    /// What is in the text now for the sites and the jumps that are to be kept or not.
    pub(in crate::trace) fn left_behind(&self, at: &dyn Fn(Addr) -> bool) -> Vec<Away> {
        let mut all = Vec::new();
        for site in self.sites.iter().filter(|site| site.armed && at(site.addr)) {
            let Some((file, offset)) = self.in_file(site.addr) else { continue };
            let (mut ours, mut original) = ([0; LEN], [0; LEN]);
            ours[..TRAP.len()].copy_from_slice(TRAP);
            original[..TRAP.len()].copy_from_slice(&site.original[..TRAP.len()]);
            all.push(Away { file, offset, len: TRAP.len() as u8, ours, original });
        }
        for (_, jump) in self.jumps.standing() {
            let Some((file, offset)) = self.in_file(jump.window.at) else { continue };
            if at(jump.window.at) {
                let mut original = [0; LEN];
                original[..jump.len()].copy_from_slice(&jump.text[..jump.len()]);
                let (len, ours) = (jump.window.len, jump.jumped);
                all.push(Away { file, offset, len, ours, original });
            }
        }
        all
    }
}

/// The jumps that stand on these addresses, or have a copy of what is there.
pub(in crate::trace) fn jumps_in(sites: &Sites, range: &Range<Addr>) -> Vec<(usize, Rc<Jump>)> {
    let mut standing = sites.jumps.standing();
    standing.retain(|(_, jump)| overlaps(&jump.covers(), range));
    standing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_changed_is_another_s() {
        // ret; xor eax, eax; pop rbp; ret, whose first byte became a jump
        let (mut ours, mut original) = ([0; LEN], [0; LEN]);
        original[..5].copy_from_slice(&[0xc3, 0x31, 0xc0, 0x5d, 0xc3]);
        ours[..5].copy_from_slice(&[0xe9, 0x31, 0xc0, 0x5d, 0xc3]);
        let file = FileId { device: (8, 1), inode: 7 };
        let away = Away { file, offset: 0, len: 5, ours, original };
        let mut here = [0xe9, 0x31, 0xc0, 0xcc, 0xc3];
        assert!(away.restore(&mut here));
        assert_eq!(here, [0xc3, 0x31, 0xc0, 0xcc, 0xc3]);
        assert!(!away.restore(&mut here));
        assert_eq!(here, [0xc3, 0x31, 0xc0, 0xcc, 0xc3]);
    }

    #[test]
    fn whole_pages() {
        assert_eq!(pages(0x1000, 0x1000), Addr(0x1000)..Addr(0x2000));
        assert_eq!(pages(0x1ff8, 0x10), Addr(0x1000)..Addr(0x3000));
        assert_eq!(pages(0x1000, 0), Addr(0x1000)..Addr(0x2000));
        assert_eq!(pages(u64::MAX - 8, 4), Addr(u64::MAX).align_down(4096)..Addr(u64::MAX));
        let page = pages(0x1000, 1);
        assert!(overlaps(&page, &(Addr(0x1fff)..Addr(0x2004))));
        assert!(!overlaps(&page, &pages(0x2000, 1)) && !overlaps(&page, &pages(0, 1)));
    }
}
