//! Sums for each value of something, whose number is not known: a bounded number of values, and
//! the rest in one.

use rustc_hash::FxHashMap;

/// A value as a report has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown<'a> {
    /// For people.
    pub text: &'a str,
    /// As JSON.
    pub json: &'a str,
}

/// What the rest is called.
const OTHERS: Shown<'static> = Shown { text: "others", json: "{\"others\":true}" };

/// Sums by value. The first values that come have sums of their own.
#[derive(Clone, Debug)]
pub struct Keyed<S> {
    /// By JSON, which is another one for each value; with the text.
    sums: FxHashMap<String, (String, S)>,
    others: Option<S>,
}

impl<S> Default for Keyed<S> {
    fn default() -> Keyed<S> {
        Keyed { sums: FxHashMap::default(), others: None }
    }
}

impl<S> Keyed<S> {
    /// The sum of a value, begun if there is none and there is `room`: for so many more values.
    pub fn of(&mut self, value: Shown<'_>, room: &mut usize, begin: impl FnOnce() -> S) -> &mut S {
        if !self.sums.contains_key(value.json) {
            if *room == 0 {
                return self.others.get_or_insert_with(begin);
            }
            *room -= 1;
            let entry = self.sums.entry(value.json.to_owned());
            return &mut entry.or_insert_with(|| (value.text.to_owned(), begin())).1;
        }
        match self.sums.get_mut(value.json) {
            Some((_, sum)) => sum,
            None => self.others.get_or_insert_with(begin),
        }
    }

    /// All of them, in no order; the rest last.
    pub fn iter(&self) -> impl Iterator<Item = (Shown<'_>, &S)> {
        let own = self.sums.iter().map(|(json, (text, sum))| (Shown { text, json }, sum));
        own.chain(self.others.iter().map(|sum| (OTHERS, sum)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_one() {
        let (mut sums, mut room) = (Keyed::default(), 2);
        for word in ["a", "b", "a", "c", "d", "b", "a"] {
            let json = format!("\"{word}\"");
            *sums.of(Shown { text: word, json: &json }, &mut room, || 0) += 1;
        }
        let mut all: Vec<(&str, i32)> =
            sums.iter().map(|(shown, &sum)| (shown.text, sum)).collect();
        assert_eq!(all.last(), Some(&("others", 2)));
        all.sort_unstable();
        assert_eq!(all, [("a", 3), ("b", 2), ("others", 2)]);
    }
}
