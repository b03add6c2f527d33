//! The two doors between this program and the code under test.
//!
//! In: `rt_sigreturn` with a made-up signal frame sets every register at once. Out: the trap or
//! fault the code runs into is a signal, whose frame holds every register; the handler keeps it
//! and goes back to whoever went in, without returning from the signal. The bases of FS and GS
//! are not in a frame; they are changed by hand on both sides.
//!
//! # Safety
//!
//! - The tested code runs in this process. It is one instruction whose general registers are
//!   random or point into the windows, so what it writes is a window or (once in 2^64 / a few
//!   megabytes) a disaster; what it jumps to traps.
//! - `HOST` is written by the thread that goes in and by the handler that interrupts that thread;
//!   there is one thread here, which [`Doors::open`] asserts by taking the only token.
#![allow(unsafe_code, reason = "signal frames, fixed mappings, and two pieces of assembly")]

use std::arch::global_asm;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering};

use libc::{c_int, c_void, siginfo_t, ucontext_t};
use xol_arch::Addr;
use xol_arch::x86_64::Registers;

use super::xstate::{Offsets, Vectors};

/// What a stopped run left.
pub(super) struct Stop {
    /// With the PC and flags as the signal frame has them.
    pub regs: Registers,
    pub vectors: Vectors,
    pub number: i32,
    pub code: i32,
    pub address: Addr,
}

/// A page under test and where it can be written: code has two addresses, so that no page is
/// writable and executable.
#[derive(Clone, Debug, PartialEq)]
struct Page {
    at: Addr,
    writable: usize,
}

/// The doors, opened once in a process.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Doors {
    windows: Vec<Addr>,
    code: Vec<Page>,
    offsets: Offsets,
    /// A kernel-made frame, ours to change: the context, and the FPU's area behind it.
    frame: usize,
    area: usize,
    area_len: usize,
}

const PAGE: usize = 4096;
const SIGNALS: [c_int; 6] =
    [libc::SIGTRAP, libc::SIGSEGV, libc::SIGILL, libc::SIGFPE, libc::SIGBUS, libc::SIGALRM];

/// What the assembly shares with Rust.
#[repr(C)]
struct Host {
    rsp: AtomicU64,
    fs_base: AtomicU64,
    gs_base: AtomicU64,
    guest_fs: AtomicU64,
    guest_gs: AtomicU64,
}

#[unsafe(no_mangle)]
static XOL_DIFFERENTIAL_HOST: Host = Host {
    rsp: AtomicU64::new(0),
    fs_base: AtomicU64::new(0),
    gs_base: AtomicU64::new(0),
    guest_fs: AtomicU64::new(0),
    guest_gs: AtomicU64::new(0),
};

static TAKEN: AtomicBool = AtomicBool::new(false);
static INSIDE: AtomicBool = AtomicBool::new(false);
static NUMBER: AtomicI32 = AtomicI32::new(0);
static CODE: AtomicI32 = AtomicI32::new(0);
static ADDRESS: AtomicU64 = AtomicU64::new(0);
/// Where the handler leaves a copy of the context and of the FPU's area.
static KEPT: AtomicPtr<Kept> = AtomicPtr::new(ptr::null_mut());

const AREA: usize = 1 << 14;

/// The area comes first: XRSTOR wants it at a multiple of 64.
#[repr(C, align(64))]
struct Kept {
    area: [u8; AREA],
    context: MaybeUninit<ucontext_t>,
}

