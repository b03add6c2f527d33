//! The files of what is mapped, opened once for all processes that map them.

use crate::symbols::{ElfError, Object};
use crate::trace::session::Session;
use crate::trace::space::objects::{FileId, Loaded};
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use xol_targets::ptrace::{Pid, is_gone};

/// Objects that were read already: a shell's children all map the same ones.
pub(in crate::trace) type Cache = HashMap<FileId, Result<Rc<Object>, ElfError>>;

/// How many objects are kept open at most.
const KEPT: usize = 64;

impl Session<'_> {
    /// An object that was opened before, or is now.
    pub(in crate::trace) fn cached(
        &mut self,
        pid: Pid,
        loaded: &Loaded,
    ) -> &Result<Rc<Object>, ElfError> {
        if self.resolved.len() >= KEPT && !self.resolved.contains_key(&loaded.file) {
            self.resolved.clear();
        }
        let options = self.options;
        self.resolved.entry(loaded.file).or_insert_with(|| {
            let objects = options.probes.iter().filter_map(|p| p.object.as_ref()?.path());
            let given: Vec<PathBuf> = objects.map(PathBuf::from).collect();
            loaded.open(pid, &options.debug_folders, &given).map(Rc::new)
        })
    }

    pub(in crate::trace) fn open(&mut self, pid: Pid, loaded: &Loaded) -> Option<Rc<Object>> {
        match self.cached(pid, loaded) {
            Ok(object) => Some(object.clone()),
            Err(error) => {
                let text = format!("{}: {error}; nothing in it is probed", loaded.path);
                // The process may have ended, or be about to exec: another's can be read.
                if matches!(error, ElfError::Io(error) if is_gone(error)) {
                    self.resolved.remove(&loaded.file);
                }
                self.note(text);
                None
            }
        }
    }
}
