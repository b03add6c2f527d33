//! PT_DYNAMIC: what the loader reads, found without section headers.

use super::ElfError;
use super::layout::Layout;
use super::source::{Source, string_at};
use object::LittleEndian as LE;
use object::elf;

/// Addresses and sizes from the dynamic section; zero is absent, as it is for the loader.
#[derive(Debug, Default)]
pub(crate) struct Dynamic {
    pub(crate) symtab: u64,
    pub(crate) strtab: u64,
    pub(crate) strsz: u64,
    pub(crate) hash: u64,
    pub(crate) gnu_hash: u64,
    pub(crate) versym: u64,
    pub(crate) verdef: u64,
    pub(crate) verdefnum: u64,
    pub(crate) rela: (u64, u64),
    pub(crate) jmprel: (u64, u64),
    /// DF_1_PIE: a program, not a library.
    pub(crate) pie: bool,
    soname: Option<u64>,
}

impl Dynamic {
    pub(crate) fn read(source: &Source, layout: &Layout) -> Result<Option<Dynamic>, ElfError> {
        let Some((offset, len)) = layout.dynamic else { return Ok(None) };
        let mut dynamic = Dynamic::default();
        let mut ended = false;
        source.each::<elf::Dyn64<LE>>(offset, len, "dynamic section", &mut |_, entry| {
            let value = entry.d_val.get(LE);
            match entry.d_tag.get(LE) {
                _ if ended => {}
                elf::DT_NULL => ended = true,
                elf::DT_SYMTAB => dynamic.symtab = value,
                elf::DT_STRTAB => dynamic.strtab = value,
                elf::DT_STRSZ => dynamic.strsz = value,
                elf::DT_HASH => dynamic.hash = value,
                elf::DT_GNU_HASH => dynamic.gnu_hash = value,
                elf::DT_VERSYM => dynamic.versym = value,
                elf::DT_VERDEF => dynamic.verdef = value,
                elf::DT_VERDEFNUM => dynamic.verdefnum = value,
                elf::DT_RELA => dynamic.rela.0 = value,
                elf::DT_RELASZ => dynamic.rela.1 = value,
                elf::DT_JMPREL => dynamic.jmprel.0 = value,
                elf::DT_PLTRELSZ => dynamic.jmprel.1 = value,
                elf::DT_SONAME => dynamic.soname = Some(value),
                elf::DT_FLAGS_1 => dynamic.pie = value & elf::DF_1_PIE.0 != 0,
                _ => {}
            }
        })?;
        Ok(Some(dynamic))
    }

    /// The string table whole.
    pub(crate) fn strings(&self, source: &Source, layout: &Layout) -> Result<Vec<u8>, ElfError> {
        let what = "dynamic string table";
        match layout.file_offset(self.strtab) {
            Some((offset, room)) if self.strsz <= room => source.bytes(offset, self.strsz, what),
            _ if self.strsz == 0 => Ok(Vec::new()),
            _ => Err(ElfError::Truncated { what }),
        }
    }

    /// DT_SONAME, without reading the whole table.
    pub(crate) fn soname(&self, source: &Source, layout: &Layout) -> Option<String> {
        let at = self.soname?;
        let (offset, room) = layout.file_offset(self.strtab.checked_add(at)?)?;
        let len = room.min(self.strsz.checked_sub(at)?).min(4096);
        let bytes = source.bytes(offset, len, "soname").ok()?;
        Some(string_at(&bytes, 0).to_owned()).filter(|name| !name.is_empty())
    }

    /// How many symbols there are. No tag says so: it follows from a hash table.
    pub(crate) fn symbol_count(&self, source: &Source, layout: &Layout) -> Result<u64, ElfError> {
        let what = "symbol hash table";
        if let Some(section) = layout.section_of_kind(elf::SHT_DYNSYM) {
            return Ok(section.size / size_of::<elf::Sym64<LE>>() as u64);
        }
        if let Some((offset, _)) = layout.file_offset(self.hash).filter(|_| self.hash != 0) {
            return Ok(source.one::<[object::U32<LE>; 2]>(offset, what)?[1].get(LE).into());
        }
        let Some((offset, room)) = layout.file_offset(self.gnu_hash).filter(|_| self.gnu_hash != 0)
        else {
            return Ok(0);
        };
        let [buckets, first, bloom, _] =
            source.one::<[object::U32<LE>; 4]>(offset, what)?.map(|n| u64::from(n.get(LE)));
        let buckets_at = 16 + bloom * 8;
        let chains_at = buckets_at + buckets * 4;
        if chains_at > room {
            return Err(ElfError::Truncated { what });
        }
        let mut last = 0;
        source.each::<object::U32<LE>>(offset + buckets_at, buckets * 4, what, &mut |_, b| {
            last = last.max(u64::from(b.get(LE)));
        })?;
        // The last bucket's chain ends where the lowest bit is set.
        while last >= first {
            let at = chains_at + (last - first) * 4;
            if at + 4 > room {
                return Err(ElfError::Truncated { what });
            }
            let hash = source.one::<object::U32<LE>>(offset + at, what)?.get(LE);
            last += 1;
            if hash & 1 != 0 {
                return Ok(last);
            }
        }
        Ok(first)
    }

    /// For each version index the offset of its name in the string table; zero where none.
    pub(crate) fn versions(&self, source: &Source, layout: &Layout) -> Vec<u32> {
        let mut names = Vec::new();
        let mut at = self.verdef;
        for _ in 0..self.verdefnum.min(0x8000) {
            let Some((offset, _)) = layout.file_offset(at) else { break };
            let Ok(def) = source.one::<elf::Verdef<LE>>(offset, "version") else { break };
            let aux = offset.saturating_add(u64::from(def.vd_aux.get(LE)));
            let Ok(aux) = source.one::<elf::Verdaux<LE>>(aux, "version") else { break };
            let index = usize::from(def.vd_ndx.get(LE).0 & 0x7fff);
            if names.len() <= index {
                names.resize(index + 1, 0);
            }
            names[index] = aux.vda_name.get(LE);
            match def.vd_next.get(LE) {
                0 => break,
                next => at = at.saturating_add(u64::from(next)),
            }
        }
        names
    }
}
