//! Building [`Symbols`]: .dynsym, .symtab and PLT stubs, merged.

use super::debug::DebugFile;
use super::dynamic::Dynamic;
use super::layout::{Layout, Machine};
use super::relocs::{self, RelocValue};
use super::source::{Source, string_at};
use super::table::{Bind, Entry, HIDDEN, IN_DYNSTR, Kind, Origin, SymbolId, Symbols};
use super::{ElfError, debugdata, gopclntab, mapping, plt, unwind};
use object::LittleEndian as LE;
use object::elf;
use std::ops::Range;
use std::path::PathBuf;

/// Reads every function symbol of the object; where its own table is gone, those of its debug file,
/// which `debug` finds, of what is packed in it, or of Go's table.
pub(crate) fn symbols(
    source: &Source,
    layout: &Layout,
    dynamic: Option<&Dynamic>,
    debug: &dyn Fn() -> Option<(PathBuf, DebugFile)>,
) -> Result<Symbols, ElfError> {
    let mut symbols = Symbols {
        starts: unwind::starts(source, layout),
        code: layout.code(),
        ..Symbols::default()
    };
    let mut imports = Vec::new();
    if let Some(dynamic) = dynamic {
        imports = dynsym(source, layout, dynamic, &mut symbols)?;
    }
    if layout.section_of_kind(elf::SHT_SYMTAB).is_some() {
        symtab(source, layout, &mut symbols)?;
        symbols.origin = Origin::Table;
    } else {
        from_elsewhere(source, layout, dynamic, debug, &mut symbols);
    }
    mapping::join(&mut symbols.data);
    merge(&mut symbols);
    stubs(source, layout, dynamic, &imports, &mut symbols)?;
    symbols.entries.sort_by_key(|e| e.addr);
    extents(&mut symbols);
    symbols.entries.shrink_to_fit();
    Ok(symbols)
}

/// Reads the symbols that a stripped object has left. What is damaged is passed over.
fn from_elsewhere(
    source: &Source,
    layout: &Layout,
    dynamic: Option<&Dynamic>,
    debug: &dyn Fn() -> Option<(PathBuf, DebugFile)>,
    symbols: &mut Symbols,
) {
    let read = |file: &DebugFile, origin: Origin, symbols: &mut Symbols| {
        let exported = symbols.entries.len();
        if symtab(&file.source, &file.layout, symbols).is_err() {
            symbols.entries.truncate(exported);
            symbols.strtab.clear();
            return false;
        }
        symbols.origin = origin;
        true
    };
    if let Some((path, file)) = debug()
        && read(&file, Origin::DebugFile(path), symbols)
    {
        return;
    }
    if let Some(file) = debugdata::unpacked(source, layout)
        && read(&file, Origin::DebugData, symbols)
    {
        return;
    }
    if let Some(go) = gopclntab::functions(source, layout, dynamic) {
        let inside = |addr| symbols.code.iter().any(|r: &Range<u64>| r.contains(&addr));
        let entries = go.entries(&inside);
        symbols.entries.extend(entries);
        (symbols.strtab, symbols.origin) = (go.names, Origin::GoTable);
    }
}

