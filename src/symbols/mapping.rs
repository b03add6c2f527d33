//! Symbols that say what is data in the middle of code: those of objects, and arm64's mapping symbols (AAELF64
//! 5.5.4): `$x` where instructions begin, `$d` where data does, each up to the next. A dot and
//! anything may follow.

use object::LittleEndian as LE;
use object::elf;
use std::ops::Range;

/// The data that a symbol of an object names in code.
pub(crate) fn object(sym: &elf::Sym64<LE>, code: &dyn Fn(u64) -> bool) -> Option<Range<u64>> {
    let (at, size) = (sym.st_value.get(LE), sym.st_size.get(LE));
    let is_object = sym.st_type() == elf::STT_OBJECT && sym.st_shndx.get(LE) != elf::SHN_UNDEF;
    let end = at.checked_add(size)?;
    (is_object && size > 0 && code(at) && code(end - 1)).then_some(at..end)
}

/// Sorts what is data, and makes one of what overlaps.
pub(crate) fn join(data: &mut Vec<Range<u64>>) {
    data.sort_unstable_by_key(|range| range.start);
    data.dedup_by(|next, last| {
        let joined = next.start <= last.end;
        if joined {
            last.end = last.end.max(next.end);
        }
        joined
    });
}

/// What a mapping symbol called `name` says begins at its address: `true` for data.
pub(crate) fn mark(name: &str) -> Option<bool> {
    let (kind, rest) = name.split_at_checked(2)?;
    let plain = rest.is_empty() || rest.starts_with('.');
    match kind {
        "$d" if plain => Some(true),
        "$x" if plain => Some(false),
        _ => None,
    }
}

/// The data inside of `code`, sorted, from marks in the order of the file.
pub(crate) fn data(mut marks: Vec<(u64, bool)>, code: &[Range<u64>]) -> Vec<Range<u64>> {
    // Of several at one address the last one counts: those before it are about nothing.
    marks.sort_by_key(|&(at, _)| at);
    let mut data: Vec<Range<u64>> = Vec::new();
    for section in code {
        let first = marks.partition_point(|&(at, _)| at < section.start);
        let here = &marks[first..];
        let here = &here[..here.partition_point(|&(at, _)| at < section.end)];
        for (i, &(at, is_data)) in here.iter().enumerate() {
            let end = here.get(i + 1).map_or(section.end, |&(next, _)| next);
            match data.last_mut() {
                _ if !is_data || at == end => {}
                Some(last) if last.end == at => last.end = end,
                _ => data.push(at..end),
            }
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::{data, join, mark};

    #[test]
    fn what_overlaps_is_one() {
        let mut data = vec![0x20..0x28, 0x10..0x18, 0x14..0x16, 0x18..0x19, 0x40..0x48, 0x40..0x44];
        join(&mut data);
        assert_eq!(data, [0x10..0x19, 0x20..0x28, 0x40..0x48]);
    }

    #[test]
    fn names() {
        for (name, says) in [
            ("$d", Some(true)),
            ("$x", Some(false)),
            ("$d.12", Some(true)),
            ("$x.rv64", Some(false)),
            ("$data", None),
            ("$", None),
            ("d", None),
            ("", None),
        ] {
            assert_eq!(mark(name), says, "{name}");
        }
    }

    #[test]
    fn from_mark_to_mark_and_not_beyond_the_section() {
        let code = [0x100..0x200, 0x200..0x280, 0x400..0x480];
        // Nothing is before the first mark but code.
        let marks = [(0x140, true), (0x120, false), (0x148, false), (0x1f0, true), (0x200, false)];
        assert_eq!(data(marks.to_vec(), &code), [0x140..0x148, 0x1f0..0x200]);
        // Data to the end of the section; another section's marks; marks about nothing.
        let marks = [(0x270, true), (0x300, true), (0x400, true), (0x400, false)];
        assert_eq!(data(marks.to_vec(), &code).first(), Some(&(0x270..0x280)));
        assert_eq!(data(marks.to_vec(), &code).len(), 1);
        let marks = [(0x410, true), (0x418, true), (0x420, false)];
        assert_eq!(data(marks.to_vec(), &code).first(), Some(&(0x410..0x420)));
        assert_eq!(data(marks.to_vec(), &code).len(), 1);
        assert_eq!(data(Vec::new(), &code), []);
    }
}
