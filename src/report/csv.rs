//! Events and counts as CSV (RFC 4180, with plain line feeds).

use super::count::{Became, CountRow};
use super::errno_name;
use super::event::{Event, names_json};
use super::json::Object;
use super::value::{Read, value_json};
use crate::spec::Type;
use std::fmt::Write;

/// A column of `trace --format csv`, named as the field of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field(usize);

const FIELDS: [&str; 15] = [
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

/// Appends the counts, with a line of names in front.
pub fn count_csv(out: &mut String, rows: &[CountRow<'_>]) {
    out.push_str(
        "probe,object,symbol,mangled,offset,addr,return,hits,missed,strategy,why_not_jump,reason\n",
    );
    for row in rows {
        let (strategy, reason) = match row.became {
            Became::Waiting => ("", ""),
            Became::Armed(strategy) => (strategy.name(), ""),
            Became::Rejected(reject) => ("", reject.reason.id()),
        };
        for text in [row.probe, row.object, row.symbol, row.mangled.unwrap_or_default()] {
            cell(out, text);
            out.push(',');
        }
        let _ = writeln!(
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
        let fields: Vec<Field> = Field::all().collect();
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
        assert_eq!(Field::from_name("time"), None);
    }
}
