//! From traps to jumps: trampolines built, landing places mapped; in batches.

use crate::WhyNotJump;
use crate::engine::ConsumerId;
use crate::trace::arming::traps::word;
use crate::trace::jumping::windows::{Chosen, Site};
use crate::trace::options::WhenFull;
use crate::trace::recorded::ring::shape;
use crate::trace::session::Session;
use crate::trace::space::jumps::Full;
use crate::trace::space::jumps::{Jump, LANDINGS, LEN, Region, SHADOWS};
use crate::trace::space::tally::Tally;
use crate::trace::telling::recorders::Served;
use crate::trace::wanted::want::Want;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::rc::Rc;
use xol_arch::jump::{NO_LOCK, Phase, Place, Record, Recorder};
use xol_arch::{Addr, Arch, Code, Reason};
use xol_targets::Native;
use xol_targets::native::SLOT_REACH;
use xol_targets::ptrace::{Area, Orphan, SpaceId, Tid, features, procfs};

const TRAP: &[u8] = Native::TRAP;

/// What a trampoline takes, generously: pages that are not used cost nothing.
fn room(chosen: &Chosen) -> u64 {
    256 + 384 * chosen.sites.iter().filter(|site| is_noted(site)).count() as u64
}

fn is_noted(site: &Site) -> bool {
    matches!(site.served, Served::Noted(..))
}

/// Of the memory for trampolines, how much more is taken at once than is needed, in bytes.
const MAX_GROWTH: u64 = 4 << 20;

