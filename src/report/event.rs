//! `xol trace`: a line for each hit.

use super::json::Object;
use super::value::{Read, value_json, value_text};
use crate::spec::Type;
use std::fmt::Write;

/// One hit, or one return.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// CLOCK_MONOTONIC, in nanoseconds.
    pub ts_ns: u64,
    /// The process.
    pub pid: i32,
    /// The thread.
    pub tid: i32,
    /// The PROBE as the user wrote it.
    pub probe: &'a str,
    /// What people call the place: `malloc`, `main+0x10`.
    pub place: &'a str,
    /// The address in memory.
    pub addr: u64,
    /// Names, types and values of the arguments, if they are known.
    pub args: &'a [(&'a str, Type, Read<'a>)],
    /// The return value, at a return.
    pub ret: Option<(Type, Read<'a>)>,
    /// From entry to return, at a return.
    pub duration_ns: Option<u64>,
}

/// Appends the line for people; `start_ns` is when the run began.
pub fn event_text(out: &mut String, event: &Event<'_>, start_ns: u64) {
    let since = event.ts_ns.saturating_sub(start_ns);
    let (secs, micros) = (since / 1_000_000_000, since / 1_000 % 1_000_000);
    let _ = write!(out, "{secs:>5}.{micros:06} {:>7}", event.pid);
    if event.tid != event.pid {
        let _ = write!(out, "/{}", event.tid);
    }
    let _ = write!(out, " {}", event.place);
    if !event.args.is_empty() || event.ret.is_none() {
        out.push('(');
        for (i, (name, ty, value)) in event.args.iter().enumerate() {
            let _ = write!(out, "{}{name}: ", if i == 0 { "" } else { ", " });
            value_text(out, *ty, *value);
        }
        out.push(')');
    }
    if let Some((ty, value)) = event.ret {
        out.push_str(" -> ");
        value_text(out, ty, value);
    }
    if let Some(ns) = event.duration_ns {
        out.push_str("  ");
        duration(out, ns);
    }
    out.push('\n');
}

/// Three significant digits are what a stop leaves of a duration.
fn duration(out: &mut String, ns: u64) {
    let _ = match ns {
        0..1_000 => write!(out, "{ns} ns"),
        1_000..1_000_000 => write!(out, "{:.1} us", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => write!(out, "{:.1} ms", ns as f64 / 1e6),
        _ => write!(out, "{:.2} s", ns as f64 / 1e9),
    };
}

/// Appends the event as one JSON object and a line feed.
pub fn event_json(out: &mut String, event: &Event<'_>) {
    let mut object = Object::new(out);
    object.number("ts_ns", event.ts_ns);
    object.number("pid", event.pid);
    object.number("tid", event.tid);
    object.text("probe", event.probe);
    object.number("addr", event.addr);
    object.nested("args", |out| {
        let mut args = Object::new(out);
        for (name, ty, value) in event.args {
            args.nested(name, |out| value_json(out, *ty, *value));
        }
        args.end();
    });
    if let Some((ty, value)) = event.ret {
        object.nested("ret", |out| value_json(out, ty, value));
    }
    if let Some(ns) = event.duration_ns {
        object.number("duration_ns", ns);
    }
    object.end();
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines() {
        let args = [
            ("path", Type::Str, Read::Text(b"/etc/hosts", false)),
            ("flags", Type::Hex, Read::Bits(0x80000)),
        ];
        let mut event = Event {
            ts_ns: 12_345_678_901,
            pid: 41,
            tid: 42,
            probe: "libc:open",
            place: "open",
            addr: 0x7000,
            args: &args,
            ret: None,
            duration_ns: None,
        };
        let mut out = String::new();
        event_text(&mut out, &event, 10_000_000_000);
        event.ret = Some((Type::I32, Read::Bits(u64::MAX)));
        event.duration_ns = Some(12_345);
        event_json(&mut out, &event);
        (event.args, event.tid) = (&[], 41);
        event_text(&mut out, &event, 0);
        assert_eq!(
            out,
            "    2.345678      41/42 open(path: \"/etc/hosts\", flags: 0x80000)\n\
             {\"ts_ns\":12345678901,\"pid\":41,\"tid\":42,\"probe\":\"libc:open\",\"addr\":28672,\
             \"args\":{\"path\":\"/etc/hosts\",\"flags\":524288},\"ret\":-1,\"duration_ns\":12345}\n   \
             12.345678      41 open -> -1  12.3 us\n"
        );
    }
}
