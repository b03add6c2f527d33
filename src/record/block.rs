//! A recording's blocks: how long, of what kind, and whether they are what was written.
//!
//! A recording begins with 16 bytes: [`MAGIC`], the version as 4 bytes, and its complement. Each block has
//! a head of 16 bytes in front: how many bytes follow (4), its kind (2), a check of these (2), and a
//! checksum (8) of the bytes, the kind, and how many blocks come before. All are little-endian.

/// What a recording begins with: no text, and another thing where a transfer has changed line ends.
pub(super) const MAGIC: [u8; 8] = *b"\x89XOL\r\n\x1a\n";
/// The version of what this xol writes, and the last that it reads.
pub(super) const VERSION: u32 = 1;
/// The length of what is in front of the blocks, and in front of the bytes of each.
pub(super) const HEAD: usize = 16;
/// A block is ended when it is as long as that.
pub(super) const FULL: usize = 64 << 10;
/// No block is longer.
pub(super) const LONGEST: usize = 1 << 24;

/// What is in a block. Readers pass over kinds that they do not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Kind {
    /// The run: the first block.
    Run = 1,
    /// Rows that events are about, and that were not there before.
    Rows = 2,
    /// Events, which need no other block but those of rows.
    Events = 3,
    /// The end: the last block of a run that has come to its end.
    End = 4,
}

/// What a recording begins with.
pub(super) fn file_head() -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(&MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    head[12..].copy_from_slice(&(!VERSION).to_le_bytes());
    head
}

/// The version that a recording's first bytes tell: `None` of what is none.
pub(super) fn version(head: &[u8; HEAD]) -> Option<u32> {
    let (version, check) = (word(&head[8..12]), word(&head[12..]));
    (head[..8] == MAGIC && check == !version).then_some(version)
}

/// The head of the block number `index`.
pub(super) fn block_head(kind: Kind, bytes: &[u8], index: u64) -> [u8; HEAD] {
    head_of(kind as u16, bytes, index)
}

/// The same of a kind that there may be some day.
pub(super) fn head_of(kind: u16, bytes: &[u8], index: u64) -> [u8; HEAD] {
    let len = bytes.len() as u32;
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&len.to_le_bytes());
    head[4..6].copy_from_slice(&kind.to_le_bytes());
    head[6..8].copy_from_slice(&check(len, kind).to_le_bytes());
    head[8..].copy_from_slice(&checksum(kind, bytes, index).to_le_bytes());
    head
}

/// The length, kind and checksum that a block's head tells, if it can be one.
pub(super) fn read_head(head: &[u8; HEAD]) -> Option<(usize, u16, u64)> {
    let len = word(&head[..4]);
    let kind = u16::from_le_bytes([head[4], head[5]]);
    let mut sum = [0; 8];
    sum.copy_from_slice(&head[8..]);
    let right = check(len, kind).to_le_bytes() == head[6..8] && len as usize <= LONGEST;
    right.then_some((len as usize, kind, u64::from_le_bytes(sum)))
}

fn word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte))
}

/// Any odd number without a pattern.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Says whether length and kind can be believed, before so much is read.
fn check(len: u32, kind: u16) -> u16 {
    (mix(mix(kind.into(), len.into()), FACTOR) >> 48) as u16
}

/// Each step can be undone, so that a change within eight bytes always shows.
fn mix(sum: u64, word: u64) -> u64 {
    (sum ^ word).wrapping_mul(FACTOR).rotate_left(29)
}

/// The checksum of a block's bytes.
pub(super) fn checksum(kind: u16, bytes: &[u8], index: u64) -> u64 {
    let mut sum = mix(mix(u64::from(kind), index), bytes.len() as u64);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        sum = mix(sum, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(mix(sum, u64::from_le_bytes(last)), FACTOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_of_a_byte_shows() {
        let bytes: Vec<u8> = (0..100).map(|n: u8| n.wrapping_mul(7)).collect();
        let head = block_head(Kind::Events, &bytes, 5);
        let (len, kind, sum) = read_head(&head).expect("a head");
        assert_eq!((len, kind), (100, Kind::Events as u16));
        assert_eq!(sum, checksum(kind, &bytes, 5));
        assert_ne!(sum, checksum(kind, &bytes, 6));
        for at in 0..bytes.len() {
            for flip in 1..=255 {
                let mut other = bytes.clone();
                other[at] ^= flip;
                assert_ne!(sum, checksum(kind, &other, 5), "{at} {flip}");
            }
        }
        assert_ne!(sum, checksum(kind, &bytes[..99], 5));
        for at in 0..8 {
            for flip in 1..=255 {
                let mut other = head;
                other[at] ^= flip;
                assert_eq!(read_head(&other), None, "{at} {flip}");
            }
        }
    }

    #[test]
    fn the_first_bytes_say_what_it_is() {
        let head = file_head();
        assert_eq!(version(&head), Some(VERSION));
        for at in 0..HEAD {
            let mut other = head;
            other[at] ^= 4;
            assert_eq!(version(&other), None, "{at}");
        }
    }
}
