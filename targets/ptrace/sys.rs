//! The system calls themselves, one function each, errno kept.
//!
//! # Safety
//! Every `unsafe` block here is one libc call. The kernel checks tids, addresses in the tracee
//! and request numbers; what is left to us is that each pointer into our own memory points to
//! storage of the size the request writes or reads, and that is visible in the same function.
#![allow(unsafe_code)]

use super::siginfo::SigInfo;
use super::vm;
use crate::native::{self, REGSET_WORDS, Regs};
use std::io;
use xol_arch::Addr;

/// Request numbers of linux/ptrace.h; libc's have another type in each C library.
mod request {
    pub(super) const SEIZE: u32 = 0x4206;
    pub(super) const INTERRUPT: u32 = 0x4207;
    pub(super) const CONT: u32 = 0x7;
    pub(super) const SYSCALL: u32 = 0x18;
    pub(super) const SINGLESTEP: u32 = 0x9;
    pub(super) const LISTEN: u32 = 0x4208;
    pub(super) const DETACH: u32 = 0x11;
    pub(super) const SETOPTIONS: u32 = 0x4200;
    pub(super) const GET_RSEQ_CONFIGURATION: u32 = 0x420f;
    pub(super) const SET_DISPATCH: u32 = 0x4210;
    pub(super) const GET_DISPATCH: u32 = 0x4211;
    pub(super) const PEEKUSER: u32 = 0x3;
    pub(super) const POKEUSER: u32 = 0x6;
}

/// A thread's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tid(pub i32);

/// A process's id: the id of its first thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(pub i32);

impl std::fmt::Display for Tid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Display for Pid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// PTRACE_EVENT_STOP: an INTERRUPT, a new tracee or a group stop (linux/ptrace.h).
pub const EVENT_STOP: i32 = 128;
/// The signal number of a system-call stop under PTRACE_O_TRACESYSGOOD.
pub const SYSCALL_STOP: i32 = libc::SIGTRAP | 0x80;
/// Where PC-reading faults and traps put their `si_code`: raised by the kernel.
pub const SI_KERNEL: i32 = 0x80;

/// What waitid said of one tracee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Stopped: the signal, and the ptrace event above it (0 for a signal-delivery stop).
    Stopped {
        /// The low byte: a signal number, or [`SYSCALL_STOP`].
        signal: i32,
        /// PTRACE_EVENT_… or 0.
        event: i32,
    },
    /// Exited with this status.
    Exited(i32),
    /// Killed by this signal.
    Killed(i32),
}

pub(super) fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A request whose arguments are numbers, or addresses in the tracee.
fn ptrace(request: u32, tid: Tid, addr: usize, data: usize) -> io::Result<()> {
    // SAFETY: none of the requests made through here writes to our memory.
    check(unsafe { libc::ptrace(request as _, tid.0, addr, data) })?;
    Ok(())
}

/// PTRACE_SEIZE: attaches without stopping.
///
/// # Errors
/// EPERM (ptrace(2), "Ptrace access mode checking", or already traced), ESRCH.
pub fn seize(tid: Tid, options: i32) -> io::Result<()> {
    ptrace(request::SEIZE, tid, 0, options as usize)
}

/// PTRACE_INTERRUPT: asks for an [`EVENT_STOP`].
///
/// # Errors
/// ESRCH.
pub fn interrupt(tid: Tid) -> io::Result<()> {
    ptrace(request::INTERRUPT, tid, 0, 0)
}

/// PTRACE_CONT, delivering `signal` (0: none).
///
/// # Errors
/// ESRCH, if the thread is not stopped or gone.
pub fn cont(tid: Tid, signal: i32) -> io::Result<()> {
    ptrace(request::CONT, tid, 0, signal as usize)
}

/// PTRACE_SYSCALL: like [`cont`], until the next system call's entry or exit.
///
/// # Errors
/// As for [`cont`].
pub fn cont_to_syscall(tid: Tid, signal: i32) -> io::Result<()> {
    ptrace(request::SYSCALL, tid, 0, signal as usize)
}

/// PTRACE_SINGLESTEP.
///
/// # Errors
/// As for [`cont`]; EIO where the machine has no single-step.
pub fn step(tid: Tid, signal: i32) -> io::Result<()> {
    ptrace(request::SINGLESTEP, tid, 0, signal as usize)
}

/// PTRACE_LISTEN: leaves a thread in its group stop.
///
/// # Errors
/// ESRCH, EIO if it is not in one.
pub fn listen(tid: Tid) -> io::Result<()> {
    ptrace(request::LISTEN, tid, 0, 0)
}

/// PTRACE_DETACH of a stopped thread, delivering `signal`.
///
/// # Errors
/// As for [`cont`].
pub fn detach(tid: Tid, signal: i32) -> io::Result<()> {
    ptrace(request::DETACH, tid, 0, signal as usize)
}

