//! Events into bytes, and back.
//!
//! An event is its head, and what the head says that there is, in this order:
//!
//! | what | as |
//! |---|---|
//! | head | bits 0 and 1: a hit, a beginning, an end, or that nothing has happened for a moment; then [`MIXED`] … |
//! | thread, if it is another | its number in these bytes; the next one's is followed by pid, tid, and 1 and its name, or 0 |
//! | time | behind that of the event before, signed |
//! | row | its number |
//! | address | behind the last one of that row, signed |
//! | call, unless a hit | behind the last one, signed |
//! | end, if one | 0 to 4: return, unwound, exit, exec, unfinished |
//! | arguments | how many, and each value |
//! | value, error, duration | if the head says so |
//!
//! A value is its bits; in an event that has another kind of value, behind 0. A text is 1 (2 where it is
//! cut) and its bytes, an address that cannot be read 3 and that, what could not be read 4, or 5 and its
//! address. An array of texts is 6 (7 where it is cut), how many, and each as a value: NULL is the bits 0. A descriptor
//! with its file is 8, its bits and a text. Of a moment at which nothing happened there is the time alone. What there is to compare with
//! is 0 where the bytes begin, and rows are told elsewhere: so any piece can be read alone.

use super::numbers::{Eyes, Pen, Wrong};
use super::{Moment, Record};
use crate::report::{End, Text};
use crate::trace::Value;
use rustc_hash::FxHashMap;

const HIT: u64 = 0;
const BEGINS: u64 = 1;
const ENDS: u64 = 2;
const PAUSE: u64 = 3;
/// A value is something else than its bits.
const MIXED: u64 = 1 << 2;
const RET: u64 = 1 << 3;
const ERRNO: u64 = 1 << 4;
const DURATION: u64 = 1 << 5;
/// The thread is another than that of the event before.
const THREAD: u64 = 1 << 6;
/// Something was missed before.
const MISSED: u64 = 1 << 7;
const ALL: u64 = (1 << 8) - 1;

const ENDINGS: [End; 5] = [End::Return, End::Unwound, End::Exit, End::Exec, End::Unfinished];

/// A thread by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Named {
    pid: i32,
    tid: i32,
    comm: Option<String>,
}

impl Named {
    fn is(&self, record: &Record<'_>) -> bool {
        (self.tid, self.pid, self.comm.as_deref()) == (record.tid, record.pid, record.comm)
    }
}

/// Packs events.
#[derive(Debug, Default)]
pub(super) struct Packer {
    pen: Pen,
    /// What was there when these bytes began does not count.
    piece: u32,
    /// Of each row: in which piece it was last, and its address then.
    rows: Vec<(u32, u64)>,
    ts_ns: u64,
    call: u64,
    /// The threads of this piece, and the one of the last event.
    threads: Vec<Named>,
    numbers: FxHashMap<i32, usize>,
    thread: usize,
}

impl Packer {
    /// The bytes so far.
    pub(super) fn bytes(&self) -> &[u8] {
        self.pen.bytes()
    }

    /// How many they are.
    pub(super) fn len(&self) -> usize {
        self.pen.len()
    }

    /// Begins another piece.
    pub(super) fn clear(&mut self) {
        self.pen.clear();
        self.piece = self.piece.wrapping_add(1);
        if self.piece == 0 {
            self.rows.clear();
        }
        (self.ts_ns, self.call, self.thread) = (0, 0, 0);
        self.threads.clear();
        self.numbers.clear();
    }

