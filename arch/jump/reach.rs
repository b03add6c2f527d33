//! The addresses that a jump may go to.
//!
//! At low addresses, and above a library where nothing below it is free, the highest byte of the
//! displacement cannot be INT3: 0.8 GiB below there is nothing. Where an instruction begins at that
//! byte, it is a prefix of an INT3 behind the jump, or a push in the place of a push that INT3s
//! follow; or a CS prefix before the jump moves all by one byte. So each trap is still a SIGTRAP.
//! Where the thread traps then is no instruction: it is the *shadow* of one. A thread that is found
//! there, by its trap, by a signal, or because the jump is taken away, is first put before its
//! instruction, and what the push wrote is taken off its stack.

use super::Window;
use crate::Addr;

/// A set of bytes: those that trap when they are executed as the first of an instruction, with what
/// follows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrapBytes([u64; 4]);

impl TrapBytes {
    /// Every byte.
    const ANY: TrapBytes = TrapBytes([u64::MAX; 4]);

    /// No byte.
    pub const NONE: TrapBytes = TrapBytes([0; 4]);

    /// INT3 alone.
    pub const INT3: TrapBytes = TrapBytes::NONE.with(0xcc);

    /// What INT3 ignores before it: the segments, the operand and address sizes, and REX (AMD64 APM
    /// 3, 1.2).
    pub const PREFIXES: TrapBytes = {
        let mut all = TrapBytes::NONE;
        let mut byte = 0x26;
        while byte <= 0x67 {
            if matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67) {
                all = all.with(byte);
            }
            byte += 1;
        }
        all
    };

    /// With `byte` too.
    #[must_use]
    pub const fn with(mut self, byte: u8) -> TrapBytes {
        self.0[(byte >> 6) as usize] |= 1 << (byte & 63);
        self
    }

    /// The least of them that is at least `from`.
    #[must_use]
    pub fn next(self, from: u8) -> Option<u8> {
        let first = usize::from(from >> 6);
        (first..4).find_map(|word| {
            let not_below = if word == first { u64::MAX << (from & 63) } else { u64::MAX };
            let left = self.0.get(word)? & not_below;
            (left != 0).then(|| (word << 6) as u8 | left.trailing_zeros() as u8)
        })
    }

    /// Each with its highest bit turned.
    const fn turned(self) -> TrapBytes {
        let [a, b, c, d] = self.0;
        TrapBytes([c, d, a, b])
    }

    /// Whether `byte` is among them.
    #[must_use]
    pub const fn has(self, byte: u8) -> bool {
        self.0[(byte >> 6) as usize] >> (byte & 63) & 1 != 0
    }
}

/// The addresses that one jump may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// What the displacement counts from.
    from: Addr,
    /// What each byte of the displacement may be, the least significant one first.
    bytes: [TrapBytes; 4],
    constraints: u8,
    /// Bit n: byte n may be a trap later, of somebody else.
    later: u8,
    /// ±bytes, a power of two.
    distance: i64,
    align: u64,
}

/// Of constraints: some bytes are the program's own.
const SHARED: u8 = 1 << 4;

impl Reach {
    pub(super) fn of(window: &Window) -> Reach {
        // x86-64 counts from the end of the jump and its displacement begins at byte 1; arm64
        // counts from its beginning, in words.
        let variable = window.len >= 5;
        let traps = if variable { window.traps >> (1 + window.lead) } else { 0 };
        let mut bytes = [TrapBytes::ANY; 4];
        let mut constraints = 0;
        for (n, (byte, shared)) in bytes.iter_mut().zip(window.shared).enumerate() {
            *byte = match shared {
                Some(shared) => TrapBytes::NONE.with(shared),
                None if traps >> n & 1 == 0 => continue,
                None if n == 3 => window.last.bytes(),
                None => TrapBytes::INT3,
            };
            constraints |= 1 << n | if shared.is_some() { SHARED } else { 0 };
        }
        Reach {
            from: window.at.add(if variable { 5 + u64::from(window.lead) } else { 0 }),
            bytes,
            constraints,
            later: window.later >> 1,
            distance: if variable { 1 << 31 } else { 1 << 27 },
            align: if variable { 1 } else { 4 },
        }
    }

    /// Whether any address within the distance will do.
    #[must_use]
    pub const fn is_free(&self) -> bool {
        self.constraints == 0
    }

    /// Bit n: byte n of the displacement is constrained; bit 4: to what was there. Jumps with the same
    /// constraints land side by side, but for the latter.
    #[must_use]
    pub const fn constraints(&self) -> u8 {
        self.constraints
    }

