//! Counts as OpenMetrics (RFC draft 1.0), which Prometheus and its node_exporter read.

use super::by::ByRow;
use super::count::{Became, CountRow};
use super::keyed::Shown;
use super::latency::LatencyRow;
use std::collections::BTreeSet;
use std::fmt::Write;

/// A place, and the name and value of what `--by` asks for.
type Named<'r> = (&'r CountRow<'r>, Option<(&'r str, Shown<'r>)>);

/// Appends the counts.
pub fn count_openmetrics(out: &mut String, rows: &[CountRow<'_>]) {
    let all = series(&mut rows.iter().map(|row| (row, None)));
    counter(out, "hits", HITS, &all, &|n| rows[n].hits);
    places(out, &all, rows);
}

const HITS: &str = "Executions of a place, or returns.";

/// Appends the rows of `count --by` and `--hist`; `all` are all places.
pub fn by_openmetrics(out: &mut String, rows: &[ByRow<'_>], all: &[CountRow<'_>]) {
    let labelled = series(&mut rows.iter().map(|row| (&row.at, row.by)));
    counter(out, "hits", HITS, &labelled, &|n| rows[n].at.hits);
    if rows.iter().any(|row| row.hist.is_some()) {
        out.push_str("# TYPE xol_value histogram\n# HELP xol_value Values at hits.\n");
    }
    for Series { labels, row, .. } in labelled.iter().filter(|series| !series.rejected) {
        let Some((name, powers)) = rows[*row].hist else { continue };
        let (labels, bars) = (format!("{labels},hist=\"{name}\""), powers.bars());
        let mut below = 0;
        for (_, to, hits) in &bars {
            below += hits;
            // A bucket has what is as much as its label says, too.
            let le = to - 1;
            let _ = writeln!(out, "xol_value_bucket{{{labels},le=\"{le}.0\"}} {below}");
        }
        let _ = writeln!(out, "xol_value_bucket{{{labels},le=\"+Inf\"}} {below}");
        // The format has neither number nor sum where values are negative: the sum might sink.
        if bars.first().is_none_or(|&(from, ..)| from >= 0) {
            let _ = writeln!(out, "xol_value_count{{{labels}}} {below}");
            let _ = writeln!(out, "xol_value_sum{{{labels}}} {}", powers.sum());
        }
    }
    places(out, &series(&mut all.iter().map(|row| (row, None))), all);
}

/// The labels of a row, which one that is, and whether its place was rejected.
struct Series {
    labels: String,
    row: usize,
    rejected: bool,
}

/// Returns the series of these rows. Two of one name, in one object and at one address, are one.
fn series<'r>(rows: &mut dyn Iterator<Item = Named<'r>>) -> Vec<Series> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for (row, (at, by)) in rows.enumerate() {
        let labels = labels(at, by);
        if seen.insert(labels.clone()) {
            let rejected = matches!(at.became, Became::Rejected(_));
            all.push(Series { labels, row, rejected });
        }
    }
    all
}

/// Appends a counter of each place that is not rejected: `of` has the numbers of the rows.
fn counter(out: &mut String, name: &str, help: &str, all: &[Series], of: &dyn Fn(usize) -> u64) {
    let _ = writeln!(out, "# TYPE xol_{name} counter\n# HELP xol_{name} {help}");
    for Series { labels, row, .. } in all.iter().filter(|series| !series.rejected) {
        let _ = writeln!(out, "xol_{name}_total{{{labels}}} {}", of(*row));
    }
}

/// Appends what was missed.
fn missed(out: &mut String, all: &[Series], of: &dyn Fn(usize) -> u64) {
    counter(out, "missed", "Hits that could not be told of.", all, of);
}

