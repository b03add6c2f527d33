//! A trap: whose it is, which consumers are told, how the thread goes on.

use crate::engine::ConsumerId;
use crate::engine::RowId;
use crate::engine::SiteId;
use crate::engine::{Trap, after_step, behind_copy, run_displaced, whose};
use crate::trace::rows::consumer::{Consumer, RowState};
use crate::trace::session::Session;
pub(in crate::trace) use crate::trace::space::libc_signal;
use std::io;
use xol_arch::{Addr, Arch, Reason, Regs as _};
use xol_targets::Native;
use xol_targets::native::head::SI_DONE;
use xol_targets::ptrace::tracer;
use xol_targets::ptrace::{Action, Go, SigInfo, SpaceId, Tid, procfs, sys};

impl Session<'_> {
    pub(in crate::trace) fn on_trap(&mut self, tid: Tid) -> io::Result<()> {
        let Some(space) = self.target.space_of(tid) else { return Ok(()) };
        let pc = self.target.pc(tid)?;
        let at = Addr(pc.0.wrapping_sub(Native::TRAP_ADVANCE));
        let trapped = at;
        let at = self.out_of_shadow(tid, space, at)?;
        self.shadowed = (trapped != at).then_some((at, trapped));
        match whose(&mut self.at_stop(tid, space), at)? {
            Trap::Site(_) => {
                if self.is_as_displaced(tid, space, at)? {
                    self.on_site(tid, space, at)?;
                }
                return Ok(());
            }
            Trap::UnderJump(to) => {
                // The copy is perhaps behind one that ends as a trap does.
                self.mark_done(tid, at)?;
                self.target.stopped(tid)?.set_pc(to);
            }
            Trap::Ours if self.record_again(tid, space, at)? => return Ok(()),
            Trap::Ours => return behind_copy(&mut self.at_stop(tid, space), at),
            Trap::Gone => self.target.stopped(tid)?.set_pc(at),
            Trap::Copied => {}
            Trap::Left => self.target.stopped(tid)?.set_pc(at.add(Native::TRAP.len() as u64)),
            Trap::Programs => {
                let info = sys::get_siginfo(tid)?;
                return self.foreign_trap(tid, info);
            }
        }
        self.target.go(tid, Go::FromTrap)
    }

    /// A hit.
    fn on_site(&mut self, tid: Tid, space: SpaceId, at: Addr) -> io::Result<()> {
        let Some(site) = self.sites_mut(space).find(at) else { return Ok(()) };
        let again = self.take_retry(tid, at)?;
        if !again {
            let sites = self.spaces.get_mut(&space).ok_or(io::ErrorKind::NotFound)?;
            sites.table(self.teller.rows.counters()).count(site);
            let hits = sites.get(site).map_or(0, |s| s.hits);
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
        if !self.deliver_bti_fault(tid, space, site, at)? {
            run_displaced(&mut self.at_stop(tid, space), site)?;
        }
        Ok(())
    }

    /// Delivers the fault of a branch to where none may land (BTI), which the trap has hidden.
    /// Returns whether there was one.
    fn deliver_bti_fault(
        &mut self,
        tid: Tid,
        space: SpaceId,
        site: SiteId,
        at: Addr,
    ) -> io::Result<bool> {
        const ILL: u64 = 1 << (libc_signal::ILL - 1);
        let Some(guarded) = self.sites_mut(space).get(site).filter(|s| s.guarded) else {
            return Ok(false);
        };
        let original = guarded.original;
        let regs = self.target.regs(tid)?;
        // What the file asks for the loader may not have done.
        let pid = self.target.thread(tid).map(|t| t.pid);
        if Native::may_land(&original[..Native::TRAP.len()], &regs)
            || !pid.is_some_and(|pid| procfs::is_guarded(pid, at).unwrap_or(false))
        {
            return Ok(false);
        }
        let status = procfs::status(tid)?;
        if (status.blocked | status.ignored) & ILL != 0 {
            // Forced, it ends the program; only the processor can have the kernel do that.
            self.disarm(space, site)?;
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
    fn back_out(&mut self, tid: Tid, space: SpaceId, site: SiteId, at: Addr) -> io::Result<()> {
        let consumers: Vec<ConsumerId> = self.sites_mut(space).consumers(site).collect();
        let reason = Reason::RestartableSequence;
        for consumer in consumers {
            if let Consumer::Row(row) | Consumer::Entered(row) = self.teller.rows[consumer] {
                self.teller.rows[row].state = RowState::Rejected(reason.into());
            }
        }
        self.note(format!("the site at {at} was disarmed: {}", reason.sentence()));
        self.disarm(space, site)?;
        self.target.set_pc(tid, at)?;
        self.target.go(tid, Go::FromTrap)
    }

    /// Goes on from behind a copy, with the signals that waited for it.
    pub(in crate::trace) fn deliver_held(
        &mut self,
        tid: Tid,
        held: Option<SigInfo>,
    ) -> io::Result<()> {
        let Some(info) = held else { return self.target.go(tid, Go::FromTrap) };
        // The trap behind the copy may have been forced.
        self.target.settle(tid)?;
        self.send_later(tid)?;
        self.deliver(tid, info)
    }

    /// Delivers a signal of the program's own.
    pub(in crate::trace) fn deliver(&mut self, tid: Tid, info: SigInfo) -> io::Result<()> {
        match info.signal() {
            libc_signal::TRAP => self.foreign_trap(tid, info),
            _ => self.target.go(tid, Go::Deliver(info)),
        }
    }

    /// Deals with the end of a single step.
    pub(in crate::trace) fn on_step(&mut self, tid: Tid) -> io::Result<()> {
        let Some(space) = self.target.space_of(tid) else { return Ok(()) };
        if self.doing(tid).is_trampoline() {
            return self.stepped_in_jump(tid, space);
        }
        if !after_step(&mut self.at_stop(tid, space))? {
            // The program's own single-stepping (TF): its signal.
            let info = sys::get_siginfo(tid)?;
            return self.foreign_trap(tid, info);
        }
        Ok(())
    }

    /// The pending signal says that the effect of the site at `at` is computed already: what the
    /// handler in the target reads if xol dies before the thread goes on.
    pub(in crate::trace) fn mark_done(&mut self, tid: Tid, at: Addr) -> io::Result<()> {
        if self.target.is_delivering(tid) {
            // Where the kernel has the thread until it goes on.
            let at = self.shadowed.filter(|(of, _)| *of == at).map_or(at, |(_, trapped)| trapped);
            sys::set_siginfo(tid, &SigInfo::new(libc_signal::TRAP, SI_DONE, at))?;
        }
        Ok(())
    }

    /// Tells the consumers of a site.
    fn tell(&mut self, tid: Tid, space: SpaceId, site: SiteId, at: Addr) -> io::Result<()> {
        let sites = self.spaces.get(&space).ok_or(io::ErrorKind::NotFound)?;
        // Few, and the list may change while they are told.
        let mut few = [ConsumerId::NONE; 8];
        let mut all = sites.consumers(site);
        let mut n = 0;
        for consumer in all.by_ref().take(few.len()) {
            few[n] = consumer;
            n += 1;
        }
        let rest: Vec<ConsumerId> = all.collect();
        let mut many = Vec::new();
        let order = if rest.is_empty() {
            &mut few[..n]
        } else {
            many.extend(few.into_iter().chain(rest));
            &mut many[..]
        };
        self.teller.rows.in_turn(order);
        for &consumer in &*order {
            match &self.teller.rows[consumer] {
                &Consumer::Row(row) => {
                    if !self.passes(tid, row)? {
                        self.teller.rows.counters()[consumer.index()].hits -= 1;
                    } else if self.options.events {
                        self.entry_event(tid, row, at)?;
                    } else {
                        self.teller.count_event();
                    }
                }
                &Consumer::Entered(row) => self.entered(tid, space, row, at)?,
                Consumer::Returned => self.returned(tid, space, at)?,
                &Consumer::Exit(row) => self.exited(tid, space, row)?,
                &Consumer::Leave(row) => self.left(tid, space, row, at)?,
                Consumer::Called => self.called(tid, space, at)?,
                Consumer::Mapped => self.mapped(tid, space, at)?,
                Consumer::SettingAction => self.setting_action(tid)?,
                Consumer::ActionSet => self.action_set(tid, at, false)?,
                Consumer::AnyCaller => self.any_caller(tid, space, at)?,
                Consumer::AnyCall => self.any_call(tid, space, at)?,
                Consumer::AnyCalled => self.any_called(tid, space, at)?,
                Consumer::Tracing => self.tracing(tid, space, at)?,
                Consumer::Protecting => self.protecting(tid, space)?,
                Consumer::Moving => self.moving(tid, space)?,
                Consumer::Moved => self.moved(tid, space, at)?,
                Consumer::RunUp => {}
                Consumer::Resolver(resolver) => {
                    let resolver = resolver.clone();
                    self.resolver_entered(tid, space, &resolver, at)?;
                }
            }
        }
        Ok(())
    }

    /// A SIGTRAP that is not about a site: the program gets what it would have got.
    pub(in crate::trace) fn foreign_trap(&mut self, tid: Tid, info: SigInfo) -> io::Result<()> {
        if self.target.is_unwatched(tid) {
            return self.target.go(tid, Go::Deliver(info));
        }
        // Where the calls were not seen that set it, only the kernel knows the program's action.
        let looked = !self.target.has_seen_action(tid) && self.target.look_at_action(tid).is_ok();
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
        if !(changed || looked) || !self.target.is_stopped(tid) {
            return self.target.go(tid, Go::Deliver(info));
        }
        self.states.entry(tid).or_default().later.add_first(info, true);
        self.send_later(tid)?;
        self.target.go(tid, Go::On)
    }

    /// The site at `at` will be executed again, by a thread with this stack, without being a new
    /// hit: when a handler returns to it, or `now`. It must trap to be known.
    pub(in crate::trace) fn will_retry(
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
        self.jump_to_trap(space, at)
    }

    /// Whether this execution was counted already.
    fn take_retry(&mut self, tid: Tid, at: Addr) -> io::Result<bool> {
        if self.target.thread(tid).is_none_or(|thread| thread.retries.is_empty()) {
            return Ok(false);
        }
        let sp = self.target.regs(tid)?.sp();
        Ok(self.target.retries(tid).is_some_and(|retries| retries.take(at, sp)))
    }

    fn disarm_if_full(&mut self, space: SpaceId, site: SiteId) -> io::Result<()> {
        let full = self.options.hits_per_site.unwrap_or(u64::MAX);
        let sites = self.sites_mut(space);
        if sites.get(site).is_some_and(|s| s.armed && s.hits >= full)
            && sites.consumers(site).count() > 0
            && !self.is_internal(space, site)
        {
            self.disarm(space, site)?;
        }
        Ok(())
    }

    /// Whether a site serves xol itself.
    fn is_internal(&self, space: SpaceId, site: SiteId) -> bool {
        let Some(sites) = self.spaces.get(&space) else { return false };
        use Consumer::{Entered, Row, RunUp};
        let of_user = |c: ConsumerId| matches!(self.teller.rows[c], Row(_) | Entered(_) | RunUp);
        sites.consumers(site).any(|consumer| !of_user(consumer))
    }

    pub(in crate::trace) fn entry_event(
        &mut self,
        tid: Tid,
        row: RowId,
        at: Addr,
    ) -> io::Result<()> {
        // With the return value asked for, one line says both: at the return.
        if self.teller.probe_of(row).when.ret() {
            return Ok(());
        }
        let args = self.read_args(tid, row)?;
        let Some(pid) = self.target.thread(tid).map(|t| t.pid) else { return Ok(()) };
        self.teller.hit_event((pid, tid), row, at, tracer::now_ns(), &args);
        Ok(())
    }
}
