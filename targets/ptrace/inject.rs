//! Calls made in the target that right themselves (RULES A3c, B).
//!
//! The thread runs a stub that makes the call and then returns from a signal frame, which holds
//! everything it had. While we live we take it back between the two; if xol dies at any point,
//! the frame brings it back. Where it comes back to must not need us either: a thread that
//! stands behind a trap is put on the trap first.

use super::attach::{resume_filter, suspend_filter};
use super::calls::{Forbidden, Permit, Verdict};
use super::chain::Stub;
use super::space::{Area, PAGE, Space, SpaceId};
use super::sys::{self, EVENT_STOP, Pid, SYSCALL_STOP, Status, Tid, Whom};
use super::thread::{Dirty, State};
use super::{Ptrace, gone, is_gone, procfs, still_there, tracer};
use crate::native;
use std::{fmt, io};
use xol_arch::{Addr, Regs as _};

/// An argument that stands for the address of the buffer.
pub(super) const BUFFER: u64 = 0x786f_6c62_7566_0000;
/// SIGSYS as a bit of a signal mask.
const SYS_BIT: u64 = 1 << (libc::SIGSYS - 1);

/// Why a call could not be made in the target.
#[derive(Debug)]
pub enum InjectError {
    /// No thread of the process can make a call now; with what the last one tried was doing.
    NoThread(String),
    /// There is no padding for the first stub, and the program has no code that could stand for it.
    NoStub,
    /// A seccomp filter might not allow it (RULES B2).
    Seccomp(Forbidden),
    /// The call itself failed.
    Refused(&'static str, io::Error),
    /// ptrace or /proc failed.
    Io(io::Error),
}

impl fmt::Display for InjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InjectError::NoThread(why) => write!(f, "no thread can make a call for us: {why}"),
            InjectError::NoStub => f.write_str(
                "there is no padding behind any text segment for a stub, and no code in the \
                 program that makes a call and returns",
            ),
            InjectError::Seccomp(why) => why.fmt(f),
            InjectError::Refused(call, error) => write!(f, "{call} in the process failed: {error}"),
            InjectError::Io(error) => error.fmt(f),
        }
    }
}

impl InjectError {
    /// Whether it says that the thread or its process is no more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, InjectError::Io(error) if is_gone(error))
    }
}

impl From<io::Error> for InjectError {
    fn from(error: io::Error) -> Self {
        InjectError::Io(error)
    }
}

/// Leads a thread from the exit of our call to where the kernel looks for signals: only there are
/// interrupted calls restarted. It executes nothing on the way.
fn back_to_signals(tid: Tid) -> io::Result<()> {
    sys::interrupt(tid)?;
    sys::cont(tid, 0)?;
    loop {
        match sys::wait(Whom::One(tid), false, true) {
            Ok(Some((_, Status::Stopped { event: EVENT_STOP, .. }))) => {
                return sys::wait(Whom::One(tid), true, false).map(drop);
            }
            // Its end, which is reported in its turn.
            Ok(Some(_)) => return Err(gone()),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => still_there(tid)?,
            Err(error) => return Err(error),
        }
    }
}

