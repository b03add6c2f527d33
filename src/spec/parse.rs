//! The grammar of a PROBE:
//!
//! ```text
//! probe     = [keyword ":"] [object ":"] place
//!           | [object ":"] address | [keyword ":"] source ":" line | "usdt:" [object ":"] marker
//! keyword   = "return" | "uretprobe" | "uprobe" | "usdt"
//! place     = "=" anything                                   a literal symbol
//!           | symbol ["(" types ")"] ["@" version] ["+" number | "+*"] [signature]
//! signature = "(" [arg {"," arg}] ")" ["->" type] | "->" type
//! arg       = name ":" ["out"] (type | "bytes[" length "]" | "str[" [length] "]")
//! length    = count ["<=" count], where count = number | name | "ret"
//! ```
//!
//! A `:` separates only where it is alone (`::` is C++ and Rust) and outside brackets.

use super::names::{ObjectPattern, SymbolName, split_parameters};
use super::signature::{self, Signature, trim};
use super::{Glob, Location, Offset, Spec, SpecError, When};
use std::ops::Range;
use xol_arch::{Arch, ArgPlace, Regs as _};

/// What closes a part of a name that what looks like an arrow or an offset may stand in.
const CLOSING: [char; 4] = [')', '>', '}', ']'];
const EXAMPLES: &str = "malloc, 'libc:mem*', ./app:main+0x10 or 'open(path: str) -> i32'";

pub(crate) fn spec(text: &str) -> Result<Spec, SpecError> {
    let mut parts = split(text);
    for part in &parts {
        if text[part.clone()].is_empty() {
            let empty = text.trim().is_empty();
            let what = if empty { "it is empty" } else { "nothing stands on one side of the ':'" };
            return Err(SpecError::new(text, part.clone(), what).hint(EXAMPLES));
        }
    }
    let mut when = When::Entry;
    let mut usdt = false;
    if parts.len() > 1 {
        let known = match &text[parts[0].clone()] {
            "return" | "uretprobe" => Some(When::Return),
            "uprobe" | "usdt" => Some(When::Entry),
            _ => None,
        };
        if let Some(known) = known {
            usdt = &text[parts[0].clone()] == "usdt";
            when = known;
            parts.remove(0);
        }
    }
    if usdt {
        return marker(text, &parts);
    }
    let (object, place) = match &parts[..] {
        [place] => (None, place.clone()),
        [object, place] => (Some(object.clone()), place.clone()),
        [_, _, extra, ..] => {
            let what = "too many parts: a probe is OBJECT:SYMBOL";
            return Err(SpecError::new(text, extra.start..text.len(), what)
                .hint("=SYMBOL for a name with single colons in it"));
        }
        [] => return Err(SpecError::new(text, 0..0, "it is empty").hint(EXAMPLES)),
    };
    let shown = &text[place.clone()];
    if let Some(file) = &object
        && shown.bytes().all(|b| b.is_ascii_digit())
    {
        let line = shown.parse().ok().filter(|&l| l > 0).ok_or_else(|| {
            SpecError::new(text, place.clone(), "this is no line number")
                .hint("0x… for an address in an object")
        })?;
        let location = Location::Line { file: text[file.clone()].to_owned(), line };
        return Ok(Spec { text: text.to_owned(), when, object: None, location, signature: None });
    }
    let (location, signature) = placed(text, place.clone())?;
    let entry = matches!(location, Location::Symbol { offset: Offset::At(0), .. });
    let address = matches!(location, Location::Address(_));
    let back = when == When::Return || signature.as_ref().is_some_and(|s| s.ret.is_some());
    if back && !entry && !address {
        let what = "only a function returns, not an instruction in it";
        return Err(SpecError::new(text, place, what));
    }
    if let Some(signature) = signature.as_ref().filter(|_| !entry && !address)
        && let Some(arg) = signature.args.iter().find(|arg| !is_register(&arg.name))
    {
        let what = format!(
            "arguments are known at a function's entry; at an instruction there are registers, and \
             '{}' is none",
            arg.name
        );
        return Err(SpecError::new(text, place, what).hint(
            "main+0x10(rax: u64, xmm0: f64) on x86-64, main+0x10(x0: ptr, d0: f64) on arm64",
        ));
    }
    if when == When::Entry && signature.as_ref().is_some_and(|s| s.ret.is_some()) {
        when = When::Both;
    }
    if let Some(signature) = &signature {
        signature.check(text, place, when.ret())?;
    }
    let object = object.map(|at| ObjectPattern::new(&text[at]));
    Ok(Spec { text: text.to_owned(), when, object, location, signature })
}

