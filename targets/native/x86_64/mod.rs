//! x86-64: `struct user_regs_struct` of <asm/ptrace.h>, `struct rt_sigframe` of
//! arch/x86/include/asm/sigframe.h, and system calls by SYSCALL.

mod calls;
pub mod head;
mod loops;
mod ticks;

pub use calls::{
    called, caller, next_call, return_slot, returned, returning, saved_pc, set_saved_pc, sigreturn,
};
pub use loops::{NOP_LEN, SITES};
pub use ticks::{HAS_ATOMICS, STEADY, TICKS, thread_pointer, ticks};

use super::HandlerEntry;
use xol_arch::{Addr, x86_64};

/// The architecture this build traces.
pub type Native = x86_64::X86_64;
/// Its registers.
pub type Regs = x86_64::Registers;

/// Words in the NT_PRSTATUS register set.
pub const REGSET_WORDS: usize = 27;
/// The largest extended state that is saved around an injected call, in bytes (AMX included).
pub const FPSTATE_MAX: usize = 12 * 1024;
/// The register set that holds it: NT_X86_XSTATE.
pub const NT_FPSTATE: i32 = 0x202;
/// e_machine of this architecture's ELF files.
pub const ELF_MACHINE: u16 = 62;

/// Bytes below the stack pointer that belong to the running function (System V ABI, 3.2.2).
pub const RED_ZONE: u64 = 128;

/// `syscall; mov $15,%eax; syscall`: one call, then rt_sigreturn from the frame at RSP.
pub const CALL_STUB: &[u8] = &[0x0f, 0x05, 0xb8, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05];
/// `syscall; ret`, as programs have it.
pub const CALL_AND_RETURN: &[u8] = &[0x0f, 0x05, 0xc3];
/// What handlers return to: `mov $15,%rax; syscall` as glibc has it, and others.
pub const SIGRETURNS: [&[u8]; 2] =
    [&[0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05], &[0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05]];
/// How far into the stub the PC stands in both stops of the first call.
pub const CALL_STUB_STOP: u64 = 2;
/// Length of the instruction that makes a system call.
pub const SYSCALL_LEN: u64 = 2;
/// Whether a system call's result takes the place of its first argument.
pub const RESULT_IS_AN_ARG: bool = false;

/// Where the PC is in the register set, in bytes: for PTRACE_POKEUSER.
pub const USER_PC: Option<usize> = Some(16 * 8);

/// Registers from the kernel's NT_PRSTATUS words.
#[must_use]
pub fn from_words(w: &[u64; REGSET_WORDS]) -> Regs {
    Regs {
        r15: w[0],
        r14: w[1],
        r13: w[2],
        r12: w[3],
        rbp: w[4],
        rbx: w[5],
        r11: w[6],
        r10: w[7],
        r9: w[8],
        r8: w[9],
        rax: w[10],
        rcx: w[11],
        rdx: w[12],
        rsi: w[13],
        rdi: w[14],
        orig_rax: w[15],
        rip: w[16],
        cs: w[17],
        rflags: w[18],
        rsp: w[19],
        ss: w[20],
        fs_base: w[21],
        gs_base: w[22],
        ds: w[23],
        es: w[24],
        fs: w[25],
        gs: w[26],
    }
}

/// The kernel's NT_PRSTATUS words from registers.
#[must_use]
pub fn to_words(r: &Regs) -> [u64; REGSET_WORDS] {
    [
        r.r15, r.r14, r.r13, r.r12, r.rbp, r.rbx, r.r11, r.r10, r.r9, r.r8, r.rax, r.rcx, r.rdx,
        r.rsi, r.rdi, r.orig_rax, r.rip, r.cs, r.rflags, r.rsp, r.ss, r.fs_base, r.gs_base, r.ds,
        r.es, r.fs, r.gs,
    ]
}

/// Whether the thread is inside a system call that the kernel may restart.
#[must_use]
pub fn in_syscall(r: &Regs) -> bool {
    (r.orig_rax as i64) >= 0
}

/// The number of the call the thread is in.
#[must_use]
pub fn syscall_number(r: &Regs) -> u64 {
    r.orig_rax
}

