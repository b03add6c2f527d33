//! Which object and which symbol a name means.

use super::{Glob, Location, Offset, Spec, When};
use crate::symbols::{Kind, Symbol};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// What an object is called.
#[derive(Clone, Copy, Debug)]
pub struct ObjectName<'a> {
    /// The path it was mapped from or opened by.
    pub path: &'a str,
    /// Its DT_SONAME.
    pub soname: Option<&'a str>,
    /// Whether it is the program itself, not a library of it.
    pub program: bool,
    /// Its debug files, of those that PROBEs name.
    pub debug: &'a [PathBuf],
}

impl ObjectName<'_> {
    /// The last component of the path: what reports call the object.
    #[must_use]
    pub fn file_name(&self) -> &str {
        let path = self.path.strip_suffix(" (deleted)").unwrap_or(self.path);
        path.rsplit('/').next().unwrap_or(path)
    }

    /// Whether it is the C library, or one of the parts that glibc had once: what the built-in
    /// prototypes are about.
    #[must_use]
    pub fn is_libc(&self) -> bool {
        let file = self.file_name();
        [Some(file), self.soname].into_iter().flatten().any(|name| {
            name.starts_with("ld-musl-")
                || ["libc", "libpthread", "libdl", "librt"].iter().any(|part| {
                    without_version(name, part)
                        || name.strip_prefix(part).is_some_and(|rest| rest == ".so")
                })
        })
    }
}

/// The object part of a PROBE: file name, soname or path, with globs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectPattern {
    glob: Glob,
    literal: bool,
}

impl ObjectPattern {
    pub(crate) fn new(text: &str) -> ObjectPattern {
        ObjectPattern { glob: Glob::new(text), literal: !Glob::is_pattern(text) }
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.glob.as_str()
    }

    /// Whether more than one object may be meant.
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        !self.literal
    }

    /// Whether the C library may be meant.
    #[must_use]
    pub fn may_be_libc(&self) -> bool {
        const NAMES: [(&str, &str); 7] = [
            ("/usr/lib/x86_64-linux-gnu/libc.so.6", "libc.so.6"),
            ("/lib/libc-2.31.so", "libc.so.6"),
            ("/lib/ld-musl-x86_64.so.1", "libc.musl-x86_64.so.1"),
            ("/lib/ld-musl-aarch64.so.1", "libc.musl-aarch64.so.1"),
            ("/lib/libpthread.so.0", "libpthread.so.0"),
            ("/lib/libdl.so.2", "libdl.so.2"),
            ("/lib/librt.so.1", "librt.so.1"),
        ];
        let own = ObjectName { path: self.as_str(), soname: None, program: false, debug: &[] };
        let real = self.path().and_then(|path| std::fs::canonicalize(path).ok());
        let real = real.as_ref().and_then(|path| path.to_str()).unwrap_or("");
        own.is_libc()
            || ObjectName { path: real, ..own }.is_libc()
            || NAMES.iter().any(|&(path, soname)| {
                self.matches(&ObjectName { path, soname: Some(soname), program: false, debug: &[] })
            })
    }

    /// The path, if it was written as the path of one file.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        Some(self.as_str()).filter(|text| self.literal && text.contains('/'))
    }

    /// Whether the object is meant. A path is compared as written and with its links resolved;
    /// a bare name with the file name and the soname, where versions may be left out: `libc`
    /// means `libc.so.6`, `libc-2.31.so` and `libc.musl-x86_64.so.1`.
    #[must_use]
    pub fn matches(&self, name: &ObjectName<'_>) -> bool {
        let path = name.path.strip_suffix(" (deleted)").unwrap_or(name.path);
        let text = self.as_str();
        if text.contains('/') {
            return self.glob.matches(path)
                || match self.literal {
                    true => {
                        same_file(text, path) || name.debug.iter().any(|d| d == Path::new(text))
                    }
                    false => rooted(text).is_some_and(|glob| glob.matches(path)),
                };
        }
        let names = [Some(name.file_name()), name.soname];
        names
            .into_iter()
            .flatten()
            .any(|n| self.glob.matches(n) || (self.literal && without_version(n, text)))
    }
}

