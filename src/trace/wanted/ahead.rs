//! What is mapped, looked at before anything is armed: objects, and text that the program has moved onto
//! memory of no file.

use crate::trace::session::Session;
use crate::trace::space::objects::Loaded;
use xol_targets::ptrace::procfs::Mapping;
use xol_targets::ptrace::{Pid, procfs};

impl Session<'_> {
    /// Executable memory of no file in the place of an object's text: the program has moved it there,
    /// for huge pages perhaps.
    pub(in crate::trace) fn moved_text(&mut self, pid: Pid, maps: &[Mapping]) -> Vec<Loaded> {
        let mut moved = Vec::new();
        for (i, m) in maps.iter().enumerate() {
            if !m.perms.exec || !is_nameless(m) {
                continue;
            }
            let file = |m: &&Mapping| m.inode != 0 && !is_nameless(m) && m.name.starts_with('/');
            let near = [maps[..i].iter().rev().find(file), maps[i..].iter().find(file)];
            moved.extend(near.into_iter().flatten().find_map(|near| {
                let loaded = Loaded::of(near);
                let object = self.cached(pid, &loaded).as_ref().ok()?.clone();
                loaded.stands_in(m, near.perms.exec, &object)
            }));
        }
        moved
    }

    /// Reads the objects of a process that is to be attached to: that takes time, in which nobody is to
    /// wait for us.
    pub(in crate::trace) fn look_ahead(&mut self, pid: Pid) {
        let Ok(maps) = procfs::maps(pid) else { return };
        for loaded in Loaded::all(&maps) {
            if let Some(object) = self.open(pid, &loaded) {
                // An error is told of when its places are looked for.
                let _ = object.symbols();
            }
        }
    }
}

/// Whether a mapping shows no file that has a name: memory, whatever the kernel makes it of.
fn is_nameless(m: &Mapping) -> bool {
    let made = ["/memfd:", "/anon_hugepage", "/dev/zero", "/dev/hugepages", "/SYSV", "[anon"];
    m.name.is_empty() || made.iter().any(|name| m.name.starts_with(name))
}