/// Reads .dynsym; gives back the offset of each symbol's name, for the relocations.
fn dynsym(
    source: &Source,
    layout: &Layout,
    dynamic: &Dynamic,
    symbols: &mut Symbols,
) -> Result<Vec<u32>, ElfError> {
    let what = "dynamic symbol table";
    let count = dynamic.symbol_count(source, layout)?;
    if count == 0 || dynamic.symtab == 0 {
        return Ok(Vec::new());
    }
    symbols.dynstr = dynamic.strings(source, layout)?;
    symbols.versions = dynamic.versions(source, layout);
    let table = |at: u64, size: usize, what| {
        let len = count.checked_mul(size as u64).ok_or(ElfError::Truncated { what })?;
        match layout.file_offset(at) {
            Some((offset, room)) if len <= room => Ok((offset, len)),
            _ => Err(ElfError::Truncated { what }),
        }
    };
    let mut versym = Vec::new();
    if dynamic.versym != 0 {
        let what = "symbol version table";
        let (offset, len) = table(dynamic.versym, 2, what)?;
        versym.reserve_exact(count as usize);
        source.each::<object::U16<LE>>(offset, len, what, &mut |_, v| versym.push(v.get(LE)))?;
    }
    let (offset, len) = table(dynamic.symtab, size_of::<elf::Sym64<LE>>(), what)?;
    let mut names = Vec::with_capacity(count as usize);
    let Symbols { entries, dynstr, code, data, .. } = symbols;
    let inside = |addr| code.iter().any(|r: &Range<u64>| r.contains(&addr));
    source.each::<elf::Sym64<LE>>(offset, len, what, &mut |i, sym| {
        names.push(sym.st_name.get(LE));
        data.extend(mapping::object(sym, &inside));
        if let Some(mut entry) = entry(sym, dynstr, &inside) {
            entry.name |= IN_DYNSTR;
            // 0 and 1 are "local" and "global": no version.
            entry.version = match versym.get(i).copied().unwrap_or(0) {
                v if v & !HIDDEN > 1 => v,
                _ => 0,
            };
            entries.push(entry);
        }
    })?;
    Ok(names)
}

fn symtab(source: &Source, layout: &Layout, symbols: &mut Symbols) -> Result<(), ElfError> {
    let Some(section) = layout.section_of_kind(elf::SHT_SYMTAB) else { return Ok(()) };
    let Some(strings) = layout.sections.get(section.link as usize) else {
        return Err(ElfError::Lying { what: "symbol table" });
    };
    symbols.strtab = source.bytes(strings.offset, strings.size, "string table")?;
    let Symbols { entries, strtab, code, .. } = symbols;
    let inside = |addr| code.iter().any(|r: &Range<u64>| r.contains(&addr));
    let mapped = layout.machine == Machine::Arm64;
    let mut marks = Vec::new();
    let mut objects = Vec::new();
    source.each::<elf::Sym64<LE>>(
        section.offset,
        section.size,
        "symbol table",
        &mut |_, sym| {
            if mapped && sym.st_type() == elf::STT_NOTYPE {
                let name = string_at(strtab, sym.st_name.get(LE) as usize);
                marks.extend(mapping::mark(name).map(|is_data| (sym.st_value.get(LE), is_data)));
            }
            objects.extend(mapping::object(sym, &inside));
            entries.extend(entry(sym, strtab, &inside));
        },
    )?;
    symbols.data.extend(mapping::data(marks, &symbols.code));
    symbols.data.extend(objects);
    Ok(())
}

/// The entry for a symbol that stands for code; `None` for all others.
fn entry(sym: &elf::Sym64<LE>, strings: &[u8], code: &dyn Fn(u64) -> bool) -> Option<Entry> {
    let addr = sym.st_value.get(LE);
    if sym.st_shndx.get(LE) == elf::SHN_UNDEF || addr == 0 {
        return None;
    }
    let kind = match sym.st_type() {
        elf::STT_FUNC => Kind::Function,
        elf::STT_GNU_IFUNC => Kind::Ifunc,
        elf::STT_NOTYPE if sym.st_shndx.get(LE) != elf::SHN_ABS => Kind::Label,
        _ => return None,
    };
    let name = sym.st_name.get(LE);
    let text = string_at(strings, name as usize);
    // `$x`, `$d`: arm64 mapping symbols; `.L`: the assembler's own.
    let nameless = text.is_empty() || name & IN_DYNSTR != 0;
    let not_code = kind == Kind::Label
        && (text.starts_with('$') || text.starts_with(".L") || text.ends_with("etext"));
    // Data of function type (descriptors, jump tables of old assemblers) is not in code.
    if nameless || not_code || !code(addr) {
        return None;
    }
    let bind = match sym.st_bind() {
        elf::STB_LOCAL => Bind::Local,
        elf::STB_WEAK => Bind::Weak,
        _ => Bind::Global,
    };
    let size = u32::try_from(sym.st_size.get(LE)).unwrap_or(u32::MAX);
    Some(Entry { addr, size, name, version: 0, kind, bind })
}

