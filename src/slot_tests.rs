//! Slots of one architecture: the engine itself names none.

use crate::engine::write_slot;
use xol_arch::arm64::{Arm64, Fixup};
use xol_arch::{Addr, Arch, Rules, Strategy, Text};

const AT: Addr = Addr(0x40_0000);
const SLOT: Addr = Addr(0x41_0000);
const TRAP: u32 = u32::from_le_bytes(*Arm64::TRAP.first_chunk().unwrap());
const NOP: u32 = 0xd503_201f;

fn slot(words: &[u32], strategy: Strategy) -> (Vec<u32>, Fixup, bool) {
    let bytes: Vec<_> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let text = Text::new(AT, &bytes);
    let plan = Arm64::plan(&text, AT, Rules::default()).unwrap();
    let made = write_slot(&text, AT, &plan, strategy, SLOT).unwrap();
    let words = made.code.as_chunks().0.iter().map(|&word| u32::from_le_bytes(word));
    assert_eq!(made.slot.done, span(&words.clone().collect::<Vec<_>>()));
    (words.collect(), made.fixup, made.stands_alone)
}

/// Where the trap or the NOP is.
fn span(words: &[u32]) -> u8 {
    4 * words.iter().position(|word| [TRAP, NOP].contains(word)).unwrap() as u8
}

/// The word of a jump in the slot's `n`th place to the site's `to`th.
fn b(n: i64, to: i64) -> u32 {
    let distance = AT.offset(4 * to).distance_from(SLOT.offset(4 * n));
    0x1400_0000 | (distance >> 2) as u32 & 0x3ff_ffff
}

#[test]
fn a_sequence_goes_on_behind_its_last_instruction() {
    let [p, m, e] = [0x1901_0440, 0x1941_0440, 0x1981_0440];
    let xol = (vec![p, m, e, TRAP, b(4, 3)], Fixup::None, true);
    assert_eq!(slot(&[p, m, e], Strategy::Xol), xol);
    let boost = (vec![p, m, e, NOP, b(4, 3)], Fixup::None, true);
    assert_eq!(slot(&[p, m, e], Strategy::Boost), boost);
}

#[test]
fn a_signed_branch_is_finished_by_the_fixup_only() {
    // RETAA: AUTIA x30, sp. What relocated code does after the branch is not its tail.
    let (words, fixup, stands_alone) = slot(&[0xd65f_0bff], Strategy::Xol);
    assert_eq!(words[..2], [0xdac1_13fe, TRAP]);
    assert!(fixup != Fixup::None && !stands_alone);
    // BLRAA x8, x9
    let (words, fixup, stands_alone) = slot(&[0xd73f_0909], Strategy::Xol);
    assert_eq!(words[..2], [0xdac1_1128, TRAP]);
    assert!(fixup != Fixup::None && !stands_alone);
}
