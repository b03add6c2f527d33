//! Code made here, called as functions, and a handler that moves what traps, as a tracer would.
//!
//! # Safety
//!
//! - What is called is a function of the C ABI that takes integers, made by the tests here.
//! - The handler reads a table of atomics and writes the PC of the frame it was given.
#![allow(unsafe_code, reason = "mappings that are executed, calls into them, a signal handler")]

use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Hardware;
use crate::cpu::Cpu;
use libc::{c_int, c_void, siginfo_t, ucontext_t};
use xol_arch::{Addr, Arch};
use xol_targets::shared::Shared;

/// Maps a part of `file` to be read and executed, at `at` if nothing is there, or anywhere. The
/// mapping stays.
#[must_use]
pub fn executable(file: &Shared, part: Range<usize>, at: Option<Addr>) -> Option<Addr> {
    let fixed = if at.is_some() { libc::MAP_FIXED_NOREPLACE } else { 0 };
    let wanted = at.unwrap_or_default().0 as *mut c_void;
    let protection = libc::PROT_READ | libc::PROT_EXEC;
    let (len, offset) = (part.len(), part.start as libc::off_t);
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: replaces nothing.
    let got = unsafe { libc::mmap(wanted, len, protection, libc::MAP_SHARED | fixed, fd, offset) };
    if got == libc::MAP_FAILED {
        return None;
    }
    let got = Addr(got as u64);
    // Kernels before 4.17 take the address as a wish.
    at.is_none_or(|at| at == got).then_some(got)
}

/// Makes these bytes a function.
///
/// # Panics
/// There is no memory, or they are more than a page.
#[must_use]
pub fn code(bytes: &[u8]) -> Function {
    let file = Shared::new(4096).expect("memory");
    file.write(0, bytes).expect("within a page");
    Function::at(executable(&file, 0..4096, None).expect("memory"))
}

/// A function of the C ABI.
#[derive(Clone, Copy, Debug)]
pub struct Function(extern "C" fn(u64, u64, u64, u64, u64, u64) -> u64);

impl Function {
    /// What is at `at`, in a mapping of [`executable`].
    #[must_use]
    pub fn at(at: Addr) -> Function {
        // SAFETY: code made by a test here, which says what it is.
        Function(unsafe {
            std::mem::transmute::<*const (), extern "C" fn(u64, u64, u64, u64, u64, u64) -> u64>(
                at.0 as *const (),
            )
        })
    }

    /// Where it is.
    #[must_use]
    pub fn addr(self) -> Addr {
        Addr(self.0 as usize as u64)
    }

    /// Calls it.
    #[must_use]
    pub fn call(self, args: [u64; 6]) -> u64 {
        let [a, b, c, d, e, f] = args;
        (self.0)(a, b, c, d, e, f)
    }
}

/// What names this thread to a trampoline.
#[must_use]
pub fn thread_pointer() -> u64 {
    let value: u64;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads a register; Linux allows it since 5.9.
    unsafe {
        std::arch::asm!("rdfsbase {}", out(reg) value);
    };
    #[cfg(target_arch = "aarch64")]
    // SAFETY: reads a register.
    unsafe {
        std::arch::asm!("mrs {}, tpidr_el0", out(reg) value);
    };
    value
}

/// From where a trap is moved, and to where.
static MOVES: [[AtomicU64; 2]; 1024] = [const { [AtomicU64::new(0), AtomicU64::new(0)] }; 1024];
static MOVED: AtomicU64 = AtomicU64::new(0);

/// Has traps at `from` go on at `to`.
///
/// # Panics
/// There are too many.
pub fn move_trap(from: Addr, to: Addr) {
    let free = MOVES.iter().find(|[at, _]| at.load(Ordering::Relaxed) == 0);
    let [at, target] = free.expect("1024 will do");
    target.store(to.0, Ordering::Relaxed);
    at.store(from.0, Ordering::Relaxed);
}

/// Has no trap moved any more.
pub fn forget_moves() {
    for [from, _] in &MOVES {
        from.store(0, Ordering::Relaxed);
    }
}

/// Traps that were moved since the last time.
#[must_use]
pub fn moved() -> u64 {
    MOVED.swap(0, Ordering::Relaxed)
}

/// Takes SIGTRAP over.
///
/// # Panics
/// The kernel does not let us.
pub fn handle_traps() {
    // SAFETY: all zeros is a sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = trapped as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: the handler keeps to what a handler may do.
    let set = unsafe { libc::sigaction(libc::SIGTRAP, &raw const action, std::ptr::null_mut()) };
    assert_eq!(set, 0, "sigaction");
}

extern "C" fn trapped(_: c_int, _: *const siginfo_t, context: *mut ucontext_t) {
    // SAFETY: the frame is ours until the handler returns.
    let context = unsafe { &mut *context };
    #[cfg(target_arch = "x86_64")]
    let pc = &mut context.uc_mcontext.gregs[libc::REG_RIP as usize];
    #[cfg(target_arch = "aarch64")]
    let pc = &mut context.uc_mcontext.pc;
    let at = (*pc as u64).wrapping_sub(<Hardware as Cpu>::Arch::TRAP_ADVANCE);
    let to = MOVES.iter().find(|[from, _]| from.load(Ordering::Relaxed) == at);
    let Some([_, to]) = to else {
        // SAFETY: ends the process, as the trap would have.
        unsafe { libc::_exit(133) }
    };
    *pc = to.load(Ordering::Relaxed) as _;
    MOVED.fetch_add(1, Ordering::Relaxed);
}
