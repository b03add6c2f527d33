//! xol's returns beside the kernel's uretprobes: how many, and with what values.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::elf::Object;
use crate::run::{Finished, Run};
use crate::uprobes::{self, Counts, Moment, VALUES};
use crate::xol;

/// Functions of libc that `ls`, `sort` and `gzip` call, among them ones that tail-call and ones
/// that have parts elsewhere.
pub const FUNCTIONS: &[&str] = &[
    "malloc",
    "calloc",
    "realloc",
    "free",
    "strdup",
    "setlocale",
    "bindtextdomain",
    "textdomain",
    "fwrite_unlocked",
    "fputs_unlocked",
    "fflush_unlocked",
    "fclose",
    "__overflow",
    "__errno_location",
    "opendir",
    "readdir",
    "closedir",
    "qsort",
    "strcoll",
    "mbstowcs",
    "iswprint",
    "getenv",
    "isatty",
    "ioctl",
    "open",
    "close",
    "read",
    "write",
    "fstat",
    "lseek",
    "sigaction",
    "signal",
    "strtol",
    "strtoul",
    "localtime_r",
    "getpwuid",
    "getgrgid",
    "snmalloc",
    "memcpy",
    "strlen",
    "strcmp",
    "__cxa_atexit",
    "exit",
    "fileno",
    "ferror_unlocked",
    "posix_fadvise",
    "fopen",
    "fread_unlocked",
    "getrlimit",
    "sysconf",
    "sched_getaffinity",
    "pthread_mutex_lock",
    "pthread_mutex_unlock",
    "__fpending",
    "nl_langinfo",
    "strftime",
    "mktime",
    "time",
    "error",
    "fprintf",
    "__fprintf_chk",
    "__sprintf_chk",
    "__snprintf_chk",
    "tzset",
    "utimensat",
    "unlink",
    "raise",
    "sigprocmask",
];

/// One function.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Returns as the kernel counts them, with their values.
    pub kernel: (u64, Vec<u64>),
    /// As xol does.
    pub xol: (u64, Vec<u64>),
}

impl Row {
    /// Whether counts and values are the same. A pointer to something mapped is the same if its
    /// place in its page is: the kernel's uprobes map a page of their own.
    #[must_use]
    pub fn equal(&self) -> bool {
        let place = |&v: &u64| if matches!(v >> 40, 0x7f | 0xff) { v & 0xfff } else { v };
        self.kernel.0 == self.xol.0
            && self.kernel.1.iter().map(place).eq(self.xol.1.iter().map(place))
    }
}

/// All functions that were called.
#[derive(Clone, Debug)]
pub struct Returns {
    command: String,
    /// One for each function.
    pub rows: Vec<Row>,
}

/// Compares the returns of `names` of `object` in `command`, with the kernel's own and each
/// strategy's.
///
/// # Panics
/// If a run fails.
#[must_use]
pub fn compare(
    object: &Object,
    names: &[&str],
    command: &Run,
    strategies: &[&str],
) -> Vec<Returns> {
    let functions = object.functions();
    let found: Vec<(&str, u64)> = names
        .iter()
        .filter_map(|&name| {
            let function = functions.iter().find(|f| f.name == name && !f.ifunc)?;
            Some((name, object.offset(function.addr)?))
        })
        .collect();
    let offsets: Vec<u64> = found.iter().map(|f| f.1).collect();
    let kernel = uprobes::count(&object.path, &offsets, Moment::Return, command);
    strategies.iter().map(|strategy| beside(object, &found, &kernel, strategy, command)).collect()
}

