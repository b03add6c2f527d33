//! JSON, one object a line: written, never read, so that a few lines do.

use std::fmt::{Display, Write};

/// An object being appended to a text.
pub struct Object<'a> {
    out: &'a mut String,
    first: bool,
}

impl<'a> Object<'a> {
    /// Opens one.
    pub fn new(out: &'a mut String) -> Object<'a> {
        out.push('{');
        Object { out, first: true }
    }

    fn key(&mut self, key: &str) {
        if !std::mem::take(&mut self.first) {
            self.out.push(',');
        }
        // Those of the program, and the names of arguments, are words.
        self.out.push('"');
        self.out.push_str(key);
        self.out.push_str("\":");
    }

    /// A number.
    pub fn number(&mut self, key: &str, value: impl Display) {
        self.key(key);
        let _ = write!(self.out, "{value}");
    }

    /// An integer.
    pub fn integer(&mut self, key: &str, value: impl itoa::Integer) {
        self.key(key);
        self.out.push_str(itoa::Buffer::new().format(value));
    }

    /// A string.
    pub fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        string(self.out, value);
    }

    /// A string, or null.
    pub fn text_or_null(&mut self, key: &str, value: Option<&str>) {
        match value {
            Some(value) => self.text(key, value),
            None => self.null(key),
        }
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &str, value: bool) {
        self.number(key, value);
    }

    /// `null`.
    pub fn null(&mut self, key: &str) {
        self.number(key, "null");
    }

    /// An array of strings.
    pub fn texts<'t>(&mut self, key: &str, values: impl Iterator<Item = &'t str>) {
        self.key(key);
        self.out.push('[');
        for (i, value) in values.enumerate() {
            if i > 0 {
                self.out.push(',');
            }
            string(self.out, value);
        }
        self.out.push(']');
    }

    /// What `write` appends, which must be JSON.
    pub fn nested(&mut self, key: &str, write: impl FnOnce(&mut String)) {
        self.key(key);
        write(self.out);
    }

    /// Closes it.
    pub fn end(self) {
        self.out.push('}');
    }
}

/// Appends `text` in quotes (RFC 8259, section 7).
pub fn string(out: &mut String, text: &str) {
    out.push('"');
    let plain = |b: u8| b >= b' ' && b != b'"' && b != b'\\' && b != 0x7f;
    // All of them, and not up to the first: several at a time.
    if text.bytes().fold(true, |all, byte| all & plain(byte)) {
        out.push_str(text);
        out.push('"');
        return;
    }
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' || c == '\u{7f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_json() {
        let mut out = String::new();
        let mut object = Object::new(&mut out);
        object.number("n", -5);
        object.text("s", "a\"b\\c\n\u{1}é\u{1f600}");
        object.text_or_null("none", None);
        object.texts("list", ["x", "y"].into_iter());
        object.nested("empty", |out| Object::new(out).end());
        object.flag("f", true);
        object.end();
        assert_eq!(
            out,
            "{\"n\":-5,\"s\":\"a\\\"b\\\\c\\n\\u0001é\u{1f600}\",\"none\":null,\
             \"list\":[\"x\",\"y\"],\"empty\":{},\"f\":true}"
        );
    }
}
