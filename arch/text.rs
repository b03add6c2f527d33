//! The code a plan is made from.

use crate::Addr;
use core::ops::Range;

/// Bytes of one mapping, with what is known about them.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// Where `bytes[0]` is.
    pub base: Addr,
    /// The code: at least the instruction, better the whole function. Bytes behind it are
    /// taken not to exist: an instruction that reaches over the end is truncated.
    pub bytes: &'a [u8],
    /// Where the function around the site begins and ends, if known: [start, end).
    pub function: Option<(Addr, Addr)>,
    /// Whether the page is guarded (arm64 BTI, PROT_BTI): decides PSTATE.BTYPE after BLR.
    pub guarded: bool,
}

impl<'a> Text<'a> {
    /// Code at `base` of which nothing else is known.
    #[must_use]
    pub const fn new(base: Addr, bytes: &'a [u8]) -> Text<'a> {
        Text { base, bytes, function: None, guarded: false }
    }

    /// The bytes from `at` to the end; empty outside.
    #[must_use]
    pub fn from(&self, at: Addr) -> &'a [u8] {
        usize::try_from(at.0.wrapping_sub(self.base.0))
            .ok()
            .and_then(|skip| self.bytes.get(skip..))
            .unwrap_or(&[])
    }

    /// The addresses covered.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.base.0..self.base.0.saturating_add(self.bytes.len() as u64)
    }
}
