//! Calls that our own stop interrupted (RULES A5).
//!
//! Most calls are restarted by the kernel when a stop without a signal ends them. Those of
//! signal(7)'s second list return EINTR instead: they are issued again here, with the time they
//! had left. A thread blocked in a call is left alone where that is possible at all.

use super::Ptrace;
use super::procfs::{self, Whereabouts};
use super::sys::{self, Pid, Tid};
use super::thread::GiveBack;
use super::tracer;
use crate::native::{self, Regs, head};
use std::io;
use xol_arch::{Addr, Machine as _, Memory as _, Regs as _};

/// To what the scheduler's clocks and CLOCK_MONOTONIC agree, in nanoseconds. A wait may end late by
/// so much, never early.
const MARGIN_NS: u64 = 5_000_000;

/// How the kernel goes on with a wait that it has to shorten itself.
const RESTART: u64 = libc::SYS_restart_syscall as u64;

/// How a call names its time limit.
enum Limit {
    /// Argument `0`: milliseconds, negative for none.
    Millis(usize),
    /// Argument `0`: a pointer to a timespec, null for none.
    Timespec(usize),
}

fn limit_of(number: i64) -> Option<Limit> {
    match number {
        libc::SYS_epoll_pwait => Some(Limit::Millis(3)),
        number if native::is_epoll_wait(number) => Some(Limit::Millis(3)),
        libc::SYS_epoll_pwait2 | libc::SYS_semtimedop => Some(Limit::Timespec(3)),
        libc::SYS_rt_sigtimedwait => Some(Limit::Timespec(2)),
        libc::SYS_io_getevents | native::SYS_IO_PGETEVENTS => Some(Limit::Timespec(4)),
        _ => None,
    }
}

/// A call that a thread was blocked in before it was stopped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entered {
    number: i64,
    args: [u64; 6],
    /// Behind the instruction that made it.
    pc: Addr,
    since_ns: Option<u64>,
    /// How often the thread had been given a CPU by then.
    runs: u64,
}

impl Entered {
    pub(super) fn call(&self) -> (i64, [u64; 6], Addr) {
        (self.number, self.args, self.pc)
    }
}

/// When a thread that is blocked in a call with a time limit began to wait, on CLOCK_MONOTONIC
/// in nanoseconds, as far as the scheduler's accounts tell.
fn when_entered(tid: Tid, number: i64) -> Option<u64> {
    limit_of(number)?;
    // The scheduler's clock is per CPU, and leaves out what a hypervisor took from that CPU: two are
    // seconds apart after some hours. So ours is read where the thread went to sleep, or not at all;
    // we may be on another CPU, with what trapped last (see `affinity`).
    let (cpu, _) = procfs::cpu_and_policy(tid)?;
    let home = tracer::get_affinity().ok()?;
    tracer::set_affinity(&tracer::CpuSet::only(cpu)).ok()?;
    std::thread::yield_now();
    let slept = procfs::last_ran_ns(tid);
    let ours = procfs::last_ran_ns(tracer::tid());
    let now = tracer::now_ns();
    // Failing to widen it again would only cost speed.
    let _ = tracer::set_affinity(&home);
    Some(now.saturating_sub(ours?.saturating_sub(slept?)))
}

impl Ptrace {
    /// The call that a thread is blocked in, if it is.
    pub(super) fn entered(&self, tid: Tid) -> Option<Entered> {
        let Whereabouts::InCall { number: number @ 0.., args, pc } = procfs::whereabouts(tid)
        else {
            return None;
        };
        let runs = procfs::runs(tid);
        let since_ns = when_entered(tid, number);
        // What is measured must be the call that it is in when we interrupt it.
        let same = procfs::whereabouts(tid) == Whereabouts::InCall { number, args, pc };
        let since_ns = since_ns.filter(|_| same && procfs::runs(tid) == runs);
        Some(Entered { number, args, pc, since_ns, runs })
    }

    /// If our stop alone ended the thread's call with EINTR, has it issued again.
    pub(super) fn restart_if_interrupted(
        &mut self,
        tid: Tid,
        entered: Option<Entered>,
    ) -> io::Result<()> {
        let regs = self.regs(tid)?;
        // x86-64 has -1 where the thread is in no call.
        if !matches!(native::syscall_number(&regs), RESTART | u64::MAX) {
            self.known(tid)?.call = Some(regs);
        }
        let call = native::interrupted(&regs, entered.map(|e| e.call()));
        let Some((number, args)) = call else { return Ok(()) };
        // Not to be repeated: the descriptor is closed, the connection on its way.
        if matches!(number, libc::SYS_close | libc::SYS_connect) {
            return Ok(());
        }
        let status = procfs::status(tid)?;
        if status.pending & !status.blocked & !status.ignored != 0 {
            return Ok(());
        }
        // It woke for us, once; oftener, and this is another call like that one.
        let since = entered.filter(|e| procfs::runs(tid) <= e.runs + 1).and_then(|e| e.since_ns);
        let give_back = self.shorten(tid, &regs, number, &args, since);
        let mut machine = self.stopped(tid)?;
        native::rewind_syscall(machine.regs(), number, &args);
        if let Some((mut give_back, shortened)) = give_back {
            native::set_syscall_arg(machine.regs(), give_back.arg, shortened);
            let thread = self.known(tid)?;
            // Shortened once more: what the program had is what it had at first.
            if let Some(first) = thread.give_back.filter(|g| g.arg == give_back.arg) {
                give_back.value = first.value;
            }
            thread.give_back = Some(give_back);
        }
        Ok(())
    }

