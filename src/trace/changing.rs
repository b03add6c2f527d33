//! Text that the program itself writes or moves.
//!
//! **Written.** A jump has a copy of instructions in its trampoline, and some of its bytes in the place of
//! theirs: neither may be where the program writes. So there is no jump in text that is writable or has been
//! since we know it, and the calls that make it so or end it (mprotect,
//! pkey_mprotect) are sites: jumps there are taken back before the call is made. A trap is one instruction, and stays. In such text each of its hits
//! looks whether that is the instruction that was displaced: one whose operand was changed is displaced
//! anew, one whose first byte was is the program's, and no site any more.
//!
//! **Moved.** mremap takes traps along, and jumps, which then lead elsewhere. So before it is called nothing
//! of ours is left in what is about to move, and behind it what is mapped is looked at as after any other
//! change. A trap that got away nevertheless, in a call that is no site of ours, is known where it is hit by
//! file and offset, and taken away there.

use super::jumps::{Jump, LEN};
use super::objects::{FileId, Loaded};
use super::session::Session;
use super::sites::Sites;
use crate::WhyNotJump;
use crate::engine::{Site, write_slot};
use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use xol_arch::{Addr, Arch, Regs as _, Text};
use xol_targets::Native;
use xol_targets::native;
use xol_targets::ptrace::procfs::{self, Mapping};
use xol_targets::ptrace::{Go, SpaceId, Tid};

const TRAP: &[u8] = Native::TRAP;
/// How much text that went elsewhere is remembered.
const MAX_AWAY: usize = 1 << 16;

/// What a site or a jump has left in text that went elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Away {
    file: FileId,
    offset: u64,
    len: u8,
    ours: [u8; LEN],
    original: [u8; LEN],
}

/// Bytes that are not those of the instruction that these begin with, if it has more than one.
fn other(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[1] ^= 1;
    bytes
}

/// The pages of a stretch of memory.
fn pages(start: u64, len: u64) -> Range<Addr> {
    let end = start.saturating_add(len.max(1)).checked_next_multiple_of(4096);
    Addr(start).align_down(4096)..Addr(end.unwrap_or(u64::MAX))
}

