//! Events and counts as CSV (RFC 4180, with plain line feeds).

use super::by::ByRow;
use super::count::{Became, CountRow};
use super::errno_name;
use super::event::{Event, names_json};
use super::json::Object;
use super::latency::{LatencyRow, PERCENTILES, shares};
use super::value::{Read, value_json};
use crate::spec::Type;
use std::fmt::Write;

/// A column of `trace --format csv`, named as the field of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field(usize);

const FIELDS: [&str; 16] = [
    "time",
    "ts_ns",
    "pid",
    "tid",
    "comm",
    "probe",
    "object",
    "symbol",
    "offset",
    "addr",
    "args",
    "ret",
    "errno",
    "duration_ns",
    "end",
    "names",
];

impl Field {
    /// All of them, in their order.
    pub fn all() -> impl Iterator<Item = Field> {
        (0..FIELDS.len()).map(Field)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        FIELDS[self.0]
    }

    /// The column of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Field> {
        FIELDS.iter().position(|&field| field == name).map(Field)
    }
}

/// Appends the line with the names.
pub fn fields_csv(out: &mut String, fields: &[Field]) {
    for (n, field) in fields.iter().enumerate() {
        out.push_str(if n == 0 { "" } else { "," });
        out.push_str(field.name());
    }
    out.push('\n');
}

/// Appends an event.
pub fn event_csv(out: &mut String, fields: &[Field], event: &Event<'_>) {
    for (n, field) in fields.iter().enumerate() {
        out.push_str(if n == 0 { "" } else { "," });
        let number = |out: &mut String, number: u64| {
            let _ = write!(out, "{number}");
        };
        match field.name() {
            "time" => cell(out, event.time.unwrap_or_default()),
            "ts_ns" => number(out, event.ts_ns),
            "pid" => {
                let _ = write!(out, "{}", event.pid);
            }
            "tid" => {
                let _ = write!(out, "{}", event.tid);
            }
            "comm" => cell(out, event.comm.unwrap_or_default()),
            "probe" => cell(out, event.probe),
            "object" => cell(out, event.object),
            "symbol" => cell(out, event.symbol),
            "offset" => number(out, event.offset),
            "addr" => number(out, event.addr),
            "args" => {
                let mut args = String::new();
                let mut object = Object::new(&mut args);
                for (name, ty, value) in event.args.unwrap_or_default() {
                    object.nested(name, |out| value_json(out, *ty, *value));
                }
                object.end();
                cell(out, &args);
            }
            "ret" => {
                if let Some((ty, value)) = event.ret.filter(|(ty, _)| *ty != Some(Type::Void)) {
                    plain(out, ty.unwrap_or(Type::Hex), value);
                }
            }
            "errno" => match (event.errno, event.errno.and_then(errno_name)) {
                (_, Some(name)) => out.push_str(name),
                (Some(number), None) => {
                    let _ = write!(out, "{number}");
                }
                _ => {}
            },
            "duration_ns" => {
                if let Some(ns) = event.duration_ns {
                    number(out, ns);
                }
            }
            "end" => out.push_str(event.end.map_or("", |end| end.name())),
            _ => {
                if event.named().next().is_some() {
                    let mut names = String::new();
                    names_json(&mut names, event);
                    cell(out, &names);
                }
            }
        }
    }
    out.push('\n');
}

/// A value as JSON has it; of a text the text.
fn plain(out: &mut String, ty: Type, value: Read<'_>) {
    if let Read::Text(bytes, false) = value
        && let Ok(text) = str::from_utf8(bytes)
    {
        return cell(out, text);
    }
    let mut text = String::new();
    value_json(&mut text, ty, value);
    cell(out, &text);
}

/// The names of what [`counted`] appends.
const COUNTED: &str =
    "probe,object,symbol,mangled,offset,addr,return,hits,missed,strategy,why_not_jump,reason";

