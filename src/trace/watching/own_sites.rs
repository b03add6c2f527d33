//! Sites that serve xol itself: what the loader maps, what the program does with SIGTRAP, what
//! IFUNC resolvers choose.
//!
//! The instruction behind the loader's mmap is a site, so a library is armed before any of it runs.
//! Those at rt_sigaction, mprotect, mremap and ptrace are sites as well. Calls whose number is in
//! no instruction, those of syscall(2), are looked at where syscall(2) begins, and at its SYSCALL
//! only once one of them was of interest: a thread would wait in the copy.

use crate::symbols::{Kind, Object};
use crate::trace::arming::syscalls::{call_in, concerns};
use crate::trace::rows::consumer::Consumer;
use crate::trace::session::Session;
use crate::trace::space::objects::Loaded;
use crate::trace::wanted::want::Want;
use crate::trace::wanted::want::want_at;
use std::collections::HashSet;
use std::io;
use xol_arch::{Addr, Arch, Text};
use xol_targets::Native;
use xol_targets::native::{self, SYSCALL_LEN};
use xol_targets::ptrace::{Pid, SpaceId, Tid};

/// After so many calls by syscall(2), none of which concerned us, it is not looked at any more.
const QUIET: u64 = 10_000;

impl Session<'_> {
    /// Wants the instructions behind the calls that matter: mmap in the loader, rt_sigaction,
    /// mprotect and mremap anywhere.
    pub(in crate::trace) fn watch_calls(
        &mut self,
        space: SpaceId,
        pid: Pid,
        loaded: &Loaded,
        program: bool,
        wants: &mut Vec<Want>,
    ) -> io::Result<()> {
        if loaded.shared {
            return Ok(());
        }
        let Some(object) = self.open(pid, loaded) else { return Ok(()) };
        let Some(bias) = loaded.bias(&object) else { return Ok(()) };
        let maps = is_loader(loaded) || program && object.is_static();
        let mut code = vec![0; (loaded.end.0 - loaded.start.0) as usize];
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        let got = memory.read_some(loaded.start, &mut code).unwrap_or(0);
        let text = Text::new(loaded.start, &code[..got]);
        let mut found = Vec::new();
        let mut known = HashSet::new();
        Native::syscalls(&text, &mut |at, number| {
            known.insert(at);
            let behind = at.add(SYSCALL_LEN);
            match number as i64 {
                native::SYS_MMAP if maps => found.push((behind, Consumer::Mapped)),
                native::SYS_MPROTECT | native::SYS_PKEY_MPROTECT => {
                    found.push((at, Consumer::Protecting));
                }
                native::SYS_MREMAP => {
                    found.push((at, Consumer::Moving));
                    found.push((behind, Consumer::Moved));
                }
                native::SYS_RT_SIGACTION => {
                    if native::RESULT_IS_AN_ARG {
                        found.push((at, Consumer::SettingAction));
                    }
                    found.push((behind, Consumer::ActionSet));
                }
                native::SYS_PTRACE => found.push((at, Consumer::Tracing)),
                _ => {}
            }
        });
        // What makes any call has its number in a register.
        for start in callers(&object) {
            let entry = Addr(start.wrapping_add(bias));
            let call = call_in(&text, entry);
            if call.is_some_and(|at| !known.contains(&at))
                && matches!(object.told_reject(start), Ok(None))
            {
                found.push((entry, Consumer::AnyCaller));
            }
        }
        for (at, consumer) in found {
            let consumer = self.teller.rows.internal(consumer);
            if let Some(want) = want_at(&object, bias, at.0.wrapping_sub(bias)) {
                wants.push(Want { consumer, ..want });
            }
        }
        Ok(())
    }

    /// Behind the loader's mmap. Code is armed before any of it runs.
    pub(in crate::trace) fn mapped(
        &mut self,
        tid: Tid,
        space: SpaceId,
        at: Addr,
    ) -> io::Result<()> {
        let regs = self.target.regs(tid)?;
        let executable = native::syscall_arg(&regs, 2) & native::PROT_EXEC != 0;
        let failed = (-4095..0).contains(&native::result(&regs));
        if executable && !failed {
            // Whatever was known of these addresses was about what is no longer there.
            let (start, len) = (native::result(&regs) as u64, native::syscall_arg(&regs, 1));
            self.forget_range(space, Addr(start)..Addr(start.saturating_add(len)));
            // While we leave, nothing is armed any more.
            if self.target.is_leaving() {
                return Ok(());
            }
            // If xol dies in a call made here, the thread comes to the trap once more.
            self.target.stopped(tid)?.rewind(at);
            self.refresh(space, Some(tid))?;
        }
        Ok(())
    }

    /// At the beginning of syscall(2): once a call by it concerns us, the instruction that makes it is
    /// looked at. Not before: a thread would wait in a copy of it, and most of such calls wait.
    pub(in crate::trace) fn any_caller(
        &mut self,
        tid: Tid,
        space: SpaceId,
        at: Addr,
    ) -> io::Result<()> {
        let regs = self.target.regs(tid)?;
        let number = native::syscall_arg(&regs, 0) as i64;
        let sites = self.sites_mut(space);
        if !concerns(number, native::syscall_arg(&regs, 1)) {
            let site = sites.find(at);
            let hits = site.and_then(|n| sites.get(n)).map_or(0, |s| s.hits);
            // A program that makes its calls so pays for each: none was of interest so far.
            return match site {
                Some(site) if hits >= QUIET => self.disarm(space, site),
                _ => Ok(()),
            };
        }
        match self.call_of(space, at)? {
            Some(call) => self.watch(tid, space, at, call, Consumer::AnyCall),
            None => Ok(()),
        }
    }

    /// Has a consumer of ours be told of a place, which may be a site for others already; the thread has
    /// trapped at `at`.
    fn watch(
        &mut self,
        tid: Tid,
        space: SpaceId,
        at: Addr,
        place: Addr,
        consumer: Consumer,
    ) -> io::Result<()> {
        let consumer = self.teller.rows.internal(consumer);
        let sites = self.sites_mut(space);
        if sites.find(place).is_some_and(|site| sites.consumers(site).any(|c| c == consumer)) {
            return Ok(());
        }
        let want = self.want_in_memory(space, place, consumer);
        self.target.stopped(tid)?.rewind(at);
        self.arm(space, Some(tid), &Vec::from_iter(want)).map(drop)
    }

    /// On a call whose number was not known before.
    pub(in crate::trace) fn any_call(
        &mut self,
        tid: Tid,
        space: SpaceId,
        at: Addr,
    ) -> io::Result<()> {
        let regs = self.target.regs(tid)?;
        let number = native::next_call(&regs);
        if !concerns(number, native::syscall_arg(&regs, 0)) {
            return Ok(());
        }
        match number {
            native::SYS_PTRACE => self.tracing(tid, space, at),
            native::SYS_MREMAP => {
                self.moving(tid, space)?;
                self.look_behind(tid, space, at)
            }
            native::SYS_RT_SIGACTION => {
                self.setting_action(tid)?;
                self.look_behind(tid, space, at)
            }
            _ => self.protecting(tid, space),
        }
    }

    /// Arms the place behind a call that makes any, once one of them has concerned us.
    fn look_behind(&mut self, tid: Tid, space: SpaceId, at: Addr) -> io::Result<()> {
        self.watch(tid, space, at, at.add(SYSCALL_LEN), Consumer::AnyCalled)
    }

    /// Behind a call that makes any: of those that were seen before, this may be one.
    pub(in crate::trace) fn any_called(
        &mut self,
        tid: Tid,
        space: SpaceId,
        at: Addr,
    ) -> io::Result<()> {
        self.action_set(tid, at, true)?;
        self.moved(tid, space, at)
    }
}

/// Where syscall(2) begins, by the names it has in libraries.
fn callers(object: &Object) -> Vec<u64> {
    let Ok(symbols) = object.symbols() else { return Vec::new() };
    let all = symbols.iter().map(|(_, symbol)| symbol);
    all.filter(|s| s.kind == Kind::Function && s.name == "syscall").map(|s| s.addr).collect()
}

/// The program interpreter, by the names it goes by.
fn is_loader(loaded: &Loaded) -> bool {
    let name = loaded.name();
    name.starts_with("ld-")
        || name.starts_with("ld.so")
        || name.contains("ld-musl")
        || name.starts_with("libc.musl")
}
