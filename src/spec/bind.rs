//! What the names of a filter mean: arguments of a signature, and what every hit has.

use super::condition::{FailedTest, FloatTest, NumberTest, TextTest, What};
use super::failing::Fails;
use super::filter::{Node, Relation, Test, Where, With};
use super::literal::{NO_UNIT, Number, Written};
use super::nearest::nearest;
use super::{Condition, Names, Signature, SpecError, Type};
use std::ops::Range;

/// The names that need no signature.
const OWN: [&str; 6] = ["ret", "duration", "pid", "tid", "comm", "caller"];

/// What a filter is bound to: what is known of a place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Called<'a> {
    /// The types of arguments and return value, if known.
    pub signature: Option<&'a Signature>,
    /// Whether the ends of its calls are told.
    pub returns: bool,
    /// How it says that it has failed, if that is known.
    pub fails: Option<Fails>,
}

/// Whether a name in a filter is `which`; `--failed` has the name "".
fn has(node: &Node, which: &impl Fn(&str) -> bool) -> bool {
    match node {
        Node::All(parts) | Node::Any(parts) => parts.iter().any(|part| has(part, which)),
        Node::Not(inner) => has(inner, which),
        Node::Test(test) => which(&test.name),
        Node::Failed => which(""),
    }
}

/// A type as errors call it.
fn said(what: What, ty: Type) -> &'static str {
    match what {
        What::Duration => "a time",
        What::Pid | What::Tid => "a number",
        _ => ty.name(),
    }
}

/// What may be compared with it.
const fn instead(what: What) -> &'static str {
    match what {
        What::Duration => "a time as in 10ms",
        What::Pid | What::Tid => "a number",
        _ => "a number, or the type str",
    }
}

impl Where {
    /// Says what the names mean.
    ///
    /// # Errors
    /// A name that there is not, or a comparison that its type does not know.
    pub fn bind(&self, of: &Called<'_>) -> Result<Condition, SpecError> {
        self.node(&self.root, of, true)
    }

    /// Whether it compares arguments, or what may be one.
    #[must_use]
    pub fn has_arguments(&self) -> bool {
        has(&self.root, &|name| !name.is_empty() && !OWN.contains(&name))
    }

    /// Whether it is about where calls come from, unless an argument has such a name.
    #[must_use]
    pub fn has_caller(&self) -> bool {
        has(&self.root, &|name| name == "caller")
    }

    /// Whether it is about how a call ends, unless an argument has such a name.
    #[must_use]
    pub fn is_late(&self) -> bool {
        has(&self.root, &|name| matches!(name, "ret" | "duration" | ""))
    }

    fn wrong(&self, at: &Range<usize>, what: impl Into<String>) -> SpecError {
        SpecError::new(&self.text, at.clone(), what).of("the filter")
    }

    /// A node, or what holds when it does not.
    fn node(&self, node: &Node, of: &Called<'_>, holds: bool) -> Result<Condition, SpecError> {
        let each = |parts: &[Node]| -> Result<Vec<Condition>, SpecError> {
            parts.iter().map(|part| self.node(part, of, holds)).collect()
        };
        Ok(match (node, holds) {
            (Node::Not(inner), _) => self.node(inner, of, !holds)?,
            (Node::All(parts), true) | (Node::Any(parts), false) => Condition::All(each(parts)?),
            (Node::Any(parts), true) | (Node::All(parts), false) => Condition::Any(each(parts)?),
            (Node::Test(test), _) => self.test(test, of, holds)?,
            (Node::Failed, _) => self.failure(of, holds)?,
        })
    }

    fn test(&self, test: &Test, of: &Called<'_>, holds: bool) -> Result<Condition, SpecError> {
        let (what, ty) = self.named(test, of)?;
        let compared = self.compared(test, (what, ty), of, holds)?;
        // What is not there passes no filter.
        Ok(match (what, ty) {
            (What::Arg(n @ 1..), Type::Named(Names::OpenMode)) => {
                let flags = |bits: u64| {
                    let (value, relation) = (bits.into(), Relation::Eq);
                    let (what, mask, ty) = (What::Arg(n - 1), Some(bits), Type::U32);
                    Condition::Number(NumberTest {
                        what,
                        integer: n - 1,
                        ty,
                        mask,
                        relation,
                        value,
                    })
                };
                let there = of.signature.map(|signature| signature.args[n - 1].ty.with_mode());
                let there = there.into_iter().flatten().map(flags).collect();
                Condition::All(vec![Condition::Any(there), compared])
            }
            _ => compared,
        })
    }