/// PTRACE_SETOPTIONS.
///
/// # Errors
/// EPERM for PTRACE_O_SUSPEND_SECCOMP without CAP_SYS_ADMIN, EINVAL where it is not known.
pub fn set_options(tid: Tid, options: i32) -> io::Result<()> {
    ptrace(request::SETOPTIONS, tid, 0, options as usize)
}

/// Which of a thread's calls the kernel answers by SIGSYS instead (Syscall User Dispatch, struct
/// ptrace_sud_config): mode, selector, and the code that may call.
pub type Dispatch = [u64; 4];

/// Switches a stopped thread's Syscall User Dispatch off, if it is on: what is to be put back then.
pub fn suspend_dispatch(tid: Tid) -> Option<Dispatch> {
    let mut config: Dispatch = [0; 4];
    let (len, to) = (size_of::<Dispatch>(), config.as_mut_ptr());
    // SAFETY: the kernel writes `len` bytes to `config`, which has them. Before Linux 6.4 it knows no such
    // request.
    check(unsafe { libc::ptrace(request::GET_DISPATCH as _, tid.0, len, to) }).ok()?;
    if config[0] == 0 {
        return None;
    }
    put_dispatch(tid, &[0; 4]).ok()?;
    Some(config)
}

/// Puts a stopped thread's Syscall User Dispatch back.
///
/// # Errors
/// ESRCH when the thread is gone.
pub fn put_dispatch(tid: Tid, config: &Dispatch) -> io::Result<()> {
    // It reads as many bytes of `config` as the length says, and writes nothing.
    ptrace(request::SET_DISPATCH, tid, size_of::<Dispatch>(), config.as_ptr() as usize)
}

/// PTRACE_GETREGSET into `to`; the length the kernel wrote, in bytes.
///
/// # Errors
/// ESRCH; EINVAL or ENODEV where there is no such register set.
pub fn get_regset(tid: Tid, set: i32, to: &mut [u8]) -> io::Result<usize> {
    let mut iov = libc::iovec { iov_base: to.as_mut_ptr().cast(), iov_len: to.len() };
    // SAFETY: the kernel writes at most `iov_len` bytes, which `to` has, and then `iov_len`.
    check(unsafe { libc::ptrace(libc::PTRACE_GETREGSET as _, tid.0, set as usize, &raw mut iov) })?;
    Ok(iov.iov_len)
}

/// PTRACE_SETREGSET from `from`.
///
/// # Errors
/// As for [`get_regset`]; EINVAL for values the kernel refuses.
pub fn set_regset(tid: Tid, set: i32, from: &[u8]) -> io::Result<()> {
    let mut iov = libc::iovec { iov_base: from.as_ptr().cast_mut().cast(), iov_len: from.len() };
    // SAFETY: the kernel only reads `iov_len` bytes behind `iov_base`.
    check(unsafe { libc::ptrace(libc::PTRACE_SETREGSET as _, tid.0, set as usize, &raw mut iov) })?;
    Ok(())
}

/// The general registers of a stopped thread.
///
/// # Errors
/// ESRCH.
pub fn get_regs(tid: Tid) -> io::Result<Regs> {
    let mut words = [0u64; REGSET_WORDS];
    let mut iov = libc::iovec { iov_base: words.as_mut_ptr().cast(), iov_len: size_of_val(&words) };
    // SAFETY: the kernel writes at most `iov_len` bytes, the size of `words`.
    check(unsafe {
        libc::ptrace(libc::PTRACE_GETREGSET as _, tid.0, libc::NT_PRSTATUS as usize, &raw mut iov)
    })?;
    Ok(native::from_words(&words))
}

/// Sets the general registers of a stopped thread.
///
/// # Errors
/// ESRCH, EINVAL or EIO for values the kernel refuses.
pub fn set_regs(tid: Tid, regs: &Regs) -> io::Result<()> {
    let words = native::to_words(regs);
    let mut iov =
        libc::iovec { iov_base: words.as_ptr().cast_mut().cast(), iov_len: size_of_val(&words) };
    // SAFETY: the kernel only reads `iov_len` bytes, the size of `words`.
    check(unsafe {
        libc::ptrace(libc::PTRACE_SETREGSET as _, tid.0, libc::NT_PRSTATUS as usize, &raw mut iov)
    })?;
    Ok(())
}

/// Sets the PC alone where the kernel has a request for that, else through the register set.
///
/// # Errors
/// As for [`set_regs`].
pub fn set_pc(tid: Tid, regs: &Regs, pc: Addr) -> io::Result<()> {
    use xol_arch::Regs as _;
    if native::USER_PC.is_some() {
        return poke_pc(tid, pc);
    }
    let mut regs = *regs;
    regs.set_pc(pc);
    set_regs(tid, &regs)
}

