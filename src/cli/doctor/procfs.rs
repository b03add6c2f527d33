//! The few formats of /proc that are read here (proc(5)).

use std::fs;

/// The lines `Name: value` of a status file.
#[derive(Clone, Debug, Default)]
pub(super) struct Status(String);

impl Status {
    /// Of a process or thread: `/proc/PID` or `/proc/PID/task/TID`.
    pub(super) fn read(folder: &str) -> Option<Status> {
        fs::read_to_string(format!("{folder}/status")).ok().map(Status)
    }

    #[cfg(test)]
    pub(super) fn from_text(text: &str) -> Status {
        Status(text.to_owned())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    /// The first number of a value.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.split_whitespace().next()?.parse().ok()
    }

    /// A set of signals or capabilities.
    pub(super) fn has_bit(&self, name: &str, bit: u32) -> bool {
        let mask = self.get(name).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        mask.is_some_and(|mask| mask >> bit & 1 != 0)
    }
}

/// A file of one short line.
pub(in crate::cli) fn line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// One value of our own auxiliary vector (getauxval(3)).
pub(in crate::cli) fn auxv(wanted: u64) -> Option<u64> {
    let bytes = fs::read("/proc/self/auxv").ok()?;
    let word = |b: &[u8]| Some(u64::from_ne_bytes(b.try_into().ok()?));
    bytes
        .chunks_exact(16)
        .find_map(|pair| (word(&pair[..8])? == wanted).then(|| word(&pair[8..]))?)
}

/// The words that /proc/cpuinfo lists as the first processor's features.
pub(super) fn cpu_features() -> Vec<String> {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|l| l.starts_with("flags") || l.starts_with("Features"));
    let words = line.and_then(|l| l.split_once(':')).map_or("", |(_, words)| words);
    words.split_whitespace().map(str::to_owned).collect()
}
