//! Jumps that begin before a RET (x86-64). One byte has no room for a jump, and what stands behind it is
//! often come to from elsewhere. An instruction or two before it have room, where nothing comes between
//! them: the first of these becomes a site for the jump's sake alone, its run-up.

use super::arm::Want;
use super::consumer::Consumer;
use super::session::Session;
use super::windows::Piece;
use crate::symbols::Function;
use std::io;
use xol_arch::{Addr, Arch, Text};
use xol_targets::Native;
use xol_targets::ptrace::{SpaceId, Tid};

/// How far before a RET its run-up may begin: the RET is then the last byte of the jump.
const FARTHEST: u64 = 4;

impl Session<'_> {
    /// Arms the run-ups of those `wants` that no jump can begin at, and returns what is wanted there. With
    /// the help of `tid`, if that is stopped.
    pub(super) fn arm_run_ups(
        &mut self,
        space: SpaceId,
        tid: Option<Tid>,
        wants: &[Want],
        fresh: &[usize],
    ) -> io::Result<Vec<Want>> {
        // Where all instructions are as long as a jump, none needs one.
        if Native::INSN_ALIGN != 1 {
            return Ok(Vec::new());
        }
        let consumer = self.internal(Consumer::RunUp);
        let mut piece = Piece::default();
        let mut run_ups = Vec::new();
        for &i in fresh {
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
    pub(super) fn drop_run_ups(&mut self, space: SpaceId, run_ups: &[Want]) -> io::Result<()> {
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
        let exit = |c| matches!(self.consumers[c as usize], Consumer::Exit(_));
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
