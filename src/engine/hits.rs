//! How a stopped thread goes on: after a hit, behind a copy, after a step, with a signal.
//!
//! These functions are what a hit is, for every target. They look and move through
//! [`StoppedThread`], which a target implements; what they decide is in `thread`. They allocate
//! nothing and do not panic. They know no row, no report and no jump: telling of a hit comes before
//! [`run_displaced`], and a thread in a trampoline is somebody else's.

use super::ids::SiteId;
use super::site::Site;
use super::slot::{Part, SlotRef};
use super::thread::{Doing, Found, Meets, Out, Stepped, Traps, meets, out, stepped};
use xol_arch::{Addr, Arch, Fault, Machine, Regs as _, Strategy};

/// A signal that is on its way to a thread.
pub trait Signal: Copy {
    /// Returns whether the thread has brought it on itself: a fault or a trap.
    fn is_fault(&self) -> bool;
    /// Changes the address that it is about to `to`, if that is `from`.
    fn readdress(&mut self, from: Addr, to: Addr);
}

/// How a thread is let go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume<S> {
    /// With nothing delivered.
    On,
    /// After a trap of ours.
    FromTrap,
    /// For one instruction, after a trap of ours.
    Step,
    /// For one instruction.
    StepOn,
    /// With this signal.
    Deliver(S),
    /// With this signal, as far as its handler's first instruction.
    DeliverStep(S),
}

/// A stopped thread of a target.
pub trait StoppedThread<A: Arch>: Traps {
    /// The target's signals.
    type Signal: Signal;
    /// Its registers and memory.
    type Machine<'m>: Machine<A>
    where
        Self: 'm;

    /// Returns what it is in the middle of.
    fn doing(&self) -> Doing;
    /// Notes that it is in the middle of something else.
    fn does(&mut self, doing: Doing);
    /// Returns its registers from before the copy that it runs or has run.
    fn before(&self) -> A::Regs;
    /// Keeps its registers from before the copy that it is about to run.
    fn keep(&mut self, before: A::Regs);
    /// Notes the slot that it is in from now on.
    fn in_slot(&mut self, slot: Option<Addr>);
    /// Keeps a signal until the copy has run.
    fn hold(&mut self, signal: Self::Signal);
    /// Returns the signal that was kept, which is kept no longer.
    fn take_held(&mut self) -> Option<Self::Signal>;

    /// Returns the site with this number.
    fn numbered(&self, site: SiteId) -> Option<Site<A>>;
    /// Returns the site whose slot `pc` is in, with its number.
    fn with_slot(&self, pc: Addr) -> Option<(SiteId, Site<A>, SlotRef)>;

    /// Returns its registers and memory.
    ///
    /// # Errors
    /// The thread is gone.
    fn machine(&mut self) -> Result<Self::Machine<'_>, Self::Error>;
    /// Returns its registers.
    ///
    /// # Errors
    /// The thread is gone.
    fn regs(&mut self) -> Result<A::Regs, Self::Error>;
    /// Sets its PC and nothing else.
    ///
    /// # Errors
    /// The thread is gone.
    fn set_pc(&mut self, pc: Addr) -> Result<(), Self::Error>;
    /// Computes the effect of an instruction at `at`, the PC included; memory is read as the thread
    /// itself may read it. After a fault of the instruction's own, which is in the value, the registers
    /// are as before.
    ///
    /// # Errors
    /// The thread is gone.
    fn simulate(&mut self, effect: A::Effect, at: Addr) -> Result<Result<(), Fault>, Self::Error>;
    /// Makes a sleep that a stop interrupted go on with the time that is left, where the thread is moved.
    ///
    /// # Errors
    /// The thread is gone.
    fn resume_sleep(&mut self) -> Result<(), Self::Error>;
    /// Returns a slot for a site whose slot another has now.
    ///
    /// # Errors
    /// The target has failed.
    fn find_slot(&mut self, site: SiteId) -> Result<Option<Addr>, Self::Error>;
    /// Takes the trap of a site away for good, because no slot can be had.
    ///
    /// # Errors
    /// The target has failed.
    fn give_up(&mut self, site: SiteId) -> Result<(), Self::Error>;
    /// Puts a trap behind the copy in a slot, or takes it away unless another thread waits for it.
    ///
    /// # Errors
    /// The target has failed.
    fn set_gate(&mut self, slot: &SlotRef, trap: bool) -> Result<(), Self::Error>;
    /// Notes that the instruction at `site` will be executed again by this thread with this stack
    /// pointer, and that this is no new hit: when a handler returns there, or `now`.
    ///
    /// # Errors
    /// The target has failed.
    fn executes_again(&mut self, site: Addr, sp: Addr, now: bool) -> Result<(), Self::Error>;
    /// Marks the signal that the thread is stopped with: the effect of the instruction is computed already. The
    /// handler reads that if the tracer dies before the thread goes on.
    ///
    /// # Errors
    /// The thread is gone.
    fn mark_done(&mut self, at: Addr) -> Result<(), Self::Error>;
    /// The same where the thread is put behind a copy.
    ///
    /// # Errors
    /// The thread is gone.
    fn mark_copied(&mut self) -> Result<(), Self::Error>;
    /// Returns whether these registers, if they are from the end of a system call, say that the kernel may
    /// have it made again.
    fn may_restart(regs: &A::Regs) -> bool;
    /// Returns whether they are from such an end, and say so.
    fn awaits_restart(regs: &A::Regs) -> bool;
    /// Returns the PC and the stack pointer that the handler which is about to run will return to.
    fn saved(&mut self) -> Option<(Addr, Addr)>;
    /// Makes the handler return to `pc`, the instruction at `site` or what is behind it.
    fn set_saved(&mut self, pc: Addr, site: Addr);