/// Appends the counts, with a line of names in front.
pub fn count_csv(out: &mut String, rows: &[CountRow<'_>]) {
    out.push_str(COUNTED);
    for row in rows {
        counted(out, row);
    }
    out.push('\n');
}

/// Ends the line before, and appends a place and its hits without ending theirs.
fn counted(out: &mut String, row: &CountRow<'_>) {
    out.push('\n');
    let (strategy, reason) = became(row);
    for text in [row.probe, row.object, row.symbol, row.mangled.unwrap_or_default()] {
        cell(out, text);
        out.push(',');
    }
    let _ = write!(
        out,
        "{},{},{},{},{},{strategy},{},{reason}",
        row.offset,
        row.addr,
        row.is_return,
        row.hits,
        row.missed,
        row.why_not_jump.map_or("", |why| why.id())
    );
}

/// Appends the rows of `count --by` and `--hist`, with a line of names in front. What has a histogram
/// has a record for each of its buckets.
pub fn by_csv(out: &mut String, rows: &[ByRow<'_>]) {
    out.push_str(COUNTED);
    out.push_str(",by,from,to,within");
    for row in rows {
        let bars = row.hist.map_or(Vec::new(), |(_, powers)| powers.bars());
        // A row without a bucket is told all the same.
        for n in 0..bars.len().max(1) {
            counted(out, &row.at);
            out.push(',');
            cell(out, row.by.map_or("", |(_, value)| value.json));
            match bars.get(n) {
                Some((from, to, hits)) => {
                    let _ = write!(out, ",{from},{to},{hits}");
                }
                None => out.push_str(",,,"),
            }
        }
    }
    out.push('\n');
}

/// Appends the rows of `count --summary`, with a line of names in front.
pub fn summary_csv(out: &mut String, rows: &[LatencyRow<'_>]) {
    out.push_str(COUNTED);
    out.push_str(",by,errors,unfinished,total_ns,min_ns,mean_ns,max_ns,share");
    for (row, share) in rows.iter().zip(shares(rows)) {
        counted(out, &CountRow { hits: row.times.calls() + row.unfinished, ..row.at });
        out.push(',');
        cell(out, row.by.map_or("", |(_, value)| value.json));
        let _ = write!(out, ",{},{}", row.errors, row.unfinished);
        let times = row.times;
        for ns in [Some(times.total()), times.min(), times.mean(), times.max()] {
            out.push(',');
            if let Some(ns) = ns {
                let _ = write!(out, "{ns}");
            }
        }
        let _ = write!(out, ",{share}");
    }
    out.push('\n');
}

/// Appends what `xol latency` has counted, with a line of names in front.
pub fn latency_csv(out: &mut String, rows: &[LatencyRow<'_>]) {
    out.push_str("probe,object,symbol,mangled,offset,addr,by,calls,missed,unfinished,strategy,");
    out.push_str("why_not_jump,total_ns,self_ns,min_ns,mean_ns");
    for (_, name, _) in PERCENTILES {
        let _ = write!(out, ",{name}");
    }
    out.push_str(",max_ns,reason\n");
    for row in rows {
        let (at, times) = (&row.at, row.times);
        for text in [at.probe, at.object, at.symbol, at.mangled.unwrap_or_default()] {
            cell(out, text);
            out.push(',');
        }
        let _ = write!(out, "{},{},", at.offset, at.addr);
        cell(out, row.by.map_or("", |(_, value)| value.json));
        let (strategy, reason) = became(at);
        let why = at.why_not_jump.map_or("", |why| why.id());
        let (calls, missed) = (times.calls(), at.missed);
        let _ = write!(out, ",{calls},{missed},{},{strategy},{why}", row.unfinished);
        let percentiles = PERCENTILES.map(|(.., part)| times.per_mille(part));
        let all = [Some(times.total()), row.self_ns, times.min(), times.mean()];
        for ns in all.into_iter().chain(percentiles).chain([times.max()]) {
            out.push(',');
            if let Some(ns) = ns {
                let _ = write!(out, "{ns}");
            }
        }
        let _ = writeln!(out, ",{reason}");
    }
}

/// The strategy of a place, and why it was rejected.
fn became(row: &CountRow<'_>) -> (&'static str, &'static str) {
    match row.became {
        Became::Waiting => ("", ""),
        Became::Armed(strategy) => (strategy.name(), ""),
        Became::Rejected(reject) => ("", reject.reason.id()),
    }
}

/// Appends a cell, in quotes where it must be.
fn cell(out: &mut String, text: &str) {
    if !text.contains(['"', ',', '\n', '\r']) {
        return out.push_str(text);
    }
    out.push('"');
    for c in text.chars() {
        if c == '"' {
            out.push('"');
        }
        out.push(c);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::super::event::End;
    use super::super::event::tests::{ARGS, ended, event};
    use super::*;

    #[test]
    fn events_are_records() {
        let fields: Vec<Field> = Field::all().skip(1).collect();
        let mut out = String::new();
        fields_csv(&mut out, &fields);
        event_csv(&mut out, &fields, &event("open", 1));
        let text = Some((Some(Type::Str), Read::Text(b"a,\"b\"\n", false)));
        let few = ["ret", "errno", "pid"].map(|name| Field::from_name(name).expect(name));
        let ended = Event { ret: text, errno: Some(2), ..ended("open", 1, End::Return) };
        event_csv(&mut out, &few, &ended);
        let _ = ARGS;
        assert_eq!(
            out,
            "ts_ns,pid,tid,comm,probe,object,symbol,offset,addr,args,ret,errno,duration_ns,end,names\n\
             10000001000,41,42,cat,libc:open,/lib/libc.so.6,open,0,28672,\
             \"{\"\"path\"\":\"\"/etc/hosts\"\",\"\"flags\"\":524288}\",,,,,\n\
             \"a,\"\"b\"\"\n\",ENOENT,41\n"
        );
        assert_eq!(Field::from_name("hits"), None);
        out.clear();
        let timed = Event { time: Some("2025-11-29T15:26:40.000000Z"), ..event("open", 1) };
        event_csv(&mut out, &[Field(0), Field(2)], &timed);
        assert_eq!(out, "2025-11-29T15:26:40.000000Z,41\n");
    }

    #[test]
    fn latencies_are_records() {
        use super::super::latency::tests::{row, times};
        let (few, none) = (times(&[100, 200]), times(&[]));
        let mut rows = [row("a,b", &few), row("none", &none)];
        rows[0].self_ns = Some(7);
        let mut out = String::new();
        latency_csv(&mut out, &rows);
        let (names, rest) = out.split_once('\n').expect("a line of names");
        let records: Vec<&str> = rest.lines().collect();
        assert_eq!(
            records,
            [
                "work,/bin/app,\"a,b\",,0,4096,,2,0,0,jump,,300,7,100,150,100,200,200,200,200,",
                "work,/bin/app,none,,0,4096,,0,0,0,jump,,0,,,,,,,,,",
            ]
        );
        assert_eq!(names.split(',').count(), records[1].split(',').count());
    }
}
