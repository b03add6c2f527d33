//! The arguments behind a format of printf, as the format asks for them.

use crate::report::{Read, Text, value_text};
use crate::spec::{Piece, Signature, Type, printf};
use crate::trace::reading::arguments::{read_arg, read_string};
use crate::trace::rows::consumer::Calls;
use crate::trace::telling::value::Value;
use xol_arch::Arch as _;
use xol_targets::Native;
use xol_targets::ptrace::{Stopped, Tid};

/// Returns what the last argument of a variadic function stands for: the values that its format asks for, as
/// texts. System V and AAPCS64 pass them as those that are named.
pub(in crate::trace) fn variadic(
    machine: &mut Stopped<'_>,
    tid: Tid,
    signature: &Signature,
    format: &Value,
    limit: usize,
) -> Value {
    let (format, mut cut) = match format {
        Value::Text(format, cut) => (format, *cut),
        _ => return Value::Unknown(None),
    };
    let pieces = printf(format);
    let named = signature.args.len() - 1;
    let fixed = signature.args[..named].iter().map(|arg| (arg.ty.is_float(), arg.ty.size()));
    let types = pieces.iter().map_while(|piece| match piece {
        Piece::Value(ty) => Some(*ty),
        Piece::Lost => None,
    });
    let types: Vec<Type> = types.collect();
    cut |= types.len() < pieces.len();
    let all = fixed.chain(types.iter().map(|ty| (ty.is_float(), ty.size())));
    let places: Vec<_> = Native::CONVENTION.places(all).skip(named).collect();
    let texts = types.iter().zip(places).map(|(&ty, place)| {
        let value = read_arg(machine, tid, ty, place, Calls::C);
        let value = match (ty, value.bits()) {
            (Type::Str, Some(at)) => read_string(machine, at, limit),
            _ => value,
        };
        match value {
            Value::Text(text, more) => Text::Read(text, more),
            Value::Bad(at) => Text::Bad(at),
            value => {
                let mut text = String::new();
                let bits = value.bits().map_or(Read::Unknown(None), Read::Bits);
                value_text(&mut text, ty, bits);
                Text::Read(text.into_bytes(), false)
            }
        }
    });
    Value::Texts(texts.collect(), cut)
}
