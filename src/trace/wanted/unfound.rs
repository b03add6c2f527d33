//! What is said of probes that have no place, or no hits.

use crate::spec::{Candidate, Location, Offset, Spec, SymbolName, resolve, unknown};
use crate::symbols::{Bind, Kind, Object, RelocValue};
use crate::trace::Report;
use crate::trace::TraceError;
use crate::trace::rows::consumer::{Row, RowState};
use crate::trace::session::Session;
use xol_arch::{Arch, Reason};
use xol_targets::Native;

/// In more code than this nobody looks for calls.
const MUCH: u64 = 32 << 20;

impl Session<'_> {
    /// Ends the run if no probe can be hit any more: every one rejected, or looked for in vain
    /// in the object that it names.
    pub(in crate::trace) fn check_hope(&mut self) {
        if self.fatal.is_none() && !self.teller.rows.armed_once {
            self.fatal = self.hopeless();
        }
    }

    fn hopeless(&self) -> Option<TraceError> {
        if self.teller.rows.iter().any(|r| !matches!(r.state, RowState::Rejected(_))) {
            return None;
        }
        let attached = self.root.is_none();
        let mut unknown = Vec::new();
        for (number, spec) in self.options.probes.iter().enumerate() {
            if self.teller.rows.iter().any(|r| r.probe == number) {
                continue;
            }
            // An object that is not mapped may still come, also one of many that a pattern means; so
            // may, in a program that goes on to run others, a name without an object.
            let open = match &spec.object {
                Some(object) => object.is_pattern(),
                None => !attached,
            };
            if open || !self.wanted.looked.iter().any(|l| l.may_match(spec)) {
                return None;
            }
            unknown.push(self.unknown(number));
        }
        let mut why = self.rejections();
        why.extend(unknown);
        Some(TraceError::NoneLeft(why))
    }

    /// Says which probes have found nothing in a program that runs already, and wait.
    pub(in crate::trace) fn note_waiting(&mut self) {
        for number in 0..self.options.probes.len() {
            if !self.teller.rows.iter().any(|r| r.probe == number) {
                let text = self.unknown(number);
                self.note(format!("{text}. xol waits for objects that are loaded later"));
            }
        }
    }

    /// A sentence for a probe that was found nowhere.
    pub(in crate::trace) fn unknown(&self, probe: usize) -> String {
        let spec = &self.options.probes[probe];
        let unread =
            self.wanted.looked.iter().filter(|l| spec.object.is_some() && l.may_match(spec));
        for looked in unread {
            if let Some(Err(error)) = self.resolved.get(&looked.file()) {
                return format!("{}: {} {error}", spec.text, looked.name().path);
            }
        }
        let opened: Vec<_> = self
            .wanted
            .looked
            .iter()
            .filter_map(|l| Some((l.name(), self.resolved.get(&l.file())?.as_ref().ok()?)))
            .collect();
        let candidates: Vec<Candidate<'_>> =
            opened.iter().map(|(name, object)| Candidate { name: *name, object }).collect();
        let there = |c: &&Candidate<'_>| {
            spec.may_match(&c.name)
                && resolve(spec, c.object).is_ok_and(|found| !found.places.is_empty())
        };
        if let Some(candidate) = candidates.iter().find(there) {
            return format!(
                "{}: it is in {}, but the memory where it was is not mapped from that file any more: \
                 the program has moved or unmapped its text",
                spec.text,
                candidate.name.file_name()
            );
        }
        format!("{}: {}", spec.text, unknown(spec, &candidates))
    }

    /// Every rejected row as a sentence; the first few of a long list.
    pub(in crate::trace) fn rejections(&self) -> Vec<String> {
        let rejected = self.teller.rows.iter().filter_map(|row| match row.state {
            RowState::Rejected(reject) => {
                let id = reject.reason.id();
                let cause = self.spaces.values().find_map(|s| s.no_slots.as_ref());
                let cause = cause.filter(|_| reject.reason == Reason::NoRoomForSlots);
                Some(cause.map_or_else(
                    || format!("{row}: {reject} [{id}]"),
                    |why| {
                        format!(
                            "{row}: no slot can be had ({why}), and the instruction cannot be \
                             simulated [{id}]"
                        )
                    },
                ))
            }
            _ => None,
        });
        rejected.take(10).collect()
    }

    /// Why functions that were named were not hit, as far as their objects say.
    pub(in crate::trace) fn hints(&self, report: &Report) -> Vec<String> {
        let quiet = report.rows.iter().filter(|counted| counted.hits == 0);
        quiet.filter_map(|counted| self.hint(&counted.row)).take(4).collect()
    }

    fn hint(&self, row: &Row) -> Option<String> {
        let spec = self.options.probes.get(row.probe)?;
        if !is_named(spec) || row.offset != 0 {
            return None;
        }
        let object = self.resolved.get(&self.teller.rows.file_of(row)?)?.as_ref().ok()?;
        match row.state {
            RowState::Armed(_) if is_never_called(object, row.addr)? => Some(format!(
                "{row} has no hits, and no call or jump in its object leads to it: where the source \
                 calls it, the compiler has inlined it, or it is called through a pointer; probe the \
                 functions that call it"
            )),
            RowState::Waiting if self.root.is_none() => Some(format!(
                "{row}: the implementation of this function was chosen before xol came, and nothing in \
                 the program says which; write the implementation's own name (`xol list` has those like \
                 it), or start the program with xol"
            )),
            _ => None,
        }
    }
}

/// Whether a probe names one function.
fn is_named(spec: &Spec) -> bool {
    let Location::Symbol { name, offset: Offset::At(0), .. } = &spec.location else {
        return false;
    };
    !matches!(name, SymbolName::Glob(_))
}

/// Whether nothing in an object leads to one of its functions, as far as branches and relocations
/// say, and no other object can; `None` where that is not found out.
fn is_never_called(object: &Object, addr: u64) -> Option<bool> {
    let symbols = object.symbols().ok()?;
    let plain = symbols.all_at(addr).all(|(_, s)| {
        s.kind == Kind::Function && (s.bind == Bind::Local || !symbols.is_exported(&s))
    });
    let code: u64 = object.code_ranges().ok()?.iter().map(|r| r.end - r.start).sum();
    if !plain || code > MUCH || addr == object.entry() || Native::NAME != object.machine().name() {
        return None;
    }
    let mut pointed = false;
    object.relocs(&mut |reloc| pointed |= reloc.value == RelocValue::Address(addr)).ok()?;
    Some(!pointed && !object.is_branched_to::<Native>(addr).ok()?)
}
