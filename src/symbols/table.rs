//! Function symbols, compactly: 24 bytes each, names left where the linker put them.

use super::source::string_at;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// What a symbol stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A function.
    Function,
    /// A function that returns the address of the one to call (STT_GNU_IFUNC).
    Ifunc,
    /// A stub that jumps to an imported function; named after it.
    Plt,
    /// A name in code without a type: assembly, or a label inside a function.
    Label,
}

impl Kind {
    /// As in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Function => "func",
            Kind::Ifunc => "ifunc",
            Kind::Plt => "plt",
            Kind::Label => "label",
        }
    }
}

/// How a symbol is seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bind {
    /// STB_GLOBAL (and STB_GNU_UNIQUE).
    Global,
    /// STB_WEAK.
    Weak,
    /// STB_LOCAL: a `static`. Several may have one name.
    Local,
}

/// A symbol's number in its object's [`Symbols`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SymbolId(pub u32);

/// One symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// The mangled name, without version and without `@plt`.
    pub name: &'a str,
    /// The version, e.g. `GLIBC_2.2.5`.
    pub version: Option<&'a str>,
    /// Whether a program linked today gets this one (`@@`).
    pub default: bool,
    /// The address in the file.
    pub addr: u64,
    /// Bytes. Where the file says 0: up to the next thing that begins.
    pub size: u64,
    /// What it stands for.
    pub kind: Kind,
    /// How it is seen from outside.
    pub bind: Bind,
}

impl Symbol<'_> {
    /// From the first byte to behind the last.
    #[must_use]
    pub const fn range(&self) -> Range<u64> {
        self.addr..self.addr.saturating_add(self.size)
    }
}

/// The name as one would write it in a PROBE: `memcpy`, `memcpy@GLIBC_2.2.5`, `memcpy@plt`.
impl fmt::Display for Symbol<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        match self.version {
            _ if self.kind == Kind::Plt => f.write_str("@plt"),
            Some(version) if !self.default => write!(f, "@{version}"),
            _ => Ok(()),
        }
    }
}

/// In `Entry::name`: the name is in .dynstr, not in .strtab.
pub(crate) const IN_DYNSTR: u32 = 1 << 31;
/// In `Entry::version`: not the default one.
pub(crate) const HIDDEN: u16 = 0x8000;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) addr: u64,
    pub(crate) size: u32,
    pub(crate) name: u32,
    pub(crate) version: u16,
    pub(crate) kind: Kind,
    pub(crate) bind: Bind,
}

/// Where an object's symbols come from, beside those that it exports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// From nowhere: it is stripped.
    #[default]
    Exported,
    /// From its own symbol table.
    Table,
    /// From this debug file.
    DebugFile(PathBuf),
    /// From .gnu_debugdata.
    DebugData,
    /// From .gopclntab.
    GoTable,
}

/// The functions of one object, sorted by address.
#[derive(Debug, Default)]
pub struct Symbols {
    /// Where they come from.
    pub origin: Origin,
    pub(crate) entries: Vec<Entry>,
    pub(crate) strtab: Vec<u8>,
    pub(crate) dynstr: Vec<u8>,
    /// For each version index the offset of its name in `dynstr`.
    pub(crate) versions: Vec<u32>,
    /// Where functions begin by .eh_frame_hdr, sorted.
    pub(crate) starts: Vec<u64>,
    /// Where code is, sorted.
    pub(crate) code: Vec<Range<u64>>,
    /// What in it is data by the symbols, sorted.
    pub(crate) data: Vec<Range<u64>>,
}

impl Symbols {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none: a stripped program.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All, by address.
    pub fn iter(&self) -> impl Iterator<Item = (SymbolId, Symbol<'_>)> {
        (0..self.entries.len() as u32).map(|i| (SymbolId(i), self.get(SymbolId(i))))
    }

