//! arm64: `struct user_pt_regs` of <asm/ptrace.h>, `struct rt_sigframe` of
//! arch/arm64/kernel/signal.c, and system calls by SVC #0.

mod calls;
pub mod head;
mod loops;
mod ticks;

use super::HandlerEntry;
pub use calls::{called, caller, next_call, return_slot, returned, returning};
pub use loops::{NOP_LEN, SITES};
pub use ticks::{HAS_ATOMICS, STEADY, TICKS, thread_pointer, ticks};

use crate::ptrace::{Stopped, Tid, sys};
use xol_arch::{Addr, Arch as _, Memory as _, arm64};

/// The architecture this build traces.
pub type Native = arm64::Arm64;
/// Its registers.
pub type Regs = arm64::Registers;

/// Words in the NT_PRSTATUS register set.
pub const REGSET_WORDS: usize = 34;
/// The largest floating-point and vector state that is saved around an injected call, in bytes:
/// NT_ARM_SVE with the longest vectors there are.
pub const FPSTATE_MAX: usize = 16 + 32 * 256 + 17 * 32 + 64;
const NT_ARM_SVE: i32 = 0x405;
/// e_machine of this architecture's ELF files.
pub const ELF_MACHINE: u16 = 183;

/// Bytes below the stack pointer that are left alone. AAPCS64 has no red zone; some compilers'
/// leaf code behaves as if it had one.
pub const RED_ZONE: u64 = 128;

/// `svc #0; mov x8, #139; svc #0`: one call, then rt_sigreturn from the frame at SP.
pub const CALL_STUB: &[u8] =
    &[0x01, 0x00, 0x00, 0xd4, 0x68, 0x11, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4];
/// `svc #0; ret`, as programs have it.
pub const CALL_AND_RETURN: &[u8] = &[0x01, 0x00, 0x00, 0xd4, 0xc0, 0x03, 0x5f, 0xd6];
/// What handlers return to, in the vDSO: `mov x8, #139; svc #0`.
pub const SIGRETURNS: [&[u8]; 1] = [&[0x68, 0x11, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4]];
/// How far into the stub the PC stands in both stops of the first call.
pub const CALL_STUB_STOP: u64 = 4;
/// Length of the instruction that makes a system call.
pub const SYSCALL_LEN: u64 = 4;
/// Whether a system call's result takes the place of its first argument.
pub const RESULT_IS_AN_ARG: bool = true;
/// There is no request that sets the PC alone.
pub const USER_PC: Option<usize> = None;
/// The end of user addresses with 48 bits.
pub const USER_END: u64 = 1 << 48;
/// Size of a page of memory in bytes, the smallest there is.
pub const PAGE: u64 = 4096;
/// How far from the code slots are mapped, in bytes: a B reaches 128 MiB.
pub const SLOT_REACH: u64 = (1 << 27) - (1 << 24);
/// io_pgetevents(2).
pub const SYS_IO_PGETEVENTS: i64 = 292;
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

/// Registers from the kernel's NT_PRSTATUS words.
#[must_use]
pub fn from_words(w: &[u64; REGSET_WORDS]) -> Regs {
    let mut x = [0; 31];
    x.copy_from_slice(&w[..31]);
    Regs { x, sp: w[31], pc: w[32], pstate: w[33] }
}

/// The kernel's NT_PRSTATUS words from registers.
#[must_use]
pub fn to_words(r: &Regs) -> [u64; REGSET_WORDS] {
    let mut w = [0; REGSET_WORDS];
    w[..31].copy_from_slice(&r.x);
    (w[31], w[32], w[33]) = (r.sp, r.pc, r.pstate);
    w
}

/// x0 has the result: the first argument of a call that has ended is gone from the registers.
pub const FORGETS_AN_ARGUMENT: bool = true;

/// Argument `n` of a system call.
#[must_use]
pub fn syscall_arg(r: &Regs, n: usize) -> u64 {
    r.x[n % 6]
}

