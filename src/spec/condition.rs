//! A filter whose names are bound to a signature: evaluated for a stopped thread, or turned into
//! the tests of a trampoline.

use super::filter::{Node, Number, Relation, Test, Where, With};
use super::{Glob, Signature, SpecError, Type};
use xol_arch::jump::{self, Filter};

/// What must hold of a call's arguments.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// Each of them.
    All(Vec<Condition>),
    /// One of them.
    Any(Vec<Condition>),
    /// A number.
    Number(NumberTest),
    /// A text.
    Text(TextTest),
}

/// `argument [& mask] RELATION value`, as integers of the argument's type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NumberTest {
    /// Which argument of the signature.
    arg: usize,
    /// Which of its integer arguments.
    integer: usize,
    ty: Type,
    mask: Option<u64>,
    relation: Relation,
    value: i128,
}

/// Whether a string is like a pattern, or is not.
#[derive(Clone, Debug, PartialEq)]
pub struct TextTest {
    arg: usize,
    like: bool,
    glob: Glob,
}

/// An argument as a condition sees it.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// The bits of its register; of a string, its address.
    Bits(u64),
    /// What a string's address points to.
    Text(&'a [u8]),
    /// The address of a string that cannot be read.
    Address(u64),
    /// It cannot be read.
    Unknown,
}

impl Where {
    /// Says what the names mean.
    ///
    /// # Errors
    /// A name that the signature does not have, or a comparison that its type does not know.
    pub fn bind(&self, signature: &Signature) -> Result<Condition, SpecError> {
        self.node(&self.root, signature, true)
    }

    fn wrong(&self, at: &std::ops::Range<usize>, what: impl Into<String>) -> SpecError {
        SpecError::new(&self.text, at.clone(), what).of("the filter")
    }

    /// A node, or what holds when it does not.
    fn node(&self, node: &Node, s: &Signature, holds: bool) -> Result<Condition, SpecError> {
        let each = |parts: &[Node]| -> Result<Vec<Condition>, SpecError> {
            parts.iter().map(|part| self.node(part, s, holds)).collect()
        };
        Ok(match (node, holds) {
            (Node::Not(inner), _) => self.node(inner, s, !holds)?,
            (Node::All(parts), true) | (Node::Any(parts), false) => Condition::All(each(parts)?),
            (Node::Any(parts), true) | (Node::All(parts), false) => Condition::Any(each(parts)?),
            (Node::Test(test), _) => self.test(test, s, holds)?,
        })
    }

    fn test(&self, test: &Test, s: &Signature, holds: bool) -> Result<Condition, SpecError> {
        let Some(arg) = s.args.iter().position(|arg| arg.name == test.name) else {
            let names: Vec<_> = s.args.iter().map(|arg| arg.name.as_str()).collect();
            let what = match names.is_empty() {
                true => "there are no arguments to compare".to_owned(),
                false => format!("no argument is called '{}'", test.name),
            };
            let error = self.wrong(&test.at, what);
            return Err(if names.is_empty() { error } else { error.hint(names.join(", ")) });
        };
        let ty = s.args[arg].ty;
        let integer = s.args[..arg].iter().filter(|arg| !arg.ty.is_float()).count();
        let (relation, number) = match &test.with {
            With::Text(like, glob, at) => {
                if ty != Type::Str {
                    let what = format!("'{}' is {}, and not a text", test.name, ty.name());
                    return Err(self.wrong(at, what).hint("a number, or the type str"));
                }
                let text = TextTest { arg, like: *like == holds, glob: glob.clone() };
                return Ok(Condition::Text(text));
            }
            With::Number(relation, number) => (*relation, number),
        };
        if ty.is_float() {
            let what = format!(
                "'{}' is {}: only integers and texts can be compared",
                test.name,
                ty.name()
            );
            return Err(self.wrong(&test.at, what));
        }
        let relation = if holds { relation } else { relation.opposite() };
        let value = self.value(number, ty, test)?;
        let mask = match &test.mask {
            Some(mask) => Some(self.mask(mask, ty)?),
            None => None,
        };
        let equal = matches!(relation, Relation::Eq | Relation::Ne);
        let truth = matches!(ty, Type::Bool) || ty == Type::Str;
        if truth && (!equal || mask.is_some() || ty == Type::Str && value != 0) {
            let what = format!(
                "a {} is only == or != {}",
                ty.name(),
                match ty {
                    Type::Bool => "true or false",
                    _ => "NULL, or a text",
                }
            );
            return Err(self.wrong(&number.at, what));
        }
        Ok(Condition::Number(NumberTest { arg, integer, ty, mask, relation, value }))
    }

    /// A number as one of that type. Hexadecimal stands for bits: 0xffffffff is an i32, too.
    fn value(&self, number: &Number, ty: Type, test: &Test) -> Result<i128, SpecError> {
        let (low, high) = ty.range();
        let wrapped = number.hex && number.value > high && number.value < 1 << ty.bits();
        let value = if wrapped { number.value - (1 << ty.bits()) } else { number.value };
        if value < low || value > high {
            let what = format!("'{}' is {}, which is {low} to {high}", test.name, ty.name());
            return Err(self.wrong(&number.at, what));
        }
        Ok(value)
    }

    fn mask(&self, mask: &Number, ty: Type) -> Result<u64, SpecError> {
        let value = u64::try_from(mask.value)
            .ok()
            .filter(|&mask| mask != 0 && i128::from(mask) < 1 << ty.bits());
        value.ok_or_else(|| self.wrong(&mask.at, format!("this is no mask of {} bits", ty.bits())))
    }
}

