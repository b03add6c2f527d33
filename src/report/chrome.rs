//! Events as Chrome's trace event format has them: an array of objects, for Perfetto and others.

use super::event::{End, Event, errno_json};
use super::json::Object;
use super::value::value_json;
use crate::spec::Type;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A call under way.
#[derive(Debug)]
struct Open {
    call: u64,
    began_ns: u64,
    /// When a call that it was in has ended, and it at the latest.
    over_ns: Option<u64>,
}

/// Writes events. A call is a slice of its thread, a hit is a moment. What goes before the first
/// event and behind the last is [`Chrome::BEGIN`] and [`Chrome::END`].
#[derive(Debug, Default)]
pub struct Chrome {
    began: bool,
    /// What threads and processes were called when that was told.
    named: BTreeMap<(i32, i32), String>,
    /// The calls of each thread that have not ended, the outermost first.
    open: BTreeMap<i32, Vec<Open>>,
}

impl Chrome {
    /// Opens the array.
    pub const BEGIN: &str = "[";
    /// Closes it.
    pub const END: &str = "\n]\n";

    /// Remembers a call that has begun.
    pub fn begin(&mut self, call: u64, event: &Event<'_>) {
        let open = Open { call, began_ns: event.ts_ns, over_ns: None };
        self.open.entry(event.tid).or_default().push(open);
    }

    /// Appends a hit.
    pub fn hit(&mut self, out: &mut String, event: &Event<'_>) {
        self.names(out, event);
        self.object(out, event, "i", event.ts_ns, |object| object.text("s", "t"));
    }

    /// Appends a call that has ended.
    pub fn end(&mut self, out: &mut String, call: u64, event: &Event<'_>) {
        self.names(out, event);
        let (began, over) = self.take(call, event);
        if event.end == Some(End::Unfinished) && over.is_none() {
            // It goes on where the picture ends.
            self.object(out, event, "B", began, |_| {});
            return;
        }
        let end = over.map_or(event.ts_ns, |over| over.min(event.ts_ns)).max(began);
        self.object(out, event, "X", began, |object| {
            object.nested("dur", |out| micros(out, end - began));
        });
    }

    /// When a call has begun, and by when it was over, if that is known by now.
    fn take(&mut self, call: u64, event: &Event<'_>) -> (u64, Option<u64>) {
        let known = event.ts_ns.saturating_sub(event.duration_ns.unwrap_or(0));
        // A call may end on another thread than it has begun on.
        let of = |calls: &Vec<Open>| calls.iter().position(|open| open.call == call);
        let mine = self.open.get(&event.tid).and_then(of).map(|n| (event.tid, n));
        let found = mine.or_else(|| self.open.iter().find_map(|(&tid, c)| Some((tid, of(c)?))));
        let Some((tid, n)) = found else { return (known, None) };
        let Some(calls) = self.open.get_mut(&tid) else { return (known, None) };
        let open = calls.remove(n);
        if event.end == Some(End::Return) {
            for inner in &mut calls[n..] {
                inner.over_ns.get_or_insert(event.ts_ns);
            }
        }
        if calls.is_empty() {
            self.open.remove(&tid);
        }
        (open.began_ns, open.over_ns)
    }

    /// Appends what the thread and its process are called, where that is new.
    fn names(&mut self, out: &mut String, event: &Event<'_>) {
        let Some(comm) = event.comm else { return };
        for (tid, what) in [(0, "process_name"), (event.tid, "thread_name")] {
            let known = self.named.entry((event.pid, tid)).or_default();
            // The process is called as it was first seen, unless its first thread says otherwise.
            let says = tid != 0 || known.is_empty() || event.tid == event.pid;
            if known == comm || !says {
                continue;
            }
            comm.clone_into(known);
            self.separate(out);
            let mut object = Object::new(out);
            object.text("name", what);
            object.text("ph", "M");
            object.number("pid", event.pid);
            object.number("tid", if tid == 0 { event.pid } else { tid });
            object.nested("args", |out| {
                let mut args = Object::new(out);
                args.text("name", comm);
                args.end();
            });
            object.end();
        }
    }