/// Puts another call in the place of the one that the thread is in.
pub fn set_syscall_number(r: &mut Regs, number: u64) {
    r.orig_rax = number;
}

/// The result register as the kernel left it.
#[must_use]
pub fn result(r: &Regs) -> i64 {
    r.rax as i64
}

/// RAX is not an argument: those of a call that has ended are in the registers.
pub const FORGETS_AN_ARGUMENT: bool = false;

/// Argument `n` of a system call.
#[must_use]
pub fn syscall_arg(r: &Regs, n: usize) -> u64 {
    match n {
        0 => r.rdi,
        1 => r.rsi,
        2 => r.rdx,
        3 => r.r10,
        4 => r.r8,
        _ => r.r9,
    }
}

/// Sets argument `n` of a system call.
pub fn set_syscall_arg(r: &mut Regs, n: usize, value: u64) {
    match n {
        0 => r.rdi = value,
        1 => r.rsi = value,
        2 => r.rdx = value,
        3 => r.r10 = value,
        4 => r.r8 = value,
        _ => r.r9 = value,
    }
}

/// Makes the thread issue its current call again: PC back on the SYSCALL, RAX the number.
pub fn rewind_syscall(r: &mut Regs, number: i64, _: &[u64; 6]) {
    r.rip = r.rip.wrapping_sub(SYSCALL_LEN);
    r.rax = number as u64;
    r.orig_rax = u64::MAX;
}

/// Whether the thread stands behind a call that ended with EINTR; what is known of that call.
#[must_use]
pub fn interrupted(r: &Regs, _: Option<(i64, [u64; 6], Addr)>) -> Option<(i64, [u64; 6])> {
    let ended = in_syscall(r) && result(r) == -4;
    ended.then(|| (r.orig_rax as i64, std::array::from_fn(|n| syscall_arg(r, n))))
}

/// Whether the thread stands behind a call that the kernel is to issue again.
#[must_use]
pub fn awaits_restart(r: &Regs) -> bool {
    in_syscall(r) && is_restart(result(r))
}

/// Nothing: the kernel restarts the call itself from the registers that are given back.
pub fn resume_sleep(_: &mut Regs, _: Option<(i64, [u64; 6], Addr)>) {}

/// Nothing: a call leaves the extended state alone.
///
/// # Errors
/// None.
pub fn set_fpstate(_: crate::ptrace::Tid, _: &[u8]) -> std::io::Result<()> {
    Ok(())
}

/// Where the saved PC is in the signal frame that a handler finds at RSP.
pub const FRAME_PC: u64 = 8 + 40 + 16 * 8;

/// Registers that run the call stub at `stub` with the signal frame at `frame`.
#[must_use]
pub fn enter_stub(r: &Regs, stub: Addr, frame: Addr, number: u64, args: [u64; 6]) -> Regs {
    let mut call = *r;
    call.rip = stub.0;
    call.rsp = frame.0;
    call.rax = number;
    call.orig_rax = u64::MAX;
    for (n, value) in args.into_iter().enumerate() {
        set_syscall_arg(&mut call, n, value);
    }
    // DF would survive into rt_sigreturn only; TF would trap.
    call.rflags &= !0x500;
    call
}

/// Makes the return behind a call, made as by [`enter_stub`], lead to `to`: what is to stand below
/// the frame goes to the end of `below`.
pub fn return_to(call: &mut Regs, to: Addr, below: &mut [u8]) {
    call.rsp -= 8;
    let end = below.len();
    put(below, end - 8, to.0);
}

/// The size of a signal frame with `fpstate` bytes of extended state, with room to align.
#[must_use]
pub fn frame_size(fpstate: usize) -> usize {
    UCONTEXT + fpstate + 4 + 64 + 16
}

/// sizeof(struct ucontext).
const UCONTEXT: usize = 40 + 256 + 8;
/// sizeof(struct rt_sigframe): the return address, the context, siginfo_t.
const SIGFRAME: u64 = 8 + UCONTEXT as u64 + 128;
const SW_RESERVED: usize = 464;
const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;
/// UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS
const UC_FLAGS: u64 = 7;
/// stack_t as sigaltstack refuses it: sigreturn takes the alternate stack from here, and ignores
/// an error.
const NO_STACK: [u64; 3] = [0, 0xffff_ffff, 0];

