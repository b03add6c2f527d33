//! What is wrong with a PROBE, where, and what to try.

use std::fmt;
use std::ops::Range;

/// A PROBE or a filter that cannot be understood. `Display` shows it with a caret under the place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpecError {
    /// What it is.
    pub subject: &'static str,
    /// As the user wrote it.
    pub text: String,
    /// The bytes of it that are wrong.
    pub at: Range<usize>,
    /// What is wrong, a sentence without a full stop.
    pub what: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl SpecError {
    pub(crate) fn new(text: &str, at: Range<usize>, what: impl Into<String>) -> SpecError {
        SpecError { subject: "the probe", text: text.to_owned(), at, what: what.into(), hint: None }
    }

    pub(crate) fn of(mut self, subject: &'static str) -> SpecError {
        self.subject = subject;
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> SpecError {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A line break or a bell in the PROBE would tear the picture apart.
        let shown = |s: &str| s.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let before: String = shown(self.text.get(..self.at.start).unwrap_or_default());
        let text: String = shown(&self.text);
        let width = self.text.get(self.at.clone()).unwrap_or_default().chars().count().max(1);
        let space = before.chars().count();
        writeln!(f, "cannot read {}: {}", self.subject, self.what)?;
        writeln!(f, "    {text}")?;
        write!(f, "    {:space$}{:^<width$}", "", "")?;
        match &self.hint {
            Some(hint) => write!(f, "\n    try {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SpecError {}
