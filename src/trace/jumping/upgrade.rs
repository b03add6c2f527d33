//! Sites that are hit often become jumps while the program runs.
//!
//! A site begins as a trap, which costs little to write. One hit costs about 4 us; a jump costs about
//! 250 by itself, less with others: threads stopped, a call or two made in the target, text read and
//! written. So it is worth its cost after some [`HOT`] hits, if there are as many to come; and where it
//! was not to be had, or has given way, after twice as many again.
//!
//! With `--strategy jump`, and for places that were hot in a former process (known by file and
//! offset), the jump is written when the site is armed. Otherwise a site that was hit often enough
//! is noted in a list of fixed size, and the list becomes jumps together some milliseconds later,
//! at a trap: the thread that trapped makes the calls that are needed, and the other threads are
//! stopped once. A place that was refused is not asked for again until a jump gives way or
//! something is unmapped. No site is upgraded while xol leaves, by a child that borrows its
//! parent's memory, or past a seccomp filter.

use crate::WhyNotJump;
use crate::engine::ConsumerId;
use crate::engine::Wish;
use crate::trace::rows::consumer::Consumer;
use crate::trace::session::Session;
use crate::trace::space::hot::GATHER;
use crate::trace::space::jumps::State;
use crate::trace::space::objects::FileId;
use crate::trace::wanted::want::Want;
use rustc_hash::FxHashMap;
use std::io;
use std::time::Instant;
use xol_arch::{Addr, Arch, Strategy};
use xol_targets::Native;
use xol_targets::ptrace::{SpaceId, Tid};

/// Hits after which a site is hot: what a jump costs, in traps.
const HOT: u64 = 32;
/// And so many times what the last batch took: with a thousand threads to stop, that is more.
const REST: u32 = 10;
/// Places that are remembered at most.
const MOST_PLACES: usize = 1 << 16;
/// How often places were hit, by file and offset, in processes that are over: where that was often, they
/// are jumps from the first hit on in the next process.
#[derive(Debug, Default)]
pub(in crate::trace) struct Heat(FxHashMap<(FileId, u64), u64>);

impl Heat {
    fn add(&mut self, place: (FileId, u64), hits: u64) {
        if self.0.len() < MOST_PLACES || self.0.contains_key(&place) {
            *self.0.entry(place).or_default() += hits;
        }
    }

    fn is_hot(&self, place: &(FileId, u64)) -> bool {
        self.0.get(place).is_some_and(|&hits| hits >= HOT)
    }
}