    /// Makes a signal that was kept come once more, before any that comes later.
    ///
    /// # Errors
    /// The thread is gone.
    fn requeue(&mut self, signal: Self::Signal) -> Result<(), Self::Error>;
    /// Lets the thread go on.
    ///
    /// # Errors
    /// The target has failed.
    fn go(&mut self, how: Resume<Self::Signal>) -> Result<(), Self::Error>;
    /// Lets the thread go on with a signal of the program's own.
    ///
    /// # Errors
    /// The target has failed.
    fn deliver(&mut self, signal: Self::Signal) -> Result<(), Self::Error>;
    /// Lets the thread go on with a fault that its instruction has at an address.
    ///
    /// # Errors
    /// The target has failed.
    fn deliver_fault(&mut self, fault: Fault) -> Result<(), Self::Error>;
    /// Lets the thread go on from behind a copy, with the signal that was kept.
    ///
    /// # Errors
    /// The target has failed.
    fn deliver_held(&mut self, held: Option<Self::Signal>) -> Result<(), Self::Error>;
}

/// Runs the instruction that was displaced from a site, one way or another.
///
/// # Errors
/// Those of the target.
pub fn run_displaced<A: Arch, T: StoppedThread<A>>(
    thread: &mut T,
    number: SiteId,
) -> Result<(), T::Error> {
    let Some(site) = thread.numbered(number) else { return thread.go(Resume::FromTrap) };
    let (strategy, at) = (site.strategy, site.addr);
    match (strategy, site.plan.effect, site.slot) {
        (Strategy::Simulate, Some(effect), slot) | (_, Some(effect), slot @ None) => {
            match (thread.simulate(effect, at)?, slot) {
                (Ok(()), _) => {
                    thread.mark_done(at)?;
                    thread.go(Resume::FromTrap)
                }
                // It faults: where the hardware says so itself, it is right in every detail.
                (Err(_), Some(slot)) => enter_slot(thread, number, Strategy::Boost, slot.at, at),
                (Err(fault), None) => {
                    thread.set_pc(at)?;
                    thread.deliver_fault(fault)
                }
            }
        }
        (_, _, Some(slot)) => enter_slot(thread, number, strategy, slot.at, at),
        (_, None, None) => match thread.find_slot(number)? {
            Some(to) => enter_slot(thread, number, strategy, to, at),
            None => {
                // Nothing can hold a copy: the site is given up rather than the program.
                thread.give_up(number)?;
                thread.set_pc(at)?;
                thread.go(Resume::FromTrap)
            }
        },
    }
}

fn enter_slot<A: Arch, T: StoppedThread<A>>(
    thread: &mut T,
    site: SiteId,
    strategy: Strategy,
    to: Addr,
    at: Addr,
) -> Result<(), T::Error> {
    if traps(strategy) {
        let mut before = thread.regs()?;
        before.set_pc(at);
        thread.keep(before);
        thread.does(Doing::Copy { site, stepped: strategy == Strategy::Step });
    }
    thread.set_pc(to)?;
    thread.in_slot(Some(to));
    thread.go(if strategy == Strategy::Step { Resume::Step } else { Resume::FromTrap })
}

