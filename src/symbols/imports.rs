//! What the loader writes for an object: the slots of imported functions, and of its thread-local
//! memory.

use super::{ElfError, Object, RelocValue, source};
use object::LittleEndian as LE;
use object::elf::{self, Sym64};

impl Object {
    /// The slots into which the loader writes the address of the imported function `name`.
    ///
    /// # Errors
    /// Damaged tables.
    pub fn got_slots(&self, name: &str) -> Result<Vec<u64>, ElfError> {
        let mut wanted = Vec::new();
        self.dynamic_symbols(name, &mut |i, _| wanted.push(i))?;
        let mut slots = Vec::new();
        self.relocs(&mut |reloc| match reloc.value {
            RelocValue::Symbol(index) if wanted.contains(&index) => slots.push(reloc.slot),
            _ => {}
        })?;
        Ok(slots)
    }

    /// Where a C library has errno: the address of a slot into which the loader writes an offset
    /// from the thread pointer, and what to add to that offset.
    ///
    /// # Errors
    /// Damaged tables.
    pub fn errno(&self) -> Result<Option<(u64, u64)>, ElfError> {
        let mut errno = None;
        self.dynamic_symbols("errno", &mut |_, sym| {
            if sym.st_type() == elf::STT_TLS {
                errno = Some(sym.st_value.get(LE));
            }
        })?;
        let Some(errno) = errno else { return Ok(None) };
        let mut found = None;
        self.relocs(&mut |reloc| {
            if let RelocValue::ThreadLocal(addend) = reloc.value {
                found.get_or_insert((reloc.slot, errno.wrapping_sub(addend)));
            }
        })?;
        Ok(found)
    }

    /// Calls `each` for the dynamic symbols of a name.
    fn dynamic_symbols(
        &self,
        name: &str,
        each: &mut dyn FnMut(u32, &Sym64<LE>),
    ) -> Result<(), ElfError> {
        let Some(dynamic) = &self.dynamic else { return Ok(()) };
        let what = "dynamic symbol table";
        let Some((symtab, room)) = self.layout.file_offset(dynamic.symtab) else { return Ok(()) };
        let strings = dynamic.strings(&self.source, &self.layout)?;
        let size = size_of::<Sym64<LE>>() as u64;
        let len = dynamic.symbol_count(&self.source, &self.layout)?.saturating_mul(size);
        if len > room {
            return Err(ElfError::Truncated { what });
        }
        self.source.each::<Sym64<LE>>(symtab, len, what, &mut |i, sym| {
            if source::string_at(&strings, sym.st_name.get(LE) as usize) == name {
                each(i as u32, sym);
            }
        })
    }
}
