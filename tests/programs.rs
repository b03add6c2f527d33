//! The small programs that are probed: C, C++ and assembly in `programs/`, built by the compiler
//! at hand the first time a test asks for them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};

/// How a program is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Build {
    /// Position-independent and dynamic: the default of every distribution.
    Pie,
    /// At a fixed address, dynamic.
    NoPie,
    /// At a fixed address, with its own libc.
    Static,
    /// Position-independent, with its own libc.
    StaticPie,
    /// Dynamic, without any symbol that is not needed for linking.
    Stripped,
    /// Against musl, static.
    Musl,
    /// A shared object.
    Shared,
    /// A 32-bit program without a libc.
    Bits32,
    /// For arm64, static.
    Arm64,
    /// On arm64, with guarded pages (BTI).
    Guarded,
    /// On arm64, with a landing pad at each function's entry, and signed return addresses.
    Protected,
}

impl Build {
    /// The compiler and its options.
    fn compiler(self, cxx: bool) -> (&'static str, &'static [&'static str]) {
        let gcc = if cxx { "g++" } else { "gcc" };
        match self {
            Build::Pie => (gcc, &["-fPIE", "-pie"]),
            Build::NoPie => (gcc, &["-fno-pie", "-no-pie"]),
            Build::Static => (gcc, &["-static"]),
            Build::StaticPie => (gcc, &["-static-pie", "-fPIE"]),
            Build::Stripped => (gcc, &["-fPIE", "-pie", "-s"]),
            Build::Musl => ("musl-gcc", &["-static"]),
            Build::Shared => (gcc, &["-fPIC", "-shared"]),
            Build::Bits32 => {
                (gcc, &["-m32", "-nostdlib", "-ffreestanding", "-static", "-fno-pie", "-no-pie"])
            }
            Build::Protected => (gcc, &["-fPIE", "-pie", "-mbranch-protection=standard"]),
            Build::Guarded => (
                gcc,
                &["-nostartfiles", "-DGUARDED", "-mbranch-protection=standard", "-Wl,-z,force-bti"],
            ),
            Build::Arm64 => ("aarch64-linux-gnu-gcc", &["-static"]),
        }
    }
}

/// The program `name` from `programs/name.c`, `.cc` or `.S`, built.
///
/// # Panics
/// If it does not compile.
#[must_use]
pub fn program(name: &str, build: Build) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs");
    let source = ["c", "cc", "S"].map(|ext| sources.join(format!("{name}.{ext}")));
    let source = source.into_iter().find(|s| s.exists());
    let source = source.unwrap_or_else(|| panic!("no program {name} in {}", sources.display()));
    let folder = folder();
    let built = folder.join(format!("{name}-{build:?}").to_lowercase());
    // Tests run in several processes at a time; the one that comes first builds.
    let lock = std::fs::File::create(folder.join("lock")).expect("the target folder is writable");
    let lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, e)| e);
    let _lock = lock.expect("locking a file of ours");
    if newer(&built, &source) && newer(&built, &std::env::current_exe().expect("/proc/self/exe")) {
        return built;
    }
    let (compiler, options) = build.compiler(source.extension().is_some_and(|e| e == "cc"));
    let fresh = built.with_extension("new");
    let output = Command::new(compiler)
        .args(["-O2", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"])
        .arg(&fresh)
        .args(options)
        .arg(&source)
        .arg("-ldl")
        .output();
    let output = output.unwrap_or_else(|e| panic!("{compiler}: {e}: run ./check, it installs it"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{compiler} {options:?} {}:\n{said}", source.display());
    std::fs::rename(&fresh, &built).expect("renaming what was just built");
    built
}

/// Where things that tests make belong: under cargo's target folder.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn folder() -> PathBuf {
    let own = std::env::current_exe().expect("/proc/self/exe");
    let target = own.ancestors().find(|p| p.join("CACHEDIR.TAG").exists());
    let folder = target.unwrap_or(Path::new("/tmp")).join("xol-programs");
    std::fs::create_dir_all(&folder).expect("the target folder is writable");
    folder
}

fn newer(this: &Path, that: &Path) -> bool {
    let time = |p: &Path| -> Option<SystemTime> { p.metadata().ok()?.modified().ok() };
    matches!((time(this), time(that)), (Some(this), Some(that)) if this > that)
}
