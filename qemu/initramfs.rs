//! A guest's root file system: the base below, the packages, then the user's files.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::apt::Apt;
use crate::cpio::Cpio;
use crate::host::{self, Scratch};
use crate::kernel::Kernel;
use crate::packages::{self, MERGED};

const INIT: &[u8] = include_bytes!("init.sh");

const DIRECTORIES: [&str; 15] = [
    "dev",
    "etc",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "usr",
    "usr/local",
    "usr/local/bin",
    "var",
    "var/tmp",
    "vm",
    "vm/modules",
    "mnt",
];

const FILES: [(&str, &str); 5] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1 localhost\n"),
    ("etc/hostname", "xol-vm\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
];

/// A file of the host and where it goes, without the leading slash.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) from: PathBuf,
    pub(crate) to: Vec<u8>,
}

/// Writes the whole of it to `to` and says how long it is.
pub(crate) fn write(
    to: &Path,
    busybox: &Path,
    kernel: &Kernel,
    archives: &[PathBuf],
    files: &[Placed],
) -> Result<u64, Error> {
    let failed = |e: io::Error| Error::io("write the guest's file system to", to, &e);
    let mut out = BufWriter::new(File::create(to).map_err(failed)?);
    base(&mut out, busybox, kernel).map_err(failed)?;
    for archive in archives {
        let mut from = File::open(archive).map_err(|e| Error::io("read", archive, &e))?;
        io::copy(&mut from, &mut out).map_err(failed)?;
    }
    let mut cpio = Cpio::new(&mut out);
    let mut made = BTreeSet::new();
    for Placed { from, to } in files {
        for (end, _) in to.iter().enumerate().filter(|&(_, &byte)| byte == b'/') {
            if made.insert(to[..end].to_vec()) {
                cpio.directory(&to[..end]).map_err(failed)?;
            }
        }
        let meta = fs::metadata(from).map_err(|_| Error::MissingFile(from.clone()))?;
        let content = fs::read(from).map_err(|e| Error::io("read", from, &e))?;
        cpio.file(to, meta.mode(), &content).map_err(failed)?;
    }
    cpio.finish().map_err(failed)?;
    let file = out.into_inner().map_err(|e| failed(e.into_error()))?;
    file.metadata().map(|m| m.len()).map_err(failed)
}

fn base(out: &mut impl Write, busybox: &Path, kernel: &Kernel) -> io::Result<()> {
    let mut cpio = Cpio::new(out);
    for dir in DIRECTORIES {
        cpio.directory(dir.as_bytes())?;
    }
    for name in MERGED {
        cpio.directory(format!("usr/{name}").as_bytes())?;
        cpio.symlink(name.as_bytes(), format!("usr/{name}").as_bytes())?;
    }
    for (name, content) in FILES {
        cpio.file(name.as_bytes(), 0o644, content.as_bytes())?;
    }
    cpio.file(b"vm/init", 0o755, INIT)?;
    cpio.file(b"vm/busybox", 0o755, &fs::read(busybox)?)?;
    cpio.symlink(b"usr/bin/sh", b"dash")?;
    for (n, module) in kernel.modules.iter().enumerate() {
        let name = module.file_name().unwrap_or_default().as_bytes();
        // Numbered: the shell loads them in the order of the names.
        cpio.file(
            &[format!("vm/modules/{n}-").as_bytes(), name].concat(),
            0o644,
            &fs::read(module)?,
        )?;
    }
    cpio.finish()?;
    Ok(())
}

/// The static BusyBox that is a guest's first process.
pub(crate) fn busybox(apt: &Apt) -> Result<PathBuf, Error> {
    let package = apt.one("busybox-static")?;
    let dir = host::cache()?.join("busybox");
    let done = dir.join(package.stem());
    if !done.exists() {
        let file = apt.download(&[package])?;
        let _lock = host::Lock::of(&dir)?;
        let scratch = Scratch::new(&dir, "unpack")?;
        for file in &file {
            packages::unpack(file, scratch.path())?;
        }
        let candidates = ["bin/busybox", "usr/bin/busybox"].map(|name| scratch.path().join(name));
        let Some(found) = candidates.iter().find(|path| path.exists()) else {
            return Err(Error::other(
                "Debian's busybox-static holds no busybox; choose another --suite",
            ));
        };
        fs::rename(found, &done).map_err(|e| Error::io("make", &done, &e))?;
    }
    Ok(done)
}
