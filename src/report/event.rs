//! What `xol trace` tells of: a hit, or a call; and as JSON.

use super::errno_name;
use super::json::{self, Object};
use super::value::{Read, value_json};
use crate::spec::Type;
use std::fmt::Write;

/// How a call has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It has returned.
    Return,
    /// longjmp, an exception or a cancellation has left it.
    Unwound,
    /// Its thread or process has ended.
    Exit,
    /// Its process runs another program.
    Exec,
    /// It went on when tracing ended, or its end was missed.
    Unfinished,
}

impl End {
    /// As in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            End::Return => "return",
            End::Unwound => "unwound",
            End::Exit => "exit",
            End::Exec => "exec",
            End::Unfinished => "unfinished",
        }
    }
}

/// One hit, or one call.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// CLOCK_MONOTONIC, in nanoseconds.
    pub ts_ns: u64,
    /// The process.
    pub pid: i32,
    /// The thread.
    pub tid: i32,
    /// The thread's name, if known.
    pub comm: Option<&'a str>,
    /// The PROBE as the user wrote it.
    pub probe: &'a str,
    /// The object's path.
    pub object: &'a str,
    /// The function's name; empty where there is none.
    pub symbol: &'a str,
    /// Bytes behind the function's start.
    pub offset: u64,
    /// The address in the file.
    pub vaddr: u64,
    /// The address in memory.
    pub addr: u64,
    /// The date and time of day, if that was asked for.
    pub time: Option<&'a str>,
    /// Names, types and values of the arguments; `None` where they are not known.
    pub args: Option<&'a [(&'a str, Type, Read<'a>)]>,
    /// Which of them were read when the function returned, a bit for each of the first 64.
    pub out: u64,
    /// How it has ended, of a call whose end is told.
    pub end: Option<End>,
    /// The return value, at a return; the type is `None` where it is not known.
    pub ret: Option<(Option<Type>, Read<'a>)>,
    /// The error's number, of a function of libc that has failed.
    pub errno: Option<i32>,
    /// From entry to end, where both are known.
    pub duration_ns: Option<u64>,
}

/// Appends the event as one JSON object and a line feed.
pub fn event_json(out: &mut String, event: &Event<'_>) {
    let mut object = Object::new(out);
    object.integer("ts_ns", event.ts_ns);
    if let Some(time) = event.time {
        object.text("time", time);
    }
    object.integer("pid", event.pid);
    object.integer("tid", event.tid);
    object.text_or_null("comm", event.comm);
    object.text("probe", event.probe);
    object.text("object", event.object);
    object.text_or_null("symbol", Some(event.symbol).filter(|s| !s.is_empty()));
    object.integer("offset", event.offset);
    object.integer("addr", event.addr);
    object.nested("args", |out| {
        let mut args = Object::new(out);
        for (name, ty, value) in event.args.unwrap_or_default() {
            args.nested(name, |out| value_json(out, *ty, *value));
        }
        args.end();
    });
    if event.named().next().is_some() {
        object.nested("names", |out| names_json(out, event));
    }
    if let Some((ty, value)) = event.ret.filter(|(ty, _)| *ty != Some(Type::Void)) {
        object.nested("ret", |out| value_json(out, ty.unwrap_or(Type::Hex), value));
    }
    if let Some(number) = event.errno {
        object.nested("errno", |out| errno_json(out, number));
    }
    if let Some(ns) = event.duration_ns {
        object.integer("duration_ns", ns);
    }
    if let Some(end) = event.end {
        object.text("end", end.name());
    }
    object.end();
    out.push('\n');
}

impl Event<'_> {
    /// The arguments that are numbers with names, and these.
    pub(super) fn named(&self) -> impl Iterator<Item = (&str, String)> {
        self.args.unwrap_or_default().iter().filter_map(|&(name, ty, value)| match (ty, value) {
            (_, Read::File(_, file)) => Some((name, file.to_owned())),
            // Without names there is nothing to say of most.
            (Type::Named(names), Read::Bits(bits)) if cfg!(feature = "names") => {
                let mut text = String::new();
                names.write(&mut text, bits).then_some((name, text))
            }
            _ => None,
        })
    }
}

