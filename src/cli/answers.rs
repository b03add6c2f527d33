//! Commands that answer with sums: what they share.

use super::asked::By;
use super::book::read;
use super::callers::Callers;
use super::look::Form;
use rustc_hash::FxHashMap;
use std::path::PathBuf;
use xol::report::{CountRow, Read, Shown, json, untyped_text, value_json, value_text};
use xol::spec::Type;
use xol::trace::{Counted, HitEvent, Moment, Row};

/// What makes sums of a run's hits.
pub(super) trait Answer {
    /// Takes a hit, or the beginning or end of a call. Returns whether it has a line of its own.
    fn hit(&mut self, event: &HitEvent<'_>) -> bool;
    /// Appends the sums so far; `rows` are those of `counted`.
    fn report(
        &mut self,
        out: &mut String,
        rows: &[CountRow<'_>],
        counted: &[Counted],
        format: Form,
    );
    /// Whether the report is wanted now, of every moment at which it could be written.
    fn is_due(&mut self) -> bool {
        true
    }
    /// Whether the user has seen enough.
    fn is_over(&self) -> bool {
        false
    }
}

/// Names a row while it lives.
pub(super) type RowName = (usize, usize, u64, bool);

pub(super) fn row_name(row: &Row) -> RowName {
    let object = std::sync::Arc::as_ptr(&row.object).cast::<u8>() as usize;
    (row.probe, object, row.addr, row.is_return)
}

/// One thing for each row.
pub(super) struct Places<S>(FxHashMap<RowName, S>);

impl<S: Default> Places<S> {
    pub(super) fn new() -> Places<S> {
        Places(FxHashMap::default())
    }

    pub(super) fn of(&mut self, row: &Row) -> &mut S {
        self.0.entry(row_name(row)).or_default()
    }

    pub(super) fn get(&self, row: &Row) -> Option<&S> {
        self.0.get(&row_name(row))
    }
}

/// A value of an event, with its type if that is known; `None` where there is nothing of that name.
pub(super) fn value<'e>(by: &By, event: &'e HitEvent<'_>) -> Option<(Option<Type>, Read<'e>)> {
    match by {
        By::Ret => {
            let ty = event.signature.and_then(|signature| signature.ret);
            event.ret.as_ref().map(|value| (ty, read(value)))
        }
        By::Argument(name) => {
            let signature = event.signature?;
            let n = signature.args.iter().position(|arg| arg.name == *name)?;
            Some((Some(signature.args[n].ty), read(event.args.get(n)?)))
        }
        _ => None,
    }
}

/// Writes the values that rows are made of. What has none is `?`.
pub(super) struct Keys {
    by: By,
    text: String,
    json: String,
    callers: Callers,
}

impl Keys {
    pub(super) fn new(by: By, debug_folders: Vec<PathBuf>) -> Keys {
        let (text, json) = (String::new(), String::new());
        Keys { by, text, json, callers: Callers::new(debug_folders) }
    }

    pub(super) fn name(&self) -> &str {
        self.by.name()
    }

    /// Sees every event, also one without a sum.
    pub(super) fn see(&mut self, event: &HitEvent<'_>) {
        use xol::report::End;
        if self.by == By::Caller {
            match event.moment {
                Moment::Ends(_, End::Exec) => self.callers.forget(event.pid.0),
                _ => self.callers.meet(event.pid.0),
            }
        }
    }

    /// The value of an event; of a caller at the beginning or end of a call.
    pub(super) fn of(&mut self, event: &HitEvent<'_>) -> Shown<'_> {
        let Keys { by, text, json, callers } = self;
        text.clear();
        json.clear();
        let mut name = |name: &str| {
            text.push_str(name);
            json::string(json, name);
        };
        match by {
            By::Caller => name(&callers.name(event.pid.0, event.addr.0)),
            By::Comm => name(event.comm.unwrap_or("?")),
            By::Pid | By::Tid => {
                let id = if *by == By::Pid { event.pid.0 } else { event.tid.0 };
                value_json(json, Type::I32, Read::Bits(id as u64));
                text.push_str(json);
            }
            By::Ret | By::Argument(_) => match value(by, event) {
                Some((Some(ty), value)) => {
                    value_text(text, ty, value);
                    value_json(json, ty, value);
                }
                Some((None, value)) => {
                    untyped_text(text, value);
                    value_json(json, Type::Hex, value);
                }
                None => {
                    text.push('?');
                    json.push_str("null");
                }
            },
        }
        Shown { text, json }
    }
}