/// One entry for what both tables name. Versions of one function at one address stay apart.
fn merge(symbols: &mut Symbols) {
    let mut entries = std::mem::take(&mut symbols.entries);
    // At one address and name those of .dynsym come first: they have the version.
    entries.sort_by(|a, b| {
        a.addr
            .cmp(&b.addr)
            .then_with(|| symbols.name(a).cmp(symbols.name(b)))
            .then_with(|| (b.name & IN_DYNSTR).cmp(&(a.name & IN_DYNSTR)))
            .then_with(|| a.version.cmp(&b.version))
    });
    entries.dedup_by(|later, first| {
        let same = later.addr == first.addr && symbols.name(later) == symbols.name(first);
        let both_versions = first.version != later.version && later.name & IN_DYNSTR != 0;
        if !same || both_versions {
            return false;
        }
        first.size = first.size.max(later.size);
        first.bind = first.bind.min(later.bind);
        if first.kind == Kind::Label {
            first.kind = later.kind;
        }
        true
    });
    symbols.entries = entries;
}

/// Adds the PLT stubs that have a name.
fn stubs(
    source: &Source,
    layout: &Layout,
    dynamic: Option<&Dynamic>,
    imports: &[u32],
    symbols: &mut Symbols,
) -> Result<(), ElfError> {
    let mut stubs = plt::stubs(source, layout);
    if stubs.is_empty() || layout.debug_only {
        return Ok(());
    }
    stubs.sort_unstable_by_key(|s| s.slot);
    let mut found = Vec::new();
    relocs::each(source, layout, dynamic, &mut |reloc| {
        let first = stubs.partition_point(|s| s.slot < reloc.slot);
        for stub in stubs[first..].iter().take_while(|s| s.slot == reloc.slot) {
            let name = match reloc.value {
                RelocValue::Symbol(index) => {
                    imports.get(index as usize).map(|&name| name | IN_DYNSTR)
                }
                RelocValue::Resolver(addr) => {
                    symbols.at(addr).map(|SymbolId(i)| symbols.entries[i as usize].name)
                }
                RelocValue::Address(_) | RelocValue::ThreadLocal(_) => None,
            };
            if let Some(name) = name {
                let (addr, size) = (stub.addr, stub.size);
                let (kind, bind) = (Kind::Plt, Bind::Local);
                found.push(Entry { addr, size, name, version: 0, kind, bind });
            }
        }
    })?;
    found.sort_by_key(|e| e.addr);
    found.dedup_by_key(|e| e.addr);
    found.retain(|e| !symbols.name(e).is_empty());
    symbols.entries.extend(found);
    Ok(())
}

/// Gives symbols of size 0 an end, and ends those that reach over the end of their section.
fn extents(symbols: &mut Symbols) {
    // Backwards, with the nearest beginning behind: of a function, of anything.
    let (mut function, mut any) = (u64::MAX, u64::MAX);
    let mut behind = (u64::MAX, u64::MAX, u64::MAX);
    for i in (0..symbols.entries.len()).rev() {
        let entry = symbols.entries[i];
        if entry.addr != behind.0 {
            behind = (entry.addr, function, any);
        }
        any = entry.addr;
        if entry.kind != Kind::Label {
            function = entry.addr;
        }
        let Some(code) = symbols.code_around(entry.addr) else { continue };
        let mut end = entry.addr.saturating_add(entry.size.into());
        if entry.size == 0 {
            let next = symbols.starts.partition_point(|&s| s <= entry.addr);
            let unwind = symbols.starts.get(next).copied().unwrap_or(u64::MAX);
            end = unwind.min(if entry.kind == Kind::Label { behind.2 } else { behind.1 });
        }
        let size = end.min(code.end) - entry.addr;
        symbols.entries[i].size = u32::try_from(size).unwrap_or(u32::MAX);
    }
}