/// Sets the PC alone, where the kernel has a request for that.
///
/// # Errors
/// EIO where it has none.
pub fn poke_pc(tid: Tid, pc: Addr) -> io::Result<()> {
    let offset = native::USER_PC.ok_or(io::ErrorKind::Unsupported)?;
    ptrace(request::POKEUSER, tid, offset, pc.0 as usize)
}

/// PTRACE_PEEKUSER: one word of struct user.
///
/// # Errors
/// ESRCH, EIO.
pub fn peek_user(tid: Tid, offset: usize) -> io::Result<u64> {
    let mut word = 0u64;
    // SAFETY: the system call, unlike its wrapper, writes the word to where its last argument
    // points.
    check(unsafe {
        libc::syscall(
            libc::SYS_ptrace,
            libc::c_long::from(request::PEEKUSER),
            tid.0,
            offset,
            &raw mut word,
        )
    })?;
    Ok(word)
}

/// PTRACE_GET_RSEQ_CONFIGURATION: where a thread's struct rseq is, 0 where it has none, and the
/// signature that it was registered with.
///
/// # Errors
/// EIO before Linux 5.13.
pub fn rseq_area(tid: Tid) -> io::Result<(Addr, u32)> {
    // struct ptrace_rseq_configuration: the address, then size, signature, flags, padding.
    let mut words = [0u64; 3];
    let size = size_of_val(&words);
    // SAFETY: the kernel writes at most `size` bytes, the size of `words`.
    check(unsafe {
        libc::ptrace(request::GET_RSEQ_CONFIGURATION as _, tid.0, size, &raw mut words)
    })?;
    Ok((Addr(words[0]), (words[1] >> 32) as u32))
}

/// PTRACE_GETSIGINFO: of the signal a thread stopped with.
///
/// # Errors
/// EINVAL in a group stop, ESRCH.
pub fn get_siginfo(tid: Tid) -> io::Result<SigInfo> {
    let mut info = SigInfo::default();
    // SAFETY: the kernel writes one siginfo_t, 128 bytes, the size of `info`.
    check(unsafe { libc::ptrace(libc::PTRACE_GETSIGINFO as _, tid.0, 0usize, &raw mut info.0) })?;
    Ok(info)
}

/// PTRACE_SETSIGINFO.
///
/// # Errors
/// As for [`get_siginfo`].
pub fn set_siginfo(tid: Tid, info: &SigInfo) -> io::Result<()> {
    // SAFETY: the kernel reads one siginfo_t, 128 bytes, the size of `info`.
    check(unsafe { libc::ptrace(libc::PTRACE_SETSIGINFO as _, tid.0, 0usize, &raw const info.0) })?;
    Ok(())
}

/// PTRACE_GETSIGMASK: the signals a stopped thread blocks, bit 0 for signal 1.
///
/// # Errors
/// ESRCH.
pub fn get_sigmask(tid: Tid) -> io::Result<u64> {
    let mut mask = 0u64;
    // SAFETY: the kernel writes the 8 bytes that `addr` announces, the size of `mask`.
    check(unsafe { libc::ptrace(PTRACE_GETSIGMASK as _, tid.0, 8usize, &raw mut mask) })?;
    Ok(mask)
}

/// PTRACE_SETSIGMASK.
///
/// # Errors
/// ESRCH.
pub fn set_sigmask(tid: Tid, mask: u64) -> io::Result<()> {
    // SAFETY: the kernel reads the 8 bytes that `addr` announces, the size of `mask`.
    check(unsafe { libc::ptrace(PTRACE_SETSIGMASK as _, tid.0, 8usize, &raw const mask) })?;
    Ok(())
}

const PTRACE_GETSIGMASK: u32 = 0x420a;
const PTRACE_SETSIGMASK: u32 = 0x420b;

/// PTRACE_GETEVENTMSG.
///
/// # Errors
/// ESRCH.
pub fn get_event_message(tid: Tid) -> io::Result<u64> {
    let mut message: libc::c_ulong = 0;
    // SAFETY: the kernel writes one unsigned long to `message`.
    check(unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG as _, tid.0, 0usize, &raw mut message) })?;
    Ok(message)
}

/// Which tracees to wait for.
#[derive(Clone, Copy, Debug)]
pub enum Whom {
    /// Any tracee or child of this thread.
    Any,
    /// This one.
    One(Tid),
}

