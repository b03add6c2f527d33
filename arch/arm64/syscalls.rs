//! System calls whose number is a constant.

use super::decode::{self, Insn};
use crate::{Addr, Text};

/// `SVC #0`.
const SVC: u32 = 0xd400_0001;
/// How far before the SVC the number may be loaded, in instructions.
const DISTANCE: usize = 16;

/// Whether a word is an SVC, whatever its number:
/// ```text
/// SVC  1101 0100  000i iiii  iiii iiii  iii0 0001
/// ```
pub(super) const fn is_svc(word: u32) -> bool {
    word & 0xffe0_001f == SVC
}

/// Calls `found` for each `SVC #0` whose x8 comes from a MOVZ shortly before, with no branch
/// and nothing that might write x8 in between.
pub(super) fn find(text: &Text<'_>, found: &mut dyn FnMut(Addr, u64)) {
    let skip = (text.base.0.wrapping_neg() & 3) as usize;
    let base = text.base.add(skip as u64);
    let (words, _) = text.bytes.get(skip..).unwrap_or(&[]).as_chunks();
    for (index, _) in words.iter().enumerate().filter(|&(_, &word)| word == SVC.to_le_bytes()) {
        let before = words[index.saturating_sub(DISTANCE)..index].iter().rev();
        if let Some(number) = number(before.map(|&bytes| u32::from_le_bytes(bytes))) {
            found(base.add(4 * index as u64), number);
        }
    }
}

/// What the words, from the last to the first, leave in x8.
fn number(words: impl Iterator<Item = u32>) -> Option<u64> {
    for word in words {
        // MOVZ  s101 0010  100i iiii  iiii iiii  iii0 1000    to w8 or x8, not shifted
        if word & 0x7fe0_001f == 0x5280_0008 {
            return Some((word >> 5 & 0xffff).into());
        }
        let plain = matches!(
            decode::decode(word),
            Insn::Plain
                | Insn::Simulated(
                    super::Effect::Address { .. }
                        | super::Effect::Page { .. }
                        | super::Effect::Load { .. }
                )
        );
        if !plain || may_write_x8(word) {
            return None;
        }
    }
    None
}

/// Whether `word` may write x8. A load or store counts if it names the register at all: it
/// may write a second register, a base or a status.
fn may_write_x8(word: u32) -> bool {
    const X8: u32 = 8;
    let memory = word >> 25 & 0b0101 == 0b0100;
    let names = |low: u32| word >> low & 0x1f == X8;
    names(0) || (memory && (names(5) || names(10) || names(16))) || word == SVC
}
