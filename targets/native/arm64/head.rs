//! The head of what xol maps into a target: the call stub, and the SIGTRAP handler that keeps the
//! program running after its tracer died (RULES A3).
//!
//! # Safety
//! The code below is data here: it is read as bytes and runs only inside a target. The extern
//! statics delimit it; they are immutable and assembled in this file.
#![allow(unsafe_code)]

use core::arch::global_asm;

// Layout shared with targets/ptrace/head.rs. handler(x0 = signal, x1 = siginfo_t, x2 =
// ucontext_t); uc_mcontext.pc is at 440, pstate at 448, si_code at 8, si_addr at 16.
global_asm!(
    r#"
    .pushsection .rodata.xol_head, "a", %progbits
    .balign 16
    .globl xol_head_start
xol_head_start:
    // 0: one call, then rt_sigreturn from the frame at SP.
    svc #0
    mov x8, #139
    svc #0
    .balign 16
    // 16: the size of a page.
xol_page:
    .quad 4096
    // 24: written by the tracer.
xol_delivering:
    .quad 0
    // 32: written by the tracer.
xol_table:
    .quad 0
xol_ignored:
    .quad 0
    // 48: eight ranges of slots.
xol_ranges:
    .fill 16, 8, 0
    // 176: what a later xol knows the head by, and the version of this layout and of the table's.
    .ascii "xol head"
    .quad 1
    // 192: the handler.
    ldr x3, [x2, #440]
    ldr w4, [x1, #8]
    mov w14, w4
    cmp w4, #1
    b.eq 20f
    mov w5, #0x6f6c
    movk w5, #0x78, lsl #16
    cmp w4, w5
    b.ne 80f
    ldr x5, [x1, #16]
    cmp x3, x5
    b.ne 90f
    b 30f
20: adr x9, xol_ranges
    mov w10, #8
21: ldp x11, x12, [x9], #16
    cmp x3, x11
    b.lo 22f
    cmp x3, x12
    b.hs 22f
    // At a BRK behind a copy: what follows it is the way back.
    ldr w4, [x3]
    mov w5, #0x0de0
    movk w5, #0xd42f, lsl #16
    cmp w4, w5
    b.ne 90f
    add x3, x3, #4
    str x3, [x2, #440]
    ret
22: subs w10, w10, #1
    b.ne 21b
30: adr x9, xol_table
    ldr x9, [x9]
    cbz x9, 80f
    movz x10, #0x7c15
    movk x10, #0x7f4a, lsl #16
    movk x10, #0x79b9, lsl #32
    movk x10, #0x9e37, lsl #48
    mul x4, x3, x10
    lsr x4, x4, #32
    ldr x5, [x9]
31: and x4, x4, x5
    add x6, x4, x4, lsl #1
    add x6, x9, x6, lsl #3
    add x6, x6, #8
    ldr x7, [x6]
    cmp x7, x3
    b.eq 40f
    cbz x7, 80f
    add x4, x4, #1
    b 31b
40: ldr x7, [x6, #8]
    cbz x7, 50f
    str x7, [x2, #440]
    ldr x8, [x2, #448]
    and x8, x8, #~0xc00
    str x8, [x2, #448]
    ret
50: // No copy: put the original word back and run in place.
    mov x11, x3
    adr x12, xol_page
    ldr x12, [x12]
    sub x13, x12, #1
    bic x0, x11, x13
    mov x1, x12
    mov x2, #7
    mov x8, #226
    svc #0
    cbnz x0, 81f
    ldr x7, [x6, #16]
    str w7, [x11]
    dc cvau, x11
    dsb ish
    ic ivau, x11
    dsb ish
    isb
    bic x0, x11, x13
    mov x1, x12
    mov x2, #5
    mov x8, #226
    svc #0
    ret
80: // A step that the tracer, which died, asked for: TRAP_TRACE. No program can ask for one.
    cmp w14, #2
    b.eq 90f
    // A trap in whose place the tracer was about to deliver another signal: for the kernel ours is
    // sent by our parent, where the other's siginfo says another number.
    cbz w14, 85f
    cmp w14, #1
    b.ne 82f
    // The tracer died when it had moved the thread and not yet taken the trap's signal: to the
    // call stub, where the frame leads back without the call, ...
    adr x9, xol_head_start
    cmp x3, x9
    b.ne 83f
    add x3, x3, #4
    str x3, [x2, #440]
    ret
83: // ... or to where it goes on, which is no BRK.
    ldr w4, [x3]
    mov w5, #0x001f
    movk w5, #0xffe0, lsl #16
    and w4, w4, w5
    mov w5, #0xd4200000
    cmp w4, w5
    b.ne 90f
    b 82f
85: adr x9, xol_delivering
    ldr x9, [x9]
    ubfx x10, x9, #0, #56
    cmp x10, x3
    b.ne 87f
    lsr x10, x9, #56
    sub sp, sp, #32
    b 86f
87: // A step that ended at a system call's exit: SI_USER, from nobody.
    ldr w9, [x1, #16]
    cbz w9, 90f
82: // Not ours: what the program would have got without a handler. What it did itself is
    // forced on it even if it ignores the signal.
    cmp w14, #0
    b.gt 81f
    adr x9, xol_ignored
    ldr x9, [x9]
    cbnz x9, 90f
81: stp xzr, xzr, [sp, #-32]!
    stp xzr, xzr, [sp, #16]
    mov x0, #5
    mov x1, sp
    mov x2, #0
    mov x3, #8
    mov x8, #134
    svc #0
    mov x10, #5
86: mov x8, #172
    svc #0
    mov x9, x0
    mov x8, #178
    svc #0
    mov x1, x0
    mov x0, x9
    mov x2, x10
    mov x8, #131
    svc #0
    add sp, sp, #32
90: ret
    .globl xol_head_end
xol_head_end:
    .popsection
"#
);

unsafe extern "C" {
    static xol_head_start: u8;
    static xol_head_end: u8;
}

/// The head as bytes.
#[must_use]
pub fn head() -> &'static [u8] {
    let start = &raw const xol_head_start;
    let len = (&raw const xol_head_end).addr() - start.addr();
    // SAFETY: both labels delimit one object of .rodata, assembled above.
    unsafe { core::slice::from_raw_parts(start, len) }
}

/// Offset of the handler in the head.
pub const HANDLER: u64 = 192;
/// Offset of sa_restorer: none, the kernel's own returns (the vDSO).
pub const RESTORER: u64 = 0;
/// Offset of the word that says which signal is about to be delivered in the place of a trap: its
/// number above 56 bits of the thread's PC.
pub const DELIVERING: u64 = 24;
/// Offset of the pointer to the table.
pub const TABLE: u64 = 32;
/// Offset of the word that says the program itself ignores SIGTRAP.
pub const IGNORED: u64 = 40;
/// Offset of the ranges: pairs of first and one past last.
pub const RANGES: u64 = 48;
/// Offset of the page size.
pub const PAGE_SIZE: Option<u64> = Some(16);
/// Offset of the bytes that a later xol knows the head by.
pub const SIGNED: u64 = 176;
/// Those bytes: a name, and the version of the layout of the head and the table.
pub const SIGNATURE: [u8; 16] = *b"xol head\x01\0\0\0\0\0\0\0";
/// How many ranges there can be.
pub const MAX_RANGES: usize = 8;
/// Where scratch space for the arguments of injected calls begins.
pub const SCRATCH: u64 = 1024;
/// `si_code` of a trap whose effect the tracer computes ("xol").
pub const SI_DONE: i32 = 0x0078_6f6c;
/// sa_flags of the handler: SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER.
pub const SA_FLAGS: u64 = 4 | 0x0800_0000 | 0x1000_0000 | 0x4000_0000;
