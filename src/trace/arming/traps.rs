//! From places to armed sites: read, plan, slot, orphan, trap; in batches.

use crate::engine::SiteId;
use crate::engine::{NONE, SLOT_SIZE, Site, choose, write_slot};
use crate::trace::rows::consumer::RowState;
use crate::trace::session::{Session, Stage};
use crate::trace::space::borrow::PATIENCE;
use crate::trace::wanted::want::{Armed, Want};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use xol_arch::{Addr, Arch, Flow, Plan, Reason, Reject, Strategy, Text};
use xol_targets::Native;
use xol_targets::native::SLOT_REACH;
use xol_targets::ptrace::{Area, Orphan, SpaceId, Tid, is_gone};

/// How much text is read at once.
const CHUNK: u64 = 64 << 10;
const TRAP: &[u8] = Native::TRAP;

/// What has become of wants.
pub(in crate::trace) struct Traps {
    /// The sites, or why there are none, in the order of the wants.
    pub(in crate::trace) armed: Vec<Armed>,
    /// The wants, by number, that have made a new site.
    pub(in crate::trace) fresh: Vec<usize>,
    /// What was read of the text at each new site, and how long its instruction is.
    pub(in crate::trace) read: Vec<(Addr, [u8; 16], u8)>,
}

/// A planned site that is not in the table yet.
struct Planned {
    want: usize,
    plan: Plan<Native>,
    original: [u8; 4],
    /// Code for the slot is made from these.
    bytes: [u8; 16],
    have: usize,
}

/// Text read in chunks: wants come in address order.
struct Window {
    base: u64,
    bytes: Vec<u8>,
}

