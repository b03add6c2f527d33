//! What one word is, by the encoding groups of the Arm ARM ("A64 instruction set encoding"):
//! total over all 2^32 words.
//!
//! What a probe must treat in its own way is matched here by hand, each form under its bit
//! picture. Everything else runs anywhere as it is, if it is allocated at all; which words are
//! is a table, `allocated`. A word that neither knows is undecodable: what a newer extension
//! means by it is not guessed.

mod allocated;
mod branch;
mod system;

use super::simulate::{Effect, Literal};
use crate::{Addr, Reason, Reject, Text};

/// One word, as far as displacing it needs to know it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Insn {
    /// Runs anywhere as it is.
    Plain,
    /// Its effect is computed.
    Simulated(Effect),
    /// A branch through an authenticated register.
    Signed(SignedBranch),
    /// Sets the exclusive monitor.
    LoadExclusive,
    /// Stores if the monitor is still set.
    StoreExclusive,
    /// CLREX.
    ClearExclusive,
    /// WFE and WFET: run anywhere; a load-exclusive that only waits is followed by one.
    WaitForEvent,
    /// PACIASP and PACIBSP: run anywhere, but behind PACM they read the PC.
    SignLink,
    /// PACM: the next PACIASP or PACIBSP signs with its own address too.
    SignLinkWithPc,
    /// One of the three instructions of a memory copy or set.
    Mops(Mops),
    /// Cannot be probed.
    Refused(Reason),
}

/// BRAA and its like: `branch` to what AUTIA or AUTIB makes of `register`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SignedBranch {
    /// The register that holds the signed target.
    pub(super) register: u8,
    /// The second operand of AUTIx: a register, 31 for SP; `None` for zero (AUTIZx).
    pub(super) modifier: Option<u8>,
    /// Key B rather than A.
    pub(super) key_b: bool,
    /// What kind of branch follows.
    pub(super) branch: Indirect,
}

/// What an indirect branch does beyond setting the PC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Indirect {
    Jump,
    Call,
    Return,
}

/// A prologue, main or epilogue instruction of FEAT_MOPS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mops {
    /// 0 for the prologue, 1 for the main part, 2 for the epilogue.
    pub(super) phase: u8,
    /// The word with the phase taken out: the same in all three.
    pub(super) family: u32,
}

/// The bits of `word` from `low`, `width` of them.
pub(super) const fn field(word: u32, low: u32, width: u32) -> u32 {
    word >> low & ((1 << width) - 1)
}

/// As [`field`], sign-extended.
const fn signed(word: u32, low: u32, width: u32) -> i32 {
    (word << (32 - low - width)) as i32 >> (32 - width)
}

/// The register number in the five bits from `low`.
pub(super) const fn register(word: u32, low: u32) -> u8 {
    field(word, low, 5) as u8
}

/// The word at `at`.
///
/// # Errors
/// [`Reason::Misaligned`] or [`Reason::Truncated`].
pub(super) fn fetch(text: &Text<'_>, at: Addr) -> Result<u32, Reject> {
    if at.0 & 3 != 0 {
        return Err(Reject { reason: Reason::Misaligned, nearest: Some(at.align_down(4)) });
    }
    match text.from(at).first_chunk() {
        Some(&bytes) => Ok(u32::from_le_bytes(bytes)),
        None => Err(Reason::Truncated.into()),
    }
}

/// What `word` is.
pub(super) fn decode(word: u32) -> Insn {
    // Bits 28 to 25 choose the group.
    match field(word, 25, 4) {
        0b0000 if word >> 16 == 0 => Insn::Refused(Reason::Exception), // UDF
        0b1000 | 0b1001 => immediate(word),
        0b1010 | 0b1011 => branch::decode(word),
        0b0100 | 0b0110 | 0b1100 | 0b1110 => memory(word),
        0b0101 | 0b1101 if is_pauth_lr(word) => Insn::Refused(Reason::PauthLr),
        // SME, SVE, data processing on registers, SIMD and floating point.
        _ => plain(word),
    }
}

/// Whether [`decode`] says [`Insn::LoadExclusive`], only faster: a scan asks it of many words.
pub(super) const fn is_load_exclusive(word: u32) -> bool {
    const LOAD: u32 = 1 << 22;
    word & LOAD != 0 && is_exclusive(word)
}

fn plain(word: u32) -> Insn {
    if allocated::contains(word) { Insn::Plain } else { Insn::Refused(Reason::Undecodable) }
}

