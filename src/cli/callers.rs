//! The callers of a function: the names of return addresses.

use super::objects;
use rustc_hash::FxHashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use xol::spec::demangled;
use xol::symbols::Object;
use xol_targets::ptrace::Pid;
use xol_targets::ptrace::procfs::{self, Mapping};

/// Names that are remembered at most.
const MOST: usize = 1 << 16;

/// The names of return addresses.
#[derive(Default)]
pub(super) struct Callers {
    names: FxHashMap<(i32, u64), Arc<str>>,
    /// What was mapped when a process was last looked at: one that is gone has nothing.
    maps: FxHashMap<i32, Vec<Mapping>>,
    objects: FxHashMap<PathBuf, Option<Object>>,
    debug_folders: Vec<PathBuf>,
}

impl Callers {
    pub(super) fn new(debug_folders: Vec<PathBuf>) -> Callers {
        Callers { debug_folders, ..Callers::default() }
    }

    /// `libc.so.6:qsort+0x1b`; an address where nothing is known.
    pub(super) fn name(&mut self, pid: i32, back: u64) -> Arc<str> {
        if let Some(name) = self.names.get(&(pid, back)) {
            return name.clone();
        }
        if self.names.len() >= MOST {
            self.names.clear();
        }
        self.look(pid);
        let name: Arc<str> = self.find(pid, back).unwrap_or_else(|| format!("{back:#x}")).into();
        self.names.insert((pid, back), name.clone());
        name
    }

    /// Sees what a process has mapped, if that was not seen.
    pub(super) fn meet(&mut self, pid: i32) {
        if !self.maps.contains_key(&pid) {
            self.look(pid);
        }
    }

    fn look(&mut self, pid: i32) {
        if let Ok(maps) = procfs::maps(Pid(pid))
            && !maps.is_empty()
        {
            self.maps.insert(pid, maps);
        }
    }

    /// A process is gone, or runs another program.
    pub(super) fn forget(&mut self, pid: i32) {
        self.maps.remove(&pid);
        self.names.retain(|(of, _), _| *of != pid);
    }

    fn find(&mut self, pid: i32, back: u64) -> Option<String> {
        let maps = self.maps.get(&pid)?;
        let mapping = maps.iter().find(|m| m.start.0 <= back && back < m.end.0)?;
        let path = Path::new(mapping.name.strip_suffix(" (deleted)").unwrap_or(&mapping.name));
        let file = path.file_name().filter(|_| path.is_absolute())?.to_string_lossy().into_owned();
        let in_file = back - mapping.start.0 + mapping.offset;
        let folders = &self.debug_folders;
        let object = self.objects.entry(path.to_owned()).or_insert_with(|| {
            // A process in a container sees other files by that name.
            let seen = PathBuf::from(format!("/proc/{pid}/root{}", path.display()));
            let path = if seen.exists() { seen } else { path.to_owned() };
            objects::open(&path, folders).ok().map(|(_, object)| object)
        });
        let bare = || Some(format!("{file}:{in_file:#x}"));
        let Some(object) = object else { return bare() };
        let holds =
            |s: &&xol::symbols::Segment| s.offset <= in_file && in_file - s.offset < s.filesz;
        let Some(segment) = object.segments().iter().find(holds) else { return bare() };
        let addr = in_file - segment.offset + segment.vaddr;
        let symbols = object.symbols().ok();
        // A call may be the last instruction of its function.
        let found = symbols.and_then(|all| Some((all, all.containing(addr.checked_sub(1)?)?)));
        Some(match found {
            Some((all, (id, before))) => {
                format!("{file}:{}+{:#x}", demangled(all.get(id).name), before + 1)
            }
            None => format!("{file}:{addr:#x}"),
        })
    }
}