    /// The addresses within the distance: [first, behind the last). At the ends of the address
    /// space they are cut.
    #[must_use]
    pub const fn range(&self) -> (Addr, Addr) {
        let distance = self.distance.cast_unsigned();
        (Addr(self.from.0.saturating_sub(distance)), Addr(self.from.0.saturating_add(distance)))
    }

    /// Whether the jump may go to `to`.
    #[must_use]
    pub fn allows(&self, to: Addr) -> bool {
        self.next(to, Addr(to.0.saturating_add(1))) == Some(to)
    }

    /// Where the jump goes that goes to `to`, when others have put INT3 at instructions that begin in its
    /// displacement: one for each set of them.
    pub fn others(self, to: Addr) -> impl Iterator<Item = Addr> {
        let number = (to.distance_from(self.from) as u32).to_le_bytes();
        // What is one already stays where it is.
        let traps = (0..4).zip(number).filter(|(_, byte)| *byte == 0xcc);
        let later = traps.fold(self.later, |later, (n, _)| later & !(1 << n));
        (1..16u8).filter(move |set| set & !later == 0).map(move |set| {
            let mut with = number;
            for (n, byte) in with.iter_mut().enumerate() {
                if set >> n & 1 == 1 {
                    *byte = 0xcc;
                }
            }
            self.from.offset(i32::from_le_bytes(with).into())
        })
    }

    /// The first address from `at` on, and below `end`, that the jump may go to.
    #[must_use]
    pub fn next(&self, at: Addr, end: Addr) -> Option<Addr> {
        let (first, last) = self.range();
        let at = Addr(at.max(first).0.checked_next_multiple_of(self.align)?);
        let end = end.min(last);
        if at >= end {
            return None;
        }
        if self.is_free() {
            return Some(at);
        }
        // Displacements in their order are the numbers from 0 on when the sign bit is turned.
        const SIGN: u32 = 1 << 31;
        let displacement = i32::try_from(at.distance_from(self.from)).ok()?;
        let found = self.next_number(displacement.cast_unsigned() ^ SIGN)? ^ SIGN;
        let to = self.from.offset(found.cast_signed().into());
        (to < end).then_some(to)
    }

    /// The least number from `number` on whose constrained digits, bytes, are allowed.
    fn next_number(&self, number: u32) -> Option<u32> {
        let digits = number.to_be_bytes();
        // As many digits as possible stay: up to the first that may not be what it is.
        let wrong = (0..4).find(|&i| digits.get(i).is_none_or(|&d| self.digit(i, d) != Some(d)));
        let Some(wrong) = wrong else { return Some(number) };
        (0..=wrong).rev().find_map(|i| {
            let digit = self.digit(i, digits.get(i)?.checked_add(1)?)?;
            let mut found = [0; 4];
            for (j, place) in found.iter_mut().enumerate() {
                *place = match j {
                    _ if j < i => *digits.get(j)?,
                    _ if j == i => digit,
                    _ => self.digit(j, 0)?,
                };
            }
            Some(u32::from_be_bytes(found))
        })
    }

