//! Signals that arrive while a thread is in a slot: delivered as if it stood at the original
//! instruction (RULES A4).

use super::hit::libc_signal;
use super::later::Comes;
use super::session::Session;
use crate::engine::Site;
use std::io;
use xol_arch::{Addr, Arch, Machine as _, Regs as _, Strategy};
use xol_targets::Native;
use xol_targets::native;
use xol_targets::ptrace::{Go, SigInfo, SpaceId, Tid, is_gone, procfs, sys};

/// How often a thread that is to be left is waited for until it has got its signals.
const LATE: u32 = 4000;

impl Session<'_> {
    pub(super) fn on_signal(&mut self, tid: Tid, mut info: SigInfo) -> io::Result<()> {
        if info.signal() == libc_signal::TRAP && !info.is_synchronous() {
            let disguised = self.is_disguised(tid)?;
            if disguised || self.target.is_lifted(tid) {
                // Pending it stays, as it was. Where the program blocks it, it waits.
                if !disguised {
                    self.target.put_block_back(tid)?;
                }
                self.visits.entry(tid).or_default().later.comes(info, true);
                self.send_later(tid)?;
                return if disguised { self.on_trap(tid) } else { self.target.go(tid, Go::On) };
            }
        }
        let Some(space) = self.target.space_of(tid) else { return Ok(()) };
        let stepping = self.visits.get(&tid).is_some_and(|v| v.stepping || v.in_call.is_some());
        if stepping && info.is_step_over_call() {
            return self.on_step(tid);
        }
        let in_call = self.visits.get_mut(&tid).and_then(|v| v.in_call.take());
        if let Some(owner) = in_call.filter(|_| info.is_handler_entry()) {
            return self.fix_frame(tid, space, owner);
        }
        let pc = self.target.regs(tid)?.pc();
        let inside = self.target.space(space).is_some_and(|s| s.is_ours(pc));
        let mut settled = false;
        if !info.is_synchronous() {
            match self.comes(tid, info, inside)? {
                Comes::Now(one) => (info, settled) = (one.info, one.settled),
                Comes::Nothing => {
                    let step = self.visits.get(&tid).is_some_and(|v| v.stepping || v.jumping);
                    return self.target.go(tid, if step { Go::StepOn } else { Go::On });
                }
            }
        }
        if !inside {
            let pc = self.out_of_shadow(tid, space, pc)?;
            self.interrupts_retry(tid, pc, info.signal())?;
            let trap = info.signal() == libc_signal::TRAP;
            if settled {
                let entered = trap && self.target.enter_handler(tid, &info).unwrap_or(false);
                return self.target.go(tid, if entered { Go::On } else { Go::Deliver(info) });
            }
            if trap && !info.is_synchronous() {
                return self.foreign_trap(tid, info);
            }
            return self.target.go(tid, Go::Deliver(info));
        }
        let stepped = self.visits.get(&tid).is_some_and(|v| v.stepping || v.jumping);
        if !stepped && !info.is_synchronous() && self.is_job_control(tid, info.signal())? {
            return self.target.go(tid, Go::Deliver(info));
        }
        if let Some(spot) = self.sites_mut(space).jumps.spot(pc) {
            return self.signal_in_jump(tid, space, &spot, info);
        }
        let owner = self.sites_mut(space).slots.owner(pc);
        let site = owner.and_then(|n| self.sites_mut(space).sites.get(n as usize).copied());
        let Some(site) = site else { return self.target.go(tid, Go::Deliver(info)) };
        let Some(slot) = site.slot else { return self.target.go(tid, Go::Deliver(info)) };
        let offset = pc.0 - slot.at.0;
        let mut code = [0; 16];
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        let n = memory.read_some(slot.at, &mut code).unwrap_or(0);
        if Native::is_syscall(&code[..n]) && !info.is_synchronous() {
            // It may block for ever: the signal does not wait. Whether the call is then made
            // again only the kernel knows, so what it saves is corrected once it has.
            self.visits.entry(tid).or_default().in_call = owner;
            return self.target.go(tid, Go::DeliverStep(info));
        }
        if offset == 0 {
            self.before_copy(tid, space, &site, info)
        } else if offset >= u64::from(slot.done) || !slot.gate {
            self.after_copy(tid, &site, info)
        } else if info.is_synchronous() {
            self.fault(tid, &site, info)
        } else {
            // Inside a copy of several instructions: it runs to its end first.
            self.hold(tid, space, &site, info)
        }
    }

    /// Whether a signal stops or continues the process, and has no handler that could see where the
    /// thread is. Kept back, a stop would come after the SIGCONT that ends it, and a SIGCONT that is
    /// sent again would end a later stop.
    fn is_job_control(&self, tid: Tid, signal: i32) -> io::Result<bool> {
        use libc_signal::{CONT, TTOU};
        Ok((CONT..=TTOU).contains(&signal) && procfs::status(tid)?.caught & 1 << (signal - 1) == 0)
    }

    /// What becomes of a signal that has come to a thread, which is `inside` code of ours or is not.
    fn comes(&mut self, tid: Tid, info: SigInfo, inside: bool) -> io::Result<Comes> {
        use libc_signal::{CONT, STOP, TERMINAL_STOPS};
        match info.signal() {
            CONT => {
                self.cancel(tid, &[STOP, TERMINAL_STOPS[0], TERMINAL_STOPS[1], TERMINAL_STOPS[2]])
            }
            STOP => self.cancel(tid, &[CONT]),
            signal if TERMINAL_STOPS.contains(&signal) => self.cancel(tid, &[CONT]),
            _ => {}
        }
        let held = inside && self.target.thread(tid).is_some_and(|t| t.held.is_some());
        let comes = self.visits.entry(tid).or_default().later.comes(info, held);
        if !held {
            self.send_later(tid)?;
        }
        Ok(comes)
    }

    /// Has none of these signals wait any more in the process of a thread.
    fn cancel(&mut self, tid: Tid, signals: &[i32]) {
        let Some(pid) = self.target.thread(tid).map(|t| t.pid) else { return };
        let of_process = |t: &&xol_targets::ptrace::Thread| t.pid == pid;
        let threads: Vec<Tid> = self.target.threads().filter(of_process).map(|t| t.tid).collect();
        for tid in threads {
            if let Some(visit) = self.visits.get_mut(&tid) {
                visit.later.cancel(signals);
            }
            if let Some(held) = self.target.take_held(tid)
                && !signals.contains(&held.signal())
            {
                self.target.hold(tid, held);
            }
        }
    }

    /// Has the kernel come to deliver what waits.
    pub(super) fn send_later(&mut self, tid: Tid) -> io::Result<()> {
        let Some(visit) = self.visits.get_mut(&tid).filter(|visit| !visit.later.is_empty()) else {
            return Ok(());
        };
        let Some(pid) = self.target.thread(tid).map(|t| t.pid) else { return Ok(()) };
        while let Some(info) = visit.later.next() {
            match sys::queue_signal(pid, tid, &info.placeholder()) {
                Ok(()) => {}
                Err(error) if is_gone(&error) => return Err(error),
                // Too many are queued: at the next.
                Err(_) => {
                    visit.later.not_sent(info.signal());
                    break;
                }
            }
        }
        Ok(())
    }

    /// Whether a thread that is to be left has signals to get first that only we know.
    pub(super) fn has_undelivered(&mut self, tid: Tid) -> io::Result<bool> {
        if let Some(held) = self.target.take_held(tid) {
            self.visits.entry(tid).or_default().later.add_first(held, false);
        }
        self.send_later(tid)?;
        let Some(visit) = self.visits.get_mut(&tid).filter(|visit| !visit.later.is_empty()) else {
            return Ok(false);
        };
        // One that is blocked, too: by its own handler, it is for a moment.
        visit.late += 1;
        if visit.late < LATE {
            return Ok(true);
        }
        self.send_rest(tid)?;
        Ok(false)
    }

    /// Leaves what waits to the kernel, for a thread that is not waited for.
    pub(super) fn send_rest(&mut self, tid: Tid) -> io::Result<()> {
        let rest = self.visits.get_mut(&tid).map(|visit| visit.later.take_unsent());
        if let Some(pid) = self.target.thread(tid).map(|t| t.pid) {
            let mut rest = rest.into_iter().flatten();
            rest.try_for_each(|info| sys::queue_signal(pid, tid, &info.placeholder()))?;
        }
        Ok(())
    }

    /// A signal is delivered to a thread at `pc`, which may be where it is to execute an instruction
    /// again.
    fn interrupts_retry(&mut self, tid: Tid, pc: Addr, signal: i32) -> io::Result<()> {
        let retried = |t: &xol_targets::ptrace::Thread| t.retries.sites().any(|site| site == pc);
        if self.target.thread(tid).is_some_and(retried)
            && procfs::status(tid)?.caught & 1 << (signal - 1) != 0
        {
            let sp = self.target.regs(tid)?.sp();
            self.target.retries(tid).into_iter().for_each(|retries| retries.interrupted(pc, sp));
        }
        Ok(())
    }

    /// Whether a SIGTRAP that was pending and blocked comes in place of a trap of ours: the kernel
    /// queues one signal of a kind, and forces the one that is there.
    fn is_disguised(&mut self, tid: Tid) -> io::Result<bool> {
        let Some(space) = self.target.space_of(tid) else { return Ok(false) };
        let pc = self.target.regs(tid)?.pc();
        let at = Addr(pc.0.wrapping_sub(Native::TRAP_ADVANCE));
        let sites = self.sites_mut(space);
        let site = sites.find(at).and_then(|n| sites.sites.get(n as usize));
        // Nothing else leads into the middle of an instruction, but for a jump's last byte.
        if site.is_some_and(|site| u64::from(site.plan.len) > Native::TRAP_ADVANCE)
            && Native::TRAP_ADVANCE > 0
            && sites.jumps.shadow(pc).is_none()
        {
            return Ok(true);
        }
        let ours = site.is_some()
            || sites.jumps.enter(at).is_some()
            || sites.jumps.shadow(at).is_some()
            || self.target.space(space).is_some_and(|s| s.is_ours(at));
        Ok(ours && self.target.was_forced(tid)?)
    }

    /// A handler is about to run for a signal that came while the thread was in a call made from
    /// a slot: the frame it will return to is moved to the site.
    pub(super) fn fix_frame(&mut self, tid: Tid, space: SpaceId, owner: u32) -> io::Result<()> {
        let site = self.sites_mut(space).sites.get(owner as usize).copied();
        if let Some(site) = site
            && let Some(slot) = site.slot
        {
            let mut machine = self.target.stopped(tid)?;
            if let Some((pc, sp)) = native::saved_pc(&mut machine)
                && slot.has(pc)
            {
                let again = pc == slot.at;
                let to = if again { site.addr } else { site.addr.add(site.plan.span().into()) };
                native::set_saved_pc(&mut machine, to, site.addr);
                if again && site.armed {
                    self.will_retry(tid, space, site.addr, sp, false)?;
                }
            }
        }
        let visit = self.visits.entry(tid).or_default();
        (visit.site, visit.stepping) = (None, false);
        self.target.set_slot(tid, None);
        self.target.go(tid, Go::On)
    }

    /// The copy has not run.
    pub(super) fn before_copy(
        &mut self,
        tid: Tid,
        space: SpaceId,
        site: &Site<Native>,
        info: SigInfo,
    ) -> io::Result<()> {
        if info.is_synchronous() {
            return self.fault(tid, site, info);
        }
        let Some(slot) = site.slot else { return self.target.go(tid, Go::Deliver(info)) };
        if slot.gate {
            return self.hold(tid, space, site, info);
        }
        // What leaves the slot by itself has no place behind it for a trap; it can be computed.
        let Some(effect) = site.plan.effect else { return self.fault(tid, site, info) };
        let mut machine = self.target.stopped(tid)?.exactly();
        let before = *machine.seen();
        machine.regs().set_pc(site.addr);
        if Native::simulate(effect, site.addr, &mut machine).is_err() {
            *machine.regs() = before;
            return self.fault(tid, site, info);
        }
        self.target.set_slot(tid, None);
        self.deliver(tid, info)
    }

    /// The signal waits until the copy has run.
    fn hold(
        &mut self,
        tid: Tid,
        space: SpaceId,
        site: &Site<Native>,
        info: SigInfo,
    ) -> io::Result<()> {
        let Some(slot) = site.slot.filter(|s| s.gate) else {
            return self.target.go(tid, Go::Deliver(info));
        };
        self.target.hold(tid, info);
        let stepping = self.visits.get(&tid).is_some_and(|v| v.stepping);
        if !matches!(site.strategy, Strategy::Xol | Strategy::Step) {
            let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
            memory.write(slot.gate_at(), Native::TRAP)?;
        }
        self.target.go(tid, if stepping { Go::StepOn } else { Go::On })
    }

    /// Closes the place behind a copy again, unless another thread's signal waits there.
    pub(super) fn close_gate(&mut self, space: SpaceId, site: &Site<Native>) -> io::Result<()> {
        let Some(slot) = site.slot else { return Ok(()) };
        let waits = self.target.threads().any(|t| t.held.is_some() && t.slot == Some(slot.at));
        if waits {
            return Ok(());
        }
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        memory.write(slot.gate_at(), Native::NOP)
    }

    /// The copy has run; what is left is the way back.
    fn after_copy(&mut self, tid: Tid, site: &Site<Native>, info: SigInfo) -> io::Result<()> {
        let before = self.visits.get(&tid).map(|v| v.before).unwrap_or_default();
        let falls_through = site.plan.copied.is_some_and(|c| c.falls_through);
        if falls_through {
            self.finish(tid, site, &before)?;
        }
        let visit = self.visits.entry(tid).or_default();
        (visit.site, visit.stepping) = (None, false);
        self.target.set_slot(tid, None);
        self.deliver(tid, info)
    }

    /// The copy faulted: the program sees the fault where its own instruction is.
    fn fault(&mut self, tid: Tid, site: &Site<Native>, mut info: SigInfo) -> io::Result<()> {
        let slot = site.slot.map_or(site.addr, |s| s.at);
        let before = self.visits.get(&tid).filter(|v| v.site.is_some()).map(|v| v.before);
        let (pc, at, sp) = {
            let mut machine = self.target.stopped(tid)?;
            let pc = machine.seen().pc();
            // What the copy did before its last instruction was ours: it needed a register.
            if let Some(before) = before.filter(|_| pc != slot && site.fixup != Default::default())
            {
                *machine.regs() = before;
            }
            // In a sequence that was copied whole (arm64 MOPS) each instruction has its place.
            let whole = site.plan.span() > site.plan.len;
            let at = if whole { site.addr.offset(pc.distance_from(slot)) } else { site.addr };
            machine.set_pc(at);
            (pc, at, machine.seen().sp())
        };
        if info.address() == pc {
            info.set_address(at);
        }
        if at == site.addr
            && let Some(space) = self.target.space_of(tid)
        {
            self.will_retry(tid, space, site.addr, sp, false)?;
        }
        let visit = self.visits.entry(tid).or_default();
        (visit.site, visit.stepping) = (None, false);
        self.target.set_slot(tid, None);
        self.target.go(tid, Go::Deliver(info))
    }

    /// Moves a stopped thread out of any slot it is in, to where it would be without us. `false`
    /// if its copy has to run first.
    pub(super) fn move_out(&mut self, tid: Tid) -> io::Result<bool> {
        let Some(space) = self.target.space_of(tid) else { return Ok(true) };
        let regs = self.target.regs(tid)?;
        let pc = regs.pc();
        if !self.target.space(space).is_some_and(|s| s.is_ours(pc)) {
            self.out_of_shadow(tid, space, pc)?;
            return Ok(true);
        }
        if let Some(spot) = self.sites_mut(space).jumps.spot(pc) {
            return self.move_out_of_jump(tid, space, &spot);
        }
        let owner = self.sites_mut(space).slots.owner(pc);
        let site = owner.and_then(|n| self.sites_mut(space).sites.get(n as usize).copied());
        let Some(site) = site else { return Ok(true) };
        let Some(slot) = site.slot else { return Ok(true) };
        let offset = pc.0 - slot.at.0;
        if offset == 0 {
            // The hit is counted; the instruction runs in place, or through the trap uncounted.
            self.target.resume_sleep(tid)?;
            self.target.stopped(tid)?.set_pc(site.addr);
            if site.armed {
                self.will_retry(tid, space, site.addr, regs.sp(), true)?;
            }
        } else if slot.gate && offset >= u64::from(slot.done) {
            let before = self.visits.get(&tid).map(|v| v.before).unwrap_or_default();
            self.finish(tid, &site, &before)?;
            if site.armed && native::in_syscall(&regs) && native::is_restart(native::result(&regs))
            {
                self.will_retry(tid, space, site.addr, regs.sp(), true)?;
            }
        } else {
            return Ok(false);
        }
        let visit = self.visits.entry(tid).or_default();
        (visit.site, visit.stepping) = (None, false);
        self.target.set_slot(tid, None);
        Ok(true)
    }
}
