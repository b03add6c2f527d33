//! Counts as OpenMetrics (RFC draft 1.0), which Prometheus and its node_exporter read.

use super::count::{Became, CountRow};
use super::latency::LatencyRow;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Appends the counts.
pub fn count_openmetrics(out: &mut String, rows: &[CountRow<'_>]) {
    // Two of one name, in one object and at one address, are one series.
    let mut seen = BTreeSet::new();
    let labelled: Vec<(String, &CountRow<'_>)> = rows
        .iter()
        .map(|row| (labels(row), row))
        .filter(|(labels, _)| seen.insert(labels.clone()))
        .collect();
    let armed = |row: &CountRow<'_>| !matches!(row.became, Became::Rejected(_));
    out.push_str("# TYPE xol_hits counter\n# HELP xol_hits Executions of a place, or returns.\n");
    for (labels, row) in labelled.iter().filter(|(_, row)| armed(row)) {
        let _ = writeln!(out, "xol_hits_total{{{labels}}} {}", row.hits);
    }
    out.push_str("# TYPE xol_missed counter\n# HELP xol_missed Hits that could not be told of.\n");
    for (labels, row) in labelled.iter().filter(|(_, row)| armed(row)) {
        let _ = writeln!(out, "xol_missed_total{{{labels}}} {}", row.missed);
    }
    out.push_str("# TYPE xol_place info\n# HELP xol_place What became of a place.\n");
    for (labels, row) in &labelled {
        let (strategy, reason) = match row.became {
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
    let mut seen = BTreeSet::new();
    let labelled: Vec<(String, &LatencyRow<'_>)> = rows
        .iter()
        .filter(|row| !matches!(row.at.became, Became::Rejected(_)))
        .map(|row| (labels(&row.at) + &by(row), row))
        .filter(|(labels, _)| seen.insert(labels.clone()))
        .collect();
    out.push_str("# TYPE xol_latency_seconds histogram\n# UNIT xol_latency_seconds seconds\n");
    out.push_str("# HELP xol_latency_seconds From entry to return of calls that have returned.\n");
    for (labels, row) in &labelled {
        for power in SORTED {
            // A bucket has what is as long as its label says, too.
            let (to, calls) = (1 << power, row.times.shorter_than(1 << power));
            let le = seconds(to - 1);
            let _ = writeln!(out, "xol_latency_seconds_bucket{{{labels},le=\"{le}\"}} {calls}");
        }
        let (calls, total) = (row.times.calls(), seconds(row.times.total()));
        let _ = writeln!(out, "xol_latency_seconds_bucket{{{labels},le=\"+Inf\"}} {calls}");
        let _ = writeln!(out, "xol_latency_seconds_count{{{labels}}} {calls}");
        let _ = writeln!(out, "xol_latency_seconds_sum{{{labels}}} {total}");
    }
    out.push_str(
        "# TYPE xol_unfinished counter\n# HELP xol_unfinished Calls that did not return.\n",
    );
    for (labels, row) in &labelled {
        let _ = writeln!(out, "xol_unfinished_total{{{labels}}} {}", row.unfinished);
    }
    out.push_str("# TYPE xol_missed counter\n# HELP xol_missed Hits that could not be told of.\n");
    for (labels, row) in &labelled {
        let _ = writeln!(out, "xol_missed_total{{{labels}}} {}", row.at.missed);
    }
    out.push_str("# EOF\n");
}

/// Nanoseconds as decimal seconds.
fn seconds(ns: u64) -> String {
    format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

/// The label of what `--by` asks for.
fn by(row: &LatencyRow<'_>) -> String {
    let mut out = String::new();
    if let Some((name, value)) = row.by {
        let _ = write!(out, ",by=\"{name}\",value=\"");
        escape(&mut out, value.text);
        out.push('"');
    }
    out
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

fn labels(row: &CountRow<'_>) -> String {
    let mut out = String::new();
    for (n, (name, value)) in
        [("probe", row.probe), ("object", row.object), ("symbol", row.symbol)].iter().enumerate()
    {
        let _ = write!(out, "{}{name}=\"", if n == 0 { "" } else { "," });
        escape(&mut out, value);
        out.push('"');
    }
    let _ = write!(out, ",addr=\"{:#x}\",return=\"{}\"", row.addr, row.is_return);
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