/// Sets argument `n` of a system call.
pub fn set_syscall_arg(r: &mut Regs, n: usize, value: u64) {
    r.x[n % 6] = value;
}

/// The number of the call that a thread has just entered or left.
#[must_use]
pub fn syscall_number(r: &Regs) -> u64 {
    r.x[8]
}

/// Puts another call in the place of the one that the thread is in.
pub fn set_syscall_number(r: &mut Regs, number: u64) {
    r.x[8] = number;
}

/// The result register as the kernel left it.
#[must_use]
pub fn result(r: &Regs) -> i64 {
    r.x[0] as i64
}

/// The kernel has put the PC back on the SVC by the time a stop shows these registers, so they
/// never say that a call is to be restarted.
#[must_use]
pub fn in_syscall(_: &Regs) -> bool {
    false
}

/// Whether a result says that the kernel may issue the call again: ERESTARTSYS, ERESTARTNOINTR,
/// ERESTARTNOHAND, ERESTART_RESTARTBLOCK of linux/errno.h. Seen at a call's exit only.
#[must_use]
pub fn is_restart(result: i64) -> bool {
    matches!(result, -514..=-512 | -516)
}

/// Makes the thread issue again the call that ended with EINTR: its first argument is gone from
/// the registers, so `args` come from /proc.
pub fn rewind_syscall(r: &mut Regs, number: i64, args: &[u64; 6]) {
    r.pc = r.pc.wrapping_sub(SYSCALL_LEN);
    r.x[..6].copy_from_slice(args);
    r.x[8] = number as u64;
}

/// Whether the thread stands behind a call that ended with EINTR; what is known of that call.
#[must_use]
pub fn interrupted(r: &Regs, entered: Option<(i64, [u64; 6], Addr)>) -> Option<(i64, [u64; 6])> {
    let (number, args, pc) = entered?;
    (result(r) == -4 && r.pc == pc.0 && r.x[8] == number as u64).then_some((number, args))
}

/// Never: at a stop the PC is back on the call already.
#[must_use]
pub fn awaits_restart(_: &Regs) -> bool {
    false
}

/// A call made in a thread that is to go on with a relative sleep: where the kernel would make
/// it `restart_syscall`, which goes on with the time that is left, so is it made here.
pub fn resume_sleep(r: &mut Regs, entered: Option<(i64, [u64; 6], Addr)>) {
    const TIMER_ABSTIME: u64 = 1;
    let Some((number, args, pc)) = entered else { return };
    let relative = match number {
        libc::SYS_nanosleep => true,
        libc::SYS_clock_nanosleep => args[1] & TIMER_ABSTIME == 0,
        // FUTEX_WAIT with a timeout.
        libc::SYS_futex => args[1] & 0x7f == 0 && args[3] != 0,
        _ => false,
    };
    if relative && r.pc.wrapping_add(SYSCALL_LEN) == pc.0 {
        r.x[8] = libc::SYS_restart_syscall as u64;
    }
}

/// Registers that run the call stub at `stub` with the signal frame at `frame`.
#[must_use]
pub fn enter_stub(r: &Regs, stub: Addr, frame: Addr, number: u64, args: [u64; 6]) -> Regs {
    let mut call = *r;
    call.pc = stub.0;
    call.sp = frame.0;
    call.x[..6].copy_from_slice(&args);
    call.x[8] = number;
    // BTYPE and SS.
    call.pstate &= !(3 << 10 | 1 << 21);
    call
}

/// Makes the return behind a call, made as by [`enter_stub`], lead to `to`.
pub fn return_to(call: &mut Regs, to: Addr, _: &mut [u8]) {
    call.x[30] = to.0;
}

const UCONTEXT: usize = 128;
const MCONTEXT: usize = UCONTEXT + 176;
const RESERVED: usize = MCONTEXT + 288;
const RESERVED_LEN: usize = 4096;
const FPSIMD_MAGIC: u32 = 0x4650_8001;
const FPSIMD_LEN: usize = 528;
const SVE_MAGIC: u32 = 0x5356_4501;

