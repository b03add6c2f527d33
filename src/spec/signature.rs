//! Typed arguments and return values: `(path: str, flags: hex) -> i32`.

use super::SpecError;
use super::constants::Names;
use super::length::{self, Length};
use std::fmt;
use std::ops::Range;

macro_rules! types {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// How a value is read and written.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Type {
            $($(#[$doc])* $name,)*
            /// A number that has a name.
            Named(Names),
        }

        impl Type {
            /// All of them, but for those with names.
            pub const ALL: &'static [Type] = &[$(Type::$name,)*];

            /// As in a signature.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Type::$name => $text,)*
                    Type::Named(names) => names.name(),
                }
            }
        }
    };
}

types! {
    /// Signed, 8 bits.
    I8 = "i8",
    /// Signed, 16 bits.
    I16 = "i16",
    /// Signed, 32 bits.
    I32 = "i32",
    /// Signed, 64 bits.
    I64 = "i64",
    /// Unsigned, 8 bits.
    U8 = "u8",
    /// Unsigned, 16 bits.
    U16 = "u16",
    /// Unsigned, 32 bits.
    U32 = "u32",
    /// Unsigned, 64 bits.
    U64 = "u64",
    /// A file descriptor: signed, 32 bits.
    Fd = "fd",
    /// 64 bits, in hexadecimal.
    Hex = "hex",
    /// An address; 0 is NULL.
    Ptr = "ptr",
    /// The address of a NUL-terminated string: its text.
    Str = "str",
    /// The lowest byte: `true` unless it is 0.
    Bool = "bool",
    /// The lowest byte as a character.
    Char = "char",
    /// A float, in a vector register.
    F32 = "f32",
    /// A double, in a vector register.
    F64 = "f64",
    /// The address of so many bytes: these.
    Bytes = "bytes",
    /// The address of addresses of strings: these.
    Strs = "str[]",
    /// Nothing: of a function that returns, and has no value.
    Void = "void",
}

impl Type {
    /// The type of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Type> {
        let plain = Type::ALL.iter().copied().find(|t| t.name() == name);
        plain.or_else(|| Names::from_name(name).map(Type::Named))
    }

    /// The same as a file has it that another machine may read.
    #[must_use]
    pub fn full_name(self) -> String {
        match self {
            Type::Named(names) if let Some(machine) = names.machine() => {
                format!("{}.{}", names.name(), machine.name())
            }
            ty => ty.name().to_owned(),
        }
    }

    /// Bytes of a value.
    #[must_use]
    pub const fn size(self) -> u8 {
        match self {
            Type::I8 | Type::U8 | Type::Bool | Type::Char => 1,
            Type::I16 | Type::U16 => 2,
            Type::I32 | Type::U32 | Type::F32 | Type::Fd => 4,
            Type::I64
            | Type::U64
            | Type::Hex
            | Type::Ptr
            | Type::Str
            | Type::Bytes
            | Type::Strs
            | Type::F64 => 8,
            Type::Named(_) => 4,
            Type::Void => 0,
        }
    }

    /// Whether it travels in vector registers.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self, Type::F32 | Type::F64)
    }

    /// The flags of which one must be there for an open(2) to take a mode.
    pub(super) fn with_mode(self) -> Vec<u64> {
        match self {
            Type::Named(names @ Names::Open(_)) => names.with_mode().into(),
            _ => Vec::new(),
        }
    }

    /// Whether it is what an address points to.
    #[must_use]
    pub const fn is_memory(self) -> bool {
        matches!(self, Type::Str | Type::Bytes | Type::Strs)
    }
}

/// What arguments are called that a format asks for.
pub(crate) const VARIADIC: &str = "...";

/// One argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    /// What reports and filters call it.
    pub name: String,
    /// How it is read.
    pub ty: Type,
    /// Whether what it points to is read when the function returns.
    pub out: bool,
    /// How much it points to; of strings, up to NULL where there is none.
    pub length: Option<Length>,
}

impl Arg {
    /// An argument that is read when the function begins.
    #[must_use]
    pub fn new(name: impl Into<String>, ty: Type) -> Arg {
        Arg { name: name.into(), ty, out: false, length: None }
    }

