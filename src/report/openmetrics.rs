//! Counts as OpenMetrics (RFC draft 1.0), which Prometheus and its node_exporter read.

use super::count::{Became, CountRow};
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

fn labels(row: &CountRow<'_>) -> String {
    let mut out = String::new();
    for (n, (name, value)) in
        [("probe", row.probe), ("object", row.object), ("symbol", row.symbol)].iter().enumerate()
    {
        let _ = write!(out, "{}{name}=\"", if n == 0 { "" } else { "," });
        for c in value.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                c => out.push(c),
            }
        }
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
