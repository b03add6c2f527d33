//! Threads that are found in a trampoline or on a landing place: what they stand for, and how
//! signals reach them there (RULES A4).
//!
//! `Trampoline::place` says what a thread there stands for. Before its hit is counted it stands at
//! the site. Afterwards it is moved to the slot of the site, as if it had trapped, and what holds
//! for slots holds for it. Between the two its place in the ring is given up: xol commits an empty
//! record there, because the thread will record its hit again. A fault of a copy turns the jump
//! back into a trap, so that the execution which follows the handled fault is known as no new hit;
//! a fault of the recorder itself (RDTSC where the program has forbidden it) makes the site trap
//! for good.

use crate::WhyNotJump;
use crate::engine::RecorderId;
use crate::trace::session::Session;
use crate::trace::space::jumps::{Jump, Spot, State};
use crate::trace::space::pending::fault_on_its_way;
use std::io;
use std::rc::Rc;
use xol_arch::jump::{Kept, PROBE, Phase, Place, TURN};
use xol_arch::{Addr, Arch as _, Machine as _, Memory as _, Regs as _};
use xol_targets::Native;
use xol_targets::ptrace::{SpaceId, Stopped, Tid};

/// What a thread in code of ours stands for; its registers are as they would be there.
pub(in crate::trace) enum Stands {
    /// At this instruction, which is not counted yet, or is no site.
    At(Addr),
    /// At this site, whose hit is counted.
    Counted(Addr),
    /// In the middle of something that must be left to run, at this instruction.
    Between(Addr),
}

impl Session<'_> {
    /// Gives a thread the registers that it would have without us, but for the PC.
    pub(in crate::trace) fn stands(&mut self, tid: Tid, spot: &Spot) -> io::Result<Stands> {
        let (jump, offset) = match spot {
            Spot::Landing(jump) => return Ok(Stands::At(jump.window.at)),
            Spot::Trampoline(jump, offset) => (jump, *offset),
        };
        let at = |offset: u8| jump.window.at.add(offset.into());
        let Ok(trampoline) = jump.trampoline() else { return Ok(Stands::Between(at(0))) };
        let (offset_of, phase) = match trampoline.place(offset) {
            None => return Ok(Stands::Between(at(0))),
            Some(Place::Behind { offset }) => return Ok(Stands::At(at(offset))),
            Some(Place::At { offset, recorded: 0 }) => return Ok(Stands::At(at(offset))),
            Some(Place::At { offset, .. }) => return Ok(Stands::Counted(at(offset))),
            Some(Place::Inside { offset, .. }) => return Ok(Stands::Between(at(offset))),
            Some(Place::Recording { offset, phase, .. }) => (offset, phase),
        };
        if phase == Phase::Claimed {
            return Ok(Stands::Between(at(offset_of)));
        }
        let mut machine = self.target.stopped(tid)?;
        let mut regs = *machine.seen();
        let taken = (phase == Phase::Taken).then(|| Native::slot_of(&regs));
        if trampoline.rewind::<Native>(offset, &mut regs, &mut machine).is_err() {
            return Ok(Stands::Between(at(offset_of)));
        }
        *machine.regs() = regs;
        let at = at(offset_of);
        let counted = phase == Phase::After
            || taken.is_some_and(|slot| !publish_empty_record(&mut machine, slot));
        Ok(if counted { Stands::Counted(at) } else { Stands::At(at) })
    }

    /// Moves a thread whose hit is counted to the site's slot.
    pub(in crate::trace) fn move_to_slot(
        &mut self,
        tid: Tid,
        space: SpaceId,
        at: Addr,
    ) -> io::Result<()> {
        let sites = self.sites_mut(space);
        let slot = sites.find(at).and_then(|n| sites.get(n)?.slot);
        self.target.set_slot(tid, slot.map(|slot| slot.at));
        self.target.stopped(tid)?.set_pc(slot.map_or(at, |slot| slot.at));
        Ok(())
    }

    /// Moves a stopped thread from where a jump leads to where it would be without us. `false` if
    /// it has to run on first.
    pub(in crate::trace) fn move_out_of_jump(
        &mut self,
        tid: Tid,
        space: SpaceId,
        spot: &Spot,
    ) -> io::Result<bool> {
        match self.stands(tid, spot)? {
            Stands::At(at) => self.target.stopped(tid)?.set_pc(at),
            Stands::Counted(at) if self.target.is_leaving() => {
                self.target.stopped(tid)?.set_pc(at);
            }
            Stands::Counted(at) => {
                self.move_to_slot(tid, space, at)?;
                return Ok(false);
            }
            Stands::Between(_) => return Ok(false),
        }
        Ok(true)
    }

    /// Jumps were taken away while this thread was halted: on its way to be counted by one of them it
    /// comes to the trap instead, so that the consumer which the jump gave way to is told; counted already, it
    /// goes on as if it had trapped.
    pub(in crate::trace) fn leave_taken(
        &mut self,
        tid: Tid,
        space: SpaceId,
        taken: &[(usize, Rc<Jump>)],
    ) -> io::Result<()> {
        if self.doing(tid).is_trampoline() {
            return Ok(());
        }
        let pc = self.target.pc(tid)?;
        let Some(spot) = self.sites_mut(space).jumps.spot(pc) else { return Ok(()) };
        let (Spot::Landing(jump) | Spot::Trampoline(jump, _)) = &spot;
        if !taken.iter().any(|(_, one)| Rc::ptr_eq(one, jump)) {
            return Ok(());
        }
        if fault_on_its_way(tid) {
            // Moved, it would have the fault elsewhere: where the program would be blamed for it. As
            // long as its trampoline is mapped, the signal finds it there.
            return Ok(());
        }
        match self.stands(tid, &spot)? {
            Stands::At(at) => self.target.stopped(tid)?.set_pc(at),
            Stands::Counted(at) => self.move_to_slot(tid, space, at)?,
            // To the end of that it stays where it is.
            Stands::Between(_) => {}
        }
        Ok(())
    }

    /// Moves a thread that stands on the last byte of a jump (`at`) to before the instruction that it was
    /// about to execute. Returns where the thread is then.
    pub(in crate::trace) fn out_of_shadow(
        &mut self,
        tid: Tid,
        space: SpaceId,
        at: Addr,
    ) -> io::Result<Addr> {
        let Some((of, pushed)) = self.sites_mut(space).jumps.shadow(at) else { return Ok(at) };
        let mut machine = self.target.stopped(tid)?;
        let regs = machine.regs();
        let sp = regs.sp().add(pushed.into());
        Native::restore(regs, Kept::Sp, sp.0);
        regs.set_pc(of);
        Ok(of)
    }

    /// Makes the jump that begins at `at` a trap, if there is one: a thread that comes there is seen again.
    pub(in crate::trace) fn jump_to_trap(&mut self, space: SpaceId, at: Addr) -> io::Result<()> {
        let Some((number, jump, State::On)) =
            self.sites_mut(space).jumps.over(at).map(|(n, jump, state)| (n, jump.clone(), state))
        else {
            return Ok(());
        };
        if jump.window.at != at {
            // Its byte of the jump traps.
            return Ok(());
        }
        let mut here = [0; crate::trace::space::jumps::LEN];
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        let here = &mut here[..jump.len()];
        if memory.read(at, here).is_ok() && jump.stands_in(here) {
            memory.write(at, &jump.trapped[..Native::TRAP.len()])?;
            self.sites_mut(space).jumps.set(number, State::Headed);
            self.falls_back(space, &jump, WhyNotJump::Interrupted);
        }
        Ok(())
    }
}