/// The returns of `found` with one strategy, beside the kernel's.
fn beside(
    object: &Object,
    found: &[(&str, u64)],
    kernel: &Counts,
    strategy: &str,
    command: &Run,
) -> Returns {
    let report = xol::scratch("trace");
    let path = object.path.display();
    let before = [xol::xol().as_os_str().to_owned(), "trace".into(), "--format".into()];
    let before = before.into_iter().chain(["json".into(), "-o".into(), report.clone().into()]);
    let before = before.chain(["--strategy".into(), strategy.into()]);
    let probes = found.iter().map(|(name, _)| format!("return:{path}:{name}() -> u64").into());
    let finished = command.clone().under(before.chain(probes).chain(["--".into()])).finish();
    kernel.finished.assert_same(&finished);
    let mut seen = events(&report);
    let rows = found
        .iter()
        .zip(&kernel.sites)
        .filter(|(_, site)| site.hits.is_ok_and(|n| n > 0))
        .map(|((name, _), site)| {
            let values = seen.remove(*name).unwrap_or_default();
            let kept = values.iter().copied().take(VALUES).collect();
            Row {
                name: (*name).to_owned(),
                kernel: (site.hits.unwrap_or(0), site.values.clone()),
                xol: (values.len() as u64, kept),
            }
        })
        .collect();
    Returns { command: format!("{command} ({strategy})"), rows }
}

/// How often each of `names` in the program at `path` returned, by xol, and how the program ended.
///
/// # Panics
/// If a run fails or a probe is rejected.
#[must_use]
pub fn count(
    path: &Path,
    names: &[&str],
    command: &Run,
    strategy: &str,
) -> (BTreeMap<String, u64>, Finished) {
    let probes: Vec<String> =
        names.iter().map(|name| format!("return:{}:{name}", path.display())).collect();
    let counted = xol::count(&["--strategy", strategy], &probes, command);
    let hits = counted.lines.iter().map(|line| {
        assert_eq!((&line.reason, line.missed), (&None, 0), "{}", counted.text);
        (line.symbol.clone(), line.hits)
    });
    (hits.collect(), counted.finished)
}

/// What the program says of itself in lines like `returned r_leaf 40`.
#[must_use]
pub fn said(finished: &Finished) -> BTreeMap<String, u64> {
    let words = |line: &str| {
        let (name, times) = line.strip_prefix("returned ")?.split_once(' ')?;
        Some((name.to_owned(), times.parse().ok()?))
    };
    finished.out().lines().filter_map(words).collect()
}

/// The values in a trace, by function.
fn events(report: &Path) -> BTreeMap<String, Vec<u64>> {
    let text = std::fs::read_to_string(report).unwrap_or_default();
    let mut seen: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for line in text.lines() {
        let event: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let probe = event["probe"].as_str().unwrap_or_default();
        let name = probe.strip_suffix("() -> u64").unwrap_or(probe);
        let name = name.rsplit(':').next().unwrap_or(name);
        let ret = &event["ret"];
        let value = ret.as_u64().or_else(|| ret.as_i64().map(i64::cast_unsigned));
        let value = value.or_else(|| {
            let digits = ret.as_str()?.strip_prefix("0x")?;
            u64::from_str_radix(digits, 16).ok()
        });
        if let Some(value) = value {
            seen.entry(name.to_owned()).or_default().push(value);
        }
    }
    // Left where it is after a failure.
    _ = std::fs::remove_file(report);
    seen
}

impl Returns {
    /// The functions about which the two do not agree.
    pub fn differences(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| !row.equal())
    }
}

impl fmt::Display for Returns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: returns of {} functions", self.command, self.rows.len())?;
        for row in &self.rows {
            let (kernel, xol) = (&row.kernel, &row.xol);
            let verdict = if row.equal() { "equal" } else { "DIFFERENT" };
            writeln!(f, "  {}: kernel {}, xol {}: {verdict}", row.name, kernel.0, xol.0)?;
            let first = kernel.1.iter().zip(&xol.1).enumerate().find(|(_, (k, x))| k != x);
            if let Some((n, (k, x))) = first {
                writeln!(f, "    return {n}: kernel {k:#x}, xol {x:#x}")?;
            }
        }
        Ok(())
    }
}
