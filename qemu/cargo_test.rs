//! `cargo test` with the tests built here and run in a guest: one boot for all of them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;

use crate::{Error, Stream, Vm, host, toolchain};

/// Which tests, and in what guest.
#[derive(Clone, Debug)]
pub struct CargoTest {
    /// The guest they run in; test programs are added to it.
    pub vm: Vm,
    /// Variables of theirs, `NAME=VALUE`.
    pub environment: Vec<OsString>,
    /// What `cargo test` is told: packages, targets, features.
    pub cargo: Vec<OsString>,
    /// What each test program is told: filters and libtest's options.
    pub libtest: Vec<OsString>,
    /// What single ones are told besides, by their names.
    pub filters: Vec<(String, Vec<OsString>)>,
}

/// A test program that was built.
struct Built {
    name: String,
    executable: PathBuf,
    /// Of the package: cargo runs tests there.
    directory: PathBuf,
    is_test: bool,
}

impl CargoTest {
    /// Builds, boots and runs. Returns how many test programs failed.
    pub fn run(&self, sink: &mut dyn FnMut(Stream, &[u8])) -> Result<usize, Error> {
        let built = self.build()?;
        let mut vm = self.vm.clone();
        for built in &built {
            vm = vm.in_place(&built.executable)?;
        }
        let mut session = vm.boot()?;
        let mut failed = 0;
        for Built { name, executable, directory, .. } in built.iter().filter(|b| b.is_test) {
            let filters = self.filters.iter().filter(|(of, _)| of == name);
            sink(
                Stream::Stderr,
                format!("     In {}: {}\n", self.vm.guest, executable.display()).as_bytes(),
            );
            let words = [
                "sh".into(),
                "-c".into(),
                r#"mkdir -p "$0" && cd "$0" && exec env "$@""#.into(),
                directory.clone().into(),
                set("CARGO_MANIFEST_DIR", directory.clone().into()),
            ];
            let words = words.iter().chain(&self.environment);
            let (status, out_of_memory) = session.stream(
                words
                    .chain([&executable.clone().into()])
                    .chain(&self.libtest)
                    .chain(filters.flat_map(|(_, words)| words)),
                sink,
            )?;
            if let Some(sentence) = out_of_memory {
                sink(Stream::Stderr, format!("cargo vm: {sentence}\n").as_bytes());
            }
            failed += usize::from(status != 0);
        }
        Ok(failed)
    }

    /// Every test program, and the programs that tests are told the path of.
    fn build(&self) -> Result<Vec<Built>, Error> {
        let kit = toolchain::tests(self.vm.guest)?;
        let mut cargo = host::cargo();
        cargo
            .args(["test", "--no-run", "--message-format", "json-render-diagnostics"])
            .args(["--target", &kit.triple])
            .args(&self.cargo)
            .envs(kit.environment)
            // All of it goes through the guest's memory.
            .env("CARGO_PROFILE_DEV_STRIP", "debuginfo")
            .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo")
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        let output =
            cargo.output().map_err(|e| Error::other(format!("cannot start cargo: {e}")))?;
        if !output.status.success() {
            return Err(Error::other(format!(
                "cargo could not build the tests for {}; see above",
                kit.triple
            )));
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let built = |line: &str| {
            let said: Value = serde_json::from_str(line).ok()?;
            let executable = PathBuf::from(said["executable"].as_str()?);
            let directory = PathBuf::from(said["manifest_path"].as_str()?).parent()?.to_owned();
            Some(Built {
                name: said["target"]["name"].as_str()?.to_owned(),
                executable,
                directory,
                is_test: said["profile"]["test"] == Value::Bool(true),
            })
        };
        let built: Vec<Built> = said.lines().filter_map(built).collect();
        if !built.iter().any(|b| b.is_test) {
            return Err(Error::other("cargo built no tests; check what is behind --"));
        }
        Ok(built)
    }
}

fn set(name: &str, value: OsString) -> OsString {
    let mut set = OsString::from(name);
    set.push("=");
    set.push(value);
    set
}

/// Splits what is behind `--` at the next `--`, as cargo does.
#[must_use]
pub fn split(words: Vec<OsString>) -> (Vec<OsString>, Vec<OsString>) {
    let mut parts = words.splitn(2, |word| word == "--").map(<[OsString]>::to_vec);
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}
