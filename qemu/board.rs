//! `xol` for a board: one static file, one architecture, as small as it gets.

use std::path::PathBuf;

use crate::Guest;

/// The board's `xol` for `guest`, if it has been built.
pub fn built(guest: Guest) -> Option<PathBuf> {
    let file = target_dir()?.join("board").join(guest.name()).join("xol");
    file.exists().then_some(file)
}

/// Where cargo builds: `CARGO_TARGET_DIR`, else `target` in the workspace around us.
fn target_dir() -> Option<PathBuf> {
    if let Some(dir) = std::env::var_os("CARGO_TARGET_DIR") {
        return Some(dir.into());
    }
    Some(workspace()?.join("target"))
}

/// The workspace: from what `cargo run` and `cargo test` set, else from the current directory up.
fn workspace() -> Option<PathBuf> {
    let from = std::env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .or_else(|| std::env::current_dir().ok())?;
    from.ancestors().find(|dir| dir.join("qemu/Cargo.toml").exists()).map(PathBuf::from)
}