    /// What a thread goes on with if nobody takes it back: where the kernel has it go on with
    /// `restart_syscall`, the call that this stands for. A return from a signal frame forgets
    /// what was to be restarted, and it would end with EINTR.
    pub(super) fn without_restart(&mut self, tid: Tid, regs: &Regs) -> io::Result<Regs> {
        let mut whole = *regs;
        if native::syscall_number(regs) == RESTART
            && let Some(call) = self.known(tid)?.call
            && (call.pc(), call.sp()) == (regs.pc(), regs.sp())
            && (0..6).all(|n| native::syscall_arg(&call, n) == native::syscall_arg(regs, n))
        {
            native::set_syscall_number(&mut whole, native::syscall_number(&call));
        }
        Ok(whole)
    }

    /// The argument that makes the call wait only for what is left of its time.
    fn shorten(
        &mut self,
        tid: Tid,
        regs: &Regs,
        number: i64,
        args: &[u64; 6],
        since: Option<u64>,
    ) -> Option<(GiveBack, u64)> {
        // If it had just begun, what is left is what was asked for.
        let waited = tracer::now_ns().saturating_sub(since?).saturating_sub(MARGIN_NS);
        if waited == 0 {
            return None;
        }
        let limit = limit_of(number)?;
        let (Limit::Millis(arg) | Limit::Timespec(arg)) = limit;
        let value = args[arg];
        let give_back = GiveBack { arg, value, entered: false, scratch: None };
        match limit {
            Limit::Millis(_) => {
                let millis = value as u32 as i32;
                let left = i64::from(millis) - (waited / 1_000_000) as i64;
                (millis > 0).then(|| (give_back, left.max(0) as u64))
            }
            Limit::Timespec(_) => {
                if value == 0 {
                    return None;
                }
                let mut spec = [0u8; 16];
                self.stopped(tid).ok()?.read(Addr(value), &mut spec).ok()?;
                let [secs, nanos] = words(&spec);
                let left = secs.saturating_mul(1_000_000_000).saturating_add(nanos);
                let left = left.saturating_sub(waited);
                spec[..8].copy_from_slice(&(left / 1_000_000_000).to_ne_bytes());
                spec[8..].copy_from_slice(&(left % 1_000_000_000).to_ne_bytes());
                let at = self.put_timespec(tid, regs, &spec)?;
                Some((GiveBack { scratch: Some(at), ..give_back }, at.0))
            }
        }
    }

    /// A place the kernel can read the shortened time from when the call is issued: our head. When
    /// that is about to go, and where there is none, below the stack: as far as a handler's frame
    /// does not reach, if there is so much.
    fn put_timespec(&mut self, tid: Tid, regs: &Regs, spec: &[u8; 16]) -> Option<Addr> {
        const DEEP: u64 = 64 << 10;
        let pid: Pid = self.threads.get(&tid)?.pid;
        let space = self.spaces.get(&self.processes.get(&pid)?.space)?;
        if let Some(home) = space.head.filter(|_| !self.leaving) {
            let first = home.start.add(head::SCRATCH).0;
            let all = (first..home.start.0 + native::PAGE).step_by(16);
            let used = |at: u64| {
                self.threads
                    .values()
                    .any(|t| t.give_back.is_some_and(|g| g.scratch == Some(Addr(at))))
            };
            let at = Addr(all.into_iter().find(|&at| !used(at))?);
            space.write(at, spec).ok()?;
            return Some(at);
        }
        let below = |depth| Addr((regs.sp().0 - native::RED_ZONE - depth) & !15);
        let at = [below(DEEP), below(64)];
        at.into_iter().find(|&at| sys::vm_write(tid, at, spec).is_ok())
    }
}

fn words(spec: &[u8; 16]) -> [u64; 2] {
    let mut both = [[0; 8]; 2];
    both[0].copy_from_slice(&spec[..8]);
    both[1].copy_from_slice(&spec[8..]);
    both.map(u64::from_ne_bytes)
}