/// Returns whether copies end at a trap.
fn traps(strategy: Strategy) -> bool {
    matches!(strategy, Strategy::Xol | Strategy::Step)
}

/// Deals with a trap behind a copy: of `xol`, or one put there for a signal that waits.
///
/// # Errors
/// Those of the target.
pub fn behind_copy<A: Arch, T: StoppedThread<A>>(thread: &mut T, at: Addr) -> Result<(), T::Error> {
    let owner = thread.with_slot(at);
    let next = at.add(A::TRAP.len() as u64);
    thread.does(Doing::Own);
    let held = thread.take_held();
    let Some((_, site, slot)) = owner else {
        // Ours, and nobody's: it leads on.
        thread.set_pc(next)?;
        return thread.go(Resume::FromTrap);
    };
    let traps = traps(site.strategy);
    if held.is_none() && traps && site.fixup == A::Fixup::default() {
        // What is behind the trap leads back, also should the tracer die now: it is still inside.
        thread.set_pc(next)?;
    } else {
        complete_displaced(thread, &site)?;
        thread.in_slot(None);
    }
    if !traps {
        thread.set_gate(&slot, false)?;
    }
    thread.deliver_held(held)
}

/// Puts a thread whose copy has run behind the instruction, and corrects what the copy left different.
fn complete_displaced<A: Arch, T: StoppedThread<A>>(
    thread: &mut T,
    site: &Site<A>,
) -> Result<(), T::Error> {
    thread.mark_copied()?;
    let behind = site.addr.add(site.plan.span().into());
    if site.fixup == A::Fixup::default() {
        return thread.set_pc(behind);
    }
    let before = thread.before();
    let mut machine = thread.machine()?;
    if A::fixup(site.fixup, site.addr, &site.plan, &before, &mut machine).is_err() {
        machine.regs().set_pc(behind);
    }
    Ok(())
}

/// Deals with the end of a single step of a thread that is in no trampoline. Returns whether the step
/// was ours.
///
/// # Errors
/// Those of the target.
pub fn after_step<A: Arch, T: StoppedThread<A>>(thread: &mut T) -> Result<bool, T::Error> {
    let regs = thread.regs()?;
    let doing = thread.doing();
    let of = match doing {
        Doing::Copy { site, .. } | Doing::Call { site } => Some(site),
        Doing::Own | Doing::Trampoline { .. } => None,
    };
    let site = of.and_then(|site| thread.numbered(site));
    let slot = site.and_then(|site| site.slot);
    let part = slot.and_then(|slot| slot.part(regs.pc()));
    let gate = slot.is_some_and(|slot| slot.gate);
    match stepped(doing, part, gate, T::may_restart(&regs)) {
        Stepped::Programs | Stepped::InTrampoline => return Ok(false),
        Stepped::On => {
            thread.go(Resume::Step)?;
            return Ok(true);
        }
        Stepped::Interrupted { site } => {
            thread.does(Doing::Call { site });
            thread.go(Resume::Step)?;
            return Ok(true);
        }
        Stepped::Finish { .. } => {
            if let Some(site) = &site {
                complete_displaced(thread, site)?;
            }
        }
        Stepped::Out => {}
    }
    thread.does(Doing::Own);
    thread.in_slot(None);
    let held = thread.take_held();
    thread.deliver_held(held)?;
    Ok(true)
}

/// Deals with a signal that has found the thread in this part of the slot of a site. `calls`: what is
/// there makes a system call.
///
/// # Errors
/// Those of the target.
pub fn signal_in_slot<A: Arch, T: StoppedThread<A>>(
    thread: &mut T,
    number: SiteId,
    part: Part,
    calls: bool,
    signal: T::Signal,
) -> Result<(), T::Error> {
    let site = thread.numbered(number);
    let Some((site, slot)) = site.and_then(|site| Some((site, site.slot?))) else {
        return thread.go(Resume::Deliver(signal));
    };
    let found = Found {
        part,
        gate: slot.gate,
        fault: signal.is_fault(),
        calls,
        computable: site.plan.effect.is_some(),
    };
    match meets(found) {
        Meets::InCall => {
            thread.does(Doing::Call { site: number });
            thread.go(Resume::DeliverStep(signal))
        }
        Meets::Before => deliver_before(thread, &site, signal),
        Meets::Waits => {
            thread.hold(signal);
            let stepped = matches!(thread.doing(), Doing::Copy { stepped: true, .. });
            if !traps(site.strategy) {
                thread.set_gate(&slot, true)?;
            }
            thread.go(if stepped { Resume::StepOn } else { Resume::On })
        }
        Meets::WaitsStepping => {
            thread.hold(signal);
            thread.does(Doing::Copy { site: number, stepped: true });
            thread.go(Resume::StepOn)
        }
        Meets::Computed => {
            let computed = match site.plan.effect {
                Some(effect) => thread.simulate(effect, site.addr)?.is_ok(),
                None => false,
            };
            if !computed {
                return deliver_before(thread, &site, signal);
            }
            thread.in_slot(None);
            thread.deliver(signal)
        }
        Meets::Behind => {
            if site.plan.copied.is_some_and(|copied| copied.falls_through) {
                complete_displaced(thread, &site)?;
            }
            thread.does(Doing::Own);
            thread.in_slot(None);
            thread.deliver(signal)
        }
    }
}