/// waitid(2) with __WALL. `consume` takes the stop's signal away from the kernel: never for a
/// signal-delivery stop that is not handled yet, since the kernel delivers that signal itself
/// if xol dies (RULES A2).
///
/// # Errors
/// ECHILD without such a tracee; EINTR when a signal of our own arrived.
pub fn wait(whom: Whom, consume: bool, block: bool) -> io::Result<Option<(Tid, Status)>> {
    let mut info = SigInfo::default();
    let (kind, id) = match whom {
        Whom::Any => (libc::P_ALL, 0),
        Whom::One(tid) => (libc::P_PID, tid.0 as libc::id_t),
    };
    // What other threads of this process have started is none of ours.
    let mut options = libc::__WALL | libc::__WNOTHREAD | libc::WSTOPPED | libc::WEXITED;
    if !consume {
        options |= libc::WNOWAIT;
    }
    if !block {
        options |= libc::WNOHANG;
    }
    let into: *mut libc::siginfo_t = (&raw mut info.0).cast();
    // SAFETY: the kernel writes one siginfo_t, 128 bytes, the size and alignment of `info`.
    let result = unsafe { libc::waitid(kind, id, into, options) };
    check(result.into())?;
    // si_pid and si_status of <asm-generic/siginfo.h>, behind si_signo, si_errno, si_code.
    let tid = Tid(info.0[2] as i32);
    let status = info.0[3] as i32;
    if tid.0 == 0 {
        return Ok(None);
    }
    let status = match info.code() {
        libc::CLD_EXITED => Status::Exited(status),
        libc::CLD_KILLED | libc::CLD_DUMPED => Status::Killed(status & 0x7f),
        _ => Status::Stopped { signal: status & 0xff, event: status >> 8 },
    };
    Ok(Some((tid, status)))
}

/// tgkill(2).
///
/// # Errors
/// ESRCH, EPERM.
pub fn tgkill(pid: Pid, tid: Tid, signal: i32) -> io::Result<()> {
    // SAFETY: three numbers.
    check(unsafe { libc::syscall(libc::SYS_tgkill, pid.0, tid.0, signal) })?;
    Ok(())
}

/// rt_tgsigqueueinfo(2): with no code of the kernel's.
///
/// # Errors
/// ESRCH, EPERM; EAGAIN where too many signals are queued for the user.
pub fn queue_signal(pid: Pid, tid: Tid, info: &SigInfo) -> io::Result<()> {
    let (call, from) = (libc::SYS_rt_tgsigqueueinfo, &raw const info.0);
    // SAFETY: the kernel reads one siginfo_t, 128 bytes, the size of `info`.
    check(unsafe { libc::syscall(call, pid.0, tid.0, info.signal(), from) })?;
    Ok(())
}

/// process_vm_readv(2) of one range: what the thread itself could read. By the thread's own id: the
/// process's is that of its first thread, which may have ended before the others. Where the call is
/// refused, the same through /proc.
///
/// # Errors
/// EFAULT; ESRCH when the process is gone. A short read is an error of kind UnexpectedEof.
pub fn vm_read(tid: Tid, at: Addr, to: &mut [u8]) -> io::Result<()> {
    if vm::is_refused() {
        return vm::read(tid, at, to);
    }
    match readv(tid, at, to) {
        Err(error) if vm::refuses(&error) => vm::read(tid, at, to),
        result => result,
    }
}

fn readv(tid: Tid, at: Addr, to: &mut [u8]) -> io::Result<()> {
    let local = libc::iovec { iov_base: to.as_mut_ptr().cast(), iov_len: to.len() };
    let remote = libc::iovec { iov_base: at.0 as *mut libc::c_void, iov_len: to.len() };
    // SAFETY: the kernel writes at most `iov_len` bytes to `to`; `remote` is not ours.
    let n = unsafe { libc::process_vm_readv(tid.0, &raw const local, 1, &raw const remote, 1, 0) };
    if check(n as libc::c_long)? as usize == to.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// process_vm_writev(2) of one range: with the page's own permissions; or the same through /proc.
///
/// # Errors
/// As for [`vm_read`].
pub fn vm_write(tid: Tid, at: Addr, from: &[u8]) -> io::Result<()> {
    if vm::is_refused() {
        return vm::write(tid, at, from);
    }
    match writev(tid, at, from) {
        Err(error) if vm::refuses(&error) => vm::write(tid, at, from),
        result => result,
    }
}

fn writev(tid: Tid, at: Addr, from: &[u8]) -> io::Result<()> {
    let local = libc::iovec { iov_base: from.as_ptr().cast_mut().cast(), iov_len: from.len() };
    let remote = libc::iovec { iov_base: at.0 as *mut libc::c_void, iov_len: from.len() };
    // SAFETY: the kernel only reads `iov_len` bytes of `from`; `remote` is not ours.
    let n = unsafe { libc::process_vm_writev(tid.0, &raw const local, 1, &raw const remote, 1, 0) };
    if check(n as libc::c_long)? as usize == from.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}
