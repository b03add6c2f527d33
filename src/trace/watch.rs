//! Sites that serve xol itself: what the loader maps, what the program does with SIGTRAP, what
//! IFUNC resolvers choose.

use super::arm::Want;
use super::consumer::{Consumer, Resolver};
use super::objects::Loaded;
use super::session::Session;
use crate::engine::Wish;
use crate::symbols::{Kind, Object, RelocValue};
use std::collections::HashSet;
use std::io;
use std::rc::Rc;
use xol_arch::{Addr, Arch, Memory as _, Regs as _, Text};
use xol_targets::Native;
use xol_targets::native::{self, SYSCALL_LEN};
use xol_targets::ptrace::{Action, SpaceId, Tid};

/// How many rt_sigactions of one thread, each in a handler that interrupted the one before, are
/// remembered.
const NESTED: usize = 8;
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
            // Should we die in a call made here, the thread comes to the trap once more.
            self.target.stopped(tid)?.rewind(at);
            self.refresh(space, Some(tid))?;
        }
        Ok(())
    }

    /// On rt_sigaction: what it is asked for is remembered until it is done.
    pub(super) fn setting_action(&mut self, tid: Tid) -> io::Result<()> {
        let regs = self.target.regs(tid)?;
        let args = [0, 1, 2].map(|n| native::syscall_arg(&regs, n));
        let setting = &mut self.visits.entry(tid).or_default().setting;
        // What a handler left by a longjmp never came to its end.
        setting.retain(|&(sp, _)| sp != regs.sp());
        if setting.len() == NESTED {
            setting.remove(0);
        }
        setting.push((regs.sp(), args));
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
        let mut code = [0; CALLER as usize];
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        let got = memory.read_some(at, &mut code)?;
        let sites = self.sites_mut(space);
        for offset in 0..got.saturating_sub(Native::TRAP.len()) {
            // The program's own code, without our traps.
            let site = sites.find(at.add(offset as u64)).and_then(|n| sites.sites.get(n as usize));
            if let Some(site) = site.filter(|site| site.armed) {
                let len = Native::TRAP.len();
                code[offset..offset + len].copy_from_slice(&site.original[..len]);
            }
        }
        let Some(call) = call_in(&Text::new(at, &code[..got]), at) else { return Ok(()) };
        if sites.find(call).is_some() {
            return Ok(());
        }
        let consumer = self.internal(Consumer::AnyCall);
        let want = self.want_in_memory(space, call, consumer);
        self.target.stopped(tid)?.rewind(at);
        self.arm(space, Some(tid), &Vec::from_iter(want)).map(drop)
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

    /// The arguments of the rt_sigaction that a thread stands behind; `any`: if it was one.
    fn set_with(&mut self, tid: Tid, any: bool) -> io::Result<Option<[u64; 3]>> {
        let regs = self.target.regs(tid)?;
        if !native::RESULT_IS_AN_ARG && !any {
            return Ok(Some([0, 1, 2].map(|n| native::syscall_arg(&regs, n))));
        }
        let Some(visit) = self.visits.get_mut(&tid) else { return Ok(None) };
        let found = visit.setting.iter().position(|&(sp, _)| sp == regs.sp());
        Ok(found.map(|i| visit.setting.remove(i).1))
    }

    /// Behind rt_sigaction: the program sees its own SIGTRAP action, and ours stays in place.
    pub(super) fn action_set(&mut self, tid: Tid, at: Addr, any: bool) -> io::Result<()> {
        let Some([signal, new, old]) = self.set_with(tid, any)? else { return Ok(()) };
        let regs = self.target.regs(tid)?;
        if signal != native::SIGTRAP || native::result(&regs) != 0 {
            return Ok(());
        }
        let pid = self.target.thread(tid).map(|t| t.pid);
        let Some(process) = pid.and_then(|pid| self.target.process(pid)).cloned() else {
            return Ok(());
        };
        let mut machine = self.target.stopped(tid)?;
        let mut bytes = [0; 32];
        let set = new != 0 && machine.read(Addr(new), &mut bytes).is_ok();
        let mut told = [0; 32];
        let read = old != 0 && machine.read(Addr(old), &mut told).is_ok();
        let told = Action::from_bytes(&told);
        // Where the program handles SIGTRAP itself, a trap of another thread may have made the kernel
        // forget that a moment ago.
        let lost = matches!(process.action, Action::Handler(_)) && told.is_default();
        if read && (lost || self.target.is_stand_in(tid, told)) {
            let mut was = [0; 32];
            for (to, word) in was.chunks_exact_mut(8).zip(process.action.words()) {
                to.copy_from_slice(&word.to_ne_bytes());
            }
            // It was writable for the kernel a moment ago.
            let _ = self.target.stopped(tid)?.write(Addr(old), &was);
        }
        if set {
            self.target.stopped(tid)?.rewind(at);
            let action = Action::from_bytes(&bytes);
            self.target.settle_mask_behind(tid, action)?;
            if let Action::Handler(_) = action {
                self.note(format!(
                    "process {} handles SIGTRAP itself: it does not survive xol being killed",
                    process.pid
                ));
            }
            if let Err(error) = self.target.set_program_action(tid, action) {
                self.note(format!("process {}: {error}", process.pid));
            }
        }
        Ok(())
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
        let armed = self.arm(space, Some(tid), &wants)?;
        self.note_states(space, &wants, &armed);
        self.arm_exits(space, Some(tid), &wants, &armed)
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
