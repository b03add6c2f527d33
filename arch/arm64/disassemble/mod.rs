//! Instructions as text.
//!
//! What depends on its address is written here, with the address it means; the rest is
//! `yaxpeax-arm`'s. What that does not know, SVE and SME above all, is written as data.

mod system;

use super::decode::{self, Insn};
use super::simulate::{Compare, Condition, Effect, Literal, Relation, Test, Width};
use crate::{Addr, Text};
use core::fmt::{self, Result, Write};
use yaxpeax_arch::{Decoder, U8Reader};
use yaxpeax_arm::armv8::a64::InstDecoder;

/// Writes the instruction at `at`.
pub(super) fn disassemble(text: &Text<'_>, at: Addr, out: &mut dyn Write) -> Result {
    let Ok(word) = decode::fetch(text, at) else {
        let bytes = text.from(at);
        out.write_str(".byte")?;
        for (i, byte) in bytes[..bytes.len().min(4)].iter().enumerate() {
            write!(out, "{} {byte:#04x}", if i == 0 { "" } else { "," })?;
        }
        return Ok(());
    };
    match decode::decode(word) {
        Insn::Simulated(effect) => return simulated(effect, word, at, out),
        Insn::Refused(crate::Reason::Undecodable) => return data(word, out),
        _ => {}
    }
    // AUTIxSPPC  1111 0011  10ki iiii  iiii iiii  iii1 1111    words back from here
    // RETAxSPPC  0101 0101  00ki iiii  iiii iiii  iii1 1111
    let name = match word & 0xffe0_001f {
        0xf380_001f => "autiasppc",
        0xf3a0_001f => "autibsppc",
        0x5500_001f => "retaasppc",
        0x5520_001f => "retabsppc",
        _ => "",
    };
    if !name.is_empty() {
        return write!(out, "{name} {}", at.offset(-4 * i64::from(decode::field(word, 5, 16))));
    }
    if let Some(written) = system::write(word, out) {
        return written;
    }
    match InstDecoder::default().decode(&mut U8Reader::new(&word.to_le_bytes())) {
        Ok(insn) => write!(out, "{insn}"),
        Err(_) => data(word, out),
    }
}

fn data(word: u32, out: &mut dyn Write) -> Result {
    write!(out, ".inst {word:#010x}")
}

fn simulated(effect: Effect, word: u32, at: Addr, out: &mut dyn Write) -> Result {
    match effect {
        Effect::Branch { offset } => write!(out, "b {}", at.offset(offset.into())),
        Effect::BranchLink { offset } => write!(out, "bl {}", at.offset(offset.into())),
        Effect::BranchIf { test, offset } => branch_if(test, word, at.offset(offset.into()), out),
        Effect::BranchRegister { register, .. } => {
            out.write_str("br ")?;
            general(register, Width::X, out)
        }
        Effect::BranchLinkRegister { register } => {
            out.write_str("blr ")?;
            general(register, Width::X, out)
        }
        Effect::Return { register: 30 } => out.write_str("ret"),
        Effect::Return { register } => {
            out.write_str("ret ")?;
            general(register, Width::X, out)
        }
        Effect::Address { to, offset } => {
            out.write_str("adr ")?;
            general(to, Width::X, out)?;
            write!(out, ", {}", at.offset(offset.into()))
        }
        Effect::Page { to, offset } => {
            out.write_str("adrp ")?;
            general(to, Width::X, out)?;
            write!(out, ", {}", at.align_down(4096).offset(offset))
        }
        Effect::Load { to, kind, offset } => {
            out.write_str(if kind == Literal::Sw { "ldrsw " } else { "ldr " })?;
            match kind {
                Literal::W => general(to, Width::W, out)?,
                Literal::X | Literal::Sw => general(to, Width::X, out)?,
                Literal::S => write!(out, "s{to}")?,
                Literal::D => write!(out, "d{to}")?,
                Literal::Q => write!(out, "q{to}")?,
            }
            write!(out, ", {}", at.offset(offset.into()))
        }
        Effect::Prefetch => {
            // The offset is at bit 5, signed and in words.
            let target = at.offset(i64::from((word << 8) as i32 >> 13) << 2);
            write!(out, "prfm {}, {target}", Operation((word & 0x1f) as u8))
        }
    }
}

fn branch_if(test: Test, word: u32, target: Addr, out: &mut dyn Write) -> Result {
    match test {
        Test::Flags(condition) => {
            let consistent = if word & 0x10 != 0 { "bc" } else { "b" };
            write!(out, "{consistent}.{} ", condition_name(condition))?;
        }
        Test::Zero { register, width, negated } => {
            out.write_str(if negated { "cbnz " } else { "cbz " })?;
            general(register, width, out)?;
            out.write_str(", ")?;
        }
        Test::Bit { register, bit, set } => {
            out.write_str(if set { "tbnz " } else { "tbz " })?;
            general(register, if bit < 32 { Width::W } else { Width::X }, out)?;
            write!(out, ", #{bit}, ")?;
        }
        Test::Compare { register, relation, with, width } => {
            let size = match width {
                Width::B => "b",
                Width::H => "h",
                Width::W | Width::X => "",
            };
            write!(out, "cb{size}{} ", relation_name(relation))?;
            general(register, width, out)?;
            out.write_str(", ")?;
            match with {
                Compare::Register(register) => general(register, width, out)?,
                Compare::Immediate(number) => write!(out, "#{number}")?,
            }
            out.write_str(", ")?;
        }
    }
    write!(out, "{target}")
}

fn general(register: u8, width: Width, out: &mut dyn Write) -> Result {
    let letter = if width == Width::X { 'x' } else { 'w' };
    match register {
        31 => write!(out, "{letter}zr"),
        _ => write!(out, "{letter}{register}"),
    }
}

const fn relation_name(relation: Relation) -> &'static str {
    match relation {
        Relation::Eq => "eq",
        Relation::Ne => "ne",
        Relation::Gt => "gt",
        Relation::Ge => "ge",
        Relation::Lt => "lt",
        Relation::Hi => "hi",
        Relation::Hs => "hs",
        Relation::Lo => "lo",
    }
}

/// What a prefetch is for: PLD, PLI or PST, the cache level, KEEP or STRM.
struct Operation(u8);

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> Result {
        let (kind, level) = (self.0 >> 3, self.0 >> 1 & 3);
        match (["pld", "pli", "pst"].get(usize::from(kind)), level) {
            (Some(kind), 0..=2) => {
                let policy = if self.0 & 1 == 0 { "keep" } else { "strm" };
                write!(f, "{kind}l{}{policy}", level + 1)
            }
            _ => write!(f, "#{:#x}", self.0),
        }
    }
}

fn condition_name(condition: Condition) -> &'static str {
    const NAMES: [&str; 16] = [
        "eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le", "al",
        "nv",
    ];
    NAMES[usize::from(condition.code())]
}
