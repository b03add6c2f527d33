//! Sites that serve xol itself: what the loader maps, what the program does with SIGTRAP, what
//! IFUNC resolvers choose.
//!
//! The instruction behind the loader's mmap is a site, so a library is armed before any of it runs.
//! Those at rt_sigaction, mprotect, mremap and ptrace are sites as well. Calls whose number is in
//! no instruction, those of syscall(2), are looked at where syscall(2) begins, and at its SYSCALL
//! only once one of them was of interest: a thread would wait in the copy.

use super::arm::{Armed, Want};
use super::consumer::{Consumer, Resolver};
use super::objects::Loaded;
use super::session::Session;
use crate::engine::Wish;
use crate::symbols::{Kind, Object, RelocValue};
use std::collections::HashSet;
use std::io;
use std::rc::Rc;
use xol_arch::{Addr, Arch, Text};
use xol_targets::Native;
use xol_targets::native::{self, SYSCALL_LEN};
use xol_targets::ptrace::{SpaceId, Tid};

/// How long syscall(2) is at most, in bytes.
const CALLER: u64 = 256;
/// After so many calls by syscall(2), none of which concerned us, it is not looked at any more.
const QUIET: u64 = 10_000;

impl Session<'_> {
    /// Wants the instructions behind the calls that matter: mmap in the loader, rt_sigaction,
    /// mprotect and mremap anywhere.
    pub(super) fn watch_calls(
        &mut self,
        space: SpaceId,
        loaded: &Loaded,
        object: &Object,
        bias: u64,
        program: bool,
        wants: &mut Vec<Want>,
    ) -> io::Result<()> {
        if loaded.shared {
            return Ok(());
        }
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
        for start in callers(object) {
            let entry = Addr(start.wrapping_add(bias));
            let call = call_in(&text, entry);
            if call.is_some_and(|at| !known.contains(&at))
                && matches!(object.told_reject(start), Ok(None))
            {
                found.push((entry, Consumer::AnyCaller));
            }
        }
        for (at, consumer) in found {
            let consumer = self.internal(consumer);
            if let Some(want) = want_at(object, bias, at.0.wrapping_sub(bias)) {
                wants.push(Want { consumer, ..want });
            }
        }
        Ok(())
    }

    /// Says so where the loader cannot be watched.
    pub(super) fn note_blind(&mut self, wants: &[Want], armed: &[Armed]) {
        let mapped = |want: &Want| {
            matches!(self.consumers.get(want.consumer as usize), Some(Consumer::Mapped))
        };
        let blind = wants
            .iter()
            .zip(armed)
            .find_map(|(want, armed)| armed.as_ref().err().filter(|_| mapped(want)));
        if let Some(reject) = blind {
            self.note(format!("what the loader maps from now on is not seen: {reject}"));
        }
    }

    /// The one consumer of a kind that needs no more than one.
    pub(super) fn internal(&mut self, kind: Consumer) -> u32 {
        let same = |c: &Consumer| std::mem::discriminant(c) == std::mem::discriminant(&kind);
        match self.consumers.iter().position(same) {
            Some(i) => i as u32,
            None => self.add_consumer(kind),
        }
    }

    /// Behind the loader's mmap. Code is armed before any of it runs.
    pub(super) fn mapped(&mut self, tid: Tid, space: SpaceId, at: Addr) -> io::Result<()> {
        let regs = self.target.regs(tid)?;
        let executable = native::syscall_arg(&regs, 2) & native::PROT_EXEC != 0;
        let failed = (-4095..0).contains(&native::result(&regs));
        if executable && !failed {
            // Whatever was known of these addresses was about what is no longer there.
            let (start, len) = (native::result(&regs) as u64, native::syscall_arg(&regs, 1));
            self.forget_range(space, Addr(start)..Addr(start.saturating_add(len)));
            // If xol dies in a call made here, the thread comes to the trap once more.
            self.target.stopped(tid)?.rewind(at);
            self.refresh(space, Some(tid))?;
        }
        Ok(())
    }

    /// At the beginning of syscall(2): once a call by it concerns us, the instruction that makes it is
    /// looked at. Not before: a thread would wait in a copy of it, and most of such calls wait.
    pub(super) fn any_caller(&mut self, tid: Tid, space: SpaceId, at: Addr) -> io::Result<()> {
        let regs = self.target.regs(tid)?;
        let number = native::syscall_arg(&regs, 0) as i64;
        let sites = self.sites_mut(space);
        if !concerns(number, native::syscall_arg(&regs, 1)) {
            let site = sites.find(at);
            let hits = site.and_then(|n| sites.sites.get(n as usize)).map_or(0, |s| s.hits);
            // A program that makes its calls so pays for each: none was of interest so far.
            return match site {
                Some(site) if hits >= QUIET => self.disarm(space, site),
                _ => Ok(()),
            };
        }
        let Some(call) = self.call_of(space, at)? else { return Ok(()) };
        if self.sites_mut(space).find(call).is_some() {
            return Ok(());
        }
        let consumer = self.internal(Consumer::AnyCall);
        let want = self.want_in_memory(space, call, consumer);
        self.target.stopped(tid)?.rewind(at);
        self.arm(space, Some(tid), &Vec::from_iter(want)).map(drop)
    }

    /// The instruction that makes the call of a syscall(2) that begins at `at`.
    fn call_of(&mut self, space: SpaceId, at: Addr) -> io::Result<Option<Addr>> {
        let mut code = [0; CALLER as usize];
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        let got = memory.read_some(at, &mut code)?;
        self.sites_mut(space).restore(at.0, &mut code[..got]);
        Ok(call_in(&Text::new(at, &code[..got]), at))
    }

    /// Whether a thread at `pc` is in a syscall(2), and its call may be one that concerns us: where the
    /// function begins, nobody saw it.
    pub(super) fn is_calling(&mut self, tid: Tid, space: SpaceId, pc: Addr) -> io::Result<bool> {
        let Some(entry) = self.caller_of(space, pc) else { return Ok(false) };
        let Some(call) = self.call_of(space, entry)? else { return Ok(false) };
        if pc != call {
            return Ok(pc < call);
        }
        let regs = self.target.regs(tid)?;
        Ok(concerns(native::next_call(&regs), native::syscall_arg(&regs, 0)))
    }

    /// Where a syscall(2) begins that `pc` may be in.
    fn caller_of(&self, space: SpaceId, pc: Addr) -> Option<Addr> {
        let sites = self.spaces.get(&space)?;
        let is_caller = |number: u32| {
            let mut all = sites.consumers(number).filter_map(|c| self.consumers.get(c as usize));
            all.any(|c| matches!(c, Consumer::AnyCaller))
        };
        let mut all = (0..).zip(&sites.sites);
        let may = |at: Addr| at < pc && pc.0 - at.0 < CALLER;
        all.find(|(number, site)| may(site.addr) && is_caller(*number)).map(|(_, s)| s.addr)
    }

    /// On a call whose number was not known before.
    pub(super) fn any_call(&mut self, tid: Tid, space: SpaceId, at: Addr) -> io::Result<()> {
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
        let behind = at.add(SYSCALL_LEN);
        if self.sites_mut(space).find(behind).is_some() {
            return Ok(());
        }
        let consumer = self.internal(Consumer::AnyCalled);
        let want = self.want_in_memory(space, behind, consumer);
        self.target.stopped(tid)?.rewind(at);
        self.arm(space, Some(tid), &Vec::from_iter(want)).map(drop)
    }

    /// Behind a call that makes any: of those that were seen before, this may be one.
    pub(super) fn any_called(&mut self, tid: Tid, space: SpaceId, at: Addr) -> io::Result<()> {
        self.action_set(tid, at, true)?;
        self.moved(tid, space, at)
    }

    /// How a site of this consumer is to be executed.
    pub(super) fn wish_of(&self, consumer: u32) -> Wish {
        match self.consumers.get(consumer as usize) {
            // A trap behind the copy of a call that sets SIGTRAP's action would come before that is
            // known.
            Some(Consumer::AnyCall | Consumer::SettingAction) => Wish::Auto,
            _ => self.options.wish,
        }
    }

    /// An IFUNC resolver was entered: its return value is of interest.
    pub(super) fn resolver_entered(
        &mut self,
        tid: Tid,
        space: SpaceId,
        resolver: &Rc<Resolver>,
        at: Addr,
    ) -> io::Result<()> {
        self.expect_return(tid, space, at, super::frames::Expect::Resolver(resolver.clone()))
    }

    /// A resolver has chosen: the probe goes there.
    pub(super) fn resolver_returned(
        &mut self,
        tid: Tid,
        space: SpaceId,
        resolver: &Resolver,
        target: Addr,
    ) -> io::Result<()> {
        let mut wants = Vec::new();
        for &row in &resolver.rows {
            let consumer = self.rows[row as usize].consumer;
            wants.extend(self.want_in_memory(space, target, consumer));
        }
        self.arm_all(space, Some(tid), &wants)
    }

    /// What an IFUNC's resolver has chosen already, from the slots that were filled with it: those of
    /// its own object, then those of the others that import it.
    pub(super) fn resolved_target(
        &mut self,
        space: SpaceId,
        object: &Object,
        bias: u64,
        resolver: u64,
    ) -> Option<Addr> {
        let mut slots = Vec::new();
        object
            .relocs(&mut |reloc| match reloc.value {
                RelocValue::Resolver(at) if at == resolver => slots.push(reloc.slot),
                _ => {}
            })
            .ok()?;
        let found = slots.into_iter().find_map(|slot| self.filled(space, object, bias, slot));
        let not_itself = |at: &Addr| at.0 != bias.wrapping_add(resolver);
        found.filter(not_itself).or_else(|| {
            let names: Vec<String> = object
                .symbols()
                .ok()?
                .all_at(resolver)
                .filter(|(_, symbol)| symbol.kind == Kind::Ifunc)
                .map(|(_, symbol)| symbol.name.to_owned())
                .collect();
            self.imported_target(space, Addr(bias.wrapping_add(resolver)), &names)
        })
    }

    /// Where the imported functions of these names lead in the object of this resolver, in a program that
    /// was attached to: where a program is launched, the resolver is called yet.
    fn imported_target(
        &mut self,
        space: SpaceId,
        resolver: Addr,
        names: &[String],
    ) -> Option<Addr> {
        if self.root.is_some() {
            return None;
        }
        let pid = self.target.owner(space)?.pid;
        let mut all = self.spaces.get(&space)?.objects.clone();
        let home = all.iter().find(|l| l.has(resolver))?.file;
        let at_home: Vec<Loaded> = all.iter().filter(|l| l.file == home).cloned().collect();
        all.dedup_by_key(|loaded| loaded.file);
        all.iter().find_map(|loaded| {
            let object = self.cached(pid, loaded).as_ref().ok()?.clone();
            let bias = loaded.bias(&object)?;
            let slots = names.iter().filter_map(|name| object.got_slots(name).ok());
            let slots: Vec<u64> = slots.flatten().collect();
            slots.into_iter().find_map(|slot| {
                let target = self.filled(space, &object, bias, slot)?;
                // Another library's function may have been put before this one.
                let ours = target != resolver && at_home.iter().any(|l| l.has(target));
                ours.then_some(target)
            })
        })
    }

    /// The code that a slot leads to, if it has been filled: before, it holds what the file has, which
    /// may be the address of the code that has it filled.
    fn filled(&self, space: SpaceId, object: &Object, bias: u64, slot: u64) -> Option<Addr> {
        let (mut word, mut file) = ([0; 8], [0; 8]);
        let memory = self.target.space(space)?;
        memory.read(Addr(bias.wrapping_add(slot)), &mut word).ok()?;
        // Beyond the end of the file's bytes there are zeros.
        let _ = object.read_code(slot, &mut file);
        let (value, empty) = (u64::from_ne_bytes(word), u64::from_ne_bytes(file));
        let filled = value != empty && value != empty.wrapping_add(bias);
        let code = &self.spaces.get(&space)?.objects;
        (filled && code.iter().any(|l| l.has(Addr(value)))).then_some(Addr(value))
    }
}

