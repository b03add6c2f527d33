//! `xol count`: hits for each place, and what became of the others.

use super::column::{Order, SortColumn};
use super::json::Object;
use crate::WhyNotJump;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use xol_arch::{Reason, Reject, Strategy};

/// One probe at one place.
#[derive(Clone, Copy, Debug)]
pub struct CountRow<'a> {
    /// The PROBE as the user wrote it.
    pub probe: &'a str,
    /// The object's path.
    pub object: &'a str,
    /// The function's name as one writes it in a PROBE; empty where there is none.
    pub symbol: &'a str,
    /// The symbol itself, where that is another name.
    pub mangled: Option<&'a str>,
    /// Bytes behind the function's start.
    pub offset: u64,
    /// The address in the file.
    pub addr: u64,
    /// Whether returns are counted.
    pub is_return: bool,
    /// Hits.
    pub hits: u64,
    /// Hits that could not be told of.
    pub missed: u64,
    /// What became of the place.
    pub became: Became,
    /// Why hits stop the program, where they do: a stable kebab-case id.
    pub why_not_jump: Option<WhyNotJump>,
}

/// What became of a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Became {
    /// It waits for something that did not come.
    Waiting,
    /// It was armed, in this way.
    Armed(Strategy),
    /// It cannot be probed.
    Rejected(Reject),
}

impl CountRow<'_> {
    /// What a column has; of places, nothing that is compared.
    fn value(&self, column: SortColumn) -> u64 {
        if column == SortColumn::Missed { self.missed } else { self.hits }
    }

    pub(super) fn strategy(&self) -> Option<&'static str> {
        match self.became {
            Became::Armed(strategy) => Some(strategy.name()),
            _ => None,
        }
    }

    /// `libc.so.6:malloc`, `app:main+0x10`, `return:app:0x1139`.
    pub(super) fn place(&self) -> String {
        let mut place = String::new();
        if self.is_return {
            place.push_str("return:");
        }
        place.push_str(self.object.rsplit('/').next().unwrap_or(self.object));
        let _ = match (self.symbol, self.offset) {
            ("", _) => write!(place, ":{:#x}", self.addr),
            (symbol, 0) => write!(place, ":{symbol}"),
            (symbol, offset) => write!(place, ":{symbol}+{offset:#x}"),
        };
        place
    }
}

/// More rows of one kind than this are a number, not a list.
pub(super) const LISTED: usize = 20;

/// Appends the table for people: what was hit, most often first; what was not; the sums.
pub fn count_text(out: &mut String, rows: &[CountRow<'_>], order: Order) {
    let rejected = |row: &&CountRow<'_>| matches!(row.became, Became::Rejected(_));
    let mut shown: Vec<&CountRow<'_>> = rows.iter().filter(|r| !rejected(r)).collect();
    order.sort(&mut shown, |row| row.value(order.by), |row| (row.object, row.addr));
    let quiet = shown.iter().filter(|r| r.hits == 0 && r.missed == 0).count();
    if quiet > LISTED {
        shown.retain(|r| r.hits != 0 || r.missed != 0);
    }
    let missed = shown.iter().any(|r| r.missed != 0);
    if !shown.is_empty() {
        let head = if missed { "    MISSED" } else { "" };
        let _ = writeln!(out, "{:>12}{head}  STRATEGY  PLACE", "HITS");
    }
    let several = several(rows);
    for row in &shown {
        let _ = write!(out, "{:>12}", row.hits);
        if missed {
            let _ = write!(out, "{:>10}", row.missed);
        }
        let place = row.place();
        let _ = write!(out, "  {:<8}  {place}", row.strategy().unwrap_or("-"));
        // One of several functions of a name is told apart, and asked for, by its symbol.
        if let Some(mangled) = row.mangled.filter(|_| several.contains(&(row.object, place))) {
            let _ = write!(out, "  ={mangled}");
        }
        out.push('\n');
    }
    if quiet > LISTED {
        let _ = writeln!(out, "{quiet:>12} places more were never hit");
    }
    rest(out, rows);
}

/// Puts the rows into an order, and keeps the first of them.
pub fn arrange(rows: &mut Vec<CountRow<'_>>, order: Order) {
    order.sort(rows, |row| row.value(order.by), |row| (row.object.to_owned(), row.addr));
}

/// Appends what was rejected, the sums of many places, and why hits stop the program.
pub(super) fn rest(out: &mut String, rows: &[CountRow<'_>]) {
    let rejected = |row: &&CountRow<'_>| matches!(row.became, Became::Rejected(_));
    let rejects: Vec<&CountRow<'_>> = rows.iter().filter(rejected).collect();
    if rejects.len() <= LISTED {
        for row in &rejects {
            if let Became::Rejected(reject) = row.became {
                let _ = writeln!(out, "rejected {}: {reject}", row.place());
            }
        }
    }
    if rows.len() > LISTED {
        sums(out, rows);
    }
    if let Some(why) = no_jumps(rows.iter().filter_map(|row| row.why_not_jump)) {
        let _ = writeln!(out, "{why}");
    }
}

/// Says at how many places hits stop the program, by reason; nothing where another strategy was asked
/// for.
#[must_use]
pub fn no_jumps(reasons: impl Iterator<Item = WhyNotJump>) -> Option<String> {
    let mut stops: BTreeMap<&str, usize> = BTreeMap::new();
    for why in reasons.filter(|&why| why != WhyNotJump::NotAskedFor) {
        *stops.entry(why.id()).or_default() += 1;
    }
    let parts: Vec<String> = stops.iter().map(|(why, n)| format!("{n} {why}")).collect();
    (!parts.is_empty()).then(|| format!("no jump at: {}", parts.join(", ")))
}

/// The objects and places that several functions are shown as.
fn several<'a>(rows: &[CountRow<'a>]) -> BTreeSet<(&'a str, String)> {
    let mut known: BTreeMap<(&str, String), &str> = BTreeMap::new();
    let mut several = BTreeSet::new();
    for row in rows {
        let Some(mangled) = row.mangled else { continue };
        let key = (row.object, row.place());
        if *known.entry(key.clone()).or_insert(mangled) != mangled {
            several.insert(key);
        }
    }
    several
}

