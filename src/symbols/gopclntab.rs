//! .gopclntab: the functions of a Go program, for its own tracebacks; no linker strips it.
//!
//! A header of one of four versions, then the names and a table of functions:
//!
//! ```text
//!              magic         the header's words, behind 8 bytes of magic, 0, 0, quantum, word size
//! Go 1.2-1.15  0xfffffffb    functions
//! Go 1.16      0xfffffffa    functions, files, names, …, …, …, table
//! Go 1.18      0xfffffff0    functions, files, text, names, …, …, …, table
//! Go 1.20-     0xfffffff1    the same
//! ```
//!
//! The table has the address of each function and where its record is; since 1.18 as 32-bit offsets
//! from `text` and from the table, before as words. The second field of a record is the name's offset.

use super::dynamic::Dynamic;
use super::layout::{Layout, Section};
use super::relocs::{self, RelocValue};
use super::source::Source;
use super::table::{Bind, Entry, IN_DYNSTR, Kind};

/// A program with more functions than this has none.
const MOST: u64 = 1 << 24;
/// A name is not longer than this.
const LONGEST: usize = 16 << 10;

/// The functions that a table names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Functions {
    /// Names, each ended by a zero.
    pub(crate) names: Vec<u8>,
    /// Address, size, where in `names` the name is; as in the table, by address.
    pub(crate) all: Vec<(u64, u32, u32)>,
}

/// The functions of the Go program that `source` is; `None` where it is none.
pub(crate) fn functions(
    source: &Source,
    layout: &Layout,
    dynamic: Option<&Dynamic>,
) -> Option<Functions> {
    let (bytes, at) = table(source, layout)?;
    let text = match layout.section(".text") {
        Some(section) => section.addr,
        None => layout.code().first()?.start,
    };
    // In a program that can be loaded anywhere, the header's address of the text is a relocation.
    let mut moved = None;
    let slot = at + TEXT_WORD;
    let _ = relocs::each(source, layout, dynamic, &mut |reloc| {
        if let RelocValue::Address(value) = reloc.value
            && reloc.slot == slot
        {
            moved = Some(value);
        }
    });
    parse(&bytes, moved, text)
}

/// Where the address of the text is in a header that has it.
const TEXT_WORD: u64 = 8 + 2 * 8;

/// The bytes of the table, up to the end of whatever it is in, and its address.
fn table(source: &Source, layout: &Layout) -> Option<(Vec<u8>, u64)> {
    let what = "Go function table";
    for name in [".gopclntab", ".data.rel.ro.gopclntab"] {
        if let Some(section) = layout.section(name) {
            return Some((source.bytes(section.offset, section.size, what).ok()?, section.addr));
        }
    }
    // Linkers other than Go's put it among other data.
    let go = [".go.buildinfo", ".note.go.buildid"];
    if !layout.sections.is_empty() && go.iter().all(|name| layout.section(name).is_none()) {
        return None;
    }
    let within = |s: &Section| (s.offset, s.size, s.addr);
    let named = [".data.rel.ro", ".rodata"];
    let mut pieces: Vec<(u64, u64, u64)> =
        named.iter().filter_map(|name| layout.section(name)).map(within).collect();
    if layout.sections.is_empty() {
        let data = layout.segments.iter().filter(|s| !s.executable());
        pieces.extend(data.map(|s| (s.offset, s.filesz, s.vaddr)));
    }
    pieces.into_iter().find_map(|(offset, size, addr)| {
        let mut bytes = source.bytes(offset, size, what).ok()?;
        let at = (0..bytes.len()).step_by(8).find(|&at| {
            bytes.get(at..at + 8).is_some_and(|h| version(h).is_some())
                && parse(&bytes[at..], None, addr).is_some()
        })?;
        bytes.drain(..at);
        Some((bytes, addr + at as u64))
    })
}

/// How a table's words are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Go12,
    Go116,
    Go118,
}

/// The version that a table's first 8 bytes say; only tables of 64-bit programs have one.
fn version(header: &[u8]) -> Option<Version> {
    let [a, b, c, d, 0, 0, 1 | 2 | 4, 8] = *header else { return None };
    match u32::from_le_bytes([a, b, c, d]) {
        0xffff_fffb => Some(Version::Go12),
        0xffff_fffa => Some(Version::Go116),
        0xffff_fff0 | 0xffff_fff1 => Some(Version::Go118),
        _ => None,
    }
}

/// Reads a table. `moved` is the address of the text by a relocation; `text` is it where neither
/// says so. Nothing is allocated that the bytes do not have.
pub(crate) fn parse(bytes: &[u8], moved: Option<u64>, text: u64) -> Option<Functions> {
    let version = version(bytes.get(..8)?)?;
    let header = |n: usize| word(bytes, 8 + 8 * n);
    let part = |n: usize| bytes.get(usize::try_from(header(n)?).ok()?..);
    let count = header(0).filter(|&count| count <= MOST)? as usize;
    let (names, table, records, base) = match version {
        Version::Go12 => (bytes, bytes.get(16..)?, bytes, 0),
        Version::Go116 => (part(2)?, part(6)?, part(6)?, 0),
        Version::Go118 => {
            let said = header(2).filter(|&said| said != 0);
            (part(3)?, part(7)?, part(7)?, moved.or(said).unwrap_or(text))
        }
    };
    let wide = version != Version::Go118;
    let field = |bytes: &[u8], at: usize| match wide {
        true => word(bytes, at),
        false => half(bytes, at).map(u64::from),
    };
    let size = if wide { 8 } else { 4 };
    // A count that the bytes cannot hold is a lie.
    if table.len() / (2 * size) < count {
        return None;
    }
    let mut functions = Functions { names: Vec::new(), all: Vec::with_capacity(count) };
    let mut end = 0;
    for n in 0..count {
        let at = n * 2 * size;
        let start = field(table, at)?;
        let next = field(table, at + 2 * size)?;
        let record = usize::try_from(field(table, at + size)?).ok()?;
        let record = records.get(record..)?;
        // The record repeats the address: so much says that this is what it is taken for.
        if field(record, 0)? != start || next < start {
            return None;
        }
        let name = half(record, size).filter(|&name| name < IN_DYNSTR)? as usize;
        let len = names.get(name..)?.iter().take(LONGEST).position(|&b| b == 0)?;
        end = end.max(name + len + 1);
        let (addr, size) = (base.wrapping_add(start), u32::try_from(next - start));
        if len > 0 {
            functions.all.push((addr, size.unwrap_or(u32::MAX), u32::try_from(name).ok()?));
        }
    }
    functions.names = names.get(..end)?.to_vec();
    Some(functions)
}