/// Whether a call is one of those that are looked at.
fn concerns(number: i64, first: u64) -> bool {
    match number {
        native::SYS_RT_SIGACTION => first == native::SIGTRAP,
        native::SYS_PTRACE
        | native::SYS_MPROTECT
        | native::SYS_PKEY_MPROTECT
        | native::SYS_MREMAP => true,
        _ => false,
    }
}

/// Where syscall(2) begins, by the names it has in libraries.
fn callers(object: &Object) -> Vec<u64> {
    let Ok(symbols) = object.symbols() else { return Vec::new() };
    let all = symbols.iter().map(|(_, symbol)| symbol);
    all.filter(|s| s.kind == Kind::Function && s.name == "syscall").map(|s| s.addr).collect()
}

/// The first instruction that makes a system call, of the code that begins at `start`.
fn call_in(text: &Text<'_>, start: Addr) -> Option<Addr> {
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

/// The program interpreter, by the names it goes by.
fn is_loader(loaded: &Loaded) -> bool {
    let name = loaded.name();
    name.starts_with("ld-")
        || name.starts_with("ld.so")
        || name.contains("ld-musl")
        || name.starts_with("libc.musl")
}

/// What to look at for the instruction at `vaddr`; `None` outside code.
pub(super) fn want_at(object: &Object, bias: u64, vaddr: u64) -> Option<Want> {
    let extent = object.extent(vaddr).ok()??;
    let function = object.function_at(vaddr).ok()?;
    let mut file = [0; 4];
    let check_file = object.read_code(vaddr, &mut file).is_ok();
    let move_up = |at: u64| at.wrapping_add(bias);
    Some(Want {
        addr: Addr(move_up(vaddr)),
        consumer: u32::MAX,
        extent: move_up(extent.start)..move_up(extent.end),
        function: function.map(|f| (Addr(move_up(f.start)), Addr(move_up(f.end)))),
        guarded: object.guarded(),
        file,
        check_file,
    })
}
