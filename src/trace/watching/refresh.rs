//! What is mapped now, looked at anew: what is gone is forgotten, what is new is armed.

use crate::trace::rows::consumer::Consumer;
use crate::trace::session::Session;
use crate::trace::space::objects::Loaded;
use crate::trace::wanted::want::{Armed, Want};
use std::io;
use std::time::Instant;
use xol_arch::Addr;
use xol_targets::ptrace::{SpaceId, Tid, procfs};

/// So many places at once take a while; so few are armed while a thread stands still.
const MANY: usize = 20_000;
const FEW: usize = 64;

impl Session<'_> {
    /// Looks at what is mapped now: forgets what is gone, arms what is new.
    pub(in crate::trace) fn refresh(&mut self, space: SpaceId, tid: Option<Tid>) -> io::Result<()> {
        let Some(pid) = self.target.owner(space).map(|p| p.pid) else {
            return Ok(());
        };
        let maps = procfs::maps(pid)?;
        let mut now = Loaded::all(&maps);
        now.extend(self.moved_text(pid, &maps));
        let before = self.sites_mut(space).objects.clone();
        // A mapping may have been cut: what is left of it keeps its sites.
        let gone = |at: Addr| {
            let was = before.iter().find(|l| l.has(at));
            was.is_some_and(|was| !now.iter().any(|l| l.has(at) && l.is_part_of(was)))
        };
        if before.iter().any(|was| !now.contains(was)) {
            let copied = self.sort_out(space, &maps, &gone);
            self.sites_mut(space).retain(|at| !gone(at) || copied.contains(&at));
        }
        self.sites_mut(space).objects = now.clone();
        self.see_writable(space, &maps)?;
        let begun = Instant::now();
        let exe = procfs::exe(pid).ok();
        let mut wants = Vec::new();
        let covered = |l: &Loaded| {
            before.iter().any(|b| l.is_part_of(b) && b.start <= l.start && l.end <= b.end)
        };
        for loaded in now.iter().filter(|l| !covered(l)) {
            let program = exe.as_ref().is_some_and(|exe| loaded.is_file(exe));
            self.watch_calls(space, pid, loaded, program, &mut wants)?;
            self.collect(space, pid, loaded, program, &mut wants);
        }
        if wants.is_empty() {
            self.check_hope();
            return Ok(());
        }
        if wants.len() >= MANY {
            // To plan and write them takes some times as long as to find them.
            self.teller.sink.arming(wants.len(), begun.elapsed() * 3);
        }
        // Stopped once for all calls that are made in it, a thread is disturbed least.
        let borrowed = match tid {
            None if wants.len() <= FEW => self.borrow_outside(pid, space)?,
            _ => self.let_asked_go(pid).map(|()| None)?,
        };
        let armed = self.arm_all(space, tid.or(borrowed), &wants);
        if let Some(tid) = borrowed {
            self.give_back(tid)?;
        }
        self.teller.sink.progress_done();
        self.note_blind(&wants, &armed?);
        self.check_hope();
        Ok(())
    }

    /// Says so where the loader cannot be watched.
    pub(in crate::trace) fn note_blind(&mut self, wants: &[Want], armed: &[Armed]) {
        let mapped = |want: &Want| {
            matches!(self.teller.rows.consumer(want.consumer), Some(Consumer::Mapped))
        };
        let blind = wants
            .iter()
            .zip(armed)
            .find_map(|(want, armed)| armed.as_ref().err().filter(|_| mapped(want)));
        if let Some(reject) = blind {
            self.note(format!("what the loader maps from now on is not seen: {reject}"));
        }
    }
}