/// Writes to `out` a signal frame that stands at `at` (16-byte aligned) and from which
/// rt_sigreturn restores `regs`, `mask` and the extended state `fpstate` (as [`get_fpstate`]
/// gives it). A thread in a restartable call gets the call again.
pub fn write_frame(regs: &Regs, mask: u64, fpstate: &[u8], at: Addr, out: &mut [u8]) {
    let mut regs = *regs;
    if in_syscall(&regs) && matches!(result(&regs), -516 | -514..=-512 | -4) {
        let number = regs.orig_rax as i64;
        rewind_syscall(&mut regs, number, &[0; 6]);
    }
    out.fill(0);
    let fp = ((at.0 + UCONTEXT as u64 + 63) & !63) - at.0;
    put_context(out, 0, at, &regs, mask, NO_STACK, fp as usize, fpstate);
}

/// struct ucontext at `uc` in what will stand at `base`, with the extended state at `fp` in it.
#[allow(clippy::too_many_arguments, reason = "what a frame is made of")]
fn put_context(
    out: &mut [u8],
    uc: usize,
    base: Addr,
    r: &Regs,
    mask: u64,
    stack: [u64; 3],
    fp: usize,
    fpstate: &[u8],
) {
    put(out, uc, UC_FLAGS);
    for (i, word) in stack.into_iter().enumerate() {
        put(out, uc + 16 + 8 * i, word);
    }
    let gregs = [
        r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, r.rdi, r.rsi, r.rbp, r.rbx, r.rdx,
        r.rax, r.rcx, r.rsp, r.rip, r.rflags,
    ];
    for (i, value) in gregs.into_iter().enumerate() {
        put(out, uc + 40 + 8 * i, value);
    }
    // cs, gs, fs, ss as four 16-bit words.
    put(out, uc + 40 + 8 * 18, (r.cs & 0xffff) | (r.ss & 0xffff) << 48);
    put(out, uc + 40 + 256, mask);
    if fpstate.len() >= 576 {
        put(out, uc + 40 + 8 * 23, base.0 + fp as u64);
        out[fp..fp + fpstate.len()].copy_from_slice(fpstate);
        // The regset carries XCR0 where the frame has struct _fpx_sw_bytes.
        let mut xcr0 = [0; 8];
        xcr0.copy_from_slice(&fpstate[SW_RESERVED..SW_RESERVED + 8]);
        let size = fpstate.len() as u32;
        let sw = fp + SW_RESERVED;
        out[sw..sw + 48].fill(0);
        out[sw..sw + 4].copy_from_slice(&FP_XSTATE_MAGIC1.to_ne_bytes());
        out[sw + 4..sw + 8].copy_from_slice(&(size + 4).to_ne_bytes());
        out[sw + 8..sw + 16].copy_from_slice(&xcr0);
        out[sw + 16..sw + 20].copy_from_slice(&size.to_ne_bytes());
        let end = fp + fpstate.len();
        out[end..end + 4].copy_from_slice(&FP_XSTATE_MAGIC2.to_ne_bytes());
    }
}

/// Whether a signal that finds the thread here does something to its call that only the kernel
/// knows: interrupts it, or has it made again.
#[must_use]
pub fn signal_concerns_call(r: &Regs, _: &[u8]) -> bool {
    awaits_restart(r)
}

