//! A filter whose names are bound to what is called: evaluated for a stopped thread, or turned into
//! the tests of a trampoline.

use super::failing::Fails;
use super::filter::Relation;
use super::{Glob, Type};

/// What must hold of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// Each of them.
    All(Vec<Condition>),
    /// One of them.
    Any(Vec<Condition>),
    /// A number.
    Number(NumberTest),
    /// A float.
    Float(FloatTest),
    /// A text.
    Text(TextTest),
    /// Whether the call has failed.
    Failed(FailedTest),
    /// Something that could not be read.
    Unknown,
}

/// What a condition looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// This argument of the signature.
    Arg(usize),
    /// The process.
    Pid,
    /// The thread.
    Tid,
    /// The thread's name.
    Comm,
    /// The object and the function that the call comes from: `app:main`.
    Caller,
    /// What came back.
    Ret,
    /// Nanoseconds from entry to end.
    Duration,
}

impl What {
    /// Whether it is known at the end of a call only.
    const fn is_late(self) -> bool {
        matches!(self, What::Ret | What::Duration)
    }
}

/// `name [& mask] RELATION value`, as integers of the type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NumberTest {
    pub(super) what: What,
    /// Which of the signature's integer arguments it is, if it is one.
    pub(super) integer: usize,
    pub(super) ty: Type,
    pub(super) mask: Option<u64>,
    pub(super) relation: Relation,
    pub(super) value: i128,
}

/// `name RELATION value`, as floats; or that this does not hold, which is another thing for a NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FloatTest {
    pub(super) what: What,
    pub(super) ty: Type,
    pub(super) relation: Relation,
    pub(super) value: f64,
    pub(super) holds: bool,
}

/// Whether a string is like a pattern, or is not.
#[derive(Clone, Debug, PartialEq)]
pub struct TextTest {
    pub(super) what: What,
    pub(super) like: bool,
    pub(super) glob: Glob,
}

/// Whether what came back says that the call has failed, or says that it has not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FailedTest {
    pub(super) ty: Type,
    pub(super) how: Fails,
    pub(super) failed: bool,
}

/// A value as a condition sees it.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// The bits of its register; of a string, its address.
    Bits(u64),
    /// What a string's address points to.
    Text(&'a [u8]),
    /// The address of a string that cannot be read.
    Address(u64),
    /// A number that is this by now, and grows.
    AtLeast(u64),
    /// It cannot be read.
    Unknown,
}

/// What a condition comes to when a call begins.
#[derive(Clone, Debug, PartialEq)]
pub enum AtEntry {
    /// It holds or it does not; `None` where that depends on what cannot be read.
    Known(Option<bool>),
    /// What of it depends on how the call ends.
    Open(Condition),
}

impl Condition {
    /// Whether it holds for these values; `None` where that depends on what cannot be read.
    #[must_use]
    pub fn holds<'a>(&self, see: &impl Fn(What) -> Seen<'a>) -> Option<bool> {
        match self {
            Condition::All(parts) => all(parts.iter().map(|part| part.holds(see)), true),
            Condition::Any(parts) => all(parts.iter().map(|part| part.holds(see)), false),
            Condition::Number(test) => test.seen(see(test.what)),
            Condition::Float(test) => match see(test.what) {
                Seen::Bits(bits) => Some(test.holds(bits)),
                _ => None,
            },
            Condition::Text(test) => {
                let like = match see(test.what) {
                    Seen::Text(bytes) => test.glob.matches(&String::from_utf8_lossy(bytes)),
                    // NULL is like nothing.
                    Seen::Bits(_) => false,
                    Seen::Address(_) | Seen::AtLeast(_) | Seen::Unknown => return None,
                };
                Some(like == test.like)
            }
            Condition::Failed(test) => match see(What::Ret) {
                Seen::Bits(bits) | Seen::Address(bits) => {
                    Some(test.how.has_failed(test.ty, bits) == test.failed)
                }
                Seen::Text(_) => Some(!test.failed),
                Seen::AtLeast(_) | Seen::Unknown => None,
            },
            Condition::Unknown => None,
        }
    }

    /// What it comes to when a call begins; `see` is asked for nothing that is known later.
    pub fn at_entry<'a>(&self, see: &impl Fn(What) -> Seen<'a>) -> AtEntry {
        match self {
            Condition::All(parts) => Condition::parts_at_entry(parts, see, true),
            Condition::Any(parts) => Condition::parts_at_entry(parts, see, false),
            part if part.is_late() => AtEntry::Open(part.clone()),
            part => AtEntry::Known(part.holds(see)),
        }
    }

    /// The same for several of which all have to be `wanted` for that to be the answer.
    fn parts_at_entry<'a>(
        parts: &[Condition],
        see: &impl Fn(What) -> Seen<'a>,
        wanted: bool,
    ) -> AtEntry {
        let (mut open, mut known) = (Vec::new(), true);
        for part in parts {
            match part.at_entry(see) {
                AtEntry::Known(Some(answer)) if answer != wanted => {
                    return AtEntry::Known(Some(answer));
                }
                AtEntry::Known(answer) => known &= answer.is_some(),
                AtEntry::Open(part) => open.push(part),
            }
        }
        if open.is_empty() {
            return AtEntry::Known(known.then_some(wanted));
        }
        if !known {
            open.push(Condition::Unknown);
        }
        AtEntry::Open(if wanted { Condition::All(open) } else { Condition::Any(open) })
    }

    /// Whether it, or a part of it, is about the end of a call.
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.looks_at(&What::is_late)
    }

    /// Whether it looks at the thread's name.
    #[must_use]
    pub fn has_comm(&self) -> bool {
        self.looks_at(&|what| what == What::Comm)
    }

    /// Whether it looks at where the call comes from.
    #[must_use]
    pub fn has_caller(&self) -> bool {
        self.looks_at(&|what| what == What::Caller)
    }

    fn looks_at(&self, which: &impl Fn(What) -> bool) -> bool {
        match self {
            Condition::All(parts) | Condition::Any(parts) => {
                parts.iter().any(|part| part.looks_at(which))
            }
            Condition::Number(test) => which(test.what),
            Condition::Float(test) => which(test.what),
            Condition::Text(test) => which(test.what),
            Condition::Failed(_) => which(What::Ret),
            Condition::Unknown => false,
        }
    }
}

