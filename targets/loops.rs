//! Functions that are probed in order to be timed: one for each kind of site.
//!
//! They are part of xol itself, so that `xol compare` needs nothing but its own file: it starts
//! itself as the program that is probed. Each function stands twice, 64 bytes apart: one is probed,
//! its twin is not. The one argument is the address of a function that only returns.
//!
//! # Safety
//! Every `unsafe` block calls one of these functions, whose text is in `native/*/loops.rs`: each
//! keeps to the ABI, and none touches memory but its own stack and a word beside the code.
#![allow(unsafe_code, reason = "functions written in assembly")]

use crate::native::{NOP_LEN, SITES};
use std::hint::black_box;

/// The names of the kinds, which are the same on both architectures.
pub const KINDS: [&str; SITES.len()] = [
    "nop",
    "push",
    "mov",
    "add",
    "load",
    "pc-load",
    "pc-address",
    "call",
    "call-register",
    "jump",
    "branch",
    "ret",
    "simd",
];

/// How many places [`nop`] gives.
pub const NOPS: usize = 512;

/// From one function to the next.
const STEP: u64 = 64;
/// Behind two functions for each kind: the one that returns, one that traps, and many NOPs.
const RETURNS: u64 = 2 * SITES.len() as u64 * STEP;
const TRAP: u64 = RETURNS + STEP;
const MANY: u64 = TRAP + STEP;

unsafe extern "C" {
    /// Where the first of them begins.
    static xol_loops: u8;
}

type Function = unsafe extern "C" fn(u64);

fn at(offset: u64) -> u64 {
    (&raw const xol_loops).addr() as u64 + offset
}

fn call(function: u64, times: u64) {
    let function = std::ptr::with_exposed_provenance::<()>(function as usize);
    // SAFETY: one of the functions of `native/*/loops.rs`, which are called so.
    let function = unsafe { std::mem::transmute::<*const (), Function>(function) };
    let returns = at(RETURNS);
    for _ in 0..times {
        // SAFETY: as above; the argument is a function that may be called.
        unsafe { black_box(function)(returns) };
    }
}

/// Where the instruction of a kind is in this process.
#[must_use]
pub fn site(kind: usize) -> u64 {
    at(2 * STEP * kind as u64 + SITES[kind].1)
}

/// Where the `n`th of many NOPs is, which nobody comes to.
#[must_use]
pub fn nop(n: usize) -> u64 {
    at(MANY + n as u64 * NOP_LEN)
}

/// Comes to the site of a kind, or to its twin, that many times.
pub fn run(kind: usize, probed: bool, times: u64) {
    call(at(2 * STEP * kind as u64 + if probed { 0 } else { STEP }), times);
}

/// Traps that many times.
pub fn trap(times: u64) {
    call(at(TRAP), times);
}
