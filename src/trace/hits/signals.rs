//! Signals that arrive while a thread is in a slot: delivered as if it stood at the original
//! instruction (RULES A4).

use crate::engine::{Doing, correct_frame, signal_in_slot, take_out};
use crate::trace::hits::hit::libc_signal;
use crate::trace::session::Session;
use crate::trace::space::later::Comes;
use std::io;
use xol_arch::{Addr, Arch, Regs as _};
use xol_targets::Native;
use xol_targets::ptrace::{Go, SigInfo, Tid, is_gone, procfs, sys};

/// How often a thread that is to be left is waited for until it has got its signals.
const LATE: u32 = 4000;

impl Session<'_> {
    pub(in crate::trace) fn on_signal(&mut self, tid: Tid, mut info: SigInfo) -> io::Result<()> {
        if info.signal() == libc_signal::TRAP && !info.is_synchronous() {
            let disguised = self.is_disguised(tid)?;
            if disguised || self.target.is_lifted(tid) {
                // Pending it stays, as it was. Where the program blocks it, it waits.
                if !disguised {
                    self.target.put_block_back(tid)?;
                }
                self.states.entry(tid).or_default().later.comes(info, true);
                self.send_later(tid)?;
                return if disguised { self.on_trap(tid) } else { self.target.go(tid, Go::On) };
            }
        }
        let Some(space) = self.target.space_of(tid) else { return Ok(()) };
        let doing = self.doing(tid);
        if doing.awaits_step() && info.is_step_over_call() {
            return self.on_step(tid);
        }
        if let Doing::Call { site } = doing {
            self.does(tid, Doing::Own);
            if info.is_handler_entry() {
                return correct_frame(&mut self.at_stop(tid, space), site);
            }
        }
        let pc = self.target.regs(tid)?.pc();
        let inside = self.target.space(space).is_some_and(|s| s.is_ours(pc));
        let mut settled = false;
        if !info.is_synchronous() {
            match self.comes(tid, info, inside)? {
                Comes::Now(one) => (info, settled) = (one.info, one.settled),
                Comes::Nothing => {
                    let step = self.doing(tid).is_stepped();
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
        if !self.doing(tid).is_stepped()
            && !info.is_synchronous()
            && self.is_job_control(tid, info.signal())?
        {
            return self.target.go(tid, Go::Deliver(info));
        }
        if let Some(spot) = self.sites_mut(space).jumps.spot(pc) {
            return self.signal_in_jump(tid, space, &spot, info);
        }
        let owner = self.sites(space).and_then(|sites| sites.with_slot(pc));
        let Some((number, _, slot)) = owner else {
            return self.target.go(tid, Go::Deliver(info));
        };
        let Some(part) = slot.part(pc) else { return self.target.go(tid, Go::Deliver(info)) };
        let mut code = [0; 16];
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        let n = memory.read_some(slot.at, &mut code).unwrap_or(0);
        let calls = Native::is_syscall(&code[..n]);
        signal_in_slot(&mut self.at_stop(tid, space), number, part, calls, info)
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
        let comes = self.states.entry(tid).or_default().later.comes(info, held);
        if !held {
            self.send_later(tid)?;
        }
        Ok(comes)
    }

    /// Drops these signals from those that wait in the process of a thread.
    fn cancel(&mut self, tid: Tid, signals: &[i32]) {
        let Some(pid) = self.target.thread(tid).map(|t| t.pid) else { return };
        let of_process = |t: &&xol_targets::ptrace::Thread| t.pid == pid;
        let threads: Vec<Tid> = self.target.threads().filter(of_process).map(|t| t.tid).collect();
        for tid in threads {
            if let Some(state) = self.states.get_mut(&tid) {
                state.later.cancel(signals);
            }
            if let Some(held) = self.target.take_held(tid)
                && !signals.contains(&held.signal())
            {
                self.target.hold(tid, held);
            }
        }
    }

    /// Sends a placeholder for each signal that waits, so that the kernel comes to deliver it.
    pub(in crate::trace) fn send_later(&mut self, tid: Tid) -> io::Result<()> {
        let Some(state) = self.states.get_mut(&tid).filter(|state| !state.later.is_empty()) else {
            return Ok(());
        };
        let Some(pid) = self.target.thread(tid).map(|t| t.pid) else { return Ok(()) };
        while let Some(info) = state.later.next() {
            match sys::queue_signal(pid, tid, &info.placeholder()) {
                Ok(()) => {}
                Err(error) if is_gone(&error) => return Err(error),
                // Too many are queued: at the next.
                Err(_) => {
                    state.later.not_sent(info.signal());
                    break;
                }
            }
        }
        Ok(())
    }

    /// Whether a thread that is to be left has signals to get first that only we know.
    pub(in crate::trace) fn has_undelivered(&mut self, tid: Tid) -> io::Result<bool> {
        if let Some(held) = self.target.take_held(tid) {
            self.states.entry(tid).or_default().later.add_first(held, false);
        }
        self.send_later(tid)?;
        let Some(state) = self.states.get_mut(&tid).filter(|state| !state.later.is_empty()) else {
            return Ok(false);
        };
        // One that is blocked, too: by its own handler, it is for a moment.
        state.late += 1;
        if state.late < LATE {
            return Ok(true);
        }
        self.send_rest(tid)?;
        Ok(false)
    }

    /// Leaves what waits to the kernel, for a thread that is not waited for.
    pub(in crate::trace) fn send_rest(&mut self, tid: Tid) -> io::Result<()> {
        let rest = self.states.get_mut(&tid).map(|state| state.later.take_unsent());
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
        let site = sites.find(at).and_then(|n| sites.get(n));
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

    /// Moves a stopped thread out of any slot it is in, to where it would be without us. `false`
    /// if its copy has to run first.
    pub(in crate::trace) fn move_out(&mut self, tid: Tid) -> io::Result<bool> {
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
        // It was not traced when it trapped.
        if self.target.space(space).is_some_and(|s| s.is_in_handler(pc)) {
            return Ok(false);
        }
        take_out(&mut self.at_stop(tid, space))
    }
}