impl Functions {
    /// As symbols: the exact ones that Go calls functions.
    pub(crate) fn entries(&self, inside: &dyn Fn(u64) -> bool) -> Vec<Entry> {
        let all = self.all.iter().filter(|f| inside(f.0));
        all.map(|&(addr, size, name)| {
            let (kind, bind) = (Kind::Function, Bind::Local);
            Entry { addr, size, name, version: 0, kind, bind }
        })
        .collect()
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of two functions, `main.a` at 0x1000 and `main.(*T).b` at 0x1010, as each version of
    /// Go would write it.
    fn made(magic: u32) -> Vec<u8> {
        let mut names = b"main.a\0main.(*T).b\0".to_vec();
        names.resize(24, 0);
        let wide = matches!(magic, 0xffff_fffb | 0xffff_fffa);
        let field = |out: &mut Vec<u8>, n: u64| match wide {
            true => out.extend(n.to_le_bytes()),
            false => out.extend((n as u32).to_le_bytes()),
        };
        let base = if wide { 0x1000 } else { 0 };
        let size = if wide { 8 } else { 4 };
        let mut head = magic.to_le_bytes().to_vec();
        head.extend([0, 0, 1, 8]);
        let words: Vec<u64> = match magic {
            0xffff_fffb => vec![2],
            0xffff_fffa => vec![2, 0, 64, 0, 0, 0, 88],
            _ => vec![2, 0, 0x1000, 72, 0, 0, 0, 96],
        };
        words.iter().for_each(|w| head.extend(w.to_le_bytes()));
        // In the oldest, names and records are found from the beginning of all.
        let old = magic == 0xffff_fffb;
        let table_len = 5 * size;
        let records = if old { 16 + table_len } else { table_len };
        let record_len = size + 4;
        let names_at = if old { records + 2 * record_len } else { 0 };
        let mut table = Vec::new();
        for (n, start) in [0u64, 0x10].into_iter().enumerate() {
            field(&mut table, base + start);
            field(&mut table, (records + n * record_len) as u64);
        }
        field(&mut table, base + 0x30);
        for (n, start) in [0u64, 0x10].into_iter().enumerate() {
            field(&mut table, base + start);
            table.extend(((names_at + n * 7) as u32).to_le_bytes());
        }
        match old {
            true => [head, table, names].concat(),
            false => [head, names, table].concat(),
        }
    }

    const MAGICS: [u32; 4] = [0xffff_fffb, 0xffff_fffa, 0xffff_fff0, 0xffff_fff1];

    #[test]
    fn tables_of_every_version_are_read() {
        for magic in MAGICS {
            let functions =
                parse(&made(magic), None, 0x9999).unwrap_or_else(|| panic!("{magic:x}"));
            let names: Vec<_> = functions
                .all
                .iter()
                .map(|f| {
                    (f.0, f.1, super::super::source::string_at(&functions.names, f.2 as usize))
                })
                .collect();
            assert_eq!(names, [(0x1000, 16, "main.a"), (0x1010, 32, "main.(*T).b")], "{magic:x}");
        }
    }

    #[test]
    fn the_text_is_where_the_loader_puts_it() {
        let mut bytes = made(0xffff_fff1);
        assert_eq!(parse(&bytes, Some(0x5000), 0x9000).unwrap().all[0].0, 0x5000);
        bytes[24..32].fill(0);
        assert_eq!(parse(&bytes, None, 0x9000).unwrap().all[1].0, 0x9010);
    }

    #[test]
    fn lies_are_no_table_and_never_a_panic() {
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let mut refused = 0;
        for round in 0..40_000 {
            let mut bytes = made(MAGICS[round % 4]);
            for _ in 0..1 + next() % 3 {
                let at = 8 + next() as usize % (bytes.len() - 8);
                bytes[at] = [0, 0xff, 0x7f, 0x80, 1, next() as u8][next() as usize % 6];
            }
            if round % 5 == 0 {
                bytes.truncate(next() as usize % bytes.len());
            }
            match parse(&bytes, None, 0) {
                Some(functions) => {
                    assert!(
                        functions.all.capacity() <= bytes.len() / 8
                            && functions.names.len() <= bytes.len()
                    );
                }
                None => refused += 1,
            }
        }
        assert!((10_000..40_000).contains(&refused), "{refused}");
        // Counts that would be gigabytes.
        for magic in MAGICS {
            for count in [3, 1 << 20, u64::MAX, 1 << 61] {
                let mut bytes = made(magic);
                bytes[8..16].copy_from_slice(&u64::to_le_bytes(count));
                assert_eq!(parse(&bytes, None, 0), None, "{magic:x} {count}");
            }
        }
    }
}