impl Ptrace {
    /// Makes one call in a stopped thread and brings the thread back to where it was. An argument
    /// [`BUFFER`] becomes the address of `buffer` in the target, written before the call and
    /// read back after it. A filter that refuses it with SIGSYS answers ENOSYS.
    ///
    /// # Errors
    /// [`InjectError::Seccomp`] where a filter might end the program for it. ESRCH when the thread
    /// dies; EFAULT when its stack has no room for the frame. The call's own failure is in the
    /// value: -errno.
    fn call_at(
        &mut self,
        tid: Tid,
        stub: Stub,
        number: i64,
        mut args: [u64; 6],
        buffer: &mut [u8],
    ) -> Result<i64, InjectError> {
        let permit = self.permit(tid).map_err(InjectError::Seccomp)?;
        if permit.of(number).map_err(InjectError::Seccomp)? == Verdict::Lacking {
            return Ok(-i64::from(libc::ENOSYS));
        }
        self.flush_regs(tid)?;
        let regs = sys::get_regs(tid)?;
        let mask = sys::get_sigmask(tid)?;
        let mut fpstate = vec![0u8; native::FPSTATE_MAX];
        let n = native::get_fpstate(tid, &mut fpstate);
        fpstate.truncate(n);
        let size = native::frame_size(n) as u64;
        let at = (regs.sp().0 - native::RED_ZONE - size) & !63;
        let link = if stub.returns_to.is_some() { 64 } else { 0 };
        let buffer_at = at - link - (buffer.len() as u64).next_multiple_of(64);
        // What goes on the stack: the buffer, then the frame; and what was there.
        let mut below = vec![0u8; (at + size - buffer_at) as usize];
        let mut had = below.clone();
        let (head, frame) = below.split_at_mut((at - buffer_at) as usize);
        head[..buffer.len()].copy_from_slice(buffer);
        native::write_frame(&self.without_restart(tid, &regs)?, mask, &fpstate, Addr(at), frame);
        for arg in &mut args {
            if *arg == BUFFER {
                *arg = buffer_at;
            }
        }
        let mut call = native::enter_stub(&regs, stub.at, Addr(at), number as u64, args);
        if let Some(to) = stub.returns_to {
            native::return_to(&mut call, to, head);
        }

        // Through the memory file, which waits for no pager: what was read is there to be written.
        let space = self.space_of(tid).and_then(|id| self.spaces.get(&id)).ok_or_else(gone)?;
        space.read(Addr(buffer_at), &mut had)?;
        sys::vm_write(tid, Addr(buffer_at), &below)?;
        sys::set_regs(tid, &call)?;
        // No signal finds the thread at the stub; the frame has the old mask, if xol dies.
        // SIGSYS, which a filter may force, would lose its action if it was blocked.
        sys::set_sigmask(tid, if permit == Permit::Vouched { !SYS_BIT } else { !0 })?;
        let dispatch = sys::suspend_dispatch(tid);
        let suspended = permit == Permit::Suspended && suspend_filter(tid);
        let value = self.run_stub(tid, stub.at);
        if suspended {
            resume_filter(tid);
        }
        if let Some(dispatch) = dispatch {
            sys::put_dispatch(tid, &dispatch)?;
        }
        if let Some(space) = self.space_of(tid).and_then(|id| self.spaces.get(&id)) {
            space.changed();
        }
        let mut value = value?;
        if permit == Permit::Vouched && self.swallow_sigsys(tid)? {
            value = -i64::from(libc::ENOSYS);
        }
        native::set_fpstate(tid, &fpstate)?;
        let mut regs = regs;
        native::resume_sleep(&mut regs, self.known(tid)?.entered.map(|e| e.call()));
        sys::set_sigmask(tid, mask)?;
        sys::set_regs(tid, &regs)?;
        let space = self.space_of(tid).and_then(|id| self.spaces.get(&id)).ok_or_else(gone)?;
        space.read(Addr(buffer_at), buffer)?;
        sys::vm_write(tid, Addr(buffer_at), &had)?;
        if native::awaits_restart(&regs) {
            back_to_signals(tid)?;
        }
        let thread = self.known(tid)?;
        (thread.asked, thread.by_trap) = (false, false);
        thread.state = State::Stopped;
        thread.regs = Some(regs);
        thread.dirty = Dirty::No;
        Ok(value)
    }

    /// Continues to the exit of the stub's call; a stop that came in between goes on.
    fn run_stub(&mut self, tid: Tid, stub: Addr) -> io::Result<i64> {
        let stop = stub.add(native::CALL_STUB_STOP);
        let mut entered = false;
        let mut signal_on = 0;
        loop {
            sys::cont_to_syscall(tid, std::mem::take(&mut signal_on))?;
            let status = loop {
                match sys::wait(Whom::One(tid), false, true) {
                    Ok(Some((_, status))) => break status,
                    Ok(None) => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => still_there(tid)?,
                    Err(error) => return Err(error),
                }
            };
            match status {
                Status::Stopped { signal: SYSCALL_STOP, .. } => {
                    let regs = sys::get_regs(tid)?;
                    if regs.pc() != stop {
                        // The exit of the call the thread was in before.
                    } else if entered {
                        return Ok(native::result(&regs));
                    } else {
                        entered = true;
                    }
                }
                Status::Stopped { signal, event: EVENT_STOP } => {
                    // A group stop: the thread joins it when it has come back. Or the end of one.
                    self.known(tid)?.rejoin = signal != libc::SIGTRAP;
                }
                // The stub is not there. Nothing else is forced on a thread that has not got into the call.
                Status::Stopped {
                    signal: libc::SIGSEGV | libc::SIGBUS | libc::SIGILL,
                    event: 0,
                } if !entered => {
                    return Ok(-i64::from(libc::EFAULT));
                }
                // The one signal that no mask keeps back: its parent is told that it has stopped.
                Status::Stopped { signal: libc::SIGSTOP, event: 0 } => signal_on = libc::SIGSTOP,
                Status::Stopped { .. } => {}
                Status::Exited(_) | Status::Killed(_) => return Err(gone()),
            }
        }
    }

