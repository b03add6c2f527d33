//! Typed arguments and return values: `(path: str, flags: hex) -> i32`.

use super::SpecError;
use std::fmt;
use std::ops::Range;

macro_rules! types {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// How a value is read and written.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Type {
            $($(#[$doc])* $name,)*
        }

        impl Type {
            /// All of them.
            pub const ALL: &'static [Type] = &[$(Type::$name,)*];

            /// As in a signature.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Type::$name => $text,)* }
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
    /// Nothing: of a function that returns, and has no value.
    Void = "void",
}

impl Type {
    /// The type of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Type> {
        Type::ALL.iter().copied().find(|t| t.name() == name)
    }

    /// Bytes of a value.
    #[must_use]
    pub const fn size(self) -> u8 {
        match self {
            Type::I8 | Type::U8 | Type::Bool | Type::Char => 1,
            Type::I16 | Type::U16 => 2,
            Type::I32 | Type::U32 | Type::F32 => 4,
            Type::I64 | Type::U64 | Type::Hex | Type::Ptr | Type::Str | Type::F64 => 8,
            Type::Void => 0,
        }
    }

    /// Whether it travels in vector registers.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self, Type::F32 | Type::F64)
    }
}

/// One argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    /// What reports and filters call it.
    pub name: String,
    /// How it is read.
    pub ty: Type,
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
            write!(f, "{}{}: {}", if i == 0 { "" } else { ", " }, arg.name, arg.ty.name())?;
        }
        f.write_str(")")?;
        self.ret.map_or(Ok(()), |ret| write!(f, " -> {}", ret.name()))
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
    let name = &text[at.clone()];
    Type::from_name(name).ok_or_else(|| {
        let what = if name.is_empty() {
            "a type is missing".to_owned()
        } else {
            format!("'{name}' is not a type")
        };
        SpecError::new(text, at, what).hint(hint_for(name))
    })
}

/// What C, Rust and Go people write, in the words used here.
fn hint_for(name: &str) -> String {
    let squeezed: String = name.split_whitespace().collect::<Vec<_>>().join(" ");
    let meant = match squeezed.as_str() {
        "int" | "pid_t" => "i32",
        "long" | "ssize_t" | "off_t" | "isize" | "long long" => "i64",
        "unsigned" | "unsigned int" | "uint" | "mode_t" => "u32",
        "size_t" | "unsigned long" | "usize" => "u64",
        "short" => "i16",
        "unsigned char" | "byte" => "u8",
        "float" => "f32",
        "double" => "f64",
        "char*" | "char *" | "const char*" | "const char *" | "string" | "cstr" => "str",
        s if s.ends_with('*') => "ptr",
        _ => {
            let names: Vec<_> = Type::ALL.iter().map(|t| t.name()).collect();
            return format!("one of {}", names.join(", "));
        }
    };
    meant.to_owned()
}

/// The arguments between the parentheses.
pub(crate) fn args(text: &str, inside: Range<usize>) -> Result<Vec<Arg>, SpecError> {
    let mut args: Vec<Arg> = Vec::new();
    if text[inside.clone()].trim().is_empty() {
        return Ok(args);
    }
    let mut from = inside.start;
    while from <= inside.end {
        let end = text[from..inside.end].find(',').map_or(inside.end, |i| from + i);
        let at = trim(text, from..end);
        let part = &text[at.clone()];
        let Some(colon) = part.find(':') else {
            let what = if part.is_empty() {
                "an argument is missing"
            } else {
                "an argument is written 'name: type'"
            };
            let hint = "a signature like (path: str, flags: hex); a C++ name is written without \
                        its parameters, and one of several functions of a name as =SYMBOL, mangled \
                        (=_Z3funi; `xol list` shows it)";
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
        let ty_at = trim(text, at.start + colon + 1..at.end);
        let ty = ty(text, ty_at.clone())?;
        if ty == Type::Void {
            let what = "an argument has a value; void is what comes back";
            return Err(SpecError::new(text, ty_at, what));
        }
        args.push(Arg { name, ty });
        from = end + 1;
    }
    Ok(args)
}
