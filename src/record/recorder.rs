//! A recording, written.

use super::block::{FULL, Kind, block_head, file_head};
use super::numbers::Pen;
use super::pack::Packer;
use super::{Gaps, Moment, Probed, Record, Recorded};
use std::io::{self, Write};

/// Writes a recording, a block at a time.
#[derive(Debug)]
pub struct Recorder<W> {
    to: W,
    /// How many blocks are written.
    blocks: u64,
    packer: Packer,
    /// Rows that are not written yet.
    rows: Pen,
    /// Which rows are.
    known: Vec<bool>,
    /// The youngest call that may be shown as one that goes on for long, and when that was last looked at.
    begun: Option<u64>,
    pause: Option<u64>,
}

impl<W: Write> Recorder<W> {
    /// Begins a recording.
    ///
    /// # Errors
    /// What writing it says.
    pub fn new(mut to: W, run: &Recorded) -> io::Result<Recorder<W>> {
        to.write_all(&file_head())?;
        let mut recorder = Recorder {
            to,
            blocks: 0,
            packer: Packer::default(),
            rows: Pen::default(),
            known: Vec::new(),
            begun: None,
            pause: None,
        };
        let mut pen = Pen::default();
        run.write(&mut pen);
        recorder.block(Kind::Run, pen.bytes())?;
        recorder.to.flush()?;
        Ok(recorder)
    }

    /// Records an event. What its row is, is asked when that is new.
    ///
    /// # Errors
    /// What writing it says.
    #[inline]
    pub fn event(
        &mut self,
        record: &Record<'_>,
        probed: impl FnOnce() -> Probed,
    ) -> io::Result<()> {
        if !self.known.get(record.row as usize).is_some_and(|&known| known) {
            self.row(record.row, &probed());
        }
        if self.begun.is_some() || matches!(record.moment, Moment::Begins(_)) {
            self.about_calls(record);
        }
        self.packer.event(record);
        if self.packer.len() >= FULL { self.write() } else { Ok(()) }
    }

    #[cold]
    fn row(&mut self, row: u32, probed: &Probed) {
        let at = row as usize;
        if at >= self.known.len() {
            self.known.resize(at + 1, false);
        }
        self.known[at] = true;
        self.rows.number(row.into());
        probed.write(&mut self.rows);
    }

    /// Notes a pause before an event where that could show in how calls are told.
    fn about_calls(&mut self, record: &Record<'_>) {
        if let Some(now) = self.pause.take() {
            self.packer.pause(now);
            if self.begun.is_some_and(|begun| begun.saturating_add(crate::report::LONG) <= now) {
                self.begun = None;
            }
        }
        if let Moment::Begins(_) = record.moment {
            self.begun = self.begun.max(Some(record.ts_ns));
        }
    }

    /// Nothing happens for a moment, at `now_ns`: what is there can be read.
    ///
    /// # Errors
    /// What writing it says.
    pub fn tick(&mut self, now_ns: u64) -> io::Result<()> {
        self.pause = self.begun.map(|_| now_ns);
        self.flush()
    }

    /// Writes out all that was recorded, so that it can be read.
    ///
    /// # Errors
    /// What writing it says.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.packer.len() > 0 {
            self.write()?;
        }
        self.to.flush()
    }

    /// Writes the rows and the events so far.
    fn write(&mut self) -> io::Result<()> {
        if self.rows.len() > 0 {
            let rows = std::mem::take(&mut self.rows);
            self.block(Kind::Rows, rows.bytes())?;
        }
        let packer = std::mem::take(&mut self.packer);
        let written = self.block(Kind::Events, packer.bytes());
        self.packer = packer;
        self.packer.clear();
        written
    }

    fn block(&mut self, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(&block_head(kind, bytes, self.blocks))?;
        self.blocks += 1;
        self.to.write_all(bytes)
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// What writing it says.
    pub fn finish(mut self, gaps: &Gaps) -> io::Result<W> {
        if let Some(now) = self.pause.take() {
            self.packer.pause(now);
        }
        self.flush()?;
        let mut pen = Pen::default();
        gaps.write(&mut pen);
        self.block(Kind::End, pen.bytes())?;
        self.to.flush()?;
        Ok(self.to)
    }
}
