//! One stopped thread, as `arch` sees it.

use super::space::Space;
use super::sys::{self, Tid};
use super::thread::{Dirty, State};
use super::{Ptrace, gone};
use crate::native::{Native, Regs};
use std::io;
use xol_arch::{Addr, Fault, Machine, Memory, Regs as _};

/// A stopped thread's registers and memory. Changes reach the thread when it goes on.
#[derive(Debug)]
pub struct Stopped<'a> {
    tid: Tid,
    space: Option<&'a Space>,
    exact: bool,
    regs: &'a mut Regs,
    dirty: &'a mut Dirty,
    /// What had to be written before.
    was: Dirty,
}

impl Ptrace {
    /// Looks at a stopped thread.
    ///
    /// # Errors
    /// ESRCH if it is not stopped, or gone (killed meanwhile).
    pub fn stopped(&mut self, tid: Tid) -> io::Result<Stopped<'_>> {
        let thread = self.threads.get_mut(&tid).ok_or_else(gone)?;
        let process = self.processes.get(&thread.pid);
        let space = process.and_then(|process| self.spaces.get(&process.space));
        if matches!(thread.state, State::Running | State::Starting) {
            return Err(gone());
        }
        if thread.regs.is_none() {
            let mut regs = sys::get_regs(tid)?;
            if let (Dirty::Pc, Some(pc)) = (thread.dirty, thread.pc) {
                regs.set_pc(pc);
            }
            thread.regs = Some(regs);
        }
        let regs = thread.regs.as_mut().ok_or_else(gone)?;
        let was = thread.dirty;
        Ok(Stopped { tid, space, exact: false, regs, dirty: &mut thread.dirty, was })
    }

    /// The registers of a stopped thread.
    ///
    /// # Errors
    /// As for [`Ptrace::stopped`].
    pub fn regs(&mut self, tid: Tid) -> io::Result<Regs> {
        Ok(*self.stopped(tid)?.regs)
    }

    /// The PC of a stopped thread: all that most hits need.
    ///
    /// # Errors
    /// As for [`Ptrace::stopped`].
    pub fn pc(&mut self, tid: Tid) -> io::Result<Addr> {
        let thread = self.threads.get_mut(&tid).ok_or_else(gone)?;
        match (&thread.regs, thread.pc, crate::native::USER_PC) {
            (None, Some(pc), _) => Ok(pc),
            (None, None, Some(offset))
                if !matches!(thread.state, State::Running | State::Starting) =>
            {
                let pc = Addr(sys::peek_user(tid, offset)?);
                thread.pc = Some(pc);
                Ok(pc)
            }
            _ => Ok(self.regs(tid)?.pc()),
        }
    }

    /// Sets the PC of a stopped thread and nothing else.
    ///
    /// # Errors
    /// As for [`Ptrace::stopped`].
    pub fn set_pc(&mut self, tid: Tid, pc: Addr) -> io::Result<()> {
        let thread = self.threads.get_mut(&tid).ok_or_else(gone)?;
        if thread.regs.is_none() && crate::native::USER_PC.is_some() {
            (thread.pc, thread.dirty) = (Some(pc), Dirty::Pc);
            return Ok(());
        }
        self.stopped(tid)?.set_pc(pc);
        Ok(())
    }

    /// If the thread stands before a relative sleep that a stop interrupted, and is to be moved:
    /// has it go on with the time that is left.
    ///
    /// # Errors
    /// As for [`Ptrace::stopped`].
    pub fn resume_sleep(&mut self, tid: Tid) -> io::Result<()> {
        let entered = self.known(tid)?.entered.map(|e| e.call());
        let mut machine = self.stopped(tid)?;
        let mut regs = *machine.seen();
        crate::native::resume_sleep(&mut regs, entered);
        if regs != *machine.seen() {
            *machine.regs() = regs;
        }
        Ok(())
    }

    /// Writes changed registers to the thread now.
    ///
    /// # Errors
    /// ESRCH when it is gone.
    pub fn flush_regs(&mut self, tid: Tid) -> io::Result<()> {
        let thread = self.known(tid)?;
        match (thread.dirty, &thread.regs, thread.pc) {
            (Dirty::No, ..) | (_, None, None) => {}
            (Dirty::Pc, Some(regs), _) => sys::set_pc(tid, regs, regs.pc())?,
            (Dirty::All, Some(regs), _) => sys::set_regs(tid, regs)?,
            (_, None, Some(pc)) => sys::poke_pc(tid, pc)?,
        }
        thread.dirty = Dirty::No;
        Ok(())
    }
}

