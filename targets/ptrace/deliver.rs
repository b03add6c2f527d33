//! A SIGTRAP of the program's own, delivered to its handler without asking the kernel.
//!
//! The kernel looks the action up when it delivers the signal, and a trap that another thread
//! takes with SIGTRAP blocked may have reset that action a moment before: the program would end.
//! So the thread is led into the handler here, as the kernel would lead it.

use super::inject::{BUFFER, InjectError};
use super::siginfo::SigInfo;
use super::signals::{Action, TRAP_BIT};
use super::sys::{self, Tid};
use super::thread::Dirty;
use super::{Ptrace, gone, procfs};
use crate::native::{self, HandlerEntry, head};
use std::io;
use xol_arch::{Addr, Memory as _, Regs as _};

const SA_ONSTACK: u64 = 0x0800_0000;
const SA_RESETHAND: u64 = 0x8000_0000;
const SA_RESTORER: u64 = 0x0400_0000;
const SS_ONSTACK: u64 = 1;
const SS_DISABLE: u64 = 2;

impl Ptrace {
    /// Before a signal is delivered to a thread that stopped for a SIGTRAP: if xol dies while it has
    /// the siginfo of the one and the number of the other, our handler makes one of it. Where that is
    /// said, if it could be.
    ///
    /// # Errors
    /// ESRCH when the thread is gone.
    pub(super) fn announce(&mut self, tid: Tid, signal: i32) -> io::Result<Option<Addr>> {
        if !self.known(tid)?.by_trap || signal == libc::SIGTRAP {
            return Ok(None);
        }
        let word = self.pc(tid)?.0 | (signal as u64) << 56;
        let Some(space) = self.space_of(tid).and_then(|id| self.spaces.get(&id)) else {
            return Ok(None);
        };
        let at = space.head.map(|head| head.start.add(head::DELIVERING));
        Ok(at.filter(|&at| space.write_for_now(at, &word.to_ne_bytes()).is_ok()))
    }

    /// It was delivered, and may have ended the program.
    pub(super) fn announced(&mut self, tid: Tid, at: Addr) {
        if let Some(space) = self.space_of(tid).and_then(|id| self.spaces.get(&id)) {
            _ = space.write_for_now(at, &[0; 8]);
        }
    }

    /// Makes a thread that stopped for a SIGTRAP of the program's own begin the program's handler.
    /// `false` where only the kernel can do that: there is no handler, or a call is interrupted.
    ///
    /// # Errors
    /// See [`InjectError`]; the thread is then where it was.
    pub fn enter_handler(&mut self, tid: Tid, info: &SigInfo) -> Result<bool, InjectError> {
        let pid = self.known(tid)?.pid;
        let action = self.processes.get(&pid).ok_or_else(gone)?.action;
        let Action::Handler([handler, flags, restorer, blocks]) = action else { return Ok(false) };
        let regs = self.regs(tid)?;
        let mut code = [0; 16];
        let space = self.space_of(tid).and_then(|id| self.spaces.get(&id)).ok_or_else(gone)?;
        let n = space.read_some(regs.pc(), &mut code).unwrap_or(0);
        if native::signal_concerns_call(&regs, &code[..n]) {
            return Ok(false);
        }
        let Some(restorer) = self.restorer(tid, flags, restorer) else { return Ok(false) };
        let stack = self.alternate_stack(tid)?;
        let [bottom, state, size] = stack;
        let usable = state & 0xffff_ffff & (SS_ONSTACK | SS_DISABLE) == 0;
        let stack_top = (flags & SA_ONSTACK != 0 && usable).then(|| Addr(bottom + size));

        let mut fpstate = vec![0; native::FPSTATE_MAX];
        let n = native::get_fpstate(tid, &mut fpstate);
        fpstate.truncate(n);
        let mut mask = sys::get_sigmask(tid)?;
        if self.is_lifted(tid) {
            mask |= TRAP_BIT;
        }
        let entry = HandlerEntry {
            regs: &regs,
            fpstate: &fpstate,
            mask,
            stack: [bottom, state & !SS_ONSTACK, size],
            stack_top,
            info: &info.bytes(),
            handler: Addr(handler),
            restorer,
        };
        let mut frame = Vec::new();
        let Some((begin, at)) = native::enter_handler(&entry, &mut frame) else { return Ok(false) };
        // A stack that has no room ends the program, in a way that is the kernel's to choose.
        if self.stopped(tid)?.write(at, &frame).is_err() {
            return Ok(false);
        }
        native::clear_fpstate(tid)?;
        self.put_block_back(tid)?;
        mask |= action.blocks(libc::SIGTRAP);
        sys::set_sigmask(tid, mask)?;
        let thread = self.known(tid)?;
        thread.watch.disturbed();
        (thread.regs, thread.dirty) = (Some(begin), Dirty::All);
        if flags & SA_RESETHAND != 0 {
            self.set_program_action(tid, Action::Default([0, flags, restorer.0, blocks]))?;
        }
        Ok(true)
    }

    /// The thread's alternate signal stack, as stack_t.
    fn alternate_stack(&mut self, tid: Tid) -> Result<[u64; 3], InjectError> {
        let mut stack = [0u8; 24];
        let args = [0, BUFFER, 0, 0, 0, 0];
        let value = self.call(tid, libc::SYS_sigaltstack, args, &mut stack)?;
        if value != 0 {
            let error = io::Error::from_raw_os_error(-value as i32);
            return Err(InjectError::Refused("sigaltstack", error));
        }
        let mut words = [0; 3];
        for (word, from) in words.iter_mut().zip(stack.chunks_exact(8)) {
            let mut eight = [0; 8];
            eight.copy_from_slice(from);
            *word = u64::from_ne_bytes(eight);
        }
        Ok(words)
    }

    /// Where handlers of the thread's process return to: what libc passes with an action, or the
    /// kernel's own code.
    pub(super) fn restorer(&self, tid: Tid, flags: u64, restorer: u64) -> Option<Addr> {
        match flags & SA_RESTORER {
            0 => self.vdso_restorer(tid).ok().flatten(),
            _ => Some(Addr(restorer)),
        }
    }

    /// Where a handler without a restorer returns to: `mov number of rt_sigreturn; call` in the
    /// vDSO.
    fn vdso_restorer(&self, tid: Tid) -> io::Result<Option<Addr>> {
        let pid = self.threads.get(&tid).ok_or_else(gone)?.pid;
        let maps = procfs::maps(pid)?;
        let Some(vdso) = maps.iter().find(|m| m.name == "[vdso]") else { return Ok(None) };
        let space = self.space_of(tid).and_then(|id| self.spaces.get(&id)).ok_or_else(gone)?;
        let mut code = vec![0; (vdso.end.0 - vdso.start.0) as usize];
        let n = space.read_some(vdso.start, &mut code)?;
        // The second half of the call stub is just that.
        let returns = &native::CALL_STUB[native::CALL_STUB_STOP as usize..];
        let found = code[..n].windows(returns.len()).position(|w| w == returns);
        Ok(found.map(|at| vdso.start.add(at as u64)))
    }
}
