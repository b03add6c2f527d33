//! The grammar of `--where`:
//!
//! ```text
//! filter = all {"||" all}
//! all    = one {"&&" one}
//! one    = "!" one | "(" filter ")" | test
//! test   = name ["&" number] [relation number] | name ("~" | "==" | "!=") text
//! number = ["-"] digits | "0x" hex | "'" character "'" | "true" | "false" | "NULL"
//! text   = '"' glob '"', a plain text for == and !=
//! ```
//!
//! Alone, a name or a masked name stands for "is not 0". The mask binds tighter than the relation.

use super::{Glob, SpecError};
use std::ops::Range;

const EXAMPLE: &str = "flags & 0x40 != 0 && path ~ \"/etc/*\"";
/// How deep parentheses and `!` go.
const DEEP: usize = 32;

/// A filter as it was written. What its names mean the signature says: see [`Where::bind`].
///
/// [`Where::bind`]: super::Where::bind
#[derive(Clone, Debug, PartialEq)]
pub struct Where {
    pub(super) text: String,
    pub(super) root: Node,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Test(Test),
}

/// One comparison, with the places of its parts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Test {
    pub(super) name: String,
    pub(super) at: Range<usize>,
    pub(super) mask: Option<Number>,
    pub(super) with: With,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum With {
    Number(Relation, Number),
    /// Whether it must match (`~`, `==`), and what.
    Text(bool, Glob, Range<usize>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// A number, and how it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) value: i128,
    pub(super) hex: bool,
    pub(super) at: Range<usize>,
}

impl Where {
    /// Reads a filter.
    ///
    /// # Errors
    /// What is wrong with it, where, and what to try.
    pub fn parse(text: &str) -> Result<Where, SpecError> {
        let mut reader = Reader { text, at: 0, deep: 0 };
        let root = reader.any()?;
        reader.blanks();
        if reader.at < text.len() {
            return Err(reader.error("&& or || is missing").hint(EXAMPLE));
        }
        Ok(Where { text: text.to_owned(), root })
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    deep: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Takes `word` if it is next.
    fn takes(&mut self, word: &str) -> bool {
        self.blanks();
        let is_next = self.rest().starts_with(word);
        self.at += if is_next { word.len() } else { 0 };
        is_next
    }

    /// What is wrong with what is next.
    fn error(&self, what: &str) -> SpecError {
        let end = self.rest().char_indices().nth(1).map_or(self.text.len(), |(n, _)| self.at + n);
        self.wrong(self.at..end, what)
    }

    fn wrong(&self, at: Range<usize>, what: impl Into<String>) -> SpecError {
        SpecError::new(self.text, at, what).of("the filter")
    }

    fn any(&mut self) -> Result<Node, SpecError> {
        let mut parts = vec![self.all()?];
        while self.takes("||") {
            parts.push(self.all()?);
        }
        Ok(one_or(parts, Node::Any))
    }

    fn all(&mut self) -> Result<Node, SpecError> {
        let mut parts = vec![self.one()?];
        while self.takes("&&") {
            parts.push(self.one()?);
        }
        Ok(one_or(parts, Node::All))
    }

    fn one(&mut self) -> Result<Node, SpecError> {
        self.deep += 1;
        if self.deep > DEEP {
            return Err(self.error("this goes too deep"));
        }
        let node = if self.takes("!") {
            Node::Not(Box::new(self.one()?))
        } else if self.takes("(") {
            let open = self.at - 1;
            let node = self.any()?;
            if !self.takes(")") {
                return Err(self.wrong(open..open + 1, "this parenthesis is not closed"));
            }
            node
        } else {
            Node::Test(self.test()?)
        };
        self.deep -= 1;
        Ok(node)
    }

    fn test(&mut self) -> Result<Test, SpecError> {
        self.blanks();
        let start = self.at;
        let name = self.word();
        if name.is_empty() {
            let what = "the name of an argument is missing";
            return Err(self.error(what).hint(EXAMPLE));
        }
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            let what = "a test begins with the name of an argument";
            return Err(self.wrong(start..self.at, what).hint(EXAMPLE));
        }
        let (name, at) = (name.to_owned(), start..self.at);
        self.blanks();
        let masked = !self.rest().starts_with("&&") && self.takes("&");
        let mask = if masked { Some(self.number()?) } else { None };
        const RELATIONS: [(&str, Relation); 6] = [
            ("==", Relation::Eq),
            ("!=", Relation::Ne),
            ("<=", Relation::Le),
            (">=", Relation::Ge),
            ("<", Relation::Lt),
            (">", Relation::Gt),
        ];
        self.blanks();
        let relation_at = self.at;
        let relation = RELATIONS.iter().find(|(text, _)| self.takes(text)).map(|(_, r)| *r);
        let like = relation.is_none() && self.takes("~");
        let not = matches!(relation, Some(Relation::Ne));
        self.blanks();
        let with = if like || self.rest().starts_with('"') && relation.is_some() {
            let equal = matches!(relation, Some(Relation::Eq | Relation::Ne));
            if mask.is_some() || !like && !equal {
                let what = "a text is compared with ~, == or !=";
                return Err(self.wrong(relation_at..self.at, what));
            }
            let (text, at) = self.quoted()?;
            let glob = if like { Glob::new(&text) } else { Glob::literal(&text) };
            With::Text(!not, glob, at)
        } else if let Some(relation) = relation {
            With::Number(relation, self.number()?)
        } else {
            if self.rest().starts_with('=') {
                return Err(self.error("equal is written ==").hint("=="));
            }
            let zero = Number { value: 0, hex: false, at: at.clone() };
            With::Number(Relation::Ne, zero)
        };
        Ok(Test { name, at, mask, with })
    }

    /// Letters, digits and `_`.
    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    fn number(&mut self) -> Result<Number, SpecError> {
        self.blanks();
        let start = self.at;
        if self.takes("'") {
            let character = self.rest().chars().next().filter(|c| c.is_ascii());
            self.at += usize::from(character.is_some());
            return match character {
                Some(c) if self.takes("'") => {
                    Ok(Number { value: (c as u8).into(), hex: false, at: start..self.at })
                }
                _ => Err(self.wrong(start..self.at, "a character is written like 'x'")),
            };
        }
        let minus = self.takes("-");
        let word = self.word();
        let at = start..self.at;
        let (value, hex) = match word {
            "" => {
                let what = "a number is missing";
                return Err(self.error(what).hint("12, -1, 0x1f, 'x', true, false or NULL"));
            }
            "true" => (Some(1), false),
            "false" | "NULL" => (Some(0), false),
            _ => match word.strip_prefix("0x") {
                Some(digits) => (u64::from_str_radix(digits, 16).ok().map(i128::from), true),
                None => (word.parse::<u64>().ok().map(i128::from), false),
            },
        };
        let Some(value) = value else {
            let what = format!("'{word}' is not a number");
            let hint = "a name stands left of what it is compared with";
            return Err(self.wrong(at, what).hint(hint));
        };
        Ok(Number { value: if minus { -value } else { value }, hex, at })
    }

    fn quoted(&mut self) -> Result<(String, Range<usize>), SpecError> {
        self.blanks();
        let start = self.at;
        if !self.takes("\"") {
            return Err(self.error("a text in quotes is missing").hint("\"/etc/*\""));
        }
        let Some(len) = self.rest().find('"') else {
            return Err(self.wrong(start..self.text.len(), "this text is not closed by \""));
        };
        let text = self.rest()[..len].to_owned();
        self.at += len + 1;
        Ok((text, start..self.at))
    }
}

fn one_or(mut parts: Vec<Node>, all: fn(Vec<Node>) -> Node) -> Node {
    match (parts.len(), parts.pop()) {
        (1, Some(one)) => one,
        (_, last) => {
            parts.extend(last);
            all(parts)
        }
    }
}
