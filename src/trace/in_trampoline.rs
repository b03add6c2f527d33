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

use super::jumps::{Jump, Spot, State};
use super::leave::fault_on_its_way;
use super::notes::EMPTY_RECORD;
use super::session::Session;
use crate::WhyNotJump;
use crate::engine::{Doing, Part, signal_in_slot};
use std::io;
use std::rc::Rc;
use xol_arch::jump::{Kept, PROBE, Phase, Place, TURN};
use xol_arch::{Addr, Arch as _, Machine as _, Memory as _, Regs as _};
use xol_targets::Native;
use xol_targets::ptrace::{Go, SigInfo, SpaceId, Stopped, Tid};

/// What a thread in code of ours stands for; its registers are as they would be there.
enum Stands {
    /// At this instruction, which is not counted yet, or is no site.
    At(Addr),
    /// At this site, whose hit is counted.
    Counted(Addr),
    /// In the middle of something that must be left to run, at this instruction.
    Between(Addr),
}

impl Session<'_> {
    /// Gives a thread the registers that it would have without us, but for the PC.
    fn stands(&mut self, tid: Tid, spot: &Spot) -> io::Result<Stands> {
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

    /// A signal that found a thread where a jump leads.
    pub(super) fn signal_in_jump(
        &mut self,
        tid: Tid,
        space: SpaceId,
        spot: &Spot,
        mut info: SigInfo,
    ) -> io::Result<()> {
        let pc = self.target.regs(tid)?.pc();
        let synchronous = info.is_synchronous();
        match self.stands(tid, spot)? {
            // A recorder's own: a program may forbid itself to read the time, and its stack may end
            // below the red zone. Or it reads what the instruction itself reads, which then faults.
            Stands::At(at) if synchronous && is_recorder(spot) => {
                self.end_steps(tid)?;
                self.target.stopped(tid)?.set_pc(at);
                self.make_way(space, &[at])?;
                self.target.go(tid, Go::FromTrap)
            }
            Stands::Between(_) if !synchronous => {
                self.hold_in_jump(tid, info, 0);
                self.target.go(tid, Go::StepOn)
            }
            // Its handler would return to a trap, behind which the next signal of a fast timer finds it
            // here again.
            Stands::At(at) if !synchronous && self.would_trap(space, spot, at) => {
                self.hold_in_jump(tid, info, STEPS);
                self.target.go(tid, Go::StepOn)
            }
            Stands::At(at) => {
                self.end_steps(tid)?;
                self.target.stopped(tid)?.set_pc(at);
                if info.address() == pc && synchronous {
                    info.set_address(at);
                }
                self.deliver(tid, info)
            }
            Stands::Counted(at) | Stands::Between(at) => {
                self.end_steps(tid)?;
                let found = self.sites(space).and_then(|sites| {
                    let number = sites.find(at)?;
                    Some((number, sites.sites.get(number as usize)?.slot?))
                });
                let Some((number, slot)) = found else {
                    // Its mapping is gone.
                    self.target.stopped(tid)?.set_pc(at);
                    return self.deliver(tid, info);
                };
                // As if it had trapped: in the slot of the site. Should it come to the site again,
                // it must trap to be known.
                if synchronous || !slot.gate {
                    self.jump_to_trap(space, at)?;
                }
                if info.address() == pc && synchronous {
                    info.set_address(slot.at);
                }
                self.target.stopped(tid)?.set_pc(slot.at);
                self.target.set_slot(tid, Some(slot.at));
                // No jump stands over a system call.
                signal_in_slot(&mut self.at_stop(tid, space), number, Part::Start, false, info)
            }
        }
    }

    /// Whether a thread at the copy of an instruction would trap in the jump's displacement if it were
    /// put to where that is from.
    fn would_trap(&mut self, space: SpaceId, spot: &Spot, at: Addr) -> bool {
        is_copy(spot) && self.sites_mut(space).jumps.enter(at).is_some()
    }

    /// The signal waits until the thread stands for an instruction, and for so many more.
    fn hold_in_jump(&mut self, tid: Tid, info: SigInfo, steps: u8) {
        self.does(tid, Doing::Trampoline { steps });
        self.target.hold(tid, info);
    }

    /// A step of a thread with such a signal.
    pub(super) fn stepped_in_jump(&mut self, tid: Tid, space: SpaceId) -> io::Result<()> {
        let pc = self.target.regs(tid)?.pc();
        let spot = self.sites_mut(space).jumps.spot(pc);
        let stands = match &spot {
            Some(spot) => self.stands(tid, spot)?,
            None => Stands::At(pc),
        };
        if let Stands::Between(_) = stands {
            return self.target.go(tid, Go::Step);
        }
        if let (Stands::At(at), Some(spot)) = (&stands, &spot)
            && self.would_trap(space, spot, *at)
            && let Doing::Trampoline { steps: steps @ 1.. } = self.doing(tid)
        {
            self.does(tid, Doing::Trampoline { steps: steps - 1 });
            return self.target.go(tid, Go::Step);
        }
        self.does(tid, Doing::Own);
        let held = self.target.take_held(tid);
        match (stands, held, spot) {
            (Stands::Counted(_), Some(info), Some(spot)) => {
                self.target.settle(tid)?;
                self.signal_in_jump(tid, space, &spot, info)
            }
            (Stands::At(at), held, _) => {
                self.target.stopped(tid)?.set_pc(at);
                self.deliver_held(tid, held)
            }
            // The registers are those of the copy.
            (Stands::Counted(at) | Stands::Between(at), ..) => {
                self.move_to_slot(tid, space, at)?;
                self.target.go(tid, Go::FromTrap)
            }
        }
    }

    /// No more steps: a signal that waited comes once more.
    fn end_steps(&mut self, tid: Tid) -> io::Result<()> {
        let jumping = self.doing(tid).is_trampoline();
        if jumping {
            self.does(tid, Doing::Own);
        }
        if jumping && let Some(info) = self.target.take_held(tid) {
            self.states.entry(tid).or_default().later.add_first(info, false);
        }
        self.send_later(tid)
    }

    /// Moves a thread whose hit is counted to the site's slot.
    fn move_to_slot(&mut self, tid: Tid, space: SpaceId, at: Addr) -> io::Result<()> {
        let sites = self.sites_mut(space);
        let slot = sites.find(at).and_then(|n| sites.sites.get(n as usize)?.slot);
        self.target.set_slot(tid, slot.map(|slot| slot.at));
        self.target.stopped(tid)?.set_pc(slot.map_or(at, |slot| slot.at));
        Ok(())
    }

    /// Moves a stopped thread from where a jump leads to where it would be without us. `false` if
    /// it has to run on first.
    pub(super) fn move_out_of_jump(
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
    pub(super) fn leave_taken(
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
    pub(super) fn out_of_shadow(&mut self, tid: Tid, space: SpaceId, at: Addr) -> io::Result<Addr> {
        let Some((of, pushed)) = self.sites_mut(space).jumps.shadow(at) else { return Ok(at) };
        let mut machine = self.target.stopped(tid)?;
        let regs = machine.regs();
        let sp = regs.sp().add(pushed.into());
        Native::restore(regs, Kept::Sp, sp.0);
        regs.set_pc(of);
        Ok(of)
    }

    /// Makes the jump that begins at `at` a trap, if there is one: a thread that comes there is seen again.
    pub(super) fn jump_to_trap(&mut self, space: SpaceId, at: Addr) -> io::Result<()> {
        let Some((number, jump, State::On)) =
            self.sites_mut(space).jumps.over(at).map(|(n, jump, state)| (n, jump.clone(), state))
        else {
            return Ok(());
        };
        if jump.window.at != at {
            // Its byte of the jump traps.
            return Ok(());
        }
        let mut here = [0; super::jumps::LEN];
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        let here = &mut here[..jump.len()];
        if memory.read(at, here).is_ok() && *here == jump.jumped[..jump.len()] {
            memory.write(at, &jump.trapped[..Native::TRAP.len()])?;
            self.sites_mut(space).jumps.set(number, State::Headed);
            self.falls_back(space, &jump, WhyNotJump::Interrupted);
        }
        Ok(())
    }
}

/// How many instructions of a window a signal waits for: more than fit into one, fewer than an
/// instruction that repeats makes steps.
const STEPS: u8 = 16;

/// Whether the copy of an instruction is there that no recorder comes before, or the way back.
fn is_copy(spot: &Spot) -> bool {
    let Spot::Trampoline(jump, offset) = spot else { return false };
    let place = jump.trampoline().ok().and_then(|trampoline| trampoline.place(*offset));
    matches!(place, Some(Place::At { recorded: 0, .. } | Place::Behind { .. }))
        && !is_recorder(spot)
}

/// Whether a recorder is there, not the copy of an instruction.
fn is_recorder(spot: &Spot) -> bool {
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
        && machine.write(slot.add(PROBE), &EMPTY_RECORD.to_le_bytes()).is_ok()
        && machine.write(slot.add(TURN), &(u64::from_le_bytes(turn) + 1).to_le_bytes()).is_ok()
}
