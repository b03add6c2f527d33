//! How much there is to read where an argument points to: `bytes[16]`, `bytes[n]`, `bytes[ret]`.

use super::SpecError;
use super::signature::{Arg, Signature, Type, trim};
use std::fmt::{self, Write as _};
use std::ops::Range;

/// What says how much it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// A number.
    Number(u32),
    /// What comes back.
    Ret,
    /// An argument, by its place.
    Arg(usize),
}

/// How much there is to read: bytes, or strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// As many.
    pub is: Count,
    /// But no more than that.
    pub most: Option<Count>,
}

impl Length {
    /// How much it is, by the bits of the arguments and of what has come back. `None` where those
    /// are not known; what is negative stands for a failure, and nothing is to be read.
    #[must_use]
    pub fn value(
        self,
        signature: &Signature,
        bits: &[Option<u64>],
        ret: Option<u64>,
    ) -> Option<i64> {
        let of = |count| match count {
            Count::Number(number) => Some(number.into()),
            Count::Ret => Some(signed(signature.ret?, ret?)),
            Count::Arg(n) => Some(signed(signature.args.get(n)?.ty, (*bits.get(n)?)?)),
        };
        let value = of(self.is)?;
        Some(match self.most {
            Some(most) => value.min(of(most)?),
            None => value,
        })
    }

    /// Whether it is known only when the function has returned.
    #[must_use]
    pub fn is_late(self) -> bool {
        self.is == Count::Ret || self.most == Some(Count::Ret)
    }

    pub(super) fn show(self, f: &mut impl fmt::Write, args: &[Arg]) -> fmt::Result {
        for (between, count) in [("", Some(self.is)), ("<=", self.most)] {
            match count {
                Some(Count::Number(number)) => write!(f, "{between}{number}")?,
                Some(Count::Ret) => write!(f, "{between}ret")?,
                Some(Count::Arg(n)) => {
                    write!(f, "{between}{}", args.get(n).map_or("?", |arg| &arg.name))?;
                }
                None => {}
            }
        }
        Ok(())
    }
}

/// A whole number as its type says. The largest of 64 bits are what functions fail with that have
/// no sign.
fn signed(ty: Type, bits: u64) -> i64 {
    match ty {
        Type::I8 => (bits as i8).into(),
        Type::I16 => (bits as i16).into(),
        Type::I32 => (bits as i32).into(),
        Type::U8 | Type::Char => (bits as u8).into(),
        Type::U16 => (bits as u16).into(),
        Type::U32 => (bits as u32).into(),
        _ => bits.cast_signed(),
    }
}

/// Whether values of a type say how much something is.
pub(super) const fn counts(ty: Type) -> bool {
    matches!(
        ty,
        Type::I8
            | Type::I16
            | Type::I32
            | Type::I64
            | Type::U8
            | Type::U16
            | Type::U32
            | Type::U64
            | Type::Hex
    )
}

/// Reads what stands between the brackets behind the type of an argument.
pub(super) fn length(
    text: &str,
    at: Range<usize>,
    out: bool,
    args: &[Arg],
) -> Result<Length, SpecError> {
    let inside = &text[at.clone()];
    let (is, most) = match inside.find("<=") {
        Some(bound) => (at.start..at.start + bound, Some(at.start + bound + 2..at.end)),
        None => (at, None),
    };
    let is = count(text, is, out, args)?;
    let most = most.map(|at| count(text, at, out, args)).transpose()?;
    Ok(Length { is, most })
}

