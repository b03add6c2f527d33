//! `xol latency`: the calls of each place, and how long they took; and, of the same sums,
//! `xol count --summary`.

use super::column::{Order, SortColumn, by_numbers};
use super::count::{Became, CountRow, LISTED, name_json, reject_json, rest};
use super::json::Object;
use super::keyed::Shown;
use super::lines::duration;
use super::times::{Bar, Counts, Times};
use crate::WhyNotJump;
use std::fmt::Write;
use xol_arch::Strategy;

/// Percentiles: the name of the column and of the field, and the part of a thousand.
pub(super) const PERCENTILES: [(&str, &str, u64); 4] = [
    ("P50", "p50_ns", 500),
    ("P90", "p90_ns", 900),
    ("P99", "p99_ns", 990),
    ("P99.9", "p999_ns", 999),
];

/// Characters of the longest bar.
const BAR: usize = 40;

/// The calls of one place, or of one value at it.
#[derive(Clone, Copy, Debug)]
pub struct LatencyRow<'a> {
    /// The place: its hits are not used.
    pub at: CountRow<'a>,
    /// The name and value of what `--by` asks for.
    pub by: Option<(&'a str, Shown<'a>)>,
    /// How long the calls took that have returned.
    pub times: &'a Times,
    /// The same in bars of one width, if that was asked for.
    pub linear: Option<&'a Counts>,
    /// Time that was not spent in other probed calls, if that was asked for.
    pub self_ns: Option<u64>,
    /// Calls that have begun and did not return.
    pub unfinished: u64,
    /// Calls that have returned what says that they have failed.
    pub errors: u64,
}

impl LatencyRow<'_> {
    fn bars(&self) -> Vec<Bar> {
        match self.linear {
            Some(counts) if self.times.calls() > 0 => {
                counts.bars(self.times.max().unwrap_or_default())
            }
            _ => self.times.powers(),
        }
    }

    fn is_quiet(&self) -> bool {
        self.times.calls() == 0 && self.unfinished == 0 && self.at.missed == 0
    }

    fn column(&self, column: SortColumn) -> u64 {
        let known = match column {
            SortColumn::Calls | SortColumn::Hits | SortColumn::Rate => Some(self.times.calls()),
            SortColumn::Errors => Some(self.errors),
            SortColumn::Missed => Some(self.at.missed),
            SortColumn::Unfinished => Some(self.unfinished),
            SortColumn::Own => self.self_ns,
            SortColumn::Min => self.times.min(),
            SortColumn::Mean => self.times.mean(),
            SortColumn::P50 => self.times.per_mille(500),
            SortColumn::P90 => self.times.per_mille(900),
            SortColumn::P99 => self.times.per_mille(990),
            SortColumn::P999 => self.times.per_mille(999),
            SortColumn::Max => self.times.max(),
            SortColumn::Total | SortColumn::Place => Some(self.times.total()),
        };
        known.unwrap_or(0)
    }

    /// Place and value, as in the last column.
    fn name(&self) -> String {
        let mut name = self.at.place();
        if let Some((what, value)) = self.by {
            let _ = write!(name, "  {what}: {}", value.text);
        }
        name
    }
}

/// A duration, or a line where there is none.
fn time(ns: Option<u64>) -> String {
    let mut out = String::new();
    match ns {
        Some(ns) => duration(&mut out, ns),
        None => out.push('-'),
    }
    out
}

/// The rows to show, in their order; how many more there are.
fn shown<'r, 'a>(rows: &'r [LatencyRow<'a>], order: Order) -> (Vec<&'r LatencyRow<'a>>, usize) {
    let mut shown: Vec<_> = rows.iter().filter(|row| row.at.strategy().is_some()).collect();
    let quiet = shown.iter().filter(|row| row.is_quiet()).count();
    if quiet > LISTED {
        shown.retain(|row| !row.is_quiet());
    }
    let place =
        |row: &&LatencyRow<'_>| (row.at.object.to_owned(), row.at.addr, by_numbers(&row.name()));
    order.sort(&mut shown, |row| row.column(order.by), place);
    (shown, if quiet > LISTED { quiet } else { 0 })
}