/// Appends the names of the arguments that are numbers with names.
pub(super) fn names_json(out: &mut String, event: &Event<'_>) {
    let mut object = Object::new(out);
    for (name, text) in event.named() {
        object.text(name, &text);
    }
    object.end();
}

/// Appends an error's name; of one that has none, its number.
pub(super) fn errno_json(out: &mut String, number: i32) {
    match errno_name(number) {
        Some(name) => json::string(out, name),
        None => {
            let _ = write!(out, "{number}");
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const ARGS: [(&str, Type, Read<'static>); 2] = [
        ("path", Type::Str, Read::Text(b"/etc/hosts", false)),
        ("flags", Type::Hex, Read::Bits(0x80000)),
    ];

    pub(in super::super) fn event(symbol: &'static str, micros: u64) -> Event<'static> {
        Event {
            ts_ns: 10_000_000_000 + micros * 1000,
            pid: 41,
            tid: 42,
            comm: Some("cat"),
            probe: "libc:open",
            object: "/lib/libc.so.6",
            symbol,
            offset: 0,
            vaddr: 0x1000,
            addr: 0x7000,
            time: None,
            args: Some(&ARGS),
            out: 0,
            end: None,
            ret: None,
            errno: None,
            duration_ns: None,
        }
    }

    pub(in super::super) fn ended(symbol: &'static str, micros: u64, end: End) -> Event<'static> {
        let returned = end == End::Return;
        let ret = returned.then_some((Some(Type::I32), Read::Bits(3)));
        let duration_ns = returned.then_some(12_345);
        Event { end: Some(end), ret, duration_ns, args: Some(&[]), ..event(symbol, micros) }
    }

    #[test]
    #[cfg(feature = "names")]
    fn numbers_keep_their_names_beside_them() {
        let args = [
            ("flags", Type::from_name("oflags.arm64").expect("a type"), Read::Bits(0o200_002)),
            ("mode", Type::from_name("mode").expect("a type"), Read::Bits(0o644)),
            ("signal", Type::from_name("signal").expect("a type"), Read::Bits(99)),
        ];
        let mut out = String::new();
        event_json(&mut out, &Event { args: Some(&args), ..event("open", 1) });
        let wanted = "\"args\":{\"flags\":65538,\"mode\":420,\"signal\":99},\
                      \"names\":{\"flags\":\"O_RDWR|O_DIRECT\",\"mode\":\"0644\"}}\n";
        assert!(out.ends_with(wanted), "{out}");
    }

    #[test]
    fn events_are_objects() {
        let mut out = String::new();
        let ret = Some((Some(Type::I32), Read::Bits(u64::MAX)));
        event_json(&mut out, &Event { ret, errno: Some(2), ..ended("open", 1, End::Return) });
        let void = Some((Some(Type::Void), Read::Bits(1)));
        event_json(&mut out, &Event { ret: void, comm: None, ..ended("", 1, End::Return) });
        event_json(&mut out, &Event { args: Some(&ARGS), ..ended("open", 1, End::Exec) });
        event_json(&mut out, &event("open", 1));
        let head = "{\"ts_ns\":10000001000,\"pid\":41,\"tid\":42,\"comm\":\"cat\",\
                    \"probe\":\"libc:open\",\"object\":\"/lib/libc.so.6\",\"symbol\":\"open\",\
                    \"offset\":0,\"addr\":28672,\"args\":{";
        let args = "\"path\":\"/etc/hosts\",\"flags\":524288}";
        let nameless = head.replace("\"cat\"", "null").replace("\"open\"", "null");
        assert_eq!(
            out,
            format!(
                "{head}}},\"ret\":-1,\"errno\":\"ENOENT\",\"duration_ns\":12345,\"end\":\"return\"}}
{nameless}}},\"duration_ns\":12345,\"end\":\"return\"}}
{head}{args},\"end\":\"exec\"}}
{head}{args}}}
"
            )
        );
    }
}