fn count(text: &str, at: Range<usize>, out: bool, args: &[Arg]) -> Result<Count, SpecError> {
    let at = trim(text, at);
    let word = &text[at.clone()];
    if word.starts_with(|c: char| c.is_ascii_digit()) {
        let wrong = |_| SpecError::new(text, at, "this is no length").hint("a number below 2^32");
        return word.parse().map(Count::Number).map_err(wrong);
    }
    if let Some(n) = args.iter().position(|arg| arg.name == word) {
        if counts(args[n].ty) {
            return Ok(Count::Arg(n));
        }
        let what = format!("'{word}' is {}, and a length is a whole number", args[n].ty.name());
        return Err(SpecError::new(text, at, what).hint("an argument of a type such as i32 or u64"));
    }
    if word == "ret" {
        if out {
            return Ok(Count::Ret);
        }
        let what =
            "what comes back is known when the function returns, and this is read when it begins";
        return Err(SpecError::new(text, at, what).hint("'out' in front: buf: out bytes[ret]"));
    }
    let what = match word {
        "" => "a length is missing".to_owned(),
        _ => format!("no argument is called '{word}'"),
    };
    let mut known = String::new();
    for arg in args.iter().filter(|arg| counts(arg.ty)) {
        let _ = write!(known, "{}, ", arg.name);
    }
    known.push_str(if out { "ret, or a number" } else { "or a number" });
    let known = known.strip_prefix("or ").unwrap_or(&known);
    Err(SpecError::new(text, at, what).hint(known))
}

impl Signature {
    /// Checks what its arguments need to be known of its return, if that is told.
    pub(super) fn check(
        &self,
        text: &str,
        at: Range<usize>,
        returns: bool,
    ) -> Result<(), SpecError> {
        let wrong = |what: String, hint| Err(SpecError::new(text, at.clone(), what).hint(hint));
        let Some(out) = self.args.iter().find(|arg| arg.out) else { return Ok(()) };
        if !returns {
            let what = format!(
                "'{}' is read when the function returns, and the probe tells of no return",
                out.name
            );
            return wrong(what, "what comes back, as in -> i64 (or -> void), or return: in front");
        }
        let late = |arg: &&Arg| arg.length.is_some_and(Length::is_late);
        let Some(late) = self.args.iter().find(late) else { return Ok(()) };
        match self.ret {
            Some(ty) if counts(ty) => Ok(()),
            Some(ty) => {
                let what = format!(
                    "the length of '{}' is what comes back, and that is {}, no whole number",
                    late.name,
                    ty.name()
                );
                wrong(what, "-> i64 behind it")
            }
            None => {
                let what = format!(
                    "the length of '{}' is what comes back, whose type is not known",
                    late.name
                );
                wrong(what, "-> i64 behind it")
            }
        }
    }

    /// Whether an argument is read when the function returns.
    #[must_use]
    pub fn has_out(&self) -> bool {
        self.args.iter().any(|arg| arg.out)
    }