/// Whether it is what a register of an architecture is called.
pub(super) fn is_register(name: &str) -> bool {
    let names: &[fn(&str) -> Option<ArgPlace>] = &[
        #[cfg(feature = "arm64")]
        <xol_arch::arm64::Arm64 as Arch>::Regs::named,
        #[cfg(feature = "x86_64")]
        <xol_arch::x86_64::X86_64 as Arch>::Regs::named,
    ];
    names.iter().any(|named| named(name).is_some())
}

/// Splits at single colons outside brackets; nothing is split behind a leading `=`.
fn split(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut parts = Vec::new();
    let (mut start, mut depth, mut i) = (0, 0usize, 0);
    while i < bytes.len() {
        match bytes[i] {
            b'=' if text[start..i].trim().is_empty() => break,
            b'(' | b'{' | b'[' => depth += 1,
            b')' | b'}' | b']' => depth = depth.saturating_sub(1),
            b':' if bytes.get(i + 1) == Some(&b':') => i += 1,
            b':' if depth == 0 => {
                parts.push(trim(text, start..i));
                start = i + 1;
            }
            _ => {}
        }
        i += 1;
    }
    parts.push(trim(text, start..text.len()));
    parts
}

/// `usdt:NAME`, `usdt:OBJECT:NAME`, `usdt:OBJECT:PROVIDER:NAME`. In `usdt:libc:setjmp` the
/// middle part names the provider as well as the object: in practice they are called the same.
fn marker(text: &str, parts: &[Range<usize>]) -> Result<Spec, SpecError> {
    let part = |i: usize| text[parts[i].clone()].to_owned();
    let (object, provider, name) = match parts.len() {
        1 => (None, None, part(0)),
        2 => (None, Some(part(0)), part(1)),
        3 => (Some(ObjectPattern::new(&part(0))), Some(part(1)), part(2)),
        _ => {
            let at = parts.get(3).map_or(text.len(), |p| p.start)..text.len();
            let what = "too many parts: a marker is usdt:OBJECT:PROVIDER:NAME";
            return Err(SpecError::new(text, at, what));
        }
    };
    let location = Location::Usdt { provider, name };
    Ok(Spec { text: text.to_owned(), when: When::Entry, object, location, signature: None })
}

fn placed(text: &str, place: Range<usize>) -> Result<(Location, Option<Signature>), SpecError> {
    if let Some(literal) = text[place.clone()].strip_prefix('=') {
        if literal.is_empty() {
            return Err(SpecError::new(text, place, "no symbol stands behind the '='"));
        }
        let name = SymbolName::Literal(literal.to_owned());
        let location = Location::Symbol { name, version: None, offset: Offset::At(0) };
        return Ok((location, None));
    }
    let (head, signature) = signature_of(text, place)?;
    if text[head.clone()].starts_with("0x") {
        return Ok((Location::Address(number(text, head)?), signature));
    }
    let (name, offset) = offset_of(text, head)?;
    let (name, version) = match text[name.clone()].find('@') {
        Some(at) if at > 0 => {
            let version = text[name.start + at..name.end].trim_start_matches('@');
            // `memcpy@@` is the default version, which needs no name.
            (name.start..name.start + at, Some(version.to_owned()))
        }
        _ => (name, None),
    };
    let shown = &text[name.clone()];
    if shown.is_empty() {
        return Err(SpecError::new(text, name, "a function's name is missing").hint(EXAMPLES));
    }
    // A pointer among the parameters is no pattern.
    let name = if Glob::is_pattern(split_parameters(shown).0) {
        SymbolName::Glob(Glob::new(shown))
    } else {
        SymbolName::Exact(shown.to_owned())
    };
    Ok((Location::Symbol { name, version, offset }, signature))
}

