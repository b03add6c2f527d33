//! Instructions as text.
//!
//! What depends on its address is written here, with the address it means; the rest is
//! `yaxpeax-arm`'s. What that does not know, SVE and SME above all, is written as data.

use super::decode::{self, Insn};
use super::simulate::{Compare, Condition, Effect, Literal, Relation, Test, Width};
use crate::{Addr, Text};
use core::fmt::{Result, Write};
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
    if let Some(name) = hint(word) {
        return out.write_str(name);
    }
    match InstDecoder::default().decode(&mut U8Reader::new(&word.to_le_bytes())) {
        Ok(insn) => write!(out, "{insn}"),
        Err(_) => data(word, out),
    }
}

fn data(word: u32, out: &mut dyn Write) -> Result {
    write!(out, ".inst {word:#010x}")
}

/// Hints that have a name since the disassembler was written.
fn hint(word: u32) -> Option<&'static str> {
    Some(match word {
        0xd503_20df => "dgh",
        0xd503_227f => "gcsb dsync",
        0xd503_22df => "clrbhb",
        0xd503_241f => "bti",
        0xd503_245f => "bti c",
        0xd503_249f => "bti j",
        0xd503_24df => "bti jc",
        0xd503_24ff => "pacm",
        0xd503_251f => "chkfeat x16",
        _ => return None,
    })
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
            write!(out, "prfm #{:#x}, {target}", word & 0x1f)
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

fn condition_name(condition: Condition) -> &'static str {
    const NAMES: [&str; 16] = [
        "eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le", "al",
        "nv",
    ];
    NAMES[usize::from(condition.code())]
}