/// The size of a signal frame.
#[must_use]
pub fn frame_size(_: usize) -> usize {
    RESERVED + RESERVED_LEN
}

/// stack_t as sigaltstack refuses it: sigreturn takes the alternate stack from here, and ignores
/// an error.
const NO_STACK: [u64; 3] = [0, 0xffff_ffff, 0];

/// Writes to `out` a signal frame from which rt_sigreturn restores `regs`, `mask` and the vector
/// state as [`get_fpstate`] gave it.
pub fn write_frame(regs: &Regs, mask: u64, fpstate: &[u8], _: Addr, out: &mut [u8]) {
    out.fill(0);
    put_context(out, regs, mask, NO_STACK, fpstate);
}

/// struct ucontext of a frame at the beginning of `out`.
fn put_context(out: &mut [u8], regs: &Regs, mask: u64, stack: [u64; 3], fpstate: &[u8]) {
    for (i, word) in stack.into_iter().enumerate() {
        put(out, UCONTEXT + 16 + 8 * i, word);
    }
    put(out, UCONTEXT + 40, mask);
    for (i, value) in regs.x.into_iter().enumerate() {
        put(out, MCONTEXT + 8 + 8 * i, value);
    }
    put(out, MCONTEXT + 256, regs.sp);
    put(out, MCONTEXT + 264, regs.pc);
    put(out, MCONTEXT + 272, regs.pstate);
    let Some((fpsimd, sve)) = fpstate.split_at_checked(FPSIMD) else { return };
    put32(out, RESERVED, FPSIMD_MAGIC);
    put32(out, RESERVED + 4, FPSIMD_LEN as u32);
    // user_fpsimd_state: the registers, then FPSR and FPCR.
    out[RESERVED + 8..RESERVED + 16].copy_from_slice(&fpsimd[512..520]);
    out[RESERVED + 16..RESERVED + 528].copy_from_slice(&fpsimd[..512]);
    let Some((header, state)) = sve.split_at_checked(16) else { return };
    let vl = u16::from_le_bytes([header[8], header[9]]);
    let quads = usize::from(vl) / 16;
    let len = (32 * 16 + 17 * 2) * quads;
    let at = RESERVED + FPSIMD_LEN;
    let size = (16 + len).next_multiple_of(16);
    if header[12] & 1 == 0 || state.len() < len || FPSIMD_LEN + size + 16 > RESERVED_LEN {
        return;
    }
    put32(out, at, SVE_MAGIC);
    put32(out, at + 4, size as u32);
    out[at + 8..at + 10].copy_from_slice(&vl.to_le_bytes());
    out[at + 16..at + 16 + len].copy_from_slice(&state[..len]);
}

/// Whether a signal that finds the thread here may do something to its call that only the kernel
/// knows: the PC is on an SVC, as it is when a call is to be made again.
#[must_use]
pub fn signal_concerns_call(_: &Regs, code: &[u8]) -> bool {
    arm64::Arm64::is_syscall(code)
}

/// What the kernel does to have a thread run a signal handler (setup_rt_frame() and
/// setup_return() in arch/arm64/kernel/signal.c): the registers it begins with, where its frame
/// stands, and the frame, written to `out`. `None` where there is no room.
#[must_use]
pub fn enter_handler(entry: &HandlerEntry<'_>, out: &mut Vec<u8>) -> Option<(Regs, Addr)> {
    /// PSTATE.TCO and BTYPE. The kernel has BTYPE say "call" where there is BTI; without it every
    /// place may be entered.
    const TCO: u64 = 1 << 25;
    const BTYPE: u64 = 3 << 10;
    let r = entry.regs;
    let sp = entry.stack_top.map_or(r.sp, |top| top.0);
    // A frame record as a function has it, for unwinders.
    let record = (sp & !15).checked_sub(16)?;
    let at = record.checked_sub((RESERVED + RESERVED_LEN) as u64)? & !15;
    out.clear();
    out.resize((record + 16 - at) as usize, 0);
    put_context(out, r, entry.mask, entry.stack, entry.fpstate);
    out[..128].copy_from_slice(entry.info);
    put(out, (record - at) as usize, r.x[29]);
    put(out, (record - at) as usize + 8, r.x[30]);
    let mut regs = *r;
    regs.x[0] = u64::from(entry.info[0]);
    regs.x[1] = at;
    regs.x[2] = at + UCONTEXT as u64;
    regs.x[29] = record;
    regs.x[30] = entry.restorer.0;
    regs.sp = at;
    regs.pc = entry.handler.0;
    regs.pstate &= !(BTYPE | TCO);
    Some((regs, Addr(at)))
}