    /// Appends an event.
    pub(super) fn event(&mut self, record: &Record<'_>) {
        let (kind, call, end) = match record.moment {
            Moment::Hit => (HIT, None, None),
            Moment::Begins(call) => (BEGINS, Some(call), None),
            Moment::Ends(call, end) => (ENDS, Some(call), Some(end)),
        };
        let plain = |value: &Value| matches!(value, Value::Bits(_));
        let mixed = !record.args.iter().chain(record.ret).all(plain);
        let same = self.threads.get(self.thread).is_some_and(|thread| thread.is(record));
        let flag = |bit: u64, on: bool| if on { bit } else { 0 };
        let head = kind
            | flag(MIXED, mixed)
            | flag(RET, record.ret.is_some())
            | flag(ERRNO, record.errno.is_some())
            | flag(DURATION, record.duration_ns.is_some())
            | flag(THREAD, !same)
            | flag(MISSED, record.missed);
        self.pen.number(head);
        if !same {
            self.thread(record);
        }
        self.time(record.ts_ns);
        self.pen.number(record.row.into());
        let row = record.row as usize;
        if row >= self.rows.len() {
            self.rows.resize(row + 1, (self.piece.wrapping_sub(1), 0));
        }
        let (piece, addr) = self.rows[row];
        let before = if piece == self.piece { addr } else { 0 };
        self.rows[row] = (self.piece, record.addr);
        self.pen.signed(record.addr.wrapping_sub(before).cast_signed());
        if let Some(call) = call {
            self.pen.signed(call.wrapping_sub(self.call).cast_signed());
            self.call = call;
        }
        if let Some(end) = end {
            self.pen.number(ENDINGS.iter().position(|&e| e == end).unwrap_or(0) as u64);
        }
        self.pen.number(record.args.len() as u64);
        for value in record.args.iter().chain(record.ret) {
            match value {
                Value::Bits(bits) if !mixed => self.pen.number(*bits),
                value => self.value(value),
            }
        }
        if let Some(errno) = record.errno {
            self.pen.signed(errno.into());
        }
        if let Some(ns) = record.duration_ns {
            self.pen.number(ns);
        }
    }

    /// Appends that nothing had happened for a moment.
    pub(super) fn pause(&mut self, ts_ns: u64) {
        self.pen.number(PAUSE);
        self.time(ts_ns);
    }

    fn time(&mut self, ts_ns: u64) {
        self.pen.signed(ts_ns.wrapping_sub(self.ts_ns).cast_signed());
        self.ts_ns = ts_ns;
    }

    fn thread(&mut self, record: &Record<'_>) {
        let known = self.numbers.get(&record.tid).copied();
        if let Some(number) = known.filter(|&number| self.threads[number].is(record)) {
            self.thread = number;
            return self.pen.number(number as u64);
        }
        self.thread = self.threads.len();
        self.pen.number(self.thread as u64);
        self.pen.number(record.pid.cast_unsigned().into());
        self.pen.number(record.tid.cast_unsigned().into());
        self.pen.number(u64::from(record.comm.is_some()));
        if let Some(comm) = record.comm {
            self.pen.text(comm.as_bytes());
        }
        let comm = record.comm.map(str::to_owned);
        self.threads.push(Named { pid: record.pid, tid: record.tid, comm });
        self.numbers.insert(record.tid, self.thread);
    }

    fn value(&mut self, value: &Value) {
        if let Value::Texts(texts, more) = value {
            self.pen.number(if *more { 7 } else { 6 });
            self.pen.number(texts.len() as u64);
            for text in texts {
                match text {
                    Text::Null => self.value(&Value::Bits(0)),
                    Text::Bad(at) => self.value(&Value::Bad(*at)),
                    Text::Read(bytes, more) => {
                        self.pen.number(if *more { 2 } else { 1 });
                        self.pen.text(bytes);
                    }
                }
            }
            return;
        }
        let (kind, number) = match value {
            Value::Bits(bits) => (0, Some(*bits)),
            Value::File(bits, _) => (8, Some(*bits)),
            Value::Text(_, more) => (if *more { 2 } else { 1 }, None),
            // Above.
            Value::Texts(..) => (4, None),
            Value::Bad(at) => (3, Some(*at)),
            Value::Unknown(at) => (if at.is_some() { 5 } else { 4 }, *at),
        };
        self.pen.number(kind);
        match (value, number) {
            (Value::Text(text, _), _) => self.pen.text(text),
            (Value::File(bits, file), _) => {
                self.pen.number(*bits);
                self.pen.text(file.as_bytes());
            }
            (_, Some(number)) => self.pen.number(number),
            _ => {}
        }
    }
}

/// What is in the bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Packed<'a> {
    Event(Record<'a>),
    Pause(u64),
}

