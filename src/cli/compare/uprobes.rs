//! The kernel's own probes, through tracefs, at the same sites.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

/// Where tracefs is.
const FOLDERS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Events of a group of ours, for as long as this lives.
pub(super) struct Uprobes {
    folder: &'static str,
    group: String,
    names: Vec<&'static str>,
}

impl Uprobes {
    /// One at each of these offsets in a file; with it, why the kernel refuses one.
    ///
    /// # Errors
    /// A sentence, where there are none at all.
    pub(super) fn new(
        file: &Path,
        offsets: &[(&'static str, u64)],
    ) -> Result<(Uprobes, Vec<Option<String>>), String> {
        let there = |folder: &&str| Path::new(folder).join("events").exists();
        let folder = FOLDERS.into_iter().find(there).ok_or(
            "the kernel's uprobes are left out: there is no tracefs; as root, mount -t tracefs \
             nodev /sys/kernel/tracing",
        )?;
        let mut uprobes =
            Uprobes { folder, group: format!("xol_{}", std::process::id()), names: Vec::new() };
        let mut refused = Vec::new();
        for &(name, offset) in offsets {
            let event = event(name);
            let line = format!("p:{}/{event} {}:{offset:#x}", uprobes.group, file.display());
            tell(folder, "uprobe_events", &line).map_err(|error| match error.kind() {
                ErrorKind::NotFound => {
                    "the kernel's uprobes are left out: this kernel has none".to_owned()
                }
                ErrorKind::PermissionDenied => format!(
                    "the kernel's uprobes are left out: {folder}/uprobe_events: {error}; they are \
                     for root"
                ),
                _ => format!("the kernel's uprobes are left out: {folder}/uprobe_events: {error}"),
            })?;
            uprobes.names.push(name);
            let enable = format!("events/{}/{event}/enable", uprobes.group);
            let enabled = tell(folder, &enable, "1");
            refused.push(enabled.err().map(|error| format!("the kernel refuses it: {error}")));
        }
        Ok((uprobes, refused))
    }

    /// How often each was hit, as the kernel says.
    pub(super) fn hits(&self) -> Vec<u64> {
        let profile = fs::read_to_string(format!("{}/uprobe_profile", self.folder));
        let profile = profile.unwrap_or_default();
        let hits = |name: &&str| {
            let event = event(name);
            let mut lines = profile.lines().map(str::split_whitespace);
            // FILE EVENT HITS MISSES; the group is not among them.
            let found = lines.find_map(|mut words| {
                words.any(|word| word == event).then(|| words.next()).flatten()
            });
            found.and_then(|hits| hits.parse().ok()).unwrap_or(0)
        };
        self.names.iter().map(hits).collect()
    }
}

impl Drop for Uprobes {
    fn drop(&mut self) {
        let _ = tell(self.folder, &format!("events/{}/enable", self.group), "0");
        for name in &self.names {
            let line = format!("-:{}/{}", self.group, event(name));
            let _ = tell(self.folder, "uprobe_events", &line);
        }
    }
}

/// What an event is called: the kernel's counts do not say of which group it is.
fn event(name: &str) -> String {
    format!("{}_{}", name.replace('-', "_"), std::process::id())
}

/// Appends one line to a file of tracefs.
fn tell(folder: &str, file: &str, line: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().append(true).open(format!("{folder}/{file}"))?;
    file.write_all(line.as_bytes())
}
