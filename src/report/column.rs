//! What rows are sorted by, and how many are shown.

use std::cmp::Reverse;

macro_rules! columns {
    ($($name:ident = $text:literal,)*) => {
        /// A column of a report.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum SortColumn {
            $($name,)*
        }

        impl SortColumn {
            /// All of them.
            pub const ALL: &'static [SortColumn] = &[$(SortColumn::$name,)*];

            /// As on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(SortColumn::$name => $text,)* }
            }
        }
    };
}

columns! {
    Hits = "hits",
    Rate = "rate",
    Calls = "calls",
    Errors = "errors",
    Missed = "missed",
    Unfinished = "unfinished",
    Total = "total",
    Own = "self",
    Min = "min",
    Mean = "mean",
    P50 = "p50",
    P90 = "p90",
    P99 = "p99",
    P999 = "p99.9",
    Max = "max",
    Place = "place",
}

/// Returns a text that is before others as people count: each number in it, decimal or behind 0x, is as
/// long as any other, and the digits of a negative one are turned round.
pub(super) fn by_numbers(text: &str) -> String {
    if cfg!(not(feature = "tables")) {
        // Boards have no room for it.
        return text.to_owned();
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let radix = if out.ends_with("0x") { 16 } else { 10 };
        let len = rest.find(|c: char| !c.is_digit(radix)).unwrap_or(rest.len());
        let negative = out.ends_with(" -");
        let (number, behind) = rest.split_at(if len == 0 { next.len_utf8() } else { len });
        if len > 0 {
            (len..LONGEST).for_each(|_| out.push(if negative { '9' } else { '0' }));
        }
        let turned = |c: char| c.to_digit(10).map_or(c, |digit| char::from(b'9' - digit as u8));
        out.extend(number.chars().map(|c| if negative { turned(c) } else { c }));
        rest = behind;
    }
    out
}

/// Digits of the longest number of 64 bits.
const LONGEST: usize = 20;

/// In which order rows are shown, and how many: `--sort` and `--top`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// The biggest first; places in the order of their addresses.
    pub by: SortColumn,
    /// So many at most.
    pub top: Option<usize>,
}

impl Order {
    /// Sorts rows and keeps the first. Those that are equal are in the order of their places.
    pub(super) fn sort<R, P: Ord>(
        self,
        rows: &mut Vec<R>,
        value: impl Fn(&R) -> u64,
        place: impl Fn(&R) -> P,
    ) {
        let value = |row: &R| if self.by == SortColumn::Place { 0 } else { value(row) };
        rows.sort_by_cached_key(|row| (Reverse(value(row)), place(row)));
        rows.truncate(self.top.unwrap_or(usize::MAX));
    }
}

#[cfg(all(test, feature = "tables"))]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_numbers() {
        for row in [
            &["app:f  n: -100", "app:f  n: -20", "app:f  n: -10", "app:f  n: -3", "app:f  n: 0"][..],
            &["app:f  n: 9", "app:f  n: 10", "app:f  n: 18446744073709551615"],
            &["app:f+0x2", "app:f+0xf", "app:f+0x10", "app:f+0x1f", "app:f+0xa0", "app:g+0x1"],
            &["worker-2", "worker-2b", "worker-10", "worker-10a", "worker-é"],
            &["app:f  p: 0x9 a", "app:f  p: 0x10 a", "app:f  p: 0x10 b"],
        ] {
            assert!(row.is_sorted_by_key(|text| by_numbers(text)), "{row:?}");
            let plain = row.is_sorted();
            let keys: Vec<String> = row.iter().map(|text| by_numbers(text)).collect();
            assert!(!plain && keys.windows(2).all(|pair| pair[0] < pair[1]), "{keys:?}");
        }
        assert_eq!(by_numbers(""), "");
    }
}