/// Whether the copy of an instruction is there that no recorder comes before, or the way back.
pub(in crate::trace) fn is_copy(spot: &Spot) -> bool {
    let Spot::Trampoline(jump, offset) = spot else { return false };
    let place = jump.trampoline().ok().and_then(|trampoline| trampoline.place(*offset));
    matches!(place, Some(Place::At { recorded: 0, .. } | Place::Behind { .. }))
        && !is_recorder(spot)
}

/// Whether a recorder is there, not the copy of an instruction.
pub(in crate::trace) fn is_recorder(spot: &Spot) -> bool {
    let Spot::Trampoline(jump, offset) = spot else { return false };
    let place = jump.trampoline().ok().and_then(|trampoline| trampoline.place(*offset));
    match place {
        Some(Place::Recording { .. }) => true,
        // Its first instruction, if one is there.
        Some(Place::At { offset, recorded: 0 }) => jump.counts(jump.window.at.add(offset.into())),
        _ => false,
    }
}

/// Publishes an empty record in the place of a thread that is to make its record again. Returns whether
/// it could be.
fn publish_empty_record(machine: &mut Stopped<'_>, slot: Addr) -> bool {
    let mut turn = [0; 8];
    // Until it is committed, the turn is the lap.
    machine.read(slot.add(TURN), &mut turn).is_ok()
        && machine.write(slot.add(PROBE), &RecorderId::EMPTY.0.to_le_bytes()).is_ok()
        && machine.write(slot.add(TURN), &(u64::from_le_bytes(turn) + 1).to_le_bytes()).is_ok()
}