    /// Makes a call in a stopped thread, through the stub in the head.
    ///
    /// # Errors
    /// As for [`InjectError`]; the call's own failure is in the value: -errno.
    pub(super) fn call(
        &mut self,
        tid: Tid,
        number: i64,
        args: [u64; 6],
        buffer: &mut [u8],
    ) -> Result<i64, InjectError> {
        let space = self.space_of(tid).ok_or_else(gone)?;
        let head = self.spaces.get(&space).and_then(|s| s.head);
        match head {
            Some(head) => self.call_at(tid, Stub::written(head.start), number, args, buffer),
            None => self.call_from_padding(tid, space, number, args, buffer),
        }
    }

    /// Takes the SIGSYS away that a filter has sent in a call's place. Whether there was one.
    fn swallow_sigsys(&mut self, tid: Tid) -> io::Result<bool> {
        const SYS_SECCOMP: i32 = 1;
        if procfs::status(tid)?.pending & SYS_BIT == 0 {
            return Ok(false);
        }
        sys::cont(tid, 0)?;
        loop {
            match sys::wait(Whom::One(tid), false, true) {
                Ok(Some((_, Status::Stopped { signal: libc::SIGSYS, event: 0 }))) => {
                    return Ok(sys::get_siginfo(tid)?.code() == SYS_SECCOMP);
                }
                Ok(Some((_, Status::Stopped { .. }))) => sys::cont(tid, 0)?,
                Ok(Some(_)) => return Err(gone()),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes a call with the stub in zero padding, which is zero again afterwards; without padding,
    /// with the program's own code.
    pub(super) fn call_from_padding(
        &mut self,
        tid: Tid,
        space: SpaceId,
        number: i64,
        args: [u64; 6],
        buffer: &mut [u8],
    ) -> Result<i64, InjectError> {
        let pid = self.known(tid)?.pid;
        let maps = procfs::maps(pid)?;
        let memory = self.spaces.get(&space).ok_or_else(gone)?;
        let Some(stub) = memory.bootstrap_stub(&maps) else {
            let shadow = procfs::has_shadow_stack(tid);
            // A return that no call has announced to it ends the program.
            let stub = memory.own_stub(&maps).filter(|_| !shadow).ok_or(InjectError::NoStub)?;
            return self.call_at(tid, stub, number, args, buffer);
        };
        memory.write(stub, native::CALL_STUB)?;
        let value = self.call_at(tid, Stub::written(stub), number, args, buffer);
        if let Some(memory) = self.spaces.get(&space) {
            memory.write(stub, &[0; native::CALL_STUB.len()])?;
        }
        value
    }

    /// What lengths are multiples of: where there is little room, the machine's own page.
    pub(super) fn grain(&self, pid: Pid) -> u64 {
        match procfs::room(pid) {
            Ok(Some(_)) => tracer::page_size(),
            _ => PAGE,
        }
    }

    /// How many bytes more a space may map, where that is limited.
    #[must_use]
    pub fn room(&self, space: SpaceId) -> Option<u64> {
        procfs::room(self.spaces.get(&space)?.pid).ok().flatten()
    }

    /// Maps `len` bytes of read-and-execute memory within reach of `near`.
    ///
    /// # Errors
    /// [`InjectError::Refused`] where there is no hole, or mmap fails.
    pub(super) fn map(
        &mut self,
        tid: Tid,
        near: Area,
        len: u64,
        reach: u64,
    ) -> Result<Area, InjectError> {
        let pid = self.known(tid)?.pid;
        let maps = procfs::maps(pid)?;
        let len = len.next_multiple_of(self.grain(pid));
        let heap = procfs::heap(pid)?;
        let Some(hole) = Space::hole(&maps, heap, near, len, reach) else {
            let error = io::Error::from_raw_os_error(libc::ENOMEM);
            return Err(InjectError::Refused("mmap near the code", error));
        };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        let args =
            [hole.0, len, (libc::PROT_READ | libc::PROT_EXEC) as u64, flags as u64, u64::MAX, 0];
        self.note_area(tid, Area { start: hole, len })?;
        let value = self.call(tid, libc::SYS_mmap, args, &mut [])?;
        if value as u64 != hole.0 {
            self.note_area(tid, Area { start: hole, len: 0 })?;
        }
        if (-4095..0).contains(&value) {
            let error = io::Error::from_raw_os_error(-value as i32);
            return Err(InjectError::Refused("mmap", error));
        }
        let area = Area { start: Addr(value as u64), len };
        if area.start != hole {
            // A kernel before 4.17 took the address as a hint.
            self.call(tid, libc::SYS_munmap, [area.start.0, len, 0, 0, 0, 0], &mut [])?;
            let error = io::Error::from_raw_os_error(libc::ENOMEM);
            return Err(InjectError::Refused("mmap near the code", error));
        }
        Ok(area)
    }
}
