//! From PROBEs and what is mapped to rows and wanted sites.

use crate::engine::ConsumerId;
use crate::engine::RowId;
use crate::spec::{Called, Condition, Fails, Signature, Where};
use crate::spec::{
    Location, ObjectName, Offset, Place, PlaceKind, ResolveError, Spec, libc_prototype, resolve,
    written,
};
use crate::symbols::{Object, SymbolId};
use crate::trace::TraceError;
use crate::trace::rows::consumer::{Calls, Consumer, Resolver, Row, RowState};
use crate::trace::rows::fails::ErrorOf;
use crate::trace::session::Session;
use crate::trace::space::objects::{FileId, Loaded};
use crate::trace::wanted::want::Want;
use crate::trace::wanted::want::want_at;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use xol_arch::{Addr, Arch, ArgPlace, Reason, Regs as _, Reject};
use xol_targets::Native;
use xol_targets::native::Regs;
use xol_targets::ptrace::{Pid, SpaceId};

/// The row's name that was made last: file and symbol, what reports call it, its own name.
pub(in crate::trace) type Named = ((FileId, Option<SymbolId>), Arc<str>, Option<Arc<str>>);

/// An object that was looked through.
#[derive(Debug)]
pub(in crate::trace) struct Looked {
    file: FileId,
    path: Arc<str>,
    soname: Option<Arc<str>>,
    program: bool,
    debug: Rc<[PathBuf]>,
}

impl Looked {
    pub(in crate::trace) fn file(&self) -> FileId {
        self.file
    }

    pub(in crate::trace) fn name(&self) -> ObjectName<'_> {
        ObjectName {
            path: &self.path,
            soname: self.soname.as_deref(),
            program: self.program,
            debug: &self.debug,
        }
    }

    pub(in crate::trace) fn may_match(&self, spec: &Spec) -> bool {
        spec.may_match(&self.name())
    }
}

