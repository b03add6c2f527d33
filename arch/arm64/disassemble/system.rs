//! Names for hints, system registers and operations: the decoder writes them as numbers.

use super::super::decode::{field, register};
use super::{Width, general};
use core::fmt::{Result, Write};

/// Writes the system instruction `word` if it has a name here.
pub(super) fn write(word: u32, out: &mut dyn Write) -> Option<Result> {
    // 1101 0101  00Lo oppp  nnnn mmmm  qqqt tttt
    if word >> 22 != 0b11_0101_0100 {
        return None;
    }
    match field(word, 19, 2) {
        0 if word & 0xffff_f01f == 0xd503_201f => hint(field(word, 5, 7), out),
        0 if word == 0xd503_3f5f => Some(out.write_str("clrex")),
        0 => state(word, out),
        1 => operation(word, out),
        _ => system_register(word, out),
    }
}

fn hint(number: u32, out: &mut dyn Write) -> Option<Result> {
    const NAMES: [&str; 41] = [
        "nop",
        "yield",
        "wfe",
        "wfi",
        "sev",
        "sevl",
        "dgh",
        "xpaclri", // 0
        "pacia1716",
        "",
        "pacib1716",
        "",
        "autia1716",
        "",
        "autib1716",
        "", // 8
        "esb",
        "psb csync",
        "tsb csync",
        "gcsb dsync",
        "csdb",
        "",
        "clrbhb",
        "", // 16
        "paciaz",
        "paciasp",
        "pacibz",
        "pacibsp",
        "autiaz",
        "autiasp",
        "autibz",
        "autibsp", // 24
        "bti",
        "",
        "bti c",
        "",
        "bti j",
        "",
        "bti jc",
        "pacm",        // 32
        "chkfeat x16", // 40
    ];
    Some(match NAMES.get(number as usize) {
        Some(name) if !name.is_empty() => out.write_str(name),
        _ => write!(out, "hint #{number:#x}"),
    })
}

/// MSR (immediate) and its like.
fn state(word: u32, out: &mut dyn Write) -> Option<Result> {
    // 1101 0101  0000 0ppp  0100 mmmm  qqq1 1111
    if word & 0xfff8_f01f != 0xd500_401f {
        return None;
    }
    let crm = field(word, 8, 4);
    let name = match (field(word, 16, 3), field(word, 5, 3)) {
        (0, 0) => return Some(out.write_str("cfinv")),
        (0, 1) => return Some(out.write_str("xaflag")),
        (0, 2) => return Some(out.write_str("axflag")),
        (3, 3) => return Some(streaming(crm, out)),
        (0, 3) => "uao",
        (0, 4) => "pan",
        (0, 5) => "spsel",
        (3, 1) => "ssbs",
        (3, 2) => "dit",
        (3, 4) => "tco",
        (3, 6) => "daifset",
        (3, 7) => "daifclr",
        _ => return None,
    };
    Some(write!(out, "msr {name}, #{crm:#x}"))
}

/// SMSTART and SMSTOP: `CRm` is what, then whether.
fn streaming(crm: u32, out: &mut dyn Write) -> Result {
    out.write_str(if crm & 1 == 1 { "smstart" } else { "smstop" })?;
    out.write_str(match crm >> 1 {
        1 => " sm",
        2 => " za",
        _ => "",
    })
}

fn operation(word: u32, out: &mut dyn Write) -> Option<Result> {
    let name = find(&OPERATIONS, word)?;
    Some(out.write_str(name).and_then(|()| match name.ends_with(' ') {
        true => general(register(word, 0), Width::X, out),
        false => Ok(()),
    }))
}

fn system_register(word: u32, out: &mut dyn Write) -> Option<Result> {
    let name = find(&REGISTERS, word)?;
    let rt = register(word, 0);
    Some(if field(word, 21, 1) == 1 {
        out.write_str("mrs ")
            .and_then(|()| general(rt, Width::X, out))
            .and_then(|()| write!(out, ", {name}"))
    } else {
        write!(out, "msr {name}, ").and_then(|()| general(rt, Width::X, out))
    })
}

/// op0, op1, CRn, CRm and op2 as they stand in a word, from bit 5.
type Key = u16;

const fn key(op0: u16, op1: u16, crn: u16, crm: u16, op2: u16) -> Key {
    op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2
}