fn sums(out: &mut String, rows: &[CountRow<'_>]) {
    let mut strategies: BTreeMap<&str, usize> = BTreeMap::new();
    let mut reasons: BTreeMap<Reason, usize> = BTreeMap::new();
    for row in rows {
        match row.became {
            Became::Waiting => *strategies.entry("waiting").or_default() += 1,
            Became::Armed(strategy) => *strategies.entry(strategy.name()).or_default() += 1,
            Became::Rejected(reject) => *reasons.entry(reject.reason).or_default() += 1,
        }
    }
    let _ = write!(out, "{:>12} places:", rows.len());
    let rejects: usize = reasons.values().sum();
    let mut parts: Vec<String> =
        strategies.iter().map(|(name, n)| format!(" {n} {name}")).collect();
    if rejects > 0 {
        parts.push(format!(" {rejects} rejected"));
    }
    let _ = writeln!(out, "{}", parts.join(","));
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_unstable_by_key(|(reason, n)| (Reverse(*n), *reason));
    for (reason, n) in reasons {
        let _ = writeln!(out, "{n:>12} rejected: {}: {}", reason.id(), reason.sentence());
    }
}

/// Appends the row as one JSON object and a line feed. `reason` and `detail` stand behind the
/// fields of the contract where a place was rejected.
pub fn count_json(out: &mut String, row: &CountRow<'_>) {
    counted_json(out, row, |_| {});
}

/// The same, with what `more` adds.
pub(super) fn counted_json(
    out: &mut String,
    row: &CountRow<'_>,
    more: impl FnOnce(&mut Object<'_>),
) {
    let mut object = Object::new(out);
    name_json(&mut object, row);
    object.number("offset", row.offset);
    object.number("addr", row.addr);
    object.flag("return", row.is_return);
    object.number("hits", row.hits);
    object.number("missed", row.missed);
    object.text_or_null("strategy", row.strategy());
    object.text_or_null("why_not_jump", row.why_not_jump.map(WhyNotJump::id));
    reject_json(&mut object, row);
    more(&mut object);
    object.end();
    out.push('\n');
}

/// What the place of a row is called.
pub(super) fn name_json(object: &mut Object<'_>, row: &CountRow<'_>) {
    object.text("probe", row.probe);
    object.text("object", row.object);
    object.text_or_null("symbol", Some(row.symbol).filter(|s| !s.is_empty()));
    if let Some(mangled) = row.mangled {
        object.text("mangled", mangled);
    }
}

/// Why a place was rejected, where it was.
pub(super) fn reject_json(object: &mut Object<'_>, row: &CountRow<'_>) {
    if let Became::Rejected(reject) = row.became {
        object.text("reason", reject.reason.id());
        object.text("detail", &reject.to_string());
    }
}

/// A place of libc's that has been hit so often, for tests.
#[cfg(test)]
pub(super) fn hit_row<'a>(symbol: &'a str, hits: u64, became: Became) -> CountRow<'a> {
    CountRow {
        probe: "libc:mem*",
        object: "/lib/libc.so.6",
        symbol,
        mangled: None,
        offset: 0,
        addr: 0x1000,
        is_return: false,
        hits,
        missed: 0,
        became,
        why_not_jump: matches!(became, Became::Armed(_)).then_some(WhyNotJump::FewHits),
    }
}