/// Delivers a signal with the thread at the site: the program sees a fault of the copy where its own
/// instruction is.
fn deliver_before<A: Arch, T: StoppedThread<A>>(
    thread: &mut T,
    site: &Site<A>,
    mut signal: T::Signal,
) -> Result<(), T::Error> {
    let slot = site.slot.map_or(site.addr, |slot| slot.at);
    let regs = thread.regs()?;
    let pc = regs.pc();
    // In a sequence that was copied whole (arm64 MOPS) each instruction has its place.
    let whole = site.plan.span() > site.plan.len;
    let at = if whole { site.addr.offset(pc.distance_from(slot)) } else { site.addr };
    let mut sp = regs.sp();
    if thread.doing().copied().is_some() && pc != slot && site.fixup != A::Fixup::default() {
        // What the copy did before its last instruction was ours: it needed a register.
        let before = thread.before();
        sp = before.sp();
        *thread.machine()?.regs() = before;
    }
    thread.set_pc(at)?;
    signal.readdress(pc, at);
    if at == site.addr {
        thread.executes_again(at, sp, false)?;
    }
    thread.does(Doing::Own);
    thread.in_slot(None);
    if let Some(held) = thread.take_held() {
        // The copy does not run to its end, and the handler of its fault may never return to it.
        thread.requeue(held)?;
    }
    thread.go(Resume::Deliver(signal))
}

/// Corrects the frame of a handler that is about to run for a signal which came while the thread was in
/// a system call made from the slot of a site.
///
/// # Errors
/// Those of the target.
pub fn correct_frame<A: Arch, T: StoppedThread<A>>(
    thread: &mut T,
    number: SiteId,
) -> Result<(), T::Error> {
    let site = thread.numbered(number);
    if let Some((site, slot)) = site.and_then(|site| Some((site, site.slot?)))
        && let Some((pc, sp)) = thread.saved()
        && let Some(part) = slot.part(pc)
    {
        let again = part == Part::Start;
        let to = if again { site.addr } else { site.addr.add(site.plan.span().into()) };
        thread.set_saved(to, site.addr);
        if again && site.armed {
            thread.executes_again(site.addr, sp, false)?;
        }
    }
    thread.does(Doing::Own);
    thread.in_slot(None);
    thread.go(Resume::On)
}

/// Moves a stopped thread out of the slot that it is in, if it is in one, to where it would be without
/// us. Returns `false` if the copy has to run on first.
///
/// # Errors
/// Those of the target.
pub fn take_out<A: Arch, T: StoppedThread<A>>(thread: &mut T) -> Result<bool, T::Error> {
    let regs = thread.regs()?;
    let Some((_, site, slot)) = thread.with_slot(regs.pc()) else { return Ok(true) };
    let Some(part) = slot.part(regs.pc()) else { return Ok(true) };
    match out(part, slot.gate) {
        Out::Before => {
            // The hit is counted; the instruction runs in place, or through the trap uncounted.
            thread.resume_sleep()?;
            thread.set_pc(site.addr)?;
            if site.armed {
                thread.executes_again(site.addr, regs.sp(), true)?;
            }
        }
        Out::Behind => {
            complete_displaced(thread, &site)?;
            if site.armed && T::awaits_restart(&regs) {
                thread.executes_again(site.addr, regs.sp(), true)?;
            }
        }
        Out::Not => return Ok(false),
    }
    thread.does(Doing::Own);
    thread.in_slot(None);
    Ok(true)
}
