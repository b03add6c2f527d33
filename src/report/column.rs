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
