//! The head of what xol maps into a target: the call stub, and the SIGTRAP handler that keeps the
//! program running after its tracer died (RULES A3).
//!
//! # Safety
//! The code below is data here: it is read as bytes and runs only inside a target. The extern
//! statics delimit it; they are immutable and assembled in this file.
#![allow(unsafe_code)]

use core::arch::global_asm;

// Layout shared with targets/ptrace/head.rs:
//   handler(edi = signal, rsi = siginfo_t, rdx = ucontext_t); uc_mcontext.gregs[REG_RIP] is at
//   168, gregs[REG_EFL] at 176, si_code at 8, si_addr at 16.
// The table: a mask, then entries (site, destination or 0, original bytes) of 24 bytes, found by
// ((site * K) >> 32) & mask and probed upwards.
global_asm!(
    r#"
    .pushsection .rodata.xol_head, "a", @progbits
    .balign 16
    .globl xol_head_start
xol_head_start:
    // 0: one call, then rt_sigreturn from the frame at RSP.
    syscall
    mov eax, 15
    syscall
    .balign 16
    // 16: sa_restorer.
    mov eax, 15
    syscall
    .balign 8
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
    mov r8, [rdx + 168]
    lea rcx, [r8 - 1]
    mov eax, [rsi + 8]
    // SI_KERNEL: INT3 raised it.
    mov r11d, eax
    cmp eax, 0x80
    je 20f
    // The tracer had computed the effect of the site in si_addr; it died before or after it
    // set the registers.
    cmp eax, 0x786f6c
    jne 80f
    cmp rcx, [rsi + 16]
    jne 90f
    jmp 30f
20: // A trap behind a copy: what follows it is the way back.
    lea r9, [rip + xol_ranges]
    mov eax, 8
21: cmp r8, [r9]
    jb 22f
    cmp r8, [r9 + 8]
    jb 90f
22: add r9, 16
    dec eax
    jnz 21b
30: mov r9, [rip + xol_table]
    test r9, r9
    jz 80f
    movabs r10, 0x9e3779b97f4a7c15
    mov rax, rcx
    imul rax, r10
    shr rax, 32
31: and rax, [r9]
    lea r10, [rax + rax * 2]
    lea r10, [r9 + r10 * 8 + 8]
    cmp rcx, [r10]
    je 40f
    cmp qword ptr [r10], 0
    je 80f
    inc rax
    jmp 31b
40: mov rax, [r10 + 8]
    test rax, rax
    jz 50f
    mov [rdx + 168], rax
    ret
50: // No copy: put the original byte back and run in place. Through /proc/self/mem, which needs
    // no change of protection that another thread here could undo in between.
    mov r8, rdx
    mov r9, rcx
    lea rdi, [rip + xol_mem]
    mov esi, 0x80001
    xor edx, edx
    mov eax, 2
    syscall
    test eax, eax
    js 60f
    mov edi, eax
    lea rsi, [r10 + 16]
    mov edx, 1
    push r10
    mov r10, r9
    mov eax, 18
    syscall
    pop r10
    push rax
    mov eax, 3
    syscall
    pop rax
    cmp eax, 1
    je 70f
60: // Without /proc the page stays writable, for the same reason.
    mov rdi, r9
    and rdi, -4096
    mov esi, 4096
    mov edx, 7
    mov eax, 10
    syscall
    test eax, eax
    jnz 81f
    mov al, [r10 + 16]
    mov [r9], al
70: mov [r8 + 168], r9
    ret
xol_mem:
    .asciz "/proc/self/mem"
80: cmp r11d, 0x80
    jne 84f
    // The tracer died when it had moved the thread and not yet taken the trap's signal: to the
    // call stub, where the frame leads back without the call, ...
    lea rcx, [rip + xol_head_start]
    cmp r8, rcx
    jne 83f
    add qword ptr [rdx + 168], 2
    ret
83: // ... or to where it goes on. Only a trap is behind INT3 (CC, CD 03).
    test r8d, 0xfff
    jz 82f
    mov al, [r8 - 1]
    cmp al, 0xcc
    je 82f
    cmp al, 3
    jne 90f
    lea ecx, [r8 - 1]
    test ecx, 0xfff
    jz 82f
    cmp byte ptr [r8 - 2], 0xcd
    jne 90f
    jmp 82f
84: // A step that the tracer, which died, asked for: TRAP_TRACE, or TRAP_BRKPT behind a system call.
    // The kernel has ended it. Of the program's own TF is in the flags.
    test dword ptr [rdx + 176], 0x100
    jnz 82f
    cmp r11d, 2
    je 90f
    // A trap in whose place the tracer was about to deliver another signal: for the kernel ours is
    // sent by our parent, where the other's siginfo says another number.
    test r11d, r11d
    jz 85f
    cmp r11d, 1
    jne 82f
    cmp byte ptr [r8 - 1], 0x05
    jne 82f
    cmp byte ptr [r8 - 2], 0x0f
    je 90f
    jmp 82f
85: mov rax, [rip + xol_delivering]
    mov r9, rax
    shr r9, 56
    shl rax, 8
    shr rax, 8
    cmp rax, r8
    jne 82f
    sub rsp, 40
    jmp 86f
82: // Not ours: what the program would have got without a handler. What it did itself is
    // forced on it even if it ignores the signal.
    test r11d, r11d
    jg 81f
    cmp qword ptr [rip + xol_ignored], 0
    jne 90f
81:
    sub rsp, 40
    xor eax, eax
    mov [rsp], rax
    mov [rsp + 8], rax
    mov [rsp + 16], rax
    mov [rsp + 24], rax
    mov edi, 5
    mov rsi, rsp
    xor edx, edx
    mov r10d, 8
    mov eax, 13
    syscall
    mov r9d, 5
86: mov eax, 39
    syscall
    mov r8d, eax
    mov eax, 186
    syscall
    mov edi, r8d
    mov esi, eax
    mov edx, r9d
    mov eax, 234
    syscall
    add rsp, 40
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
/// Offset of sa_restorer.
pub const RESTORER: u64 = 16;
/// Offset of the word that says which signal is about to be delivered in the place of a trap: its
/// number above 56 bits of the thread's PC.
pub const DELIVERING: u64 = 24;
/// Offset of the pointer to the table.
pub const TABLE: u64 = 32;
/// Offset of the word that says the program itself ignores SIGTRAP.
pub const IGNORED: u64 = 40;
/// Offset of the ranges: pairs of first and one past last.
pub const RANGES: u64 = 48;
/// Offset of the page size; pages have 4 KiB.
pub const PAGE_SIZE: Option<u64> = None;
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
/// sa_flags of the handler: SA_SIGINFO | SA_RESTORER | SA_ONSTACK | SA_RESTART | SA_NODEFER.
pub const SA_FLAGS: u64 = 4 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x4000_0000;
