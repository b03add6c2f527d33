//! A recording, read.

use super::block::{self, HEAD, Kind};
use super::numbers::{Eyes, Wrong};
use super::pack::{Packed, Unpacker};
use super::{Gaps, Probed, Record, Recorded};
use rustc_hash::FxHashMap;
use std::fmt;
use std::io::{self, Read};

/// Why something is no recording, or not all of it can be told.
#[derive(Debug)]
#[non_exhaustive]
pub enum RecordError {
    /// It begins as no recording does.
    Other,
    /// It is of a later version.
    Later(u32),
    /// The block that begins at this byte is not what was written.
    Damaged(u64),
    /// It cannot be read.
    Io(io::Error),
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::Other => {
                f.write_str("it is no recording: `xol trace -o FILE --format record` writes one")
            }
            RecordError::Later(version) => write!(
                f,
                "a later xol has written it, in version {version} of the format, and this one reads \
                 versions up to {}: show it with that xol",
                block::VERSION
            ),
            RecordError::Damaged(at) => write!(
                f,
                "the block at byte {at} is damaged: what comes before it was told, and nothing behind \
                 it can be; was it copied as a text, or the disk full?"
            ),
            RecordError::Io(error) => write!(f, "it cannot be read: {error}"),
        }
    }
}

impl std::error::Error for RecordError {}

/// What a recording tells.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// An event, and what its row is.
    Event(&'a Record<'a>, &'a Probed),
    /// Nothing had happened for a moment at this time, in ns of CLOCK_MONOTONIC.
    Pause(u64),
}

/// How a recording ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With its run.
    Whole(Gaps),
    /// Before its run: behind a block, or in the middle of one.
    Cut,
}

/// Reads a recording.
#[derive(Debug)]
pub struct Player<R> {
    from: R,
    /// How many bytes and blocks are read.
    at: u64,
    blocks: u64,
    block: Vec<u8>,
    run: Recorded,
    rows: FxHashMap<u32, Probed>,
}

impl<R: Read> Player<R> {
    /// Reads what a recording begins with: `None` where it ends before that.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn new(mut from: R) -> Result<Option<Player<R>>, RecordError> {
        let mut head = [0; HEAD];
        let have = read_up_to(&mut from, &mut head)?;
        if have < HEAD {
            let begun = block::file_head().starts_with(&head[..have]);
            return if begun { Ok(None) } else { Err(RecordError::Other) };
        }
        match block::version(&head) {
            Some(block::VERSION) => {}
            Some(version) => return Err(RecordError::Later(version)),
            None => return Err(RecordError::Other),
        }
        let mut player = Player {
            from,
            at: HEAD as u64,
            blocks: 0,
            block: Vec::new(),
            run: Recorded::default(),
            rows: FxHashMap::default(),
        };
        let at = player.at;
        let run = match player.next_block()? {
            None => return Ok(None),
            Some(kind) if kind == Kind::Run as u16 => Recorded::read(&mut Eyes(&player.block)),
            Some(_) => Err(Wrong),
        };
        player.run = run.map_err(|Wrong| RecordError::Damaged(at))?;
        Ok(Some(player))
    }

    /// What is known of the run.
    #[must_use]
    pub fn run(&self) -> &Recorded {
        &self.run
    }

    /// Tells all, up to the end or until `tell` says that it is enough: then there is no end.
    ///
    /// # Errors
    /// See [`RecordError`]; what comes before was told.
    pub fn play(
        &mut self,
        tell: &mut dyn FnMut(Told<'_>) -> bool,
    ) -> Result<Option<Ended>, RecordError> {
        loop {
            let at = self.at;
            let damaged = |Wrong| RecordError::Damaged(at);
            let Some(kind) = self.next_block()? else { return Ok(Some(Ended::Cut)) };
            if kind == Kind::Rows as u16 {
                self.read_rows().map_err(damaged)?;
            } else if kind == Kind::Events as u16 {
                if !self.tell_block(tell).map_err(damaged)? {
                    return Ok(None);
                }
            } else if kind == Kind::End as u16 {
                let gaps = Gaps::read(&mut Eyes(&self.block)).map_err(damaged)?;
                if read_up_to(&mut self.from, &mut [0])? > 0 {
                    return Err(RecordError::Damaged(self.at));
                }
                return Ok(Some(Ended::Whole(gaps)));
            } else if kind == Kind::Run as u16 {
                return Err(RecordError::Damaged(at));
            }
        }
    }

    fn tell_block(&self, tell: &mut dyn FnMut(Told<'_>) -> bool) -> Result<bool, Wrong> {
        let mut unpacker = Unpacker::new(&self.block);
        while let Some(packed) = unpacker.next()? {
            let more = match packed {
                Packed::Pause(now) => tell(Told::Pause(now)),
                Packed::Event(record) => {
                    tell(Told::Event(&record, self.rows.get(&record.row).ok_or(Wrong)?))
                }
            };
            if !more {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn read_rows(&mut self) -> Result<(), Wrong> {
        let mut eyes = Eyes(&self.block);
        while !eyes.0.is_empty() {
            let number = eyes.small()?;
            let probed = Probed::read(&mut eyes)?;
            if probed.probe >= self.run.probes.len() || self.rows.insert(number, probed).is_some() {
                return Err(Wrong);
            }
        }
        Ok(())
    }

    /// Reads a block whole. Returns its kind; `None` where it ends before.
    fn next_block(&mut self) -> Result<Option<u16>, RecordError> {
        let damaged = RecordError::Damaged(self.at);
        let mut head = [0; HEAD];
        if read_up_to(&mut self.from, &mut head)? < HEAD {
            return Ok(None);
        }
        let Some((len, kind, sum)) = block::read_head(&head) else { return Err(damaged) };
        self.block.clear();
        let read = (&mut self.from).take(len as u64).read_to_end(&mut self.block);
        if read.map_err(RecordError::Io)? < len {
            return Ok(None);
        }
        if block::checksum(kind, &self.block, self.blocks) != sum {
            return Err(damaged);
        }
        self.at += (HEAD + len) as u64;
        self.blocks += 1;
        Ok(Some(kind))
    }
}

/// Fills `room` as far as there is something. Returns how far.
fn read_up_to(from: &mut impl Read, room: &mut [u8]) -> Result<usize, RecordError> {
    let mut have = 0;
    while have < room.len() {
        match from.read(&mut room[have..]) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(RecordError::Io(error)),
        }
    }
    Ok(have)
}

/// The bytes of a recording, with the heads that blocks of these bytes would have: what is wrong in them
/// is then found where they are read. For checks of that.
#[must_use]
pub fn resealed(bytes: &[u8]) -> Vec<u8> {
    let mut sealed = block::file_head().to_vec();
    let mut rest = bytes.get(HEAD..).unwrap_or_default();
    let mut index = 0;
    while let Some((head, behind)) = rest.split_first_chunk::<HEAD>() {
        let len = usize::from(u16::from_le_bytes([head[0], head[1]])).min(behind.len());
        let (block, next) = behind.split_at(len);
        let kind = u16::from_le_bytes([head[4], head[5]]);
        sealed.extend(block::head_of(kind, block, index));
        sealed.extend(block);
        (rest, index) = (next, index + 1);
    }
    sealed
}