    fn compared(
        &self,
        test: &Test,
        (what, ty): (What, Type),
        of: &Called<'_>,
        holds: bool,
    ) -> Result<Condition, SpecError> {
        let name = &test.name;
        let (relation, number) = match &test.with {
            With::Text(like, glob, at) => {
                if ty != Type::Str {
                    let said = format!("'{name}' is {}, and not a text", said(what, ty));
                    return Err(self.wrong(at, said).hint(instead(what)));
                }
                return Ok(Condition::Text(TextTest {
                    what,
                    like: *like == holds,
                    glob: glob.clone(),
                }));
            }
            With::Number(relation, number) => (*relation, number),
        };
        if matches!(what, What::Comm | What::Caller) {
            let error = self.wrong(&number.at, format!("'{name}' is a text, and not a number"));
            return Err(error.hint(match what {
                What::Comm => "comm == \"cat\", or comm ~ \"worker-*\"",
                _ => "caller == \"app:main\", or caller ~ \"libc.so.6:*\"",
            }));
        }
        if ty.is_float() {
            return self.float(test, (what, ty), relation, number, holds);
        }
        let relation = if holds { relation } else { relation.opposite() };
        let value = self.value(number, (what, ty), test)?;
        let mask = match &test.mask {
            Some(mask) => Some(self.mask(mask, ty)?),
            None => None,
        };
        let equal = matches!(relation, Relation::Eq | Relation::Ne);
        let truth = matches!(ty, Type::Bool) || ty == Type::Str;
        if truth && (!equal || mask.is_some() || ty == Type::Str && value != 0) {
            let said = match ty {
                Type::Bool => "a bool is only == or != true or false".to_owned(),
                _ if equal => format!("'{name}' is a text, and not a number"),
                _ => "a str is only == or != NULL, or a text".to_owned(),
            };
            return Err(self.wrong(&number.at, said));
        }
        let integer = match (what, of.signature) {
            (What::Arg(n), Some(s)) => s.args[..n].iter().filter(|arg| !arg.ty.is_float()).count(),
            _ => 0,
        };
        Ok(Condition::Number(NumberTest { what, integer, ty, mask, relation, value }))
    }

    /// What a name means: an argument where there is one of that name.
    fn named(&self, test: &Test, of: &Called<'_>) -> Result<(What, Type), SpecError> {
        let args = of.signature.map_or(&[][..], |signature| &signature.args);
        if let Some(arg) = args.iter().position(|arg| arg.name == test.name) {
            return match args[arg].ty {
                // Arguments are compared when the function begins: what it points to is not there.
                ty if args[arg].out && ty.is_memory() => Ok((What::Arg(arg), Type::Ptr)),
                Type::Bytes => Ok((What::Arg(arg), Type::Str)),
                Type::Strs => {
                    let said = format!("'{}' is many texts, which are not compared", test.name);
                    Err(self.wrong(&test.at, said).hint("another argument"))
                }
                ty => Ok((What::Arg(arg), ty)),
            };
        }
        Ok(match test.name.as_str() {
            "pid" => (What::Pid, Type::I32),
            "tid" => (What::Tid, Type::I32),
            "comm" => (What::Comm, Type::Str),
            "caller" => (What::Caller, Type::Str),
            "duration" => {
                self.returns(of, &test.at)?;
                (What::Duration, Type::U64)
            }
            "ret" => (What::Ret, self.returned(of, &test.at)?),
            name => {
                let names = args.iter().map(|arg| arg.name.as_str()).chain(OWN);
                let mut known: Vec<String> = nearest(name, names.clone());
                for name in names {
                    if !known.iter().any(|k| k == name) {
                        known.push(name.to_owned());
                    }
                }
                let said = match args.is_empty() {
                    true => format!("there are no arguments to compare, and no '{name}'"),
                    false => format!("no argument is called '{name}'"),
                };
                return Err(self.wrong(&test.at, said).hint(known.join(", ")));
            }
        })
    }

