//! Numbers and texts as a recording has them: small ones in one byte, little-endian, on any machine.
//!
//! | first byte | the number |
//! |---|---|
//! | 0 to 247 | that |
//! | 248 to 255 | in the 1 to 8 bytes that follow, the lowest first |
//!
//! A number with a sign is folded: 0, -1, 1, -2, … are 0, 1, 2, 3, … A text is its length and its bytes.

/// The least number that needs more than one byte.
const LARGE: u8 = 0xf8;
/// What the longest number takes.
const LONGEST: usize = 9;

/// Bytes being written.
#[derive(Debug, Default)]
pub(super) struct Pen {
    /// Longer than what is written, so that a number is written in one go.
    room: Vec<u8>,
    at: usize,
}

impl Pen {
    /// How many bytes are written.
    pub(super) fn len(&self) -> usize {
        self.at
    }

    /// What is written.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.room[..self.at]
    }

    /// Begins anew.
    pub(super) fn clear(&mut self) {
        self.at = 0;
    }

    #[cold]
    fn grow(&mut self, by: usize) {
        self.room.resize((self.at + by + LONGEST).max(self.room.len() * 2), 0);
    }

    /// A number.
    #[inline]
    pub(super) fn number(&mut self, number: u64) {
        if self.room.len() - self.at < LONGEST {
            self.grow(LONGEST);
        }
        let Some(room) = self.room.get_mut(self.at..self.at + LONGEST) else { return };
        if number < LARGE.into() {
            room[0] = number as u8;
            self.at += 1;
        } else {
            let len = 8 - number.leading_zeros() as usize / 8;
            room[0] = LARGE - 1 + len as u8;
            room[1..].copy_from_slice(&number.to_le_bytes());
            self.at += 1 + len;
        }
    }

    /// A number with a sign.
    #[inline]
    pub(super) fn signed(&mut self, number: i64) {
        self.number((number << 1 ^ number >> 63).cast_unsigned());
    }

    /// Bytes and their length.
    pub(super) fn text(&mut self, text: &[u8]) {
        self.number(text.len() as u64);
        if self.room.len() - self.at < text.len() + LONGEST {
            self.grow(text.len());
        }
        self.room[self.at..self.at + text.len()].copy_from_slice(text);
        self.at += text.len();
    }
}

/// What is no recording of ours, or is one no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrong;

/// Bytes being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Eyes<'a>(pub(super) &'a [u8]);

impl<'a> Eyes<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Wrong> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Wrong)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A number.
    pub(super) fn number(&mut self) -> Result<u64, Wrong> {
        let (&first, rest) = self.0.split_first().ok_or(Wrong)?;
        self.0 = rest;
        if first < LARGE {
            return Ok(first.into());
        }
        let len = usize::from(first - LARGE + 1);
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(self.take(len)?);
        Ok(u64::from_le_bytes(bytes))
    }

    /// A number of a smaller type.
    pub(super) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Wrong> {
        T::try_from(self.number()?).map_err(|_| Wrong)
    }

    /// A number with a sign.
    pub(super) fn signed(&mut self) -> Result<i64, Wrong> {
        let folded = self.number()?;
        Ok((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed())
    }

    /// Bytes.
    pub(super) fn text(&mut self) -> Result<&'a [u8], Wrong> {
        let len = self.small()?;
        self.take(len)
    }

    /// Bytes that are UTF-8.
    pub(super) fn utf8(&mut self) -> Result<&'a str, Wrong> {
        str::from_utf8(self.text()?).map_err(|_| Wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_what_they_were() {
        let edges = (0..64).flat_map(|bit| [0, 1, 2].map(|off| (1_u64 << bit).wrapping_sub(off)));
        let all: Vec<u64> = edges.chain([0, 247, 248, u64::MAX]).collect();
        let mut pen = Pen::default();
        for &number in &all {
            let before = pen.len();
            pen.number(number);
            let needs = (64 - number.leading_zeros() as usize).div_ceil(8);
            assert_eq!(pen.len() - before, if number < 248 { 1 } else { 1 + needs }, "{number}");
            pen.signed(number.cast_signed());
            pen.text(&number.to_be_bytes()[..(number % 9) as usize]);
        }
        let mut eyes = Eyes(pen.bytes());
        for &number in &all {
            assert_eq!(eyes.number(), Ok(number));
            assert_eq!(eyes.signed(), Ok(number.cast_signed()));
            assert_eq!(eyes.text(), Ok(&number.to_be_bytes()[..(number % 9) as usize]));
        }
        assert_eq!(eyes.number(), Err(Wrong));
    }

    #[test]
    fn small_numbers_are_small_and_bytes_are_the_same_everywhere() {
        let mut pen = Pen::default();
        pen.signed(-1);
        pen.signed(1);
        pen.number(0x1234);
        pen.text(b"ab");
        assert_eq!(pen.bytes(), [1, 2, 249, 0x34, 0x12, 2, b'a', b'b']);
        assert_eq!(Eyes(&[255, 0]).number(), Err(Wrong));
        assert_eq!(Eyes(&[3, b'a']).text(), Err(Wrong));
        assert_eq!(Eyes(&[249, 0, 1]).small::<u8>(), Err(Wrong));
        assert_eq!(Eyes(&[1, 0xff]).utf8(), Err(Wrong));
    }
}
