//! The two doors between this program and the code under test.
//!
//! In: `rt_sigreturn` with a made-up signal frame sets every register at once. Out: the trap or
//! fault the code runs into is a signal, whose frame holds every register; the handler keeps it
//! and goes back to whoever went in, without returning from the signal.
//!
//! # Safety
//!
//! - The tested code runs in this process. It is one instruction whose general registers are
//!   random or point into the windows, so what it writes is a window or (once in 2^64 / a few
//!   megabytes) a disaster; what it jumps to traps. It never writes TPIDR_EL0.
//! - `HOST_SP` is written by the thread that goes in and read by the handler that interrupts that
//!   thread; there is one thread here, which [`Doors::open`] asserts by taking the only token.
#![allow(unsafe_code, reason = "signal frames, fixed mappings, and two pieces of assembly")]

use std::arch::{asm, global_asm};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering};

use libc::{c_int, c_void, siginfo_t};
use xol_arch::Addr;
use xol_arch::arm64::Registers;

use super::vectors::{self, Vectors};

/// What a stopped run left.
pub(super) struct Stop {
    pub regs: Registers,
    pub vectors: Vectors,
    pub number: i32,
    pub code: i32,
    pub address: Addr,
}

/// The doors, opened once in a process.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Doors {
    windows: Vec<Addr>,
    code: Vec<CodePage>,
    /// A kernel-made frame, ours to change.
    frame: usize,
}

/// A page of code, and whether it is guarded by BTI.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct CodePage {
    pub at: Addr,
    pub guarded: bool,
}

impl CodePage {
    /// How the page is mapped while the tested code runs: it cannot write there.
    fn protection(self) -> c_int {
        libc::PROT_READ | libc::PROT_EXEC | if self.guarded { PROT_BTI } else { 0 }
    }
}

const PAGE: usize = 4096;
const PROT_BTI: c_int = 0x10;
const PR_SVE_SET_VL: c_int = 50;
const HWCAP_PACA: u64 = 1 << 30;
const SIGNALS: [c_int; 6] =
    [libc::SIGTRAP, libc::SIGSEGV, libc::SIGILL, libc::SIGFPE, libc::SIGBUS, libc::SIGALRM];

/// What the kernel lays out on the stack for a handler, from its siginfo on: what
/// `rt_sigreturn` takes back. The room for extended contexts is that of the vector length that
/// [`Doors::open`] chooses.
#[derive(Clone)]
#[repr(C, align(16))]
struct Frame {
    info: [u8; 128],
    context: Context,
}

/// Linux' `struct ucontext` for arm64.
#[derive(Clone)]
#[repr(C, align(16))]
struct Context {
    flags: u64,
    link: u64,
    stack: [u64; 3],
    mask: u64,
    unused: [u8; 120],
    machine: Machine,
}

/// Linux' `struct sigcontext` for arm64.
#[derive(Clone)]
#[repr(C, align(16))]
struct Machine {
    fault_address: u64,
    x: [u64; 31],
    sp: u64,
    pc: u64,
    pstate: u64,
    records: Records,
}

/// Vector registers and whatever else is there, as records.
#[derive(Clone)]
#[repr(C, align(16))]
struct Records([u8; vectors::RECORDS]);

#[unsafe(no_mangle)]
static XOL_DIFFERENTIAL_HOST_SP: AtomicU64 = AtomicU64::new(0);

static TAKEN: AtomicBool = AtomicBool::new(false);
static INSIDE: AtomicBool = AtomicBool::new(false);
static NUMBER: AtomicI32 = AtomicI32::new(0);
static CODE: AtomicI32 = AtomicI32::new(0);
static ADDRESS: AtomicU64 = AtomicU64::new(0);
/// Where the handler leaves a copy of the context.
static KEPT: AtomicPtr<Context> = AtomicPtr::new(ptr::null_mut());

global_asm!(
    // fn enter(frame: *const Frame): comes back through `leave`.
    "xol_differential_enter:",
    "stp x29, x30, [sp, #-176]!",
    "stp x19, x20, [sp, #16]",
    "stp x21, x22, [sp, #32]",
    "stp x23, x24, [sp, #48]",
    "stp x25, x26, [sp, #64]",
    "stp x27, x28, [sp, #80]",
    "stp d8, d9, [sp, #96]",
    "stp d10, d11, [sp, #112]",
    "stp d12, d13, [sp, #128]",
    "stp d14, d15, [sp, #144]",
    "mrs x9, fpcr",
    "str x9, [sp, #160]",
    "adrp x10, {host}",
    "mov x9, sp",
    "str x9, [x10, :lo12:{host}]",
    "mov sp, x0",
    "mov x8, #139",
    "svc #0",
    "brk #1",
    // fn leave() -> !: as if `enter` returned.
    "xol_differential_leave:",
    "adrp x10, {host}",
    "ldr x9, [x10, :lo12:{host}]",
    "mov sp, x9",
    "ldr x9, [sp, #160]",
    "msr fpcr, x9",
    "ldp d14, d15, [sp, #144]",
    "ldp d12, d13, [sp, #128]",
    "ldp d10, d11, [sp, #112]",
    "ldp d8, d9, [sp, #96]",
    "ldp x27, x28, [sp, #80]",
    "ldp x25, x26, [sp, #64]",
    "ldp x23, x24, [sp, #48]",
    "ldp x21, x22, [sp, #32]",
    "ldp x19, x20, [sp, #16]",
    "ldp x29, x30, [sp], #176",
    "ret",
    host = sym XOL_DIFFERENTIAL_HOST_SP,
);

