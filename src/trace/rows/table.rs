//! The rows of the report, the consumers of hits, and their counters.

use crate::WhyNotJump;
use crate::engine::RowId;
use crate::engine::{ConsumerId, Counter, Wish};
use crate::trace::rows::consumer::{Calls, Consumer, Row, RowKey, RowState};
use crate::trace::space::objects::FileId;
use crate::trace::space::tally::Tally;
use std::collections::HashMap;
use std::ops::{Index, IndexMut};
use std::rc::Rc;

/// All rows, and whom each hit is for.
#[derive(Debug, Default)]
pub(in crate::trace) struct Rows {
    all: Vec<Row>,
    index: HashMap<RowKey, RowId>,
    consumers: Vec<Consumer>,
    counters: Vec<Counter>,
    /// For each row the consumers of its exits: RETs, jumps that may leave.
    exits: HashMap<RowId, [ConsumerId; 2]>,
    /// Counters that trampolines write.
    pub(in crate::trace) tallies: Vec<Rc<Tally>>,
    /// Records that trampolines found no room for.
    pub(in crate::trace) lost: u64,
    /// Whether any site was ever armed.
    pub(in crate::trace) armed_once: bool,
}

impl Index<RowId> for Rows {
    type Output = Row;

    fn index(&self, row: RowId) -> &Row {
        &self.all[row.0 as usize]
    }
}

impl IndexMut<RowId> for Rows {
    fn index_mut(&mut self, row: RowId) -> &mut Row {
        &mut self.all[row.0 as usize]
    }
}

impl Index<ConsumerId> for Rows {
    type Output = Consumer;

    fn index(&self, consumer: ConsumerId) -> &Consumer {
        &self.consumers[consumer.index()]
    }
}

impl Rows {
    /// Returns all rows in the order in which they were made.
    pub(in crate::trace) fn iter(&self) -> impl DoubleEndedIterator<Item = &Row> {
        self.all.iter()
    }

    /// Returns the row that a key names.
    pub(in crate::trace) fn find(&self, key: &RowKey) -> Option<RowId> {
        self.index.get(key).copied()
    }

    /// Returns the file that a row is about.
    pub(in crate::trace) fn file_of(&self, row: &Row) -> Option<FileId> {
        let is_it = |number: RowId| self[number].consumer == row.consumer;
        self.index.iter().find(|(_, number)| is_it(**number)).map(|((_, file, ..), _)| *file)
    }

    /// Adds a row, which a key names, and its consumer. `make` makes it of the number of the consumer.
    pub(in crate::trace) fn add(
        &mut self,
        key: RowKey,
        is_return: bool,
        make: impl FnOnce(ConsumerId) -> Row,
    ) -> RowId {
        let row = RowId(self.all.len() as u32);
        let kind = if is_return { Consumer::Entered(row) } else { Consumer::Row(row) };
        let consumer = self.add_consumer(kind);
        self.all.push(make(consumer));
        self.index.insert(key, row);
        row
    }

    /// Returns a consumer, if there is one with that number.
    pub(in crate::trace) fn consumer(&self, consumer: ConsumerId) -> Option<&Consumer> {
        self.consumers.get(consumer.index())
    }

    /// Adds a consumer.
    pub(in crate::trace) fn add_consumer(&mut self, consumer: Consumer) -> ConsumerId {
        self.consumers.push(consumer);
        self.counters.push(Counter::default());
        ConsumerId(self.consumers.len() as u32 - 1)
    }

    /// Returns the one consumer of a kind that needs no more than one.
    pub(in crate::trace) fn internal(&mut self, kind: Consumer) -> ConsumerId {
        let same = |c: &Consumer| std::mem::discriminant(c) == std::mem::discriminant(&kind);
        match self.consumers.iter().position(same) {
            Some(i) => ConsumerId(i as u32),
            None => self.add_consumer(kind),
        }
    }

    /// Returns the consumers for the two kinds of exits of a row, made when first asked for.
    pub(in crate::trace) fn exit_consumers(&mut self, row: RowId) -> [ConsumerId; 2] {
        if let Some(&both) = self.exits.get(&row) {
            return both;
        }
        let both = [Consumer::Exit(row), Consumer::Leave(row)].map(|c| self.add_consumer(c));
        self.exits.insert(row, both);
        both
    }

