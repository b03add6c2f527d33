//! The lines of `xol trace` for people.

use super::clock::{Stamp, padded};
use super::event::{End, Event};
use super::tree::Tree;
use super::value::{Read, untyped_text, value_text};
use super::{Colours, errno_name};
use crate::spec::Type;
use std::collections::BTreeMap;
use std::fmt::Write;

/// How long a call may go on before it is shown, in ns.
pub(crate) const LONG: u64 = 100_000_000;

pub(super) const UNFINISHED: &str = " <unfinished …>";

/// A part of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// When.
    Time,
    /// The process, and the thread where that is not the first.
    Thread,
    /// The process.
    Pid,
    /// The thread.
    Tid,
    /// The thread's name.
    Comm,
    /// The PROBE as it was written.
    Probe,
    /// The object's file name.
    Object,
    /// The place and the arguments.
    Call,
    /// What came back.
    Ret,
    /// From entry to end.
    Duration,
}

impl Column {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Column); 10] = [
        ("time", Column::Time),
        ("thread", Column::Thread),
        ("pid", Column::Pid),
        ("tid", Column::Tid),
        ("comm", Column::Comm),
        ("probe", Column::Probe),
        ("object", Column::Object),
        ("call", Column::Call),
        ("ret", Column::Ret),
        ("duration", Column::Duration),
    ];

    /// Those of a line where nothing else is asked for.
    pub const USUAL: [Column; 5] =
        [Column::Time, Column::Thread, Column::Call, Column::Ret, Column::Duration];
}

/// How lines are to look.
#[derive(Clone, Debug)]
pub struct Look {
    /// What TIME is.
    pub stamp: Stamp,
    /// The parts of a line.
    pub columns: Vec<Column>,
    /// Whether calls are indented by how deep they are.
    pub tree: bool,
    /// Whether and how lines are coloured.
    pub colours: Colours,
}

/// Which line of a call it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Its beginning; the end has another.
    Begun,
    /// Its end, whose beginning was shown.
    Resumed,
    /// All of it.
    Whole,
}

impl Event<'_> {
    /// Appends what people call the place: `malloc`, `main+0x10`, `0x1139`.
    pub(super) fn place(&self, out: &mut String) {
        let _ = match (self.symbol, self.offset) {
            ("", _) => write!(out, "{:#x}", self.vaddr),
            (symbol, 0) => {
                out.push_str(symbol);
                Ok(())
            }
            (symbol, offset) => write!(out, "{symbol}+{offset:#x}"),
        };
    }

    /// Appends the place and its arguments; an instruction in a function has none.
    fn call(&self, out: &mut String, colours: Colours) {
        colours.name(out, |out| self.place(out));
        match self.args {
            None if self.offset != 0 => {}
            None => out.push_str("(…)"),
            Some(args) => values(out, args.iter()),
        }
    }

    /// Appends the arguments that were read at the end, where others were shown when it began.
    fn late(&self, out: &mut String) {
        let is_late = |n: usize| n < 64 && self.out & 1 << n != 0;
        if self.end == Some(End::Return) && self.offset == 0 && self.out != 0 {
            let args = self.args.unwrap_or_default().iter().enumerate();
            values(out, args.filter(|(n, _)| is_late(*n)).map(|(_, arg)| arg));
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
        if let Some(number) = self.errno {
            let _ = match errno_name(number) {
                Some(name) => write!(out, " {name}"),
                None => write!(out, " errno {number}"),
            };
        }
    }

    /// Whether people want to look at it first.
    fn is_bad(&self) -> bool {
        self.errno.is_some() || self.end.is_some_and(|end| end != End::Return)
    }
}

/// Appends arguments by their names.
fn values<'a>(out: &mut String, args: impl Iterator<Item = &'a (&'a str, Type, Read<'a>)>) {
    out.push('(');
    for (i, (name, ty, value)) in args.enumerate() {
        out.push_str(if i == 0 { "" } else { ", " });
        out.push_str(name);
        out.push_str(": ");
        value_text(out, *ty, *value);
    }
    out.push(')');
}

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
    look: Look,
    /// Calls that have begun and were not shown, by their numbers: when, and their lines so far.
    begun: BTreeMap<u64, (u64, String)>,
    tree: Tree,
}

impl Lines {
    /// Lines that look like that.
    #[must_use]
    pub fn new(look: Look) -> Lines {
        Lines { look, begun: BTreeMap::new(), tree: Tree::default() }
    }

    /// Appends what is to be shown when a call begins.
    pub fn begin(&mut self, out: &mut String, call: u64, event: &Event<'_>) {
        if self.look.tree {
            let depth = self.tree.begin(out, call, event);
            let mut line = String::new();
            line_of(&mut self.look, &mut line, event, Part::Begun, Some(depth));
            self.tree.keep(call, line);
            return;
        }
        let mut line = String::new();
        line_of(&mut self.look, &mut line, event, Part::Begun, None);
        self.begun.insert(call, (event.ts_ns, line));
    }

