//! Which calls are inside of which, for lines that are indented.

use super::event::{End, Event};
use std::collections::BTreeMap;

/// A call under way.
#[derive(Debug)]
struct Open {
    tid: i32,
    depth: usize,
    ts_ns: u64,
    /// Its line, until it is shown.
    line: Option<String>,
    /// `None` once it was shown to be left.
    place: Option<Place>,
}

/// Where a call is.
#[derive(Debug)]
struct Place {
    probe: Box<str>,
    object: Box<str>,
    symbol: Box<str>,
    offset: u64,
    vaddr: u64,
    addr: u64,
}

/// A call that is over because the one that it is in has returned: longjmp or an exception has left it.
#[derive(Debug)]
pub(super) struct Left {
    /// Its line so far, if that was not shown.
    pub(super) line: Option<String>,
    /// How deep it was.
    pub(super) depth: usize,
    place: Place,
}

impl Left {
    /// Its end, which shows when the other one returns.
    pub(super) fn end<'a>(&'a self, outer: &Event<'a>) -> Event<'a> {
        let Place { probe, object, symbol, offset, vaddr, addr } = &self.place;
        Event {
            probe,
            object,
            symbol,
            offset: *offset,
            vaddr: *vaddr,
            addr: *addr,
            args: None,
            out: 0,
            end: Some(End::Unwound),
            ret: None,
            errno: None,
            duration_ns: None,
            ..*outer
        }
    }
}

/// The calls under way, by their numbers. A call is shown when another begins in it, or when it goes
/// on for long; else its end is in the same line.
#[derive(Debug, Default)]
pub(super) struct Tree {
    open: BTreeMap<u64, Open>,
    /// The calls of each thread, the outermost first.
    threads: BTreeMap<i32, Vec<u64>>,
}

impl Tree {
    /// Notes a call that begins, and shows the one that it is in. Returns how deep it is.
    pub(super) fn begin(&mut self, out: &mut String, call: u64, event: &Event<'_>) -> usize {
        let depth = self.hit(out, event);
        self.threads.entry(event.tid).or_default().push(call);
        let place = Some(Place {
            probe: event.probe.into(),
            object: event.object.into(),
            symbol: event.symbol.into(),
            offset: event.offset,
            vaddr: event.vaddr,
            addr: event.addr,
        });
        let (tid, ts_ns) = (event.tid, event.ts_ns);
        self.open.insert(call, Open { tid, depth, ts_ns, line: None, place });
        depth
    }

    /// Keeps the line of a call that has begun until it is to be shown.
    pub(super) fn keep(&mut self, call: u64, line: String) {
        if let Some(open) = self.open.get_mut(&call) {
            open.line = Some(line);
        }
    }

    /// Shows the call that something else is in. Returns how deep that is.
    pub(super) fn hit(&mut self, out: &mut String, event: &Event<'_>) -> usize {
        let Some(calls) = self.threads.get(&event.tid) else { return 0 };
        for call in calls {
            if let Some(open) = self.open.get_mut(call) {
                show(out, open);
            }
        }
        calls.len()
    }

    /// Takes the calls away that are inside one that returns, the innermost first: they are over, unless
    /// they go on elsewhere, on stacks of their own.
    pub(super) fn leave(&mut self, call: u64, event: &Event<'_>) -> Vec<Left> {
        let Some(calls) = self.threads.get_mut(&event.tid) else { return Vec::new() };
        let Some(at) = calls.iter().position(|&other| other == call) else { return Vec::new() };
        let inside = calls.split_off(at + 1);
        let left = inside.iter().rev().filter_map(|call| {
            let open = self.open.get_mut(call)?;
            let (line, place) = (open.line.take(), open.place.take()?);
            Some(Left { line, depth: open.depth, place })
        });
        left.collect()
    }

    /// Whether a call was shown to be left.
    pub(super) fn was_left(&self, call: u64) -> bool {
        self.open.get(&call).is_some_and(|open| open.place.is_none())
    }

    /// Takes a call away that has ended. Returns how deep it was, and whether it was shown.
    pub(super) fn end(&mut self, call: u64, event: &Event<'_>) -> (usize, bool) {
        let Some(open) = self.open.remove(&call) else {
            return (self.threads.get(&event.tid).map_or(0, Vec::len), true);
        };
        if let Some(calls) = self.threads.get_mut(&open.tid) {
            calls.retain(|&other| other != call);
            if calls.is_empty() {
                self.threads.remove(&open.tid);
            }
        }
        (open.depth, open.line.is_none())
    }

    /// Shows the calls that have begun by `until`.
    pub(super) fn show(&mut self, out: &mut String, until: u64) {
        for open in self.open.values_mut().filter(|open| open.ts_ns <= until) {
            show(out, open);
        }
    }
}

fn show(out: &mut String, open: &mut Open) {
    if let Some(line) = open.line.take() {
        out.push_str(&line);
        out.push_str(" {\n");
    }
}