/// What the kernel does to have a thread run a signal handler (setup_rt_frame() in
/// arch/x86/kernel/signal_64.c): the registers it begins with, where its frame stands, and the
/// frame, written to `out`. `None` where `out` has no room.
#[must_use]
pub fn enter_handler(entry: &HandlerEntry<'_>, out: &mut Vec<u8>) -> Option<(Regs, Addr)> {
    const DF_RF_TF: u64 = 0x400 | 0x1_0000 | 0x100;
    let r = entry.regs;
    let sp = entry.stack_top.map_or(r.rsp.wrapping_sub(RED_ZONE), |top| top.0);
    let fp = sp.checked_sub(entry.fpstate.len() as u64 + 4)? & !63;
    let at = (fp.checked_sub(SIGFRAME)? & !15).checked_sub(8)?;
    out.clear();
    out.resize((sp - at) as usize, 0);
    put(out, 0, entry.restorer.0);
    let to = (fp - at) as usize;
    put_context(out, 8, Addr(at), r, entry.mask, entry.stack, to, entry.fpstate);
    // trapno and err of INT3.
    put(out, 8 + 40 + 8 * 20, 3);
    let info = 8 + UCONTEXT;
    out[info..info + 128].copy_from_slice(entry.info);
    let mut regs = *r;
    regs.rip = entry.handler.0;
    regs.rsp = at;
    regs.rax = 0;
    regs.rdi = u64::from(entry.info[0]);
    regs.rsi = at + info as u64;
    regs.rdx = at + 8;
    regs.rflags &= !DF_RF_TF;
    regs.orig_rax = u64::MAX;
    Some((regs, Addr(at)))
}

/// What the signal frames on `stack` restore as the mask, the innermost first, each found by its return
/// address. (Its siginfo is only there for a handler with SA_SIGINFO.)
#[must_use]
pub fn masks_of_handlers(stack: &[u8], _: &Regs, restorer: Addr) -> Vec<u64> {
    const MASK: usize = 8 + 40 + 256;
    let places = (0..stack.len().saturating_sub(SIGFRAME as usize)).step_by(8);
    let frames = places.filter(|&at| word(stack, at) == restorer.0);
    frames.map(|at| word(stack, at + MASK)).collect()
}

/// Gives a thread that begins a handler the extended state that the kernel gives it: the initial
/// one (fpu__clear_user_states()).
///
/// # Errors
/// ESRCH.
pub fn clear_fpstate(tid: crate::ptrace::Tid) -> std::io::Result<()> {
    const XSTATE_BV: usize = 512;
    let mut state = vec![0; FPSTATE_MAX];
    let len = crate::ptrace::sys::get_regset(tid, NT_FPSTATE, &mut state).unwrap_or(0);
    if len < 576 {
        return Ok(());
    }
    state.truncate(len);
    state[..160].fill(0);
    // FCW and MXCSR; a component that XSTATE_BV does not name is initial.
    state[..2].copy_from_slice(&0x37fu16.to_ne_bytes());
    state[24..28].copy_from_slice(&0x1f80u32.to_ne_bytes());
    put(&mut state, XSTATE_BV, 0);
    crate::ptrace::sys::set_regset(tid, NT_FPSTATE, &state)
}

fn put(out: &mut [u8], at: usize, value: u64) {
    out[at..at + 8].copy_from_slice(&value.to_ne_bytes());
}

/// The end of user addresses with four-level page tables.
pub const USER_END: u64 = 0x7fff_ffff_f000;
/// Size of a page of memory in bytes.
pub const PAGE: u64 = 4096;

/// No simulated x86-64 instruction writes a vector register.
///
/// # Errors
/// Always.
pub fn set_vector(_: crate::ptrace::Tid, _: u8, _: u128) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// The extended state of a stopped thread, as the frame wants it; its length.
///
/// The register set always has room for AMX tiles. A signal frame has only where the thread may
/// use them: rt_sigreturn takes no more than the thread's own size (check_xstate_in_sigframe() in
/// arch/x86/kernel/fpu/signal.c) and would restore nothing but SSE.
#[must_use]
pub fn get_fpstate(tid: crate::ptrace::Tid, to: &mut [u8]) -> usize {
    /// Tile data: component 18, at the end (Intel SDM 1, 13.5).
    const TILES: u64 = 1 << 18;
    const TILES_AT: usize = 2816;
    const XSTATE_BV: usize = 512;
    let len = crate::ptrace::sys::get_regset(tid, NT_FPSTATE, to).unwrap_or(0);
    if len <= TILES_AT || word(to, XSTATE_BV) & TILES != 0 {
        return len;
    }
    put(to, SW_RESERVED, word(to, SW_RESERVED) & !TILES);
    TILES_AT
}