    /// Appends the line of a hit.
    pub fn hit(&mut self, out: &mut String, event: &Event<'_>) {
        let depth = match self.look.tree {
            true => Some(self.tree.hit(out, event)),
            false => {
                self.show(out, u64::MAX);
                None
            }
        };
        line_of(&mut self.look, out, event, Part::Whole, depth);
        out.push('\n');
    }

    /// Appends the line of a call that has ended.
    pub fn end(&mut self, out: &mut String, call: u64, event: &Event<'_>) {
        if self.look.tree {
            let returns = event.end == Some(End::Return);
            if returns {
                self.leave(out, call, event);
            }
            let was_left = self.tree.was_left(call);
            let (depth, was_shown) = self.tree.end(call, event);
            if was_left && !returns {
                return;
            }
            let part = if was_shown { Part::Resumed } else { Part::Whole };
            line_of(&mut self.look, out, event, part, Some(depth));
            out.push('\n');
            return;
        }
        let was_shown = self.begun.remove(&call).is_none();
        if event.end == Some(End::Unfinished) && was_shown {
            // That is what the last line says of it.
            return;
        }
        self.show(out, u64::MAX);
        let part = if was_shown { Part::Resumed } else { Part::Whole };
        line_of(&mut self.look, out, event, part, None);
        out.push('\n');
    }

    /// Ends the calls inside one that returns.
    fn leave(&mut self, out: &mut String, call: u64, event: &Event<'_>) {
        let inside = self.tree.leave(call, event);
        if !inside.is_empty() {
            self.tree.hit(out, event);
        }
        for left in &inside {
            let end = left.end(event);
            match &left.line {
                Some(line) => {
                    out.push_str(line);
                    self.look.colours.bad(out, end.is_bad(), |out| end.result(out));
                }
                None => {
                    line_of(&mut self.look, out, &end, Part::Resumed, Some(left.depth));
                }
            }
            out.push('\n');
        }
    }

    /// Appends the calls that go on for long.
    pub fn tick(&mut self, out: &mut String, now_ns: u64) {
        let until = now_ns.saturating_sub(LONG);
        match self.look.tree {
            true => self.tree.show(out, until),
            false => self.show(out, until),
        }
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
}

/// Appends a line without its line feed.
fn line_of(look: &mut Look, out: &mut String, event: &Event<'_>, part: Part, depth: Option<usize>) {
    let start = out.len();
    let colours = look.colours;
    for &column in &look.columns {
        // These bring their own blanks.
        if out.len() > start && !matches!(column, Column::Ret | Column::Duration) {
            out.push(' ');
        }
        match column {
            Column::Time => {
                colours.dim(out, |out| look.stamp.write(out, event.ts_ns));
            }
            Column::Thread => colours.thread(out, event.tid, |out| {
                number(out, event.pid);
                if event.tid != event.pid {
                    out.push('/');
                    out.push_str(itoa::Buffer::new().format(event.tid));
                }
            }),
            Column::Pid => number(out, event.pid),
            Column::Tid => colours.thread(out, event.tid, |out| number(out, event.tid)),
            Column::Comm => {
                let _ = write!(out, "{:<15}", printable(event.comm.unwrap_or("?")));
            }
            Column::Probe => out.push_str(event.probe),
            Column::Object => {
                out.push_str(&printable(event.object.rsplit('/').next().unwrap_or_default()));
            }
            Column::Call => {
                for _ in 0..depth.unwrap_or(0) {
                    out.push_str("  ");
                }
                match (part, depth) {
                    (Part::Resumed, Some(_)) => {
                        out.push_str("} ");
                        colours.name(out, |out| event.place(out));
                        event.late(out);
                    }
                    (Part::Resumed, None) => {
                        out.push_str("<… ");
                        colours.name(out, |out| event.place(out));
                        out.push_str(" resumed>");
                        event.late(out);
                    }
                    _ => event.call(out, colours),
                }
            }
            Column::Ret if part != Part::Begun => {
                colours.bad(out, event.is_bad(), |out| event.result(out));
            }
            Column::Duration if part != Part::Begun => {
                if let Some(ns) = event.duration_ns {
                    out.push_str("  ");
                    colours.dim(out, |out| duration(out, ns));
                }
            }
            Column::Ret | Column::Duration => {}
        }
    }
}

/// The number of a process or thread.
fn number(out: &mut String, id: i32) {
    padded(out, id.max(0), 7, ' ');
}

/// A name that a program may have chosen, as one that a terminal may get.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
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

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