impl Stopped<'_> {
    /// The registers, to look at.
    #[must_use]
    pub fn seen(&self) -> &Regs {
        self.regs
    }

    /// Puts a thread that stands behind a trap onto it. While a call is made in it, what it would
    /// come back to is then the trap (RULES A3c).
    pub fn rewind(&mut self, trap: Addr) {
        self.set_pc(trap);
    }

    /// If the PC is all that differs from `before`, which the registers were when this was made, it is
    /// all that is written besides what had to be written then.
    pub fn changed_since(&mut self, before: &Regs) {
        let mut same = *before;
        same.set_pc(self.regs.pc());
        if same == *self.regs {
            *self.dirty = self.was.max(Dirty::Pc);
        }
    }

    /// For an instruction's own reads: they fault where the thread's would, and nowhere else.
    #[must_use]
    pub fn exactly(mut self) -> Self {
        self.exact = true;
        self
    }

    /// Reads data that a probe shows: see [`Space::read_data`]. What the thread itself could not read
    /// cannot be read (PROT_NONE), though the memory file has it.
    ///
    /// # Errors
    /// Those of it; EFAULT.
    pub fn read_data(&mut self, at: Addr, to: &mut [u8]) -> io::Result<()> {
        self.space.ok_or_else(gone)?.read_data(at, to)?;
        sys::vm_read(self.tid, at, to)
    }

    /// Sets the PC and nothing else.
    pub fn set_pc(&mut self, pc: Addr) {
        self.regs.set_pc(pc);
        *self.dirty = (*self.dirty).max(Dirty::Pc);
    }
}

impl Memory for Stopped<'_> {
    fn read(&mut self, at: Addr, to: &mut [u8]) -> Result<(), Fault> {
        // First through the memory file, which waits for no pager (see `absent`).
        let read = self.space.map_or(Ok(()), |space| space.read(at, to));
        let exact = self.exact || self.space.is_none();
        read.and_then(|()| if exact { sys::vm_read(self.tid, at, to) } else { Ok(()) })
            .map_err(|_| Fault { at, write: false })
    }

    fn write(&mut self, at: Addr, from: &[u8]) -> Result<(), Fault> {
        sys::vm_write(self.tid, at, from).map_err(|_| Fault { at, write: true })
    }
}

impl Machine<Native> for Stopped<'_> {
    fn regs(&mut self) -> &mut Regs {
        *self.dirty = Dirty::All;
        self.regs
    }

    fn set_vector(&mut self, n: u8, value: u128) -> Result<(), Fault> {
        let at = self.regs.pc();
        crate::native::set_vector(self.tid, n, value).map_err(|_| Fault { at, write: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is to be written of registers in which a jump has changed the PC.
    fn after_a_jump(mut dirty: Dirty) -> Dirty {
        let mut regs = Regs::default();
        let was = dirty;
        let mut machine = Stopped {
            tid: Tid(1),
            space: None,
            exact: true,
            regs: &mut regs,
            dirty: &mut dirty,
            was,
        };
        let before = *machine.seen();
        // As simulating it does.
        machine.regs().set_pc(Addr(0x1000));
        machine.changed_since(&before);
        dirty
    }

    #[test]
    fn what_was_to_be_written_before_a_jump_still_is() {
        assert_eq!(after_a_jump(Dirty::No), Dirty::Pc);
        assert_eq!(after_a_jump(Dirty::Pc), Dirty::Pc);
        // Such as a stack pointer that is put back, or what a recorder has kept.
        assert_eq!(after_a_jump(Dirty::All), Dirty::All);
    }
}