global_asm!(
    // fn enter(context: *const ucontext_t, fs: u64, gs: u64): comes back through `leave`.
    "xol_differential_enter:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "lea rax, [rip + {host}]",
    "mov [rax], rsp",
    "rdfsbase rcx",
    "mov [rax + 8], rcx",
    "rdgsbase rcx",
    "mov [rax + 16], rcx",
    "mov rsp, rdi",
    "wrfsbase rsi",
    "wrgsbase rdx",
    "mov eax, 15",
    "syscall",
    "ud2",
    // The handler's first instructions: this program's FS is not there yet, and the tested code
    // may have set AC. rdi, rsi, rdx are the handler's arguments.
    "xol_differential_handler:",
    "lea rax, [rip + {host}]",
    "rdfsbase rcx",
    "mov [rax + 24], rcx",
    "rdgsbase rcx",
    "mov [rax + 32], rcx",
    "mov rcx, [rax + 8]",
    "wrfsbase rcx",
    "mov rcx, [rax + 16]",
    "wrgsbase rcx",
    "pushfq",
    "and dword ptr [rsp], {not_ac}",
    "popfq",
    "sub rsp, 8",
    "call {stopped}",
    "add rsp, 8",
    "ret",
    // fn leave() -> !: as if `enter` returned.
    "xol_differential_leave:",
    "lea rax, [rip + {host}]",
    "mov rsp, [rax]",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    host = sym XOL_DIFFERENTIAL_HOST,
    stopped = sym stopped,
    not_ac = const !(1 << 18),
);

unsafe extern "C" {
    fn xol_differential_enter(context: *const ucontext_t, fs: u64, gs: u64);
    fn xol_differential_handler();
    fn xol_differential_leave() -> !;
}

/// The handler, with this program's FS.
extern "C" fn stopped(number: c_int, info: *const siginfo_t, context: *const ucontext_t) {
    // A signal that is not the tested code's: the timer, or a mistake of this program.
    if !INSIDE.swap(false, Ordering::Relaxed) {
        if number != libc::SIGALRM && !KEPT.load(Ordering::Relaxed).is_null() {
            // SAFETY: ends the process, as the mistake would have.
            unsafe { libc::_exit(134) };
        }
        if number != libc::SIGALRM {
            keep(context);
        }
        return;
    }
    NUMBER.store(number, Ordering::Relaxed);
    // SAFETY: the kernel passes a siginfo.
    CODE.store(unsafe { (*info).si_code }, Ordering::Relaxed);
    // SAFETY: as above.
    let info = unsafe { &*info };
    // SAFETY: for signals without an address this is some other field.
    ADDRESS.store(unsafe { info.si_addr() } as u64, Ordering::Relaxed);
    keep(context);
    // SAFETY: `enter` is waiting on the stack it left in HOST.
    unsafe { xol_differential_leave() };
}

/// Copies a signal frame.
fn keep(context: *const ucontext_t) {
    let mut kept = KEPT.load(Ordering::Relaxed);
    if kept.is_null() {
        kept = Box::into_raw(Box::new(Kept { context: MaybeUninit::uninit(), area: [0; AREA] }));
        KEPT.store(kept, Ordering::Relaxed);
    }
    // SAFETY: the kernel's frame has the context.
    let from = unsafe { (*context).uc_mcontext.fpregs }.cast::<u8>();
    // SAFETY: `kept` is ours for the life of the process.
    let kept = unsafe { &mut *kept };
    // SAFETY: `context` points to a whole context, of which the kernel's part is its beginning.
    kept.context.write(unsafe { ptr::read(context) });
    // SAFETY: the legacy region, which says how long the area is, is always there.
    let head = unsafe { std::slice::from_raw_parts(from, 512) };
    let len = Offsets::size(head).clamp(512, AREA);
    // SAFETY: that long is the area, as the kernel says in it.
    kept.area[..len].copy_from_slice(unsafe { std::slice::from_raw_parts(from, len) });
}

fn kept() -> &'static Kept {
    // SAFETY: not null once a frame was kept, never freed, and changed only by the handler, which
    // does not run while this program looks.
    unsafe { &*KEPT.load(Ordering::Relaxed) }
}