fn word(from: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&from[at..at + 8]);
    u64::from_ne_bytes(word)
}

/// Whether calls of a process also push to a shadow stack (CET): as /proc/PID/status tells it.
#[must_use]
pub fn has_shadow_stack(_: crate::ptrace::Tid, status: &str) -> bool {
    let features = status.lines().find_map(|line| line.strip_prefix("x86_Thread_features:"));
    features.is_some_and(|list| list.split_whitespace().any(|name| name == "shstk"))
}

/// How far from the code slots are mapped, in bytes: within every 32-bit displacement, with room
/// for the slots themselves.
pub const SLOT_REACH: u64 = (1 << 31) - (1 << 27);

/// Whether `si_code` of a SIGTRAP says that INT3 was executed.
#[must_use]
pub fn is_trap(code: i32) -> bool {
    code == crate::ptrace::sys::SI_KERNEL
}

/// Whether it says that a single step is done: TRAP_TRACE, or TRAP_BRKPT behind a system call.
#[must_use]
pub fn is_step(code: i32) -> bool {
    code == 2 || code == 1
}

/// Whether this call makes a child that shares memory by its nature.
#[must_use]
pub fn is_vfork(number: i64) -> bool {
    number == libc::SYS_vfork
}

/// fork(2), which not every architecture has.
#[must_use]
pub fn is_fork(number: i64) -> bool {
    number == libc::SYS_fork
}

/// epoll_wait, which not every architecture has.
#[must_use]
pub fn is_epoll_wait(number: i64) -> bool {
    number == libc::SYS_epoll_wait
}

/// io_pgetevents(2).
pub const SYS_IO_PGETEVENTS: i64 = 333;

/// Whether the kernel resumes this call exactly when a stop interrupts it: its deadline is kept
/// in a restart block, or it has none (signal(7), "Interruption of system calls by stop signals").
#[must_use]
pub fn restarts_exactly(number: i64) -> bool {
    matches!(
        number,
        libc::SYS_futex
            | libc::SYS_nanosleep
            | libc::SYS_clock_nanosleep
            | libc::SYS_poll
            | libc::SYS_wait4
            | libc::SYS_waitid
            | libc::SYS_pause
            | libc::SYS_restart_syscall
    )
}

/// Whether a result says that the kernel may issue the call again: ERESTARTSYS, ERESTARTNOINTR,
/// ERESTARTNOHAND, ERESTART_RESTARTBLOCK of linux/errno.h.
#[must_use]
pub fn is_restart(result: i64) -> bool {
    matches!(result, -514..=-512 | -516)
}

/// mmap(2).
pub const SYS_MMAP: i64 = libc::SYS_mmap;
/// rt_sigaction(2).
pub const SYS_RT_SIGACTION: i64 = libc::SYS_rt_sigaction;
/// ptrace(2).
pub const SYS_PTRACE: i64 = libc::SYS_ptrace;
/// PTRACE_TRACEME.
pub const PTRACE_TRACEME: u64 = libc::PTRACE_TRACEME as u64;
/// PROT_EXEC.
pub const PROT_EXEC: u64 = libc::PROT_EXEC as u64;
/// SIGTRAP.
pub const SIGTRAP: u64 = libc::SIGTRAP as u64;

/// The low 64 bits of vector register `n`: where a float or double is passed and returned.
#[must_use]
pub fn float(tid: crate::ptrace::Tid, n: usize) -> Option<u64> {
    let mut state = [0; 512];
    let size = crate::ptrace::sys::get_regset(tid, libc::NT_PRFPREG, &mut state).ok()?;
    let at = 160 + 16 * n;
    let mut word = [0; 8];
    word.copy_from_slice(state.get(..size)?.get(at..at + 8)?);
    Some(u64::from_ne_bytes(word))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_shadow_stack_is_told_by_the_kernel() {
        let tid = crate::ptrace::Tid(1);
        let with = "Name:\tx\nx86_Thread_features:\tshstk wrss \nSeccomp:\t0\n";
        assert!(super::has_shadow_stack(tid, with));
        assert!(!super::has_shadow_stack(tid, "Name:\tshstk\nx86_Thread_features:\t\n"));
    }
}
