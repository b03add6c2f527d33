//! `cargo vm compare`: what each strategy costs in a guest, in the guest's instructions, and both
//! architectures in one table.

use std::path::PathBuf;

use serde_json::Value;
use xol::compare::{Arming, Comparison, Cost, Share, Spread, picture, table};

use crate::{Error, Guest, Stream, Vm, board};

/// What is to be compared, and how it is written.
#[derive(Clone, Debug)]
pub struct Compare {
    /// The machines, one after the other.
    pub vms: Vec<(Guest, Vm)>,
    /// `--rounds` and `--hits` of `xol compare`.
    pub rounds: u64,
    /// Hits of one measurement.
    pub hits: u64,
    /// One object of JSON a line, and no table.
    pub json: bool,
    /// Where a picture goes.
    pub svg: Option<PathBuf>,
}

impl Compare {
    /// Runs `xol compare` in each guest; returns what is to be shown.
    ///
    /// # Errors
    /// Guests that do not start, and what `xol` says where it fails.
    pub fn run(self) -> Result<String, Error> {
        if let Some(path) = &self.svg {
            // What cannot be written is better known before.
            std::fs::write(path, "").map_err(|e| Error::io("write", path, &e))?;
        }
        let mut all = Vec::new();
        let mut json = String::new();
        for (guest, vm) in self.vms {
            let text = measured(guest, vm, self.rounds, self.hits)?;
            all.push(read(&text)?);
            json.push_str(&text);
        }
        if let Some(path) = &self.svg {
            std::fs::write(path, picture(&all)).map_err(|e| Error::io("write", path, &e))?;
        }
        Ok(if self.json { json } else { table(&all) })
    }
}

/// What `xol compare --format json` says in a guest.
fn measured(guest: Guest, vm: Vm, rounds: u64, hits: u64) -> Result<String, Error> {
    if vm.xol.is_none() && board::built(guest).is_none() {
        eprintln!("cargo vm: building xol for {guest}");
        board::build(guest, None, true)?;
    }
    eprintln!("cargo vm: measuring in a guest of {guest}");
    let mut session = vm.icount().boot()?;
    // The kernel's uprobes, where it has them.
    session.run(["mount", "-t", "tracefs", "nodev", "/sys/kernel/tracing"])?;
    let (rounds, hits) = (rounds.to_string(), hits.to_string());
    let words = ["xol", "compare", "--icount", "--format", "json", "--rounds", &rounds];
    let words = words.into_iter().chain(["--hits", &hits]);
    let mut text = Vec::new();
    let (status, _) = session.stream(words, &mut |stream, bytes| match stream {
        Stream::Stdout => text.extend_from_slice(bytes),
        Stream::Stderr => eprint!("{}", String::from_utf8_lossy(bytes)),
    })?;
    match status {
        0 => Ok(String::from_utf8_lossy(&text).into_owned()),
        status => Err(Error::other(format!(
            "xol compare ended with status {status} in a guest of {guest}; see above"
        ))),
    }
}

/// Reads what `xol compare --format json` has written.
///
/// # Errors
/// What is not that.
pub fn read(text: &str) -> Result<Comparison, Error> {
    let mut all = Comparison::default();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let row: Value = serde_json::from_str(line)
            .map_err(|e| Error::other(format!("this is no row of xol compare: {e}: {line}")))?;
        let name = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| row[key].as_u64().unwrap_or(0);
        let spread = |keys: [&str; 3]| {
            let [mid, low, high] = keys.map(|key| row[key].as_f64());
            Some(Spread { mid: mid?, low: low?, high: high? })
        };
        let cost = spread(["cost", "low", "high"]);
        (all.arch, all.machine, all.rounds) = (name("arch"), name("machine"), number("rounds"));
        if row["unit"].is_string() {
            all.unit = name("unit");
        }
        let strategy = name("strategy");
        match row["row"].as_str() {
            Some("share") => all.shares.push(Share {
                strategy,
                object: name("object"),
                instructions: number("instructions"),
                possible: number("possible"),
            }),
            Some("arming") => all.arming.extend(cost.map(|cost| Arming {
                strategy,
                sites: number("sites"),
                cost,
                memory: spread(["memory", "memory_low", "memory_high"]),
            })),
            _ => all.costs.push(Cost {
                kind: name("kind"),
                insn: name("insn"),
                strategy,
                cost,
                ratio: spread(["ratio", "ratio_low", "ratio_high"]),
                stops: row["stops"].as_f64(),
                calls: number("calls"),
                hits: row["hits"].as_u64(),
                why: row["why"].as_str().map(str::to_owned),
            }),
        }
    }
    match all.costs.is_empty() {
        true => Err(Error::other("xol compare has measured nothing")),
        false => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xol_writes_is_read() {
        let spread = |mid| Spread::of(&[mid, mid + 0.5, mid + 1.0]);
        let written = Comparison {
            arch: "arm64".into(),
            machine: "a \"machine\"".into(),
            unit: "instructions".into(),
            rounds: 3,
            costs: vec![
                Cost {
                    kind: "nop".into(),
                    insn: "nop".into(),
                    strategy: "boost".into(),
                    cost: spread(19_000.0),
                    ratio: spread(1.5),
                    stops: Some(1.0),
                    calls: 30,
                    hits: Some(30),
                    why: None,
                },
                Cost { why: Some("it is a \\ branch".into()), ..Cost::default() },
            ],
            shares: vec![Share {
                strategy: "boost".into(),
                object: "/lib/libc.so.6".into(),
                instructions: 10,
                possible: 9,
            }],
            arming: vec![Arming {
                strategy: "boost".into(),
                sites: 512,
                cost: spread(7.0).unwrap(),
                memory: None,
            }],
        };
        let mut text = String::new();
        written.json(&mut text);
        assert_eq!(read(&text).unwrap(), written);
        assert!(read("").is_err() && read("no json").is_err());
    }
}
