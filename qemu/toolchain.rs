//! The two ways to a static binary for another machine.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::DEFAULT_SUITE;
use crate::{Error, Guest, host, packages};

/// A compiler as cargo is told of it.
pub(crate) struct Kit {
    /// A directory of its own for what it builds.
    pub(crate) name: &'static str,
    pub(crate) triple: String,
    pub(crate) environment: Vec<(String, OsString)>,
}

/// musl from rustup, linked by the linker that comes with rustc: no C toolchain takes part.
pub(crate) fn rustup(guest: Guest) -> Result<Kit, Error> {
    let triple = format!("{}-unknown-linux-musl", guest.cpu());
    add_std(&triple)?;
    // Separated so that the path may have spaces.
    let unwinder = UNWINDER.map(|name| format!("-Clink-arg=--defsym=_Unwind_{name}=getpid"));
    let flags = SMALL.map(str::to_owned).into_iter().chain(unwinder).collect::<Vec<_>>();
    let flags = ("CARGO_ENCODED_RUSTFLAGS".to_owned(), flags.join("\x1f").into());
    let environment = vec![linker(&triple, "rust-lld"), flags];
    Ok(Kit { name: "board-rustup", triple, environment })
}

/// A seventh of the file would be tables for unwinding, which a program that aborts never reads;
/// instances of one generic function often are the same code; and addresses that are only moved
/// (DT_RELR, which musl reads since 1.2.4) need a bit each, not 24 bytes. Names of threads, which are those
/// of the threads that made them, would bring printf along.
const SMALL: [&str; 6] = [
    "-Clink-arg=--defsym=pthread_setname_np=getpid",
    "-Cforce-unwind-tables=no",
    "-Clink-arg=--no-eh-frame-hdr",
    "-Clink-arg=--icf=all",
    "-Clink-arg=--pack-dyn-relocs=relr",
    concat!("-Clink-arg=-T", env!("CARGO_MANIFEST_DIR"), "/board.ld"),
];

/// What the standard library asks of an unwinder. Without tables it would find nothing, so there is
/// none: another function without effect stands in, of which nothing comes back. 48 KB.
const UNWINDER: [&str; 14] = [
    "Backtrace",
    "DeleteException",
    "FindEnclosingFunction",
    "GetCFA",
    "GetDataRelBase",
    "GetIP",
    "GetIPInfo",
    "GetLanguageSpecificData",
    "GetRegionStart",
    "GetTextRelBase",
    "RaiseException",
    "Resume",
    "SetGR",
    "SetIP",
];

/// Rust's standard library for `triple`, added where it is missing.
fn add_std(triple: &str) -> Result<(), Error> {
    let sysroot = host::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let std = Path::new(sysroot.trim()).join("lib/rustlib").join(triple);
    let add = || {
        let rustup = host::find("rustup").map(Command::new);
        let added = rustup.map(|mut rustup| host::output(rustup.args(["target", "add", triple])));
        if let Some(Err(error)) = added {
            eprintln!("cargo vm: {error}");
        }
    };
    let missing = || Error::MissingTool {
        tool: format!("Rust's standard library for {triple}"),
        install: format!("rustup target add {triple}"),
    };
    host::find_or(&|| std.exists().then_some(()), &add)?.ok_or_else(missing)
}

/// The compiler at hand with the C library that guests have: what tests are built with, which are
/// not for boards.
pub(crate) fn tests(guest: Guest) -> Result<Kit, Error> {
    let triple = format!("{}-unknown-linux-gnu", guest.cpu());
    add_std(&triple)?;
    let package = format!("gcc-{}-linux-gnu", guest.cpu().replace('_', "-"));
    let gcc = host::tool(&format!("{}-linux-gnu-gcc", guest.cpu()), &package)?;
    Ok(Kit { name: "", environment: vec![linker(&triple, gcc)], triple })
}

/// Debian's compiler, its standard library for `guest` and its cross linker. The compiler is
/// unpacked into the cache and installed nowhere, so it cannot take another one's place.
pub(crate) fn debian(guest: Guest) -> Result<Kit, Error> {
    let here = host::guest()?;
    let triple = format!("{}-unknown-linux-gnu", guest.cpu());
    let package = format!("gcc-{}-linux-gnu", guest.cpu().replace('_', "-"));
    let gcc = host::tool(&format!("{}-linux-gnu-gcc", guest.cpu()), &package)?;
    static_libc(guest, &gcc)?;
    let std = (guest, "libstd-rust-web-dev");
    let root = packages::sysroot_with(here, DEFAULT_SUITE, &["rustc-web".to_owned()], std)?;
    let environment = vec![
        linker(&triple, gcc),
        ("RUSTC".to_owned(), compiler(here, &root)?.into()),
        // A wrapper would be asked to run a compiler it does not know.
        ("RUSTC_WRAPPER".to_owned(), OsString::new()),
        (
            format!("CARGO_TARGET_{}_RUSTFLAGS", upper(&triple)),
            "-Ctarget-feature=+crt-static".into(),
        ),
    ];
    Ok(Kit { name: "board-debian", triple, environment })
}

/// Checks that there is a C library to link with, which the compiler only recommends.
fn static_libc(guest: Guest, gcc: &Path) -> Result<(), Error> {
    let package = match host::guest()? == guest {
        true => "libc6-dev".to_owned(),
        false => format!("libc6-dev-{}-cross", guest.debian()),
    };
    let found = || -> Result<bool, Error> {
        // It answers with the bare name when it has no such file.
        let path = host::output(Command::new(gcc).arg("-print-file-name=libc.a"))?;
        Ok(Path::new(path.trim()).is_absolute())
    };
    let install = || {
        if host::is_root() {
            host::install(&[&package]);
        }
    };
    let there = || found().unwrap_or(false).then_some(());
    host::find_or(&there, &install)?.ok_or_else(|| Error::MissingTool {
        tool: format!("the static C library for {guest}"),
        install: format!("sudo apt-get install -y {package}"),
    })
}

/// A program that is `root`'s rustc, with `root`'s libraries.
fn compiler(here: Guest, root: &Path) -> Result<PathBuf, Error> {
    let path = root.join("rustc");
    let mut words = packages::loader(here, root)?;
    words.push(root.join("usr/bin/rustc").into());
    words.push("--sysroot".into());
    words.push(root.join("usr").into());
    let words: Vec<String> = words
        .iter()
        .map(|word| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''")))
        .collect();
    let script = format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" "));
    let write = || {
        // Under another name first: it may be running.
        let partial = root.join(format!("rustc.{}", std::process::id()));
        fs::write(&partial, &script)?;
        fs::set_permissions(&partial, fs::Permissions::from_mode(0o755))?;
        fs::rename(&partial, &path)
    };
    if fs::read(&path).is_ok_and(|old| old == script.as_bytes()) {
        return Ok(path);
    }
    write().map_err(|e| Error::io("write", &path, &e))?;
    Ok(path)
}

fn linker(triple: &str, program: impl Into<OsString>) -> (String, OsString) {
    (format!("CARGO_TARGET_{}_LINKER", upper(triple)), program.into())
}

fn upper(triple: &str) -> String {
    triple.to_uppercase().replace('-', "_")
}
