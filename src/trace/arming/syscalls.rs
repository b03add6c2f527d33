//! syscall(2), which makes calls whose number is in no instruction: where it makes them, and whether a thread
//! is about to make one that matters.

use crate::engine::SiteId;
use crate::trace::rows::consumer::Consumer;
use crate::trace::session::Session;
use std::io;
use xol_arch::{Addr, Arch, Text};
use xol_targets::native::{self, Native, SYSCALL_LEN};
use xol_targets::ptrace::{SpaceId, Tid};

/// How long syscall(2) is at most, in bytes.
const CALLER: u64 = 256;

impl Session<'_> {
    /// The instruction that makes the call of a syscall(2) that begins at `at`.
    pub(in crate::trace) fn call_of(
        &mut self,
        space: SpaceId,
        at: Addr,
    ) -> io::Result<Option<Addr>> {
        let mut code = [0; CALLER as usize];
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        let got = memory.read_some(at, &mut code)?;
        self.sites_mut(space).restore(at.0, &mut code[..got]);
        Ok(call_in(&Text::new(at, &code[..got]), at))
    }

    /// Whether a thread at `pc` is in a syscall(2), and its call may be one that concerns us: where the
    /// function begins, nobody saw it.
    pub(in crate::trace) fn is_calling(
        &mut self,
        tid: Tid,
        space: SpaceId,
        pc: Addr,
    ) -> io::Result<bool> {
        let Some(entry) = self.caller_of(space, pc) else { return Ok(false) };
        let Some(call) = self.call_of(space, entry)? else { return Ok(false) };
        if pc != call {
            return Ok(pc < call);
        }
        let regs = self.target.regs(tid)?;
        Ok(concerns(native::next_call(&regs), native::syscall_arg(&regs, 0)))
    }

    /// Where a syscall(2) begins that `pc` may be in.
    pub(in crate::trace) fn caller_of(&self, space: SpaceId, pc: Addr) -> Option<Addr> {
        let sites = self.spaces.get(&space)?;
        let is_caller = |number: SiteId| {
            let mut all = sites.consumers(number).filter_map(|c| self.teller.rows.consumer(c));
            all.any(|c| matches!(c, Consumer::AnyCaller))
        };
        let mut all = sites.numbered();
        let may = |at: Addr| at < pc && pc.0 - at.0 < CALLER;
        all.find(|(number, site)| may(site.addr) && is_caller(*number)).map(|(_, s)| s.addr)
    }
}

/// Whether a call is one of those that are looked at.
pub(in crate::trace) fn concerns(number: i64, first: u64) -> bool {
    match number {
        native::SYS_RT_SIGACTION => first == native::SIGTRAP,
        native::SYS_PTRACE
        | native::SYS_MPROTECT
        | native::SYS_PKEY_MPROTECT
        | native::SYS_MREMAP => true,
        _ => false,
    }
}

/// The first instruction that makes a system call, of the code that begins at `start`.
pub(in crate::trace) fn call_in(text: &Text<'_>, start: Addr) -> Option<Addr> {
    let call = &native::CALL_STUB[..SYSCALL_LEN as usize];
    let mut at = start;
    while at.0.wrapping_sub(start.0) < CALLER {
        if text.from(at).starts_with(call) {
            return Some(at);
        }
        at = at.add(Native::length(text, at).ok()?.max(1) as u64);
    }
    None
}