    /// How many of its arguments a call has, by their bits: open(2) has a mode where it makes a file.
    #[must_use]
    pub fn present(&self, bits: &[Option<u64>]) -> usize {
        let all = self.args.len();
        let [.., flags, last] = &self.args[..] else { return all };
        match (flags.ty, last.ty) {
            (Type::Named(flags), Type::Named(super::Names::OpenMode)) => match bits.get(all - 2) {
                Some(Some(bits)) if !flags.has_mode(*bits) => all - 1,
                _ => all,
            },
            _ => all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Spec, Type};
    use super::*;

    fn signature(text: &str) -> Signature {
        let spec = Spec::parse(text).unwrap_or_else(|error| panic!("{error}"));
        spec.signature.expect("a signature")
    }

    #[test]
    fn lengths_are_read_and_shown() {
        for (text, shown) in [
            ("f(b: out bytes[ret], n: usize) -> isize", "(b: out bytes[ret], n: u64) -> i64"),
            ("f(b: out  bytes[ ret <= n ], n: u8) -> i32", "(b: out bytes[ret<=n], n: u8) -> i32"),
            ("f(b: bytes[n],n: i32)", "(b: bytes[n], n: i32)"),
            ("f(b: bytes[16])", "(b: bytes[16])"),
            ("f(v: str[], w: str[2])", "(v: str[], w: str[2])"),
            ("return:f(b: out str)", "(b: out str)"),
            // An argument comes before what comes back.
            ("f(ret: i32, b: bytes[ret])", "(ret: i32, b: bytes[ret])"),
            ("f(a: str, o: oflags, m: mode?)", "(a: str, o: oflags, m: mode?)"),
        ] {
            let signature = signature(text);
            assert_eq!(signature.to_string(), shown, "{text}");
            let types: Vec<String> = signature.full_types().collect();
            let names = signature.args.iter().map(|arg| &arg.name);
            let full: Vec<String> =
                names.zip(types).map(|(name, ty)| format!("{name}:{ty}")).collect();
            assert_eq!(Signature::args_of(&full.join(",")), Some(signature.args), "{text}");
        }
    }

    #[test]
    fn lengths_that_are_none_are_named() {
        for (text, wrong, what, hint) in [
            ("f(b: bytes[foo], n: i32)", "foo", "no argument is called 'foo'", "n, or a number"),
            (
                "f(b: out bytes[foo]) -> i32",
                "foo",
                "no argument is called 'foo'",
                "ret, or a number",
            ),
            ("f(b: bytes[ret]) -> i32", "ret", "what comes back is known when", "out bytes[ret]"),
            ("f(x: f64, b: bytes[x])", "x", "'x' is f64", "i32 or u64"),
            ("f(b: bytes[])", "", "a length is missing", "a number"),
            ("f(b: bytes)", "bytes", "bytes have a length", "bytes[16]"),
            ("f(b: bytes[4294967296])", "4294967296", "no length", "2^32"),
            ("f(b: i32[4])", "i32[4]", "'i32' has no length", "str[]"),
            ("f(b: out i32) -> i32", "i32", "i32 is none", "out str"),
            ("f(b: out str)", "f(b: out str)", "the probe tells of no return", "return: in front"),
            ("f(b: out bytes[ret]) -> f64", "f(b: out bytes[ret]) -> f64", "is f64", "-> i64"),
            ("return:f(b: out bytes[ret])", "f(b: out bytes[ret])", "is not known", "-> i64"),
            ("f -> bytes[4]", "bytes[4]", "what comes back is one value", "ptr"),
            ("f(m: mode?)", "m: mode?", "mode? is the last argument", "oflags"),
            ("f(o: oflags, m: mode?, n: i32)", "m: mode?", "mode? is the last argument", "oflags"),
            ("f(a: char**)", "char**", "'char**' is not a type", "str[]"),
        ] {
            let error = Spec::parse(text).expect_err(text);
            assert_eq!(&error.text[error.at.clone()], wrong, "{text}");
            assert!(error.what.contains(what), "{text}: {}", error.what);
            assert!(error.hint.as_ref().is_some_and(|said| said.contains(hint)), "{text}: {error}");
        }
    }

    #[test]
    fn a_length_is_a_value_of_its_type() {
        let signature = signature("f(b: out bytes[ret<=n], n: u8, c: bytes[m], m: i32) -> i32");
        let bits = [0x1000, 0xff10, 0x2000, 0xffff_ffff].map(Some);
        let length = |n: usize| signature.args[n].length.expect("a length");
        for (ret, value) in
            [(Some(3), Some(3)), (Some(99), Some(16)), (Some(0xffff_ffff), Some(-1)), (None, None)]
        {
            assert_eq!(length(0).value(&signature, &bits, ret), value, "{ret:?}");
        }
        assert_eq!(length(2).value(&signature, &bits, None), Some(-1));
        assert_eq!(length(2).value(&signature, &[None; 4], None), None);
        assert_eq!(signed(Type::U64, u64::MAX), -1);
    }

    #[test]
    fn a_mode_that_is_not_there_is_left_out() {
        let signature = signature("f(p: str, o: oflags.x86_64, m: mode?)");
        let present = |flags: Option<u64>| signature.present(&[Some(7), flags, Some(7)]);
        assert_eq!(present(Some(0o2)), 2);
        assert_eq!(present(Some(0o102)), 3);
        assert_eq!(present(None), 3);
    }
}
