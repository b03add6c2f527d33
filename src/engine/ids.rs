//! Numbers of sites, consumers and recorders: indices into tables.

/// The number of a site in the table of its address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteId(pub u32);

/// The number of a consumer of hits: the index of its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConsumerId(pub u32);

/// The number of a row of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId(pub u32);

/// The number in a record: which recorder has written it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecorderId(pub u32);

impl RecorderId {
    /// The number in a record that is none: its thread was sent back to make it again.
    pub const EMPTY: RecorderId = RecorderId(u32::MAX);
}

impl SiteId {
    /// Returns its place in the table.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl ConsumerId {
    /// The number of none.
    pub const NONE: ConsumerId = ConsumerId(u32::MAX);

    /// Returns its place among the counters.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}