/// A pattern of paths with links resolved, and made absolute, as far as it has no `*`: objects are
/// called by their whole paths.
fn rooted(text: &str) -> Option<Glob> {
    let special = text.find(['*', '?', '['])?;
    let slash = text[..special].rfind('/')?;
    let folder = std::fs::canonicalize(if slash == 0 { "/" } else { &text[..slash] }).ok()?;
    Some(Glob::below(folder.to_str()?, &text[slash + 1..]))
}

fn same_file(a: &str, b: &str) -> bool {
    match (std::fs::canonicalize(a), std::fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        (Ok(a), Err(_)) => a == std::path::Path::new(b),
        _ => false,
    }
}

/// Whether `name` is `short` and a version.
fn without_version(name: &str, short: &str) -> bool {
    let Some(rest) = name.strip_prefix(short) else { return false };
    let numbered =
        |c: char| rest[1..].starts_with(|n: char| n.is_ascii_digit()) && rest.starts_with(c);
    match rest.chars().next() {
        Some('.') if short.contains(".so") => numbered('.'),
        Some('.') => rest.contains(".so"),
        Some('-') => numbered('-') && rest.contains(".so"),
        _ => false,
    }
}

/// The symbol part of a PROBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SymbolName {
    /// `=SYMBOL`: exactly this, mangled as it is.
    Literal(String),
    /// A name as people write it.
    Exact(String),
    /// Many names.
    Glob(Glob),
}

impl SymbolName {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            SymbolName::Literal(name) | SymbolName::Exact(name) => name,
            SymbolName::Glob(glob) => glob.as_str(),
        }
    }

    /// Whether the symbol is meant: by its name as it is, or demangled and without parameters.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self {
            SymbolName::Literal(wanted) => wanted == name,
            SymbolName::Exact(wanted) => {
                let (plain, parameters) = split_parameters(wanted);
                wanted == name
                    || may_be(name, plain)
                        && means(plain, &demangled(name))
                        && parameters.is_none_or(|wanted| has_parameters(name, wanted))
            }
            SymbolName::Glob(glob) => {
                if glob.matches(name) || glob.as_str() == name {
                    return true;
                }
                is_mangled(name) && {
                    let shown = demangled(name);
                    glob.matches(&shown) || means_many(glob, &shown)
                }
            }
        }
    }

    /// Whether it is exactly this name, although it could be read as a pattern: Go's
    /// `main.(*T).String`, `main.Map[...]`.
    pub(crate) fn is_exactly(&self, name: &str) -> bool {
        let text = self.as_str();
        text == name || is_mangled(name) && text == demangled(name)
    }
}

/// A name, and the parameters behind it that tell functions of that name apart.
pub(super) fn split_parameters(wanted: &str) -> (&str, Option<&str>) {
    if !cfg!(feature = "demangle") {
        return (wanted, None);
    }
    let open = wanted.strip_suffix(')').and_then(|inside| {
        let mut depth = 1usize;
        inside.char_indices().rev().find_map(|(at, c)| {
            match c {
                ')' => depth += 1,
                '(' => depth -= 1,
                _ => {}
            }
            (depth == 0).then_some(at)
        })
    });
    match open {
        // `operator()`, `(anonymous namespace)`, closures of Rust.
        Some(at)
            if at > 0 && !wanted[..at].ends_with("operator") && !wanted[..at].ends_with("::") =>
        {
            (&wanted[..at], Some(&wanted[at + 1..wanted.len() - 1]))
        }
        _ => (wanted, None),
    }
}

/// Whether a C++ function takes parameters of these types, written as people or demanglers do:
/// `const char*` is `char const*`, `std::string` what it stands for.
fn has_parameters(name: &str, wanted: &str) -> bool {
    #[cfg(feature = "demangle")]
    if let Ok(symbol) = cpp_demangle::Symbol::new(name) {
        let options = cpp_demangle::DemangleOptions::new().no_return_type();
        let whole = symbol.demangle_with_options(&options).unwrap_or_default();
        let Some(own) = whole.strip_prefix(&*demangled(name)) else { return false };
        let own = own.trim_start_matches('(');
        let Some(own) = own.rfind(')').map(|end| &own[..end]) else { return false };
        let (wanted, own) = (types(wanted), types(own));
        return wanted.len() == own.len()
            && wanted.iter().zip(&own).all(|(wanted, own)| means(wanted, own));
    }
    let _ = (name, wanted);
    false
}