/// Cuts the signature off. `operator()` and `operator->` end in what looks like one.
fn signature_of(
    text: &str,
    place: Range<usize>,
) -> Result<(Range<usize>, Option<Signature>), SpecError> {
    let shown = &text[place.clone()];
    let mut head = place.clone();
    let mut ret = None;
    if let Some(arrow) = shown.rfind("->").filter(|&i| !shown[..i].trim_end().ends_with("operator"))
    {
        let arrow = place.start + arrow;
        // An arrow inside parentheses or generic arguments is none of ours.
        let back = trim(text, arrow + 2..place.end);
        if ["bytes[", "str[", "out "].iter().any(|ty| text[back.clone()].starts_with(ty)) {
            let what = "what comes back is one value, and points to no more than a text";
            return Err(
                SpecError::new(text, back, what).hint("str, ptr, or an argument: out bytes[ret]")
            );
        }
        if !text[arrow + 2..place.end].contains(CLOSING) {
            ret = Some(signature::ty(text, arrow + 2..place.end)?);
            head = trim(text, place.start..arrow);
        }
    }
    let shown = &text[head.clone()];
    let Some(open) = shown.ends_with(')').then(|| opening(shown)).flatten() else {
        if let Some(open) = shown.rfind('(').filter(|_| !balanced(shown)) {
            let at = head.start + open..head.end;
            return Err(SpecError::new(text, at, "this parenthesis is never closed"));
        }
        if shown.ends_with(')') {
            let at = head.end - 1..head.end;
            return Err(SpecError::new(text, at, "this parenthesis was never opened"));
        }
        return Ok((
            head,
            ret.map(|ret| Signature { args: Vec::new(), open: true, ret: Some(ret) }),
        ));
    };
    let name = trim(text, head.start..head.start + open);
    let inside = head.start + open + 1..head.end - 1;
    if text[name.clone()].ends_with("operator") && text[inside.clone()].trim().is_empty() {
        return Ok((
            head,
            ret.map(|ret| Signature { args: Vec::new(), open: true, ret: Some(ret) }),
        ));
    }
    if cfg!(feature = "demangle") && are_parameters(&text[inside.clone()]) {
        // One of several C++ functions of a name.
        return Ok((
            head,
            ret.map(|ret| Signature { args: Vec::new(), open: true, ret: Some(ret) }),
        ));
    }
    let args = signature::args(text, inside)?;
    Ok((name, Some(Signature { args, open: false, ret })))
}

/// Whether what stands in parentheses is the parameters of a C++ function: types without names.
fn are_parameters(inside: &str) -> bool {
    const WORDS: [&str; 12] = [
        "int", "char", "bool", "long", "short", "float", "double", "unsigned", "signed", "const",
        "wchar_t", "void",
    ];
    let named = inside.replace("::", "").contains(':');
    let types = inside.contains(['*', '&', '<'])
        || inside.contains("::")
        || inside.split([',', ' ']).any(|word| WORDS.contains(&word))
        || inside.split(',').all(|part| part.trim_start().starts_with(char::is_uppercase));
    !named && types
}

/// The `(` that the last `)` closes.
fn opening(shown: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (i, byte) in shown.bytes().enumerate().rev() {
        match byte {
            b')' => depth += 1,
            b'(' => {
                depth -= 1;
                if depth == 0 {
                    return Some(i);
                }
            }
            _ => {}
        }
    }
    None
}

fn balanced(shown: &str) -> bool {
    let count = |c| shown.bytes().filter(|&b| b == c).count();
    count(b'(') <= count(b')')
}

/// Cuts `+0x10`, `+16` or `+*` off. `operator+`, `operator++` and `operator+=` keep theirs.
fn offset_of(text: &str, head: Range<usize>) -> Result<(Range<usize>, Offset), SpecError> {
    let shown = &text[head.clone()];
    // One inside parentheses or generic arguments (`<dyn A + B>`) is part of the name.
    let Some(plus) = shown.rfind('+').filter(|&plus| !shown[plus..].contains(CLOSING)) else {
        return Ok((head, Offset::At(0)));
    };
    let name = trim(text, head.start..head.start + plus);
    let at = trim(text, head.start + plus + 1..head.end);
    let before = text[name.clone()].trim_end_matches('+');
    let operator = before.ends_with("operator");
    match &text[at.clone()] {
        "*" if !(operator && before.len() == name.len()) => Ok((name, Offset::Every)),
        offset if offset.starts_with(|c: char| c.is_ascii_digit()) => {
            Ok((name, Offset::At(number(text, at)?)))
        }
        _ if operator || text[name].starts_with('*') => Ok((head, Offset::At(0))),
        _ => Err(SpecError::new(text, at, "an offset is a number of bytes, or * for all")
            .hint("+0x10, or =SYMBOL for a name with a '+' in it")),
    }
}

fn number(text: &str, at: Range<usize>) -> Result<u64, SpecError> {
    let shown = &text[at.clone()];
    let parsed = match shown.strip_prefix("0x") {
        Some(hex) if !hex.starts_with('+') => u64::from_str_radix(hex, 16),
        Some(_) => u64::from_str_radix("", 16),
        None => shown.parse(),
    };
    parsed.map_err(|_| {
        SpecError::new(text, at, "this is no 64-bit number")
            .hint("0x1a2b, or decimal for an offset")
    })
}