impl Condition {
    /// Whether it holds for these arguments, one for each of the signature; `None` where that
    /// depends on what cannot be read.
    #[must_use]
    pub fn holds<'a>(&self, arg: &impl Fn(usize) -> Seen<'a>) -> Option<bool> {
        match self {
            Condition::All(parts) => all(parts.iter().map(|part| part.holds(arg)), true),
            Condition::Any(parts) => all(parts.iter().map(|part| part.holds(arg)), false),
            Condition::Number(test) => Some(test.holds(match arg(test.arg) {
                Seen::Bits(bits) | Seen::Address(bits) => bits,
                // It is somewhere.
                Seen::Text(_) => 1,
                Seen::Unknown => return None,
            })),
            Condition::Text(test) => {
                let like = match arg(test.arg) {
                    Seen::Text(bytes) => test.glob.matches(&String::from_utf8_lossy(bytes)),
                    // NULL is like nothing.
                    Seen::Bits(_) => false,
                    Seen::Address(_) | Seen::Unknown => return None,
                };
                Some(like == test.like)
            }
        }
    }

    /// The same as tests of a trampoline, where there are few enough of the kind that it knows.
    #[must_use]
    pub fn filter(&self) -> Option<Filter> {
        let mut filter = Filter::NONE;
        self.add_to(&mut filter)?;
        Some(filter)
    }

    fn add_to(&self, filter: &mut Filter) -> Option<()> {
        match self {
            Condition::All(parts) => parts.iter().try_for_each(|part| part.add_to(filter)),
            Condition::Any(_) | Condition::Text(_) => None,
            Condition::Number(test) => test.add_to(filter),
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
    fn holds(&self, bits: u64) -> bool {
        let unsigned = i128::from(bits) & ((1 << self.ty.bits()) - 1);
        let (low, high) = self.ty.range();
        let value = match self.mask {
            Some(mask) => unsigned & i128::from(mask),
            None if self.ty == Type::Bool => i128::from(unsigned != 0),
            None if unsigned > high && low < 0 => unsigned - (1 << self.ty.bits()),
            None => unsigned,
        };
        match self.relation {
            Relation::Eq => value == self.value,
            Relation::Ne => value != self.value,
            Relation::Lt => value < self.value,
            Relation::Le => value <= self.value,
            Relation::Gt => value > self.value,
            Relation::Ge => value >= self.value,
        }
    }

    fn add_to(&self, filter: &mut Filter) -> Option<()> {
        let mut add = |relation, constant| {
            let value = jump::Value::Arg(u8::try_from(self.integer).ok()?);
            let (bits, signed) = (self.ty.bits() as u8, self.ty.range().0 < 0);
            *filter = filter.with(jump::Test { value, bits, signed, relation, constant })?;
            Some(())
        };
        let plain = match self.relation {
            Relation::Eq => jump::Relation::Eq,
            Relation::Ne => jump::Relation::Ne,
            Relation::Lt => jump::Relation::Lt,
            Relation::Le => jump::Relation::Le,
            Relation::Gt => jump::Relation::Gt,
            Relation::Ge => jump::Relation::Ge,
        };
        let equal = self.relation == Relation::Eq;
        let constant = self.value as u64;
        match (self.mask, self.relation) {
            // true is whatever is not 0.
            (None, Relation::Eq | Relation::Ne) if self.ty == Type::Bool => {
                let zero = equal == (self.value == 0);
                add(if zero { jump::Relation::Eq } else { jump::Relation::Ne }, 0)
            }
            (None, _) => add(plain, constant),
            (Some(mask), Relation::Eq | Relation::Ne) if self.value == 0 => {
                add(if equal { jump::Relation::NoBit } else { jump::Relation::AnyBit }, mask)
            }
            // One bit is there, or is not.
            (Some(mask), Relation::Eq | Relation::Ne)
                if mask.is_power_of_two() && constant == mask =>
            {
                add(if equal { jump::Relation::AnyBit } else { jump::Relation::NoBit }, mask)
            }
            // These are there, each by itself, and none of the others.
            (Some(mask), Relation::Eq) if self.value > 0 && constant & !mask == 0 => {
                if mask != constant {
                    add(jump::Relation::NoBit, mask & !constant)?;
                }
                (0..64)
                    .map(|n| 1 << n)
                    .filter(|bit| constant & bit != 0)
                    .try_for_each(|bit| add(jump::Relation::AnyBit, bit))
            }
            _ => None,
        }
    }
}

impl Relation {
    const fn opposite(self) -> Relation {
        match self {
            Relation::Eq => Relation::Ne,
            Relation::Ne => Relation::Eq,
            Relation::Lt => Relation::Ge,
            Relation::Ge => Relation::Lt,
            Relation::Gt => Relation::Le,
            Relation::Le => Relation::Gt,
        }
    }
}

impl Type {
    /// Bits that count, of those that are integers.
    const fn bits(self) -> u32 {
        match self {
            Type::I8 | Type::U8 | Type::Bool | Type::Char => 8,
            Type::I16 | Type::U16 => 16,
            Type::I32 | Type::U32 | Type::F32 => 32,
            _ => 64,
        }
    }

    /// The least and the greatest value.
    const fn range(self) -> (i128, i128) {
        let bits = self.bits();
        match self {
            Type::I8 | Type::I16 | Type::I32 | Type::I64 => {
                (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
            }
            Type::Bool => (0, 1),
            _ => (0, (1 << bits) - 1),
        }
    }
}

#[cfg(test)]
#[path = "condition_tests.rs"]
mod tests;
