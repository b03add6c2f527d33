//! Every way into a window. Where a jump is one instruction, there is one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use crate::calls::{self, Function, moved};
use crate::rng::Rng;
use xol_arch::jump::{Features, Filter, Last, Record, Recorder, Side};
use xol_arch::{Addr, Arch as _, Reason, Rules, Text, x86_64::X86_64};
use xol_targets::shared::Shared;

use super::armed::arm;

fn counted(offset: u8, counters: &Shared) -> Record {
    let counter = Addr(counters.words().as_ptr() as u64 + 8 * u64::from(offset));
    let recorder = Recorder::Count { counter };
    Record { offset, flags: true, stack: true, filter: Filter::NONE, recorder }
}

fn counts(counters: &Shared) -> Vec<u64> {
    counters.words()[..11].iter().map(|count| count.swap(0, Ordering::Relaxed)).collect()
}

/// NOP of each length, so that wherever one begins the rest is the same; and `push rsi`, more often,
/// with a prefix too.
const BLOCKS: [&[u8]; 8] = [
    &[0x90],
    &[0x66, 0x90],
    &[0x0f, 0x1f, 0x00],
    &[0x0f, 0x1f, 0x40, 0x00],
    &[0x56],
    &[0x56],
    &[0x56],
    &[0x40, 0x56],
];

/// `rax = rdi + the number of values on the stack that equal rsi`, which are taken off it.
const COUNT: &[u8] = &[
    0x48, 0x8d, 0x07, // lea rax, [rdi]
    0x59, // again: pop rcx
    0x48, 0x39, 0xf1, // cmp rcx, rsi
    0x75, 0x05, // jne out
    0x48, 0xff, 0xc0, // inc rax
    0xeb, 0xf5, // jmp again
    0x51, // out: push rcx
    0xc3, // ret
];

/// What is no address of code.
const MARK: u64 = 0x5bd1_e995_0bad_c0de;

/// Blocks in front of [`COUNT`], in many orders: entered at each boundary, what was pushed is right,
/// and what was passed is counted, where a trap moved the thread as well.
pub(super) fn every_way_in() {
    for side in [Side::Below, Side::Above] {
        let mut rng = Rng::new(0xe9, 0xcc);
        let (mut seen, mut lasts) = (BTreeSet::new(), BTreeMap::new());
        while seen.len() < 900 {
            let mut code = Vec::new();
            while code.len() < 11 {
                code.extend_from_slice(BLOCKS[rng.below(BLOCKS.len() as u64) as usize]);
            }
            code.extend_from_slice(COUNT);
            if seen.insert(code.clone()) {
                let last = ways_into(&code, side);
                *lasts.entry(format!("{last:?}")).or_insert(0) += 1;
            }
        }
        println!("jumps: {} windows entered everywhere, {side:?}: {lasts:?}", seen.len());
        let kinds: &[Option<(u8, Last)>] = match side {
            Side::Below => &[Some((0, Last::Trap))],
            Side::Above => &[
                Some((0, Last::Trap)),
                Some((0, Last::Prefix)),
                Some((0, Last::Push8)),
                Some((0, Last::Push32)),
                Some((1, Last::Prefix)),
                Some((1, Last::Push8)),
                Some((1, Last::Push32)),
                // A NOP of one byte there, or pushes everywhere.
                None,
            ],
        };
        assert!(lasts.len() == kinds.len() && lasts.values().all(|&n| n > 5), "{lasts:?}");
        assert!(kinds.iter().all(|kind| lasts.contains_key(&format!("{kind:?}"))));
    }
}

/// How far the jump is behind a lead, and how its last byte traps; if there is one.
fn ways_into(code: &[u8], side: Side) -> Option<(u8, Last)> {
    calls::forget_moves();
    let boundaries = boundaries(code);
    let text =
        Text { function: Some((Addr(0), Addr(code.len() as u64))), ..Text::new(Addr(0), code) };
    let window = match X86_64::window(&text, Addr(0), Rules::default(), &[], side) {
        Ok(window) => window,
        Err(reject) => {
            assert_eq!((reject.reason, side), (Reason::NoLandingPlace, Side::Above));
            let begins = |offset| boundaries.contains(&offset);
            // Neither the fifth byte nor, behind a long instruction, the sixth.
            let stuck = |at: u8| {
                let nop = code[usize::from(at)] == 0x90;
                begins(at) && begins(at + 1) && (nop || begins(at + 2) && begins(at + 5))
            };
            assert!(stuck(4) && (begins(1) || stuck(5)), "{code:02x?}");
            return None;
        }
    };
    let counters = Shared::new(4096).expect("memory");
    let inside: Vec<u8> = boundaries.iter().copied().filter(|&b| b < window.len).collect();
    // Counters are near the code only if the kernel put them there.
    let records: Vec<_> = inside.iter().map(|&offset| counted(offset, &counters)).collect();
    let armed = arm(code, &records, side, Features::ALL);
    assert_eq!(armed.landing, boundaries.iter().any(|b| (1..5).contains(b)));
    for &entry in &inside {
        let probed = Function::at(armed.at.add(entry.into()));
        let twin = Function::at(armed.twin.addr().add(entry.into()));
        for x in 0..3 {
            let call = |function: Function| function.call([x, MARK, 0, 0, 0, 0]);
            assert_eq!(call(probed), call(twin), "{code:02x?} at {entry}");
        }
        assert_eq!(moved(), if entry == 0 { 0 } else { 3 }, "{code:02x?} at {entry}");
        let wanted: Vec<u64> =
            (0..11).map(|n| if n >= entry && inside.contains(&n) { 3 } else { 0 }).collect();
        assert_eq!(counts(&counters), wanted, "{code:02x?} at {entry}");
    }
    Some((window.lead, window.last))
}

