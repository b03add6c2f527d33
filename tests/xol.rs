//! The command under test, and its reports.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::programs;
use crate::run::{Finished, Run, run};

/// The release build of `xol`; cargo makes it the first time.
///
/// # Panics
/// If it does not build.
#[must_use]
pub fn xol() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(path) = std::env::var_os("XOL") {
            return path.into();
        }
        let cargo = option_env!("CARGO").unwrap_or("cargo");
        let target = programs::folder().parent().expect("in the target folder").to_owned();
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--release", "--package", "xol", "--bin", "xol"])
            .arg("--target-dir")
            .arg(&target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap_or_else(|e| panic!("{cargo}: {e}"));
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        target.join("release/xol")
    })
}

/// `xol WORD…`, with nothing else said.
pub fn command<W: Into<OsString>>(words: impl IntoIterator<Item = W>) -> Run {
    run(xol()).args(words)
}

/// A file for one report, in a place that a test of its own process does not share.
#[must_use]
pub fn scratch(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    programs::folder().join(format!("{name}-{}-{n}", std::process::id()))
}

/// The function of `tells` that is called 30 times: n from 0 on, and -n for each third.
pub const WORK: &str = "work(n: i32, x: f64, s: str) -> i32";

/// `xol WORDS -o FILE -- tells WHAT`: its end, and the report.
#[must_use]
pub fn told(words: &[&str], what: &str) -> (Finished, String) {
    let path = scratch("told");
    let finished = command(words.iter().copied())
        .arg("-o")
        .arg(&path)
        .arg("--")
        .arg(programs::program("tells", programs::Build::Pie))
        .arg(what)
        .finish();
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    _ = std::fs::remove_file(&path);
    (finished, text)
}

/// What a script prints that gets this file, in the Python of Debian's packages.
///
/// # Panics
/// When it fails.
#[must_use]
pub fn python(script: &str, file: &Path) -> String {
    let finished = run("/usr/bin/python3").args(["-c", script]).arg(file).finish();
    assert_eq!(finished.code(), 0, "{finished}");
    finished.out().trim().to_owned()
}

/// One probe's line in the report of `xol count --format json`.
#[derive(Clone, Debug)]
pub struct Line {
    /// The probe as a report names it.
    pub probe: String,
    /// The object's path.
    pub object: String,
    /// The symbol at the address, if there is one.
    pub symbol: String,
    /// The address in the file.
    pub addr: u64,
    /// How often it was hit.
    pub hits: u64,
    /// How many hits could not be handled.
    pub missed: u64,
    /// `step`, `xol`, `boost`, `simulate`, `jump`, or empty where it was rejected.
    pub strategy: String,
    /// Why a hit of it stops the program, where it does.
    pub why_not_jump: Option<String>,
    /// Why it was rejected.
    pub reason: Option<String>,
}

/// A probed run and its report.
#[derive(Clone, Debug)]
pub struct Counted {
    /// The program's own end, as xol passed it on.
    pub finished: Finished,
    /// One for each site.
    pub lines: Vec<Line>,
    /// The report as it was written.
    pub text: String,
}

impl Counted {
    /// Hits by address in the file, for one object.
    #[must_use]
    pub fn hits(&self, object: &Path) -> BTreeMap<u64, u64> {
        let name = object.file_name().map(|n| n.to_string_lossy().into_owned());
        let of = |line: &&Line| {
            Path::new(&line.object).file_name().map(|n| n.to_string_lossy().into_owned()) == name
        };
        let armed = self.lines.iter().filter(of).filter(|l| l.reason.is_none());
        armed.map(|l| (l.addr, l.hits)).collect()
    }

    /// The rejected sites by reason.
    #[must_use]
    pub fn rejects(&self) -> BTreeMap<String, Vec<&Line>> {
        let mut by_reason: BTreeMap<String, Vec<&Line>> = BTreeMap::new();
        for line in &self.lines {
            if let Some(reason) = &line.reason {
                by_reason.entry(reason.clone()).or_default().push(line);
            }
        }
        by_reason
    }
}

/// Runs `command` under `xol count OPTIONS PROBES`.
///
/// # Panics
/// If the report cannot be read.
#[must_use]
pub fn count(options: &[&str], probes: &[String], command: &Run) -> Counted {
    let probes: Vec<&str> = probes.iter().map(String::as_str).collect();
    let (finished, text) = reported("count", options, &probes, command);
    Counted { lines: parse(&text), finished, text }
}

/// Runs `command` under `xol WHAT OPTIONS PROBES`: its end, and the report in JSON.
///
/// # Panics
/// If the report cannot be read.
#[must_use]
pub fn reported(
    what: &str,
    options: &[&str],
    probes: &[&str],
    command: &Run,
) -> (Finished, String) {
    let report = scratch("report");
    let before = [xol().as_os_str().to_owned(), what.into(), "--format".into(), "json".into()];
    let before = before.into_iter().chain(options.iter().map(OsString::from));
    let before = before.chain(["-o".into(), report.clone().into_os_string()]);
    let before = before.chain(probes.iter().map(OsString::from)).chain(["--".into()]);
    let finished = command.clone().under(before).finish();
    let text = std::fs::read_to_string(&report)
        .unwrap_or_else(|e| panic!("the report {}: {e}\n{finished}", report.display()));
    // Left where it is after a failure.
    _ = std::fs::remove_file(&report);
    (finished, text)
}

/// Reads the lines of a JSON report.
///
/// # Panics
/// If a line is not what DESIGN promises.
#[must_use]
pub fn parse(text: &str) -> Vec<Line> {
    let line = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        let number = |key: &str| value[key].as_u64();
        Line {
            probe: text("probe").unwrap_or_else(|| panic!("no probe: {line}")),
            object: text("object").unwrap_or_default(),
            symbol: text("symbol").unwrap_or_default(),
            addr: number("addr").unwrap_or(0),
            hits: number("hits").unwrap_or(0),
            missed: number("missed").unwrap_or(0),
            strategy: text("strategy").unwrap_or_default(),
            why_not_jump: text("why_not_jump"),
            reason: text("reason"),
        }
    };
    text.lines().filter(|l| !l.trim().is_empty()).map(line).collect()
}