/// Whether all of `parts` are `wanted`, if so the answer is `wanted`: one that is not decides, and
/// one that is not known leaves it open.
fn all(mut parts: impl Iterator<Item = Option<bool>>, wanted: bool) -> Option<bool> {
    let mut known = true;
    let decided = parts.any(|part| {
        known &= part.is_some();
        part == Some(!wanted)
    });
    if decided { Some(!wanted) } else { known.then_some(wanted) }
}

impl NumberTest {
    fn seen(&self, seen: Seen<'_>) -> Option<bool> {
        match seen {
            Seen::Bits(bits) | Seen::Address(bits) => Some(self.holds(bits)),
            // It is somewhere.
            Seen::Text(_) => Some(self.holds(1)),
            Seen::AtLeast(least) => match self.relation {
                Relation::Gt | Relation::Ge => self.holds(least).then_some(true),
                Relation::Lt | Relation::Le => (!self.holds(least)).then_some(false),
                Relation::Eq | Relation::Ne => None,
            },
            Seen::Unknown => None,
        }
    }

    fn holds(&self, bits: u64) -> bool {
        let unsigned = i128::from(bits) & ((1 << self.ty.bits()) - 1);
        let (low, high) = self.ty.range();
        let value = match self.mask {
            Some(mask) => unsigned & i128::from(mask),
            None if self.ty == Type::Bool => i128::from(unsigned != 0),
            None if unsigned > high && low < 0 => unsigned - (1 << self.ty.bits()),
            None => unsigned,
        };
        self.relation.holds(&value, &self.value)
    }
}

impl FloatTest {
    fn holds(&self, bits: u64) -> bool {
        // A constant such as 0.1 is the nearest one that the type has.
        let (value, constant) = match self.ty {
            Type::F32 => (f32::from_bits(bits as u32).into(), (self.value as f32).into()),
            _ => (f64::from_bits(bits), self.value),
        };
        self.relation.holds::<f64>(&value, &constant) == self.holds
    }
}

impl Relation {
    fn holds<T: PartialOrd>(self, a: &T, b: &T) -> bool {
        match self {
            Relation::Eq => a == b,
            Relation::Ne => a != b,
            Relation::Lt => a < b,
            Relation::Le => a <= b,
            Relation::Gt => a > b,
            Relation::Ge => a >= b,
        }
    }
}

impl Type {
    /// Bits that count, of those that are integers.
    pub(super) const fn bits(self) -> u32 {
        match self {
            Type::I8 | Type::U8 | Type::Bool | Type::Char => 8,
            Type::I16 | Type::U16 => 16,
            Type::I32 | Type::U32 | Type::F32 | Type::Fd | Type::Named(_) => 32,
            _ => 64,
        }
    }

    /// The least and the greatest value.
    pub(super) const fn range(self) -> (i128, i128) {
        let bits = self.bits();
        match self {
            Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Fd => {
                (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
            }
            Type::Bool => (0, 1),
            Type::Named(names) => names.base().range(),
            _ => (0, (1 << bits) - 1),
        }
    }
}

#[cfg(test)]
#[path = "condition_tests.rs"]
mod tests;
