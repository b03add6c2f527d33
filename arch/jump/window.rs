//! The instructions that a jump replaces.

use super::{Reach, TrapBytes};
use crate::{Addr, Arch, Code, Reason, Reject};

/// x86-64: a CS prefix, which a direct jump ignores (AMD64 APM 3, 1.2.4).
pub const LEAD: u8 = 0x2e;

/// Instructions that begin in one window, at most.
pub const MAX_COVERED: usize = 10;

/// Where a jump may land that must trap at its last byte, the highest of its displacement (x86-64).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// 0.8 GiB below: that byte is INT3.
    Below,
    /// 0.6 to 1.7 GiB above, for what stands so low that nothing is below, and where that is taken: that
    /// byte is the beginning of another instruction ([`Last`]).
    Above,
}

impl Side {
    /// The side of a jump at this address: below, where there is something. The first megabyte is
    /// left alone (vm.mmap_min_addr).
    #[must_use]
    pub const fn of(at: Addr) -> Side {
        if at.0 < 0x3410_0000 { Side::Above } else { Side::Below }
    }
}

/// How the last byte of a jump traps where an instruction begins at it: with what follows the jump,
/// all of it INT3.
///
/// ```text
/// byte      0   1  2  3   4   5   6   7   8   9
/// Trap      E9  dd dd dd  CC
/// Prefix    E9  dd dd dd  pp  CC                         pp: a prefix that INT3 ignores
/// Push8     E9  dd dd dd  6A  CC  CC                     push imm8; int3
/// Push32    E9  dd dd dd  68  CC  CC  CC  CC  CC         push imm32; int3
/// ```
///
/// With a prefix before it that JMP ignores too ([`LEAD`]) all of that is one byte further on.
///
/// A push takes the place of a push: what it writes would be overwritten by the other, at the same
/// address, or fault in the same way. A thread that has trapped behind it has pushed 8 bytes too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// INT3 itself.
    Trap,
    /// A prefix of the INT3 behind the jump: where no instruction begins at byte 5.
    Prefix,
    /// `push imm8`: instead of a push of one byte, where no instruction begins at byte 6.
    Push8,
    /// `push imm32`: the same where none begins at byte 9.
    Push32,
}

impl Last {
    /// Bytes from the jump's beginning to behind the last INT3.
    #[must_use]
    pub const fn span(self) -> u8 {
        match self {
            Last::Trap => 5,
            Last::Prefix => 6,
            Last::Push8 => 7,
            Last::Push32 => 10,
        }
    }

    /// Whether it pushes 8 bytes before it traps.
    #[must_use]
    pub const fn pushes(self) -> bool {
        matches!(self, Last::Push8 | Last::Push32)
    }

    /// What the byte may be.
    #[must_use]
    pub const fn bytes(self) -> TrapBytes {
        match self {
            Last::Trap => TrapBytes::INT3,
            Last::Prefix => TrapBytes::PREFIXES,
            Last::Push8 => TrapBytes::NONE.with(0x6a),
            Last::Push32 => TrapBytes::NONE.with(0x68),
        }
    }
}

/// A place in a window where a thread is found that has come to the jump's last byte, and no
/// instruction begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// The INT3 that it traps at, from the jump's beginning.
    pub offset: u8,
    /// The instruction that it was about to execute.
    pub of: u8,
    /// By how much its stack pointer is too low, in bytes.
    pub pushed: u8,
}

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
    /// Bytes that are overwritten: on arm64 4, the jump; on x86-64 5, the jump, or more ([`Last`]).
    pub len: u8,
    /// Bytes from the jump on that belong to replaced instructions.
    pub span: u8,
    /// Bit n: byte n must trap, because an instruction begins there. Never bit 0.
    pub traps: u16,
    /// Bit n: something is known to come to byte n other than from the byte before: a branch of
    /// the function, or a call inside the window that returns. Each time it does, it traps.
    pub entered: u16,
    /// Whether a call is among the instructions: it pushes to no shadow stack from a trampoline.
    pub calls: bool,
    /// Bytes before the jump itself: [`LEAD`], or none.
    pub lead: u8,
    /// How the jump's last byte traps, if an instruction begins at it.
    pub last: Last,
    /// The bytes of the displacement that stay what they are, because they belong to what follows the
    /// one instruction that is replaced ([`Arch::window_alone`]).
    pub shared: [Option<u8>; 4],
    /// Bit n: an instruction begins at byte n of those, where others may put a trap later.
    pub later: u8,
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
            lead: 0,
            last: Last::Trap,
            shared: [None; 4],
            later: 0,
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

    /// Bytes from the jump on that are not what they were: all of it, but for what is shared.
    #[must_use]
    pub fn changed(&self) -> u8 {
        let kept = self.shared.iter().rev().take_while(|byte| byte.is_some()).count();
        self.len - kept as u8
    }

    /// Where a thread is found, other than where it must be, that has come to the jump's last byte.
    #[must_use]
    pub fn shadow(&self) -> Option<Shadow> {
        if self.last == Last::Trap {
            return None;
        }
        let pushed = if self.last.pushes() { 8 } else { 0 };
        Some(Shadow { offset: self.lead + self.last.span() - 1, of: self.lead + 4, pushed })
    }

    /// Appends what stands in the text instead of the window: a jump to `to`, which must be in
    /// reach, and what traps behind it.
    ///
    /// # Errors
    /// [`Reason::OutOfReach`].
    pub fn write<A: Arch>(&self, to: Addr, out: &mut Code) -> Result<(), Reject> {
        let end = out.len() + usize::from(self.len);
        let room = |_| Reason::NoRoomForSlots;
        out.resize(out.len() + usize::from(self.lead), LEAD).map_err(room)?;
        A::jump(self.at.add(self.lead.into()), to, out)?;
        while out.len() < end {
            out.extend_from_slice(A::TRAP).map_err(room)?;
        }
        Ok(())
    }

    /// Whether these bytes, a jump, are what must stand behind its first one: a trap where an instruction
    /// begins, and what was there where it is shared.
    #[must_use]
    pub fn fits<A: Arch>(&self, jump: &[u8]) -> bool {
        let traps = (1..self.len).filter(|n| self.traps >> n & 1 == 1).all(|n| {
            let Some(bytes) = jump.get(usize::from(n)..) else { return false };
            let last = self.shadow().is_some_and(|shadow| shadow.of == n);
            bytes.starts_with(A::TRAP)
                || last && bytes.first().is_some_and(|&byte| self.last.bytes().has(byte))
        });
        let shared = (1..).zip(self.shared);
        traps && shared.into_iter().all(|(n, byte)| byte.is_none() || byte.as_ref() == jump.get(n))
    }

    /// Whether the highest byte of its displacement is INT3, so that it lands in the one band of 16 MiB
    /// below: then [`Side::Above`] may have another window.
    #[must_use]
    pub fn lands_below(&self) -> bool {
        self.len >= 5 && self.last == Last::Trap && self.traps >> 4 & 1 == 1
    }

    /// Where the jump may go.
    #[must_use]
    pub fn reach(&self) -> Reach {
        Reach::of(self)
    }
}
