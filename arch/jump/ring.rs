//! The ring that trampolines write and the tracer reads.
//!
//! ```text
//! shard 0    + 0      head      positions that writers have taken
//!            + 128    slot 0, slot 1, …
//! shard 1    …
//! slot       + 0      turn      what position the slot is ready for, and for whom
//!            + 8      time      TSC or CNTVCT
//!            + 16     thread    the thread pointer
//!            + 24     probe     its number, 32 bits
//!            + 32     values    one word for each of the recorder's `Values`, in their order
//! ```
//!
//! A bounded queue of many writers (Vyukov). A position is a number that only grows; its slot is
//! its rest by the number of slots, its lap what is left: `position = lap + slot`. A slot whose
//! turn is `lap` is free for that lap's writer, `lap + 1` is a record for the reader, who leaves
//! `lap + slots`. Memory that is all zero is an empty ring.
//!
//! A writer takes the position by a compare-and-exchange of the head, after it has seen the slot
//! free, writes, and stores the turn with release. A turn that is behind the lap means that the
//! shard is full: the thread traps, so that the reader makes room, and takes a position again; or the
//! record is missed, and counted in a word of its recorder's.

use super::{SPREAD, SPREAD_SHIFT};

/// Offset of the head in a shard.
pub const HEAD: u64 = 0;
/// Offset of the first slot in a shard: the head has a pair of cache lines of its own.
pub const SLOTS: u64 = 128;
/// Bytes of a slot: a pair of cache lines.
pub const SLOT: u64 = 128;
/// Offset of the turn in a slot.
pub const TURN: u64 = 0;
/// Offset of the time in a slot.
pub const TIME: u64 = 8;
/// Offset of the thread pointer in a slot.
pub const THREAD: u64 = 16;
/// Offset of the probe's number in a slot.
pub const PROBE: u64 = 24;
/// Offset of the values in a slot.
pub const VALUES: u64 = 32;

/// How many shards and slots a ring has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    shards: u8,
    slots: u8,
}

impl Shape {
    /// `2^shards` shards of `2^slots` slots each; `None` for more than 64 shards, fewer than 2 or
    /// more than 2^20 slots.
    #[must_use]
    pub const fn new(shards: u8, slots: u8) -> Option<Shape> {
        if shards <= 6 && slots >= 1 && slots <= 20 { Some(Shape { shards, slots }) } else { None }
    }

    /// How many shards.
    #[must_use]
    pub const fn shards(self) -> u64 {
        1 << self.shards
    }

    /// The power of two that is the number of shards.
    #[must_use]
    pub const fn shard_bits(self) -> u8 {
        self.shards
    }

    /// How many slots a shard has.
    #[must_use]
    pub const fn slots(self) -> u64 {
        1 << self.slots
    }

    /// The power of two that is the number of slots.
    #[must_use]
    pub const fn slot_bits(self) -> u8 {
        self.slots
    }

    /// Bytes from one shard to the next: at most 2^27 + 128.
    #[must_use]
    pub const fn shard_len(self) -> u64 {
        SLOTS + self.slots() * SLOT
    }

    /// Bytes of the whole ring.
    #[must_use]
    pub const fn len(self) -> u64 {
        self.shards() * self.shard_len()
    }

    /// Never: a ring has at least two slots.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        false
    }

    /// The shard of a thread, as trampolines compute it.
    #[must_use]
    pub const fn shard_of(self, thread: u64) -> u64 {
        let spread = ((thread >> SPREAD_SHIFT) as u32).wrapping_mul(SPREAD);
        spread as u64 >> (32 - self.shards as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_bounded() {
        assert_eq!(Shape::new(7, 4), None);
        assert_eq!(Shape::new(0, 0), None);
        assert_eq!(Shape::new(0, 21), None);
        let shape = Shape::new(2, 3).unwrap();
        assert_eq!((shape.shards(), shape.slots(), shape.len()), (4, 8, 4 * (128 + 8 * 128)));
        assert_eq!(Shape::new(0, 1).unwrap().shard_of(u64::MAX), 0);
        let shape = Shape::new(6, 20).unwrap();
        assert_eq!((shape.shard_bits(), shape.slot_bits()), (6, 20));
        assert_eq!(shape.shard_len(), (1 << 27) + 128);
        assert!(!shape.is_empty());
    }

    /// The low half of (thread >> 12) times SPREAD, its topmost bits.
    #[test]
    fn a_shard_is_computed_as_written() {
        let of = |bits, thread| Shape::new(bits, 4).unwrap().shard_of(thread);
        // 1 * 0x9e3779b1; 2 * it, without the carry: 0x3c6ef362; 3 * it: 0xdaa66d13.
        assert_eq!((of(1, 0x1fff), of(4, 0x1000), of(6, 0x1000)), (1, 9, 0x27));
        assert_eq!((of(1, 0x2000), of(4, 0x2000), of(6, 0x2000)), (0, 3, 0xf));
        assert_eq!((of(4, 0x3abc), of(4, 0xfff), of(4, 0x1000_0000_1000)), (0xd, 0, 9));
    }

    /// Threads of glibc and musl, 8 MiB or 136 KiB apart: no shard has more than twice its share.
    #[test]
    fn threads_are_spread() {
        for apart in [0x80_1000_u64, 0x2_2000, 0x4_1000] {
            let shape = Shape::new(4, 4).unwrap();
            let mut counts = [0; 16];
            for n in 0..64 {
                counts[shape.shard_of(0x7f12_3456_7740 - n * apart) as usize] += 1;
            }
            assert!(counts.iter().all(|&count| count <= 8), "{apart:x}: {counts:?}");
        }
    }
}
