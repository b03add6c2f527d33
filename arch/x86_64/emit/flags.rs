//! Whether flags are read before they are overwritten.

use crate::x86_64::decode::{decoder, next};
use crate::{Addr, Text};
use iced_x86::{FlowControl, RflagsBits};

/// OF SF ZF AF CF PF.
const STATUS: u32 = RflagsBits::OF
    | RflagsBits::SF
    | RflagsBits::ZF
    | RflagsBits::AF
    | RflagsBits::CF
    | RflagsBits::PF;

/// How far to look, in instructions.
const AHEAD: usize = 32;

/// Whether the code from `at` on may read a status flag that it has not written. At the first
/// branch, call, return or end that is so, unless `at` is an entry, where the ABI gives the flags
/// no meaning. A flag that an instruction leaves undefined it does not overwrite: processors
/// keep some.
pub(in crate::x86_64) fn live(text: &Text<'_>, at: Addr, entry: bool) -> bool {
    let bytes = text.from(at);
    let Ok(mut decoder) = decoder(bytes, at) else { return true };
    let mut left = STATUS;
    for _ in 0..AHEAD {
        let Some(rest) = bytes.get(decoder.position()..).filter(|rest| !rest.is_empty()) else {
            return !entry;
        };
        let Ok(decoded) = next(&mut decoder, rest) else { return true };
        let insn = &decoded.insn;
        if insn.rflags_read() & left != 0 {
            return true;
        }
        // What writes depends on a count in a register, which may be 0: shifts by cl and
        // repeated string instructions.
        let shifts =
            insn.op_count() > 1 && insn.op_register(insn.op_count() - 1) == iced_x86::Register::CL;
        let repeats = insn.has_rep_prefix() || insn.has_repne_prefix();
        if !shifts && !repeats {
            left &= !(insn.rflags_written() | insn.rflags_cleared() | insn.rflags_set());
        }
        if left == 0 {
            return false;
        }
        if insn.flow_control() != FlowControl::Next {
            return !entry;
        }
    }
    true
}
