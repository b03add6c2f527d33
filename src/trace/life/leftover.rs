//! What an xol that was killed has left in a process that is attached to: the text is the program's own
//! again, and nothing is mapped, before anything new comes.
//!
//! Should this xol be killed meanwhile, what is left answers as before: traps go before what they lead
//! to, and of a jump its head becomes a trap, then the rest the program's own, then the head.

use crate::trace::session::Session;
use crate::trace::space::borrow::PATIENCE;
use crate::trace::space::objects::Loaded;
use std::collections::BTreeSet;
use std::io;
use std::time::Duration;
use xol_arch::{Addr, Arch, Flow, Regs as _, Text};
use xol_targets::Native;
use xol_targets::ptrace::procfs::{self, Whereabouts, whereabouts};
use xol_targets::ptrace::{Event, Go, Leftover, Pid, SpaceId, Tid, find_leftovers, is_gone};

const TRAP: &[u8] = Native::TRAP;
/// Steps out of what was left, at most: a copy or a trampoline is some dozen instructions.
const STEPS: u32 = 1000;
/// How often all threads are looked at, and how long between that.
const ROUNDS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(1);
/// How long a step may take: what is stepped over may be a system call.
const STEP: Duration = Duration::from_millis(20);

impl Session<'_> {
    /// Takes over what was left in a process that was just attached to.
    pub(in crate::trace) fn take_over(&mut self, space: SpaceId, pid: Pid) -> io::Result<()> {
        self.target.clear_stubs(space)?;
        let left = find_leftovers(pid).unwrap_or_default();
        if left.is_empty() {
            return Ok(());
        }
        self.sites_mut(space).left = left.iter().flat_map(|l| l.areas.clone()).collect();
        for round in 0..ROUNDS {
            let halted = self.halt(space, PATIENCE, false)?.unwrap_or_default();
            if round == 0 {
                self.restore_text(space, pid, &left)?;
            }
            for &tid in &halted {
                match self.step_out(space, tid) {
                    Err(error) if !is_gone(&error) => return Err(error),
                    _ => {}
                }
            }
            let noisy = self.noisy(space);
            // No way leads in any more: who is outside now stays there.
            let empty = noisy.is_empty() && !self.is_inhabited(space)?;
            if empty {
                self.unmap_left(space, pid, &left)?;
            }
            for tid in halted {
                if self.target.is_stopped(tid) {
                    self.give_back(tid)?;
                }
            }
            if empty {
                return Ok(());
            }
            // Who has trapped at what was left goes on, where it was, before SIGTRAP's action changes.
            for tid in noisy {
                self.take_event_of(tid).or_else(|e| if is_gone(&e) { Ok(()) } else { Err(e) })?;
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Makes the memory of a new process the program's own again, which was copied while its parent's was
    /// being changed: what is in it, its own table says. Its thread is stopped, and in no code of ours.
    pub(in crate::trace) fn purge(&mut self, tid: Tid, pid: Pid, space: SpaceId) -> io::Result<()> {
        let known = self.target.forget_memory(pid)?;
        self.target.clear_stubs(space)?;
        let left = find_leftovers(pid)?;
        self.restore_text(space, pid, &left)?;
        // Where nothing could be mapped there is no table.
        let sites: BTreeSet<u64> = self.sites_mut(space).sites.iter().map(|s| s.addr.0).collect();
        self.write_traps(space, sites.into_iter(), false)?;
        self.target.clear_padding(space)?;
        if self.target.check_calls(tid).is_err() {
            return Ok(());
        }
        let mut unmapped = left.iter().try_for_each(|l| self.target.unmap_leftover(tid, l));
        if unmapped.is_ok() {
            // Mapped in the moment of the copy, and not noted down yet.
            unmapped = self.target.unmap_known(tid, &known);
        }
        match unmapped {
            // Killed at birth, its end is told of in its turn.
            Err(error) if error.is_gone() => Err(io::ErrorKind::NotFound.into()),
            Err(error) => {
                self.note(format!("process {pid}: xol's pages could not be unmapped: {error}"));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn unmap_left(&mut self, space: SpaceId, pid: Pid, left: &[Leftover]) -> io::Result<()> {
        let Some(tid) = self.borrow_thread(space) else { return Ok(()) };
        if self.target.check_calls(tid).is_ok() {
            for left in left {
                if let Err(error) = self.target.unmap_leftover(tid, left) {
                    let text = format!("pages that an xol which was killed has left stay: {error}");
                    self.note(format!("process {pid}: {text}"));
                }
            }
            self.sites_mut(space).left.clear();
        }
        self.give_back(tid)
    }

    /// Threads that have stopped for something of their own.
    fn noisy(&self, space: SpaceId) -> Vec<Tid> {
        let threads = self.target.threads().filter(|t| self.target.space_of(t.tid) == Some(space));
        let noisy = threads.filter(|t| {
            !t.is_stopped() && !self.target.poll_is_quiet(t.tid) || self.target.is_delivering(t.tid)
        });
        noisy.map(|t| t.tid).collect()
    }

    /// Writes the program's own bytes where a trap or a jump was left.
    fn restore_text(&mut self, space: SpaceId, pid: Pid, left: &[Leftover]) -> io::Result<()> {
        let objects = Loaded::all(&procfs::maps(pid)?);
        for left in left {
            for (at, text) in &left.jumps {
                self.restore_jump(space, pid, &objects, left, *at, text)?;
            }
            for site in &left.sites {
                let original = &site.original.to_le_bytes()[..TRAP.len()];
                let mut here = [0; 4];
                let here = &mut here[..TRAP.len()];
                let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
                if memory.read(site.site, here).is_ok()
                    && *here == *TRAP
                    && self.is_own(pid, &objects, site.site, original)
                {
                    let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
                    memory.write(site.site, original)?;
                }
            }
        }
        Ok(())
    }

    fn restore_jump(
        &mut self,
        space: SpaceId,
        pid: Pid,
        objects: &[Loaded],
        left: &Leftover,
        at: Addr,
        text: &[u8],
    ) -> io::Result<()> {
        let mut here = vec![0; text.len()];
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        if memory.read(at, &mut here).is_err() || here == text || text.len() < TRAP.len() {
            return Ok(());
        }
        let flow = Native::flow(&Text::new(at, &here), at);
        let jumps = matches!(flow, Ok((Flow::Jump(to), _)) if left.has(to));
        // Or its head was a trap when they were killed, with the rest of the jump behind it.
        let headed = here.starts_with(TRAP);
        if !(jumps || headed) || !self.is_own(pid, objects, at, text) {
            return Ok(());
        }
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        memory.write(at, TRAP)?;
        memory.write(at.add(TRAP.len() as u64), &text[TRAP.len()..])?;
        memory.write(at, &text[..TRAP.len()])
    }

    /// Whether the file that is mapped at `at` has these bytes there, or there is none that says so.
    fn is_own(&mut self, pid: Pid, objects: &[Loaded], at: Addr, bytes: &[u8]) -> bool {
        let Some(loaded) = objects.iter().find(|l| l.has(at)) else { return true };
        let Some(object) = self.open(pid, loaded) else { return true };
        let Some(bias) = loaded.bias(&object) else { return true };
        let mut file = vec![0; bytes.len()];
        object.read_code(at.0.wrapping_sub(bias), &mut file).is_err() || file == bytes
    }

    /// Steps a halted thread out of what was left. It stays in it where that takes a call.
    fn step_out(&mut self, space: SpaceId, tid: Tid) -> io::Result<()> {
        for _ in 0..STEPS {
            if !self.target.is_stopped(tid) {
                return Ok(());
            }
            let pc = self.target.regs(tid)?.pc();
            if !self.is_left(space, pc) {
                return Ok(());
            }
            self.target.go(tid, Go::Step)?;
            match self.target.await_event(tid, STEP)? {
                Some(Event::Stepped(_)) => {}
                Some(event) => return self.handle(event),
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Whether a thread is in what was left, may come back into it from a call, or has trapped there.
    fn is_inhabited(&mut self, space: SpaceId) -> io::Result<bool> {
        let tids: Vec<Tid> = self.target.threads().map(|t| t.tid).collect();
        for tid in tids {
            if self.target.space_of(tid) != Some(space) {
                continue;
            }
            let pc = match whereabouts(tid) {
                Whereabouts::InCall { pc, .. } => pc,
                _ if self.target.is_stopped(tid) => self.target.regs(tid)?.pc(),
                // It runs, and was not asked to stop when it was in a call.
                _ => return Ok(true),
            };
            if self.is_left(space, pc) || crate::trace::space::pending::trap_on_its_way(tid) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