    /// An error unless returns are told.
    fn returns(&self, of: &Called<'_>, at: &Range<usize>) -> Result<(), SpecError> {
        if of.returns {
            return Ok(());
        }
        let said = format!(
            "'{}' is known at a return, and the probe tells of none",
            &self.text[at.clone()]
        );
        Err(self.wrong(at, said).hint("return:NAME, or what comes back, as in 'f(n: i32) -> i32'"))
    }

    /// The type of what comes back.
    fn returned(&self, of: &Called<'_>, at: &Range<usize>) -> Result<Type, SpecError> {
        self.returns(of, at)?;
        match of.signature.and_then(|signature| signature.ret) {
            Some(Type::Void) => Err(self.wrong(at, "the function returns nothing: it is void")),
            Some(ty) => Ok(ty),
            None => {
                let said = "the type of what comes back is not known";
                Err(self.wrong(at, said).hint("a type in the probe, as in 'f(n: i32) -> i32'"))
            }
        }
    }

    fn failure(&self, of: &Called<'_>, failed: bool) -> Result<Condition, SpecError> {
        let whole = Where { text: "--failed".to_owned(), root: Node::Failed };
        // Nothing says that it has failed.
        if of.returns && of.signature.and_then(|s| s.ret) == Some(Type::Void) {
            return Ok(if failed {
                Condition::Any(Vec::new())
            } else {
                Condition::All(Vec::new())
            });
        }
        let ty = whole.returned(of, &(0..whole.text.len()))?;
        let how = of.fails.unwrap_or_else(|| Fails::of(ty));
        Ok(Condition::Failed(FailedTest { ty, how, failed }))
    }

    fn float(
        &self,
        test: &Test,
        (what, ty): (What, Type),
        relation: Relation,
        number: &Number,
        holds: bool,
    ) -> Result<Condition, SpecError> {
        if let Some(mask) = &test.mask {
            let said = format!("'{}' is {}, and a mask is for integers", test.name, ty.name());
            return Err(self.wrong(&mask.at, said));
        }
        let value = match number.value {
            Written::Float(value) => value,
            Written::Whole(value) => value as f64,
            Written::Hex(_) | Written::Time(_) => {
                let said = format!("'{}' is {}, a number as in 2.5", test.name, ty.name());
                return Err(self.wrong(&number.at, said));
            }
        };
        Ok(Condition::Float(FloatTest { what, ty, relation, value, holds }))
    }

    /// A number as one of that type. Hexadecimal stands for bits: 0xffffffff is an i32, too.
    fn value(
        &self,
        number: &Number,
        (what, ty): (What, Type),
        test: &Test,
    ) -> Result<i128, SpecError> {
        let name = &test.name;
        let (value, hex) = match (number.value, what) {
            (Written::Time(ns), What::Duration) => return Ok(ns),
            // `duration` alone.
            (Written::Whole(0), What::Duration) => return Ok(0),
            (_, What::Duration) => {
                return Err(self.wrong(&number.at, NO_UNIT).hint("10ms, 5us, 100ns or 1.5s"));
            }
            (Written::Whole(value), _) => (value, false),
            (Written::Hex(value), _) => (value, true),
            (Written::Float(_), _) => {
                let said = format!("'{name}' is {}, a whole number", ty.name());
                return Err(self.wrong(&number.at, said));
            }
            (Written::Time(_), _) => {
                let said = format!("'{name}' is {}, and not a time", ty.name());
                return Err(self.wrong(&number.at, said).hint("duration > 10ms"));
            }
        };
        let (low, high) = ty.range();
        let wrapped = hex && value > high && value < 1 << ty.bits();
        let value = if wrapped { value - (1 << ty.bits()) } else { value };
        if value < low || value > high {
            let what = format!("'{name}' is {}, which is {low} to {high}", ty.name());
            return Err(self.wrong(&number.at, what));
        }
        Ok(value)
    }

    fn mask(&self, mask: &Number, ty: Type) -> Result<u64, SpecError> {
        let value = match mask.value {
            Written::Whole(value) | Written::Hex(value) => value,
            Written::Float(_) | Written::Time(_) => -1,
        };
        let value = u64::try_from(value)
            .ok()
            .filter(|&mask| mask != 0 && i128::from(mask) < 1 << ty.bits());
        value.ok_or_else(|| self.wrong(&mask.at, format!("this is no mask of {} bits", ty.bits())))
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
