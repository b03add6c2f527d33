//! What an unknown name may have meant.

use super::names::{is_mangled, plain as bare};
use super::{Location, ObjectName, Spec, SymbolName, demangled, written};
use crate::symbols::{Kind, Object, Origin};
use std::fmt::Write;

/// An object that was looked through in vain.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// What it is called.
    pub name: ObjectName<'a>,
    /// What it holds.
    pub object: &'a Object,
}

/// How many names are proposed.
const NAMES: usize = 4;

/// A sentence for a PROBE that means nothing in any object: which part of it is unknown, where the
/// function may be, and what is near.
#[must_use]
pub fn unknown(spec: &Spec, candidates: &[Candidate<'_>]) -> String {
    let (meant, others): (Vec<_>, Vec<_>) =
        candidates.iter().partition(|c: &&Candidate<'_>| spec.may_match(&c.name));
    let mut sentence = String::new();
    if let (Some(object), []) = (&spec.object, &meant[..]) {
        let _ = write!(sentence, "no object is called '{}'", object.as_str());
        if elsewhere(&mut sentence, spec, &meant, &others) {
            return sentence;
        }
        let names: Vec<_> = candidates.iter().map(|c| c.name.file_name()).collect();
        let near = nearest(object.as_str(), names.iter().copied());
        list(
            &mut sentence,
            if near.is_empty() {
                names.into_iter().map(str::to_owned).take(NAMES).collect()
            } else {
                near
            },
        );
        return sentence;
    }
    let Location::Symbol { name, version, .. } = &spec.location else {
        let _ = write!(sentence, "nothing is there");
        return sentence;
    };
    let pattern = matches!(name, SymbolName::Glob(_));
    let verb = if pattern { "matches" } else { "is called" };
    let _ = write!(sentence, "no function {verb} '{}'", name.as_str());
    match &meant[..] {
        [one] => drop(write!(sentence, " in {}", one.name.file_name())),
        many => drop(write!(sentence, " in {} objects", many.len())),
    }
    // What is stripped has functions all the same.
    if let ([one], true) = (&meant[..], pattern)
        && let Ok(symbols) = one.object.symbols()
        && let count @ 1.. = symbols.unnamed().count()
        && !symbols.iter().any(|(_, s)| matches!(s.kind, Kind::Function | Kind::Ifunc))
    {
        let object = one.name.file_name();
        let _ = write!(
            sentence,
            "; it is stripped: write '{object}:sub_*' for its {count} functions that have no name"
        );
        return sentence;
    }
    let of_version = version.as_deref().is_some_and(|v| !v.is_empty() && v != "plt");
    if of_version && versions(&mut sentence, name, &meant)
        || clones(&mut sentence, name, &meant)
        || elsewhere(&mut sentence, spec, &meant, &others)
        || pattern
    {
        return sentence;
    }
    if meant.iter().any(|c| c.object.source_has(last_of(name.as_str()))) {
        sentence.push_str(
            "; its source has that name: if it is a function's, its calls are inlined, and it has no \
             code of its own; probe the function that calls it",
        );
    }
    let best = near_functions(name.as_str(), &meant);
    if let ([one], true) = (&meant[..], best.is_empty())
        && one.object.symbols().is_ok_and(|s| s.origin == Origin::Exported)
    {
        sentence.push_str(
            "; it is stripped: only exported functions have names. A debug file of the same \
             build has the others (--debug-dir DIR), or they can be probed by address",
        );
    }
    list(&mut sentence, best);
    sentence
}

/// The functions that have the name with a suffix: what the compiler has made of one.
fn clones(sentence: &mut String, name: &SymbolName, meant: &[&Candidate<'_>]) -> bool {
    let wanted = name.as_str();
    let mut found: Vec<String> = Vec::new();
    for candidate in meant {
        let Ok(symbols) = candidate.object.symbols() else { continue };
        for (_, symbol) in symbols.iter().filter(|(_, s)| s.kind != Kind::Label) {
            let Some(dot) = symbol.name.find('.').filter(|&dot| dot > 0) else { continue };
            // What is left is only a part of the function.
            let piece = symbol.name.ends_with(".cold");
            if !piece && name.matches(&symbol.name[..dot]) && found.len() < NAMES {
                found.push(written(&symbol));
            }
        }
    }
    found.dedup();
    if !found.is_empty() {
        let what = "; the compiler has made of it";
        let _ = write!(sentence, "{what} {}: write '{wanted}.*'", found.join(", "));
    }
    !found.is_empty()
}

/// The versions that there are of a function, where another was asked for.
fn versions(sentence: &mut String, name: &SymbolName, meant: &[&Candidate<'_>]) -> bool {
    let mut found: Vec<String> = Vec::new();
    for candidate in meant {
        let Ok(symbols) = candidate.object.symbols() else { continue };
        let named = symbols.iter().filter(|(_, s)| s.kind != Kind::Plt && name.matches(s.name));
        found.extend(named.filter_map(|(_, s)| Some(format!("{}@{}", s.name, s.version?))));
    }
    found.sort_unstable();
    found.dedup();
    found.truncate(NAMES);
    if !found.is_empty() {
        let _ = write!(sentence, " in that version; there is {}", found.join(", "));
    }
    !found.is_empty()
}

/// In which other object the function is, or that this one only calls it.
fn elsewhere(
    sentence: &mut String,
    spec: &Spec,
    meant: &[&Candidate<'_>],
    others: &[&Candidate<'_>],
) -> bool {
    let Location::Symbol { name, .. } = &spec.location else { return false };
    let shown = name.as_str();
    let has = |object: &Object, kind: &dyn Fn(Kind) -> bool| {
        let symbols = object.symbols();
        symbols.is_ok_and(|all| all.iter().any(|(_, s)| kind(s.kind) && name.matches(s.name)))
    };
    let function = |kind| matches!(kind, Kind::Function | Kind::Ifunc);
    let found = others.iter().find(|c| has(c.object, &function));
    let calls = meant.iter().find(|c| has(c.object, &|kind| kind == Kind::Plt));
    let imports = || meant.iter().any(|c| c.object.got_slots(shown).is_ok_and(|s| !s.is_empty()));
    let stub = calls.map(|c| format!("'{}:{shown}@plt'", c.name.file_name()));
    let other = found.map(|c| format!("'{}:{shown}'", c.name.file_name()));
    match (&other, &stub) {
        (Some(other), _) => {
            let file = found.map_or("", |c| c.name.file_name());
            let _ = write!(sentence, "; it is in {file}: write {other}");
        }
        (None, Some(_)) => drop(write!(sentence, "; it calls that of a library: write '{shown}'")),
        (None, None) if imports() => {
            let _ = write!(sentence, "; it calls that of a library: write '{shown}', or LIBRARY:");
            let _ = write!(sentence, "{shown} (libc:{shown}, if it is in libc)");
        }
        _ => return false,
    }
    if let Some(stub) = &stub {
        let file = calls.map_or("", |c| c.name.file_name());
        let _ = write!(sentence, ", or {stub} for the calls that {file} makes");
    }
    true
}

/// Names like the one that is wanted: those of the same function elsewhere or with arguments, then
/// those that are spelled alike.
fn near_functions(wanted: &str, meant: &[&Candidate<'_>]) -> Vec<String> {
    let last = last_of(wanted);
    let (mut same, mut names) = (Vec::new(), Vec::new());
    for candidate in meant {
        let Ok(symbols) = candidate.object.symbols() else { continue };
        let plain = || symbols.iter().filter(|(_, s)| s.kind != Kind::Label);
        let mangled = plain().filter(|(_, s)| is_mangled(s.name) && s.name.contains(last));
        let shown = mangled.map(|(_, s)| demangled(s.name).into_owned());
        same.extend(shown.filter(|shown| last_of(&bare(shown)) == last).take(2 * NAMES));
        if wanted.contains("::") {
            names.extend(nearest_owned(wanted, plain().map(|(_, s)| demangled(s.name).into())));
        } else {
            names.extend(nearest(wanted, plain().map(|(_, s)| s.name)));
        }
    }
    same.sort_unstable_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    same.dedup();
    if same.is_empty() {
        return nearest(wanted, names.iter().map(String::as_str));
    }
    same.truncate(NAMES);
    same
}

/// The last component of a C++ or Rust name.
fn last_of(name: &str) -> &str {
    name.rsplit("::").next().unwrap_or(name)
}

fn list(sentence: &mut String, names: Vec<String>) {
    for (i, name) in names.iter().enumerate() {
        let _ = write!(sentence, "{}{name}", if i == 0 { "; near: " } else { ", " });
    }
}

fn nearest_owned(wanted: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    let names: Vec<String> = names.collect();
    nearest(wanted, names.iter().map(String::as_str))
}

/// The few names nearest to `wanted`, best first; none where nothing is near.
pub(crate) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let limit = (wanted.chars().count() / 3).clamp(1, 4);
    let mut best: Vec<(usize, &str)> = Vec::new();
    let lower = wanted.to_lowercase();
    for name in names {
        let mut score = distance(wanted, name, limit);
        let other_case = wanted.len() == name.len() && lower == name.to_lowercase();
        let bare = |n: &str| n.trim_matches('_').to_owned();
        if score.is_none() && (other_case || bare(name) == bare(wanted)) {
            score = Some(1);
        }
        let Some(score) = score else { continue };
        if best.iter().any(|b| b.1 == name) {
            continue;
        }
        let at = best.partition_point(|b| *b <= (score, name));
        best.insert(at, (score, name));
        best.truncate(NAMES);
    }
    best.into_iter().map(|(_, name)| name.to_owned()).collect()
}

/// How many letters must be put in, taken out, changed or swapped with their neighbour; `None`
/// if more than `limit`.
fn distance(a: &str, b: &str, limit: usize) -> Option<usize> {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len().abs_diff(b.len()) > limit || b.len() > 200 {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        if row.iter().min().is_some_and(|&m| m > limit) {
            return None;
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().filter(|&d| d <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_come_nearest_first() {
        let names = ["malloc", "mallopt", "calloc", "free", "__malloc_hook", "Malloc"];
        assert_eq!(nearest("maloc", names.into_iter())[0], "malloc");
        assert_eq!(nearest("mallco", names.into_iter())[0], "malloc");
        assert_eq!(nearest("MALLOC", names.into_iter()), ["Malloc", "malloc"]);
        assert!(nearest("zzzzzz", names.into_iter()).is_empty());
        assert_eq!(distance("ab", "ba", 2), Some(1));
        assert_eq!(distance("kitten", "sitting", 3), Some(3));
    }
}
