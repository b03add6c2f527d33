//! Jumps at the ends of calls: the entry of a function and its RETs, each of which may be a jump or a trap.
//!
//! On x86-64 a RET has one byte, which is no room for a jump, and what stands behind it is often come to
//! from elsewhere. An instruction or two before it have room, where nothing comes between them: the first
//! of these becomes a site for the jump's sake alone, its run-up.

use crate::WhyNotJump;
use crate::engine::{RowId, Wish};
use crate::symbols::Function;
use crate::trace::jumping::windows::Piece;
use crate::trace::rows::consumer::{Consumer, RowState};
use crate::trace::session::Session;
use crate::trace::wanted::want::Want;
use std::collections::HashMap;
use std::io;
use xol_arch::{Addr, Arch, Strategy, Text};
use xol_targets::Native;
use xol_targets::ptrace::{SpaceId, Tid};

/// How far before a RET its run-up may begin: the RET is then the last byte of the jump.
const FARTHEST: u64 = 4;

impl Session<'_> {
    /// Turns the ends of new functions, whose exits are known by now, into jumps where they need not get
    /// hot first.
    pub(in crate::trace) fn jump_returns(
        &mut self,
        space: SpaceId,
        tid: Option<Tid>,
        mut wants: Vec<Want>,
    ) -> io::Result<()> {
        if !cfg!(feature = "jump") {
            return Ok(());
        }
        match self.options.wish {
            Wish::Only(Strategy::Jump) => {}
            Wish::Auto => wants.retain(|want| self.was_hot(space, want.addr)),
            Wish::Only(_) => return Ok(()),
        }
        self.jump_with_run_ups(space, tid, wants)
    }

    /// Turns sites into jumps where that is right, also those RETs that need a run-up.
    pub(in crate::trace) fn jump_with_run_ups(
        &mut self,
        space: SpaceId,
        tid: Option<Tid>,
        mut wants: Vec<Want>,
    ) -> io::Result<()> {
        if !cfg!(feature = "jump") || wants.is_empty() {
            return Ok(());
        }
        let run_ups = self.arm_run_ups(space, tid, &wants)?;
        wants.extend_from_slice(&run_ups);
        let jumped = self.jump(space, tid, &wants, &in_order(&wants));
        self.drop_run_ups(space, &run_ups).and(jumped)
    }

    /// Says of each function whose returns are of interest what its ends are by now: jumps if all are, else
    /// what the first is that is none.
    pub(in crate::trace) fn settle_ends(&mut self, space: SpaceId) {
        if !cfg!(feature = "jump") {
            return;
        }
        let Some(sites) = self.spaces.get(&space) else { return };
        // Jumps that may leave a function are traps, of which those count that were come to.
        let left: HashMap<(Addr, RowId), Strategy> = sites
            .exits
            .around
            .iter()
            .filter_map(|(&(at, row), inside)| {
                let site =
                    sites.find(at).filter(|&site| sites[site].armed && sites[site].hits > 0)?;
                Some(((Addr(inside.entry), row), sites.strategy(site)))
            })
            .collect();
        let mut settled = Vec::new();
        for ends in &sites.exits.ends {
            let Some(&at) = ends.first() else { continue };
            let Some(entry) = sites.find(at).filter(|&entry| sites[entry].armed) else { continue };
            let trap = ends.iter().find(|at| !sites.jumps.counts(**at));
            let trap = trap.map(|&at| sites.strategy(sites.find(at).unwrap_or(entry)));
            for consumer in sites.consumers(entry) {
                if let Consumer::Entered(row) = self.teller.rows[consumer] {
                    settled.push((consumer, row, trap, left.get(&(at, row)).copied()));
                }
            }
        }
        for (consumer, row, trap, left) in settled {
            let strategy = trap.or(left).unwrap_or(Strategy::Jump);
            self.teller.rows.set_state(consumer, RowState::Armed(strategy));
            if trap.is_none() {
                self.teller.rows[row].no_jump = left.map(|_| WhyNotJump::NotAllExits);
            }
        }
    }

    /// Arms the run-ups of those `wants` that no jump can begin at, and returns what is wanted there. With
    /// the help of `tid`, if that is stopped.
    fn arm_run_ups(
        &mut self,
        space: SpaceId,
        tid: Option<Tid>,
        wants: &[Want],
    ) -> io::Result<Vec<Want>> {
        // Where all instructions are as long as a jump, none needs one.
        if Native::INSN_ALIGN != 1 {
            return Ok(Vec::new());
        }
        let consumer = self.teller.rows.internal(Consumer::RunUp);
        let mut piece = Piece::default();
        let mut run_ups = Vec::new();
        for i in in_order(wants) {
            if let Some(at) = self.run_up(space, &wants[i], &mut piece)?
                && let Some(want) = self.want_in_memory(space, at, consumer)
            {
                run_ups.push(want);
            }
        }
        let armed = self.arm(space, tid, &run_ups)?;
        for site in armed.into_iter().flatten() {
            self.rearm(space, site)?;
        }
        Ok(run_ups)
    }

    /// Takes those away that no jump begins at, and that are no sites of others.
    fn drop_run_ups(&mut self, space: SpaceId, run_ups: &[Want]) -> io::Result<()> {
        for want in run_ups {
            let sites = self.sites_mut(space);
            let Some(site) = sites.find(want.addr).filter(|_| !sites.jumps.counts(want.addr))
            else {
                continue;
            };
            if sites.consumers(site).all(|consumer| consumer == want.consumer) {
                self.disarm(space, site)?;
            }
        }
        Ok(())
    }

    /// Where a jump can begin that has the RET of `want` in it, if none can begin there.
    fn run_up(
        &mut self,
        space: SpaceId,
        want: &Want,
        piece: &mut Piece,
    ) -> io::Result<Option<Addr>> {
        let Some(range) = want.function.filter(|_| self.is_exit(space, want.addr)) else {
            return Ok(None);
        };
        let served = self.sites(space).and_then(|sites| sites.find(want.addr));
        if served.is_none_or(|site| self.recorder_for(space, site).is_err()) {
            return Ok(None);
        }
        if range.1.0.saturating_sub(range.0.0) > Function::LONGEST {
            return Ok(None);
        }
        let Some(function) = self.function(space, range, want.guarded, piece)? else {
            return Ok(None);
        };
        let Some((_, object, bias)) = self.object_at(space, want.addr) else { return Ok(None) };
        let rules = self.options.rules;
        let window = |at| function.window::<Native>(at, rules, &object, bias);
        if window(want.addr).is_ok() {
            return Ok(None);
        }
        let candidates = before(&function.text(), want.addr);
        let sites = self.sites_mut(space);
        let found = candidates.into_iter().rev().find(|&at| {
            let offset = want.addr.distance_from(at) as u8;
            window(at).is_ok_and(|window| window.at == at && window.has(offset))
                && !sites.jumps.any_in(at, want.addr.add(1))
        });
        Ok(found)
    }

    /// Whether a function that is told of is left by a RET there.
    fn is_exit(&self, space: SpaceId, at: Addr) -> bool {
        let Some(sites) = self.spaces.get(&space) else { return false };
        let exit = |c| matches!(self.teller.rows[c], Consumer::Exit(_));
        sites.find(at).is_some_and(|site| sites.consumers(site).any(exit))
    }
}

/// The instructions, a little before `at`, that the function comes from to `at` one behind the other.
fn before(text: &Text<'_>, at: Addr) -> Vec<Addr> {
    let mut found = Vec::new();
    let mut here = text.function.map_or(at, |(start, _)| start);
    while here < at {
        if at.0 - here.0 <= FARTHEST {
            found.push(here);
        }
        match Native::flow(text, here) {
            Ok((_, len)) => here = here.add(len as u64),
            Err(_) => return Vec::new(),
        }
    }
    // Data before it, perhaps, that was taken for instructions.
    if here == at { found } else { Vec::new() }
}

/// The numbers of wants in the order of their addresses, one for each.
fn in_order(wants: &[Want]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..wants.len()).collect();
    order.sort_unstable_by_key(|&i| wants[i].addr);
    order.dedup_by_key(|i| wants[*i].addr);
    order
}
