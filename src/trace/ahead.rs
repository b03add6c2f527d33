//! What is mapped, looked at before anything is armed: text that the program has moved onto memory of
//! no file, and whether arming will be quick.

use super::objects::Loaded;
use super::session::Session;
use crate::spec::{ObjectName, resolve};
use xol_targets::ptrace::procfs::Mapping;
use xol_targets::ptrace::{Pid, Tid, procfs};

impl Session<'_> {
    /// Executable memory of no file in the place of an object's text: the program has moved it there,
    /// for huge pages perhaps.
    pub(super) fn moved_text(&mut self, pid: Pid, maps: &[Mapping]) -> Vec<Loaded> {
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

    /// Reads the objects of a process that is to be attached to, and looks for the probes in them.
    /// Whether that was quick, and arming them will be.
    pub(super) fn look_ahead(&mut self, pid: Pid) -> bool {
        const QUICK_NS: u64 = 100_000_000;
        const FEW: usize = 5000;
        let Ok(maps) = procfs::maps(pid) else { return false };
        let us = Tid(std::process::id() as i32);
        let (begun, mut places) = (procfs::run_ns(us), 0);
        for loaded in Loaded::all(&maps) {
            let Some(object) = self.open(pid, &loaded) else { continue };
            let name = ObjectName {
                path: &loaded.path,
                soname: object.soname(),
                program: true,
                debug: object.named_debug_files(),
            };
            for spec in self.options.probes.iter().filter(|spec| spec.may_match(&name)) {
                places += resolve(spec, &object).map_or(0, |resolved| resolved.places.len());
            }
        }
        places < FEW && procfs::run_ns(us) - begun < QUICK_NS
    }
}

/// Whether a mapping shows no file that has a name: memory, whatever the kernel makes it of.
fn is_nameless(m: &Mapping) -> bool {
    let made = ["/memfd:", "/anon_hugepage", "/dev/zero", "/dev/hugepages", "/SYSV", "[anon"];
    m.name.is_empty() || made.iter().any(|name| m.name.starts_with(name))
}
