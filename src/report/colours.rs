//! Colours on a terminal.

/// Whether lines are coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Colours(pub bool);

impl Colours {
    /// What `write` appends, in the colour of names.
    pub(super) fn name(self, out: &mut String, write: impl FnOnce(&mut String)) {
        self.within(out, "\x1b[36m", write);
    }

    /// What `write` appends, less bright.
    pub(super) fn dim(self, out: &mut String, write: impl FnOnce(&mut String)) {
        self.within(out, "\x1b[2m", write);
    }

    /// What `write` appends, in the colour of failures if it is one.
    pub(super) fn bad(self, out: &mut String, is_bad: bool, write: impl FnOnce(&mut String)) {
        Colours(self.0 && is_bad).within(out, "\x1b[31m", write);
    }

    /// What `write` appends, in one of five colours that a thread has by its number.
    pub(super) fn thread(self, out: &mut String, tid: i32, write: impl FnOnce(&mut String)) {
        const EACH: [&str; 5] = ["\x1b[33m", "\x1b[32m", "\x1b[35m", "\x1b[34m", "\x1b[37m"];
        self.within(out, EACH[tid.unsigned_abs() as usize % EACH.len()], write);
    }

    fn within(self, out: &mut String, begin: &str, write: impl FnOnce(&mut String)) {
        if !self.0 {
            return write(out);
        }
        out.push_str(begin);
        let before = out.len();
        write(out);
        if out.len() == before {
            out.truncate(before - begin.len());
        } else {
            out.push_str("\x1b[0m");
        }
    }
}
