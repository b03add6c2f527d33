//! Debug files: where the symbols of a stripped object are kept.
//!
//! Only their symbol tables are read. A file is taken for an object's when both have the same
//! build-id or, where one has none, when the checksum in the object's `.gnu_debuglink` is that of
//! the file.

use super::ElfError;
use super::layout::Layout;
use super::notes::{BuildId, Notes};
use super::source::{Source, string_at};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Where distributions put debug files.
const FOLDER: &str = "/usr/lib/debug";

/// Where the names of an object's functions may be kept beside it.
#[derive(Clone, Debug, Default)]
pub struct DebugSearch {
    /// The object's path, as its process names it.
    pub path: PathBuf,
    /// What that path begins at: `/`, or the process's root.
    pub root: PathBuf,
    /// Folders of debug files, before the machine's own: `--debug-dir`.
    pub folders: Vec<PathBuf>,
    /// Files that a PROBE names as its object.
    pub given: Vec<PathBuf>,
}

/// A file with an object's symbol table.
pub(crate) struct DebugFile {
    pub(crate) source: Source,
    pub(crate) layout: Layout,
}

impl DebugFile {
    pub(crate) fn from_source(source: Source) -> Result<DebugFile, ElfError> {
        let layout = Layout::tables(&source)?;
        Ok(DebugFile { source, layout })
    }

    fn has_symbols(&self) -> bool {
        self.layout.section_of_kind(object::elf::SHT_SYMTAB).is_some()
    }
}

/// What an object says about its debug file.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) build_id: Option<BuildId>,
    /// The file's name and checksum.
    pub(crate) link: Option<(String, u32)>,
}

impl Wanted {
    pub(crate) fn read(source: &Source, layout: &Layout, build_id: Option<BuildId>) -> Wanted {
        let section = layout.section(".gnu_debuglink").filter(|s| s.size <= 4096);
        let bytes = section.and_then(|s| source.bytes(s.offset, s.size, "debug link").ok());
        Wanted { build_id, link: bytes.as_deref().and_then(link) }
    }

    /// The file at `path`, if it has the symbols of this object.
    pub(crate) fn open(&self, path: &Path) -> Option<DebugFile> {
        let file = DebugFile::from_source(Source::file(File::open(path).ok()?).ok()?).ok()?;
        if !file.has_symbols() {
            return None;
        }
        let belongs = match (self.build_id, Notes::read(&file.source, &file.layout).build_id) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => {
                let wanted = self.link.as_ref()?.1;
                checksum(&file.source).is_some_and(|sum| sum == wanted)
            }
        };
        belongs.then_some(file)
    }

    /// The object's debug file, from wherever the search leads first, and its path.
    pub(crate) fn find(&self, search: &DebugSearch) -> Option<(PathBuf, DebugFile)> {
        self.places(search).into_iter().find_map(|path| {
            let file = self.open(&path)?;
            Some((path, file))
        })
    }

    /// Where the file may be, the likeliest first.
    fn places(&self, search: &DebugSearch) -> Vec<PathBuf> {
        let below = |path: &Path| search.root.join(path.strip_prefix("/").unwrap_or(path));
        let mut folders = search.folders.clone();
        folders.push(FOLDER.into());
        if search.root != Path::new("/") {
            folders.push(below(FOLDER.as_ref()));
        }
        let mut places = search.given.clone();
        if let Some(id) = self.build_id.map(|id| id.to_string()).filter(|id| id.len() > 2) {
            let name = format!(".build-id/{}/{}.debug", &id[..2], &id[2..]);
            places.extend(folders.iter().map(|folder| folder.join(&name)));
        }
        let Some((name, _)) = &self.link else { return places };
        let beside = search.path.parent().unwrap_or(Path::new(""));
        places.push(below(&beside.join(name)));
        places.push(below(&beside.join(".debug").join(name)));
        let inside = beside.strip_prefix("/").unwrap_or(beside);
        places.extend(folders.iter().map(|folder| folder.join(inside).join(name)));
        places.extend(search.folders.iter().map(|folder| folder.join(name)));
        places
    }
}

/// The file name and the checksum in a `.gnu_debuglink`: a string, zeros up to a multiple of four,
/// and a CRC-32.
fn link(bytes: &[u8]) -> Option<(String, u32)> {
    let name = string_at(bytes, 0);
    if name.is_empty() || name.contains('/') {
        return None;
    }
    let at = (name.len() + 1).next_multiple_of(4);
    let sum = bytes.get(at..at + 4)?.try_into().ok()?;
    Some((name.to_owned(), u32::from_le_bytes(sum)))
}

/// The CRC-32 of a whole file; `None` where it cannot be read.
fn checksum(source: &Source) -> Option<u32> {
    let mut sum = !0;
    source.each::<u8>(0, source.len(), "debug file", &mut |_, &byte| sum = step(sum, byte)).ok()?;
    Some(!sum)
}

fn step(sum: u32, byte: u8) -> u32 {
    TABLE[usize::from(sum as u8 ^ byte)] ^ (sum >> 8)
}

/// The remainder of each byte, for the polynomial of Ethernet and zlib, lowest bit first.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut rest, mut bit) = (byte as u32, 0);
        while bit < 8 {
            rest = if rest & 1 == 0 { rest >> 1 } else { rest >> 1 ^ 0xedb8_8320 };
            bit += 1;
        }
        table[byte] = rest;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debug_link_is_a_name_and_a_checksum() {
        assert_eq!(link(b"p.debug\0\x78\x56\x34\x12"), Some(("p.debug".to_owned(), 0x1234_5678)));
        assert_eq!(link(b"abcd\0\0\0\0\x01\0\0\0"), Some(("abcd".to_owned(), 1)));
        for damaged in [
            &b""[..],
            b"p.debug",
            b"p.debug\0\x78\x56\x34",
            b"\0\0\0\0\x01\0\0\0",
            b"../x\0\0\0\0\x01\0\0\0",
            b"\xff\xff\0\0\x01\0\0\0",
        ] {
            assert_eq!(link(damaged), None, "{damaged:?}");
        }
    }

    #[test]
    fn the_checksum_is_that_of_zlib() {
        assert_eq!(checksum(&Source::memory(b"123456789".to_vec())), Some(0xcbf4_3926));
        assert_eq!(checksum(&Source::memory(Vec::new())), Some(0));
    }

    #[test]
    fn a_file_is_looked_for_where_debuggers_look() {
        let wanted = Wanted { build_id: None, link: Some(("p.debug".to_owned(), 1)) };
        let search = DebugSearch {
            path: "/opt/p".into(),
            root: "/sysroot".into(),
            folders: vec!["/mine".into()],
            given: Vec::new(),
        };
        let places = wanted.places(&search);
        for place in [
            "/sysroot/opt/p.debug",
            "/sysroot/opt/.debug/p.debug",
            "/usr/lib/debug/opt/p.debug",
            "/sysroot/usr/lib/debug/opt/p.debug",
            "/mine/opt/p.debug",
            "/mine/p.debug",
        ] {
            assert!(places.iter().any(|p| p == Path::new(place)), "{place}: {places:?}");
        }
    }
}
