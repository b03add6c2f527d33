//! Jumps at the two ends of calls: the entry of a function and every RET of it, all or none.

use super::arm::Want;
use super::consumer::{Consumer, RowState};
use super::jumps::Jump;
use super::session::Session;
use crate::WhyNotJump;
use crate::engine::{NONE, Wish};
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use xol_arch::{Addr, Arch, Strategy};
use xol_targets::Native;
use xol_targets::ptrace::{Area, SpaceId, Tid};

impl Session<'_> {
    /// Turns the ends of new functions into jumps where they need not get hot first: each group has the
    /// wants of one function, its entry and its exits.
    pub(super) fn jump_returns(
        &mut self,
        space: SpaceId,
        tid: Option<Tid>,
        mut groups: Vec<Vec<Want>>,
    ) -> io::Result<()> {
        if !cfg!(feature = "jump") {
            return Ok(());
        }
        match self.options.wish {
            Wish::Only(Strategy::Jump) => {}
            Wish::Auto => {
                groups.retain(|group| group.iter().any(|want| self.was_hot(space, want.addr)));
            }
            Wish::Only(_) => return Ok(()),
        }
        self.jump_groups(space, tid, groups)
    }

    /// Of the hot sites of a batch, takes out those that are ends of functions: what is wanted at all ends
    /// of each of these functions.
    pub(super) fn take_ends(&mut self, space: SpaceId, batch: &mut Vec<Addr>) -> Vec<Vec<Want>> {
        let is_end = |at: &mut Addr| {
            let site = self.spaces.get(&space).and_then(|sites| sites.find(*at));
            site.is_some_and(|site| self.is_of_return(space, site))
        };
        let ends: Vec<Addr> = batch.extract_if(.., is_end).collect();
        let functions = self.sites_mut(space).exits.together(&ends);
        let mut groups = Vec::new();
        for function in functions {
            let wants = function.iter().map(|&at| self.want_in_memory(space, at, NONE));
            match wants.collect::<Option<Vec<Want>>>() {
                Some(group) => groups.push(group),
                None => function.iter().for_each(|&at| {
                    self.no_jump(space, at, WhyNotJump::NotAllExits);
                }),
            }
        }
        groups
    }

    /// Turns the ends of functions into jumps, all of a function's or none.
    pub(super) fn jump_groups(
        &mut self,
        space: SpaceId,
        tid: Option<Tid>,
        groups: Vec<Vec<Want>>,
    ) -> io::Result<()> {
        if !cfg!(feature = "jump") || groups.is_empty() {
            return Ok(());
        }
        let mut wants = Vec::new();
        let mut ranges = Vec::new();
        for group in groups {
            let from = wants.len();
            wants.extend(group);
            ranges.push(from..wants.len());
        }
        let run_ups = self.arm_run_ups(space, tid, &wants, &in_order(&wants))?;
        wants.extend_from_slice(&run_ups);
        self.jump_whole(space, tid, &wants, &in_order(&wants), &ranges)?;
        self.drop_run_ups(space, &run_ups)?;
        for want in &wants {
            let sites = self.sites_mut(space);
            let why = sites.jumps.refusals.get(&want.addr.0).copied();
            let Some(number) = sites.find(want.addr) else { continue };
            let strategy = sites.strategy(number);
            let consumers: Vec<u32> = sites.consumers(number).collect();
            for consumer in consumers {
                self.set_state(consumer, RowState::Armed(strategy));
                if let Consumer::Entered(row) = self.consumers[consumer as usize] {
                    self.rows[row as usize].no_jump = why;
                }
            }
        }
        Ok(())
    }

    /// Keeps those jumps whose groups are whole.
    pub(super) fn only_whole(
        &mut self,
        space: SpaceId,
        wants: &[Want],
        groups: &[Range<usize>],
        built: &mut Vec<Rc<Jump>>,
    ) {
        if groups.is_empty() {
            return;
        }
        let listed = groups.iter().flat_map(|group| &wants[group.clone()]).map(|want| want.addr);
        let listed: BTreeSet<Addr> = listed.collect();
        let mut broken: BTreeSet<Addr> = BTreeSet::new();
        loop {
            let jumps: BTreeSet<Addr> = built.iter().flat_map(|jump| jump.sites()).collect();
            let mut drop = BTreeSet::new();
            for group in groups {
                let ends = || wants[group.clone()].iter().map(|want| want.addr);
                let sites = self.sites_mut(space);
                if !ends().all(|at| jumps.contains(&at) || sites.jumps.counts(at)) {
                    drop.extend(ends());
                }
            }
            // Nor an end of a function whose turn it is not.
            drop.extend(jumps.iter().filter(|&at| !listed.contains(at)).filter(|&&at| {
                let site = self.spaces.get(&space).and_then(|sites| sites.find(at));
                site.is_some_and(|site| self.is_of_return(space, site))
            }));
            let before = built.len();
            built.retain(|jump| !jump.sites().any(|at| drop.contains(&at)));
            broken.extend(jumps.intersection(&drop));
            if built.len() == before {
                break;
            }
        }
        for at in broken {
            self.no_jump(space, at, WhyNotJump::NotAllExits);
        }
    }

    /// A ring that code there reaches, made if there is none.
    pub(super) fn ring_near(&mut self, space: SpaceId, tid: Tid, code: Area) -> Option<Addr> {
        let end = code.start.add(code.len);
        let reaches = |at: Addr| {
            let near = |from: Addr| at.distance_from(from).unsigned_abs() < Native::JUMP_REACH;
            near(code.start) && near(end)
        };
        let known = self.rings.areas(space).map(|area| area.start).find(|&start| reaches(start));
        if known.is_some() {
            return known;
        }
        if !self.may_take(space, super::ring::shape().len()) {
            return None;
        }
        let first = self.rings.areas(space).next().is_none();
        match self.target.map_shared(tid, code, super::ring::shape().len()) {
            Ok((shared, area)) => {
                self.rings.add(space, area, shared);
                self.sites_mut(space).jumps.rings.push(area);
                if first {
                    self.name_all(space);
                }
                // From the first record on: nothing else may wake us.
                self.pace(1).ok()?;
                if !xol_targets::ptrace::ticks_are_steady() {
                    self.note(format!(
                        "times of events are from the {}, which this processor does not keep \
                         at one pace",
                        xol_targets::native::TICKS
                    ));
                }
                Some(area.start)
            }
            Err(error) => {
                self.note(format!("no room for events of jumps: {error}"));
                None
            }
        }
    }

    /// Gives a forked child rings of its own, before it runs: its threads have the thread pointers
    /// of its parent's. Where that cannot be, it has no jumps.
    pub(super) fn own_rings(&mut self, space: SpaceId, tid: Tid) -> io::Result<()> {
        if !cfg!(feature = "jump") {
            return Ok(());
        }
        let areas = self.sites_mut(space).jumps.rings.clone();
        if areas.is_empty() || self.rings.areas(space).next().is_some() {
            return Ok(());
        }
        for area in areas {
            match self.target.unshare(tid, area) {
                Ok(shared) => self.rings.add(space, area, shared),
                Err(error) => {
                    self.note(format!("no jumps in a forked process: {error}"));
                    self.sites_mut(space).jumps.shared_pointers = true;
                    return self.give_up_jumps(space);
                }
            }
        }
        Ok(())
    }

    /// Names a new thread by its thread pointer. One that another thread of its process has too
    /// names nobody: events are then taken by traps.
    pub(super) fn name_new(&mut self, space: SpaceId, tid: Tid) -> io::Result<()> {
        if !cfg!(feature = "jump") {
            return Ok(());
        }
        if self.rings.areas(space).next().is_none() {
            return Ok(());
        }
        let pid = self.target.thread(tid).map(|t| t.pid);
        let of_process = self.target.threads().filter(|t| Some(t.pid) == pid).count();
        let pointer = self.target.thread_pointer(tid)?;
        if of_process > 1 && self.is_ambiguous(space, pointer) {
            self.drain(None)?;
            self.note("threads share a thread pointer: events are taken by traps".to_owned());
            self.sites_mut(space).jumps.shared_pointers = true;
            self.give_up_jumps(space)?;
        }
        self.name_thread(tid);
        Ok(())
    }

    /// All jumps of a space become traps, and reports say so.
    fn give_up_jumps(&mut self, space: SpaceId) -> io::Result<()> {
        let standing = self.sites_mut(space).jumps.standing();
        let mut at: Vec<Addr> = standing.iter().map(|(_, jump)| jump.window.at).collect();
        at.sort_unstable();
        self.make_way(space, &at)
    }
}

/// The numbers of wants in the order of their addresses, one for each.
fn in_order(wants: &[Want]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..wants.len()).collect();
    order.sort_unstable_by_key(|&i| wants[i].addr);
    order.dedup_by_key(|i| wants[*i].addr);
    order
}
