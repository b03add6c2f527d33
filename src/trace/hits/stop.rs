//! A stopped thread of a session, as the engine sees and moves it.

use crate::engine::SiteId;
use crate::engine::{Doing, Resume, Signal, Site, SlotRef, StoppedThread, Traps};
use crate::trace::session::Session;
use crate::trace::space::libc_signal;
use std::io;
use xol_arch::{Addr, Arch, Fault, Machine as _};
use xol_targets::native::head::SI_DONE;
use xol_targets::native::{self, Native, Regs};
use xol_targets::ptrace::{Go, SigInfo, SpaceId, Stopped, Tid, sys};

/// A stopped thread of a session.
pub(in crate::trace) struct AtStop<'s, 'a> {
    pub(in crate::trace) session: &'s mut Session<'a>,
    pub(in crate::trace) tid: Tid,
    pub(in crate::trace) space: SpaceId,
}

impl<'a> Session<'a> {
    /// Returns a stopped thread as the engine sees it.
    pub(in crate::trace) fn at_stop(&mut self, tid: Tid, space: SpaceId) -> AtStop<'_, 'a> {
        AtStop { session: self, tid, space }
    }
}

impl Signal for SigInfo {
    fn is_fault(&self) -> bool {
        self.is_synchronous()
    }

    fn readdress(&mut self, from: Addr, to: Addr) {
        if self.address() == from {
            self.set_address(to);
        }
    }
}

impl Traps for AtStop<'_, '_> {
    type Error = io::Error;

    fn site(&self, at: Addr) -> Option<SiteId> {
        self.session.sites(self.space)?.find(at)
    }

    fn under_jump(&self, at: Addr) -> Option<Addr> {
        self.session.sites(self.space)?.jumps.enter(at)
    }

    fn is_ours(&self, at: Addr) -> bool {
        self.session.target.space(self.space).is_some_and(|space| space.is_ours(at))
    }

    fn has_trap(&self, at: Addr) -> Option<bool> {
        let mut here = [0; 4];
        let memory = self.session.target.space(self.space)?;
        let got = memory.read_some(at, &mut here).ok()?;
        // INT 3 has a form of two bytes, which ends where one that has one begins.
        let mut long = [0; 2];
        let before = Addr(at.0.wrapping_sub(1));
        let ends_here = Native::TRAP_ADVANCE > 0
            && memory.read(before, &mut long).is_ok()
            && Native::is_trap(&long)
            && !long.starts_with(Native::TRAP);
        (got > 0).then(|| ends_here || Native::is_trap(&here[..got]))
    }

    fn follow_copied(&mut self, at: Addr) -> io::Result<bool> {
        self.session.came_along(self.tid, self.space, at)
    }

    fn was_left(&self, at: Addr) -> bool {
        self.session.is_left(self.space, at)
    }
}

impl StoppedThread<Native> for AtStop<'_, '_> {
    type Signal = SigInfo;
    type Machine<'m>
        = Stopped<'m>
    where
        Self: 'm;

    fn doing(&self) -> Doing {
        self.session.doing(self.tid)
    }

    fn does(&mut self, doing: Doing) {
        self.session.does(self.tid, doing);
    }

    fn before(&self) -> Regs {
        self.session.states.get(&self.tid).map(|state| state.before).unwrap_or_default()
    }

    fn keep(&mut self, before: Regs) {
        self.session.states.entry(self.tid).or_default().before = before;
    }

    fn in_slot(&mut self, slot: Option<Addr>) {
        self.session.target.set_slot(self.tid, slot);
    }

    fn hold(&mut self, signal: SigInfo) {
        self.session.target.hold(self.tid, signal);
    }

    fn take_held(&mut self) -> Option<SigInfo> {
        self.session.target.take_held(self.tid)
    }

    fn numbered(&self, site: SiteId) -> Option<Site<Native>> {
        self.session.sites(self.space)?.get(site).copied()
    }

    fn with_slot(&self, pc: Addr) -> Option<(SiteId, Site<Native>, SlotRef)> {
        self.session.sites(self.space)?.with_slot(pc)
    }

