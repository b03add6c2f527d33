//! The objects mapped in a target, and what to open for each.

use crate::symbols::{DebugSearch, ElfError, Object, Segment};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use xol_arch::Addr;
use xol_targets::ptrace::procfs::Mapping;
use xol_targets::ptrace::{Pid, procfs};

/// One executable mapping of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::trace) struct Loaded {
    /// First byte.
    pub(in crate::trace) start: Addr,
    /// One past the last.
    pub(in crate::trace) end: Addr,
    /// Offset of `start` in the file.
    pub(in crate::trace) offset: u64,
    pub(in crate::trace) file: FileId,
    /// As the target names it.
    pub(in crate::trace) path: Arc<str>,
    /// Writes go to the file: its text cannot be changed for one process.
    pub(in crate::trace) shared: bool,
    /// The program has put its text elsewhere, and this memory, which is no file's, in its place.
    pub(in crate::trace) moved: bool,
}

/// Names a file whatever its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::trace) struct FileId {
    pub(in crate::trace) device: (u32, u32),
    pub(in crate::trace) inode: u64,
}

impl Loaded {
    /// The executable file mappings among `maps`.
    pub(in crate::trace) fn all(maps: &[Mapping]) -> Vec<Loaded> {
        maps.iter().filter(|m| m.perms.exec && m.inode != 0).map(Loaded::of).collect()
    }

    /// A mapping of a file, whatever it may be used for.
    pub(in crate::trace) fn of(m: &Mapping) -> Loaded {
        let path = m.name.strip_suffix(" (deleted)").unwrap_or(&m.name).into();
        let file = FileId { device: m.device, inode: m.inode };
        let (start, end, offset, shared) = (m.start, m.end, m.offset, m.perms.shared);
        Loaded { start, end, offset, file, path, shared, moved: false }
    }

    /// The executable memory `m` as a piece of the object that this is another piece of, mapped with
    /// `exec` or without: if it is where that object has code by its headers.
    pub(in crate::trace) fn stands_in(
        &self,
        m: &Mapping,
        exec: bool,
        object: &Object,
    ) -> Option<Loaded> {
        let page = |at: u64| at & !0xfff;
        let holds = |s: &&Segment| {
            let end = s.offset.saturating_add(s.filesz.max(1));
            s.executable() == exec && page(s.offset) <= self.offset && self.offset < end
        };
        let known = object.segments().iter().find(holds)?;
        let here = known.vaddr.wrapping_sub(known.offset).wrapping_add(self.offset);
        let bias = self.start.0.wrapping_sub(here);
        let code = object.segments().iter().filter(|s| s.executable()).find_map(|s| {
            let start = bias.wrapping_add(s.vaddr);
            let end = start.saturating_add(s.filesz);
            (page(start) <= m.start.0 && m.start.0 < end).then_some((s, start, end))
        });
        let (segment, start, end) = code?;
        Some(Loaded {
            start: m.start,
            end: Addr(m.end.0.min(page(end.saturating_add(0xfff)))),
            offset: segment.offset.wrapping_add(m.start.0.wrapping_sub(start)),
            shared: m.perms.shared,
            moved: true,
            ..self.clone()
        })
    }

    /// Opens the file that is mapped, even if it was replaced or deleted, or is in another mount
    /// namespace.
    ///
    /// Its symbols may be in a debug file: in `folders`, or one that is `given`.
    pub(in crate::trace) fn open(
        &self,
        pid: Pid,
        folders: &[PathBuf],
        given: &[PathBuf],
    ) -> Result<Object, ElfError> {
        let tid = procfs::with_memory(pid);
        let search = DebugSearch {
            path: (*self.path).into(),
            root: procfs::root(tid),
            folders: folders.to_vec(),
            given: given.to_vec(),
        };
        let file = procfs::open_mapped(tid, self.start..self.end, &self.path, self.file.inode);
        Ok(Object::from_file(file.map_err(ElfError::Io)?)?.with_debug(search))
    }

    /// What to add to addresses in the file, for the part that is mapped here.
    pub(in crate::trace) fn bias(&self, object: &Object) -> Option<u64> {
        let segment = object.segments().iter().find(|s| {
            let start = s.offset & !0xfff;
            s.executable() && start <= self.offset && self.offset < s.offset + s.filesz.max(1)
        })?;
        let vaddr = segment.vaddr.wrapping_sub(segment.offset).wrapping_add(self.offset);
        Some(self.start.0.wrapping_sub(vaddr))
    }

    /// Whether `at` is inside.
    pub(in crate::trace) fn has(&self, at: Addr) -> bool {
        (self.start..self.end).contains(&at)
    }

    /// Whether both show the same file at the same place, in whatever pieces.
    pub(in crate::trace) fn is_part_of(&self, other: &Loaded) -> bool {
        let base = |l: &Loaded| l.start.0.wrapping_sub(l.offset);
        let kind = |l: &Loaded| (l.file, l.shared, l.moved);
        base(self) == base(other) && kind(self) == kind(other)
    }

    /// Whether this is that file.
    pub(in crate::trace) fn is_file(&self, file: &std::fs::Metadata) -> bool {
        file.ino() == self.file.inode
    }

    /// The file's name without directories.
    pub(in crate::trace) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}
