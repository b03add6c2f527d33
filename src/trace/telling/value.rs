//! Values of arguments and returns, as they are told.

use crate::report::Text;
use crate::spec::{Signature, Type};
use crate::trace::rows::consumer::Row;

/// One argument or return value, read.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The bits, to be written as their type says.
    Bits(u64),
    /// A descriptor, and what it is open for.
    File(u64, Box<str>),
    /// A string or bytes, cut where `--string` says (`true`: there is more).
    Text(Vec<u8>, bool),
    /// An array of strings, cut behind 64 (`true`: there is more).
    Texts(Vec<Text>, bool),
    /// The address of a string that could not be read.
    Bad(u64),
    /// A value that could not be read; where it is, if that is known.
    Unknown(Option<u64>),
}

impl Value {
    /// The same with no more bytes of a string than are told.
    pub(in crate::trace) fn cut(mut self, limit: usize) -> Value {
        if let Value::Text(bytes, more) = &mut self {
            *more |= bytes.len() > limit;
            bytes.truncate(limit);
        }
        self
    }

    pub(in crate::trace) fn bits(&self) -> Option<u64> {
        match self {
            Value::Bits(bits) | Value::File(bits, _) => Some(*bits),
            _ => None,
        }
    }
}

/// The bits of values, of those that are known.
pub(in crate::trace) fn bits_of(values: &[Value]) -> Vec<Option<u64>> {
    values.iter().map(Value::bits).collect()
}

impl Row {
    /// The type of what its function returns, if known.
    pub(in crate::trace) fn returned_type(&self) -> Option<Type> {
        self.signature.as_ref().and_then(|signature| signature.ret)
    }
}

/// Leaves out what the call has not: see [`Signature::present`].
pub(in crate::trace) fn only_present(signature: &Signature, values: &mut Vec<Value>) {
    let present = signature.present(&bits_of(values));
    values.truncate(present);
}