    fn machine(&mut self) -> io::Result<Stopped<'_>> {
        self.session.target.stopped(self.tid)
    }

    fn regs(&mut self) -> io::Result<Regs> {
        self.session.target.regs(self.tid)
    }

    fn set_pc(&mut self, pc: Addr) -> io::Result<()> {
        self.session.target.set_pc(self.tid, pc)
    }

    fn simulate(
        &mut self,
        effect: <Native as Arch>::Effect,
        at: Addr,
    ) -> io::Result<Result<(), Fault>> {
        let mut machine = self.session.target.stopped(self.tid)?.exactly();
        let before = *machine.seen();
        // The site's own address, as the instruction would see it.
        machine.set_pc(at);
        let done = Native::simulate(effect, at, &mut machine);
        match done {
            // A jump has changed nothing else.
            Ok(()) => machine.changed_since(&before),
            Err(_) => *machine.regs() = before,
        }
        Ok(done)
    }

    fn resume_sleep(&mut self) -> io::Result<()> {
        self.session.target.resume_sleep(self.tid)
    }

    fn find_slot(&mut self, site: SiteId) -> io::Result<Option<Addr>> {
        self.session.steal_slot(self.space, site, self.tid)
    }

    fn give_up(&mut self, site: SiteId) -> io::Result<()> {
        if let Some(at) = self.numbered(site).map(|site| site.addr) {
            self.session.note(format!("the site at {at} was disarmed: no slot could be had"));
        }
        self.session.disarm(self.space, site)
    }

    fn set_gate(&mut self, slot: &SlotRef, trap: bool) -> io::Result<()> {
        let waits = |thread: &xol_targets::ptrace::Thread| {
            thread.held.is_some() && thread.slot == Some(slot.at)
        };
        if !trap && self.session.target.threads().any(waits) {
            return Ok(());
        }
        let memory = self.session.target.space(self.space).ok_or(io::ErrorKind::NotFound)?;
        memory.write_for_now(slot.gate_at(), if trap { Native::TRAP } else { Native::NOP })
    }

    fn executes_again(&mut self, site: Addr, sp: Addr, now: bool) -> io::Result<()> {
        self.session.will_retry(self.tid, self.space, site, sp, now)
    }

    fn mark_done(&mut self, at: Addr) -> io::Result<()> {
        self.session.mark_done(self.tid, at)
    }

    fn mark_copied(&mut self) -> io::Result<()> {
        // Behind an instruction of one byte, or one that ends as a trap does, it would be taken for a
        // thread that has just trapped there.
        if self.session.target.is_trapping(self.tid) {
            sys::set_siginfo(self.tid, &SigInfo::new(libc_signal::TRAP, SI_DONE, Addr(0)))?;
        }
        Ok(())
    }

    fn may_restart(regs: &Regs) -> bool {
        native::is_restart(native::result(regs))
    }

    fn awaits_restart(regs: &Regs) -> bool {
        native::in_syscall(regs) && native::is_restart(native::result(regs))
    }

    fn saved(&mut self) -> Option<(Addr, Addr)> {
        native::saved_pc(&mut self.session.target.stopped(self.tid).ok()?)
    }

    fn set_saved(&mut self, pc: Addr, site: Addr) {
        if let Ok(mut machine) = self.session.target.stopped(self.tid) {
            native::set_saved_pc(&mut machine, pc, site);
        }
    }

    fn requeue(&mut self, signal: SigInfo) -> io::Result<()> {
        self.session.states.entry(self.tid).or_default().later.add_first(signal, false);
        self.session.send_later(self.tid)
    }

    fn go(&mut self, how: Resume<SigInfo>) -> io::Result<()> {
        let go = match how {
            Resume::On => Go::On,
            Resume::FromTrap => Go::FromTrap,
            Resume::Step => Go::Step,
            Resume::StepOn => Go::StepOn,
            Resume::Deliver(info) => Go::Deliver(info),
            Resume::DeliverStep(info) => Go::DeliverStep(info),
        };
        self.session.target.go(self.tid, go)
    }

    fn deliver(&mut self, signal: SigInfo) -> io::Result<()> {
        self.session.deliver(self.tid, signal)
    }

    fn deliver_fault(&mut self, fault: Fault) -> io::Result<()> {
        let info = SigInfo::new(libc_signal::SEGV, libc_signal::SEGV_MAPERR, fault.at);
        self.session.target.go(self.tid, Go::Deliver(info))
    }

    fn deliver_held(&mut self, held: Option<SigInfo>) -> io::Result<()> {
        self.session.deliver_held(self.tid, held)
    }
}
