//! What trampolines note down: which values a site's consumers need, and their telling.

use crate::engine::Note;
use crate::engine::RowId;
use crate::trace::Value;
use crate::trace::rows::consumer::Consumer;
use crate::trace::telling::events::Returned;
use crate::trace::telling::frames::{Expect, Frame, Key};
use crate::trace::telling::names::Who;
use crate::trace::telling::recorders::{recorded, returned};
use crate::trace::telling::teller::Teller;
use crate::trace::telling::value::only_present;
use xol_arch::Addr;
use xol_arch::jump::{self, Values};
use xol_targets::native;
use xol_targets::ptrace::SpaceId;

impl Teller<'_> {
    /// Tells of one record.
    pub(in crate::trace) fn tell_note(
        &mut self,
        space: SpaceId,
        note: &Note,
        who: Who,
        ts_ns: u64,
    ) {
        let Some(noting) = self.notings.get(note.recorder.0 as usize) else { return };
        let (at, consumers, values) = (noting.at, noting.consumers.clone(), noting.values);
        for &consumer in &*consumers {
            match self.rows[consumer] {
                Consumer::Row(row) => {
                    self.count_of(row);
                    if self.options.events && !self.probe_of(row).when.ret() {
                        let mut args = std::mem::take(&mut self.args);
                        self.noted_args((note, values), row, &mut args);
                        self.hit_event(who, row, at, ts_ns, &args);
                        self.args = args;
                    }
                }
                Consumer::Entered(row) => {
                    let mut args = Vec::new();
                    if self.options.events {
                        self.noted_args((note, values), row, &mut args);
                    }
                    let key = key(space, (note, values), native::called);
                    let expect = Expect::Row(row, self.entry(who, ts_ns, args));
                    if self.frames.is_crowded() {
                        self.crowded = Some((who.0, key, ts_ns));
                    }
                    if !self.begin_call(key, Frame::new(expect, false)) {
                        self.rows.missed(Some(row));
                    }
                }
                Consumer::Exit(row) => {
                    let key = key(space, (note, values), native::returned);
                    if let Some(entry) = self.frames.take_last(key, row) {
                        self.count_of(row);
                        if self.options.events {
                            let of = returned(self.rows[row].returned_type());
                            let value = Value::Bits(note.value(values, of).unwrap_or(0));
                            self.frames.ends(entry.who, key);
                            let errno = self.told_error(row, &value);
                            let returned = Returned { value, errno };
                            self.return_event(who, row, &entry, key.back, ts_ns, returned);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn noted_args(&self, (note, values): (&Note, Values), row: RowId, args: &mut Vec<Value>) {
        args.clear();
        let row = &self.rows[row];
        let Some(signature) = &row.signature else { return };
        args.extend((0..signature.args.len()).map(|n| {
            let noted = row.places.get(n).and_then(|&place| note.value(values, recorded(place)?));
            noted.map_or(Value::Unknown(None), Value::Bits)
        }));
        only_present(signature, args);
    }
}

/// The call that a record is about.
fn key(
    space: SpaceId,
    (note, values): (&Note, Values),
    place: fn(u64, u64) -> (Addr, Addr),
) -> Key {
    let value = |value| note.value(values, value).unwrap_or(0);
    let (back, sp) = place(value(jump::Value::Sp), value(jump::Value::Link));
    Key { space, goroutine: Addr(0), sp, back }
}
