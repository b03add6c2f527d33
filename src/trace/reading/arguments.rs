//! Arguments and return values, read from a stopped thread.

use crate::engine::RowId;
use crate::report::Text;
use crate::spec::{Arg, Signature, Type};
use crate::trace::Options;
use crate::trace::reading::variadic::variadic;
use crate::trace::rows::consumer::Calls;
use crate::trace::session::Session;
use crate::trace::telling::value::{Value, bits_of, only_present};
use std::io;
use xol_arch::{Addr, ArgPlace, Regs as _};
use xol_targets::native::{self, Regs};
use xol_targets::ptrace::{Stopped, Tid, procfs};

/// The most strings of an array that are read.
const STRINGS_MAX: usize = 64;
/// Pieces of memory that are read at once.
const PAGE: u64 = 4096;

impl Session<'_> {
    /// The arguments that a row's signature names. Of those that are read when the function
    /// returns, the addresses.
    pub(in crate::trace) fn read_args(&mut self, tid: Tid, row: RowId) -> io::Result<Vec<Value>> {
        self.read_args_up_to(tid, row, self.options.string)
    }

    /// The same, with so many bytes of each string at most.
    pub(in crate::trace) fn read_args_up_to(
        &mut self,
        tid: Tid,
        row: RowId,
        limit: usize,
    ) -> io::Result<Vec<Value>> {
        let row = &self.teller.rows[row];
        let Some(signature) = row.signature.clone() else {
            return Ok(Vec::new());
        };
        let (places, calls) = (row.places.clone(), row.calls);
        let mut machine = self.target.stopped(tid)?;
        let args = signature.args.iter().enumerate();
        let values = args.map(|(n, arg)| match places.get(n) {
            Some(&place) => read_arg(&mut machine, tid, arg.ty, place, calls),
            None => Value::Unknown(None),
        });
        let mut values: Vec<Value> = values.collect();
        only_present(&signature, &mut values);
        let plain = bits_of(&values);
        for (value, arg) in values.iter_mut().zip(&signature.args) {
            if let (Some(at), true) = (value.bits(), arg.is_read_at_entry() && !arg.is_variadic()) {
                *value = pointed(&mut machine, &signature, arg, at, &plain, (None, limit));
            }
        }
        if cfg!(feature = "names")
            && let [.., format, rest] = &mut values[..]
            && signature.args.last().is_some_and(Arg::is_variadic)
        {
            *rest = variadic(&mut machine, tid, &signature, format, limit);
        }
        if self.options.files {
            for (value, arg) in values.iter_mut().zip(&signature.args) {
                with_file(tid, arg.ty, value);
            }
        }
        Ok(values)
    }

    /// Reads the arguments that are read when the function returns, whose thread is behind it or
    /// about to leave it: what a function has filled that says that it has failed, nobody knows.
    pub(in crate::trace) fn read_out(
        &mut self,
        tid: Tid,
        row: RowId,
        args: &mut [Value],
        ret: &Value,
    ) -> io::Result<()> {
        let number = row;
        let row = &self.teller.rows[row];
        let Some(signature) = row.signature.clone().filter(|signature| signature.has_out()) else {
            return Ok(());
        };
        // Go may have moved what a pointer into its stack was to.
        let moves = row.calls != Calls::C;
        if self.teller.has_failed(number, ret) {
            return Ok(());
        }
        let limit = self.options.string;
        let mut machine = self.target.stopped(tid)?;
        let plain = bits_of(args);
        for (value, arg) in args.iter_mut().zip(&signature.args).filter(|(_, arg)| arg.out) {
            if let Some(at) = value.bits() {
                *value = match moves {
                    true => Value::Unknown(Some(at)),
                    false => {
                        pointed(&mut machine, &signature, arg, at, &plain, (ret.bits(), limit))
                    }
                };
            }
        }
        Ok(())
    }

    /// How much of a string a filter sees, however little of it is told.
    pub(in crate::trace) fn compared(&self) -> usize {
        self.options.string.max(Options::STRING)
    }

    /// What a function returns, whose thread is behind it or about to leave it; of a string what a
    /// filter sees.
    pub(in crate::trace) fn read_returned(&mut self, tid: Tid, row: RowId) -> io::Result<Value> {
        let row = &self.teller.rows[row];
        if matches!(row.calls, Calls::GoAssembly | Calls::Unknown) {
            // On the stack, behind arguments of which not all need be named.
            return Ok(Value::Unknown(None));
        }
        let ty = row.returned_type();
        let bits = self.target.regs(tid)?.ret();
        let limit = self.compared();
        Ok(match ty {
            Some(Type::Str) => read_string(&mut self.target.stopped(tid)?, bits, limit),
            Some(ty) if ty.is_float() => float(tid, 0),
            ty => {
                let mut value = Value::Bits(bits);
                if self.options.files {
                    with_file(tid, ty.unwrap_or(Type::Hex), &mut value);
                }
                value
            }
        })
    }
}