/// Whether calls of a thread also push to a guarded control stack: struct user_gcs of NT_ARM_GCS.
#[must_use]
pub fn has_shadow_stack(tid: Tid, _: &str) -> bool {
    const NT_ARM_GCS: i32 = 0x410;
    const PR_SHADOW_STACK_ENABLE: u8 = 1;
    let mut state = [0; 24];
    sys::get_regset(tid, NT_ARM_GCS, &mut state).is_ok() && state[0] & PR_SHADOW_STACK_ENABLE != 0
}

/// What the signal frames on `stack` restore as the mask, the innermost first. A handler saves the address
/// it returns to, and before it that of the frame record which the kernel put above the signal frame; until
/// then LR and FP have both.
#[must_use]
pub fn masks_of_handlers(stack: &[u8], regs: &Regs, restorer: Addr) -> Vec<u64> {
    const MASK: usize = UCONTEXT + 40;
    let word = |at: usize| {
        let bytes = stack.get(at..at.checked_add(8)?)?.first_chunk::<8>()?;
        Some(u64::from_ne_bytes(*bytes))
    };
    let offset = |at: u64| usize::try_from(at.checked_sub(regs.sp)?).ok();
    let frame = |record: u64| {
        let at = offset(record.checked_sub((RESERVED + RESERVED_LEN) as u64)?)?;
        Some((word(at + MASK)?, at + MASK + 8))
    };
    let mut masks = Vec::new();
    let mut at = 8;
    let [fp, lr] = [regs.x[29], regs.x[30]];
    if lr == restorer.0
        && offset(fp).and_then(|at| word(at + 8)) != Some(lr)
        && let Some((mask, end)) = frame(fp)
    {
        masks.push(mask);
        at = end.next_multiple_of(8);
    }
    while let Some(saved) = word(at) {
        match word(at - 8).filter(|_| saved == restorer.0).and_then(frame) {
            Some((mask, end)) => {
                masks.push(mask);
                at = end.next_multiple_of(8).max(at + 8);
            }
            None => at += 8,
        }
    }
    masks
}

/// Nothing: a handler begins with the vector registers as they are.
///
/// # Errors
/// None.
pub fn clear_fpstate(_: Tid) -> std::io::Result<()> {
    Ok(())
}

fn put(out: &mut [u8], at: usize, value: u64) {
    out[at..at + 8].copy_from_slice(&value.to_ne_bytes());
}

fn put32(out: &mut [u8], at: usize, value: u32) {
    out[at..at + 4].copy_from_slice(&value.to_ne_bytes());
}

/// sizeof(struct user_fpsimd_state).
const FPSIMD: usize = 528;

/// The vector state of a stopped thread: user_fpsimd_state, then NT_ARM_SVE where there is SVE;
/// its length.
#[must_use]
pub fn get_fpstate(tid: Tid, to: &mut [u8]) -> usize {
    let (fpsimd, sve) = to.split_at_mut(FPSIMD);
    if sys::get_regset(tid, libc::NT_PRFPREG, fpsimd).is_err() {
        return 0;
    }
    FPSIMD + sys::get_regset(tid, NT_ARM_SVE, sve).unwrap_or(0)
}