    /// Returns all counters, by the numbers of their consumers.
    pub(in crate::trace) fn counters(&mut self) -> &mut [Counter] {
        &mut self.counters
    }

    /// Returns what was counted of a row.
    pub(in crate::trace) fn counter_of(&self, row: &Row) -> Counter {
        self.counters[row.consumer.index()]
    }

    /// Returns the counter of a row.
    pub(in crate::trace) fn counter(&mut self, row: RowId) -> &mut Counter {
        let consumer = self[row].consumer;
        &mut self.counters[consumer.index()]
    }

    /// Counts a hit of a row that cannot be told.
    pub(in crate::trace) fn missed(&mut self, row: Option<RowId>) {
        if let Some(row) = row {
            self.counter(row).missed += 1;
        }
    }

    /// Returns how a site of this consumer is to be executed, where the user has this wish.
    pub(in crate::trace) fn wish_of(&self, consumer: ConsumerId, wish: Wish) -> Wish {
        match self.consumer(consumer) {
            // A trap behind the copy of a call that sets SIGTRAP's action would come before that is
            // known.
            Some(Consumer::AnyCall | Consumer::SettingAction) => Wish::Auto,
            _ => wish,
        }
    }

    /// Notes what became of a consumer's site, for its row.
    pub(in crate::trace) fn set_state(&mut self, consumer: ConsumerId, state: RowState) {
        let (Consumer::Row(row) | Consumer::Entered(row)) = self[consumer] else { return };
        self.armed_once |= matches!(state, RowState::Armed(_));
        let row = &mut self[row];
        // Armed in one process is armed.
        if !matches!((row.state, state), (RowState::Armed(_), RowState::Rejected(_))) {
            row.state = state;
        }
    }

    /// Notes why a consumer's site is no jump, for its row; of ends of calls, until all of them are.
    pub(in crate::trace) fn set_no_jump(&mut self, consumer: ConsumerId, why: Option<WhyNotJump>) {
        let kind = &self.consumers[consumer.index()];
        if let &(Consumer::Row(row) | Consumer::Entered(row) | Consumer::Exit(row)) = kind {
            let row = &mut self.all[row.0 as usize];
            row.no_jump = match kind {
                Consumer::Row(_) => why,
                Consumer::Entered(_) => why.or(row.no_jump),
                _ => {
                    let lasting = row.no_jump.filter(|why| !why.may_pass());
                    lasting.or(why.map(|_| WhyNotJump::NotAllExits)).or(row.no_jump)
                }
            };
        }
    }

    /// Puts the consumers of a site into the order in which they are told, each behind those before it of the
    /// same turn. By insertion: they are few, and mostly in order.
    pub(in crate::trace) fn in_turn(&self, consumers: &mut [ConsumerId]) {
        let turn = |consumer: ConsumerId| self[consumer].turn();
        for last in 1..consumers.len() {
            let own = turn(consumers[last]);
            let from = consumers[..last].partition_point(|&before| turn(before) <= own);
            consumers[from..=last].rotate_right(1);
        }
    }

    /// Returns whether a row is about functions that Go has compiled.
    pub(in crate::trace) fn is_go(&self, row: RowId) -> bool {
        self[row].calls == Calls::Go
    }

    /// Reads what trampolines have counted. Memory that no address space has any more is let go.
    pub(in crate::trace) fn read_tallies(&mut self) {
        if !cfg!(feature = "jump") {
            return;
        }
        let Rows { all, consumers, counters, tallies, lost, .. } = self;
        for tally in &*tallies {
            tally.pass_on(&mut |told, missed, more| {
                *lost = lost.wrapping_add(if missed { more } else { 0 });
                for &consumer in told {
                    // The ends of a call are counted by its row.
                    let counter = match consumers.get(consumer.index()) {
                        Some(&Consumer::Exit(row)) => all[row.0 as usize].consumer,
                        _ => consumer,
                    };
                    let Some(counter) = counters.get_mut(counter.index()) else { continue };
                    let count = if missed { &mut counter.missed } else { &mut counter.hits };
                    *count = count.wrapping_add(more);
                }
            });
        }
        tallies.retain(|tally| Rc::strong_count(tally) > 1);
    }

    /// Returns how many records have found no room so far.
    pub(in crate::trace) fn missed_records(&mut self) -> u64 {
        self.read_tallies();
        self.lost
    }
}
