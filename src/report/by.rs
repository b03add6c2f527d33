//! `xol count --by` and `--hist`: hits for each value, and values by powers of two.

use super::column::{Order, SortColumn, by_numbers};
use super::count::{CountRow, LISTED, counted_json, rest};
use super::keyed::Shown;
use super::latency::{buckets, histogram};
use super::powers::Powers;
use std::fmt::Write;

/// The hits of one place, or of one value at it.
#[derive(Clone, Copy, Debug)]
pub struct ByRow<'a> {
    /// The place, with the hits of this row.
    pub at: CountRow<'a>,
    /// The name and value of what `--by` asks for.
    pub by: Option<(&'a str, Shown<'a>)>,
    /// The name and values of what `--hist` asks for.
    pub hist: Option<(&'a str, &'a Powers)>,
}

impl ByRow<'_> {
    fn name(&self) -> String {
        let mut name = self.at.place();
        if let Some((what, value)) = self.by {
            let _ = write!(name, "  {what}: {}", value.text);
        }
        name
    }
}

/// Appends the table and the histograms for people. `places` are all places.
pub fn by_text(out: &mut String, rows: &[ByRow<'_>], places: &[CountRow<'_>], order: Order) {
    let mut shown: Vec<&ByRow<'_>> = rows.iter().filter(|r| r.at.strategy().is_some()).collect();
    let quiet = shown.iter().filter(|row| row.at.hits == 0).count();
    if quiet > LISTED {
        shown.retain(|row| row.at.hits != 0);
    }
    let value = |row: &&ByRow<'_>| match order.by {
        SortColumn::Missed => row.at.missed,
        _ => row.at.hits,
    };
    let place = |row: &&ByRow<'_>| (row.at.object.to_owned(), row.at.addr, by_numbers(&row.name()));
    order.sort(&mut shown, value, place);
    let missed = shown.iter().any(|row| row.at.missed > 0);
    if !shown.is_empty() {
        let head = if missed { "    MISSED" } else { "" };
        let _ = writeln!(out, "{:>12}{head}  STRATEGY  PLACE", "HITS");
    }
    for row in &shown {
        let _ = write!(out, "{:>12}", row.at.hits);
        if missed {
            let _ = write!(out, "{:>10}", row.at.missed);
        }
        let _ = writeln!(out, "  {:<8}  {}", row.at.strategy().unwrap_or("-"), row.name());
    }
    if quiet > LISTED {
        let _ = writeln!(out, "{quiet:>12} places more were never hit");
    }
    let with_bars = shown.iter().filter(|row| row.at.hits > 0);
    for row in with_bars.take(LISTED) {
        let Some((what, powers)) = row.hist else { continue };
        let text = |(from, to, hits): (i128, i128, u64)| (from.to_string(), to.to_string(), hits);
        let bars: Vec<_> = powers.bars().into_iter().map(text).collect();
        histogram(out, &format!("{}  {what}", row.name()), &bars);
    }
    rest(out, places);
}

/// Appends the row as one JSON object and a line feed.
pub fn by_json(out: &mut String, row: &ByRow<'_>) {
    counted_json(out, &row.at, |object| {
        if let Some((_, value)) = row.by {
            object.nested("by", |out| out.push_str(value.json));
        }
        if let Some((_, powers)) = row.hist {
            object.nested("buckets", |out| buckets(out, powers.bars().into_iter()));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Became;
    use crate::report::count::hit_row;
    use xol_arch::Strategy;

    fn row(hits: u64) -> CountRow<'static> {
        let became = Became::Armed(Strategy::Boost);
        CountRow { probe: "malloc", why_not_jump: None, ..hit_row("malloc", hits, became) }
    }

    #[test]
    fn values_have_rows_and_bars() {
        let mut powers = Powers::default();
        [16, 17, 100].into_iter().for_each(|n| powers.add(n));
        let by = |text| Some(("size", Shown { text, json: text }));
        let rows = [
            ByRow { at: row(1), by: by("7"), hist: None },
            ByRow { at: row(3), by: by("8"), hist: Some(("size", &powers)) },
        ];
        let mut out = String::new();
        by_text(&mut out, &rows, &[], Order { by: SortColumn::Hits, top: None });
        assert_eq!(
            out,
            "        HITS  STRATEGY  PLACE
           3  boost     libc.so.6:malloc  size: 8
           1  boost     libc.so.6:malloc  size: 7

libc.so.6:malloc  size: 8  size
        16 ..        32          2 |########################################|
        32 ..        64          0 |                                        |
        64 ..       128          1 |####################                    |
"
        );
        out.clear();
        by_json(&mut out, &rows[1]);
        let end = ",\"by\":8,\"buckets\":[[16,32,2],[32,64,0],[64,128,1]]}\n";
        assert!(out.contains("\"hits\":3,") && out.ends_with(end), "{out}");
    }
}