impl Session<'_> {
    /// Something new was mapped over these addresses.
    pub(in crate::trace) fn forget_range(&mut self, space: SpaceId, range: std::ops::Range<Addr>) {
        let sites = self.sites_mut(space);
        sites.retain(|at| !range.contains(&at));
        // What is left of a mapping is looked at again; its sites are still there.
        sites.objects.retain(|l| l.end <= range.start || range.end <= l.start);
    }

    /// What is wanted in one newly mapped piece of an object.
    pub(in crate::trace) fn collect(
        &mut self,
        space: SpaceId,
        pid: Pid,
        loaded: &Loaded,
        program: bool,
        wants: &mut Vec<Want>,
    ) {
        let Some(object) = self.open(pid, loaded) else {
            // What is said of its functions is that.
            if !self.wanted.looked.iter().any(|l| l.file == loaded.file) {
                let (path, debug) = (loaded.path.clone(), [].into());
                let file = loaded.file;
                self.wanted.looked.push(Looked { file, path, soname: None, program, debug });
            }
            return;
        };
        let Some(bias) = loaded.bias(&object) else { return };
        if !self.wanted.looked.iter().any(|l| l.file == loaded.file) {
            let soname = object.soname().map(Into::into);
            let path = loaded.path.clone();
            let debug = object.named_debug_files().into();
            self.wanted.looked.push(Looked { file: loaded.file, path, soname, program, debug });
        }
        for probe in 0..self.options.probes.len() {
            let spec = &self.options.probes[probe];
            let debug = object.named_debug_files();
            let soname = object.soname();
            let name = ObjectName { path: &loaded.path, soname, program, debug };
            if !spec.may_match(&name) {
                continue;
            }
            match resolve(spec, &object) {
                Ok(resolved) => {
                    for (place, reject) in &resolved.rejects {
                        self.reject(probe, loaded, &object, place, *reject);
                    }
                    for place in &resolved.places {
                        let at = Addr(bias.wrapping_add(place.vaddr));
                        if (loaded.start..loaded.end).contains(&at) {
                            self.want(space, probe, loaded, &object, bias, place, wants);
                        }
                    }
                }
                Err(ResolveError::NotBuiltYet(what)) => {
                    self.fatal = Some(TraceError::NotBuiltYet(what));
                }
                Err(ResolveError::Elf(error)) => {
                    self.note(format!("{}: {error}; nothing in it is probed", loaded.path));
                }
            }
        }
    }

    fn reject(
        &mut self,
        probe: usize,
        loaded: &Loaded,
        object: &Object,
        place: &Place,
        why: Reject,
    ) {
        let row = self.row(probe, loaded, object, place, false);
        let row = &mut self.teller.rows[row];
        if !matches!(row.state, RowState::Armed(_)) {
            row.state = RowState::Rejected(why);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one place in one object in one process")]
    fn want(
        &mut self,
        space: SpaceId,
        probe: usize,
        loaded: &Loaded,
        object: &Rc<Object>,
        bias: u64,
        place: &Place,
        wants: &mut Vec<Want>,
    ) {
        let when = self.options.probes[probe].when;
        let entry = place.kind != PlaceKind::Insn;
        let mut rows = [None, None];
        let late = self.is_late() && entry;
        if when.entry() && !(late && when.ret()) {
            rows[0] = Some(self.row(probe, loaded, object, place, false));
        }
        // Only a function's entry has a return address where the ABI puts it.
        if when.ret() && entry && (self.options.events || late || !when.entry()) {
            rows[1] = Some(self.row(probe, loaded, object, place, true));
        }
        if let Some(row) = rows[0].or(rows[1])
            && self.options.filter.is_some()
            && self.teller.rows[row].condition.is_none()
        {
            for row in rows.into_iter().flatten() {
                self.teller.rows[row].state = RowState::Rejected(Reason::UnknownArguments.into());
            }
            return;
        }
        let spec = &self.options.probes[probe];
        let foreign = spec.reads_registers()
            && spec.signature.as_ref().is_some_and(|signature| registers_of(signature).is_none());
        if foreign {
            for row in rows.into_iter().flatten() {
                self.teller.rows[row].state = RowState::Rejected(Reason::OtherRegisters.into());
            }
            return;
        }
        if loaded.shared {
            for row in rows.into_iter().flatten() {
                self.teller.rows[row].state = RowState::Rejected(Reason::SharedText.into());
            }
            return;
        }
        let Some(template) = want_at(object, bias, place.vaddr) else { return };
        if place.kind == PlaceKind::Resolver {
            let rows = rows.into_iter().flatten().collect();
            let resolver = Rc::new(Resolver { rows });
            let known = self.resolved_target(space, object, bias, place.vaddr);
            match known {
                Some(target) => {
                    for &row in &resolver.rows {
                        let consumer = self.teller.rows[row].consumer;
                        if let Some(want) = self.want_in_memory(space, target, consumer) {
                            wants.push(want);
                        }
                    }
                }
                None => {
                    let consumer = self.teller.rows.add_consumer(Consumer::Resolver(resolver));
                    wants.push(Want { consumer, ..template });
                }
            }
            return;
        }
        for row in rows.into_iter().flatten() {
            let consumer = self.teller.rows[row].consumer;
            let want = Want { consumer, ..template.clone() };
            wants.push(self.behind_pads(want, object, bias));
        }
    }

    /// A function's want where its jump can be: behind the landing pads that it begins with, if every way
    /// there leads through them. Its trap is there, too. To the program it is the same place, but
    /// that the return address may be signed, so returns are asked for at the pad; and a thread that lands on the
    /// wrong kind of pad, and faults, does not come there.
    fn behind_pads(&mut self, want: Want, object: &Object, bias: u64) -> Want {
        let Some(&Consumer::Row(row)) = self.teller.rows.consumer(want.consumer) else {
            return want;
        };
        let returns = self.teller.rows[row].is_return || self.teller.probe_of(row).when.ret();
        let jumps = self.teller.wants_jumps();
        let location = &self.options.probes[self.teller.rows[row].probe].location;
        let entry = matches!(location, Location::Symbol { offset: Offset::At(0), .. });
        let pad = Native::is_landing_pad(&want.file);
        self.teller.rows[row].behind = 0;
        if !pad || !jumps || !entry || returns || !cfg!(feature = "jump") {
            return want;
        }
        let vaddr = Addr(want.addr.0.wrapping_sub(bias));
        let Ok(Some(function)) = object.function::<Native>(vaddr.0) else { return want };
        let window = function.window::<Native>(vaddr, self.options.rules, object, 0);
        let Some(behind) = window.ok().map(|window| window.at.0 - vaddr.0).filter(|&by| by > 0)
        else {
            return want;
        };
        let Some(there) = want_at(object, bias, vaddr.0 + behind) else { return want };
        self.teller.rows[row].behind = behind;
        Want { consumer: want.consumer, ..there }
    }

    /// The row for a probe at a place, made when first asked for.
    fn row(
        &mut self,
        probe: usize,
        loaded: &Loaded,
        object: &Object,
        place: &Place,
        is_return: bool,
    ) -> RowId {
        let key = (probe as u32, loaded.file, place.vaddr, is_return);
        if let Some(row) = self.teller.rows.find(&key) {
            return row;
        }
        let path = match self.teller.rows.iter().next_back() {
            Some(last) if *last.object == *loaded.path => last.object.clone(),
            _ => loaded.path.clone(),
        };
        let (symbol, mangled) = self.name_of(loaded.file, object, place.symbol);
        let spec = &self.options.probes[probe];
        let registers = spec.reads_registers();
        let function =
            place.kind != PlaceKind::Insn || matches!(spec.location, Location::Address(_));
        let known = || {
            let looked = self.wanted.looked.iter().find(|l| l.file == loaded.file)?;
            libc_prototype(&looked.name(), object, place.symbol?)
        };
        let signature = spec.signature.clone().or_else(known);
        let signature = signature.filter(|_| function || registers).map(Arc::new);
        let condition = self.bound(probe, place, signature.as_deref(), object);
        let error = self.error_place(loaded.file, place, object, is_return);
        let calls = if registers { Calls::C } else { Calls::of(object, &symbol) };
        let places = match signature.as_deref() {
            Some(signature) if registers => registers_of(signature).unwrap_or_default(),
            signature => calls.places(signature),
        };
        if calls == Calls::Unknown && (signature.is_some() || is_return) {
            self.note(format!(
                "{path}: an older Go, before 1.18, has compiled it: arguments and values of its \
                 functions are not read"
            ));
        }
        self.wanted.go_returns |= calls == Calls::Go && is_return;
        self.teller.rows.add(key, is_return, |consumer| Row {
            probe,
            object: path,
            build_id: object.build_id(),
            symbol,
            mangled,
            offset: place.offset,
            addr: place.vaddr,
            is_return,
            state: RowState::Waiting,
            no_jump: None,
            signature,
            calls,
            places,
            registers,
            condition,
            error,
            consumer,
            behind: 0,
        })
    }

    /// What a symbol is called in a report, and its own name where that is another. Many rows have the
    /// same.
    fn name_of(
        &mut self,
        file: FileId,
        object: &Object,
        symbol: Option<SymbolId>,
    ) -> (Arc<str>, Option<Arc<str>>) {
        if let Some((key, shown, mangled)) = &self.wanted.named
            && *key == (file, symbol)
        {
            return (shown.clone(), mangled.clone());
        }
        let symbols = object.symbols();
        let found = symbol.and_then(|id| Some(symbols.ok()?.get(id)));
        let shown: Arc<str> = found.as_ref().map_or_else(String::new, written).into();
        let plain = found.map(|symbol| symbol.name).filter(|name| !shown.starts_with(name));
        let mangled: Option<Arc<str>> = plain.map(Into::into);
        self.wanted.named = Some(((file, symbol), shown.clone(), mangled.clone()));
        (shown, mangled)
    }

    /// A want for code that is only known from memory: an IFUNC's choice, a return address.
    pub(in crate::trace) fn want_in_memory(
        &mut self,
        space: SpaceId,
        at: Addr,
        consumer: ConsumerId,
    ) -> Option<Want> {
        let pid = self.target.owner(space)?.pid;
        let loaded =
            self.sites_mut(space).objects.iter().find(|l| (l.start..l.end).contains(&at)).cloned();
        if let Some(loaded) = loaded {
            let object = self.open(pid, &loaded)?;
            let bias = loaded.bias(&object)?;
            let want = want_at(&object, bias, at.0.wrapping_sub(bias))?;
            return Some(self.behind_pads(Want { consumer, ..want }, &object, bias));
        }
        // No file: generated code. Only the instruction itself is looked at.
        let extent = at.0..at.0 + 16;
        let file = [0; 4];
        Some(Want {
            addr: at,
            consumer,
            extent,
            function: None,
            guarded: false,
            file,
            check_file: false,
        })
    }

    /// Whether a program can be probed by this build.
    pub(in crate::trace) fn check_program(&mut self, pid: Pid) -> Result<(), TraceError> {
        use xol_targets::ptrace::AttachError;
        match xol_targets::ptrace::check_program(pid) {
            Ok(()) => Ok(()),
            Err(error @ AttachError::Emulator(..)) => {
                // Launched on purpose: its own code is probed, which may be what is wanted.
                self.note(format!("{error}"));
                Ok(())
            }
            Err(error) => Err(TraceError::Attach(error)),
        }
    }

    /// How the function at a place tells which error it was, if it is libc's and its returns are
    /// told.
    fn error_place(
        &self,
        file: FileId,
        place: &Place,
        object: &Object,
        is_return: bool,
    ) -> Option<ErrorOf> {
        if !is_return || !self.options.events {
            return None;
        }
        let looked = self.wanted.looked.iter().find(|looked| looked.file() == file)?;
        libc_prototype(&looked.name(), object, place.symbol?)?;
        let name = object.symbols().ok()?.get(place.symbol?).name;
        ErrorOf::of(name, object, self.options.errno)
    }

    /// Whether the filter is about how calls end: then returns are counted and told, not entries.
    pub(in crate::trace) fn is_late(&self) -> bool {
        self.options.filter.as_ref().is_some_and(Where::is_late)
    }

    /// What the filter says of a place, if it can be applied to it.
    pub(in crate::trace) fn bound(
        &self,
        probe: usize,
        place: &Place,
        signature: Option<&Signature>,
        object: &Object,
    ) -> Option<Arc<Condition>> {
        let spec = &self.options.probes[probe];
        let entry = place.kind != PlaceKind::Insn;
        let ty = signature.and_then(|signature| signature.ret);
        let fails = || {
            let name = object.symbols().ok()?.get(place.symbol?).name;
            Some(Fails::of_libc(name, ty?).0)
        };
        let fails = if spec.signature.is_none() { fails() } else { None };
        let of = Called { signature, returns: spec.when.ret() && entry, fails };
        self.options.filter.as_ref()?.bind(&of).ok().map(Arc::new)
    }
}

/// Where the registers are that a signature names; `None` if one is another architecture's.
fn registers_of(signature: &Signature) -> Option<Arc<[ArgPlace]>> {
    signature.args.iter().map(|arg| Regs::named(&arg.name)).collect()
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let object = self.object.rsplit('/').next().unwrap_or(&self.object);
        match (&*self.symbol, self.offset) {
            ("", _) => write!(f, "{object}:{:#x}", self.addr),
            (name, 0) => write!(f, "{object}:{name}"),
            (name, offset) => write!(f, "{object}:{name}+{offset:#x}"),
        }
    }
}