/// Unpacks what [`Packer`] has packed.
#[derive(Debug)]
pub(super) struct Unpacker<'a> {
    eyes: Eyes<'a>,
    rows: FxHashMap<u32, u64>,
    ts_ns: u64,
    call: u64,
    threads: Vec<Named>,
    thread: usize,
    args: Vec<Value>,
    ret: Option<Value>,
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Unpacker<'a> {
        Unpacker {
            eyes: Eyes(bytes),
            rows: FxHashMap::default(),
            ts_ns: 0,
            call: 0,
            threads: Vec::new(),
            thread: 0,
            args: Vec::new(),
            ret: None,
        }
    }

    /// The next event; `None` behind the last.
    pub(super) fn next(&mut self) -> Result<Option<Packed<'_>>, Wrong> {
        if self.eyes.0.is_empty() {
            return Ok(None);
        }
        let head = self.eyes.number()?;
        let has = |bit: u64| head & bit != 0;
        if head == PAUSE {
            self.time()?;
            return Ok(Some(Packed::Pause(self.ts_ns)));
        }
        if head & !ALL != 0 || head & 3 == PAUSE {
            return Err(Wrong);
        }
        if has(THREAD) {
            self.read_thread()?;
        }
        self.time()?;
        let row: u32 = self.eyes.small()?;
        let addr = self.eyes.signed()?.cast_unsigned();
        let known = self.rows.entry(row).or_default();
        *known = known.wrapping_add(addr);
        let addr = *known;
        if head & 3 != HIT {
            self.call = self.call.wrapping_add(self.eyes.signed()?.cast_unsigned());
        }
        let moment = match head & 3 {
            HIT => Moment::Hit,
            BEGINS => Moment::Begins(self.call),
            _ => {
                let end = ENDINGS.get(self.eyes.small::<usize>()?);
                Moment::Ends(self.call, *end.ok_or(Wrong)?)
            }
        };
        let count = self.eyes.number()?;
        self.args.clear();
        for _ in 0..count {
            let value = self.value(has(MIXED))?;
            self.args.push(value);
        }
        self.ret = if has(RET) { Some(self.value(has(MIXED))?) } else { None };
        let errno = if has(ERRNO) { Some(self.eyes.signed()?) } else { None };
        let errno = errno.map(|n| i32::try_from(n).map_err(|_| Wrong)).transpose()?;
        let duration_ns = if has(DURATION) { Some(self.eyes.number()?) } else { None };
        let thread = self.threads.get(self.thread).ok_or(Wrong)?;
        Ok(Some(Packed::Event(Record {
            moment,
            ts_ns: self.ts_ns,
            pid: thread.pid,
            tid: thread.tid,
            comm: thread.comm.as_deref(),
            row,
            addr,
            args: &self.args,
            ret: self.ret.as_ref(),
            errno,
            duration_ns,
            missed: has(MISSED),
        })))
    }

    fn time(&mut self) -> Result<(), Wrong> {
        self.ts_ns = self.ts_ns.wrapping_add(self.eyes.signed()?.cast_unsigned());
        Ok(())
    }

    fn read_thread(&mut self) -> Result<(), Wrong> {
        self.thread = self.eyes.small()?;
        if self.thread < self.threads.len() {
            return Ok(());
        }
        let (pid, tid) = (self.eyes.small::<u32>()?, self.eyes.small::<u32>()?);
        let comm = match self.eyes.number()? {
            0 => None,
            1 => Some(self.eyes.utf8()?.to_owned()),
            _ => return Err(Wrong),
        };
        if self.thread != self.threads.len() {
            return Err(Wrong);
        }
        self.threads.push(Named { pid: pid.cast_signed(), tid: tid.cast_signed(), comm });
        Ok(())
    }

    fn value(&mut self, mixed: bool) -> Result<Value, Wrong> {
        let kind = if mixed { self.eyes.number()? } else { 0 };
        Ok(match kind {
            0 => Value::Bits(self.eyes.number()?),
            8 => {
                let bits = self.eyes.number()?;
                let file = String::from_utf8_lossy(self.eyes.text()?).into_owned();
                Value::File(bits, file.into())
            }
            1 | 2 => Value::Text(self.eyes.text()?.to_vec(), kind == 2),
            3 => Value::Bad(self.eyes.number()?),
            4 => Value::Unknown(None),
            5 => Value::Unknown(Some(self.eyes.number()?)),
            6 | 7 => {
                let count = self.eyes.number()?;
                let mut texts = Vec::new();
                for _ in 0..count {
                    texts.push(match self.eyes.number()? {
                        0 => Some(self.eyes.number()?)
                            .filter(|&bits| bits == 0)
                            .map(|_| Text::Null)
                            .ok_or(Wrong)?,
                        more @ (1 | 2) => Text::Read(self.eyes.text()?.to_vec(), more == 2),
                        3 => Text::Bad(self.eyes.number()?),
                        _ => return Err(Wrong),
                    });
                }
                Value::Texts(texts, kind == 7)
            }
            _ => return Err(Wrong),
        })
    }
}