/// The types of a list, each as demanglers write it.
#[cfg(feature = "demangle")]
fn types(list: &str) -> Vec<String> {
    let mut depth = 0usize;
    let parts = list.split(|c| {
        match c {
            '<' | '(' => depth += 1,
            '>' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    let parts = parts.map(str::trim).filter(|part| !matches!(*part, "" | "void"));
    parts
        .map(|part| {
            let part = part.replace("std::string", "std::basic_string");
            match part.strip_prefix("const ") {
                Some(rest) => {
                    let end = rest.find(['*', '&']).unwrap_or(rest.len());
                    format!("{} const{}", rest[..end].trim_end(), &rest[end..])
                }
                None if part == "unsigned" => "unsigned int".to_owned(),
                None => part,
            }
        })
        .collect()
}

/// How the name of a function begins that no symbol names.
const UNNAMED: &str = "sub_";

/// What a function is called that no symbol names and that begins at an address of its file: `sub_1139`.
#[must_use]
pub fn unnamed(addr: u64) -> String {
    format!("{UNNAMED}{addr:x}")
}

impl SymbolName {
    /// Whether functions may be meant that no symbol names.
    #[must_use]
    pub fn may_be_unnamed(&self) -> bool {
        !matches!(self, SymbolName::Literal(_)) && self.as_str().starts_with(UNNAMED)
    }
}

pub(super) fn is_mangled(name: &str) -> bool {
    name.starts_with("_Z") || name.starts_with("_R")
}

/// What a demangled name has and a program's text has not: namespaces without a name, those of the
/// C++ libraries' versions.
const UNWRITTEN: [&str; 3] = ["(anonymous namespace)::", "__cxx11::", "__1::"];

/// Whether `wanted` is how a person writes `name`, which is demangled. Template and generic
/// arguments may be left out, as may namespaces that are not written and ABI tags; spaces are not
/// compared.
pub(super) fn means(wanted: &str, name: &str) -> bool {
    let (mut w, mut at) = (wanted.trim_start(), 0);
    loop {
        let rest = &name[at..];
        if rest.starts_with(' ') {
            at += 1;
            continue;
        }
        let skipped = left_out(name, at).filter(|&len| !w.starts_with(group_start(rest, len)));
        if let Some(len) = skipped {
            at += len;
            continue;
        }
        let (Some(a), Some(b)) = (w.chars().next(), rest.chars().next()) else {
            return w.is_empty() && rest.is_empty();
        };
        if a != b {
            return false;
        }
        w = w[a.len_utf8()..].trim_start();
        at += b.len_utf8();
    }
}

/// How a part of a name that may be left out begins, when it is written.
fn group_start(rest: &str, len: usize) -> &str {
    match rest.as_bytes() {
        [b'<' | b'[', ..] => &rest[..1],
        [b':', b':', b'<', ..] => "::<",
        _ => &rest[..len],
    }
}

/// How many bytes of `name` from `at` on may be left out.
fn left_out(name: &str, at: usize) -> Option<usize> {
    let rest = &name[at..];
    let before = &name[..at];
    if let Some(part) = UNWRITTEN.iter().find(|part| rest.starts_with(**part)) {
        return Some(part.len());
    }
    if rest.starts_with("[abi:") {
        return rest.find(']').map(|end| end + 1);
    }
    let path = before.is_empty() || before.ends_with("::") || before.ends_with(['(', '<', ' ']);
    let operator = before.ends_with("operator") || before.ends_with("operator<");
    let turbofish = rest.starts_with("::<") && !rest.starts_with("::<impl ");
    // `operator< <int>`
    let last = before.rsplit("::").next().unwrap_or(before);
    let spaced = last.ends_with(' ') && last.starts_with("operator");
    match rest.starts_with('<') && (spaced || !path && !operator) {
        true => arguments(rest),
        false if turbofish => arguments(&rest[2..]).map(|len| len + 2),
        false => None,
    }
}

/// The length of the arguments that `text`, which begins with a `<`, begins with.
fn arguments(text: &str) -> Option<usize> {
    let (mut depth, mut round, mut last) = (0usize, 0usize, b' ');
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => round += 1,
            b')' => round = round.saturating_sub(1),
            b'<' if round == 0 => depth += 1,
            // The arrow of a function's type is no end.
            b'>' if round == 0 && last != b'-' => {
                depth -= 1;
                if depth == 0 {
                    return Some(i + 1);
                }
            }
            _ => {}
        }
        last = byte;
    }
    None
}

/// Whether a pattern without template arguments means `name`, which is demangled.
fn means_many(glob: &Glob, name: &str) -> bool {
    let text = glob.as_str();
    means(text, name) || !text.contains('<') && name.contains('<') && glob.matches(&plain(name))
}

/// A demangled name without all that [`means`] lets a person leave out.
pub(super) fn plain(name: &str) -> String {
    let (mut plain, mut at) = (String::new(), 0);
    while let Some(c) = name[at..].chars().next() {
        match left_out(name, at) {
            Some(len) => at += len,
            None => {
                plain.push(c);
                at += c.len_utf8();
            }
        }
    }
    plain.truncate(plain.trim_end().len());
    plain
}

/// A quick no for most symbols: a mangled name spells its last component out.
fn may_be(mangled: &str, wanted: &str) -> bool {
    // A few names of std are two letters.
    let short = |wanted: &str| {
        let letters = ["Sa", "Sb", "Ss", "Si", "So", "Sd"];
        wanted.contains("std::") && letters.iter().any(|s| mangled.contains(s))
    };
    if !is_mangled(mangled) || wanted.contains("operator") || short(wanted) {
        return is_mangled(mangled);
    }
    let word = |c: char| !(c.is_alphanumeric() || c == '_');
    let plain = wanted.split(['<', '{', '.']).next().unwrap_or(wanted);
    mangled.contains(plain.rsplit(word).next().unwrap_or(plain))
}

/// A C++ or Rust symbol as people write it, without parameters and without hashes; every other
/// name as it is. `.cold` and the like stay behind it.
#[must_use]
pub fn demangled(name: &str) -> Cow<'_, str> {
    #[cfg(feature = "demangle")]
    {
        let (mangled, suffix) = match name.find('.') {
            Some(dot) if name.starts_with("_Z") || name.starts_with("_R") => name.split_at(dot),
            _ => (name, ""),
        };
        if let Ok(rust) = rustc_demangle::try_demangle(name)
            && (name.starts_with("_R") || name.contains("17h"))
        {
            return Cow::Owned(format!("{rust:#}"));
        }
        if mangled.starts_with("_Z")
            && let Ok(symbol) = cpp_demangle::Symbol::new(mangled)
        {
            let options = cpp_demangle::DemangleOptions::new()
                .no_params()
                .no_return_type()
                .hide_expression_literal_types();
            if let Ok(text) = symbol.demangle_with_options(&options) {
                return Cow::Owned(text + suffix);
            }
        }
    }
    Cow::Borrowed(name)
}

