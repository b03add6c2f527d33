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

use crate::engine::ConsumerId;
use crate::trace::session::Session;
use crate::trace::space::jumps::LEN;
use crate::trace::space::objects::Loaded;
use crate::trace::space::text::{jumps_in, pages};
use std::collections::HashSet;
use std::io;
use xol_arch::{Addr, Arch, Regs as _};
use xol_targets::Native;
use xol_targets::native;
use xol_targets::ptrace::procfs::{self, Mapping};
use xol_targets::ptrace::{Go, SpaceId, Tid};

const TRAP: &[u8] = Native::TRAP;
/// How much text that went elsewhere is remembered.
const MAX_AWAY: usize = 1 << 16;
impl Session<'_> {
    /// On mprotect and pkey_mprotect.
    pub(in crate::trace) fn protecting(&mut self, tid: Tid, space: SpaceId) -> io::Result<()> {
        let regs = self.target.regs(tid)?;
        // Text that is made read-only has been writable: by a call that was made before we came.
        let [start, len] = [0, 1].map(|n| native::syscall_arg(&regs, n));
        self.becomes_writable(space, &pages(start, len))
    }

    /// At a hit in text that the program writes: whether the site still is what was displaced, or is
    /// again. If not, the thread goes on in place.
    pub(in crate::trace) fn is_as_displaced(
        &mut self,
        tid: Tid,
        space: SpaceId,
        at: Addr,
    ) -> io::Result<bool> {
        let sites = self.sites_mut(space);
        let Some(was) = sites.displaced.get(&at.0).copied() else { return Ok(true) };
        let Some(number) = sites.find(at) else { return Ok(true) };
        let len = usize::from(sites[number].plan.len).min(was.len());
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
        let consumers: Vec<ConsumerId> = sites.consumers(number).collect();
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
                wants.extend(
                    want.map(|want| crate::trace::wanted::want::Want { check_file: false, ..want }),
                );
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
    pub(in crate::trace) fn moving(&mut self, tid: Tid, space: SpaceId) -> io::Result<()> {
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
    pub(in crate::trace) fn moved(&mut self, tid: Tid, space: SpaceId, at: Addr) -> io::Result<()> {
        let sp = self.target.regs(tid)?.sp();
        let Some(state) = self.states.get_mut(&tid) else { return Ok(()) };
        let Some(n) = state.moving.iter().position(|(was, _)| *was == sp) else { return Ok(()) };
        let (_, to) = state.moving.remove(n);
        // What came in the place of text may be a copy of it, with all that we have in it.
        let there: Vec<Addr> =
            self.sites_mut(space).sites.iter().map(|s| s.addr).filter(|a| to.contains(a)).collect();
        let kept: HashSet<Addr> =
            there.iter().copied().filter(|&at| self.is_still_ours(space, at)).collect();
        self.sites_mut(space).copied |= !kept.is_empty();
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
                jump.stands_in(&here[..got]) || here[..got].starts_with(&jump.trapped[..TRAP.len()])
            }
            Some(_) => true,
            None => here[..got].starts_with(TRAP),
        }
    }

    /// Of the sites whose mapping is not what it was, those that are still there because the program has
    /// copied its text to where it was. What the others have left is remembered.
    pub(in crate::trace) fn sort_out(
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
        sites.copied |= !kept.is_empty();
        let away = sites.left_behind(&|at| gone(at) && !kept.contains(&at));
        let room = MAX_AWAY.saturating_sub(sites.away.len());
        sites.away.extend(away.into_iter().take(room));
        kept
    }

    /// A trap where no site is: whether it is one of ours that the program has moved. Then that text is
    /// its own again, and is probed where it is now.
    pub(in crate::trace) fn came_along(
        &mut self,
        tid: Tid,
        space: SpaceId,
        at: Addr,
    ) -> io::Result<bool> {
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
            if memory.read(at, &mut bytes[..len]).is_ok() && away.restore(&mut bytes[..len]) {
                memory.write(at, &bytes[..len])?;
                restored.push(at);
            }
        }
        Ok(restored)
    }

    /// At the end: nothing of ours is left in text that the program has moved unseen.
    pub(in crate::trace) fn restore_all_moved(&mut self, space: SpaceId) -> io::Result<()> {
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
