//! What is asked of this machine: programs on the PATH, installed where we may, a cache directory.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Error, Guest};

/// The program `tool`, from the Debian package `package`: found, or installed by root. Everybody
/// else is told the command.
pub fn tool(tool: &str, package: &str) -> Result<PathBuf, Error> {
    if let Some(found) = find(tool) {
        return Ok(found);
    }
    if is_root() && find("apt-get").is_some() {
        let install = || {
            eprintln!("cargo vm: installing {package} for {tool}");
            install(&[package]);
        };
        if let Some(found) = find_or(&|| find(tool), &install)? {
            return Ok(found);
        }
    }
    Err(Error::MissingTool {
        tool: tool.to_owned(),
        install: format!("sudo apt-get install -y {package}"),
    })
}

/// Looks for something, and where it is missing has it installed, one at a time: a package manager serves one,
/// and what another has installed meanwhile is there.
pub(crate) fn find_or<T>(
    find: &dyn Fn() -> Option<T>,
    install: &dyn Fn(),
) -> Result<Option<T>, Error> {
    if let Some(found) = find() {
        return Ok(Some(found));
    }
    let _lock = Lock::of(&cache()?.join("installing"))?;
    if let Some(found) = find() {
        return Ok(Some(found));
    }
    install();
    Ok(find())
}

/// Runs `apt-get install`; its own words are shown when it does not go well.
pub(crate) fn install(packages: &[&str]) {
    let run = |args: &[&str]| {
        Command::new("apt-get")
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    };
    let install = [&["install", "-y", "-q", "--no-install-recommends"], packages].concat();
    if !run(&install) && run(&["update", "-q"]) {
        run(&install);
    }
}

/// Looks `name` up on the PATH.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| is_executable(file))
}

pub(crate) fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

pub(crate) fn is_root() -> bool {
    // The owner of /proc/self is our effective user.
    fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

/// The cargo that runs us, else the one on the PATH.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// This machine, as a guest would be called.
pub(crate) fn guest() -> Result<Guest, Error> {
    std::env::consts::ARCH.parse().map_err(|_| {
        Error::other(format!(
            "this machine is {}, and guests need arm64 or x86_64",
            std::env::consts::ARCH
        ))
    })
}

/// Runs a program to its end and gives its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, Error> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command.stdin(Stdio::null()).output().map_err(|e| {
        Error::other(format!("cannot start {name}: {e}; install it, or check your PATH"))
    })?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    let line: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    Err(Error::other(format!(
        "`{name} {}` failed ({}): {}",
        line.join(" "),
        out.status,
        String::from_utf8_lossy(&out.stderr).trim()
    )))
}

/// The user's own cache: packages, kernels and what is unpacked from them. `XOL_VM_CACHE`, else
/// `$XDG_CACHE_HOME/xol-vm`, else `~/.cache/xol-vm`. It may be deleted at any time.
pub fn cache() -> Result<PathBuf, Error> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("XOL_VM_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("xol-vm")))
        .or_else(|| set("HOME").map(|dir| dir.join(".cache/xol-vm")))
        .ok_or_else(|| Error::other("there is nowhere to keep packages: set HOME or XOL_VM_CACHE"))
}

/// Makes a directory with its parents.
pub(crate) fn make(dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(|e| Error::io("make the directory", dir, &e))
}

/// Held while the cache is changed; several `cargo vm` and several tests may run at once.
pub(crate) struct Lock(
    #[expect(dead_code, reason = "the lock lives as long as the file is open")] File,
);

impl Lock {
    pub(crate) fn of(dir: &Path) -> Result<Lock, Error> {
        make(dir)?;
        let path = dir.join("lock");
        let file = File::create(&path).map_err(|e| Error::io("create", &path, &e))?;
        file.lock().map_err(|e| Error::io("lock", &path, &e))?;
        Ok(Lock(file))
    }
}

/// A directory that is removed with what is in it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(parent: &Path, stem: &str) -> Result<Scratch, Error> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = parent.join(format!("{stem}.{}.{n}", std::process::id()));
        // What is there belongs to a process that had our number before and was killed.
        let _ = fs::remove_dir_all(&dir);
        make(&dir)?;
        Ok(Scratch(dir))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