    /// Whether it stands for all that the format before it asks for.
    #[must_use]
    pub fn is_variadic(&self) -> bool {
        self.name == VARIADIC
    }

    /// Whether memory is read for it when the function begins.
    #[must_use]
    pub const fn is_read_at_entry(&self) -> bool {
        self.ty.is_memory() && !self.out
    }
}

/// The part of a declaration that says what goes in and what comes out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// In the order of the call.
    pub args: Vec<Arg>,
    /// Whether the arguments are not known, and only what comes back is.
    pub open: bool,
    /// What comes back; `None` is not known.
    pub ret: Option<Type>,
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.open {
            return self.ret.map_or(Ok(()), |ret| write!(f, "-> {}", ret.name()));
        }
        f.write_str("(")?;
        for (i, arg) in self.args.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { ", " })?;
            if arg.is_variadic() {
                f.write_str(VARIADIC)?;
                continue;
            }
            write!(f, "{}: ", arg.name)?;
            self.show_type(f, arg, arg.ty.name())?;
        }
        f.write_str(")")?;
        self.ret.map_or(Ok(()), |ret| write!(f, " -> {}", ret.name()))
    }
}

impl Signature {
    /// Writes the type of one of its arguments, which has that name without its length.
    fn show_type(&self, f: &mut impl fmt::Write, arg: &Arg, name: &str) -> fmt::Result {
        f.write_str(if arg.out { "out " } else { "" })?;
        let Some(length) = arg.length else { return f.write_str(name) };
        write!(f, "{}[", name.strip_suffix("[]").unwrap_or(name))?;
        length.show(f, &self.args)?;
        f.write_char(']')
    }

    /// The types of its arguments as a file has them that another machine may read.
    pub(crate) fn full_types(&self) -> impl Iterator<Item = String> {
        self.args.iter().map(|arg| {
            let mut text = String::new();
            let _ = self.show_type(&mut text, arg, &arg.ty.full_name());
            text
        })
    }

    /// The arguments of those names and types.
    pub(crate) fn args_of(text: &str) -> Option<Vec<Arg>> {
        args(text, 0..text.len()).ok()
    }
}

/// The range of `text[range]` without the blanks around it.
pub(crate) fn trim(text: &str, range: Range<usize>) -> Range<usize> {
    let part = &text[range.clone()];
    let start = range.start + (part.len() - part.trim_start().len());
    start..start + part.trim().len()
}

/// A type at `at`.
pub(crate) fn ty(text: &str, at: Range<usize>) -> Result<Type, SpecError> {
    let at = trim(text, at);
    let name = match &text[at.clone()] {
        "usize" => "u64",
        "isize" => "i64",
        name => name,
    };
    Type::from_name(name).filter(|ty| !matches!(ty, Type::Bytes | Type::Strs)).ok_or_else(|| {
        let what = match name {
            "" => "a type is missing".to_owned(),
            "bytes" => "bytes have a length".to_owned(),
            _ => format!("'{name}' is not a type"),
        };
        SpecError::new(text, at, what).hint(hint_for(name))
    })
}

/// What C, Rust and Go people write, in the words used here.
fn hint_for(name: &str) -> String {
    let squeezed: String = name.split_whitespace().collect::<Vec<_>>().join(" ");
    let meant = match squeezed.as_str() {
        "int" | "pid_t" => "i32",
        "long" | "ssize_t" | "off_t" | "long long" => "i64",
        "unsigned" | "unsigned int" | "uint" | "mode_t" => "u32",
        "size_t" | "unsigned long" => "u64",
        "short" => "i16",
        "unsigned char" | "byte" => "u8",
        "float" => "f32",
        "double" => "f64",
        "char*" | "char *" | "const char*" | "const char *" | "string" | "cstr" => "str",
        "bytes" => "bytes[16], bytes[n] with another argument's name, or out bytes[ret]",
        "char**" | "char **" | "char *const*" | "char *const *" => "str[]",
        s if s.ends_with('*') => "ptr",
        _ => {
            let known = Type::ALL.iter().filter(|&&ty| ty != Type::Bytes).map(|t| t.name());
            let names: Vec<_> = known.chain(["bytes[N]", "oflags", "mode", "signal"]).collect();
            return format!("one of {} (see xol help PROBE)", names.join(", "));
        }
    };
    meant.to_owned()
}

