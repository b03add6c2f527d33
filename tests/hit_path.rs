//! The path of a hit neither allocates nor panics: it links with an allocator and a panic handler
//! that call functions which do not exist. Two planted faults show that the link can fail.

use std::path::Path;
use std::process::Command;

/// Links `tests/hit_path`; what the linker said when it could not.
fn link(features: &[&str]) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("hit_path");
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/hit-path");
    let output = Command::new(env!("CARGO"))
        .args(["rustc", "--release", "--locked", "--features", &features.join(",")])
        .args(["--", "-C", "link-arg=-Wl,-z,defs", "-C", "link-arg=-lc"])
        .env("CARGO_TARGET_DIR", target)
        .current_dir(root)
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

#[test]
fn the_path_of_a_hit_neither_allocates_nor_panics() {
    link(&[]).unwrap_or_else(|said| panic!("{said}"));
    let panics = link(&["planted-panic"]).expect_err("a planted panic must not link");
    assert!(panics.contains("the_path_of_a_hit_panics"), "{panics}");
    let allocates = link(&["planted-allocation"]).expect_err("a planted allocation must not link");
    assert!(allocates.contains("the_path_of_a_hit_allocates"), "{allocates}");
}