/// Gives a thread back what a system call made in it took away: all of the SVE registers but
/// what FPSIMD shares is discarded by a call.
///
/// # Errors
/// ESRCH.
pub fn set_fpstate(tid: Tid, state: &[u8]) -> std::io::Result<()> {
    match state.get(FPSIMD..) {
        // SVE_PT_REGS_SVE: the registers were live.
        Some(sve) if sve.len() > 16 && sve[12] & 1 != 0 => sys::set_regset(tid, NT_ARM_SVE, sve),
        _ => Ok(()),
    }
}

/// Writes a vector register; its SVE bits above become zero.
///
/// # Errors
/// ESRCH.
pub fn set_vector(tid: Tid, n: u8, value: u128) -> std::io::Result<()> {
    let mut state = [0; FPSIMD];
    sys::get_regset(tid, libc::NT_PRFPREG, &mut state)?;
    let at = 16 * usize::from(n & 31);
    state[at..at + 16].copy_from_slice(&value.to_le_bytes());
    sys::set_regset(tid, libc::NT_PRFPREG, &state)
}

/// Whether `si_code` of a SIGTRAP says that BRK was executed: TRAP_BRKPT.
#[must_use]
pub fn is_trap(code: i32) -> bool {
    code == 1
}

/// Whether it says that a single step is done: TRAP_TRACE.
#[must_use]
pub fn is_step(code: i32) -> bool {
    code == 2
}

/// arm64 has no vfork(2).
#[must_use]
pub fn is_vfork(_: i64) -> bool {
    false
}

/// arm64 has no fork(2).
#[must_use]
pub fn is_fork(_: i64) -> bool {
    false
}

/// arm64 has no epoll_wait(2).
#[must_use]
pub fn is_epoll_wait(_: i64) -> bool {
    false
}

/// Whether the kernel resumes this call exactly when a stop interrupts it (signal(7)).
#[must_use]
pub fn restarts_exactly(number: i64) -> bool {
    matches!(number, libc::SYS_wait4 | libc::SYS_waitid | libc::SYS_restart_syscall)
}

/// Where the saved PC is in the signal frame that a handler finds at SP.
pub const FRAME_PC: u64 = (MCONTEXT + 264) as u64;

/// The low 64 bits of vector register `n`: where a float or double is passed and returned.
#[must_use]
pub fn float(tid: Tid, n: usize) -> Option<u64> {
    let mut state = [0; FPSIMD];
    let size = sys::get_regset(tid, libc::NT_PRFPREG, &mut state).ok()?;
    let mut word = [0; 8];
    word.copy_from_slice(state.get(..size)?.get(16 * n..16 * n + 8)?);
    Some(u64::from_ne_bytes(word))
}

/// At the first instruction of a signal handler, and at its rt_sigreturn: the PC and stack pointer
/// that it leads to.
#[must_use]
pub fn saved_pc(machine: &mut Stopped<'_>) -> Option<(Addr, Addr)> {
    use xol_arch::Regs as _;
    let frame = machine.seen().sp().0;
    let (mut pc, mut sp) = ([0; 8], [0; 8]);
    machine.read(Addr(frame + FRAME_PC), &mut pc).ok()?;
    machine.read(Addr(frame + (MCONTEXT + 256) as u64), &mut sp).ok()?;
    Some((Addr(u64::from_ne_bytes(pc)), Addr(u64::from_ne_bytes(sp))))
}

/// At the rt_sigreturn of a signal handler: the PC and stack pointer that it leads to.
#[must_use]
pub fn sigreturn(machine: &mut Stopped<'_>) -> Option<(Addr, Addr)> {
    let returns = machine.seen().x[8] as i64 == libc::SYS_rt_sigreturn;
    returns.then(|| saved_pc(machine))?
}

/// Changes that PC to `to`, for a call whose instruction is at `site`.
pub fn set_saved_pc(machine: &mut Stopped<'_>, to: Addr, site: Addr) {
    use xol_arch::Regs as _;
    let frame = machine.seen().sp().0;
    // The kernel has just written the frame there.
    let _ = machine.write(Addr(frame + FRAME_PC), &to.0.to_ne_bytes());
    let _ = site;
}