fn find(names: &[(Key, &'static str)], word: u32) -> Option<&'static str> {
    let key = field(word, 5, 16) as Key;
    names.iter().find(|(k, _)| *k == key).map(|(_, name)| *name)
}

/// SYS and SYSL; the register follows where the name ends with a space.
const OPERATIONS: [(Key, &str); 29] = [
    (key(1, 3, 7, 3, 4), "cfp rctx, "),
    (key(1, 3, 7, 3, 5), "dvp rctx, "),
    (key(1, 3, 7, 3, 6), "cosp rctx, "),
    (key(1, 3, 7, 3, 7), "cpp rctx, "),
    (key(1, 3, 7, 4, 1), "dc zva, "),
    (key(1, 3, 7, 4, 3), "dc gva, "),
    (key(1, 3, 7, 4, 4), "dc gzva, "),
    (key(1, 3, 7, 5, 1), "ic ivau, "),
    (key(1, 3, 7, 7, 0), "gcspushm "),
    (key(1, 3, 7, 7, 1), "gcspopm "),
    (key(1, 3, 7, 7, 2), "gcsss1 "),
    (key(1, 3, 7, 7, 3), "gcsss2 "),
    (key(1, 3, 7, 10, 1), "dc cvac, "),
    (key(1, 3, 7, 10, 3), "dc cgvac, "),
    (key(1, 3, 7, 10, 5), "dc cgdvac, "),
    (key(1, 3, 7, 11, 0), "dc cvaoc, "),
    (key(1, 3, 7, 11, 1), "dc cvau, "),
    (key(1, 3, 7, 12, 1), "dc cvap, "),
    (key(1, 3, 7, 12, 3), "dc cgvap, "),
    (key(1, 3, 7, 12, 5), "dc cgdvap, "),
    (key(1, 3, 7, 13, 1), "dc cvadp, "),
    (key(1, 3, 7, 13, 3), "dc cgvadp, "),
    (key(1, 3, 7, 13, 5), "dc cgdvadp, "),
    (key(1, 3, 7, 14, 1), "dc civac, "),
    (key(1, 3, 7, 14, 3), "dc cigvac, "),
    (key(1, 3, 7, 14, 5), "dc cigdvac, "),
    (key(1, 0, 7, 1, 0), "ic ialluis"),
    (key(1, 0, 7, 5, 0), "ic iallu"),
    (key(1, 0, 8, 7, 0), "tlbi vmalle1"),
];

const REGISTERS: [(Key, &str); 55] = [
    (key(3, 0, 0, 0, 0), "midr_el1"),
    (key(3, 0, 0, 0, 5), "mpidr_el1"),
    (key(3, 0, 0, 0, 6), "revidr_el1"),
    (key(3, 0, 0, 4, 0), "id_aa64pfr0_el1"),
    (key(3, 0, 0, 4, 1), "id_aa64pfr1_el1"),
    (key(3, 0, 0, 4, 4), "id_aa64zfr0_el1"),
    (key(3, 0, 0, 4, 5), "id_aa64smfr0_el1"),
    (key(3, 0, 0, 5, 0), "id_aa64dfr0_el1"),
    (key(3, 0, 0, 6, 0), "id_aa64isar0_el1"),
    (key(3, 0, 0, 6, 1), "id_aa64isar1_el1"),
    (key(3, 0, 0, 6, 2), "id_aa64isar2_el1"),
    (key(3, 0, 0, 7, 0), "id_aa64mmfr0_el1"),
    (key(3, 0, 0, 7, 1), "id_aa64mmfr1_el1"),
    (key(3, 0, 0, 7, 2), "id_aa64mmfr2_el1"),
    (key(3, 0, 1, 0, 0), "sctlr_el1"),
    (key(3, 0, 1, 0, 2), "cpacr_el1"),
    (key(3, 0, 2, 0, 0), "ttbr0_el1"),
    (key(3, 0, 2, 0, 1), "ttbr1_el1"),
    (key(3, 0, 2, 0, 2), "tcr_el1"),
    (key(3, 0, 4, 0, 0), "spsr_el1"),
    (key(3, 0, 4, 0, 1), "elr_el1"),
    (key(3, 0, 4, 1, 0), "sp_el0"),
    (key(3, 0, 4, 2, 0), "spsel"),
    (key(3, 0, 4, 2, 2), "currentel"),
    (key(3, 0, 5, 2, 0), "esr_el1"),
    (key(3, 0, 6, 0, 0), "far_el1"),
    (key(3, 0, 12, 0, 0), "vbar_el1"),
    (key(3, 0, 13, 0, 4), "tpidr_el1"),
    (key(3, 3, 0, 0, 1), "ctr_el0"),
    (key(3, 3, 0, 0, 7), "dczid_el0"),
    (key(3, 3, 2, 4, 0), "rndr"),
    (key(3, 3, 2, 4, 1), "rndrrs"),
    (key(3, 3, 2, 5, 1), "gcspr_el0"),
    (key(3, 3, 4, 2, 0), "nzcv"),
    (key(3, 3, 4, 2, 1), "daif"),
    (key(3, 3, 4, 2, 2), "svcr"),
    (key(3, 3, 4, 2, 5), "dit"),
    (key(3, 3, 4, 2, 6), "ssbs"),
    (key(3, 3, 4, 2, 7), "tco"),
    (key(3, 3, 4, 4, 0), "fpcr"),
    (key(3, 3, 4, 4, 1), "fpsr"),
    (key(3, 3, 4, 4, 2), "fpmr"),
    (key(3, 3, 9, 12, 0), "pmcr_el0"),
    (key(3, 3, 9, 13, 0), "pmccntr_el0"),
    (key(3, 3, 13, 0, 2), "tpidr_el0"),
    (key(3, 3, 13, 0, 3), "tpidrro_el0"),
    (key(3, 3, 13, 0, 5), "tpidr2_el0"),
    (key(3, 3, 13, 0, 7), "scxtnum_el0"),
    (key(3, 3, 14, 0, 0), "cntfrq_el0"),
    (key(3, 3, 14, 0, 1), "cntpct_el0"),
    (key(3, 3, 14, 0, 2), "cntvct_el0"),
    (key(3, 3, 14, 0, 5), "cntpctss_el0"),
    (key(3, 3, 14, 0, 6), "cntvctss_el0"),
    (key(3, 3, 14, 2, 1), "cntp_ctl_el0"),
    (key(3, 3, 14, 3, 1), "cntv_ctl_el0"),
];
