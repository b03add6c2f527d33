//! How control leaves one instruction: for finding where a function is left.

use crate::Addr;

/// Where control goes behind one instruction. What [`Arch::plan`](crate::Arch::plan) rejects has
/// a flow too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// To the instruction behind it.
    Next,
    /// The same, with no other effect: what fills gaps between functions.
    Nop,
    /// There.
    Jump(Addr),
    /// There, or to the instruction behind it.
    JumpIf(Addr),
    /// To where a register or memory says, for good.
    JumpIndirect,
    /// Elsewhere, and it may come back to the instruction behind it: a call, and of a direct one
    /// where to; a system call, a breakpoint.
    Call(Option<Addr>),
    /// Back to where the function was called from: RET; on arm64 through x30.
    Return,
    /// Nowhere: an exception for good.
    Stop,
}

/// One instruction on the way of [`Arch::follow`](crate::Arch::follow).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where it begins.
    pub at: Addr,
    /// Its length in bytes.
    pub len: u8,
    /// Where control goes behind it.
    pub flow: Flow,
    /// What it names, relative to itself, other than by branching there.
    pub named: Option<Named>,
}

/// An address that an instruction names, relative to itself: by a RIP-relative operand, LDR (literal), ADR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// The address.
    pub at: Addr,
    /// Whether memory is accessed there: LEA and ADR only compute.
    pub accessed: bool,
}