/// Appends the table and the histograms for people. `places` are all places, with those that were
/// rejected.
pub fn latency_text(
    out: &mut String,
    rows: &[LatencyRow<'_>],
    places: &[CountRow<'_>],
    order: Order,
) {
    let (shown, quiet) = shown(rows, order);
    let missed = shown.iter().any(|row| row.at.missed > 0);
    let unfinished = shown.iter().any(|row| row.unfinished > 0);
    let own = shown.iter().any(|row| row.self_ns.is_some());
    if !shown.is_empty() {
        let _ = write!(out, "{:>10}", "CALLS");
        out.push_str(if missed { "    MISSED" } else { "" });
        out.push_str(if unfinished { "  UNFINISHED" } else { "" });
        let _ = write!(out, "  STRATEGY {:>9}", "TOTAL");
        out.push_str(if own { "      SELF" } else { "" });
        for name in ["MIN", "MEAN"].into_iter().chain(PERCENTILES.map(|p| p.0)).chain(["MAX"]) {
            let _ = write!(out, " {name:>9}");
        }
        out.push_str("  PLACE\n");
    }
    for row in &shown {
        let times = row.times;
        let _ = write!(out, "{:>10}", times.calls());
        if missed {
            let _ = write!(out, "{:>10}", row.at.missed);
        }
        if unfinished {
            let _ = write!(out, "{:>12}", row.unfinished);
        }
        let strategy = row.at.strategy().unwrap_or("-");
        let _ = write!(out, "  {strategy:<8} {:>9}", time(Some(times.total())));
        if own {
            let _ = write!(out, " {:>9}", time(row.self_ns));
        }
        let percentiles = PERCENTILES.map(|(_, _, part)| times.per_mille(part));
        let all = [times.min(), times.mean()].into_iter().chain(percentiles).chain([times.max()]);
        for ns in all {
            let _ = write!(out, " {:>9}", time(ns));
        }
        let _ = writeln!(out, "  {}", row.name());
    }
    if quiet > 0 {
        let _ = writeln!(out, "{quiet:>10} places more were never called");
    }
    let stops = |row: &&LatencyRow<'_>| {
        row.times.calls() > 0 && !matches!(row.at.became, Became::Armed(Strategy::Jump))
    };
    if shown.iter().any(stops) {
        out.push_str(
            "times at places that are not jump have what a stop costs in them (xol compare)\n",
        );
    }
    let called: Vec<_> = shown.iter().filter(|row| row.times.calls() > 0).collect();
    for row in called.iter().take(LISTED) {
        let bars = row.bars();
        let bars = bars.iter().map(|&(from, to, calls)| (time(Some(from)), time(Some(to)), calls));
        histogram(out, &row.name(), &bars.collect::<Vec<_>>());
    }
    if called.len() > LISTED {
        let _ = writeln!(out, "\n{} histograms more are in --format json", called.len() - LISTED);
    }
    rest(out, places);
}

/// Appends a histogram: from, to, how many.
pub(super) fn histogram(out: &mut String, name: &str, bars: &[(String, String, u64)]) {
    let most = bars.iter().map(|bar| bar.2).max().unwrap_or(0).max(1);
    let _ = writeln!(out, "\n{name}");
    for (from, to, calls) in bars {
        // What there is, is seen.
        let len = (u128::from(*calls) * BAR as u128).div_ceil(u128::from(most)) as usize;
        let bar = "#".repeat(len);
        let _ = writeln!(out, "{from:>10} .. {to:>9} {calls:>10} |{bar:<BAR$}|");
    }
}

/// Appends the row as one JSON object and a line feed.
pub fn latency_json(out: &mut String, row: &LatencyRow<'_>) {
    let (at, times) = (&row.at, row.times);
    let mut object = Object::new(out);
    name_json(&mut object, at);
    object.number("addr", at.addr);
    if let Some((_, value)) = row.by {
        object.nested("by", |out| out.push_str(value.json));
    }
    object.number("calls", times.calls());
    object.number("missed", at.missed);
    object.number("unfinished", row.unfinished);
    object.text_or_null("strategy", at.strategy());
    object.text_or_null("why_not_jump", at.why_not_jump.map(WhyNotJump::id));
    object.number("total_ns", times.total());
    if let Some(ns) = row.self_ns {
        object.number("self_ns", ns);
    }
    let mut number = |key: &str, ns: Option<u64>| match ns {
        Some(ns) => object.number(key, ns),
        None => object.null(key),
    };
    number("min_ns", times.min());
    number("mean_ns", times.mean());
    for (_, key, part) in PERCENTILES {
        number(key, times.per_mille(part));
    }
    number("max_ns", times.max());
    object.nested("buckets", |out| buckets(out, row.bars().into_iter()));
    reject_json(&mut object, at);
    object.end();
    out.push('\n');
}

/// `[[from,to,how many],…]`.
pub(super) fn buckets<N: std::fmt::Display>(
    out: &mut String,
    bars: impl Iterator<Item = (N, N, u64)>,
) {
    out.push('[');
    for (n, (from, to, count)) in bars.enumerate() {
        let _ = write!(out, "{}[{from},{to},{count}]", if n == 0 { "" } else { "," });
    }
    out.push(']');
}

/// Which part of all time is a row's, in hundredths of a percent.
fn share(row: &LatencyRow<'_>, all: u128) -> u128 {
    (u128::from(row.times.total()) * 10_000).checked_div(all).unwrap_or(0)
}

/// The same of each row in percent, as programs read it.
pub(super) fn shares(rows: &[LatencyRow<'_>]) -> impl Iterator<Item = String> {
    let all = all_time(rows);
    rows.iter().map(move |row| {
        let share = share(row, all);
        format!("{}.{:02}", share / 100, share % 100)
    })
}

fn all_time(rows: &[LatencyRow<'_>]) -> u128 {
    rows.iter().map(|row| u128::from(row.times.total())).sum()
}

/// Appends the table of `count --summary` for people.
pub fn summary_text(
    out: &mut String,
    rows: &[LatencyRow<'_>],
    places: &[CountRow<'_>],
    order: Order,
) {
    let all = all_time(rows);
    let (shown, quiet) = shown(rows, order);
    if !shown.is_empty() {
        out.push_str(
            " % TIME     TOTAL       MIN      MEAN       MAX      CALLS    ERRORS  PLACE\n",
        );
    }
    for row in &shown {
        let share = share(row, all);
        let total = time(Some(row.times.total()));
        let [min, mean, max] = [row.times.min(), row.times.mean(), row.times.max()].map(time);
        let calls = row.times.calls() + row.unfinished;
        let _ = writeln!(
            out,
            "{:>4}.{:02} {total:>9} {min:>9} {mean:>9} {max:>9} {calls:>10} {:>9}  {}",
            share / 100,
            share % 100,
            row.errors,
            row.name()
        );
    }
    if !shown.is_empty() {
        let calls: u64 = rows.iter().map(|row| row.times.calls() + row.unfinished).sum();
        let errors: u64 = rows.iter().map(|row| row.errors).sum();
        let all = time(u64::try_from(all).ok());
        let _ = writeln!(out, " 100.00 {all:>9} {:>29} {calls:>10} {errors:>9}  total", "");
    }
    if quiet > 0 {
        let _ = writeln!(out, "{quiet:>10} places more were never called");
    }
    rest(out, places);
}

/// Appends the objects of `count --summary`.
pub fn summary_json(out: &mut String, rows: &[LatencyRow<'_>]) {
    for (row, share) in rows.iter().zip(shares(rows)) {
        let at = CountRow { hits: row.times.calls() + row.unfinished, ..row.at };
        super::count::counted_json(out, &at, |object| {
            if let Some((_, value)) = row.by {
                object.nested("by", |out| out.push_str(value.json));
            }
            object.number("errors", row.errors);
            object.number("unfinished", row.unfinished);
            object.number("total_ns", row.times.total());
            let times = row.times;
            let known =
                [("min_ns", times.min()), ("mean_ns", times.mean()), ("max_ns", times.max())];
            for (key, ns) in known {
                match ns {
                    Some(ns) => object.number(key, ns),
                    None => object.null(key),
                }
            }
            object.number("share", share);
        });
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::report::Linear;

    fn place(symbol: &str) -> CountRow<'_> {
        CountRow {
            probe: "work",
            object: "/bin/app",
            symbol,
            mangled: None,
            offset: 0,
            addr: 0x1000,
            is_return: false,
            hits: 0,
            missed: 0,
            became: Became::Armed(Strategy::Jump),
            why_not_jump: None,
        }
    }

    pub(in crate::report) fn times(all: &[u64]) -> Times {
        let mut times = Times::default();
        all.iter().for_each(|&ns| times.add(ns));
        times
    }

    pub(in crate::report) fn row<'a>(symbol: &'a str, times: &'a Times) -> LatencyRow<'a> {
        let at = place(symbol);
        LatencyRow { at, by: None, times, linear: None, self_ns: None, unfinished: 0, errors: 0 }
    }

    const ORDER: Order = Order { by: SortColumn::Total, top: None };

    #[test]
    fn calls_are_a_table_and_bars() {
        let (few, more, none) = (times(&[100]), times(&[1000, 1500, 3000]), times(&[]));
        let mut rows = [row("few", &few), row("more", &more), row("none", &none)];
        rows[1].unfinished = 2;
        rows[1].by = Some(("n", Shown { text: "7", json: "7" }));
        let mut out = String::new();
        latency_text(&mut out, &rows, &[], ORDER);
        let expected = "     CALLS  UNFINISHED  STRATEGY     TOTAL       MIN      MEAN       P50       P90       P99     P99.9       MAX  PLACE
         3           2  jump        5.5 us    1.0 us    1.8 us    1.5 us    3.0 us    3.0 us    3.0 us    3.0 us  app:more  n: 7
         1           0  jump        100 ns    100 ns    100 ns    100 ns    100 ns    100 ns    100 ns    100 ns  app:few
         0           0  jump          0 ns         -         -         -         -         -         -         -  app:none

app:more  n: 7
    512 ns ..    1.0 us          1 |####################                    |
    1.0 us ..    2.0 us          1 |####################                    |
    2.0 us ..    4.1 us          1 |####################                    |

app:few
     64 ns ..    128 ns          1 |########################################|
";
        let expected =
            expected.replace("####################                    ", &"#".repeat(40));
        assert_eq!(out, expected);
        out.clear();
        let top = Order { by: SortColumn::Place, top: Some(1) };
        latency_text(&mut out, &rows, &[], top);
        assert!(out.contains("app:few") && !out.contains("app:more"), "{out}");
    }

    #[test]
    fn calls_are_objects() {
        let more = times(&[1000, 1500, 3000]);
        let mut counts = Counts::new(Linear::new(0, 2000, 1000).unwrap());
        [1000, 1500, 3000].into_iter().for_each(|ns| counts.add(ns));
        let mut row = row("more", &more);
        (row.self_ns, row.linear) = (Some(5), Some(&counts));
        row.by = Some(("path", Shown { text: "", json: "\"/etc\"" }));
        let mut out = String::new();
        latency_json(&mut out, &row);
        let head = "{\"probe\":\"work\",\"object\":\"/bin/app\",\"symbol\":\"more\",\"addr\":4096,";
        let rest = "\"by\":\"/etc\",\"calls\":3,\"missed\":0,\"unfinished\":0,\"strategy\":\"jump\",\
                    \"why_not_jump\":null,\"total_ns\":5500,\"self_ns\":5,\"min_ns\":1000,\
                    \"mean_ns\":1833,\"p50_ns\":1496,\"p90_ns\":2992,\"p99_ns\":2992,\
                    \"p999_ns\":2992,\"max_ns\":3000,\
                    \"buckets\":[[0,1000,0],[1000,2000,2],[2000,3001,1]]}\n";
        // 1500 is in the bucket of 16 ns from 1488 on, 3000 in that of 32 ns from 2976 on.
        assert_eq!(out, format!("{head}{rest}"));
    }

    #[test]
    fn a_summary_has_shares() {
        let (few, more) = (times(&[2500]), times(&[1000, 1500, 5000]));
        let mut rows = [row("few", &few), row("more", &more)];
        rows[1].errors = 1;
        let mut out = String::new();
        summary_text(&mut out, &rows, &[], ORDER);
        assert_eq!(
            out,
            " % TIME     TOTAL       MIN      MEAN       MAX      CALLS    ERRORS  PLACE
  75.00    7.5 us    1.0 us    2.5 us    5.0 us          3         1  app:more
  25.00    2.5 us    2.5 us    2.5 us    2.5 us          1         0  app:few
 100.00   10.0 us                                        4         1  total
"
        );
        out.clear();
        summary_json(&mut out, &rows);
        assert!(out.contains("\"hits\":3,") && out.contains("\"share\":75.00}"), "{out}");
    }
}