    /// The symbol with this number.
    ///
    /// # Panics
    /// With a number that did not come from this object.
    #[must_use]
    pub fn get(&self, id: SymbolId) -> Symbol<'_> {
        let entry = &self.entries[id.0 as usize];
        let version = self
            .versions
            .get(usize::from(entry.version & !HIDDEN))
            .filter(|&&name| name != 0)
            .map(|&name| string_at(&self.dynstr, name as usize));
        Symbol {
            name: self.name(entry),
            version,
            default: entry.version & HIDDEN == 0,
            addr: entry.addr,
            size: entry.size.into(),
            kind: entry.kind,
            bind: entry.bind,
        }
    }

    pub(crate) fn name(&self, entry: &Entry) -> &str {
        if entry.name & IN_DYNSTR != 0 {
            return string_at(&self.dynstr, (entry.name & !IN_DYNSTR) as usize);
        }
        // Linkers write versions into .strtab names too: `memcpy@@GLIBC_2.14`.
        let name = string_at(&self.strtab, entry.name as usize);
        match name.find('@') {
            Some(at) if at > 0 => &name[..at],
            _ => name,
        }
    }

    /// Which of several names at one address a person would use: smaller is better.
    pub(crate) fn rank(&self, id: SymbolId) -> impl Ord + use<'_> {
        let symbol = self.get(id);
        let kind = match symbol.kind {
            Kind::Function | Kind::Ifunc => 0,
            Kind::Plt => 1,
            Kind::Label => 2,
        };
        let underscores = symbol.name.bytes().take_while(|&b| b == b'_').count();
        // C libraries export `open` weakly beside their own `__open`.
        let local = symbol.bind == Bind::Local;
        (kind, !symbol.default, local, underscores, symbol.bind, symbol.name.len(), symbol.name)
    }

    /// The numbers of the symbols that begin at `addr`.
    fn beginning_at(&self, addr: u64) -> Range<u32> {
        let first = self.entries.partition_point(|e| e.addr < addr);
        let last = first + self.entries[first..].partition_point(|e| e.addr == addr);
        first as u32..last as u32
    }

    /// Whether other objects can find a symbol by its name.
    #[must_use]
    pub fn is_exported(&self, symbol: &Symbol<'_>) -> bool {
        let all = self.beginning_at(symbol.addr).map(|i| &self.entries[i as usize]);
        all.into_iter().any(|e| e.name & IN_DYNSTR != 0 && e.bind != Bind::Local)
    }

    /// The symbols that begin at `addr`.
    pub fn all_at(&self, addr: u64) -> impl Iterator<Item = (SymbolId, Symbol<'_>)> {
        self.beginning_at(addr).map(|i| (SymbolId(i), self.get(SymbolId(i))))
    }

    /// The best name for exactly `addr`.
    #[must_use]
    pub fn at(&self, addr: u64) -> Option<SymbolId> {
        self.beginning_at(addr).map(SymbolId).min_by_key(|&id| self.rank(id))
    }

    /// The best name for the function around `addr`, and how far inside it is. A label inside a
    /// function names nothing.
    #[must_use]
    pub fn containing(&self, addr: u64) -> Option<(SymbolId, u64)> {
        let end = self.entries.partition_point(|e| e.addr <= addr);
        let mut label = None;
        // A big function may hold smaller symbols that end before `addr`; beyond a few dozen
        // it is not worth the search.
        for i in (end.saturating_sub(64)..end).rev() {
            let entry = &self.entries[i];
            if addr - entry.addr < u64::from(entry.size).max(1) {
                let found = Some((self.at(entry.addr)?, addr - entry.addr));
                if entry.kind != Kind::Label {
                    return found;
                }
                label = label.or(found);
            }
        }
        label
    }

    /// Where the function around `addr` begins and ends: by its symbol, else by the unwind
    /// table. `None` where neither knows.
    #[must_use]
    pub fn function_at(&self, addr: u64) -> Option<Range<u64>> {
        let code = self.code_around(addr)?;
        let named = self.containing(addr).map(|(id, _)| self.get(id));
        if let Some(symbol) = named.filter(|s| s.kind != Kind::Label) {
            return Some(symbol.range());
        }
        let end = self.next_start(addr).min(code.end);
        let before = self.function_before(addr);
        let unwind = self.unwind_before(addr).filter(|s| code.contains(s));
        match (unwind, before) {
            (Some(start), None) => Some(start..end),
            (Some(start), Some(entry)) if start > entry.addr => Some(start..end),
            // Between two functions: assembly with a label of its own, or padding.
            _ => named.map(|_| {
                let from = before.map_or(0, |e| e.addr.saturating_add(e.size.into()));
                from.max(code.start).min(addr)..end
            }),
        }
    }

    /// The functions that no symbol names, as the unwind table has them: where each begins and ends.
    pub fn unnamed(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let unnamed = self.starts.iter().filter(|&&start| self.containing(start).is_none());
        unnamed.filter_map(|&start| self.function_at(start).filter(|range| range.start == start))
    }

    fn function_before(&self, addr: u64) -> Option<&Entry> {
        let end = self.entries.partition_point(|e| e.addr <= addr);
        self.entries[..end].iter().rev().find(|e| e.kind != Kind::Label)
    }

    fn unwind_before(&self, addr: u64) -> Option<u64> {
        self.starts[..self.starts.partition_point(|&s| s <= addr)].last().copied()
    }

    /// Where the next function begins, as far as is known; `u64::MAX` if none.
    #[must_use]
    pub fn next_start(&self, addr: u64) -> u64 {
        let unwind = self.starts.get(self.starts.partition_point(|&s| s <= addr));
        let first = self.entries.partition_point(|e| e.addr <= addr);
        let entry = self.entries[first..].iter().find(|e| e.kind != Kind::Label);
        unwind.copied().unwrap_or(u64::MAX).min(entry.map_or(u64::MAX, |e| e.addr))
    }

    /// Where the next function or label is, as far as is known; `u64::MAX` if none.
    #[must_use]
    pub fn next_symbol(&self, addr: u64) -> u64 {
        let first = self.entries.partition_point(|e| e.addr <= addr);
        let entry = self.entries.get(first).map_or(u64::MAX, |e| e.addr);
        entry.min(self.next_start(addr))
    }

    /// The stretch of code that holds `addr`.
    #[must_use]
    pub fn code_around(&self, addr: u64) -> Option<Range<u64>> {
        let i = self.code.partition_point(|r| r.start <= addr).checked_sub(1)?;
        self.code.get(i).filter(|r| r.contains(&addr)).cloned()
    }

    /// The data that holds `addr` or comes next behind it, in the middle of code.
    #[must_use]
    pub fn data_from(&self, addr: u64) -> Option<Range<u64>> {
        self.data.get(self.data.partition_point(|r| r.end <= addr)).cloned()
    }

    /// Where to begin decoding to come to the instruction at `addr`: the nearest place before
    /// it that certainly begins an instruction.
    #[must_use]
    pub fn decode_from(&self, addr: u64) -> Option<u64> {
        let code = self.code_around(addr)?;
        let symbol = self.function_before(addr).map_or(0, |e| e.addr);
        Some(code.start.max(symbol).max(self.unwind_before(addr).unwrap_or(0)))
    }
}