impl Session<'_> {
    /// Writes traps for all of `wants`, using `tid` for calls in the target if one is needed and there
    /// is one.
    ///
    /// # Errors
    /// Those of the target; what could be armed then is.
    pub(in crate::trace) fn arm_traps(
        &mut self,
        space: SpaceId,
        tid: Option<Tid>,
        wants: &[Want],
    ) -> io::Result<Traps> {
        let mut results: Vec<Option<Armed>> = vec![None; wants.len()];
        let mut order: Vec<usize> = (0..wants.len()).collect();
        order.sort_unstable_by_key(|&i| (wants[i].addr, i));
        let planned = self.plan_all(space, wants, &order, &mut results)?;
        let first = !self.sites_mut(space).prepared;
        if !planned.is_empty() {
            self.prepare(space, tid, wants, &planned)?;
        }
        let mut writes = BTreeMap::new();
        let mut code = BTreeMap::new();
        let mut orphans = Vec::new();
        let mut fresh = Vec::new();
        for p in &planned {
            let result = self.place(space, &wants[p.want], p, &mut code, &mut orphans);
            if let Ok(number) = result {
                let at = wants[p.want].addr;
                let sites = self.sites_mut(space);
                if sites.may_write(&(at..at.add(1))) {
                    sites.displaced.insert(at.0, p.bytes);
                }
                writes.insert(wants[p.want].addr.0, number);
                fresh.push(p.want);
            }
            results[p.want] = Some(result);
        }
        let sites = self.sites_mut(space);
        // Several wants for one new site: the first made it.
        for (i, want) in wants.iter().enumerate() {
            let result = results[i]
                .get_or_insert_with(|| sites.find(want.addr).ok_or_else(|| Reason::NotCode.into()));
            if let Ok(site) = *result {
                sites.link(site, want.consumer);
            }
        }
        // Slots, then the table of orphans, then the traps: whole at every moment.
        self.write_code(space, &code)?;
        self.target.set_orphans(space, &orphans)?;
        let sites = self.sites_mut(space);
        for &number in writes.values() {
            sites[number].armed = true;
        }
        if first && self.sites_mut(space).prepared {
            let watched = wants.iter().filter(|want| self.is_watched(want.consumer));
            let watched = watched.map(|want| want.addr.0).filter(|at| writes.contains_key(at));
            self.arm_watched(space, tid, &watched.collect())?;
        }
        self.write_traps(space, writes.keys().copied(), true)?;
        let read = planned.iter().map(|p| (wants[p.want].addr, p.bytes, p.plan.len)).collect();
        Ok(Traps { armed: results.into_iter().flatten().collect(), fresh, read })
    }

    /// Plans what is not a site already.
    fn plan_all(
        &mut self,
        space: SpaceId,
        wants: &[Want],
        order: &[usize],
        results: &mut [Option<Armed>],
    ) -> io::Result<Vec<Planned>> {
        let rules = self.options.rules;
        let shadow = self.has_shadow_stack(space);
        let mut window = Window { base: 0, bytes: Vec::new() };
        let mut planned: Vec<Planned> = Vec::new();
        let mut last = None;
        for &i in order {
            let want = &wants[i];
            if last == Some(want.addr) {
                continue;
            }
            last = Some(want.addr);
            let sites = self.sites_mut(space);
            if let Some(site) = sites.find(want.addr) {
                results[i] = Some(Ok(site));
                continue;
            }
            if sites.sites.len() + planned.len() >= self.options.max_sites {
                results[i] = Some(Err(Reason::TooManySites.into()));
                continue;
            }
            if !self.fill(space, &mut window, &want.extent)? {
                results[i] = Some(Err(Reason::NotCode.into()));
                continue;
            }
            let text = Text {
                base: Addr(window.base),
                bytes: window.cut(&want.extent),
                function: want.function,
                guarded: want.guarded,
            };
            let text = Text { base: Addr(want.extent.start), ..text };
            let here = text.from(want.addr);
            if let Some(reject) = changed(want, here) {
                results[i] = Some(Err(reject));
                continue;
            }
            match Native::plan(&text, want.addr, rules) {
                // Computed, a call would push to one stack of two.
                Ok(plan) if shadow && plan.copied.is_none() && is_call(&text, want.addr) => {
                    results[i] = Some(Err(Reason::ShadowStack.into()));
                }
                Ok(plan) => {
                    let mut bytes = [0; 16];
                    let have = here.len().min(16);
                    bytes[..have].copy_from_slice(&here[..have]);
                    let mut original = [0; 4];
                    original[..TRAP.len()].copy_from_slice(&bytes[..TRAP.len()]);
                    planned.push(Planned { want: i, plan, original, bytes, have });
                }
                Err(reject) => results[i] = Some(Err(reject)),
            }
            self.progress(Stage::Planned, planned.len(), wants.len());
        }
        Ok(planned)
    }

    pub(in crate::trace) fn has_shadow_stack(&self, space: SpaceId) -> bool {
        let process = self.target.owner(space);
        process.is_some_and(|p| xol_targets::ptrace::procfs::has_shadow_stack(Tid(p.pid.0)))
    }

    /// Makes the window cover `extent`, with xol's own traps taken out.
    fn fill(&mut self, space: SpaceId, w: &mut Window, extent: &Range<u64>) -> io::Result<bool> {
        if extent.start >= w.base && extent.end <= w.base + w.bytes.len() as u64 {
            return Ok(true);
        }
        let len = (extent.end - extent.start).max(CHUNK);
        w.base = extent.start;
        w.bytes.resize(len as usize, 0);
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        let got = match memory.read_some(Addr(w.base), &mut w.bytes) {
            Err(error) if is_gone(&error) => return Err(error),
            got => got.unwrap_or(0),
        };
        w.bytes.truncate(got);
        self.sites_mut(space).restore(w.base, &mut w.bytes);
        Ok(extent.start < w.base + got as u64)
    }

    /// Maps what is needed near the code: the head once, slots where there are none left.
    fn prepare(
        &mut self,
        space: SpaceId,
        tid: Option<Tid>,
        wants: &[Want],
        planned: &[Planned],
    ) -> io::Result<()> {
        let borrowed = tid.is_none();
        let Some(tid) = tid.or_else(|| self.borrow_thread(space)) else {
            self.sites_mut(space).no_slots = Some("no thread could be stopped".into());
            return Ok(());
        };
        let result = self.prepare_with(space, tid, wants, planned);
        if borrowed {
            self.give_back(tid)?;
        }
        result
    }

    fn prepare_with(
        &mut self,
        space: SpaceId,
        tid: Tid,
        wants: &[Want],
        planned: &[Planned],
    ) -> io::Result<()> {
        // Groups of sites that one area can serve.
        let mut groups: Vec<(u64, u64, usize)> = Vec::new();
        for p in planned {
            let at = wants[p.want].addr.0;
            match groups.last_mut() {
                Some((start, end, count)) if at - *start < SLOT_REACH / 4 => {
                    (*end, *count) = (at, *count + 1);
                }
                _ => groups.push((at, at, 1)),
            }
        }
        if let Err(why) = self.target.check_calls(tid) {
            return self.slots_in_padding(space, why.to_string());
        }
        for (start, end, count) in groups {
            let near = Area { start: Addr(start), len: end - start + 16 };
            let sites = self.sites_mut(space);
            let count = count.min(sites.slots.allowed());
            if sites.slots.free_near(near.start, Native::JUMP_REACH) >= count || count == 0 {
                continue;
            }
            // Room to grow: unused pages cost nothing.
            let allowed = sites.slots.allowed().max(count);
            let limited = self.target.room(space).is_some();
            // What a program with a limit is about to need is its own.
            let more = if limited { count } else { (count * 2).max(1024).min(allowed) };
            let table = if limited { planned.len() } else { (planned.len() * 2).max(512) };
            let bytes = more as u64 * SLOT_SIZE;
            let first = !std::mem::replace(&mut self.sites_mut(space).prepared, true);
            let area = if first {
                self.target.install(tid, near, table, bytes)
            } else {
                self.target.map_slots(tid, near, bytes)
            };
            let sites = self.sites_mut(space);
            match area {
                Ok(area) => sites.slots.add_area(area.start, area.len),
                Err(error) => {
                    if first {
                        sites.prepared = false;
                    }
                    self.slots_in_padding(space, error.to_string())?;
                }
            }
        }
        if !self.target.has_room_for(space, planned.len())
            && let Err(error) = self.target.grow_table(tid, planned.len())
        {
            self.sites_mut(space).no_slots = Some(error.to_string());
        }
        Ok(())
    }

    /// Chooses the strategy, makes the slot's code, enters the site.
    fn place(
        &mut self,
        space: SpaceId,
        want: &Want,
        p: &Planned,
        code: &mut BTreeMap<u64, Vec<u8>>,
        orphans: &mut Vec<Orphan>,
    ) -> Armed {
        let wish = self.teller.rows.wish_of(want.consumer, self.options.wish);
        let number = SiteId(self.sites_mut(space).sites.len() as u32);
        let text = Text {
            base: want.addr,
            bytes: &p.bytes[..p.have],
            function: want.function,
            guarded: want.guarded,
        };
        let can = p.plan.strategies();
        let strategy = choose(wish, can).ok_or(Reason::Undecodable)?;
        let mut site = Site {
            addr: want.addr,
            plan: p.plan,
            strategy,
            fixup: Default::default(),
            slot: None,
            original: p.original,
            guarded: want.guarded,
            armed: false,
            hits: 0,
            last_hit: 0,
            first: NONE,
        };
        let mut to = None;
        let sites = self.sites_mut(space);
        match sites.slots.take(want.addr, Native::JUMP_REACH, number) {
            Some(at) => match write_slot(&text, want.addr, &p.plan, strategy, at) {
                Ok(slot) => {
                    code.insert(at.0, slot.code.to_vec());
                    site.slot = Some(slot.slot);
                    site.fixup = slot.fixup;
                    to = slot.stands_alone.then_some(at);
                }
                Err(reject) => {
                    sites.slots.release(at);
                    if p.plan.effect.is_none() {
                        return Err(reject);
                    }
                    site.strategy = Strategy::Simulate;
                }
            },
            // Simulated, or given a slot at its first hit.
            None if p.plan.effect.is_some() => site.strategy = Strategy::Simulate,
            None if sites.no_slots.is_some()
                && !sites.slots.any_near(want.addr, Native::JUMP_REACH) =>
            {
                return Err(Reason::NoRoomForSlots.into());
            }
            None => {}
        }
        orphans.push(Orphan { site: want.addr, to, original: word(p.original) });
        Ok(self.sites_mut(space).add(site))
    }

    /// Writes slots, neighbours in one go.
    fn write_code(&self, space: SpaceId, code: &BTreeMap<u64, Vec<u8>>) -> io::Result<()> {
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        let mut run: Vec<u8> = Vec::new();
        let mut start = 0;
        for (&at, bytes) in code {
            if run.is_empty() || at != start + run.len() as u64 || run.len() > CHUNK as usize {
                if !run.is_empty() {
                    memory.write(Addr(start), &run)?;
                }
                (start, run) = (at, Vec::new());
            }
            run.extend_from_slice(bytes);
            run.resize(run.len().next_multiple_of(SLOT_SIZE as usize), 0);
        }
        if !run.is_empty() {
            memory.write(Addr(start), &run)?;
        }
        Ok(())
    }

    /// Writes or takes away the traps at sorted addresses, a page at a time, while no thread runs where
    /// none may ([`Arch::STOPS_TO_PATCH`]). Only what is as we expect it is changed; the others are
    /// returned.
    pub(in crate::trace) fn write_traps(
        &mut self,
        space: SpaceId,
        addrs: impl Iterator<Item = u64>,
        arm: bool,
    ) -> io::Result<Vec<u64>> {
        let halted = if Native::STOPS_TO_PATCH {
            self.halt(space, PATIENCE, false)?.unwrap_or_default()
        } else {
            Vec::new()
        };
        let written = self.write_pages(space, addrs, arm);
        self.resume(halted).and(written)
    }

    fn write_pages(
        &mut self,
        space: SpaceId,
        addrs: impl Iterator<Item = u64>,
        arm: bool,
    ) -> io::Result<Vec<u64>> {
        let mut foreign = Vec::new();
        let mut page = Vec::new();
        let mut addrs = addrs.peekable();
        while let Some(first) = addrs.next() {
            page.clear();
            page.push(first);
            let end = Addr(first).align_down(4096).0 + 4096 - TRAP.len() as u64;
            while let Some(next) = addrs.next_if(|&a| a <= end && first <= end) {
                page.push(next);
            }
            self.write_page(space, &page, arm, &mut foreign)?;
        }
        Ok(foreign)
    }

    fn write_page(
        &mut self,
        space: SpaceId,
        page: &[u64],
        arm: bool,
        foreign: &mut Vec<u64>,
    ) -> io::Result<()> {
        let (Some(&first), Some(&last)) = (page.first(), page.last()) else { return Ok(()) };
        let mut bytes = vec![0; (last - first) as usize + TRAP.len()];
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        match memory.read(Addr(first), &mut bytes) {
            Ok(()) => {}
            Err(error) if is_gone(&error) => return Err(error),
            Err(_) => {
                // Unmapped meanwhile: the sites died with the mapping.
                foreign.extend_from_slice(page);
                return Ok(());
            }
        }
        let mut changed = false;
        for &at in page {
            let Some(number) = self.sites_mut(space).find(Addr(at)) else { continue };
            let site = &self.sites_mut(space)[number];
            let original = &site.original[..TRAP.len()];
            let (from, to) = if arm { (original, TRAP) } else { (TRAP, original) };
            let here = &mut bytes[(at - first) as usize..][..TRAP.len()];
            if *here == *from {
                here.copy_from_slice(to);
                changed = true;
            } else if *here != *to {
                foreign.push(at);
            }
        }
        if changed {
            let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
            memory.write(Addr(first), &bytes)?;
        }
        Ok(())
    }

    /// Records what became of wants that were armed outside of a refresh.
    pub(in crate::trace) fn note_states(
        &mut self,
        space: xol_targets::ptrace::SpaceId,
        wants: &[crate::trace::wanted::want::Want],
        armed: &[crate::trace::wanted::want::Armed],
    ) {
        for (want, result) in wants.iter().zip(armed) {
            let state = match result {
                Ok(site) => RowState::Armed(self.sites_mut(space).strategy(*site)),
                Err(reject) => RowState::Rejected(*reject),
            };
            self.teller.rows.set_state(want.consumer, state);
            let why = self.sites_mut(space).jumps.refusals.get(&want.addr.0).copied();
            self.teller.rows.set_no_jump(want.consumer, why);
        }
    }

    /// Sees to it that a site that is there has its trap too.
    pub(in crate::trace) fn rearm(&mut self, space: SpaceId, site: SiteId) -> io::Result<bool> {
        let here = self.sites_mut(space)[site];
        if here.armed || self.target.is_leaving() {
            return Ok(here.armed);
        }
        let foreign = self.write_traps(space, std::iter::once(here.addr.0), true)?;
        self.sites_mut(space)[site].armed = foreign.is_empty();
        Ok(foreign.is_empty())
    }
}

impl Window {
    /// The part of the window that `extent` allows.
    fn cut(&self, extent: &Range<u64>) -> &[u8] {
        let from = (extent.start - self.base) as usize;
        let to = ((extent.end - self.base) as usize).min(self.bytes.len());
        self.bytes.get(from..to).unwrap_or(&[])
    }
}

/// Whether the instruction at `at` is a call.
fn is_call(text: &Text<'_>, at: Addr) -> bool {
    matches!(Native::flow(text, at), Ok((Flow::Call(_), _)))
}

/// Why what is in memory is not what the file has.
fn changed(want: &Want, here: &[u8]) -> Option<Reject> {
    let n = here.len().min(4);
    if !want.check_file || here[..n] == want.file[..n] {
        return None;
    }
    let foreign = here.starts_with(TRAP) || Native::is_trap(here);
    Some(if foreign { Reason::Breakpoint.into() } else { Reason::ChangedText.into() })
}

/// The bytes a trap replaced, as the handler in the target stores them.
pub(in crate::trace) fn word(original: [u8; 4]) -> u64 {
    u64::from(u32::from_le_bytes(original))
}