pub(in crate::trace) fn read_arg(
    machine: &mut Stopped<'_>,
    tid: Tid,
    ty: Type,
    place: ArgPlace,
    calls: Calls,
) -> Value {
    let regs: &Regs = machine.seen();
    let bits = match place {
        ArgPlace::Float(n) => return float(tid, n.into()),
        ArgPlace::Register(n) => regs.register(n),
        ArgPlace::Integer(n) if calls == Calls::Go => regs.go_arg(n.into()),
        ArgPlace::Integer(n) => regs.arg(n.into()),
        ArgPlace::Stack(above) => {
            let at = Addr(regs.sp().0.wrapping_add(above.into()));
            let mut word = [0; 8];
            let size = usize::from(ty.size()).min(word.len());
            if machine.read_data(at, &mut word[..size]).is_err() {
                return Value::Unknown(Some(at.0));
            }
            Some(u64::from_le_bytes(word))
        }
    };
    bits.map_or(Value::Unknown(None), Value::Bits)
}

/// Adds what a descriptor is open for to its number, if it is open.
fn with_file(tid: Tid, ty: Type, value: &mut Value) {
    if let (Type::Fd, &mut Value::Bits(bits)) = (ty, &mut *value)
        && let Some(file) = procfs::file_of(tid, bits as i32)
    {
        *value = Value::File(bits, file.into());
    }
}

fn float(tid: Tid, n: usize) -> Value {
    native::float(tid, n).map_or(Value::Unknown(None), Value::Bits)
}

/// What an argument points to. Its length may be another one's value, or what has come back.
fn pointed(
    machine: &mut Stopped<'_>,
    signature: &Signature,
    arg: &Arg,
    at: u64,
    plain: &[Option<u64>],
    (ret, limit): (Option<u64>, usize),
) -> Value {
    let length = match arg.length {
        Some(length) => match length.value(signature, plain, ret) {
            // A length below zero says that there is nothing.
            Some(length) if length < 0 => return Value::Bits(at),
            Some(length) => Some(usize::try_from(length).unwrap_or(usize::MAX)),
            None => return Value::Unknown(Some(at)),
        },
        None => None,
    };
    match (arg.ty, length) {
        _ if at == 0 => Value::Bits(0),
        (Type::Bytes, Some(length)) => read_bytes(machine, at, length, limit),
        (Type::Strs, length) => read_strings(machine, at, length, limit),
        _ => read_string(machine, at, limit),
    }
}

/// Reads up to `limit` bytes or to a NUL if it is a text, in pieces of which none goes over the end
/// of a page that what is there may end in. Returns them, and whether there is more.
fn read_until(
    machine: &mut Stopped<'_>,
    at: u64,
    limit: usize,
    is_text: bool,
) -> Result<(Vec<u8>, bool), Value> {
    let mut bytes = Vec::new();
    while bytes.len() < limit {
        let from = at.wrapping_add(bytes.len() as u64);
        let room = (PAGE - from % PAGE).min((limit - bytes.len()) as u64) as usize;
        let before = bytes.len();
        bytes.resize(before + room, 0);
        if machine.read_data(Addr(from), &mut bytes[before..]).is_err() {
            bytes.truncate(before);
            return if bytes.is_empty() { Err(Value::Bad(at)) } else { Ok((bytes, true)) };
        }
        if is_text && let Some(end) = bytes[before..].iter().position(|&b| b == 0) {
            bytes.truncate(before + end);
            return Ok((bytes, false));
        }
    }
    Ok((bytes, true))
}

pub(in crate::trace) fn read_string(machine: &mut Stopped<'_>, at: u64, limit: usize) -> Value {
    if at == 0 {
        return Value::Bits(0);
    }
    match read_until(machine, at, limit, true) {
        Ok((text, more)) => Value::Text(text, more),
        Err(bad) => bad,
    }
}

fn read_bytes(machine: &mut Stopped<'_>, at: u64, length: usize, limit: usize) -> Value {
    match read_until(machine, at, length.min(limit), false) {
        Ok((bytes, _)) => {
            let more = bytes.len() < length;
            Value::Text(bytes, more)
        }
        Err(bad) => bad,
    }
}

/// Strings whose addresses are at `at`: so many, or up to NULL.
fn read_strings(machine: &mut Stopped<'_>, at: u64, length: Option<usize>, limit: usize) -> Value {
    let most = length.map_or(STRINGS_MAX, |length| length.min(STRINGS_MAX));
    let mut texts = Vec::new();
    loop {
        let done = length.is_some_and(|length| texts.len() >= length);
        if done {
            return Value::Texts(texts, false);
        }
        let mut word = [0; 8];
        let from = at.wrapping_add(texts.len() as u64 * 8);
        if machine.read_data(Addr(from), &mut word).is_err() {
            return if texts.is_empty() { Value::Bad(at) } else { Value::Texts(texts, true) };
        }
        let string = u64::from_le_bytes(word);
        if string == 0 && length.is_none() {
            return Value::Texts(texts, false);
        }
        if texts.len() >= most {
            return Value::Texts(texts, true);
        }
        texts.push(match read_string(machine, string, limit) {
            Value::Text(text, more) => Text::Read(text, more),
            Value::Bad(at) => Text::Bad(at),
            _ => Text::Null,
        });
    }
}