/// The same blocks, each of the first made a jump that replaces it alone, entered at each boundary: nothing
/// is moved by a trap, and what comes by the jump alone is counted.
pub(super) fn every_way_past() {
    let mut rng = Rng::new(0xe9, 0xc3);
    let (mut seen, mut kinds, mut trapped) = (BTreeSet::new(), BTreeSet::new(), 0);
    while seen.len() < 300 {
        let mut code = Vec::new();
        while code.len() < 6 {
            code.extend_from_slice(BLOCKS[rng.below(BLOCKS.len() as u64) as usize]);
        }
        code.extend_from_slice(COUNT);
        if !seen.insert(code.clone()) {
            continue;
        }
        calls::forget_moves();
        let counters = Shared::new(4096).expect("memory");
        let text = Text::new(Addr(0), &code);
        if X86_64::window_alone(&text, Addr(0), Rules::default(), &[]).is_err() {
            // Four instructions begin behind it.
            assert!(boundaries(&code)[..5] == [0, 1, 2, 3, 4]);
            continue;
        }
        let armed = arm(&code, &[counted(0, &counters)], None, Features::ALL);
        let boundaries = boundaries(&code);
        // All that is behind stays, but for what a NOP names.
        let changed = armed.window.changed();
        assert!(armed.landing && (changed == boundaries[1] || changed == 5), "{code:02x?}");
        kinds.insert(changed);
        for &entry in boundaries.iter().filter(|&&b| b < 6) {
            let at = |function: Function| Function::at(function.addr().add(entry.into()));
            for x in 0..3 {
                let call = |function: Function| function.call([x, MARK, 0, 0, 0, 0]);
                assert_eq!(call(at(armed.probed)), call(at(armed.twin)), "{code:02x?} at {entry}");
            }
            assert_eq!((moved(), counts(&counters)[0]), (0, if entry == 0 { 3 } else { 0 }));
        }
        // Somebody puts traps at what is behind: the jump still comes to its trampoline.
        let (text, at) = &armed.text;
        let later: Vec<u8> = (1..5).filter(|n| armed.window.later >> n & 1 == 1).collect();
        for &n in &later {
            text.write((at + usize::from(n)) as u64, &[0xcc]).expect("within a page");
            let there = |function: Function| function.addr().add(n.into());
            calls::move_trap(there(armed.probed), there(armed.twin));
            let call = |function: Function| function.call([7, MARK, 0, 0, 0, 0]);
            assert_eq!(call(armed.probed), call(armed.twin), "{code:02x?}, trap at {n}");
            assert_eq!((moved(), counts(&counters)[0]), (1, 1), "{code:02x?}, trap at {n}");
            trapped += 1;
        }
    }
    assert!((1..=5).all(|changed| kinds.contains(&changed)), "{kinds:?}");
    let alone = seen.len();
    println!("jumps: {alone} that replace one instruction alone, {trapped} traps behind it");
    assert!(trapped > alone);
}

fn boundaries(code: &[u8]) -> Vec<u8> {
    let text = Text::new(Addr(0), code);
    let mut all = vec![0];
    let mut at = 0;
    while let Ok(len) = X86_64::length(&text, Addr(at)) {
        at += len as u64;
        all.push(at as u8);
    }
    all
}

/// Each byte that is said to be ignored before INT3 is, on this processor.
pub(super) fn every_prefix() {
    calls::forget_moves();
    let prefixes = (0..=255).filter(|&byte| Last::Prefix.bytes().has(byte));
    let mut number = 0;
    for byte in prefixes {
        let function = calls::code(&[byte, 0xcc, 0xc3, 0x90, 0x8d, 0x47, 0x01, 0xc3]);
        calls::move_trap(function.addr().add(1), function.addr().add(4));
        assert_eq!(function.call([41, 0, 0, 0, 0, 0]), 42, "{byte:02x}");
        assert_eq!(moved(), 1, "{byte:02x}");
        number += 1;
    }
    assert_eq!(number, 24);
}
