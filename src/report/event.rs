//! `xol trace`: a line for each hit and for each call.

use super::json::Object;
use super::value::{Read, untyped_text, value_json, value_text};
use crate::spec::Type;
use std::collections::BTreeMap;
use std::fmt::Write;

/// How long a call may go on before it is shown, in ns.
const LONG: u64 = 100_000_000;

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
    /// Names, types and values of the arguments; `None` where they are not known.
    pub args: Option<&'a [(&'a str, Type, Read<'a>)]>,
    /// How it has ended, of a call whose end is told.
    pub end: Option<End>,
    /// The return value, at a return; the type is `None` where it is not known.
    pub ret: Option<(Option<Type>, Read<'a>)>,
    /// From entry to end, where both are known.
    pub duration_ns: Option<u64>,
}

impl Event<'_> {
    /// Appends what people call the place: `malloc`, `main+0x10`, `0x1139`.
    fn place(&self, out: &mut String) {
        let _ = match (self.symbol, self.offset) {
            ("", _) => write!(out, "{:#x}", self.vaddr),
            (symbol, 0) => write!(out, "{symbol}"),
            (symbol, offset) => write!(out, "{symbol}+{offset:#x}"),
        };
    }

    /// Appends the place and its arguments; an instruction in a function has none.
    fn call(&self, out: &mut String) {
        self.place(out);
        match self.args {
            _ if self.offset != 0 => {}
            None => out.push_str("(…)"),
            Some(args) => {
                out.push('(');
                for (i, (name, ty, value)) in args.iter().enumerate() {
                    let _ = write!(out, "{}{name}: ", if i == 0 { "" } else { ", " });
                    value_text(out, *ty, *value);
                }
                out.push(')');
            }
        }
    }

    /// Appends what came of the call.
    fn result(&self, out: &mut String) {
        match (self.end, self.ret) {
            (_, Some((Some(ty), value))) => {
                out.push_str(" -> ");
                value_text(out, ty, value);
            }
            (_, Some((None, value))) => {
                out.push_str(" -> ");
                untyped_text(out, value);
            }
            (Some(End::Unfinished), None) => out.push_str(UNFINISHED),
            (Some(end), None) => {
                let _ = write!(out, " -> ? ({})", end.name());
            }
            (None, None) => {}
        }
        if let Some(ns) = self.duration_ns {
            out.push_str("  ");
            duration(out, ns);
        }
    }
}

const UNFINISHED: &str = " <unfinished …>";

/// The lines for people, in the order of what they tell.
///
/// A call whose end is told has one line where nothing comes in between. Else it is shown when it
/// begins and when it ends:
///
/// ```text
/// 0.000012  41 outer(n: 1) <unfinished …>
/// 0.000015  41 inner(n: 2) -> 3  1.2 us
/// 0.000021  41 <… outer resumed> -> 4  9.0 us
/// ```
#[derive(Debug)]
pub struct Lines {
    /// When the run began.
    start_ns: u64,
    /// Calls that have begun and were not shown, by their numbers: when, and their lines so far.
    begun: BTreeMap<u64, (u64, String)>,
}

impl Lines {
    /// Lines whose times count from `start_ns` on.
    #[must_use]
    pub fn new(start_ns: u64) -> Lines {
        Lines { start_ns, begun: BTreeMap::new() }
    }

    /// Remembers a call that has begun.
    pub fn begin(&mut self, call: u64, event: &Event<'_>) {
        let mut line = String::new();
        self.head(&mut line, event);
        event.call(&mut line);
        self.begun.insert(call, (event.ts_ns, line));
    }

    /// Appends the line of a hit.
    pub fn hit(&mut self, out: &mut String, event: &Event<'_>) {
        self.show(out, u64::MAX);
        self.head(out, event);
        event.call(out);
        event.result(out);
        out.push('\n');
    }

    /// Appends the line of a call that has ended.
    pub fn end(&mut self, out: &mut String, call: u64, event: &Event<'_>) {
        let was_shown = self.begun.remove(&call).is_none();
        if event.end == Some(End::Unfinished) && was_shown {
            // That is what the last line says of it.
            return;
        }
        self.show(out, u64::MAX);
        self.head(out, event);
        if was_shown {
            out.push_str("<… ");
            event.place(out);
            out.push_str(" resumed>");
        } else {
            event.call(out);
        }
        event.result(out);
        out.push('\n');
    }

    /// Appends the calls that go on for long.
    pub fn tick(&mut self, out: &mut String, now_ns: u64) {
        self.show(out, now_ns.saturating_sub(LONG));
    }

    /// Shows the calls that have begun by `until`.
    fn show(&mut self, out: &mut String, until: u64) {
        while let Some(entry) = self.begun.first_entry()
            && entry.get().0 <= until
        {
            out.push_str(&entry.remove().1);
            out.push_str(UNFINISHED);
            out.push('\n');
        }
    }

    /// Appends time and thread.
    fn head(&self, out: &mut String, event: &Event<'_>) {
        let since = event.ts_ns.saturating_sub(self.start_ns);
        let (secs, micros) = (since / 1_000_000_000, since / 1_000 % 1_000_000);
        let _ = write!(out, "{secs:>5}.{micros:06} {:>7}", event.pid);
        if event.tid != event.pid {
            let _ = write!(out, "/{}", event.tid);
        }
        out.push(' ');
    }
}