unsafe extern "C" {
    fn xol_differential_enter(frame: *const Frame);
    fn xol_differential_leave() -> !;
}

extern "C" fn stopped(number: c_int, info: *const siginfo_t, context: *const Context) {
    // A signal that is not the tested code's: the timer, or a mistake of this program.
    if !INSIDE.swap(false, Ordering::Relaxed) {
        if number == libc::SIGALRM {
            return;
        }
        if TAKEN.load(Ordering::Relaxed) && number != libc::SIGTRAP {
            // SAFETY: ends the process, as the mistake would have.
            unsafe { libc::_exit(134) };
        }
        keep(context);
        // SAFETY: the frame is the kernel's until this returns; BRK would be run again.
        unsafe { (*context.cast_mut()).machine.pc += 4 };
        return;
    }
    NUMBER.store(number, Ordering::Relaxed);
    // SAFETY: the kernel passes a siginfo.
    let info = unsafe { &*info };
    CODE.store(info.si_code, Ordering::Relaxed);
    // SAFETY: for signals without an address this is some other field.
    ADDRESS.store(unsafe { info.si_addr() } as u64, Ordering::Relaxed);
    keep(context);
    // SAFETY: `enter` is waiting on the stack it left in HOST_SP.
    unsafe { xol_differential_leave() };
}

/// Copies a signal frame's context.
fn keep(context: *const Context) {
    // SAFETY: `open` made room before any signal came, for the life of the process.
    let kept = unsafe { &mut *KEPT.load(Ordering::Relaxed) };
    // SAFETY: the kernel's frame has a whole context.
    kept.clone_from(unsafe { &*context });
}

/// TPIDR_EL0.
pub(super) fn thread_pointer() -> u64 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {}, tpidr_el0", out(reg) value) };
    value
}

fn kept() -> &'static Context {
    // SAFETY: never freed, and changed only by the handler, which does not run while this
    // program looks.
    unsafe { &*KEPT.load(Ordering::Relaxed) }
}

impl Doors {
    /// Maps windows and code pages and takes the signals over.
    ///
    /// # Panics
    /// A second time in a process, and where the kernel does not allow something.
    pub(super) fn open(windows: &[Addr], code: &[CodePage]) -> Doors {
        assert!(!TAKEN.swap(true, Ordering::Relaxed), "one set of doors in a process");
        for window in windows {
            map(*window, libc::PROT_READ | libc::PROT_WRITE);
        }
        for page in code {
            map(page.at, page.protection());
        }
        // Where there are scalable vectors they are 256 bits, so that a frame has room for them.
        // SAFETY: changes the vector length of this thread; fails where there are none.
        unsafe { libc::prctl(PR_SVE_SET_VL, vectors::LENGTH) };
        handle_signals();
        // SAFETY: all zeros is a context.
        let empty: Box<Context> = Box::new(unsafe { std::mem::zeroed() });
        KEPT.store(Box::into_raw(empty), Ordering::Relaxed);
        // SAFETY: a trap, whose handler keeps the frame and returns behind it.
        unsafe { asm!("brk #1") };
        let frame = Box::leak(Box::new(Frame { info: [0; 128], context: kept().clone() }));
        let frame = ptr::from_ref(frame) as usize;
        tick();
        Doors { windows: windows.to_vec(), code: code.to_vec(), frame }
    }

    /// Fills a window.
    pub(super) fn write_window(&self, start: Addr, bytes: &[u8]) {
        assert!(self.windows.contains(&start) && bytes.len() == PAGE);
        // SAFETY: a mapped window of one page.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), start.0 as *mut u8, PAGE) };
    }

