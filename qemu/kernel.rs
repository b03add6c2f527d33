//! The kernel a guest runs: which one, its image, and the few modules that its console ports need.

use std::fs;
use std::path::{Path, PathBuf};

use crate::apt::{Apt, Package};
use crate::host::{self, Lock, Scratch};
use crate::{Error, Guest, packages};

/// A kernel ready to boot.
pub(crate) struct Kernel {
    pub(crate) image: PathBuf,
    /// In the order they are to be loaded.
    pub(crate) modules: Vec<PathBuf>,
}

/// virtio's own order. What is built in, or not there at this version, is simply missing.
const MODULES: [&str; 6] = [
    "virtio",
    "virtio_ring",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_console",
];

/// Where a version is looked for when `suite` has not got it, oldest first.
const SUITES: [&str; 4] = ["bullseye", "bookworm", "bookworm-backports", "trixie"];

impl Kernel {
    /// `wanted` is nothing (the release's own), a version (`5.10`), a version and a flavour
    /// (`6.12-16k`), a package (`linux-image-…`, with `/VERSION` if an exact one is meant), or the
    /// path of an image.
    pub(crate) fn fetch(guest: Guest, suite: &str, wanted: Option<&str>) -> Result<Kernel, Error> {
        let suites =
            || std::iter::once(suite).chain(SUITES.into_iter().filter(move |&s| s != suite));
        let Some(wanted) = wanted else {
            let apt = Apt::new(guest, suite)?;
            let meta = format!("linux-image-cloud-{}", guest.debian());
            let name = apt.stands_for(&meta)?;
            return unpacked(&apt, apt.one(&name)?);
        };
        if wanted.starts_with("linux-image-") {
            let package = wanted.replacen('/', "=", 1);
            for suite in suites() {
                let apt = Apt::new(guest, suite)?;
                if let Ok(found) = apt.one(&package) {
                    return unpacked(&apt, found);
                }
            }
            return Err(unknown(guest, wanted));
        }
        if wanted.contains('/') {
            let image = PathBuf::from(wanted);
            return if image.is_file() {
                Ok(Kernel { image, modules: Vec::new() })
            } else {
                Err(Error::MissingFile(image))
            };
        }
        let (version, flavour) = wanted.split_once('-').unwrap_or((wanted, "cloud"));
        if version.is_empty() || !version.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(Error::other(format!(
                "{wanted} names no kernel: give a version (5.10, 6.12-16k), a package (linux-image-…) or the path \
                 of an image (./Image)"
            )));
        }
        let pattern = pattern(guest, &version.replace('.', "[.]"), flavour);
        for suite in suites() {
            let apt = Apt::new(guest, suite)?;
            // An archive may have dropped the newest that its lists name.
            let mut refused = None;
            for found in apt.matching(&pattern)? {
                match unpacked(&apt, found) {
                    Ok(kernel) => return Ok(kernel),
                    Err(error) => refused = Some(error),
                }
            }
            if let Some(error) = refused {
                return Err(error);
            }
        }
        Err(unknown(guest, &format!("kernel {wanted}")))
    }
}

fn unknown(guest: Guest, wanted: &str) -> Error {
    Error::other(format!(
        "no Debian release from {} to {} has a {wanted} for {}; there are 5.10, 6.1 and 6.12, the last also as \
         6.12-generic and, for arm64, 6.12-16k",
        SUITES[0],
        SUITES[SUITES.len() - 1],
        guest.debian()
    ))
}

/// The names of signed images: `linux-image-6.1.0-56-cloud-arm64`, `linux-image-6.12.107+deb13-arm64-16k`.
fn pattern(guest: Guest, version: &str, flavour: &str) -> String {
    let arch = guest.debian();
    let tail = match flavour {
        "generic" => arch.to_owned(),
        "16k" | "64k" => format!("{arch}-{flavour}"),
        _ => format!("{flavour}-{arch}"),
    };
    format!("^linux-image-{version}([.][0-9]+)+([+]deb[0-9.]+)?(-[0-9]+)?-{tail}$")
}

fn unpacked(apt: &Apt, package: Package) -> Result<Kernel, Error> {
    let dir = host::cache()?.join("kernels");
    let done = dir.join(package.stem());
    if !done.exists() {
        let files = apt.download(std::slice::from_ref(&package))?;
        let _lock = Lock::of(&dir)?;
        let scratch = Scratch::new(&dir, "unpack")?;
        let root = scratch.path().join("root");
        for file in &files {
            packages::unpack(file, &root)?;
        }
        let kept = scratch.path().join("kept");
        host::make(&kept)?;
        keep(&root, &kept)?;
        if !kept.join("vmlinuz").exists() {
            return Err(Error::other(format!(
                "{} holds no kernel; name a package with an image in it, not one that only depends on it",
                package.name
            )));
        }
        if !done.exists() {
            fs::rename(&kept, &done).map_err(|e| Error::io("make", &done, &e))?;
        }
    }
    let modules = MODULES
        .iter()
        .flat_map(|name| [format!("{name}.ko"), format!("{name}.ko.xz")])
        .map(|name| done.join(name))
        .filter(|path| path.exists())
        .collect();
    Ok(Kernel { image: done.join("vmlinuz"), modules })
}

/// Copies the image and the modules out of an unpacked package.
fn keep(dir: &Path, to: &Path) -> Result<(), Error> {
    let entries = fs::read_dir(dir).map_err(|e| Error::io("read", dir, &e))?;
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().map_err(|e| Error::io("read", &path, &e))?;
        if kind.is_dir() {
            keep(&path, to)?;
            continue;
        }
        let stem = name.trim_end_matches(".xz").trim_end_matches(".ko");
        let kept = if name.starts_with("vmlinuz-") {
            "vmlinuz"
        } else if name.contains(".ko") && MODULES.contains(&stem) {
            &name
        } else {
            continue;
        };
        fs::rename(&path, to.join(kept)).map_err(|e| Error::io("move", &path, &e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flavours_stand_where_debian_puts_them() {
        assert!(pattern(Guest::Arm64, "6[.]12", "16k").ends_with("-arm64-16k$"));
        assert!(pattern(Guest::X86_64, "5[.]10", "cloud").ends_with("-cloud-amd64$"));
        assert!(pattern(Guest::Arm64, "5[.]10", "generic").ends_with(")?-arm64$"));
    }

    #[test]
    fn a_word_is_no_kernel() {
        let error = Kernel::fetch(Guest::Arm64, "bookworm", Some("newest")).err().unwrap();
        assert!(error.to_string().starts_with("newest names no kernel"), "{error}");
    }
}
