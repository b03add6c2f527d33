//! Copies of its own text that a program has made while our traps and jumps were in it.
//!
//! A program that puts its text elsewhere copies it first, with all that is in it, and moves the copy later. Where
//! that is still to come when we leave, the copy must be the program's own before our pages are gone. A copy
//! is known by what stands around our bytes: it is the text's, page for page.

use crate::trace::session::Session;
use crate::trace::space::jumps::LEN;
use std::collections::BTreeSet;
use std::io;
use std::time::Duration;
use xol_arch::{Addr, Arch};
use xol_targets::Native;
use xol_targets::ptrace::{Pid, SpaceId, procfs};

const PAGE: usize = 4096;
/// How much memory is looked at, in pages.
const AT_MOST: usize = 1 << 16;
/// How long a thread may take to stop.
const LIMIT: Duration = Duration::from_millis(500);
/// So many bytes of a page must be the text's, before what is not: a copy may be under way.
const ENOUGH: usize = 64;

/// What stands, or may stand, at a place of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::trace) struct Mark {
    at: Addr,
    len: u8,
    jumped: [u8; LEN],
    trapped: [u8; LEN],
}

impl Mark {
    /// Whether a byte that stands at `at` in the text may be ours.
    fn has(&self, at: Addr, byte: u8) -> bool {
        let n = at.0.wrapping_sub(self.at.0);
        n < self.len.into()
            && [self.jumped, self.trapped].map(|ours| ours[n as usize]).contains(&byte)
    }
}

impl Session<'_> {
    /// What is in the text, if the program is known to copy it.
    pub(in crate::trace) fn marks(&mut self, space: SpaceId) -> Vec<Mark> {
        let sites = self.sites_mut(space);
        if !cfg!(feature = "jump") || !sites.copied {
            return Vec::new();
        }
        let mut trap = [0; LEN];
        trap[..Native::TRAP.len()].copy_from_slice(Native::TRAP);
        let traps = sites.sites.iter().filter(|site| site.armed).map(|site| Mark {
            at: site.addr,
            len: Native::TRAP.len() as u8,
            jumped: trap,
            trapped: trap,
        });
        let jumps = sites.jumps.standing().into_iter().map(|(_, jump)| Mark {
            at: jump.window.at,
            len: jump.window.len,
            jumped: jump.jumped,
            trapped: jump.trapped,
        });
        jumps.chain(traps).collect()
    }

    /// Makes every copy of the text the program's own, once the text itself is: while no thread that copies it
    /// or moves the copy runs.
    pub(in crate::trace) fn restore_copies(
        &mut self,
        space: SpaceId,
        marks: &[Mark],
    ) -> io::Result<()> {
        let Some(pid) = self.target.owner(space).map(|p| p.pid).filter(|_| !marks.is_empty())
        else {
            return Ok(());
        };
        let Some(halted) = self.halt(space, LIMIT, false)? else { return Ok(()) };
        let done = self.search_memory(space, pid, marks);
        self.resume(halted)?;
        done
    }

    fn search_memory(&self, space: SpaceId, pid: Pid, marks: &[Mark]) -> io::Result<()> {
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        let pages: BTreeSet<u64> = marks.iter().map(|mark| mark.at.align_down(4096).0).collect();
        let mut texts = Vec::new();
        for at in pages {
            let mut text = vec![0; PAGE];
            if memory.read_data(Addr(at), &mut text).is_ok() {
                texts.push((at, text));
            }
        }
        let maps = procfs::maps(pid)?;
        let (mut here, mut left) = (vec![0; PAGE], AT_MOST);
        for map in maps.iter().filter(|m| m.perms.read && m.inode == 0) {
            let mut at = map.start;
            while at < map.end && left > 0 && !memory.is_ours(at) {
                if memory.read_data(at, &mut here).is_err() {
                    break;
                }
                for (text, bytes) in texts.iter().filter(|(text, _)| *text != at.0) {
                    let len = original(&mut here, bytes, Addr(*text), marks);
                    if len > 0 {
                        memory.write(at, &here[..len])?;
                        break;
                    }
                }
                at = at.add(PAGE as u64);
                left -= 1;
            }
        }
        Ok(())
    }
}

/// Puts back what the program has copied, if `here` is a copy of a page of text with something of ours in it: so
/// many bytes of it are, or none.
fn original(here: &mut [u8], text: &[u8], at: Addr, marks: &[Mark]) -> usize {
    let ours = |n: usize, byte: u8| marks.iter().any(|mark| mark.has(at.add(n as u64), byte));
    let pairs = || here.iter().zip(text).enumerate();
    let differs = pairs().find(|(n, (here, own))| here != own && !ours(*n, **here));
    let len = differs.map_or(text.len(), |(n, _)| n);
    if len < ENOUGH || here[..len] == text[..len] {
        return 0;
    }
    here[..len].copy_from_slice(&text[..len]);
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> (Vec<u8>, Vec<Mark>) {
        let text = (0..PAGE).map(|n| (n * 7 % 251) as u8).collect();
        let (mut jumped, mut trapped) = ([0; LEN], [0; LEN]);
        jumped[..5].copy_from_slice(&[0xe9, 1, 2, 3, 4]);
        trapped[..5].copy_from_slice(&[0xcc, 1, 2, 3, 4]);
        (text, vec![Mark { at: Addr(0x5100), len: 5, jumped, trapped }])
    }

    #[test]
    fn a_copy_is_made_the_program_s() {
        let (text, marks) = filled();
        for first in [0xe9, 0xcc] {
            let mut here = text.clone();
            here[0x100..0x105].copy_from_slice(&[first, 1, 2, 3, 4]);
            assert_eq!(original(&mut here, &text, Addr(0x5000), &marks), PAGE);
            assert_eq!(here, text);
        }
        assert_eq!(original(&mut text.clone(), &text, Addr(0x5000), &marks), 0);
    }

    #[test]
    fn a_copy_may_be_under_way() {
        let (text, marks) = filled();
        let mut here = vec![0; PAGE];
        here[..0x200].copy_from_slice(&text[..0x200]);
        here[0x100..0x105].copy_from_slice(&[0xe9, 1, 2, 3, 4]);
        let len = original(&mut here, &text, Addr(0x5000), &marks);
        assert!((0x200..0x210).contains(&len));
        assert_eq!(here[..0x200], text[..0x200]);
        assert_eq!(here[0x210..], [0; PAGE - 0x210]);
    }

    #[test]
    fn what_the_program_changed_is_its_own() {
        let (text, marks) = filled();
        let mut here = text.clone();
        here[0x100..0x105].copy_from_slice(&[0xe9, 1, 2, 3, 4]);
        here[0x20] ^= 0xff;
        let was = here.clone();
        assert_eq!(original(&mut here, &text, Addr(0x5000), &marks), 0);
        assert_eq!(here, was);
    }
}
