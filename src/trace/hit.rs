//! A trap: whose it is, who is told, how the thread goes on.

use super::consumer::{Consumer, RowState};
pub(super) use super::libc_signal;
use super::session::Session;
use crate::engine::Run;
use std::io;
use xol_arch::{Addr, Arch, Machine as _, Reason, Regs as _, Strategy};
use xol_targets::native::head::SI_DONE;
use xol_targets::ptrace::{Action, Go, SigInfo, SpaceId, Tid, procfs, sys};
use xol_targets::{Native, native};

impl Session<'_> {
    pub(super) fn on_trap(&mut self, tid: Tid) -> io::Result<()> {
        let Some(space) = self.target.space_of(tid) else { return Ok(()) };
        let pc = self.target.pc(tid)?;
        let at = Addr(pc.0.wrapping_sub(Native::TRAP_ADVANCE));
        let trapped = at;
        let at = self.out_of_shadow(tid, space, at)?;
        self.shadowed = (trapped != at).then_some((at, trapped));
        if self.sites_mut(space).find(at).is_some() {
            return match self.is_as_displaced(tid, space, at)? {
                true => self.on_site(tid, space, at),
                false => Ok(()),
            };
        }
        if let Some(to) = self.sites_mut(space).jumps.enter(at) {
            // An instruction in a jump's displacement: its copy is in the trampoline, perhaps behind one
            // that ends as a trap does.
            self.mark_done(tid, at)?;
            self.target.stopped(tid)?.set_pc(to);
            return self.target.go(tid, Go::FromTrap);
        }
        if self.target.space(space).is_some_and(|s| s.is_ours(at)) {
            if self.record_again(tid, space, at)? {
                return Ok(());
            }
            return self.behind_copy(tid, space, at);
        }
        let mut here = [0; 4];
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        let got = memory.read_some(at, &mut here).unwrap_or(0);
        if !Native::is_trap(&here[..got]) && got > 0 {
            // A trap of ours that was taken away while it was on its way.
            self.target.stopped(tid)?.set_pc(at);
            return self.target.go(tid, Go::FromTrap);
        }
        if got > 0 && self.came_along(tid, space, at)? {
            return self.target.go(tid, Go::FromTrap);
        }
        if self.is_left(space, at) {
            // Behind a copy of an xol that was killed: what follows is the way back.
            self.target.stopped(tid)?.set_pc(at.add(Native::TRAP.len() as u64));
            return self.target.go(tid, Go::FromTrap);
        }
        let info = sys::get_siginfo(tid)?;
        self.foreign_trap(tid, info)
    }

    /// A hit.
    fn on_site(&mut self, tid: Tid, space: SpaceId, at: Addr) -> io::Result<()> {
        let Some(site) = self.sites_mut(space).find(at) else { return Ok(()) };
        let again = self.take_retry(tid, at)?;
        if !again {
            let sites = self.spaces.get_mut(&space).ok_or(io::ErrorKind::NotFound)?;
            sites.table(&mut self.counters).count(site);
            let hits = sites.sites.get(site as usize).map_or(0, |s| s.hits);
            if hits == 1 && self.target.is_in_sequence(tid, at) {
                return self.back_out(tid, space, site, at);
            }
            self.warm(space, at, hits)?;
            self.tell(tid, space, site, at)?;
            if self.target.thread(tid).is_none() {
                // It was let go.
                return Ok(());
            }
            self.upgrade_if_due(tid, space, at)?;
        }
        // Telling may have changed the tables: a library was mapped, a slot moved.
        let Some(site) = self.sites_mut(space).find(at) else {
            self.target.stopped(tid)?.set_pc(at);
            return self.target.go(tid, Go::FromTrap);
        };
        // Before the thread goes on, and comes here once more.
        if self.options.hits_per_site.is_some() {
            self.disarm_if_full(space, site)?;
        }
        if !self.is_refused(tid, space, site, at)? {
            self.run_displaced(tid, space, site, at)?;
        }
        Ok(())
    }

    /// Has the program get the fault of a branch to where none may land, which the trap has hidden.
    /// Whether it was one.
    fn is_refused(&mut self, tid: Tid, space: SpaceId, site: u32, at: Addr) -> io::Result<bool> {
        const ILL: u64 = 1 << (libc_signal::ILL - 1);
        let regs = self.target.regs(tid)?;
        let site = site as usize;
        let landed = self.sites_mut(space).sites.get(site).is_none_or(|site| {
            !site.guarded || Native::may_land(&site.original[..Native::TRAP.len()], &regs)
        });
        // What the file asks for the loader may not have done.
        let pid = self.target.thread(tid).map(|t| t.pid);
        if landed || !pid.is_some_and(|pid| procfs::is_guarded(pid, at).unwrap_or(false)) {
            return Ok(false);
        }
        let status = procfs::status(tid)?;
        if (status.blocked | status.ignored) & ILL != 0 {
            // Forced, it ends the program; only the processor can have the kernel do that.
            self.disarm(space, site as u32)?;
            self.target.go(tid, Go::FromTrap)?;
            return Ok(true);
        }
        self.will_retry(tid, space, at, regs.sp(), false)?;
        let info = SigInfo::new(libc_signal::ILL, libc_signal::ILL_ILLOPC, at);
        self.target.go(tid, Go::Deliver(info))?;
        Ok(true)
    }

    /// A site turned out to be in a restartable sequence: its trap would abort it for ever. The
    /// kernel aborts it this once, as it does when a thread loses the CPU there.
    fn back_out(&mut self, tid: Tid, space: SpaceId, site: u32, at: Addr) -> io::Result<()> {
        let consumers: Vec<u32> = self.sites_mut(space).consumers(site).collect();
        let reason = Reason::RestartableSequence;
        for consumer in consumers {
            if let Consumer::Row(row) | Consumer::Entered(row) = self.consumers[consumer as usize] {
                self.rows[row as usize].state = RowState::Rejected(reason.into());
            }
        }
        self.note(format!("the site at {at} was disarmed: {}", reason.sentence()));
        self.disarm(space, site)?;
        self.target.set_pc(tid, at)?;
        self.target.go(tid, Go::FromTrap)
    }

    /// Runs the displaced instruction, one way or another.
    fn run_displaced(&mut self, tid: Tid, space: SpaceId, site: u32, at: Addr) -> io::Result<()> {
        let sites = self.spaces.get_mut(&space).ok_or(io::ErrorKind::NotFound)?;
        let (strategy, slot) = {
            let site = &sites.sites[site as usize];
            (site.strategy, site.slot)
        };
        let table = sites.table(&mut self.counters);
        // With a slot at hand only what is simulated needs all registers.
        let run = match (strategy, slot) {
            (Strategy::Simulate, _) | (_, None) => {
                let mut machine = self.target.stopped(tid)?.exactly();
                let before = *machine.seen();
                // The site's own address, as the instruction would see it.
                machine.regs().set_pc(at);
                let run = table.run(site, &mut machine);
                match run {
                    // A jump has changed nothing else.
                    Ok(Run::Done) => machine.changed_since(&before),
                    _ => *machine.regs() = before,
                }
                run
            }
            (_, Some(slot)) => Ok(Run::Slot(slot.at)),
        };
        match (run, slot) {
            (Ok(Run::Done), _) => {
                self.mark_done(tid, at)?;
                self.target.go(tid, Go::FromTrap)
            }
            // It faults: where the hardware says so itself, it is right in every detail.
            (Ok(Run::Slot(to)), _) => self.enter_slot(tid, site, strategy, to, at),
            (Err(_), Some(slot)) => self.enter_slot(tid, site, Strategy::Boost, slot.at, at),
            (Err(fault), None) => {
                self.target.stopped(tid)?.set_pc(at);
                let info = SigInfo::new(libc_signal::SEGV, libc_signal::SEGV_MAPERR, fault.at);
                self.target.go(tid, Go::Deliver(info))
            }
            (Ok(Run::NeedsSlot), _) => match self.steal_slot(space, site, tid)? {
                Some(to) => self.enter_slot(tid, site, strategy, to, at),
                None => {
                    // Nothing can hold a copy: the site is given up rather than the program.
                    self.note(format!("the site at {at} was disarmed: no slot could be had"));
                    self.disarm(space, site)?;
                    self.target.stopped(tid)?.set_pc(at);
                    self.target.go(tid, Go::FromTrap)
                }
            },
        }
    }

    fn enter_slot(
        &mut self,
        tid: Tid,
        site: u32,
        strategy: Strategy,
        to: Addr,
        at: Addr,
    ) -> io::Result<()> {
        let traps = matches!(strategy, Strategy::Xol | Strategy::Step);
        if traps {
            let mut machine = self.target.stopped(tid)?;
            let mut before = *machine.seen();
            before.set_pc(at);
            machine.set_pc(to);
            let visit = self.visits.entry(tid).or_default();
            (visit.site, visit.before) = (Some(site), before);
            visit.stepping = strategy == Strategy::Step;
        } else {
            self.target.set_pc(tid, to)?;
        }
        self.target.set_slot(tid, Some(to));
        self.target.go(tid, if strategy == Strategy::Step { Go::Step } else { Go::FromTrap })
    }

    /// A trap behind a copy: of `xol`, or one put there for a waiting signal.
    fn behind_copy(&mut self, tid: Tid, space: SpaceId, at: Addr) -> io::Result<()> {
        let owner = self.sites_mut(space).slots.owner(at);
        let site = owner.and_then(|n| self.sites_mut(space).sites.get(n as usize).copied());
        let next = at.add(Native::TRAP.len() as u64);
        let visit = self.visits.entry(tid).or_default();
        visit.site = None;
        visit.stepping = false;
        let before = visit.before;
        let held = self.target.take_held(tid);
        let Some(site) = site else {
            // Ours, and nobody's: it leads on.
            self.target.stopped(tid)?.set_pc(next);
            return self.target.go(tid, Go::FromTrap);
        };
        let traps = matches!(site.strategy, Strategy::Xol | Strategy::Step);
        if held.is_none() && traps && site.fixup == Default::default() {
            // What is behind the trap leads back, also should we die now: it is still inside.
            self.target.stopped(tid)?.set_pc(next);
        } else {
            self.finish(tid, &site, &before)?;
            self.target.set_slot(tid, None);
        }
        if !traps {
            self.close_gate(space, &site)?;
        }
        self.deliver_held(tid, held)
    }

    /// Goes on from behind a copy, with the signals that waited for it.
    pub(super) fn deliver_held(&mut self, tid: Tid, held: Option<SigInfo>) -> io::Result<()> {
        let Some(info) = held else { return self.target.go(tid, Go::FromTrap) };
        // The trap behind the copy may have been forced.
        self.target.settle(tid)?;
        self.send_later(tid)?;
        self.deliver(tid, info)
    }

    /// Delivers a signal of the program's own.
    pub(super) fn deliver(&mut self, tid: Tid, info: SigInfo) -> io::Result<()> {
        match info.signal() {
            libc_signal::TRAP => self.foreign_trap(tid, info),
            _ => self.target.go(tid, Go::Deliver(info)),
        }
    }

    /// Has a thread whose copy has run stand behind the instruction.
    pub(super) fn finish(
        &mut self,
        tid: Tid,
        site: &crate::engine::Site<Native>,
        before: &<Native as Arch>::Regs,
    ) -> io::Result<()> {
        // Should we die before it goes on: behind an instruction of one byte, or one that ends as a
        // trap does, it would be taken for who has just trapped there.
        if self.target.is_trapping(tid) {
            sys::set_siginfo(tid, &SigInfo::new(libc_signal::TRAP, SI_DONE, Addr(0)))?;
        }
        let mut machine = self.target.stopped(tid)?;
        let plain = site.fixup == Default::default();
        if plain || Native::fixup(site.fixup, site.addr, &site.plan, before, &mut machine).is_err()
        {
            machine.set_pc(site.addr.add(site.plan.span().into()));
        }
        Ok(())
    }

    pub(super) fn on_step(&mut self, tid: Tid) -> io::Result<()> {
        let Some(space) = self.target.space_of(tid) else { return Ok(()) };
        let regs = self.target.regs(tid)?;
        let pc = regs.pc();
        let visit = self.visits.entry(tid).or_default();
        if visit.jumping {
            return self.stepped_in_jump(tid, space);
        }
        if let Some(owner) = visit.in_call {
            if native::is_restart(native::result(&regs)) {
                // Interrupted once more: the next stop says how that goes on.
                return self.target.go(tid, Go::Step);
            }
            visit.in_call = None;
            // No handler ran: the call was made again and is over.
            let before = visit.before;
            let site = self.sites_mut(space).sites.get(owner as usize).copied();
            if let Some(site) =
                site.filter(|s| s.slot.is_some_and(|slot| slot.has(pc) && pc != slot.at))
            {
                self.finish(tid, &site, &before)?;
            }
            self.target.set_slot(tid, None);
            return self.target.go(tid, Go::FromTrap);
        }
        let before = visit.before;
        let Some(number) = visit.site.filter(|_| visit.stepping) else {
            // The program's own single-stepping (TF): its signal.
            let info = sys::get_siginfo(tid)?;
            return self.foreign_trap(tid, info);
        };
        let site = self.sites_mut(space).sites.get(number as usize).copied();
        let Some(site) = site else { return self.target.go(tid, Go::On) };
        match site.slot {
            // An interrupted REP, or a copy of several instructions.
            Some(slot) if slot.has(pc) && (pc == slot.at || slot.gate && pc < slot.gate_at()) => {
                return self.target.go(tid, Go::Step);
            }
            Some(slot) if slot.has(pc) && native::is_restart(native::result(&regs)) => {
                // A signal interrupted the call and comes next; see `Session::on_signal`.
                self.visits.entry(tid).or_default().in_call = Some(number);
                return self.target.go(tid, Go::Step);
            }
            Some(slot) if slot.has(pc) => self.finish(tid, &site, &before)?,
            _ => {}
        }
        let visit = self.visits.entry(tid).or_default();
        (visit.site, visit.stepping) = (None, false);
        self.target.set_slot(tid, None);
        let held = self.target.take_held(tid);
        self.deliver_held(tid, held)
    }

    /// The pending signal says that the effect of the site at `at` is computed already: what the
    /// handler in the target reads should we die before the thread goes on.
    pub(super) fn mark_done(&mut self, tid: Tid, at: Addr) -> io::Result<()> {
        if self.target.is_delivering(tid) {
            // Where the kernel has the thread until it goes on.
            let at = self.shadowed.filter(|(of, _)| *of == at).map_or(at, |(_, trapped)| trapped);
            sys::set_siginfo(tid, &SigInfo::new(libc_signal::TRAP, SI_DONE, at))?;
        }
        Ok(())
    }

    /// Tells the consumers of a site.
    fn tell(&mut self, tid: Tid, space: SpaceId, site: u32, at: Addr) -> io::Result<()> {
        let sites = self.spaces.get(&space).ok_or(io::ErrorKind::NotFound)?;
        // Few, and the list may change while they are told.
        let mut few = [u32::MAX; 8];
        let mut all = sites.consumers(site);
        let mut n = 0;
        for consumer in all.by_ref().take(few.len()) {
            few[n] = consumer;
            n += 1;
        }
        let rest: Vec<u32> = all.collect();
        let mut many = Vec::new();
        let order = if rest.is_empty() {
            &mut few[..n]
        } else {
            many.extend(few.into_iter().chain(rest));
            &mut many[..]
        };
        order.sort_by_key(|&consumer| self.consumers[consumer as usize].turn());
        for &consumer in &*order {
            match &self.consumers[consumer as usize] {
                Consumer::Row(row) => {
                    let row = *row;
                    if !self.passes(tid, row)? {
                        self.counters[consumer as usize].hits -= 1;
                    } else if self.options.events {
                        self.entry_event(tid, row, at)?;
                    } else {
                        self.count_event();
                    }
                }
                Consumer::Entered(row) => {
                    let row = *row;
                    self.entered(tid, space, row, at)?;
                }
                Consumer::Returned => self.returned(tid, space, at)?,
                &Consumer::Exit(row) => self.exited(tid, space, row)?,
                &Consumer::Leave(row) => self.left(tid, space, row, at)?,
                Consumer::Called => self.called(tid, space, at)?,
                Consumer::Mapped => self.mapped(tid, space, at)?,
                Consumer::SettingAction => self.setting_action(tid)?,
                Consumer::ActionSet => self.action_set(tid, at)?,
                Consumer::Tracing => self.tracing(tid, space, at)?,
                Consumer::Protecting => self.protecting(tid, space)?,
                Consumer::Moving => self.moving(tid, space)?,
                Consumer::Moved => self.moved(tid, space, at)?,
                Consumer::Resolver(resolver) => {
                    let resolver = resolver.clone();
                    self.resolver_entered(tid, space, &resolver, at)?;
                }
            }
        }
        Ok(())
    }

    /// A SIGTRAP that is not about a site: the program gets what it would have got.
    pub(super) fn foreign_trap(&mut self, tid: Tid, info: SigInfo) -> io::Result<()> {
        let pid = self.target.thread(tid).map(|t| t.pid);
        let Some(process) = pid.and_then(|pid| self.target.process(pid)).cloned() else {
            return Ok(());
        };
        // Changing the action uses up the stop, so the signal is sent again.
        let changed = match process.action {
            Action::Handler(_) => match self.target.enter_handler(tid, &info) {
                Ok(true) => return self.target.go(tid, Go::On),
                _ => self.target.ensure_action(tid).unwrap_or(false),
            },
            _ if !process.protected => false,
            Action::Ignore(_) if !info.is_synchronous() => return self.target.go(tid, Go::On),
            // It ends by this signal, which our handler must not see. What the program did itself
            // cannot be ignored: the kernel forces it.
            Action::Default(_) | Action::Ignore(_) => self.target.reset_action(tid).is_ok(),
        };
        if !changed || !self.target.is_stopped(tid) {
            return self.target.go(tid, Go::Deliver(info));
        }
        self.visits.entry(tid).or_default().later.add_first(info, true);
        self.send_later(tid)?;
        self.target.go(tid, Go::On)
    }

    /// The site at `at` will be executed again, by a thread with this stack, without being a new
    /// hit: when a handler returns to it, or `now`. It must trap to be known.
    pub(super) fn will_retry(
        &mut self,
        tid: Tid,
        space: SpaceId,
        at: Addr,
        sp: Addr,
        now: bool,
    ) -> io::Result<()> {
        match self.target.retries(tid) {
            Some(retries) if now => retries.due(at, sp),
            Some(retries) => retries.owe(at, sp),
            None => {}
        }
        self.trap_again(space, at)
    }

    /// Whether this execution was counted already.
    fn take_retry(&mut self, tid: Tid, at: Addr) -> io::Result<bool> {
        if self.target.thread(tid).is_none_or(|thread| thread.retries.is_empty()) {
            return Ok(false);
        }
        let sp = self.target.regs(tid)?.sp();
        Ok(self.target.retries(tid).is_some_and(|retries| retries.take(at, sp)))
    }

    fn disarm_if_full(&mut self, space: SpaceId, site: u32) -> io::Result<()> {
        let full = self.options.hits_per_site.unwrap_or(u64::MAX);
        let sites = self.sites_mut(space);
        if sites.sites.get(site as usize).is_some_and(|s| s.armed && s.hits >= full)
            && sites.consumers(site).count() > 0
            && !self.is_internal(space, site)
        {
            self.disarm(space, site)?;
        }
        Ok(())
    }

    /// Whether a site serves xol itself.
    fn is_internal(&self, space: SpaceId, site: u32) -> bool {
        let Some(sites) = self.spaces.get(&space) else { return false };
        sites
            .consumers(site)
            .any(|c| !matches!(self.consumers[c as usize], Consumer::Row(_) | Consumer::Entered(_)))
    }

    /// Takes one trap away; threads on their way to it are put back when they stop.
    pub(super) fn disarm(&mut self, space: SpaceId, site: u32) -> io::Result<()> {
        let Some(addr) = self.sites_mut(space).sites.get(site as usize).map(|s| s.addr) else {
            return Ok(());
        };
        self.make_way(space, &[addr])?;
        self.write_traps(space, std::iter::once(addr.0), false)?;
        if let Some(site) = self.sites_mut(space).sites.get_mut(site as usize) {
            site.armed = false;
        }
        Ok(())
    }
}