    /// The least value from `from` on that digit `i` may have, the first digit being the most
    /// significant one, whose sign bit is turned.
    fn digit(&self, i: usize, from: u8) -> Option<u8> {
        let bytes = self.bytes.get(3 - i)?;
        if i == 0 { bytes.turned().next(from) } else { bytes.next(from) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Covered, Last, Side};
    use super::*;
    use std::vec::Vec;

    fn reach(at: u64, boundaries: &[u8], last: Last) -> Reach {
        let mut window = Window::new(Addr(at), 5);
        window.last = last;
        window.add(Covered { offset: 0, len: 1 });
        for &offset in boundaries {
            window.add(Covered { offset, len: 1 });
        }
        window.reach()
    }

    #[test]
    fn a_free_jump_goes_anywhere_near() {
        let reach = reach(0x7000_0000_0000, &[], Last::Trap);
        let (first, end) = reach.range();
        assert_eq!((first.0, end.0), (0x7000_0000_0005 - (1 << 31), 0x7000_0000_0005 + (1 << 31)));
        assert_eq!(reach.next(Addr(0), Addr(u64::MAX)), Some(first));
        assert_eq!(reach.next(Addr(end.0 - 1), Addr(u64::MAX)), Some(Addr(end.0 - 1)));
        assert_eq!(reach.next(end, Addr(u64::MAX)), None);
    }

    #[test]
    fn all_four_constrained_is_one_address() {
        let at = 0x5555_5555_4000;
        let reach = reach(at, &[1, 2, 3, 4], Last::Trap);
        let only = Addr(at + 5).offset(0xcccc_cccc_u32.cast_signed().into());
        assert_eq!(reach.next(Addr(0), Addr(u64::MAX)), Some(only));
        assert_eq!(reach.next(only.add(1), Addr(u64::MAX)), None);
        assert!(reach.allows(only) && !reach.allows(only.add(1)));
    }

    #[test]
    fn low_addresses_reach_above_only() {
        let first = |last| reach(0x40_0000, &[4], last).next(Addr(0), Addr(u64::MAX));
        // The topmost byte: CC is 0.8 GiB below, where a program at 4 MiB has nothing.
        assert_eq!(first(Last::Trap), None);
        assert_eq!(first(Last::Prefix), Some(Addr(0x2640_0005)));
        assert_eq!(first(Last::Push8), Some(Addr(0x6a40_0005)));
        assert_eq!(first(Last::Push32), Some(Addr(0x6840_0005)));
    }

    #[test]
    fn a_lead_moves_what_is_constrained() {
        let mut window = Window::new(Addr(0x40_0000), 6);
        window.lead = 1;
        for offset in [0, 2, 4] {
            window.add(Covered { offset, len: 2 });
        }
        assert_eq!(window.reach().constraints(), 0b101);
        let found = window.reach().next(Addr(0x50_0000), Addr(u64::MAX)).unwrap();
        assert_eq!(found, Addr(0x40_0006 + 0xcc_00cc));
    }

    #[test]
    fn bytes_are_those_that_were_given() {
        let few = TrapBytes::NONE.with(0).with(63).with(64).with(0xcc).with(255);
        let all: Vec<u8> = (0..=255).filter(|&byte| few.has(byte)).collect();
        assert_eq!(all, [0, 63, 64, 0xcc, 255]);
        let mut prefixes: Vec<u8> = [0x26, 0x2e, 0x36, 0x3e].into();
        prefixes.extend((0x40..=0x4f).chain(0x64..=0x67));
        let all: Vec<u8> = (0..=255).filter(|&byte| TrapBytes::PREFIXES.has(byte)).collect();
        assert_eq!(all, prefixes);
        for byte in 0..=255_u8 {
            assert_eq!(few.next(byte), (byte..=255).find(|&b| few.has(b)), "{byte}");
        }
    }

    #[test]
    fn a_side_has_room() {
        for at in [0x3410_0000, 0x5555_5555_4000] {
            assert_eq!(Side::of(Addr(at)), Side::Below);
            let lowest = reach(at, &[4], Last::Trap).next(Addr(0), Addr(u64::MAX)).unwrap();
            assert!(lowest.0 >= 0x10_0000, "{lowest}");
        }
        assert_eq!(Side::of(Addr(0x3400_0000)), Side::Above);
    }

    #[test]
    fn a_trap_at_byte_n_constrains_byte_n_less_one() {
        let constraints = |traps: &[u8]| reach(0x40_0000, traps, Last::Trap).constraints();
        assert_eq!((constraints(&[]), constraints(&[1, 4]), constraints(&[2])), (0, 0b1001, 0b10));
    }

    #[test]
    fn the_end_is_not_reached() {
        for reach in [reach(0x40_0000, &[4], Last::Prefix), reach(0x40_0000, &[], Last::Trap)] {
            let at = Addr(0x100_0000);
            let found = reach.next(at, Addr(u64::MAX)).unwrap();
            assert_eq!(reach.next(at, found.add(1)), Some(found));
            assert_eq!(reach.next(at, found), None);
            assert!(reach.allows(found));
        }
    }

    /// Against trying every displacement around random places.
    #[test]
    fn the_next_is_the_least() {
        let mut random = 0x1234_5678_9abc_def1_u64;
        let mut dice = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        for _ in 0..300 {
            let mask = dice() as u8 & 0xf;
            let offsets: Vec<u8> = (1..5).filter(|n| mask >> (n - 1) & 1 == 1).collect();
            let last = if dice() & 1 == 0 { Last::Trap } else { Last::Prefix };
            let from = dice() >> 17;
            let reach = reach(from, &offsets, last);
            let start = Addr(from).offset(i64::from(dice() as i32));
            let fits = |to: Addr| {
                i32::try_from(to.distance_from(Addr(from + 5))).is_ok_and(|d| {
                    d.to_le_bytes().iter().enumerate().all(|(i, &b)| {
                        let prefix =
                            matches!(b, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67);
                        let traps = if i == 3 && last == Last::Prefix { prefix } else { b == 0xcc };
                        mask >> i & 1 == 0 || traps
                    })
                })
            };
            let end = start.add(3000);
            let wanted = (0..3000).map(|n| start.add(n)).find(|&to| fits(to));
            assert_eq!(reach.next(start, end), wanted, "{from:x} {mask:b} {start}");
            if let Some(to) = reach.next(start, Addr(u64::MAX)) {
                assert!(fits(to) && to >= start);
            }
        }
    }
}