fn immediate(word: u32) -> Insn {
    // ADR   0ii1 0000  iiii iiii  iiii iiii  iiid dddd    two low bits of the offset first
    // ADRP  1ii1 0000  iiii iiii  iiii iiii  iiid dddd    in pages
    if word & 0x1f00_0000 == 0x1000_0000 {
        let offset = signed(word, 5, 19) << 2 | field(word, 29, 2) as i32;
        let to = register(word, 0);
        return Insn::Simulated(if word >> 31 == 0 {
            Effect::Address { to, offset }
        } else {
            Effect::Page { to, offset: i64::from(offset) << 12 }
        });
    }
    // AUTIxSPPC  1111 0011  10ki iiii  iiii iiii  iii1 1111    the operand is PC - imm16
    if word & 0xffc0_001f == 0xf380_001f {
        return Insn::Refused(Reason::PauthLr);
    }
    plain(word)
}

/// The forms of FEAT_PAuth_LR among the data-processing instructions with one source:
///
/// ```text
/// PACIxSPPC, PACNBIxSPPC, PACIx171615, AUTIx171615
///               1101 1010  1100 0001  10.. ..11  1111 1110
/// AUTIxSPPCR    1101 1010  1100 0001  1001 0knn  nnn1 1110
/// ```
const fn is_pauth_lr(word: u32) -> bool {
    if word & 0xffff_c01f != 0xdac1_801e {
        return false;
    }
    let rn = field(word, 5, 5);
    match field(word, 10, 4) {
        0b0100 | 0b0101 => true,
        0b0000..=0b0011 | 0b1000 | 0b1001 | 0b1110 | 0b1111 => rn == 31,
        _ => false,
    }
}

/// ```text
/// LDXR, STXR, LDXP, STXP and acquiring or releasing:
///     ss00 1000  0Lps ssss  a222 22nn  nnnt tttt    p: a pair; ss = 0s with p is CASP
/// LDTXR, STTXR and so on (FEAT_LSUI):
///     1s00 1001  0L0s ssss  a222 22nn  nnnt tttt
/// ```
const fn is_exclusive(word: u32) -> bool {
    (word & 0x3fa0_0000 == 0x0800_0000)
        || (word & 0xbfa0_0000 == 0x8820_0000)
        || (word & 0xbfa0_0000 == 0x8900_0000)
}

fn memory(word: u32) -> Insn {
    // LDR   cc01 1V00  iiii iiii  iiii iiii  iiit tttt    (literal) and LDRSW, PRFM
    if word & 0x3b00_0000 == 0x1800_0000 {
        return literal(word);
    }
    if is_exclusive(word) {
        return if is_load_exclusive(word) { Insn::LoadExclusive } else { Insn::StoreExclusive };
    }
    // CPYx, SETx   ss01 1g01  pp0s ssss  pp.. 01nn  nnnd dddd
    if word & 0x3b20_0c00 == 0x1900_0400 {
        return mops(word);
    }
    match word & 0xffff_fc00 {
        // STZGM, STGM, LDGM  1101 1001  ..10 0000  0000 00nn  nnnt tttt
        0xd920_0000 | 0xd9a0_0000 | 0xd9e0_0000 => Insn::Refused(Reason::Privileged),
        _ => plain(word),
    }
}

fn literal(word: u32) -> Insn {
    let kind = match (field(word, 26, 1), field(word, 30, 2)) {
        (0, 0) => Literal::W,
        (0, 1) => Literal::X,
        (0, 2) => Literal::Sw,
        (0, 3) => return Insn::Simulated(Effect::Prefetch),
        (_, 0) => Literal::S,
        (_, 1) => Literal::D,
        (_, 2) => Literal::Q,
        _ => return Insn::Refused(Reason::Undecodable),
    };
    let offset = signed(word, 5, 19) << 2;
    Insn::Simulated(Effect::Load { to: register(word, 0), kind, offset })
}

/// ```text
/// CPY<P|M|E>  ss01 1F01  pp0s ssss  oooo 01nn  nnnd dddd    pp: 00, 01, 10
/// SET<P|M|E>  ss01 1g01  110s ssss  ppoo 01nn  nnnd dddd    ss = 00
/// ```
fn mops(word: u32) -> Insn {
    let set = field(word, 22, 2) == 3;
    let low = if set { 14 } else { 22 };
    let phase = field(word, low, 2) as u8;
    let [d, n, s] = [register(word, 0), register(word, 5), register(word, 16)];
    // The three registers are different and none but a SET's value is XZR.
    let wrong = d == n || d == s || n == s || d == 31 || n == 31 || (!set && s == 31);
    if wrong || phase == 3 || field(word, 30, 2) != 0 {
        return Insn::Refused(Reason::Undecodable);
    }
    Insn::Mops(Mops { phase, family: word & !(3 << low) })
}
