//! The lines of `xol trace`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::run::{Finished, Run};
use crate::xol::reported;

/// One line of `xol trace --format json`.
#[derive(Clone, Debug)]
pub struct Event {
    /// CLOCK_MONOTONIC, in nanoseconds.
    pub ts_ns: u64,
    /// The process.
    pub pid: u64,
    /// The thread.
    pub tid: u64,
    /// The probe as the user wrote it.
    pub probe: String,
    /// The arguments.
    pub args: Value,
    /// What was returned.
    pub ret: Option<Value>,
    /// From entry to return.
    pub duration_ns: Option<u64>,
}

impl Event {
    /// An argument that is a number.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn number(&self, name: &str) -> u64 {
        self.args[name].as_u64().unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }
}

/// What a run told.
#[derive(Debug)]
pub struct Traced {
    /// In the order of the lines.
    pub events: Vec<Event>,
    /// How many hits xol says that it missed.
    pub missed: u64,
    /// The run's end; what xol itself said is among what the program did.
    pub finished: Finished,
}

/// Runs `command` under `xol trace OPTIONS PROBES`.
///
/// # Panics
/// If a line is not what DESIGN promises.
#[must_use]
pub fn trace(options: &[&str], probes: &[&str], command: &Run) -> Traced {
    let (finished, text) = reported("trace", options, probes, command);
    Traced { events: parse(&text), missed: missed(&finished.err()), finished }
}

/// What xol says of missed hits.
#[must_use]
pub fn missed(said: &str) -> u64 {
    let line = said.lines().find(|l| l.starts_with("xol: ") && l.contains(" hits were missed"));
    let number = line.and_then(|l| l.split(' ').nth(1)?.parse().ok());
    number.unwrap_or(0)
}

/// Reads the lines of a JSON trace.
///
/// # Panics
/// If a line is not what DESIGN promises.
#[must_use]
pub fn parse(text: &str) -> Vec<Event> {
    let line = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let number = |key: &str| value[key].as_u64().unwrap_or_else(|| panic!("no {key}: {line}"));
        Event {
            ts_ns: number("ts_ns"),
            pid: number("pid"),
            tid: number("tid"),
            probe: value["probe"].as_str().unwrap_or_else(|| panic!("{line}")).to_owned(),
            args: value["args"].clone(),
            ret: value.get("ret").cloned(),
            duration_ns: value.get("duration_ns").and_then(Value::as_u64),
        }
    };
    text.lines().map(line).collect()
}

/// What each thread did, in the order in which they were first seen: probe, arguments, what was
/// returned.
#[must_use]
pub fn by_thread(events: &[Event]) -> Vec<Vec<String>> {
    let mut places = BTreeMap::new();
    let mut threads: Vec<Vec<String>> = Vec::new();
    for event in events {
        let place = *places.entry((event.pid, event.tid)).or_insert_with(|| {
            threads.push(Vec::new());
            threads.len() - 1
        });
        threads[place].push(format!("{} {} {:?}", event.probe, event.args, event.ret));
    }
    threads
}