    /// A window's contents.
    pub(super) fn read_window(&self, start: Addr) -> Vec<u8> {
        assert!(self.windows.contains(&start));
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(start.0 as *const u8, PAGE) }.to_vec()
    }

    /// Writes code and makes it the code that is fetched. The page is writable for that moment,
    /// at its own address: an emulator notices no other way of writing.
    pub(super) fn write_code(&self, at: Addr, bytes: &[u8]) {
        let page = at.align_down(PAGE as u64);
        let page = self.code.iter().find(|mapped| mapped.at == page).expect("a code page");
        assert!(at.distance_from(page.at) as usize + bytes.len() <= PAGE);
        protect(page.at, libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: inside a writable page of code, which nobody runs now.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), at.0 as *mut u8, bytes.len()) };
        for line in (at.0 & !15..at.0 + bytes.len() as u64).step_by(16) {
            // SAFETY: cleans a line of that page to the point of unification.
            unsafe { asm!("dc cvau, {}", "dsb ish", "ic ivau, {0}", in(reg) line) };
        }
        // SAFETY: barriers.
        unsafe { asm!("dsb ish", "isb") };
        protect(page.at, page.protection());
    }

    /// Goes in and comes back.
    pub(super) fn pass(&mut self, regs: &Registers, vectors: &Vectors) -> Stop {
        // SAFETY: the leaked frame; nobody else holds a reference.
        let frame = unsafe { &mut *(self.frame as *mut Frame) };
        let machine = &mut frame.context.machine;
        vectors.store(&mut machine.records.0);
        machine.x = regs.x;
        machine.sp = regs.sp;
        machine.pc = regs.pc;
        machine.pstate = regs.pstate;
        INSIDE.store(true, Ordering::Relaxed);
        // SAFETY: the frame is complete; the handler comes back here.
        unsafe { xol_differential_enter(frame) };
        let machine = &kept().machine;
        Stop {
            regs: Registers {
                x: machine.x,
                sp: machine.sp,
                pc: machine.pc,
                pstate: machine.pstate,
            },
            vectors: Vectors::load(&machine.records.0),
            number: NUMBER.load(Ordering::Relaxed),
            code: CODE.load(Ordering::Relaxed),
            address: Addr(ADDRESS.load(Ordering::Relaxed)),
        }
    }

    /// Which registers this machine has: the others are made zero.
    pub(super) fn clip(&self, vectors: &mut Vectors) {
        let mut records = kept().machine.records.clone();
        vectors.store(&mut records.0);
        *vectors = Vectors::load(&records.0);
    }
}

/// One page at exactly `at`.
fn map(at: Addr, protection: c_int) {
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: replaces nothing.
    let got = unsafe { libc::mmap(at.0 as *mut c_void, PAGE, protection, kind, -1, 0) };
    assert!(got as u64 == at.0, "mmap {at}: {}", std::io::Error::last_os_error());
}

fn protect(page: Addr, protection: c_int) {
    // SAFETY: a page of code, which nobody runs now.
    let set = unsafe { libc::mprotect(page.0 as *mut c_void, PAGE, protection) };
    assert_eq!(set, 0, "mprotect {page}: {}", std::io::Error::last_os_error());
}

fn handle_signals() {
    let stack = Box::leak(vec![0_u8; 1 << 17].into_boxed_slice());
    let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: 1 << 17 };
    // SAFETY: memory that is never freed.
    let set = unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) };
    assert_eq!(set, 0, "sigaltstack");
    // SAFETY: all zeros is a sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = stopped as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
    // The timer waits while a handler runs; the next way in opens the mask again.
    // SAFETY: a whole set.
    unsafe { libc::sigaddset(&raw mut action.sa_mask, libc::SIGALRM) };
    for signal in SIGNALS {
        // SAFETY: the handler above keeps to what a handler may do.
        let set = unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
        assert_eq!(set, 0, "sigaction");
    }
}

/// A timer for code that does not come out.
fn tick() {
    let every = libc::timeval { tv_sec: 0, tv_usec: 100_000 };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: a whole itimerval.
    let set = unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, ptr::null_mut()) };
    assert_eq!(set, 0, "setitimer");
}

/// `pointer` signed for a branch by key A or B with `modifier`, as PACIA and PACIB do.
pub(super) fn sign(pointer: u64, modifier: u64, key_b: bool) -> u64 {
    let mut signed = pointer;
    // PACIA and PACIB x0, x1: undefined before Armv8.3, which `has_pauth` excludes.
    if key_b {
        // SAFETY: computes.
        unsafe { asm!(".inst 0xdac10420", inout("x0") signed, in("x1") modifier) };
    } else {
        // SAFETY: computes.
        unsafe { asm!(".inst 0xdac10020", inout("x0") signed, in("x1") modifier) };
    }
    signed
}

/// Whether pointers can be signed.
pub(super) fn has_pauth() -> bool {
    // SAFETY: reads the auxiliary vector.
    unsafe { libc::getauxval(libc::AT_HWCAP) & HWCAP_PACA != 0 }
}
