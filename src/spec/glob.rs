//! Shell patterns: `*`, `?`, `[a-z]`, `[!a-z]`.

/// A pattern over whole names. `[]` is itself, so that C++'s `operator[]` can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Char(char),
    One,
    Many,
    Set { not: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    /// Reads a pattern; every text is one.
    #[must_use]
    pub fn new(text: &str) -> Glob {
        let chars: Vec<char> = text.chars().collect();
        let mut parts = Vec::new();
        let mut i = 0;
        while i < chars.len() {
            let (part, used) = match chars[i] {
                '*' => (Part::Many, 1),
                '?' => (Part::One, 1),
                '[' => set(&chars[i..]).unwrap_or((Part::Char('['), 1)),
                c => (Part::Char(c), 1),
            };
            if part != Part::Many || parts.last() != Some(&Part::Many) {
                parts.push(part);
            }
            i += used;
        }
        Glob { text: text.to_owned(), parts }
    }

    /// What matches this text only.
    #[must_use]
    pub fn literal(text: &str) -> Glob {
        Glob { text: text.to_owned(), parts: text.chars().map(Part::Char).collect() }
    }

    /// What matches `folder`, as it is, a `/`, and what the pattern `rest` matches.
    #[must_use]
    pub fn below(folder: &str, rest: &str) -> Glob {
        let mut glob = Glob::literal(&format!("{}/", folder.trim_end_matches('/')));
        let rest = Glob::new(rest);
        glob.text.push_str(&rest.text);
        glob.parts.extend(rest.parts);
        glob
    }

    /// Whether `text` would mean anything but itself.
    #[must_use]
    pub fn is_pattern(text: &str) -> bool {
        Glob::new(text).parts.iter().any(|p| !matches!(p, Part::Char(_)))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it matches every name.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.parts == [Part::Many]
    }

    /// Whether the whole of `name` matches. Time is at most the product of both lengths.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut rest = name.chars();
        let mut part = 0;
        // Where to go on when what followed the last `*` did not match: one character later.
        let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            let here = rest.clone();
            let ok = match (self.parts.get(part), rest.next()) {
                (None, None) => return true,
                (Some(Part::Many), _) => {
                    rest = here.clone();
                    retry = Some((part, here));
                    true
                }
                (Some(Part::One), Some(_)) => true,
                (Some(Part::Char(c)), Some(n)) => *c == n,
                (Some(Part::Set { not, ranges }), Some(n)) => {
                    ranges.iter().any(|&(low, high)| (low..=high).contains(&n)) != *not
                }
                (Some(_), None) => return false,
                (None, Some(_)) => false,
            };
            part += 1;
            if !ok {
                let Some((many, from)) = &mut retry else { return false };
                if from.next().is_none() {
                    return false;
                }
                rest = from.clone();
                part = *many + 1;
            }
        }
    }
}

/// `[…]` at the start of `chars`, and how many of them it takes.
fn set(chars: &[char]) -> Option<(Part, usize)> {
    let not = matches!(chars.get(1), Some('!' | '^'));
    let first = if not { 2 } else { 1 };
    let end = first + chars.get(first..)?.iter().position(|&c| c == ']')?;
    if end == first {
        return None;
    }
    let mut ranges = Vec::new();
    let mut i = first;
    while i < end {
        if i + 2 < end && chars[i + 1] == '-' {
            ranges.push((chars[i], chars[i + 2]));
            i += 3;
        } else {
            ranges.push((chars[i], chars[i]));
            i += 1;
        }
    }
    Some((Part::Set { not, ranges }, end + 1))
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn globs_match_whole_names() {
        for (pattern, name, matches) in [
            ("mem*", "memcpy", true),
            ("mem*", "wmemcpy", false),
            ("*", "", true),
            ("*cpy", "memcpy", true),
            ("*cpy", "memcpy_chk", false),
            ("m?mcpy", "memcpy", true),
            ("m?mcpy", "mmcpy", false),
            ("str[cn]*", "strncmp", true),
            ("str[cn]*", "strlen", false),
            ("str[!cn]*", "strlen", true),
            ("str[a-l]*", "strlen", true),
            ("operator[]", "operator[]", true),
            ("operator[", "operator[", true),
            ("a*b*c*d", "axxbxxcxxd", true),
            ("a*b*c*d", "axxbxxcxx", false),
            ("**a**", "bab", true),
            ("std::*::size", "std::vector<int>::size", true),
            ("é*", "éa", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(name), matches, "{pattern} {name}");
        }
        assert!(Glob::below("/a[1]", "lib*.so").matches("/a[1]/libx.so"));
        assert!(
            Glob::below("/", "lib*").matches("/lib") && !Glob::below("/a", "*").matches("/b/x")
        );
        assert!(!Glob::is_pattern("operator[]"));
        assert!(Glob::new("**").is_everything());
    }

    #[test]
    fn a_hostile_pattern_takes_no_time() {
        let pattern = Glob::new(&"*a".repeat(200));
        assert!(!pattern.matches(&format!("{}b", "a".repeat(5000))));
    }
}
