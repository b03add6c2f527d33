//! Which object and which symbol a name means.

use super::Glob;
use crate::symbols::Symbol;
use std::borrow::Cow;

/// What an object is called.
#[derive(Clone, Copy, Debug)]
pub struct ObjectName<'a> {
    /// The path it was mapped from or opened by.
    pub path: &'a str,
    /// Its DT_SONAME.
    pub soname: Option<&'a str>,
    /// Whether it is the program itself, not a library of it.
    pub program: bool,
}

impl ObjectName<'_> {
    /// The last component of the path: what reports call the object.
    #[must_use]
    pub fn file_name(&self) -> &str {
        let path = self.path.strip_suffix(" (deleted)").unwrap_or(self.path);
        path.rsplit('/').next().unwrap_or(path)
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
            return self.glob.matches(path) || (self.literal && same_file(text, path));
        }
        let names = [Some(name.file_name()), name.soname];
        names
            .into_iter()
            .flatten()
            .any(|n| self.glob.matches(n) || (self.literal && without_version(n, text)))
    }
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
                wanted == name || (may_be(name, wanted) && demangled(name) == *wanted)
            }
            SymbolName::Glob(glob) => {
                glob.matches(name) || (is_mangled(name) && glob.matches(&demangled(name)))
            }
        }
    }
}

fn is_mangled(name: &str) -> bool {
    name.starts_with("_Z") || name.starts_with("_R")
}

/// A quick no for most symbols: a mangled name spells its last component out.
fn may_be(mangled: &str, wanted: &str) -> bool {
    if !is_mangled(mangled) || wanted.contains("operator") {
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

/// Whether `wanted`, a version from a PROBE, means this symbol.
pub(crate) fn version_matches(wanted: Option<&str>, symbol: &Symbol<'_>) -> bool {
    use crate::symbols::Kind;
    match wanted {
        Some("plt") => symbol.kind == Kind::Plt,
        _ if symbol.kind == Kind::Plt => false,
        None => true,
        Some("") => symbol.default,
        Some(version) => symbol.version == Some(version),
    }
}