impl Doors {
    /// Maps windows and code pages and takes the signals over.
    ///
    /// # Panics
    /// A second time in a process, and where the kernel does not allow something.
    pub(super) fn open(windows: &[Addr], code: &[Addr]) -> Doors {
        assert!(!TAKEN.swap(true, Ordering::Relaxed), "one set of doors in a process");
        for window in windows {
            map(*window, libc::PROT_READ | libc::PROT_WRITE, -1, 0);
        }
        let code = code_pages(code);
        handle_signals();
        // SAFETY: a trap, whose handler keeps the frame and returns.
        unsafe { std::arch::asm!("int3") };
        let offsets = Offsets::of(&kept().area);
        let area_len = Offsets::size(&kept().area);
        let frame = Box::leak(Box::new(Kept { context: kept().context, area: kept().area }));
        // SAFETY: the handler has written it.
        let context = unsafe { frame.context.assume_init_mut() };
        context.uc_mcontext.fpregs = frame.area.as_mut_ptr().cast();
        let (area, frame) = (frame.area.as_ptr() as usize, ptr::from_ref(context) as usize);
        tick();
        Doors { windows: windows.to_vec(), code, offsets, frame, area, area_len }
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

    /// Writes code; the `rt_sigreturn` that follows serialises.
    pub(super) fn write_code(&self, at: Addr, bytes: &[u8]) {
        let page = at.align_down(PAGE as u64);
        let page = self.code.iter().find(|mapped| mapped.at == page).expect("a code page");
        let offset = at.distance_from(page.at) as usize;
        assert!(offset + bytes.len() <= PAGE);
        let to = (page.writable + offset) as *mut u8;
        // SAFETY: inside the writable mapping of that page.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// Goes in and comes back.
    pub(super) fn pass(&mut self, regs: &Registers, vectors: &Vectors) -> Stop {
        // SAFETY: the leaked frame; nobody else holds a reference.
        let area = unsafe { std::slice::from_raw_parts_mut(self.area as *mut u8, self.area_len) };
        self.offsets.store(vectors, area);
        // SAFETY: as above.
        let context = unsafe { &mut *(self.frame as *mut ucontext_t) };
        let greg = &mut context.uc_mcontext.gregs;
        for (index, value) in numbered(regs) {
            greg[index as usize] = value.cast_signed();
        }
        greg[libc::REG_EFL as usize] = (regs.rflags | 0x202).cast_signed();
        INSIDE.store(true, Ordering::Relaxed);
        // SAFETY: the frame is complete; the handler comes back here.
        unsafe { xol_differential_enter(context, regs.fs_base, regs.gs_base) };
        let kept = kept();
        // SAFETY: the handler has just written it.
        let context = unsafe { kept.context.assume_init_ref() };
        let greg = |index: c_int| context.uc_mcontext.gregs[index as usize].cast_unsigned();
        Stop {
            regs: Registers {
                rax: greg(libc::REG_RAX),
                rcx: greg(libc::REG_RCX),
                rdx: greg(libc::REG_RDX),
                rbx: greg(libc::REG_RBX),
                rsp: greg(libc::REG_RSP),
                rbp: greg(libc::REG_RBP),
                rsi: greg(libc::REG_RSI),
                rdi: greg(libc::REG_RDI),
                r8: greg(libc::REG_R8),
                r9: greg(libc::REG_R9),
                r10: greg(libc::REG_R10),
                r11: greg(libc::REG_R11),
                r12: greg(libc::REG_R12),
                r13: greg(libc::REG_R13),
                r14: greg(libc::REG_R14),
                r15: greg(libc::REG_R15),
                rip: greg(libc::REG_RIP),
                rflags: greg(libc::REG_EFL),
                fs_base: XOL_DIFFERENTIAL_HOST.guest_fs.load(Ordering::Relaxed),
                gs_base: XOL_DIFFERENTIAL_HOST.guest_gs.load(Ordering::Relaxed),
                orig_rax: u64::MAX,
                ..Registers::default()
            },
            vectors: self.offsets.load(&kept.area),
            number: NUMBER.load(Ordering::Relaxed),
            code: CODE.load(Ordering::Relaxed),
            address: Addr(ADDRESS.load(Ordering::Relaxed)),
        }
    }

    /// Which registers this machine has: the others are made zero.
    pub(super) fn clip(&self, vectors: &mut Vectors) {
        let mut area = kept().area;
        self.offsets.store(vectors, &mut area);
        *vectors = self.offsets.load(&area);
    }
}

fn numbered(regs: &Registers) -> [(c_int, u64); 17] {
    [
        (libc::REG_RAX, regs.rax),
        (libc::REG_RCX, regs.rcx),
        (libc::REG_RDX, regs.rdx),
        (libc::REG_RBX, regs.rbx),
        (libc::REG_RSP, regs.rsp),
        (libc::REG_RBP, regs.rbp),
        (libc::REG_RSI, regs.rsi),
        (libc::REG_RDI, regs.rdi),
        (libc::REG_R8, regs.r8),
        (libc::REG_R9, regs.r9),
        (libc::REG_R10, regs.r10),
        (libc::REG_R11, regs.r11),
        (libc::REG_R12, regs.r12),
        (libc::REG_R13, regs.r13),
        (libc::REG_R14, regs.r14),
        (libc::REG_R15, regs.r15),
        (libc::REG_RIP, regs.rip),
    ]
}

/// One page at exactly `at`, or anywhere for 0.
fn map(at: Addr, protection: c_int, file: c_int, offset: usize) -> usize {
    let fixed = if at.0 == 0 { 0 } else { libc::MAP_FIXED_NOREPLACE };
    let kind = if file < 0 { libc::MAP_PRIVATE | libc::MAP_ANONYMOUS } else { libc::MAP_SHARED };
    let offset = offset as libc::off_t;
    // SAFETY: replaces nothing.
    let got =
        unsafe { libc::mmap(at.0 as *mut c_void, PAGE, protection, kind | fixed, file, offset) };
    assert!(got != libc::MAP_FAILED, "mmap {at}: {}", std::io::Error::last_os_error());
    got as usize
}

/// Each page twice: executable where it is wanted, writable elsewhere.
fn code_pages(at: &[Addr]) -> Vec<Page> {
    // SAFETY: a name and no flags.
    let file = unsafe { libc::memfd_create(c"code".as_ptr(), 0) };
    // SAFETY: the file just made.
    let sized = unsafe { libc::ftruncate(file, (at.len() * PAGE) as libc::off_t) };
    assert!(file >= 0 && sized == 0, "memfd: {}", std::io::Error::last_os_error());
    let page = |(i, at): (usize, &Addr)| {
        map(*at, libc::PROT_READ | libc::PROT_EXEC, file, i * PAGE);
        let writable = map(Addr(0), libc::PROT_READ | libc::PROT_WRITE, file, i * PAGE);
        Page { at: *at, writable }
    };
    at.iter().enumerate().map(page).collect()
}

fn handle_signals() {
    let stack = Box::leak(vec![0_u8; 1 << 17].into_boxed_slice());
    let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: 1 << 17 };
    // SAFETY: memory that is never freed.
    let set = unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) };
    assert_eq!(set, 0, "sigaltstack");
    // SAFETY: all zeros is a sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = xol_differential_handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
    // The timer waits while a handler runs; the next way in opens the mask again.
    // SAFETY: a whole set.
    unsafe { libc::sigaddset(&raw mut action.sa_mask, libc::SIGALRM) };
    for signal in SIGNALS {
        // SAFETY: the handler above keeps to what a handler may do.
        let set = unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
        assert_eq!(set, 0, "sigaction");
    }
    // What the handler puts back before `enter` first saved them.
    let host = &XOL_DIFFERENTIAL_HOST;
    let (fs, gs): (u64, u64);
    // SAFETY: reads two registers; Linux allows it since 5.9.
    unsafe { std::arch::asm!("rdfsbase {}", "rdgsbase {}", out(reg) fs, out(reg) gs) };
    host.fs_base.store(fs, Ordering::Relaxed);
    host.gs_base.store(gs, Ordering::Relaxed);
}

/// A timer for code that does not come out.
fn tick() {
    let every = libc::timeval { tv_sec: 0, tv_usec: 100_000 };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: a whole itimerval.
    let set = unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, ptr::null_mut()) };
    assert_eq!(set, 0, "setitimer");
}