/// The arguments between the parentheses.
pub(crate) fn args(text: &str, inside: Range<usize>) -> Result<Vec<Arg>, SpecError> {
    let mut args: Vec<Arg> = Vec::new();
    let mut lengths: Vec<(usize, Range<usize>)> = Vec::new();
    let inside_end = inside.end;
    if text[inside.clone()].trim().is_empty() {
        return Ok(args);
    }
    let mut from = inside.start;
    while from <= inside.end {
        let end = text[from..inside.end].find(',').map_or(inside.end, |i| from + i);
        let at = trim(text, from..end);
        let part = &text[at.clone()];
        if part == VARIADIC {
            let format = args.last().is_some_and(|arg| arg.ty == Type::Str && !arg.out);
            if !format || end < inside_end {
                let what = "... is the last argument, behind the format that says what it is";
                return Err(SpecError::new(text, at, what).hint("(format: str, ...)"));
            }
            args.push(Arg::new(VARIADIC, Type::Strs));
            from = end + 1;
            continue;
        }
        let Some(colon) = part.find(':') else {
            let what = if part.is_empty() {
                "an argument is missing"
            } else {
                "an argument is written 'name: type'"
            };
            let hint = "a signature like (path: str, flags: hex); of several C++ functions of a \
                        name, one is written with the types of its parameters, as in fun(int), or as \
                        =SYMBOL, mangled (=_Z3funi; `xol list` shows it)";
            return Err(SpecError::new(text, at, what).hint(hint));
        };
        let name_at = trim(text, at.start..at.start + colon);
        let name = &text[name_at.clone()];
        let word = |c: char| c.is_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(word) || name.starts_with(char::is_numeric) {
            return Err(SpecError::new(text, name_at, "an argument's name is a word"));
        }
        if args.iter().any(|a| a.name == name) {
            return Err(SpecError::new(text, name_at, "two arguments have this name"));
        }
        let name = name.to_owned();
        let (arg, inside) = typed(text, name, at.start + colon + 1..at.end)?;
        if arg.ty == Type::Named(Names::OpenMode)
            && (end < inside_end
                || !matches!(args.last().map(|arg| arg.ty), Some(Type::Named(Names::Open(_)))))
        {
            let what = "mode? is the last argument, behind the oflags that say whether it is there";
            return Err(SpecError::new(text, at, what).hint("flags: oflags, mode: mode?"));
        }
        lengths.extend(inside.map(|inside| (args.len(), inside)));
        args.push(arg);
        from = end + 1;
    }
    for (n, inside) in lengths {
        args[n].length = Some(length::length(text, inside, args[n].out, &args)?);
    }
    Ok(args)
}

/// An argument's type, and where its length is.
fn typed(
    text: &str,
    name: String,
    at: Range<usize>,
) -> Result<(Arg, Option<Range<usize>>), SpecError> {
    let mut at = trim(text, at);
    let word = &text[at.clone()];
    let out = word.strip_prefix("out").is_some_and(|rest| rest.starts_with(char::is_whitespace));
    if out {
        at = trim(text, at.start + "out".len()..at.end);
    }
    let word = &text[at.clone()];
    let Some(open) = word.find('[').filter(|_| word.ends_with(']')) else {
        let ty = ty(text, at.clone())?;
        if ty == Type::Void {
            let what = "an argument has a value; void is what comes back";
            return Err(SpecError::new(text, at, what));
        }
        if out && !ty.is_memory() {
            let what = format!("out is what an address points to, and {} is none", ty.name());
            return Err(SpecError::new(text, at, what).hint("out bytes[N], out str or out str[]"));
        }
        return Ok((Arg { out, ..Arg::new(name, ty) }, None));
    };
    let inside = trim(text, at.start + open + 1..at.end - 1);
    let ty = match word[..open].trim_end() {
        "bytes" => Type::Bytes,
        "str" => Type::Strs,
        other => {
            let what = format!("'{other}' has no length");
            return Err(SpecError::new(text, at, what).hint("bytes[N], str[] or str[N]"));
        }
    };
    let until_null = ty == Type::Strs && inside.is_empty();
    Ok((Arg { out, ..Arg::new(name, ty) }, (!until_null).then_some(inside)))
}
