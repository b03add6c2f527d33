//! The grammar of `--where`:
//!
//! ```text
//! filter = all {"||" all}
//! all    = one {"&&" one}
//! one    = "!" one | "(" filter ")" | test
//! test   = name ["&" number] [relation number] | name ("~" | "==" | "!=") text
//!        | name "in" number ".." ["="] number | number relation name [relation number]
//! number = ["-"] digits ["." digits] ["e" digits] [unit] | "0x" hex | "'" character "'"
//!        | "true" | "false" | "NULL"
//! unit   = "ns" | "us" | "ms" | "s"
//! text   = '"' glob '"', a plain text for == and !=
//! ```
//!
//! Alone, a name or a masked name stands for "is not 0". The mask binds tighter than the relation.
//! `in 1..5` is without the 5, `in 1..=5` with it.

use super::literal::{self, Number};
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
    /// The call has failed: `--failed`.
    Failed,
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

impl Where {
    /// Reads a filter.
    ///
    /// # Errors
    /// What is wrong with it, where, and what to try.
    pub fn parse(text: &str) -> Result<Where, SpecError> {
        let mut reader = Reader { text, at: 0, deep: 0 };
        let root = reader.any()?;
        reader.blanks();
        if reader.rest().starts_with(')') {
            return Err(reader.error("this parenthesis was not opened"));
        }
        if reader.at < text.len() {
            return Err(reader.error("&& or || is missing").hint(EXAMPLE));
        }
        Ok(Where { text: text.to_owned(), root })
    }

    /// The filter that only calls pass that have failed, and that pass `and`.
    #[must_use]
    pub fn failed(and: Option<Where>) -> Where {
        match and {
            Some(Where { text, root }) => Where { text, root: Node::All(vec![Node::Failed, root]) },
            None => Where { text: "--failed".to_owned(), root: Node::Failed },
        }
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
            self.test()?
        };
        self.deep -= 1;
        Ok(node)
    }

    fn test(&mut self) -> Result<Node, SpecError> {
        self.blanks();
        if self.rest().starts_with(|c: char| c.is_ascii_digit() || "-'".contains(c)) {
            return self.number_first();
        }
        let start = self.at;
        let name = self.word();
        if name.is_empty() {
            let what = "the name of an argument is missing";
            return Err(self.error(what).hint(EXAMPLE));
        }
        let (name, at) = (name.to_owned(), start..self.at);
        self.blanks();
        let masked = !self.rest().starts_with("&&") && self.takes("&");
        let mask = if masked { Some(self.number()?) } else { None };
        if mask.is_none() && self.takes_word("in") {
            return self.range(name, at);
        }
        self.blanks();
        let relation_at = self.at;
        let relation = self.relation();
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
            let zero = Number::whole(0, at.clone());
            With::Number(Relation::Ne, zero)
        };
        Ok(Node::Test(Test { name, at, mask, with }))
    }

    /// `1 < name`, `1 <= name < 5`.
    fn number_first(&mut self) -> Result<Node, SpecError> {
        let first = self.number()?;
        self.blanks();
        let Some(turned) = self.relation().map(Relation::turned) else {
            let what = "a test begins with a name, or compares a number with one";
            return Err(self.wrong(first.at, what).hint(EXAMPLE));
        };
        self.blanks();
        let start = self.at;
        let name = self.word().to_owned();
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            let what = "the name that the number is compared with is missing";
            let end = self.at.max((start + 1).min(self.text.len()));
            return Err(self.wrong(start..end, what).hint("16 <= size < 4096"));
        }
        let at = start..self.at;
        let test = |relation, number| {
            let with = With::Number(relation, number);
            Node::Test(Test { name: name.clone(), at: at.clone(), mask: None, with })
        };
        self.blanks();
        let then_at = self.at;
        let Some(then) = self.relation() else { return Ok(test(turned, first)) };
        let same_way = match then {
            Relation::Lt | Relation::Le => matches!(turned, Relation::Gt | Relation::Ge),
            Relation::Gt | Relation::Ge => matches!(turned, Relation::Lt | Relation::Le),
            Relation::Eq | Relation::Ne => false,
        };
        if !same_way {
            let what = "the two relations of a range look the same way";
            return Err(self.wrong(then_at..self.at, what).hint("16 <= size < 4096"));
        }
        let last = self.number()?;
        Ok(Node::All(vec![test(turned, first), test(then, last)]))
    }

    /// `1..5` or `1..=5`, behind `name in`.
    fn range(&mut self, name: String, at: Range<usize>) -> Result<Node, SpecError> {
        let low = self.number()?;
        if !self.takes("..") {
            return Err(self.error("a range is written with ..").hint("size in 16..4096"));
        }
        let upto = if self.takes("=") { Relation::Le } else { Relation::Lt };
        let high = self.number()?;
        let test = |relation, number| {
            let with = With::Number(relation, number);
            Node::Test(Test { name: name.clone(), at: at.clone(), mask: None, with })
        };
        Ok(Node::All(vec![test(Relation::Ge, low), test(upto, high)]))
    }

    fn relation(&mut self) -> Option<Relation> {
        const RELATIONS: [(&str, Relation); 6] = [
            ("==", Relation::Eq),
            ("!=", Relation::Ne),
            ("<=", Relation::Le),
            (">=", Relation::Ge),
            ("<", Relation::Lt),
            (">", Relation::Gt),
        ];
        RELATIONS.iter().find(|(text, _)| self.takes(text)).map(|(_, relation)| *relation)
    }

    /// Takes `word` if it is the next whole word.
    fn takes_word(&mut self, word: &str) -> bool {
        self.blanks();
        let before = self.at;
        let is_next = self.word() == word;
        if !is_next {
            self.at = before;
        }
        is_next
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
        match literal::number(self.text, self.at) {
            Ok(number) => {
                self.at = number.at.end;
                Ok(number)
            }
            Err(error) => Err(error.of("the filter")),
        }
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

impl Relation {
    /// What holds of `b` and `a` where this holds of `a` and `b`.
    const fn turned(self) -> Relation {
        match self {
            Relation::Lt => Relation::Gt,
            Relation::Le => Relation::Ge,
            Relation::Gt => Relation::Lt,
            Relation::Ge => Relation::Le,
            same => same,
        }
    }
}
