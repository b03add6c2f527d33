//! Text that the program may write: jumps there give way, and sites remember what they displaced.

use crate::WhyNotJump;
use crate::engine::{Site, write_slot};
use crate::trace::session::Session;
use crate::trace::space::text::jumps_in;
use std::io;
use std::ops::Range;
use xol_arch::{Addr, Arch, Text};
use xol_targets::Native;
use xol_targets::ptrace::SpaceId;
use xol_targets::ptrace::procfs::Mapping;

const TRAP: &[u8] = Native::TRAP;

/// Bytes that are not those of the instruction that these begin with, if it has more than one.
fn other(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[1] ^= 1;
    bytes
}

impl Session<'_> {
    /// After traps were written: the text that was read before may have been written meanwhile, by calls
    /// that were no sites yet. `planned` has what was read.
    pub(in crate::trace) fn check_unwritten(
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
    pub(in crate::trace) fn see_writable(
        &mut self,
        space: SpaceId,
        maps: &[Mapping],
    ) -> io::Result<()> {
        for map in maps.iter().filter(|map| map.perms.exec && map.perms.write) {
            self.becomes_writable(space, &(map.start..map.end))?;
        }
        Ok(())
    }

    /// The program will write what is at these addresses, or may already: jumps give way for good.
    pub(in crate::trace) fn becomes_writable(
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
            let site = sites[number];
            if !self.is_plan_of(space, &site, &bytes[..got]) {
                bytes = other(bytes);
            }
            self.sites_mut(space).displaced.insert(at.0, bytes);
        }
        Ok(())
    }

    /// Whether these bytes are those that a site was planned for.
    pub(in crate::trace) fn is_plan_of(
        &self,
        space: SpaceId,
        site: &Site<Native>,
        bytes: &[u8],
    ) -> bool {
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
}