/// Appends what was missed at each place, what became of it, and the end.
fn places(out: &mut String, all: &[Series], rows: &[CountRow<'_>]) {
    missed(out, all, &|n| rows[n].missed);
    out.push_str("# TYPE xol_place info\n# HELP xol_place What became of a place.\n");
    for Series { labels, row, .. } in all {
        let (strategy, reason) = match rows[*row].became {
            Became::Waiting => ("", ""),
            Became::Armed(strategy) => (strategy.name(), ""),
            Became::Rejected(reject) => ("", reject.reason.id()),
        };
        let _ = writeln!(
            out,
            "xol_place_info{{{labels},strategy=\"{strategy}\",reason=\"{reason}\"}} 1"
        );
    }
    out.push_str("# EOF\n");
}

/// The shortest and the longest of the times that calls are sorted by, as powers of two in ns.
const SORTED: std::ops::RangeInclusive<u32> = 6..=36;

/// Appends what `xol latency` has counted: a histogram for each place, in seconds.
pub fn latency_openmetrics(out: &mut String, rows: &[LatencyRow<'_>]) {
    times(out, rows, false);
}

/// Appends what `xol count --summary` has counted: the number and sum of the times, and the errors.
pub fn summary_openmetrics(out: &mut String, rows: &[LatencyRow<'_>]) {
    times(out, rows, true);
}

/// Appends the times of calls, as sums or as histograms.
// Inlined, so that a board that has no sums has nothing of them.
#[inline(always)]
fn times(out: &mut String, rows: &[LatencyRow<'_>], sums: bool) {
    let all = series(&mut rows.iter().map(|row| (&row.at, row.by)));
    let (name, kind) = match sums {
        true => ("xol_call_seconds", "summary"),
        false => ("xol_latency_seconds", "histogram"),
    };
    let _ = writeln!(
        out,
        "# TYPE {name} {kind}\n# UNIT {name} seconds\n\
         # HELP {name} From entry to return of calls that have returned."
    );
    for Series { labels, row, .. } in all.iter().filter(|series| !series.rejected) {
        let times = rows[*row].times;
        for power in SORTED.filter(|_| !sums) {
            // A bucket has what is as long as its label says, too.
            let (to, calls) = (1 << power, times.shorter_than(1 << power));
            let le = seconds(to - 1);
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{le}\"}} {calls}");
        }
        let (calls, total) = (times.calls(), seconds(times.total()));
        if !sums {
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {calls}");
        }
        let _ = writeln!(out, "{name}_count{{{labels}}} {calls}\n{name}_sum{{{labels}}} {total}");
    }
    if sums {
        let said = "Calls that say that they have failed.";
        counter(out, "errors", said, &all, &|n| rows[n].errors);
    }
    counter(out, "unfinished", "Calls that did not return.", &all, &|n| rows[n].unfinished);
    missed(out, &all, &|n| rows[n].at.missed);
    out.push_str("# EOF\n");
}

/// Nanoseconds as decimal seconds.
fn seconds(ns: u64) -> String {
    format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

/// Appends the value of a label.
fn escape(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

/// The labels of a row.
fn labels(row: &CountRow<'_>, by: Option<(&str, Shown<'_>)>) -> String {
    let mut out = String::new();
    for (name, value) in
        [("probe=\"", row.probe), ("object=\"", row.object), ("symbol=\"", row.symbol)]
    {
        out.push_str(name);
        escape(&mut out, value);
        out.push_str("\",");
    }
    let _ = write!(out, "addr=\"{:#x}\",return=\"{}\"", row.addr, row.is_return);
    if let Some((name, value)) = by {
        let _ = write!(out, ",by=\"{name}\",value=\"");
        escape(&mut out, value.text);
        out.push('"');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::count::hit_row;
    use xol_arch::{Reason, Strategy};

    #[test]
    fn latencies_are_histograms() {
        use super::super::keyed::Shown;
        use super::super::latency::tests::{row, times};
        let few = times(&[63, 64, 127, 128, 2_000_000_000]);
        let mut row = row("work", &few);
        row.by = Some(("n", Shown { text: "a\"b", json: "" }));
        row.unfinished = 3;
        let mut out = String::new();
        latency_openmetrics(&mut out, &[row]);
        let labels = "probe=\"work\",object=\"/bin/app\",symbol=\"work\",addr=\"0x1000\",\
                      return=\"false\",by=\"n\",value=\"a\\\"b\"";
        for line in [
            format!("xol_latency_seconds_bucket{{{labels},le=\"0.000000063\"}} 1"),
            format!("xol_latency_seconds_bucket{{{labels},le=\"0.000000127\"}} 3"),
            format!("xol_latency_seconds_bucket{{{labels},le=\"0.000000255\"}} 4"),
            format!("xol_latency_seconds_bucket{{{labels},le=\"1.073741823\"}} 4"),
            format!("xol_latency_seconds_bucket{{{labels},le=\"2.147483647\"}} 5"),
            format!("xol_latency_seconds_bucket{{{labels},le=\"+Inf\"}} 5"),
            format!("xol_latency_seconds_count{{{labels}}} 5"),
            format!("xol_latency_seconds_sum{{{labels}}} 2.000000382"),
            format!("xol_unfinished_total{{{labels}}} 3"),
            "# EOF".to_owned(),
        ] {
            assert!(out.lines().any(|l| l == line), "{line}\n{out}");
        }
    }

    #[test]
    fn counts_are_metrics() {
        let jump = Became::Armed(Strategy::Jump);
        let row = CountRow {
            probe: "a\"b\\c\nd",
            missed: 1,
            why_not_jump: None,
            ..hit_row("malloc", 5, jump)
        };
        let rejected =
            CountRow { became: Became::Rejected(Reason::Privileged.into()), addr: 8, ..row };
        let mut out = String::new();
        count_openmetrics(&mut out, &[row, row, rejected]);
        let labels = "probe=\"a\\\"b\\\\c\\nd\",object=\"/lib/libc.so.6\",symbol=\"malloc\"";
        let first = format!("{labels},addr=\"0x1000\",return=\"false\"");
        assert_eq!(
            out,
            format!(
                "# TYPE xol_hits counter
# HELP xol_hits Executions of a place, or returns.
xol_hits_total{{{first}}} 5
# TYPE xol_missed counter
# HELP xol_missed Hits that could not be told of.
xol_missed_total{{{first}}} 1
# TYPE xol_place info
# HELP xol_place What became of a place.
xol_place_info{{{first},strategy=\"jump\",reason=\"\"}} 1
xol_place_info{{{labels},addr=\"0x8\",return=\"false\",strategy=\"\",reason=\"privileged\"}} 1
# EOF
"
            )
        );
    }
}