fn overlaps(a: &Range<Addr>, b: &Range<Addr>) -> bool {
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
    pub(super) fn may_write(&self, range: &Range<Addr>) -> bool {
        self.writable.iter().any(|writable| overlaps(writable, range))
    }

    /// Whether there may be something of ours.
    fn has_code(&self, range: &Range<Addr>) -> bool {
        self.objects.iter().any(|l| overlaps(&(l.start..l.end), range))
    }

    /// Where in which file an address is.
    pub(super) fn in_file(&self, at: Addr) -> Option<(FileId, u64)> {
        let loaded = self.objects.iter().find(|l| l.has(at))?;
        Some((loaded.file, at.0 - loaded.start.0 + loaded.offset))
    }

    /// What is in the text now for the sites and the jumps that are to be kept or not.
    fn left_behind(&self, at: &dyn Fn(Addr) -> bool) -> Vec<Away> {
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

impl Session<'_> {
    /// On mprotect and pkey_mprotect.
    pub(super) fn protecting(&mut self, tid: Tid, space: SpaceId) -> io::Result<()> {
        let regs = self.target.regs(tid)?;
        // Text that is made read-only has been writable: by a call that was made before we came.
        let [start, len] = [0, 1].map(|n| native::syscall_arg(&regs, n));
        self.becomes_writable(space, &pages(start, len))
    }

    /// The program will write what is at these addresses, or may already: jumps give way for good.
    pub(super) fn becomes_writable(
        &mut self,
        space: SpaceId,
        range: &Range<Addr>,
    ) -> io::Result<()> {
        let sites = self.sites_mut(space);
        let known = |w: &Range<Addr>| w.start <= range.start && range.end <= w.end;
        if !sites.has_code(range) || sites.writable.iter().any(known) {
            return Ok(());
        }
        let over = jumps_in(sites, range);
        self.take_jumps(space, &over)?;
        for (_, jump) in &over {
            self.falls_back(space, jump, WhyNotJump::WritableText);
        }
        let sites = self.sites_mut(space);
        // One stretch of all that it reaches.
        let mut all = range.clone();
        sites.writable.retain(|writable| {
            let apart = writable.end < all.start || all.end < writable.start;
            if !apart {
                all = all.start.min(writable.start)..all.end.max(writable.end);
            }
            apart
        });
        sites.writable.push(all);
        let there: Vec<Addr> =
            sites.sites.iter().map(|site| site.addr).filter(|at| range.contains(at)).collect();
        for at in there {
            let mut bytes = [0; 16];
            let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
            let got = memory.read_some(at, &mut bytes).unwrap_or(0);
            let sites = self.sites_mut(space);
            sites.restore(at.0, &mut bytes[..got]);
            let Some(number) = sites.find(at) else { continue };
            let site = sites.sites[number as usize];
            if !self.is_plan_of(space, &site, &bytes[..got]) {
                bytes = other(bytes);
            }
            self.sites_mut(space).displaced.insert(at.0, bytes);
        }
        Ok(())
    }

    /// Whether these bytes are those that a site was planned for.
    fn is_plan_of(&self, space: SpaceId, site: &Site<Native>, bytes: &[u8]) -> bool {
        let text = Text { guarded: site.guarded, ..Text::new(site.addr, bytes) };
        let plan = Native::plan(&text, site.addr, self.options.rules);
        if plan != Ok(site.plan) {
            return false;
        }
        let Some(slot) = site.slot else { return true };
        let (Ok(slot), Some(memory)) = (
            write_slot(&text, site.addr, &site.plan, site.strategy, slot.at),
            self.target.space(space),
        ) else {
            return false;
        };
        let mut there = vec![0; slot.code.len()];
        memory.read(slot.slot.at, &mut there).is_ok() && there == slot.code[..]
    }

    /// After traps were written: the text that was read before may have been written meanwhile, by calls
    /// that were no sites yet. `planned` has what was read.
    pub(super) fn check_unwritten(
        &mut self,
        space: SpaceId,
        planned: &[(Addr, [u8; 16], u8)],
    ) -> io::Result<()> {
        let mut page = vec![0; 4096 + 16];
        let mut base = Addr(u64::MAX);
        let mut got = 0;
        for &(at, was, len) in planned {
            if base != at.align_down(4096) {
                base = at.align_down(4096);
                let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
                got = memory.read_some(base, &mut page).unwrap_or(0);
            }
            let from = (at.0 - base.0) as usize;
            let behind = (from + usize::from(len).min(was.len())).min(got);
            let changed = |page: &[u8]| {
                let here = page.get(from + TRAP.len()..behind);
                here.is_some_and(|here| *here != was[TRAP.len()..][..here.len()])
            };
            // Our own traps, inside an instruction, are no change of the program's.
            if changed(&page) && {
                self.sites_mut(space).restore(base.0, &mut page[..got]);
                changed(&page)
            } {
                self.becomes_writable(space, &(base..base.add(4096)))?;
                self.sites_mut(space).displaced.insert(at.0, was);
            }
        }
        Ok(())
    }

    /// Notes which text is mapped writable.
    pub(super) fn see_writable(&mut self, space: SpaceId, maps: &[Mapping]) -> io::Result<()> {
        for map in maps.iter().filter(|map| map.perms.exec && map.perms.write) {
            self.becomes_writable(space, &(map.start..map.end))?;
        }
        Ok(())
    }

    /// At a hit in text that the program writes: whether the site still is what was displaced, or is
    /// again. If not, the thread goes on in place.
    pub(super) fn is_as_displaced(
        &mut self,
        tid: Tid,
        space: SpaceId,
        at: Addr,
    ) -> io::Result<bool> {
        let sites = self.sites_mut(space);
        let Some(was) = sites.displaced.get(&at.0).copied() else { return Ok(true) };
        let Some(number) = sites.find(at) else { return Ok(true) };
        let len = usize::from(sites.sites[number as usize].plan.len).min(was.len());
        let mut here = [0; 16];
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        let got = memory.read_some(at, &mut here).unwrap_or(0);
        let sites = self.sites_mut(space);
        let trapped = here[..got].starts_with(TRAP);
        if trapped {
            here[..TRAP.len()].copy_from_slice(&was[..TRAP.len()]);
            sites.restore(at.0, &mut here[..got]);
            if here[..len] == was[..len] {
                return Ok(true);
            }
        }
        let consumers: Vec<u32> = sites.consumers(number).collect();
        if trapped {
            self.disarm(space, number)?;
        }
        let sites = self.sites_mut(space);
        sites.displaced.remove(&at.0);
        sites.retain(|addr| addr != at);
        if trapped {
            let mut wants = Vec::new();
            for consumer in consumers {
                // What the file has is not what is there.
                let want = self.want_in_memory(space, at, consumer);
                wants.extend(want.map(|want| super::arm::Want { check_file: false, ..want }));
            }
            wants.retain(|want| want.addr == at);
            let armed = self.arm(space, Some(tid), &wants)?;
            self.note_states(space, &wants, &armed);
        }
        if self.sites_mut(space).find(at).is_some() {
            return Ok(true);
        }
        self.target.stopped(tid)?.set_pc(at);
        self.target.go(tid, Go::FromTrap)?;
        Ok(false)
    }

    /// On mremap: what is about to move is the program's own again.
    pub(super) fn moving(&mut self, tid: Tid, space: SpaceId) -> io::Result<()> {
        let regs = self.target.regs(tid)?;
        let [old, old_len, new_len, flags, new] =
            [0, 1, 2, 3, 4].map(|n| native::syscall_arg(&regs, n));
        let from = pages(old, old_len);
        let to = match flags & native::MREMAP_FIXED {
            0 => Addr(0)..Addr(0),
            _ => pages(new, new_len),
        };
        let sites = self.sites_mut(space);
        if !sites.has_code(&from) && !sites.has_code(&to) {
            return Ok(());
        }
        if sites.has_code(&from) {
            let over = jumps_in(sites, &from);
            let traps: Vec<u64> = {
                let armed = sites.sites.iter().filter(|site| site.armed);
                let mut traps: Vec<u64> =
                    armed.map(|site| site.addr.0).filter(|&at| from.contains(&Addr(at))).collect();
                traps.sort_unstable();
                traps
            };
            self.take_jumps(space, &over)?;
            self.write_traps(space, traps.into_iter(), false)?;
            self.forget_range(space, from);
        }
        let moving = &mut self.states.entry(tid).or_default().moving;
        moving.retain(|(sp, _)| *sp != regs.sp());
        moving.push((regs.sp(), to));
        Ok(())
    }

    /// Behind mremap, whether it was made or not.
    pub(super) fn moved(&mut self, tid: Tid, space: SpaceId, at: Addr) -> io::Result<()> {
        let sp = self.target.regs(tid)?.sp();
        let Some(state) = self.states.get_mut(&tid) else { return Ok(()) };
        let Some(n) = state.moving.iter().position(|(was, _)| *was == sp) else { return Ok(()) };
        let (_, to) = state.moving.remove(n);
        // What came in the place of text may be a copy of it, with all that we have in it.
        let there: Vec<Addr> =
            self.sites_mut(space).sites.iter().map(|s| s.addr).filter(|a| to.contains(a)).collect();
        let kept: HashSet<Addr> =
            there.iter().copied().filter(|&at| self.is_still_ours(space, at)).collect();
        self.sites_mut(space).retain(|at| !to.contains(&at) || kept.contains(&at));
        self.target.stopped(tid)?.rewind(at);
        self.refresh(space, Some(tid))
    }

    /// Whether what stands at a site, or at a jump's beginning, is what we have written.
    fn is_still_ours(&mut self, space: SpaceId, at: Addr) -> bool {
        let mut here = [0; LEN];
        let Some(memory) = self.target.space(space) else { return false };
        let got = memory.read_some(at, &mut here).unwrap_or(0);
        match self.sites_mut(space).jumps.over(at) {
            Some((_, jump, _)) if jump.window.at == at => {
                here[..got].starts_with(&jump.jumped[..jump.len()])
                    || here[..got].starts_with(&jump.trapped[..TRAP.len()])
            }
            Some(_) => true,
            None => here[..got].starts_with(TRAP),
        }
    }

    /// Of the sites whose mapping is not what it was, those that are still there because the program has
    /// copied its text to where it was. What the others have left is remembered.
    pub(super) fn sort_out(
        &mut self,
        space: SpaceId,
        maps: &[Mapping],
        gone: &dyn Fn(Addr) -> bool,
    ) -> HashSet<Addr> {
        let sites = self.sites_mut(space);
        let copied = |at: Addr| {
            let map = maps.iter().find(|m| (m.start..m.end).contains(&at));
            map.is_some_and(|m| m.perms.exec && m.inode == 0)
        };
        let candidates: Vec<Addr> =
            sites.sites.iter().map(|site| site.addr).filter(|&at| gone(at) && copied(at)).collect();
        let kept: HashSet<Addr> =
            candidates.into_iter().filter(|&at| self.is_still_ours(space, at)).collect();
        let sites = self.sites_mut(space);
        let away = sites.left_behind(&|at| gone(at) && !kept.contains(&at));
        let room = MAX_AWAY.saturating_sub(sites.away.len());
        sites.away.extend(away.into_iter().take(room));
        kept
    }

    /// A trap where no site is: whether it is one of ours that the program has moved. Then that text is
    /// its own again, and is probed where it is now.
    pub(super) fn came_along(&mut self, tid: Tid, space: SpaceId, at: Addr) -> io::Result<bool> {
        let Some(pid) = self.target.thread(tid).map(|t| t.pid) else { return Ok(false) };
        let maps = procfs::maps(pid)?;
        let Some(here) = Loaded::all(&maps).into_iter().find(|l| l.has(at)) else {
            return Ok(false);
        };
        if !self.restore_moved(space, &here)?.contains(&at) {
            return Ok(false);
        }
        self.target.stopped(tid)?.set_pc(at);
        self.refresh(space, Some(tid))?;
        Ok(true)
    }

    /// Takes away what we have left in a mapping that shows text which was elsewhere; where.
    fn restore_moved(&mut self, space: SpaceId, here: &Loaded) -> io::Result<Vec<Addr>> {
        let sites = self.sites_mut(space);
        let mut all = sites.left_behind(&|_| true);
        all.extend(sites.away.iter().cloned());
        let mut restored = Vec::new();
        for away in all.iter().filter(|away| away.file == here.file) {
            let Some(into) = away.offset.checked_sub(here.offset) else { continue };
            let at = here.start.add(into);
            let sites = self.sites_mut(space);
            if at >= here.end || sites.find(at).is_some() || sites.jumps.over(at).is_some() {
                continue;
            }
            let len = usize::from(away.len);
            let mut bytes = [0; LEN];
            let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
            if memory.read(at, &mut bytes[..len]).is_ok() && bytes[..len] == away.ours[..len] {
                memory.write(at, &away.original[..len])?;
                restored.push(at);
            }
        }
        Ok(restored)
    }

    /// At the end: nothing of ours is left in text that the program has moved unseen.
    pub(super) fn restore_all_moved(&mut self, space: SpaceId) -> io::Result<()> {
        let Some(pid) = self.target.owner(space).map(|p| p.pid) else {
            return Ok(());
        };
        let now = Loaded::all(&procfs::maps(pid)?);
        let sites = self.sites_mut(space);
        if now == sites.objects && sites.away.is_empty() {
            return Ok(());
        }
        for here in &now {
            self.restore_moved(space, here)?;
        }
        Ok(())
    }
}

/// The jumps that stand on these addresses, or have a copy of what is there.
fn jumps_in(sites: &Sites, range: &Range<Addr>) -> Vec<(usize, Rc<Jump>)> {
    let mut standing = sites.jumps.standing();
    standing.retain(|(_, jump)| overlaps(&jump.covers(), range));
    standing
}

#[cfg(test)]
mod tests {
    use super::*;

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
