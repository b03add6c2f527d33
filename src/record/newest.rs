//! The newest events, in memory: a flight recorder.

use super::pack::{Packed, Packer, Unpacker};
use super::{Moment, Probed, Record};
use std::collections::{HashSet, VecDeque};

/// How long a piece may be.
const PIECE: usize = 64 << 10;

/// So many more calls may have begun than are to be kept.
const SPARE: u64 = 1024;

/// Events that were packed together: they are forgotten together, too.
#[derive(Debug)]
struct Piece {
    bytes: Box<[u8]>,
    /// How many hits and ends of calls, and how many events in all.
    counted: u64,
    all: u64,
}

impl Piece {
    /// The same without the beginnings of calls.
    fn without_beginnings(&self) -> Piece {
        let (mut packer, mut unpacker) = (Packer::default(), Unpacker::new(&self.bytes));
        while let Ok(Some(packed)) = unpacker.next() {
            if let Packed::Event(record) = packed
                && !matches!(record.moment, Moment::Begins(_))
            {
                packer.event(&record);
            }
        }
        Piece { bytes: packer.bytes().into(), counted: self.counted, all: self.counted }
    }
}

/// Keeps the newest events, so many hits and ends of calls, and forgets those before.
///
/// A call whose beginning is forgotten begins when it is told that it has ended.
#[derive(Debug)]
pub struct Newest {
    most: u64,
    pieces: VecDeque<Piece>,
    /// How many of the oldest have no beginnings any more.
    bare: usize,
    packer: Packer,
    /// The same of what is in the packer, and of all that is kept.
    packed: (u64, u64),
    kept: (u64, u64),
    rows: Vec<Option<Probed>>,
    /// Calls whose beginning was told.
    begun: HashSet<u64>,
}

impl Newest {
    /// Keeps so many.
    #[must_use]
    pub fn new(most: u64) -> Newest {
        Newest {
            most,
            pieces: VecDeque::new(),
            bare: 0,
            packer: Packer::default(),
            packed: (0, 0),
            kept: (0, 0),
            rows: Vec::new(),
            begun: HashSet::new(),
        }
    }

    /// Adds an event. What its row is, is asked when that is new.
    pub fn event(&mut self, record: &Record<'_>, probed: impl FnOnce() -> Probed) {
        let row = record.row as usize;
        if row >= self.rows.len() {
            self.rows.resize(row + 1, None);
        }
        self.rows[row].get_or_insert_with(probed);
        self.packer.event(record);
        let counted = u64::from(!matches!(record.moment, Moment::Begins(_)));
        self.packed = (self.packed.0 + counted, self.packed.1 + 1);
        self.kept = (self.kept.0 + counted, self.kept.1 + 1);
        if self.packer.len() >= PIECE || self.packed.1 >= (self.most / 8).max(16) {
            self.end_piece();
        }
    }

    fn end_piece(&mut self) {
        let (counted, all) = std::mem::take(&mut self.packed);
        if all > 0 {
            self.pieces.push_back(Piece { bytes: self.packer.bytes().into(), counted, all });
            self.packer.clear();
        }
        while let Some(first) = self.pieces.front()
            && self.kept.0 - first.counted >= self.most
        {
            self.kept = (self.kept.0 - first.counted, self.kept.1 - first.all);
            self.pieces.pop_front();
            self.bare = self.bare.saturating_sub(1);
        }
        // Calls that have only begun do not take more memory: what is told of their ends is enough.
        while self.kept.1 - self.kept.0 > self.most.saturating_add(SPARE)
            && let Some(piece) = self.pieces.get_mut(self.bare)
        {
            self.kept.1 -= piece.all - piece.counted;
            *piece = piece.without_beginnings();
            match piece.counted {
                0 => drop(self.pieces.remove(self.bare)),
                _ => self.bare += 1,
            }
        }
    }

    /// Tells of them, and forgets them.
    ///
    /// # Errors
    /// What `tell` says.
    pub fn tell<E>(
        &mut self,
        tell: &mut dyn FnMut(&Record<'_>, &Probed) -> Result<(), E>,
    ) -> Result<(), E> {
        self.end_piece();
        let mut too_many = self.kept.0.saturating_sub(self.most);
        (self.kept, self.bare) = ((0, 0), 0);
        for piece in std::mem::take(&mut self.pieces) {
            let mut unpacker = Unpacker::new(&piece.bytes);
            while let Ok(Some(packed)) = unpacker.next() {
                let Packed::Event(record) = packed else { continue };
                if too_many > 0 {
                    too_many -= u64::from(!matches!(record.moment, Moment::Begins(_)));
                    continue;
                }
                let Some(Some(probed)) = self.rows.get(record.row as usize) else { continue };
                match record.moment {
                    Moment::Begins(call) => {
                        self.begun.insert(call);
                    }
                    Moment::Ends(call, _) if !self.begun.remove(&call) => {
                        let since = record.duration_ns.unwrap_or(0);
                        let began = Record {
                            moment: Moment::Begins(call),
                            ts_ns: record.ts_ns.saturating_sub(since),
                            ret: None,
                            errno: None,
                            duration_ns: None,
                            ..record
                        };
                        tell(&began, probed)?;
                    }
                    Moment::Ends(..) | Moment::Hit => {}
                }
                tell(&record, probed)?;
            }
        }
        Ok(())
    }
}
