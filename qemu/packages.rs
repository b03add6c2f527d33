//! Packages unpacked: as archives for a guest's initramfs, or as a directory for qemu-user.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::{Apt, Package};
use crate::cpio::Cpio;
use crate::host::{self, Lock, Scratch};
use crate::{Error, Guest};

/// What every guest has: a shell that runs programs where BusyBox would run its applets, the C
/// library, and what programs built by GCC and by rustc link with.
const BASE: [&str; 3] = ["dash", "libc6", "libgcc-s1"];

/// Resolves and downloads the base and `wanted`.
fn fetch(apt: &Apt, wanted: &[String]) -> Result<(Vec<Package>, Vec<PathBuf>), Error> {
    let mut names: Vec<String> = BASE.iter().map(|&name| name.to_owned()).collect();
    names.extend_from_slice(wanted);
    let packages = apt.resolve(&names)?;
    let files = apt.download(&packages)?;
    Ok((packages, files))
}

/// The packages and all they need as cpio archives, one for each package, kept in the cache.
pub(crate) fn archives(
    guest: Guest,
    suite: &str,
    wanted: &[String],
) -> Result<Vec<PathBuf>, Error> {
    let apt = Apt::new(guest, suite)?;
    let (packages, files) = fetch(&apt, wanted)?;
    packages.iter().zip(&files).map(|(package, file)| archive(package, file)).collect()
}

/// One package, without its dependencies, unpacked for good; `keep` says which files.
pub(crate) fn archive(package: &Package, file: &Path) -> Result<PathBuf, Error> {
    let dir = host::cache()?.join("cpio");
    let _lock = Lock::of(&dir)?;
    let done = dir.join(format!("{}.cpio", package.stem()));
    if done.exists() {
        return Ok(done);
    }
    let scratch = Scratch::new(&dir, "unpack")?;
    unpack(file, &scratch.path().join("root"))?;
    let partial = scratch.path().join("cpio");
    let write = || -> io::Result<()> {
        let mut cpio = Cpio::new(BufWriter::new(File::create(&partial)?));
        add_tree(&mut cpio, &scratch.path().join("root"), b"")?;
        cpio.finish()?;
        fs::rename(&partial, &done)
    };
    write().map_err(|e| Error::io("write", &done, &e))?;
    Ok(done)
}

/// A directory with the base and `wanted` unpacked into it: what qemu-user takes for the root.
pub fn sysroot(guest: Guest, suite: &str, wanted: &[String]) -> Result<PathBuf, Error> {
    let (packages, files) = fetch(&Apt::new(guest, suite)?, wanted)?;
    root(&packages, &files)
}

/// The same, and one package of another architecture on top, without its dependencies.
pub(crate) fn sysroot_with(
    guest: Guest,
    suite: &str,
    wanted: &[String],
    (other, package): (Guest, &str),
) -> Result<PathBuf, Error> {
    let (mut packages, mut files) = fetch(&Apt::new(guest, suite)?, wanted)?;
    let apt = Apt::new(other, suite)?;
    let package = apt.one(package)?;
    files.extend(apt.download(std::slice::from_ref(&package))?);
    packages.push(package);
    root(&packages, &files)
}

/// `files` unpacked into one directory, which is kept.
fn root(packages: &[Package], files: &[PathBuf]) -> Result<PathBuf, Error> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    packages.hash(&mut hasher);
    let dir = host::cache()?.join("sysroot");
    let _lock = Lock::of(&dir)?;
    let done = dir.join(format!("{:016x}", hasher.finish()));
    if done.exists() {
        return Ok(done);
    }
    let scratch = Scratch::new(&dir, "unpack")?;
    let root = scratch.path().join("root");
    for name in MERGED {
        host::make(&root.join("usr").join(name))?;
        let link = root.join(name);
        std::os::unix::fs::symlink(format!("usr/{name}"), &link)
            .map_err(|e| Error::io("link", &link, &e))?;
    }
    for file in files {
        unpack(file, &root)?;
    }
    fs::rename(&root, &done).map_err(|e| Error::io("make", &done, &e))?;
    Ok(done)
}

/// The beginning of a command line that runs a program of `root` on this machine whatever libraries
/// this machine has: the root's own loader, and where it finds the root's own libraries.
pub(crate) fn loader(here: Guest, root: &Path) -> Result<Vec<OsString>, Error> {
    let (loader, triple) = match here {
        Guest::Arm64 => ("lib/ld-linux-aarch64.so.1", "aarch64-linux-gnu"),
        Guest::X86_64 => ("lib64/ld-linux-x86-64.so.2", "x86_64-linux-gnu"),
    };
    let lib = root.join("usr/lib").join(triple);
    // Some keep themselves in a directory that an installation script would link to.
    let dirs = ["", "blas", "lapack", "pulseaudio"].map(|dir| lib.join(dir));
    let path = std::env::join_paths(dirs).map_err(|e| Error::other(e.to_string()))?;
    Ok(vec![root.join(loader).into(), "--library-path".into(), path])
}

/// Unpacks a package below `to`. Through tar and not `dpkg-deb -x`, which replaces a symbolic link
/// to a directory by the directory.
pub(crate) fn unpack(package: &Path, to: &Path) -> Result<(), Error> {
    host::make(to)?;
    host::output(
        Command::new("sh")
            .args([
                "-c",
                r#"dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink -C "$2""#,
                "sh",
            ])
            .arg(package)
            .arg(to),
    )
    .map(drop)
}

/// The top directories that are links into `usr` in every guest, whatever its release did.
pub(crate) const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

fn is_merged(path: &[u8]) -> bool {
    MERGED.iter().any(|name| name.as_bytes() == path)
}

/// Nobody reads these in a guest, and they are half of most packages.
fn is_documentation(path: &[u8]) -> bool {
    ["doc", "man", "info", "locale", "lintian", "bug"]
        .iter()
        .any(|d| path == [b"usr/share/", d.as_bytes()].concat())
}

/// Everything below `dir`, in the order of the names. Hard links are written as copies, and all of
/// it belongs to root.
fn add_tree(cpio: &mut Cpio<BufWriter<File>>, dir: &Path, prefix: &[u8]) -> io::Result<()> {
    let mut names =
        fs::read_dir(dir)?.map(|e| e.map(|e| e.file_name())).collect::<Result<Vec<_>, _>>()?;
    names.sort();
    for name in names {
        let path = dir.join(&name);
        let mut at = prefix.to_vec();
        if !at.is_empty() {
            at.push(b'/');
        }
        at.extend_from_slice(name.as_bytes());
        let meta = fs::symlink_metadata(&path)?;
        if is_merged(&at) {
            if meta.is_symlink() {
                continue;
            }
            at.splice(0..0, *b"usr/");
        }
        if is_documentation(&at) {
            continue;
        }
        if meta.is_dir() {
            cpio.directory(&at)?;
            add_tree(cpio, &path, &at)?;
        } else if meta.is_symlink() {
            cpio.symlink(&at, fs::read_link(&path)?.as_os_str().as_bytes())?;
        } else if meta.is_file() {
            cpio.file(&at, meta.mode(), &fs::read(&path)?)?;
        }
    }
    Ok(())
}