#[cfg(test)]
mod tests {
    use super::hit_row as row;
    use super::*;

    const BY_HITS: Order = Order { by: SortColumn::Hits, top: None };

    #[test]
    fn rows_are_as_many_and_in_the_order_that_was_asked_for() {
        let boost = Became::Armed(Strategy::Boost);
        let mut rows = vec![row("a", 1, boost), row("b", 3, boost), row("c", 2, boost)];
        for (n, row) in rows.iter_mut().enumerate() {
            row.addr = n as u64;
        }
        let symbols = |rows: &[CountRow<'_>]| rows.iter().map(|r| r.hits).collect::<Vec<_>>();
        let text = |order| {
            let mut out = String::new();
            count_text(&mut out, &rows, order);
            out.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
        };
        let by_hits: Vec<u64> = text(BY_HITS);
        assert_eq!(by_hits, [3, 2, 1]);
        let by_place: Vec<u64> = text(Order { by: SortColumn::Place, top: None });
        assert_eq!(by_place, [1, 3, 2]);
        let first: Vec<u64> = text(Order { by: SortColumn::Hits, top: Some(2) });
        assert_eq!(first, [3, 2]);
        arrange(&mut rows, Order { by: SortColumn::Hits, top: Some(1) });
        assert_eq!(symbols(&rows), [3]);
    }

    #[test]
    fn what_was_hit_comes_first() {
        let boost = Became::Armed(Strategy::Boost);
        let reject = Became::Rejected(Reason::Breakpoint.into());
        let mut rows =
            vec![row("memset", 3, boost), row("memcpy", 12, boost), row("memchr", 0, reject)];
        rows[0].missed = 1;
        rows[0].offset = 16;
        rows[1].is_return = true;
        let mut out = String::new();
        count_text(&mut out, &rows, BY_HITS);
        assert_eq!(
            out,
            "        HITS    MISSED  STRATEGY  PLACE
          12         0  boost     return:libc.so.6:memcpy
           3         1  boost     libc.so.6:memset+0x10
rejected libc.so.6:memchr: a breakpoint of the program or of another tool is there
no jump at: 2 few-hits
"
        );
        out.clear();
        count_json(&mut out, &rows[1]);
        assert_eq!(
            out,
            "{\"probe\":\"libc:mem*\",\"object\":\"/lib/libc.so.6\",\"symbol\":\"memcpy\",\
             \"offset\":0,\"addr\":4096,\"return\":true,\"hits\":12,\"missed\":0,\
             \"strategy\":\"boost\",\"why_not_jump\":\"few-hits\"}\n"
        );
    }

    #[test]
    fn functions_of_one_name_are_told_apart() {
        let boost = Became::Armed(Strategy::Boost);
        let mut rows = vec![row("f", 3, boost), row("f", 2, boost), row("g", 1, boost)];
        let symbols = [Some("_Z1fi"), Some("_Z1fd"), Some("_Z1gv")];
        rows.iter_mut().zip(symbols).for_each(|(row, symbol)| row.mangled = symbol);
        let mut out = String::new();
        count_text(&mut out, &rows, BY_HITS);
        assert_eq!(
            out,
            "        HITS  STRATEGY  PLACE
           3  boost     libc.so.6:f  =_Z1fi
           2  boost     libc.so.6:f  =_Z1fd
           1  boost     libc.so.6:g
no jump at: 3 few-hits
"
        );
    }

    #[test]
    fn thousands_become_sums() {
        let mut rows = vec![row("f", 0, Became::Armed(Strategy::Boost)); 50];
        rows.extend(vec![row("g", 1, Became::Armed(Strategy::Simulate)); 2]);
        rows.extend(vec![row("h", 0, Became::Rejected(Reason::Privileged.into())); 30]);
        let mut out = String::new();
        count_text(&mut out, &rows, BY_HITS);
        assert_eq!(
            out,
            "        HITS  STRATEGY  PLACE
           1  simulate  libc.so.6:g
           1  simulate  libc.so.6:g
          50 places more were never hit
          82 places: 50 boost, 2 simulate, 30 rejected
          30 rejected: privileged: the instruction belongs to the kernel
no jump at: 52 few-hits
"
        );
    }
}
