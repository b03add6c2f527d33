//! Functions with one instruction of each kind, to be probed and timed: see `crate::loops`.
//!
//! # Safety
//! Each function keeps to the ABI: what it changes belongs to its caller, but for what it saves.
#![allow(unsafe_code, reason = "functions in assembly")]

use crate::native::functions::functions;

/// What each kind of site is here, and how far behind the function's start it stands.
pub const SITES: [(&str, u64); 13] = [
    ("nop", 0),
    ("stp x29, x30, [sp, #-16]!", 0),
    ("mov x1, x0", 0),
    ("adds x1, x0, #1", 0),
    ("ldr x1, [sp]", 0),
    ("ldr x1, WORD", 0),
    ("adrp x1, WORD", 0),
    ("bl FUNCTION", 16),
    ("blr x0", 16),
    ("b LABEL", 0),
    ("cbnz x0, LABEL", 0),
    ("ret", 0),
    ("add v0.4s, v0.4s, v1.4s", 0),
];

/// How long one of the many NOPs is.
pub const NOP_LEN: u64 = 4;

functions! {
    "brk #0", "nop", ()
    "nop": "", "nop", "ret";
    "push": "", "stp x29, x30, [sp, #-16]!", "ldp x29, x30, [sp], #16\nret";
    "mov": "", "mov x1, x0", "ret";
    "add": "", "adds x1, x0, #1", "ret";
    "load": "", "ldr x1, [sp]", "ret";
    "pc_load": "", "ldr x1, xol_word", "ret";
    "pc_address": "", "adrp x1, xol_word", "ret";
    "call": "mov x9, x30\n.balign 16", "bl xol_returns", "mov x30, x9\nret";
    "call_register": "mov x9, x30\n.balign 16", "blr x0", "mov x30, x9\nret";
    "jump": "", "b 2f", "nop\n2: ret";
    "branch": "", "cbnz x0, 2f", "nop\n2: ret";
    "ret": "", "ret", "";
    "simd": "", "add v0.4s, v0.4s, v1.4s", "ret";
}
