//! Arguments and return values, read from a stopped thread.

use super::consumer::{Calls, Row};
use super::session::Session;
use crate::spec::Type;
use std::io;
use xol_arch::{Addr, ArgPlace, Regs as _};
use xol_targets::native::{self, Regs};
use xol_targets::ptrace::{Stopped, Tid};

/// The longest string that is read.
const STRING_MAX: usize = 256;

/// One argument or return value, read.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The bits, to be written as their type says.
    Bits(u64),
    /// A string, cut at 256 bytes (`true`: there is more).
    Text(Vec<u8>, bool),
    /// The address of a string that could not be read.
    Bad(u64),
    /// A value that could not be read; where it is, if that is known.
    Unknown(Option<u64>),
}

impl Session<'_> {
    /// The arguments that a row's signature names.
    pub(super) fn read_args(&mut self, tid: Tid, row: u32) -> io::Result<Vec<Value>> {
        let row = &self.rows[row as usize];
        let Some(signature) = row.signature.clone().filter(|_| row.offset == 0) else {
            return Ok(Vec::new());
        };
        let (places, calls) = (row.places.clone(), row.calls);
        let mut machine = self.target.stopped(tid)?;
        let args = signature.args.iter().enumerate();
        let values = args.map(|(n, arg)| match places.get(n) {
            Some(&place) => read_arg(&mut machine, tid, arg.ty, place, calls),
            None => Value::Unknown(None),
        });
        Ok(values.collect())
    }

    /// What a function returns, whose thread is behind it or about to leave it.
    pub(super) fn read_returned(&mut self, tid: Tid, row: u32) -> io::Result<Value> {
        let row = &self.rows[row as usize];
        if matches!(row.calls, Calls::GoAssembly | Calls::Unknown) {
            // On the stack, behind arguments of which not all need be named.
            return Ok(Value::Unknown(None));
        }
        let ty = row.returned_type();
        let bits = self.target.regs(tid)?.ret();
        Ok(match ty {
            Some(Type::Str) => read_string(&mut self.target.stopped(tid)?, bits),
            Some(ty) if ty.is_float() => float(tid, 0),
            _ => Value::Bits(bits),
        })
    }
}

impl Row {
    /// The type of what its function returns, if known.
    pub(super) fn returned_type(&self) -> Option<Type> {
        self.signature.as_ref().and_then(|signature| signature.ret)
    }
}

fn read_arg(machine: &mut Stopped<'_>, tid: Tid, ty: Type, place: ArgPlace, calls: Calls) -> Value {
    let regs: &Regs = machine.seen();
    let bits = match place {
        ArgPlace::Float(n) => return float(tid, n.into()),
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
    match bits {
        None => Value::Unknown(None),
        Some(bits) if ty == Type::Str => read_string(machine, bits),
        Some(bits) => Value::Bits(bits),
    }
}

fn float(tid: Tid, n: usize) -> Value {
    native::float(tid, n).map_or(Value::Unknown(None), Value::Bits)
}

fn read_string(machine: &mut Stopped<'_>, at: u64) -> Value {
    if at == 0 {
        return Value::Bits(0);
    }
    let mut text = Vec::new();
    while text.len() < STRING_MAX {
        // Never over the end of a page that the string may end in.
        let from = at + text.len() as u64;
        let room = (4096 - from % 4096).min((STRING_MAX - text.len()) as u64) as usize;
        let mut piece = [0; STRING_MAX];
        if machine.read_data(Addr(from), &mut piece[..room]).is_err() {
            return if text.is_empty() { Value::Bad(at) } else { Value::Text(text, true) };
        }
        match piece[..room].iter().position(|&b| b == 0) {
            Some(end) => {
                text.extend_from_slice(&piece[..end]);
                return Value::Text(text, false);
            }
            None => text.extend_from_slice(&piece[..room]),
        }
    }
    Value::Text(text, true)
}
