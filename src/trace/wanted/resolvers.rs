//! What IFUNC resolvers have chosen already, as far as memory says.

use crate::symbols::{Kind, Object, RelocValue};
use crate::trace::session::Session;
use crate::trace::space::objects::Loaded;
use xol_arch::Addr;
use xol_targets::ptrace::SpaceId;

impl Session<'_> {
    /// What an IFUNC's resolver has chosen already, from the slots that were filled with it: those of
    /// its own object, then those of the others that import it.
    pub(in crate::trace) fn resolved_target(
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
    pub(in crate::trace) fn imported_target(
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
    pub(in crate::trace) fn filled(
        &self,
        space: SpaceId,
        object: &Object,
        bias: u64,
        slot: u64,
    ) -> Option<Addr> {
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
