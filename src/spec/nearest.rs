//! What an unknown name may have meant.

use super::{Location, ObjectName, Spec, SymbolName, demangled};
use crate::symbols::{Kind, Object};
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

/// A sentence for a PROBE that means nothing in any object: which part of it is unknown, and
/// what is near.
#[must_use]
pub fn unknown(spec: &Spec, candidates: &[Candidate<'_>]) -> String {
    let meant: Vec<_> = candidates.iter().filter(|c| spec.may_match(&c.name)).collect();
    let mut sentence = String::new();
    if let (Some(object), []) = (&spec.object, &meant[..]) {
        let _ = write!(sentence, "no object is called '{}'", object.as_str());
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
    let Location::Symbol { name, .. } = &spec.location else {
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
    if !pattern {
        let mut names = Vec::new();
        for candidate in &meant {
            let Ok(symbols) = candidate.object.symbols() else { continue };
            let plain = symbols.iter().filter(|(_, s)| s.kind != Kind::Label);
            let wanted = name.as_str();
            if wanted.contains("::") {
                names.extend(nearest_owned(
                    wanted,
                    plain.map(|(_, s)| demangled(s.name).into_owned()),
                ));
            } else {
                names.extend(nearest(wanted, plain.map(|(_, s)| s.name)));
            }
        }
        let best = nearest(name.as_str(), names.iter().map(String::as_str));
        if let ([one], true) = (&meant[..], best.is_empty())
            && one.object.is_stripped()
        {
            sentence.push_str(
                "; it is stripped: only exported functions have names, others can be probed by \
                 address",
            );
        }
        list(&mut sentence, best);
    }
    sentence
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
