//! The addresses that a jump may go to.

use super::Window;
use crate::Addr;

/// Bytes that trap when they are executed as the first of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrapBytes([u64; 4]);

impl TrapBytes {
    /// No byte.
    pub const NONE: TrapBytes = TrapBytes([0; 4]);

    /// INT3 alone: only SIGTRAP is raised.
    pub const INT3: TrapBytes = TrapBytes::NONE.with(0xcc);

    /// The one-byte opcodes that are illegal in 64-bit mode: pushes and pops of segments, the
    /// decimal adjustments, PUSHA, POPA and SALC. They raise SIGILL; check it on the processor
    /// at hand.
    pub const ILLEGAL: [u8; 14] =
        [0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61, 0xd6];

    /// INT3 and the illegal ones.
    pub const ALL: TrapBytes = {
        let mut all = TrapBytes::INT3;
        let mut i = 0;
        while i < Self::ILLEGAL.len() {
            all = all.with(Self::ILLEGAL[i]);
            i += 1;
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
    /// Bit n: byte n of the displacement is from `bytes`.
    constrained: u8,
    bytes: TrapBytes,
    /// ±bytes, a power of two.
    distance: i64,
    align: u64,
}

impl Reach {
    pub(super) fn of(window: &Window, bytes: TrapBytes) -> Reach {
        // x86-64 counts from the end of the jump and its displacement begins at byte 1; arm64
        // counts from its beginning, in words.
        let variable = window.len == 5;
        Reach {
            from: window.at.add(if variable { 5 } else { 0 }),
            constrained: if variable { window.traps >> 1 & 0xf } else { 0 },
            bytes,
            distance: if variable { 1 << 31 } else { 1 << 27 },
            align: if variable { 1 } else { 4 },
        }
    }

    /// Whether any address within the distance will do.
    #[must_use]
    pub const fn is_free(&self) -> bool {
        self.constrained == 0
    }

    /// Bit n: byte n of the displacement is constrained. Jumps with the same constraints land
    /// side by side.
    #[must_use]
    pub const fn constraints(&self) -> u8 {
        self.constrained
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
        match (self.constrained >> (3 - i) & 1 == 1, i) {
            (false, _) => Some(from),
            (true, 0) => self.bytes.turned().next(from),
            (true, _) => self.bytes.next(from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Covered;
    use super::*;
    use std::vec::Vec;

    fn reach(at: u64, boundaries: &[u8], bytes: TrapBytes) -> Reach {
        let mut window = Window::new(Addr(at), 5);
        window.add(Covered { offset: 0, len: 1 });
        for &offset in boundaries {
            window.add(Covered { offset, len: 1 });
        }
        window.reach(bytes)
    }

    #[test]
    fn a_free_jump_goes_anywhere_near() {
        let reach = reach(0x7000_0000_0000, &[], TrapBytes::INT3);
        let (first, end) = reach.range();
        assert_eq!((first.0, end.0), (0x7000_0000_0005 - (1 << 31), 0x7000_0000_0005 + (1 << 31)));
        assert_eq!(reach.next(Addr(0), Addr(u64::MAX)), Some(first));
        assert_eq!(reach.next(Addr(end.0 - 1), Addr(u64::MAX)), Some(Addr(end.0 - 1)));
        assert_eq!(reach.next(end, Addr(u64::MAX)), None);
    }

    #[test]
    fn all_four_constrained_is_one_address() {
        let at = 0x5555_5555_4000;
        let reach = reach(at, &[1, 2, 3, 4], TrapBytes::INT3);
        let only = Addr(at + 5).offset(0xcccc_cccc_u32.cast_signed().into());
        assert_eq!(reach.next(Addr(0), Addr(u64::MAX)), Some(only));
        assert_eq!(reach.next(only.add(1), Addr(u64::MAX)), None);
        assert!(reach.allows(only) && !reach.allows(only.add(1)));
    }

    #[test]
    fn low_addresses_are_reached_by_illegal_bytes_only() {
        // The topmost byte: CC is 0.8 GiB below, where a program at 4 MiB has nothing.
        assert_eq!(reach(0x40_0000, &[4], TrapBytes::INT3).next(Addr(0), Addr(u64::MAX)), None);
        let found = reach(0x40_0000, &[4], TrapBytes::ALL).next(Addr(0), Addr(u64::MAX));
        assert_eq!(found, Some(Addr(0x40_0005 + 0x600_0000)));
    }

    #[test]
    fn a_trap_at_byte_n_constrains_byte_n_less_one() {
        let constraints = |traps: &[u8]| reach(0x40_0000, traps, TrapBytes::INT3).constraints();
        assert_eq!((constraints(&[]), constraints(&[1, 4]), constraints(&[2])), (0, 0b1001, 0b10));
    }

    #[test]
    fn the_end_is_not_reached() {
        for reach in [reach(0x40_0000, &[4], TrapBytes::ALL), reach(0x40_0000, &[], TrapBytes::ALL)]
        {
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
            let bytes = if dice() & 1 == 0 { TrapBytes::INT3 } else { TrapBytes::ALL };
            let from = dice() >> 17;
            let reach = reach(from, &offsets, bytes);
            let start = Addr(from).offset(i64::from(dice() as i32));
            let fits = |to: Addr| {
                i32::try_from(to.distance_from(Addr(from + 5))).is_ok_and(|d| {
                    d.to_le_bytes()
                        .iter()
                        .enumerate()
                        .all(|(i, b)| mask >> i & 1 == 0 || bytes.has(*b))
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
