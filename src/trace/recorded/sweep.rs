//! Open calls whose frames are over, where their returns may be recorded and not read yet.

use crate::trace::session::Session;
use crate::trace::telling::frames::Key;
use std::collections::HashMap;
use std::io;

impl Session<'_> {
    /// Drops the frames whose returns are not noted down, and cannot be any more.
    pub(in crate::trace) fn sweep_noted(&mut self) -> io::Result<()> {
        let Some(space) = self.sweep_due.take() else { return Ok(()) };
        let dead = self.overwritten(space);
        self.drain_all()?;
        let now: HashMap<Key, u64> = self.teller.frames.of(space).collect();
        let is_dead = |key: &Key| dead.get(key).is_some_and(|at| now.get(key) == Some(at));
        let dead = self.teller.frames.sweep(space, is_dead);
        // Their threads may have written records since, which will be told later.
        let seen = self.rings.newest();
        self.teller.end_unwound(dead, seen);
        Ok(())
    }
}
