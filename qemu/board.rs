//! `xol` for a board: one static file, one architecture, as small as it gets.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::{Error, Guest, elf, host, toolchain};

/// What a board's binary is built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// The compiler at hand, musl and its own linker: nothing else is needed, and the smallest
    /// result.
    Rustup,
    /// Debian's compiler and cross toolchain with the GNU C library, for machines that have
    /// packages and nothing else. Twice the size.
    Debian,
}

impl FromStr for Toolchain {
    type Err = String;

    fn from_str(text: &str) -> Result<Toolchain, String> {
        match text {
            "rustup" => Ok(Toolchain::Rustup),
            "debian" => Ok(Toolchain::Debian),
            _ => Err(format!("no toolchain is called {text}: there are rustup and debian")),
        }
    }
}

/// A binary that was built.
#[derive(Clone, Debug)]
pub struct Binary {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// What it was built for.
    pub triple: String,
}

/// What a board's `xol` can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// Every hit stops the program; the file has a tenth less.
    WithoutJumps,
    /// All that a board needs.
    Usual,
    /// The same, `xol compare` and `xol show`; with symbols, because there are jumps only where it is
    /// known where functions begin.
    Measuring,
    /// Everything, also what is for the other architecture; with symbols, as above. What is packaged.
    All,
}

impl Parts {
    fn features(self) -> &'static str {
        match self {
            Parts::WithoutJumps => "cli",
            Parts::Usual => "cli,jump",
            Parts::Measuring => "cli,jump,measure,show",
            Parts::All => "default",
        }
    }
}

/// Builds `xol` for a board of `guest`'s kind. Without a wish, rustup's musl is used where it can
/// be had and Debian's toolchain elsewhere.
pub fn build(guest: Guest, wish: Option<Toolchain>, parts: Parts) -> Result<Binary, Error> {
    let workspace = workspace()
        .ok_or_else(|| Error::other("cannot find xol's workspace; run this inside it"))?;
    let target =
        target_dir().ok_or_else(|| Error::other("cannot find cargo's target directory"))?;
    let kit = match wish {
        Some(Toolchain::Rustup) => toolchain::rustup(guest)?,
        Some(Toolchain::Debian) => toolchain::debian(guest)?,
        None => toolchain::rustup(guest).or_else(|error| {
            eprintln!("cargo vm: {error}; using Debian's toolchain instead");
            toolchain::debian(guest)
        })?,
    };
    // A folder for each, so that two can be built at a time.
    let built = target.join(format!("{}-{guest}", kit.name));
    let mut cargo = host::cargo();
    cargo
        .current_dir(&workspace)
        .args(["build", "--quiet", "--profile", "board", "--package", "xol", "--bin", "xol"])
        .args([
            "--no-default-features",
            "--features",
            &format!("{},{guest}", parts.features()),
            "--target",
            &kit.triple,
        ])
        .arg("--target-dir")
        .arg(&built)
        .envs(kit.environment);
    let strip = match parts {
        Parts::WithoutJumps | Parts::Usual => None,
        Parts::Measuring => Some("none"),
        // Names stay; what the standard library has for debuggers is as large as all of xol.
        Parts::All => Some("debuginfo"),
    };
    cargo.envs(strip.map(|strip| ("CARGO_PROFILE_BOARD_STRIP", strip)));
    let status = cargo.status().map_err(|e| Error::other(format!("cannot start cargo: {e}")))?;
    if !status.success() {
        return Err(Error::other(format!(
            "cargo could not build xol for {} ({status}); see above",
            kit.triple
        )));
    }
    let from = built.join(&kit.triple).join("board/xol");
    // What boards get stays where it is looked for.
    let to = place(&target, guest);
    let to = match parts {
        Parts::WithoutJumps | Parts::Usual => to,
        Parts::Measuring => to.with_file_name("xol-measuring"),
        Parts::All => to.with_file_name("xol-all"),
    };
    to.parent().map_or(Ok(()), host::make)?;
    let bytes = fs::read(&from).map_err(|e| Error::io("read", &from, &e))?;
    if !elf::is_static(&bytes) {
        return Err(Error::other(format!(
            "{} is not static and will not start on a board",
            from.display()
        )));
    }
    // Not over the old one, which may be running.
    let _ = fs::remove_file(&to);
    fs::copy(&from, &to).map_err(|e| Error::io("write", &to, &e))?;
    Ok(Binary { path: to, size: bytes.len() as u64, triple: kit.triple })
}

/// The board's `xol` for `guest`, if it has been built.
pub fn built(guest: Guest) -> Option<PathBuf> {
    Some(place(&target_dir()?, guest)).filter(|file| file.exists())
}

fn place(target: &Path, guest: Guest) -> PathBuf {
    target.join("board").join(guest.name()).join("xol")
}

/// Where cargo builds: `CARGO_TARGET_DIR`, else `target` in the workspace around us.
pub(crate) fn target_dir() -> Option<PathBuf> {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => std::path::absolute(PathBuf::from(dir)).ok(),
        None => Some(workspace()?.join("target")),
    }
}

/// The workspace: from what `cargo run` and `cargo test` set, else from the current directory up.
pub(crate) fn workspace() -> Option<PathBuf> {
    let set = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let from = set.or_else(|| std::env::current_dir().ok())?;
    from.ancestors().find(|dir| dir.join("qemu/Cargo.toml").exists()).map(PathBuf::from)
}
