//! Threads that wait for a child of theirs, and xol with them.

use crate::trace::session::Session;
use crate::trace::space::borrow::PATIENCE;
use std::io;
use xol_targets::ptrace::{Pid, Tid, is_gone};

impl Session<'_> {
    /// Cleans a new child that is not followed, and lets it go, before its parent goes on: what the
    /// parent may want next is to trace it.
    pub(in crate::trace) fn await_clean(&mut self, child: Tid, pid: Pid) -> io::Result<()> {
        while self.life.to_clean.contains_key(&pid) {
            let Some(event) = self.target.await_event(child, PATIENCE)? else { return Ok(()) };
            match self.handle(event) {
                Err(error) if !is_gone(&error) => return Err(error),
                _ => {}
            }
            if self.target.thread(child).is_none() {
                self.life.to_clean.remove(&pid);
            }
        }
        Ok(())
    }

    /// A thread that waited for a child goes on: the child has its own memory now, or is gone.
    pub(in crate::trace) fn vfork_over(&mut self, parent: Tid) -> io::Result<()> {
        // A traced one has yet to stop for its new program, where it is let go.
        while let Some(pid) = self.vforks.child_of(parent) {
            let child = Tid(pid.0);
            let event = self.target.await_event(child, PATIENCE)?;
            match event.map(|event| self.handle(event)) {
                None => self.vforks.forget(pid),
                Some(Err(error)) if !is_gone(&error) => return Err(error),
                Some(_) if self.target.thread(child).is_none() => self.vforks.forget(pid),
                Some(_) => {}
            }
        }
        self.put_traps_back(parent)
    }
}
