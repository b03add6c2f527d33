//! Relocations, as far as they lead to functions: IFUNC resolvers and the slots of imported ones.

use super::ElfError;
use super::dynamic::Dynamic;
use super::layout::{Layout, Machine};
use super::source::Source;
use object::LittleEndian as LE;
use object::elf;

/// One relocation that the loader applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reloc {
    /// The address that gets the value.
    pub slot: u64,
    /// What the value is.
    pub value: RelocValue,
}

/// What the loader writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelocValue {
    /// IRELATIVE: what the resolver at this address returns.
    Resolver(u64),
    /// RELATIVE: this address plus the load bias.
    Address(u64),
    /// JUMP_SLOT, GLOB_DAT or a plain 64-bit address: the symbol with this index in .dynsym.
    Symbol(u32),
    /// TPOFF64, TLS_TPREL64 without a symbol: how far behind the thread pointer the byte is that
    /// is this far in the object's part of the thread-local memory.
    ThreadLocal(u64),
}

/// Calls `each` for every relocation of a kind above.
pub(crate) fn each(
    source: &Source,
    layout: &Layout,
    dynamic: Option<&Dynamic>,
    each: &mut dyn FnMut(Reloc),
) -> Result<(), ElfError> {
    let what = "relocation table";
    let mut table = |offset: u64, len: u64| {
        source.each::<elf::Rela64<LE>>(offset, len, what, &mut |_, rela| {
            if let Some(reloc) = classify(layout.machine, rela) {
                each(reloc);
            }
        })
    };
    if let Some(dynamic) = dynamic {
        let (rela, jmprel) = (dynamic.rela, dynamic.jmprel);
        // Some linkers count the PLT's relocations in DT_RELASZ too.
        let inside = rela.0 <= jmprel.0
            && jmprel.0.saturating_add(jmprel.1) <= rela.0.saturating_add(rela.1);
        for (at, len) in [rela, if inside { (0, 0) } else { jmprel }] {
            if len != 0 {
                let (offset, room) = layout.file_offset(at).ok_or(ElfError::Truncated { what })?;
                if len > room {
                    return Err(ElfError::Truncated { what });
                }
                table(offset, len)?;
            }
        }
    } else {
        // A static program applies its IRELATIVEs itself; only sections say where they are.
        for section in layout
            .sections
            .iter()
            .filter(|s| s.kind == elf::SHT_RELA && s.flags & elf::SHF_ALLOC.0 != 0)
        {
            table(section.offset, section.size)?;
        }
    }
    Ok(())
}

fn classify(machine: Machine, rela: &elf::Rela64<LE>) -> Option<Reloc> {
    let kind = rela.r_type(LE, false);
    let addend = rela.r_addend.get(LE) as u64;
    let symbol = rela.r_sym(LE, false);
    let value = match (machine, kind) {
        (Machine::X86_64, elf::R_X86_64_IRELATIVE) | (Machine::Arm64, elf::R_AARCH64_IRELATIVE) => {
            RelocValue::Resolver(addend)
        }
        (Machine::X86_64, elf::R_X86_64_RELATIVE) | (Machine::Arm64, elf::R_AARCH64_RELATIVE) => {
            RelocValue::Address(addend)
        }
        (Machine::X86_64, elf::R_X86_64_JUMP_SLOT | elf::R_X86_64_GLOB_DAT | elf::R_X86_64_64)
        | (
            Machine::Arm64,
            elf::R_AARCH64_JUMP_SLOT | elf::R_AARCH64_GLOB_DAT | elf::R_AARCH64_ABS64,
        ) if symbol != 0 => RelocValue::Symbol(symbol),
        (Machine::X86_64, elf::R_X86_64_TPOFF64) | (Machine::Arm64, elf::R_AARCH64_TLS_TPREL)
            if symbol == 0 =>
        {
            RelocValue::ThreadLocal(addend)
        }
        _ => return None,
    };
    Some(Reloc { slot: rela.r_offset.get(LE), value })
}
