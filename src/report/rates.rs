//! `xol top`: hits a second, as screens of text.

use super::column::{Order, SortColumn};
use super::count::CountRow;
use super::json::Object;
use rustc_hash::FxHashMap;
use std::fmt::Write;

/// Names a row from one screen to the next.
type Name = (String, String, u64, bool);

fn name(row: &CountRow<'_>) -> Name {
    (row.probe.to_owned(), row.object.to_owned(), row.addr, row.is_return)
}

/// The hits of the last screen, and the rates since.
#[derive(Debug, Default)]
pub struct Rates {
    last: FxHashMap<Name, u64>,
    at_ns: u64,
}

impl Rates {
    /// Rates from `now_ns` on.
    #[must_use]
    pub fn new(now_ns: u64) -> Rates {
        Rates { last: FxHashMap::default(), at_ns: now_ns }
    }

    /// Hits a second of each row since the last time, in the order of the rows.
    pub fn take(&mut self, rows: &[CountRow<'_>], now_ns: u64) -> Vec<u64> {
        let elapsed = u128::from(now_ns.saturating_sub(self.at_ns).max(1));
        self.at_ns = now_ns;
        let rate = |row: &CountRow<'_>| {
            let before = self.last.insert(name(row), row.hits).unwrap_or(0);
            let more = u128::from(row.hits.saturating_sub(before));
            // Rounded: one hit in 1.01 s is one a second.
            u64::try_from((more * 1_000_000_000 + elapsed / 2) / elapsed).unwrap_or(u64::MAX)
        };
        rows.iter().map(rate).collect()
    }

    /// Appends a screen of so many columns and lines: the sums, and the first rows.
    pub fn screen(
        out: &mut String,
        rows: &[CountRow<'_>],
        rates: &[u64],
        order: Order,
        (columns, lines): (usize, usize),
        state: &str,
    ) {
        let hits: u64 = rows.iter().map(|row| row.hits).sum();
        let rate: u64 = rates.iter().sum();
        let armed = rows.iter().filter(|row| row.strategy().is_some()).count();
        let line = |out: &mut String, text: &str| {
            out.extend(text.chars().take(columns.max(1)));
            out.push('\n');
        };
        let by = order.by.name();
        let head = format!("{rate} hits/s by {by}{state}; {hits} in all, {armed} armed");
        line(out, &head);
        let rows = rows.iter().zip(rates.iter().copied());
        let mut shown: Vec<(&CountRow<'_>, u64)> =
            rows.filter(|(row, _)| row.strategy().is_some()).collect();
        let missed = shown.iter().any(|(row, _)| row.missed > 0);
        let value = |(row, rate): &(&CountRow<'_>, u64)| match order.by {
            SortColumn::Hits => row.hits,
            SortColumn::Missed => row.missed,
            _ => *rate,
        };
        let top = order.top.unwrap_or(usize::MAX).min(lines.saturating_sub(2));
        let order = Order { top: Some(top), ..order };
        order.sort(&mut shown, value, |(row, _)| (row.object.to_owned(), row.addr));
        if lines < 2 {
            return;
        }
        // Where it is narrow, names matter more than how a place is hit, and than sums.
        let (strategies, sums) = (columns >= 60, columns >= 40 || order.by == SortColumn::Hits);
        let row_of = |rate: &str, hits: &str, missing: &str, strategy: &str, place: &str| {
            let mut text = format!("{rate:>10}");
            if sums {
                let _ = write!(text, " {hits:>12}");
            }
            if missed {
                let _ = write!(text, "{missing:>10}");
            }
            if strategies {
                let _ = write!(text, "  {strategy:<8}");
            }
            text + "  " + place
        };
        line(out, &row_of("HITS/S", "HITS", "MISSED", "STRATEGY", "PLACE"));
        for (row, rate) in shown {
            let [rate, hits, missing] = [rate, row.hits, row.missed].map(|n| n.to_string());
            let place = match row.symbol {
                name if !name.is_empty() && !strategies => name.to_owned(),
                _ => row.place().to_string(),
            };
            line(out, &row_of(&rate, &hits, &missing, row.strategy().unwrap_or("-"), &place));
        }
    }
}

/// Appends a row of a moment as one JSON object and a line feed.
pub fn rates_json(out: &mut String, row: &CountRow<'_>, rate: u64, ts_ns: u64) {
    let mut object = Object::new(out);
    object.number("ts_ns", ts_ns);
    object.text("probe", row.probe);
    object.text("object", row.object);
    object.text_or_null("symbol", Some(row.symbol).filter(|s| !s.is_empty()));
    object.number("offset", row.offset);
    object.number("addr", row.addr);
    object.flag("return", row.is_return);
    object.number("hits", row.hits);
    object.number("rate", rate);
    object.number("missed", row.missed);
    object.text_or_null("strategy", row.strategy());
    object.end();
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Became;
    use xol_arch::Strategy;

    fn row(symbol: &str, addr: u64, hits: u64) -> CountRow<'_> {
        CountRow {
            probe: "libc:*",
            object: "/lib/libc.so.6",
            symbol,
            mangled: None,
            offset: 0,
            addr,
            is_return: false,
            hits,
            missed: 0,
            became: Became::Armed(Strategy::Jump),
            why_not_jump: None,
        }
    }

    #[test]
    fn rates_are_of_the_time_between() {
        let mut rates = Rates::new(1_000_000_000);
        let rows = [row("a", 1, 10), row("b", 2, 500)];
        assert_eq!(rates.take(&rows, 1_500_000_000), [20, 1000]);
        let rows = [row("a", 1, 110), row("b", 2, 500), row("c", 3, 4)];
        let now = rates.take(&rows, 3_500_000_000);
        assert_eq!(now, [50, 0, 2]);
        let mut out = String::new();
        let by = |by| Order { by, top: None };
        Rates::screen(&mut out, &rows, &now, by(SortColumn::Rate), (45, 4), "; paused");
        assert_eq!(
            out,
            "52 hits/s by rate; paused; 614 in all, 3 arme
    HITS/S         HITS  PLACE
        50          110  a
         2            4  c
"
        );
        out.clear();
        Rates::screen(&mut out, &rows, &now, by(SortColumn::Rate), (20, 3), "");
        assert_eq!(out, "52 hits/s by rate; 6\n    HITS/S  PLACE\n        50  a\n");
        out.clear();
        Rates::screen(&mut out, &rows, &now, by(SortColumn::Rate), (60, 3), "");
        let wide = "        50          110  jump      libc.so.6:a";
        assert_eq!(out.lines().last(), Some(wide));
        for size in [(0, 0), (1, 1), (20, 2), (500, 500)] {
            let mut out = String::new();
            Rates::screen(&mut out, &rows, &now, by(SortColumn::Hits), size, "");
            assert!(out.lines().count() <= size.1.max(1) && !out.is_empty(), "{size:?}: {out}");
            assert!(out.lines().all(|line| line.chars().count() <= size.0.max(1)), "{out}");
        }
    }
}