/// A symbol's name as one writes it in a PROBE that means it: demangled where that is read back as
/// it is, else literally.
#[must_use]
pub fn written(symbol: &Symbol<'_>) -> String {
    let shown = demangled(symbol.name);
    let suffix = match symbol.version {
        _ if symbol.kind == Kind::Plt => "@plt".to_owned(),
        Some(version) if !symbol.default => format!("@{version}"),
        _ => String::new(),
    };
    match is_plain(&shown) || reads_back(&shown) {
        true => format!("{shown}{suffix}"),
        false => format!("={}", symbol.name),
    }
}

/// Whether a name is a word, as nearly all are.
fn is_plain(name: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
    name.bytes().all(word) && !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty()
}

fn reads_back(name: &str) -> bool {
    Spec::parse(name).is_ok_and(|spec| {
        let whole = matches!(
            &spec.location,
            Location::Symbol { name: read, version: None, offset: Offset::At(0) }
                if read.as_str() == name && !matches!(read, SymbolName::Literal(_))
        );
        whole && spec.object.is_none() && spec.signature.is_none() && spec.when == When::Entry
    })
}

/// Whether `wanted`, a version from a PROBE, means this symbol.
pub(crate) fn version_matches(wanted: Option<&str>, symbol: &Symbol<'_>) -> bool {
    match wanted {
        Some("plt") => symbol.kind == Kind::Plt,
        _ if symbol.kind == Kind::Plt => false,
        None => true,
        Some("") => symbol.default,
        Some(version) => symbol.version == Some(version),
    }
}