    fn object(
        &mut self,
        out: &mut String,
        event: &Event<'_>,
        phase: &str,
        ts_ns: u64,
        more: impl FnOnce(&mut Object<'_>),
    ) {
        self.separate(out);
        let mut name = String::new();
        event.place(&mut name);
        let mut object = Object::new(out);
        object.text("name", &name);
        object.text("cat", event.object.rsplit('/').next().unwrap_or_default());
        object.text("ph", phase);
        object.nested("ts", |out| micros(out, ts_ns));
        more(&mut object);
        object.number("pid", event.pid);
        object.number("tid", event.tid);
        object.nested("args", |out| {
            let mut args = Object::new(out);
            for (name, ty, value) in event.args.unwrap_or_default() {
                args.nested(name, |out| value_json(out, *ty, *value));
            }
            for (name, text) in event.named() {
                args.text(&format!("{name} name"), &text);
            }
            if let Some((ty, value)) = event.ret.filter(|(ty, _)| *ty != Some(Type::Void)) {
                args.nested("->", |out| value_json(out, ty.unwrap_or(Type::Hex), value));
            }
            if let Some(number) = event.errno {
                args.nested("-> errno", |out| errno_json(out, number));
            }
            if let Some(end) = event.end.filter(|&end| end != End::Return) {
                args.text("-> end", end.name());
            }
            args.end();
        });
        object.end();
    }

    fn separate(&mut self, out: &mut String) {
        out.push_str(if self.began { ",\n" } else { "\n" });
        self.began = true;
    }
}

/// Microseconds, which is what the format counts in.
fn micros(out: &mut String, ns: u64) {
    let _ = write!(out, "{}.{:03}", ns / 1000, ns % 1000);
}

#[cfg(test)]
mod tests {
    use super::super::event::tests::{ARGS, ended, event};
    use super::*;

    const CALL: &str = "\"pid\":41,\"tid\":42,\"args\":{";

    #[test]
    fn calls_are_slices_and_hits_are_moments() {
        let (mut chrome, mut out) = (Chrome::default(), String::new());
        chrome.begin(1, &event("outer", 1));
        chrome.begin(2, &event("inner", 2));
        chrome.hit(&mut out, &Event { args: None, ..event("hit", 3) });
        let failed = Event { errno: Some(2), args: Some(&ARGS), ..ended("inner", 4, End::Return) };
        chrome.end(&mut out, 2, &failed);
        chrome.end(&mut out, 1, &ended("outer", 6, End::Return));
        let head = |name: &str| format!("{{\"name\":\"{name}\",\"cat\":\"libc.so.6\",\"ph\":");
        assert_eq!(
            out,
            format!(
                "
{{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":41,\"tid\":41,\"args\":{{\"name\":\"cat\"}}}},
{{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":41,\"tid\":42,\"args\":{{\"name\":\"cat\"}}}},
{}\"i\",\"ts\":10000003.000,\"s\":\"t\",{CALL}}}}},
{}\"X\",\"ts\":10000002.000,\"dur\":2.000,{CALL}\"path\":\"/etc/hosts\",\"flags\":524288,\
                 \"->\":3,\"-> errno\":\"ENOENT\"}}}},
{}\"X\",\"ts\":10000001.000,\"dur\":5.000,{CALL}\"->\":3}}}}",
                head("hit"),
                head("inner"),
                head("outer"),
            )
        );
    }

    #[test]
    fn slices_are_nested() {
        let (mut chrome, mut out) = (Chrome::default(), String::new());
        chrome.begin(1, &event("outer", 1));
        chrome.begin(2, &event("left", 2));
        chrome.end(&mut out, 1, &ended("outer", 5, End::Return));
        // It showed late that longjmp has left it.
        chrome.end(&mut out, 2, &ended("left", 50, End::Unwound));
        chrome.begin(3, &event("waits", 60));
        chrome.end(&mut out, 3, &ended("waits", 90, End::Unfinished));
        // Its beginning was not told.
        chrome.end(&mut out, 4, &ended("late", 100, End::Return));
        let of = |name: &str| {
            let is_it = |line: &&str| line.starts_with(&format!("{{\"name\":\"{name}\""));
            out.lines().find(is_it).unwrap_or_else(|| panic!("no {name}: {out}"))
        };
        assert!(of("outer").contains("\"dur\":4.000,"), "{out}");
        assert!(of("left").contains("\"dur\":3.000,"), "{out}");
        assert!(of("left").contains("\"-> end\":\"unwound\""), "{out}");
        assert!(of("waits").contains("\"ph\":\"B\",\"ts\":10000060.000,"), "{out}");
        assert!(of("late").contains("\"dur\":12.345,"), "{out}");
    }
}