impl Session<'_> {
    /// Makes jumps of those new sites of `wants` that need not get hot first.
    pub(in crate::trace) fn jump_at_once(
        &mut self,
        space: SpaceId,
        tid: Option<Tid>,
        wants: &[Want],
        mut fresh: Vec<usize>,
    ) -> io::Result<()> {
        if !cfg!(feature = "jump") {
            // Whoever asked for jumps alone is told why there are none.
            let asked = self.options.wish == Wish::Only(Strategy::Jump);
            return if asked { self.jump(space, tid, wants, &fresh) } else { Ok(()) };
        }
        // The turn of a RET, and of its run-up, comes with the entry of its function, whose window it may
        // be in.
        fresh.retain(|&i| {
            let consumer = self.teller.rows.consumer(wants[i].consumer);
            !matches!(consumer, Some(Consumer::Exit(_) | Consumer::RunUp))
        });
        let fresh = match self.options.wish {
            Wish::Only(Strategy::Jump) => fresh,
            Wish::Auto => self.known_hot(space, wants, fresh),
            Wish::Only(_) => return Ok(()),
        };
        self.jump(space, tid, wants, &fresh)
    }

    /// Returns those of the new sites of `wants` whose places were hot in a former process.
    fn known_hot(&self, space: SpaceId, wants: &[Want], mut fresh: Vec<usize>) -> Vec<usize> {
        fresh.retain(|&want| self.was_hot(space, wants[want].addr));
        fresh
    }

    /// Whether a place was hot in a former process.
    pub(in crate::trace) fn was_hot(&self, space: SpaceId, at: Addr) -> bool {
        let sites = self.spaces.get(&space).filter(|_| !self.jumping.heat.0.is_empty());
        sites
            .and_then(|sites| sites.in_file(at))
            .is_some_and(|place| self.jumping.heat.is_hot(&place))
    }

    /// Remembers how often the sites of a space were hit that nobody is in any more.
    pub(in crate::trace) fn keep_heat(&mut self, space: SpaceId) {
        if !cfg!(feature = "jump") {
            return;
        }
        self.settle_ends(space);
        if self.options.wish != Wish::Auto {
            return;
        }
        let Some(sites) = self.spaces.get(&space) else { return };
        for site in sites.sites.iter().filter(|site| site.hits > 0) {
            if let Some(place) = sites.in_file(site.addr) {
                self.jumping.heat.add(place, site.hits);
            }
        }
    }

    /// A site was hit for the `hits`th time.
    pub(in crate::trace) fn warm(&mut self, space: SpaceId, at: Addr, hits: u64) -> io::Result<()> {
        if !cfg!(feature = "jump") {
            return Ok(());
        }
        let hot = hits.is_multiple_of(HOT);
        // A jump that is taken back for a moment comes again.
        let toggles = self.options.toggle.is_some();
        if !hot || toggles || !self.teller.wants_jumps() || self.target.is_leaving() {
            return Ok(());
        }
        let Some(sites) = self.spaces.get_mut(&space) else { return Ok(()) };
        match sites.jumps.over(at) {
            Some((_, jump, State::Headed)) if jump.window.at == at => self.head_again(space, at),
            // Counted by another's trampoline: whoever comes to it from elsewhere traps.
            Some(_) => Ok(()),
            None => {
                if hits.is_power_of_two() && !sites.jumps.is_refused(at) {
                    sites.hot.add(at);
                }
                Ok(())
            }
        }
    }

    /// Turns the batch into jumps if it is time, with the help of a thread that stands behind the
    /// trap of the site at `at`.
    pub(in crate::trace) fn upgrade_if_due(
        &mut self,
        tid: Tid,
        space: SpaceId,
        at: Addr,
    ) -> io::Result<()> {
        if !cfg!(feature = "jump") {
            return Ok(());
        }
        let Some(sites) = self.spaces.get_mut(&space).filter(|sites| sites.hot.is_due()) else {
            return Ok(());
        };
        let pid = self.target.thread(tid).map(|t| t.pid);
        // A child that borrows the memory makes no calls for its parent, whose stack it may be on.
        let own = pid.and_then(|pid| self.target.process(pid)).is_some_and(|p| !p.shares_memory);
        if self.target.is_leaving() || !own {
            return Ok(());
        }
        let begun = Instant::now();
        let batch = sites.hot.take();
        let wants = batch
            .iter()
            .filter_map(|&at| self.want_in_memory(space, at, ConsumerId::NONE))
            .collect();
        self.target.settle(tid)?;
        // If xol dies in a call made here, the thread comes to the trap once more.
        self.target.stopped(tid)?.rewind(at);
        if let Err(error) = self.jump_with_run_ups(space, Some(tid), wants) {
            // What is not a jump is a trap as before.
            for &at in &batch {
                self.no_jump(space, at, WhyNotJump::Failed);
            }
            self.note_no_jumps(&error);
        }
        self.sites_mut(space).hot.wait = GATHER.max(begun.elapsed() * REST);
        Ok(())
    }

    /// Puts the head of a jump back that was made a trap for an execution that is over.
    fn head_again(&mut self, space: SpaceId, at: Addr) -> io::Result<()> {
        let sites = self.spaces.get(&space).ok_or(io::ErrorKind::NotFound)?;
        let Some((number, jump, State::Headed)) = sites.jumps.over(at) else { return Ok(()) };
        let jump = jump.clone();
        let retried = |pc| jump.window.overwrites(pc);
        if self.target.threads().any(|t| t.retries.sites().any(retried)) {
            self.no_jump(space, at, WhyNotJump::BeingRetried);
            return Ok(());
        }
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        let mut here = [0; crate::trace::space::jumps::LEN];
        let here = &mut here[..jump.len()];
        let head = &jump.jumped[..Native::TRAP.len()];
        // One byte, or one instruction, of those that may be changed under a running thread.
        if memory.read(at, here).is_ok()
            && here.starts_with(Native::TRAP)
            && jump.has_tail(here)
            && memory.write(at, head).is_ok()
        {
            self.sites_mut(space).jumps.set(number, State::On);
            self.jump_stands(space, &jump);
        }
        Ok(())
    }

    /// The sites of a jump are counted by it from now on.
    pub(in crate::trace) fn jump_stands(
        &mut self,
        space: SpaceId,
        jump: &crate::trace::space::jumps::Jump,
    ) {
        for at in jump.sites() {
            let sites = self.sites_mut(space);
            sites.jumps.refusals.remove(&at.0);
            let Some(number) = sites.find(at) else { continue };
            for consumer in sites.consumers(number).collect::<Vec<ConsumerId>>() {
                self.teller.rows.set_state(consumer, crate::trace::RowState::Armed(Strategy::Jump));
                self.teller.rows.set_no_jump(consumer, None);
            }
        }
    }

    /// The sites of a jump are traps from now on, and why.
    pub(in crate::trace) fn falls_back(
        &mut self,
        space: SpaceId,
        jump: &crate::trace::space::jumps::Jump,
        why: WhyNotJump,
    ) {
        for at in jump.sites() {
            let sites = self.sites_mut(space);
            let Some(number) = sites.find(at) else { continue };
            let strategy = sites.strategy(number);
            for consumer in sites.consumers(number).collect::<Vec<ConsumerId>>() {
                self.teller.rows.set_state(consumer, crate::trace::RowState::Armed(strategy));
            }
            self.no_jump(space, at, why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_gets_hot_over_several_processes() {
        let file = FileId { device: (8, 1), inode: 7 };
        let mut heat = Heat::default();
        for process in 1..=4 {
            assert!(!heat.is_hot(&(file, 0x1000)), "{process}");
            heat.add((file, 0x1000), HOT / 4);
            heat.add((file, 0x1004), HOT / 4 - 1);
        }
        assert!(heat.is_hot(&(file, 0x1000)) && !heat.is_hot(&(file, 0x1004)));
        assert!(!heat.is_hot(&(FileId { inode: 8, ..file }, 0x1000)));
    }
}
