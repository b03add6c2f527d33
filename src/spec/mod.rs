//! What the user asks for: PROBEs, from text to places in an object.
//!
//! A PROBE reads like the declaration it stands for: `libc:open(path: str, flags: hex) -> i32`.
//! [`Spec::parse`] does no work beyond reading it; [`Spec::may_match`] says which objects it can
//! be about; [`resolve()`] finds its places in one of them.
//!
//! | room | holds |
//! |---|---|
//! | `parse` | the grammar |
//! | `signature`, `length` | typed arguments and return values; how much an argument points to |
//! | `constants` | names of flags, signals and other numbers |
//! | `filter`, `literal` | `--where`: its grammar, and its numbers |
//! | `bind` | what its names mean |
//! | `condition`, `compiled` | evaluating it; turning it into a trampoline's tests |
//! | `failing` | how functions say that they have failed |
//! | `error` | what is wrong, where, and what to try |
//! | `format` | what a format of printf asks for |
//! | `glob` | `*`, `?`, `[a-z]` |
//! | `names` | which object and which symbol a name means; C++ and Rust names |
//! | `resolve` | from a spec and an object to places |
//! | `nearest` | what an unknown name may have meant |
//! | `prototypes` | signatures of common libc functions |

mod bind;
mod compiled;
mod condition;
mod constants;
mod error;
mod failing;
mod filter;
mod format;
mod glob;
mod length;
mod literal;
mod names;
mod nearest;
mod parse;
mod prototypes;
mod resolve;
mod signature;
#[cfg(test)]
mod tests;

pub use bind::Called;
pub use condition::{AtEntry, Condition, FailedTest, FloatTest, NumberTest, Seen, TextTest, What};
pub use constants::Names;
pub use error::SpecError;
pub use failing::Fails;
pub use filter::Where;
pub use format::{Piece, printf};
pub use glob::Glob;
pub use length::{Count, Length};
pub use literal::time;
pub use names::{ObjectName, ObjectPattern, SymbolName, demangled, unnamed, written};
pub use nearest::{Candidate, unknown};
pub use prototypes::{libc_prototype, prototype};
pub use resolve::{Place, PlaceKind, ResolveError, Resolved, resolve};
pub(crate) use signature::VARIADIC;
pub use signature::{Arg, Signature, Type};

/// One parsed PROBE.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// As the user wrote it: what reports call the probe.
    pub text: String,
    /// Which moments are asked for.
    pub when: When,
    /// The object; every object where there is none.
    pub object: Option<ObjectPattern>,
    /// The place in it.
    pub location: Location,
    /// The types of arguments and return value, if the user said so.
    pub signature: Option<Signature>,
}

/// Which moments of a call a probe reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// When the place is come to.
    Entry,
    /// When the function returns.
    Return,
    /// Both: the signature names the return value's type.
    Both,
}

impl When {
    /// Whether the entry is reported.
    #[must_use]
    pub const fn entry(self) -> bool {
        matches!(self, When::Entry | When::Both)
    }

    /// Whether the return is reported.
    #[must_use]
    pub const fn ret(self) -> bool {
        matches!(self, When::Return | When::Both)
    }
}

/// A place in an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Location {
    /// One function or many, or instructions in them.
    Symbol {
        /// Which functions.
        name: SymbolName,
        /// `@VERSION`: only that version. `@plt` means the stub.
        version: Option<String>,
        /// Which instructions.
        offset: Offset,
    },
    /// An address in the file.
    Address(u64),
    /// A line of source, where there is DWARF.
    Line {
        /// The file's name as the user wrote it.
        file: String,
        /// Counted from 1.
        line: u32,
    },
    /// A USDT marker.
    Usdt {
        /// Globs allowed.
        provider: Option<String>,
        /// Globs allowed.
        name: String,
    },
}

/// Which instructions of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offset {
    /// The one this many bytes behind the start; 0 is the entry.
    At(u64),
    /// Every one: `+*`.
    Every,
}

impl Spec {
    /// Reads a PROBE. Nothing is opened or looked up.
    ///
    /// # Errors
    /// What is wrong with it, where, and what to try.
    pub fn parse(text: &str) -> Result<Spec, SpecError> {
        parse::spec(text)
    }

    /// Whether its signature names registers, at an instruction: always where the PROBE is behind a
    /// symbol, and at an address where all its arguments are called like registers.
    #[must_use]
    pub fn reads_registers(&self) -> bool {
        let Some(signature) = &self.signature else { return false };
        match &self.location {
            Location::Symbol { offset, .. } => *offset != Offset::At(0),
            Location::Address(_) => {
                !signature.args.is_empty()
                    && signature.args.iter().all(|arg| parse::is_register(&arg.name))
            }
            _ => false,
        }
    }

    /// Whether the PROBE can be about this object. An address without an object means the
    /// program itself.
    #[must_use]
    pub fn may_match(&self, name: &ObjectName<'_>) -> bool {
        match &self.object {
            Some(pattern) => pattern.matches(name),
            None => name.program || !matches!(self.location, Location::Address(_)),
        }
    }
}

impl std::str::FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Spec, SpecError> {
        Spec::parse(text)
    }
}
