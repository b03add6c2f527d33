//! Finding the OBJECT a user names: a path, or the name of a library or program.

use super::failure::Failure;
use std::path::{Path, PathBuf};
use xol::spec::{ObjectName, Spec};
use xol::symbols::{DebugSearch, Object};

/// Where loaders look without being told.
const LIBRARIES: [&str; 12] = [
    "/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib64",
    "/usr/local/lib",
    "/lib/x86_64-linux-musl",
    "/lib/aarch64-linux-musl",
];

/// Opens what the user calls `name`: the file of that name; without a `/`, also a library
/// (`libc` finds `libc.so.6`) or a program of $PATH.
pub(crate) fn open(name: &Path, debug_folders: &[PathBuf]) -> Result<(PathBuf, Object), Failure> {
    let path = find(name);
    match Object::open(&path) {
        Ok(object) => {
            let search = DebugSearch {
                path: std::path::absolute(&path).unwrap_or_else(|_| path.clone()),
                root: "/".into(),
                folders: debug_folders.to_vec(),
                given: Vec::new(),
            };
            Ok((path, object.with_debug(search)))
        }
        Err(error) => Err(Failure::new(format!("{} {error}", path.display()))),
    }
}

fn find(name: &Path) -> PathBuf {
    let plain = name.to_str().filter(|n| !n.contains('/'));
    let Some(plain) = plain.filter(|_| !name.exists()) else { return name.to_owned() };
    for folder in LIBRARIES {
        if let Some(found) = library(Path::new(folder), plain) {
            return found;
        }
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = std::env::split_paths(&path).map(|folder| folder.join(plain));
    program.into_iter().find(|p| p.is_file()).unwrap_or_else(|| name.to_owned())
}

/// The library in `folder` that a PROBE would mean by `name`; the shortest file name of several.
fn library(folder: &Path, name: &str) -> Option<PathBuf> {
    let spec = Spec::parse(&format!("{name}:*")).ok()?;
    let mut best: Option<String> = None;
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let Ok(file) = entry.file_name().into_string() else { continue };
        let meant =
            spec.may_match(&ObjectName { path: &file, soname: None, program: false, debug: &[] });
        // Linker scripts and archives are called like libraries too.
        let elf = || Object::open(entry.path()).is_ok();
        if file.contains(".so") && meant && elf() {
            let shorter = best.as_ref().is_none_or(|b| (file.len(), &file) < (b.len(), b));
            best = if shorter { Some(file) } else { best };
        }
    }
    best.map(|file| folder.join(file))
}
