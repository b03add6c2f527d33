//! Signals that find a thread in a trampoline or on a landing place, and its steps out of there.

use crate::engine::{Doing, Part, signal_in_slot};
use crate::trace::jumping::in_trampoline::{Stands, is_copy, is_recorder};
use crate::trace::session::Session;
use crate::trace::space::jumps::Spot;
use std::io;
use xol_arch::{Addr, Regs as _};
use xol_targets::ptrace::{Go, SigInfo, SpaceId, Tid};

/// How many instructions of a window a signal waits for: more than fit into one, fewer than an
/// instruction that repeats makes steps.
const STEPS: u8 = 16;

impl Session<'_> {
    /// A signal that found a thread where a jump leads.
    pub(in crate::trace) fn signal_in_jump(
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
                    Some((number, sites.get(number)?.slot?))
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

    /// A step of a thread with such a signal.
    pub(in crate::trace) fn stepped_in_jump(&mut self, tid: Tid, space: SpaceId) -> io::Result<()> {
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

    /// The signal waits until the thread stands for an instruction, and for so many more.
    pub(in crate::trace) fn hold_in_jump(&mut self, tid: Tid, info: SigInfo, steps: u8) {
        self.does(tid, Doing::Trampoline { steps });
        self.target.hold(tid, info);
    }

    /// No more steps: a signal that waited comes once more.
    pub(in crate::trace) fn end_steps(&mut self, tid: Tid) -> io::Result<()> {
        let jumping = self.doing(tid).is_trampoline();
        if jumping {
            self.does(tid, Doing::Own);
        }
        if jumping && let Some(info) = self.target.take_held(tid) {
            self.states.entry(tid).or_default().later.add_first(info, false);
        }
        self.send_later(tid)
    }

    /// Whether a thread at the copy of an instruction would trap in the jump's displacement if it were
    /// put to where that is from.
    pub(in crate::trace) fn would_trap(&mut self, space: SpaceId, spot: &Spot, at: Addr) -> bool {
        is_copy(spot) && self.sites_mut(space).jumps.enter(at).is_some()
    }
}
