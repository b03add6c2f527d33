//! The instructions that a jump replaces.

use super::{Reach, TrapBytes};
use crate::Addr;

/// Instructions that begin within one jump, at most.
pub const MAX_COVERED: usize = 5;

/// An instruction that begins where a jump is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Covered {
    /// Offset from the jump.
    pub offset: u8,
    /// Length in bytes.
    pub len: u8,
}

/// What a jump at an address replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Where the jump is written: the site, or the instruction behind its landing pad (arm64).
    pub at: Addr,
    /// Bytes of the jump: 5 on x86-64, 4 on arm64.
    pub len: u8,
    /// Bytes from the jump on that belong to replaced instructions.
    pub span: u8,
    /// Bit n: byte n of the jump must trap, because an instruction begins there. Never bit 0.
    pub traps: u8,
    /// Bit n: something is known to come to byte n other than from the byte before: a branch of
    /// the function, or a call inside the window that returns. Each time it does, it traps.
    pub entered: u8,
    /// Whether a call is among the instructions: it pushes to no shadow stack from a trampoline.
    pub calls: bool,
    covered: [Covered; MAX_COVERED],
    count: u8,
}

impl Window {
    /// A window with one instruction of `span` bytes, whatever its length: for a trampoline that
    /// no jump leads to.
    #[must_use]
    pub fn one(at: Addr, span: u8) -> Window {
        let mut window = Window::new(at, span);
        window.add(Covered { offset: 0, len: span });
        window
    }

    /// A window without instructions.
    pub(crate) const fn new(at: Addr, len: u8) -> Window {
        Window {
            at,
            len,
            span: 0,
            traps: 0,
            entered: 0,
            calls: false,
            covered: [Covered { offset: 0, len: 0 }; MAX_COVERED],
            count: 0,
        }
    }

    /// Adds an instruction in its place; what is there already, or does not fit, is not added.
    pub(crate) fn add(&mut self, insn: Covered) {
        if self.has(insn.offset) {
            return;
        }
        let Some(last) = self.covered.get_mut(usize::from(self.count)) else { return };
        *last = insn;
        self.count += 1;
        self.span = self.span.max(insn.offset + insn.len);
        if insn.offset > 0 {
            self.traps |= 1 << insn.offset;
        }
        let count = usize::from(self.count);
        if let Some(insns) = self.covered.get_mut(..count) {
            insns.sort_unstable_by_key(|insn| insn.offset);
        }
    }

    /// The instructions that begin inside, by offset: the first at 0. Those from offset 0 on, one
    /// behind the other, and what a branch of the function finds between them.
    #[must_use]
    pub fn covered(&self) -> &[Covered] {
        self.covered.get(..usize::from(self.count)).unwrap_or(&[])
    }

    /// Whether an instruction begins at `offset`.
    #[must_use]
    pub fn has(&self, offset: u8) -> bool {
        self.covered().iter().any(|insn| insn.offset == offset)
    }

    /// Whether a byte at `addr` is overwritten by the jump.
    #[must_use]
    pub fn overwrites(&self, addr: Addr) -> bool {
        addr.0.wrapping_sub(self.at.0) < u64::from(self.len)
    }

    /// Where the jump may go, its bytes that must trap being from `bytes`.
    #[must_use]
    pub fn reach(&self, bytes: TrapBytes) -> Reach {
        Reach::of(self, bytes)
    }
}
