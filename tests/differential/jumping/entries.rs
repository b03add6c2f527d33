//! Every way into a window. Where a jump is one instruction, there is one.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use crate::calls::{Function, moved};
use xol_arch::jump::{Features, Filter, Record, Recorder, TrapBytes};
use xol_arch::{Addr, Arch as _, x86_64::X86_64};
use xol_targets::shared::Shared;

use super::armed::arm;

fn counted(offset: u8, counters: &Shared) -> Record {
    let counter = Addr(counters.words().as_ptr() as u64 + 8 * u64::from(offset));
    let recorder = Recorder::Count { counter };
    Record { offset, entry: true, filter: Filter::NONE, recorder }
}

fn counts(counters: &Shared) -> Vec<u64> {
    counters.words()[..5].iter().map(|count| count.swap(0, Ordering::Relaxed)).collect()
}

/// Instructions of one to four bytes in front of `lea rax, [rdi+1]; ret`, in every order that
/// makes a window: entered at each boundary, the result is right, and what was passed is
/// counted, where a trap moved the thread as well.
pub(super) fn every_way_in() {
    // NOP of each length, so that wherever one begins the rest is the same.
    const NOPS: [&[u8]; 4] =
        [&[0x90], &[0x66, 0x90], &[0x0f, 0x1f, 0x00], &[0x0f, 0x1f, 0x40, 0x00]];
    let mut windows = BTreeSet::new();
    for mix in 0..256_u32 {
        let mut code = Vec::new();
        for n in 0..4 {
            if code.len() < 5 {
                code.extend_from_slice(NOPS[(mix >> (2 * n) & 3) as usize]);
            }
        }
        // The same beginning comes up more than once.
        if !windows.insert(code.clone()) {
            continue;
        }
        code.extend_from_slice(&[0x48, 0x8d, 0x47, 0x01, 0xc3]);
        let counters = Shared::new(4096).expect("memory");
        let boundaries = boundaries(&code);
        let inside: Vec<u8> = boundaries.iter().copied().filter(|&b| b < 5).collect();
        // Counters are near the code only if the kernel put them there.
        let records: Vec<_> = inside.iter().map(|&offset| counted(offset, &counters)).collect();
        let armed = arm(&code, &records, TrapBytes::ALL, Features::ALL);
        assert_eq!(armed.landing, inside.len() > 1);
        for &entry in &inside {
            let function = Function::at(armed.at.add(entry.into()));
            for x in 0..3 {
                assert_eq!(function.call([x, 0, 0, 0, 0, 0]), x + 1, "{code:02x?} at {entry}");
            }
            let (traps, illegal) = moved();
            assert_eq!(traps + illegal, if entry == 0 { 0 } else { 3 }, "{code:02x?} at {entry}");
            let wanted: Vec<u64> =
                (0..5).map(|n| if n >= entry && inside.contains(&n) { 3 } else { 0 }).collect();
            assert_eq!(counts(&counters), wanted, "{code:02x?} at {entry}");
        }
    }
    println!("jumps: {} windows entered everywhere", windows.len());
}

fn boundaries(code: &[u8]) -> Vec<u8> {
    let text = xol_arch::Text::new(Addr(0), code);
    let mut all = vec![0];
    let mut at = 0;
    while let Ok(len) = X86_64::length(&text, Addr(at)) {
        at += len as u64;
        all.push(at as u8);
    }
    all
}

/// Each byte that is said to trap does, on this processor.
pub(super) fn every_trap_byte() {
    for byte in [0xcc].into_iter().chain(TrapBytes::ILLEGAL) {
        // nop; mov eax, edi; add eax, 1; ret
        let code = [0x90, 0x89, 0xf8, 0x83, 0xc0, 0x01, 0xc3];
        let armed = arm(&code, &[], TrapBytes::NONE.with(byte), Features::ALL);
        let function = Function::at(armed.at.add(1));
        assert_eq!(function.call([41, 0, 0, 0, 0, 0]), 42, "{byte:02x}");
        let wanted = if byte == 0xcc { (1, 0) } else { (0, 1) };
        assert_eq!(moved(), wanted, "{byte:02x}");
        assert_eq!(armed.probed.call([41, 0, 0, 0, 0, 0]), 42, "{byte:02x}");
        assert_eq!(moved(), (0, 0));
    }
}
