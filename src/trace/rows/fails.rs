//! How a function of libc tells that it has failed, and which error it was.

use crate::spec::{Fails, prototype};
use crate::symbols::Object;

const ENOMEM: i32 = 12;

/// How a function of libc tells which error it was.
#[derive(Clone, Copy, Debug)]
pub(in crate::trace) struct ErrorOf {
    pub(in crate::trace) how: Fails,
    pub(in crate::trace) number: Number,
}

/// Where an error's number is.
#[derive(Clone, Copy, Debug)]
pub(in crate::trace) enum Number {
    /// The value is it.
    Value,
    /// There is one only.
    Always(i32),
    /// Nowhere that is known.
    Unknown,
    /// In errno: see [`Object::errno`].
    Errno(u64, u64),
}

impl ErrorOf {
    /// How the function `name` of a C library does, if its prototype is known; `reads`: whether errno may
    /// be read for it.
    pub(in crate::trace) fn of(name: &str, object: &Object, reads: bool) -> Option<ErrorOf> {
        let ty = prototype(name)?.ret?;
        let number = match Fails::of_libc(name, ty) {
            (Fails::Number, _) => Number::Value,
            _ if ["malloc", "calloc", "realloc", "strdup", "strndup"].contains(&name) => {
                Number::Always(ENOMEM)
            }
            (_, true) if reads => match object.errno().ok().flatten() {
                Some((slot, more)) => Number::Errno(slot, more),
                None => Number::Unknown,
            },
            _ => Number::Unknown,
        };
        Some(ErrorOf { how: Fails::of_libc(name, ty).0, number })
    }
}
