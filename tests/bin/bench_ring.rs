//! `bench-ring`: how many of a program's calls `xol trace --strategy jump` tells, at how many a
//! second, as rows of a table. Never a test. What one record costs, and reading it, is
//! `bench-jump`'s.

use std::time::Duration;

use xol_tests::events::missed;
use xol_tests::programs::{Build, program};
use xol_tests::run::run;
use xol_tests::xol::{scratch, xol};

const PROBE: &str = "tell(n: i64, tid: u32, pid: u32, letter: char, down: i16, odd: bool)";

fn main() {
    println!(
        "| calls a second | for | threads | output | told | missed |\n|---|---|---|---|---|---|"
    );
    for format in ["text", "json"] {
        for (threads, ns) in [(1, 4000), (1, 1000), (1, 500), (2, 2000), (1, 0), (8, 0)] {
            stream(format, threads, ns);
        }
    }
}

/// Calls for about three seconds, one every so many nanoseconds in each thread; 0 is a million as
/// fast as can be.
fn stream(format: &str, threads: u64, ns: u64) {
    let calls = 3_000_000_000_u64.checked_div(ns).unwrap_or(1_000_000);
    let words = [threads, calls, ns].map(|n| n.to_string());
    let report = scratch("bench");
    let options = ["trace", "--strategy", "jump", "--format", format, "-o"].map(Into::into);
    let before = [xol().as_os_str().to_owned()].into_iter().chain(options);
    let before = before.chain([report.clone().into(), PROBE.into(), "--".into()]);
    let command = run(program("stream", Build::Pie)).arg("plain").args(words);
    let finished = command.under(before).limit(Duration::from_secs(120)).finish().ok();
    let told = std::fs::read(&report).map_or(0, |text| text.split(|&b| b == b'\n').count() - 1);
    _ = std::fs::remove_file(&report);
    let took: f64 = finished.out().split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0.0);
    let (all, missed) = (threads * calls, missed(&finished.err()));
    assert_eq!(told as u64 + missed, all, "{finished}");
    println!(
        "| {:.2} million | {:.2} s | {threads} | {format} | {told} | {missed} |",
        all as f64 / took * 1e3,
        took / 1e9
    );
}