/// Three significant digits are what a stop leaves of a duration.
pub(super) fn duration(out: &mut String, ns: u64) {
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
    object.text_or_null("comm", event.comm);
    object.text("probe", event.probe);
    object.text("object", event.object);
    object.text_or_null("symbol", Some(event.symbol).filter(|s| !s.is_empty()));
    object.number("offset", event.offset);
    object.number("addr", event.addr);
    object.nested("args", |out| {
        let mut args = Object::new(out);
        for (name, ty, value) in event.args.unwrap_or_default() {
            args.nested(name, |out| value_json(out, *ty, *value));
        }
        args.end();
    });
    if let Some((ty, value)) = event.ret.filter(|(ty, _)| *ty != Some(Type::Void)) {
        object.nested("ret", |out| value_json(out, ty.unwrap_or(Type::Hex), value));
    }
    if let Some(ns) = event.duration_ns {
        object.number("duration_ns", ns);
    }
    if let Some(end) = event.end {
        object.text("end", end.name());
    }
    object.end();
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARGS: [(&str, Type, Read<'static>); 2] = [
        ("path", Type::Str, Read::Text(b"/etc/hosts", false)),
        ("flags", Type::Hex, Read::Bits(0x80000)),
    ];

    fn event(symbol: &'static str, micros: u64) -> Event<'static> {
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
            args: Some(&ARGS),
            end: None,
            ret: None,
            duration_ns: None,
        }
    }

    fn ended(symbol: &'static str, micros: u64, end: End) -> Event<'static> {
        let returned = end == End::Return;
        let ret = returned.then_some((Some(Type::I32), Read::Bits(3)));
        let duration_ns = returned.then_some(12_345);
        Event { end: Some(end), ret, duration_ns, args: Some(&[]), ..event(symbol, micros) }
    }

    #[test]
    fn events_are_lines() {
        let mut lines = Lines::new(10_000_000_000);
        let mut out = String::new();
        lines.hit(&mut out, &event("open", 2_345_678));
        lines.hit(&mut out, &Event { tid: 41, args: None, ..event("open", 12_345_678) });
        lines.hit(&mut out, &Event { offset: 16, args: None, ..event("main", 0) });
        lines.hit(&mut out, &Event { args: None, ..event("", 0) });
        let untyped = Some((None, Read::Bits(u64::MAX)));
        lines.end(&mut out, 1, &Event { ret: untyped, ..ended("f", 0, End::Return) });
        assert_eq!(
            out,
            "    2.345678      41/42 open(path: \"/etc/hosts\", flags: 0x80000)
   12.345678      41 open(…)
    0.000000      41/42 main+0x10
    0.000000      41/42 0x1000(…)
    0.000000      41/42 <… f resumed> -> 0xffffffffffffffff (-1)  12.3 us
"
        );
    }

    #[test]
    fn events_are_objects() {
        let mut out = String::new();
        let ret = Some((Some(Type::I32), Read::Bits(u64::MAX)));
        event_json(&mut out, &Event { ret, ..ended("open", 1, End::Return) });
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
                "{head}}},\"ret\":-1,\"duration_ns\":12345,\"end\":\"return\"}}
{nameless}}},\"duration_ns\":12345,\"end\":\"return\"}}
{head}{args},\"end\":\"exec\"}}
{head}{args}}}
"
            )
        );
    }

    /// What is told, one word each: `b1` call 1 begins, `e1` it returns, `h` a hit, `t` a tick;
    /// `u1`, `x1`, `c1`, `f1` the other ends.
    fn told(words: &str) -> String {
        const NAMES: [&str; 3] = ["zero", "one", "two"];
        let mut lines = Lines::new(10_000_000_000);
        let mut out = String::new();
        for (n, word) in words.split(' ').enumerate() {
            let call: u64 = word[1..].parse().unwrap_or(0);
            let (name, at) = (NAMES[call as usize], n as u64 * 90_000);
            let mut ends = |end| lines.end(&mut out, call, &ended(name, at, end));
            match &word[..1] {
                "b" => lines.begin(call, &Event { args: Some(&[]), ..event(name, at) }),
                "e" => ends(End::Return),
                "u" => ends(End::Unwound),
                "x" => ends(End::Exit),
                "c" => ends(End::Exec),
                "f" => ends(End::Unfinished),
                "h" => lines.hit(&mut out, &Event { args: None, ..event("hit", at) }),
                _ => lines.tick(&mut out, 10_000_000_000 + at * 1000),
            }
        }
        out.lines().map(|line| format!("{}\n", line.split_once("41/42 ").unwrap().1)).collect()
    }

    #[test]
    fn calls_have_one_line_or_two() {
        for (words, text) in [
            ("b1 e1", "one() -> 3  12.3 us\n"),
            ("b1 h e1", "one() <unfinished …>\nhit(…)\n<… one resumed> -> 3  12.3 us\n"),
            (
                "b1 b2 e2 e1",
                "one() <unfinished …>\ntwo() -> 3  12.3 us\n<… one resumed> -> 3  12.3 us\n",
            ),
            (
                "b1 b2 e1 e2",
                "two() <unfinished …>\none() -> 3  12.3 us\n<… two resumed> -> 3  12.3 us\n",
            ),
            ("b1 t t e1", "one() <unfinished …>\n<… one resumed> -> 3  12.3 us\n"),
            ("b1 t e1", "one() -> 3  12.3 us\n"),
            ("b1 u1", "one() -> ? (unwound)\n"),
            ("b1 h x1", "one() <unfinished …>\nhit(…)\n<… one resumed> -> ? (exit)\n"),
            ("b1 c1", "one() -> ? (exec)\n"),
            ("b1 f1", "one() <unfinished …>\n"),
            ("b1 h f1", "one() <unfinished …>\nhit(…)\n"),
        ] {
            assert_eq!(told(words), text, "{words}");
        }
    }
}