impl Session<'_> {
    /// Turns the sites of `fresh`, numbers of wants in the order of their addresses, into jumps
    /// where that is right. The others stay what they are.
    pub(in crate::trace) fn jump(
        &mut self,
        space: SpaceId,
        tid: Option<Tid>,
        wants: &[Want],
        fresh: &[usize],
    ) -> io::Result<()> {
        if !self.teller.wants_jumps() || fresh.is_empty() || self.target.is_leaving() {
            return Ok(());
        }
        if !cfg!(feature = "jump") {
            for &i in fresh {
                self.no_jump(space, wants[i].addr, WhyNotJump::NotInThisBuild);
            }
            return Ok(());
        }
        // The calls that make text writable are sites by now: what was so before is seen here.
        if let Some(pid) = self.target.space(space).map(|space| space.pid) {
            let maps = procfs::maps(pid)?;
            self.see_writable(space, &maps)?;
        }
        let chosen = self.choose(space, wants, fresh)?;
        if chosen.is_empty() {
            return Ok(());
        }
        let places: Vec<Addr> = chosen.iter().map(|chosen| chosen.window.at).collect();
        let Some(borrowed) = tid.or_else(|| self.borrow_thread(space)) else {
            self.no_jumps(space, &places, WhyNotJump::NoThread);
            return Ok(());
        };
        let chosen = self.outside_sequences(space, borrowed, chosen);
        let result = match self.target.check_calls(borrowed) {
            Ok(()) => self.build_all(space, borrowed, chosen),
            Err(why) => {
                self.note_no_jumps(&why);
                self.no_jumps(space, &places, WhyNotJump::Seccomp);
                Ok(Vec::new())
            }
        };
        if tid.is_none() {
            self.give_back(borrowed)?;
        }
        let built = result?;
        if built.is_empty() {
            return Ok(());
        }
        match self.write_jumps(space, &built)? {
            None => {
                let places: Vec<Addr> = built.iter().map(|jump| jump.window.at).collect();
                self.no_jumps(space, &places, WhyNotJump::ThreadDoesNotStop);
            }
            Some(stands) => {
                for (jump, stands) in built.into_iter().zip(stands) {
                    if stands {
                        self.sites_mut(space).jumps.stands(&jump);
                        self.jump_stands(space, &jump);
                    } else {
                        self.no_jump(space, jump.window.at, Reason::ChangedText.into());
                    }
                }
            }
        }
        Ok(())
    }

    /// Notes why there is no jump at a place, for the site and for the rows it is about.
    pub(in crate::trace) fn no_jump(&mut self, space: SpaceId, at: Addr, why: WhyNotJump) {
        let sites = self.sites_mut(space);
        sites.jumps.refusals.insert(at.0, why);
        let Some(number) = sites.find(at) else { return };
        for consumer in sites.consumers(number).collect::<Vec<ConsumerId>>() {
            self.teller.rows.set_no_jump(consumer, Some(why));
        }
    }

    fn no_jumps(&mut self, space: SpaceId, places: &[Addr], why: WhyNotJump) {
        places.iter().for_each(|&at| self.no_jump(space, at, why));
    }

    /// Builds and writes everything but the text: what is ready to be jumped to.
    fn build_all(
        &mut self,
        space: SpaceId,
        tid: Tid,
        chosen: Vec<Chosen>,
    ) -> io::Result<Vec<Rc<Jump>>> {
        // What each jump replaces is noted in the table, and what is mapped for it.
        let noted = chosen.iter().map(|chosen| 2 + places(chosen)).sum::<usize>() + 4;
        if !self.target.has_room_for(space, noted)
            && let Err(error) = self.target.grow_table(tid, noted)
        {
            self.note_no_jumps(&error);
            let places: Vec<Addr> = chosen.iter().map(|chosen| chosen.window.at).collect();
            self.no_jumps(space, &places, Reason::NoRoomForSlots.into());
            return Ok(Vec::new());
        }
        let mut built = Vec::new();
        let mut chosen = chosen.into_iter().peekable();
        while let Some(first) = chosen.next() {
            let near = first.window.at;
            let mut group = vec![first];
            while let Some(next) = chosen.next_if(|c| c.window.at.0 - near.0 < SLOT_REACH / 4) {
                group.push(next);
            }
            self.build_group(space, tid, &mut group, &mut built)?;
        }
        let traps = |jump: &Rc<Jump>| {
            jump.enters.len() + jump.fulls.len() + usize::from(SHADOWS && jump.shadow.is_some())
        };
        let inner = built.iter().map(traps).sum();
        if !self.target.has_room_for(space, inner)
            && let Err(error) = self.target.grow_table(tid, inner)
        {
            self.note_no_jumps(&error);
            let places: Vec<Addr> = built.iter().map(|jump| jump.window.at).collect();
            self.no_jumps(space, &places, Reason::NoRoomForSlots.into());
            return Ok(Vec::new());
        }
        // If xol dies, the places in a jump that trap lead to their copies without us.
        let pid = self.target.space(space).map(|space| space.pid);
        let status = pid.and_then(|pid| procfs::status(Tid(pid.0)).ok());
        let filtered = status.is_none_or(|status| status.seccomp != 0);
        let mut orphans = Vec::new();
        for jump in &built {
            orphans.push(Orphan::jump(jump.window.at, &jump.text[..jump.len()]));
            for &(offset, enter) in jump.enters.iter().filter(|(offset, _)| *offset > 0) {
                let site = jump.window.at.add(offset.into());
                if jump.counts(site) {
                    continue;
                }
                orphans.push(orphan(jump, offset, enter));
            }
            orphans.extend(jump.orphans_of_full(filtered));
            if SHADOWS && let (Some(shadow), Some(enter)) = (jump.window.shadow(), jump.shadow) {
                orphans.push(orphan(jump, shadow.offset, enter));
            }
        }
        self.target.set_orphans(space, &orphans)?;
        Ok(built)
    }

    fn build_group(
        &mut self,
        space: SpaceId,
        tid: Tid,
        group: &mut [Chosen],
        built: &mut Vec<Rc<Jump>>,
    ) -> io::Result<()> {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(()) };
        let near = Area { start: first.window.at, len: last.window.at.0 - first.window.at.0 + 16 };
        let Some(region) = self.region(space, tid, near, group) else {
            let places: Vec<Addr> = group.iter().map(|chosen| chosen.window.at).collect();
            self.no_jumps(space, &places, Reason::NoRoomForSlots.into());
            return Ok(());
        };
        let landings = self.landings(space, tid, &region, group)?;
        let ring = match group.iter().any(|chosen| chosen.sites.iter().any(is_noted)) {
            true => self.ring_near(space, tid, region.code),
            false => None,
        };
        let mut to = region.code.start.add(region.used);
        let mut code = Vec::new();
        let mut pages: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for (chosen, landing) in group.iter().zip(landings) {
            let landing = match landing {
                Ok(landing) => landing,
                Err(why) => {
                    self.no_jump(space, chosen.window.at, why);
                    continue;
                }
            };
            match self.build(space, &region, ring, chosen, landing, to) {
                Ok((jump, bytes)) => {
                    let others = landing.map(|at| chosen.window.reach().others(at));
                    let places: Vec<Addr> =
                        landing.into_iter().chain(others.into_iter().flatten()).collect();
                    if LANDINGS && !self.write_landings(space, &places, jump.to, &mut pages)? {
                        self.no_jump(space, chosen.window.at, Reason::NoLandingPlace.into());
                        continue;
                    }
                    code.extend_from_slice(&bytes);
                    code.resize(code.len().next_multiple_of(16), 0);
                    to = region.code.start.add(region.used + code.len() as u64);
                    let jump = Rc::new(jump);
                    self.sites_mut(space).jumps.add(jump.clone());
                    built.push(jump);
                }
                Err(why) => self.no_jump(space, chosen.window.at, why),
            }
        }
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        memory.write(region.code.start.add(region.used), &code)?;
        for (page, bytes) in pages {
            memory.write(Addr(page), &bytes)?;
        }
        let used = region.used + code.len() as u64;
        let regions = &mut self.sites_mut(space).jumps.regions;
        if let Some(region) = regions.iter_mut().find(|r| r.code == region.code) {
            region.used = used;
        }
        Ok(())
    }

    /// Puts the jumps to a trampoline into the pages of its landing places; false if one does not reach it.
    fn write_landings(
        &self,
        space: SpaceId,
        places: &[Addr],
        to: Addr,
        pages: &mut BTreeMap<u64, Vec<u8>>,
    ) -> io::Result<bool> {
        let mut jumps = Vec::new();
        for &at in places {
            let mut second = Code::new();
            if Native::jump(at, to, &mut second).is_err() {
                return Ok(false);
            }
            jumps.push((at, second));
        }
        for (at, second) in jumps {
            let page = at.align_down(4096).0;
            let bytes = match pages.entry(page) {
                Entry::Occupied(known) => known.into_mut(),
                // It may have the places of others.
                Entry::Vacant(new) => {
                    let mut bytes = vec![0; 4096];
                    let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
                    memory.read(Addr(page), &mut bytes)?;
                    new.insert(bytes)
                }
            };
            bytes[(at.0 - page) as usize..][..second.len()].copy_from_slice(&second);
        }
        Ok(true)
    }

    /// One trampoline at `to`, within its region.
    #[allow(clippy::too_many_arguments, reason = "what one is made of")]
    fn build(
        &mut self,
        space: SpaceId,
        region: &Region,
        ring: Option<Addr>,
        chosen: &Chosen,
        landing: Option<Addr>,
        to: Addr,
    ) -> Result<(Jump, Vec<u8>), WhyNotJump> {
        let window = chosen.window;
        let len = usize::from(window.len);
        let (mut records, mut told) = (Vec::new(), 0);
        let mut trapped = [0; LEN];
        trapped[..len].copy_from_slice(chosen.text.get(..len).ok_or(Reason::Truncated)?);
        for &Site { offset, number, served, flags } in &chosen.sites {
            let sites = self.sites_mut(space);
            let consumers: Vec<ConsumerId> = sites.consumers(number).collect();
            told += consumers.len();
            let (recorder, filter) = match served {
                Served::Counted(filter) => {
                    let counter =
                        region.tally.add(consumers, false).ok_or(Reason::NoRoomForSlots)?;
                    (Recorder::Count { counter: region.counters.start.add(counter) }, filter)
                }
                Served::Noted(values, filter) => {
                    let ring = ring.ok_or(Reason::NoRoomForSlots)?;
                    let missed = region.tally.add(consumers.clone(), true);
                    let missed = missed.ok_or(Reason::NoRoomForSlots)?;
                    let missed = region.counters.start.add(missed);
                    let at = window.at.add(offset.into());
                    let probe = self.teller.noting(at, consumers, values).0;
                    let wait = self.options.when_full == WhenFull::Wait;
                    let (shape, time) = (shape(), true);
                    (Recorder::Event { ring, shape, missed, probe, values, time, wait }, filter)
                }
            };
            records.push(Record { offset, flags, stack: chosen.stack, filter, recorder });
            trapped[offset.into()..][..TRAP.len()].copy_from_slice(TRAP);
        }
        let mut jump = Jump {
            window,
            text: chosen.text.clone(),
            function: chosen.function,
            guarded: chosen.guarded,
            rules: self.options.rules,
            records,
            told,
            to,
            len: 0,
            enters: Vec::new(),
            fulls: Vec::new(),
            shadow: None,
            landing,
            locks: Vec::new(),
            trapped,
            jumped: [0; LEN],
        };
        let trampoline = jump.trampoline()?;
        jump.len = trampoline.code.len() as u16;
        if to.0 + u64::from(jump.len) > region.code.start.0 + region.code.len {
            return Err(Reason::NoRoomForSlots.into());
        }
        // What must be left to run cannot always be stepped through (an exclusive sequence).
        let claimed = |pc| {
            let place = trampoline.place(pc);
            matches!(place, Some(Place::Recording { phase: Phase::Claimed, .. }))
        };
        if !features().atomics && (0..jump.len).any(claimed) {
            return Err(Reason::MissingFeature.into());
        }
        for insn in window.covered() {
            let enter = trampoline.enter(insn.offset).ok_or(Reason::WindowInstruction)?;
            jump.enters.push((insn.offset, enter));
        }
        let fulls = trampoline.fulls();
        jump.fulls = fulls
            .filter_map(|at| {
                let (start, time) = trampoline.full_at(at)?;
                Some(Full { at, start, time })
            })
            .collect();
        jump.shadow = trampoline.enter_shadow();
        jump.locks = trampoline.locks().collect();
        let mut code = trampoline.code.to_vec();
        if self.sites_mut(space).jumps.counts_unlocked {
            jump.locks.iter().for_each(|&at| code[usize::from(at)] = NO_LOCK);
        }
        let mut bytes = Code::new();
        window.write::<Native>(landing.unwrap_or(to), &mut bytes)?;
        if bytes.len() != len || !window.fits::<Native>(&bytes) {
            return Err(Reason::OutOfReach.into());
        }
        jump.jumped[..len].copy_from_slice(&bytes);
        Ok((jump, code))
    }

    /// Memory for the trampolines of a group and their counters.
    fn region(&mut self, space: SpaceId, tid: Tid, near: Area, group: &[Chosen]) -> Option<Region> {
        let room = group.iter().map(room).sum::<u64>();
        let counters: usize = group.iter().map(|c| c.sites.len()).sum();
        let end = near.start.add(near.len);
        let in_reach = |area: &Area| {
            let reaches = |a: Addr, b: Addr| a.distance_from(b).unsigned_abs() < Native::JUMP_REACH;
            let code_end = area.start.add(area.len);
            [area.start, code_end].into_iter().all(|a| reaches(a, near.start) && reaches(a, end))
        };
        let jumps = &self.sites_mut(space).jumps;
        if jumps.len() >= crate::trace::Options::MAX_SITES {
            return None;
        }
        let known = jumps.regions.iter().find(|r| {
            in_reach(&r.code) && r.code.len - r.used >= room && r.tally.free() >= counters
        });
        if let Some(known) = known {
            return Some(known.clone());
        }
        // Room to grow, as for slots, and more where they come in small batches.
        let used: u64 = jumps.regions.iter().map(|region| region.code.len).sum();
        let len = match self.target.room(space) {
            Some(_) if !self.may_take(space, room + counters as u64 * 16) => return None,
            Some(_) => room,
            None => (room * 2).max(used.min(MAX_GROWTH)),
        };
        let made = self.target.map_code(tid, near, len).and_then(|code| {
            let (shared, counters) = self.target.map_shared(tid, code, counters as u64 * 16)?;
            Ok((code, shared, counters))
        });
        match made {
            Ok((code, shared, counters)) => {
                let tally = Rc::new(Tally::new(shared));
                self.teller.rows.tallies.push(tally.clone());
                let region = Region { code, used: 0, counters, tally };
                let alone = self.is_alone(space);
                let jumps = &mut self.sites_mut(space).jumps;
                jumps.counts_unlocked =
                    alone && (jumps.counts_unlocked || jumps.regions.is_empty());
                jumps.regions.push(region.clone());
                Some(region)
            }
            Err(error) => {
                self.note_no_jumps(&error);
                None
            }
        }
    }

    /// Whether a program whose address space is limited is likely not to miss so many bytes of it:
    /// the little that is left is its own.
    pub(in crate::trace) fn may_take(&mut self, space: SpaceId, len: u64) -> bool {
        const SHARE: u64 = 64;
        let enough = self.target.room(space).is_none_or(|room| len <= room / SHARE);
        if !enough {
            self.note_no_jumps(&"the program's address space is limited (ulimit -v)");
        }
        enough
    }
}

/// How many landing places a jump may take.
fn places(chosen: &Chosen) -> usize {
    let of_other = chosen.other.as_deref().map_or(0, places);
    of_other.max(1 << chosen.window.later.count_ones())
}

/// Where a thread that traps at this offset of a jump goes on when xol is dead.
fn orphan(jump: &Jump, offset: u8, enter: u16) -> Orphan {
    let mut original = [0; 4];
    for (to, from) in original.iter_mut().zip(&jump.text[offset.into()..]) {
        *to = *from;
    }
    let to = Some(jump.to.add(enter.into()));
    Orphan { site: jump.window.at.add(offset.into()), to, original: word(original) }
}
