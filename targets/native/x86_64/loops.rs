//! Functions with one instruction of each kind, to be probed and timed: see `crate::loops`.
//!
//! # Safety
//! Each function keeps to the ABI: what it changes belongs to its caller, but for what it saves.
#![allow(unsafe_code, reason = "functions in assembly")]

use crate::native::functions::functions;

/// What each kind of site is here, and how far behind the function's start it stands.
pub const SITES: [(&str, u64); 13] = [
    ("nopl (%rax,%rax)", 0),
    ("push %rbx", 0),
    ("mov %rdi,%rax", 0),
    ("add $1,%rdi", 0),
    ("mov -8(%rsp),%rax", 0),
    ("mov WORD(%rip),%rax", 0),
    ("lea WORD(%rip),%rax", 0),
    ("call FUNCTION", 0),
    ("call *%rdi", 0),
    ("jmp LABEL", 0),
    ("jne LABEL", 16),
    ("ret", 0),
    ("paddd %xmm1,%xmm0", 0),
];

/// How long one of the many NOPs is.
pub const NOP_LEN: u64 = 5;

functions! {
    "int3", ".byte 0x0f,0x1f,0x44,0,0", (att_syntax)
    "nop": "", "nopl 0(%rax,%rax,1)", "ret";
    "push": "", "push %rbx", "mov $1,%eax\npop %rbx\nret";
    "mov": "", "mov %rdi,%rax", "mov $1,%eax\nret";
    "add": "", "add $1,%rdi", "mov $1,%eax\nret";
    "load": "", "mov -8(%rsp),%rax", "ret";
    "pc_load": "", "mov xol_word(%rip),%rax", "ret";
    "pc_address": "", "lea xol_word(%rip),%rax", "ret";
    "call": "", "call xol_returns", "ret";
    "call_register": "", "call *%rdi", "mov $1,%eax\nret";
    "jump": "", "jmp 2f", "nop\nnop\nnop\n2: ret";
    "branch": "test %rdi,%rdi\n.balign 16", "jne 2f", "mov $1,%eax\n2: ret";
    "ret": "", "ret", "";
    "simd": "", "paddd %xmm1,%xmm0", "mov $1,%eax\nret";
}
