//! System instructions: what a program at EL0 has is copied, DAIF and the kernel's own is not.
//!
//! ```text
//! 1101 0101  00Lo oppp  nnnn mmmm  qqqt tttt    op0 oo, op1 ppp, CRn nnnn, CRm mmmm, op2 qqq
//! ```

use super::{Insn, field};
use crate::Reason;

const UNDECODABLE: Insn = Insn::Refused(Reason::Undecodable);
const SYSTEM: Insn = Insn::Refused(Reason::SystemRegister);

/// The fields of a system instruction.
struct System {
    read: bool,
    op1: u32,
    crn: u32,
    crm: u32,
    op2: u32,
    rt: u32,
}

pub(super) fn decode(word: u32) -> Insn {
    let system = System {
        read: field(word, 21, 1) == 1,
        op1: field(word, 16, 3),
        crn: field(word, 12, 4),
        crm: field(word, 8, 4),
        op2: field(word, 5, 3),
        rt: field(word, 0, 5),
    };
    match (field(word, 22, 2), field(word, 19, 2)) {
        (0b00, 0b00) => special(&system),
        (0b00, 0b01) => operation(&system),
        (0b00, 0b10) => SYSTEM, // debug and trace registers
        (0b00, 0b11) => register(&system),
        // SYSP; MSRR and MRRS: pairs of registers, none of them a program's.
        (0b01, 0b01) if !system.read => SYSTEM,
        (0b01, 0b10 | 0b11) => SYSTEM,
        _ => UNDECODABLE,
    }
}

/// Hints, barriers, MSR (immediate), waits.
fn special(system: &System) -> Insn {
    let &System { read, op1, crn, crm, op2, rt } = system;
    if read {
        // TSTART and TTEST
        let transaction = (op1, crn, op2) == (3, 3, 3) && crm < 2;
        return if transaction { Insn::Refused(Reason::Transaction) } else { UNDECODABLE };
    }
    match (op1, crn, crm, op2, rt) {
        (3, 1, 0, 0, _) => Insn::WaitForEvent, // WFET
        (3, 1, 0, 1, _) => Insn::Plain,        // WFIT
        (3, 2, _, _, 31) => hint(crm << 3 | op2),
        (3, 3, _, 2, 31) => Insn::ClearExclusive,
        (3, 3, 0, 3, 31) => Insn::Refused(Reason::Transaction), // TCOMMIT
        (3, 3, 2 | 6 | 10 | 14, 1, 31) => Insn::Plain,          // DSB nXS
        (3, 3, _, 4..=6, 31) => Insn::Plain,                    // DSB, SSBB, PSSBB; DMB; ISB
        (3, 3, 0, 7, 31) => Insn::Plain,                        // SB
        (0, 4, 0, 0..=2, 31) => Insn::Plain,                    // CFINV, XAFLAG, AXFLAG
        (_, 4, _, _, 31) => processor_state(op1, crm, op2),
        _ => UNDECODABLE,
    }
}

/// MSR (immediate).
fn processor_state(op1: u32, crm: u32, op2: u32) -> Insn {
    match (op1, op2, crm) {
        (3, 6 | 7, _) => Insn::Refused(Reason::Daif), // DAIFSet, DAIFClr
        (3, 1 | 2 | 4, _) => Insn::Plain,             // SSBS, DIT, TCO
        (3, 3, 2..=7) => Insn::Plain,                 // SVCR: SMSTART, SMSTOP
        (0, 3..=5, _) => SYSTEM,                      // UAO, PAN, SPSel
        (1, 0, 0..=3) => SYSTEM,                      // ALLINT, PM
        _ => UNDECODABLE,
    }
}

/// HINT by number. The processors execute the numbers without a meaning as NOP, and the next
/// revision gives them one.
fn hint(number: u32) -> Insn {
    match number {
        2 => Insn::WaitForEvent,
        25 | 27 => Insn::SignLink,
        39 => Insn::SignLinkWithPc,
        0 | 1 | 3..=7        // NOP, YIELD, WFI, SEV, SEVL, DGH, XPACLRI
        | 8 | 10 | 12 | 14   // PACIA1716, PACIB1716, AUTIA1716, AUTIB1716
        | 16..=20 | 22       // ESB, PSB CSYNC, TSB CSYNC, GCSB DSYNC, CSDB, CLRBHB
        | 24 | 26 | 28..=31  // PACIxZ, AUTIxZ, AUTIxSP
        | 32 | 34 | 36 | 38  // BTI: a landing pad, and a slot is entered by a direct branch
        | 40                 // CHKFEAT
            => Insn::Plain,
        _ => Insn::Refused(Reason::Hint),
    }
}

/// SYS and SYSL.
fn operation(system: &System) -> Insn {
    let &System { read, op1, crn, crm, op2, .. } = system;
    match (read, op1, crn, crm, op2) {
        (false, 3, 7, 2, 7)                          // TRCIT
        | (false, 3, 7, 3, 4..=7)                    // CFP, DVP, COSP, CPP
        | (false, 3, 7, 4, 1 | 3 | 4)                // DC ZVA, GVA, GZVA
        | (false, 3, 7, 5, 1)                        // IC IVAU
        | (false, 3, 7, 10, 1 | 3 | 5)               // DC CVAC, CGVAC, CGDVAC
        | (false, 3, 7, 11, 0 | 1)                   // DC CVAOC, CVAU
        | (false, 3, 7, 12 | 13, 1 | 3 | 5)          // DC CVAP, CVADP and with tags
        | (false, 3, 7, 14, 1 | 3 | 5)               // DC CIVAC, CIGVAC, CIGDVAC
        | (false, 3, 7, 7, 0 | 2)                    // GCSPUSHM, GCSSS1
        | (true, 3, 7, 7, 1 | 3)                     // GCSPOPM, GCSSS2
            => Insn::Plain,
        _ => SYSTEM,
    }
}

/// MSR and MRS of the registers proper. Where the kernel has not opened one to EL0 the copy
/// faults as the original would.
fn register(system: &System) -> Insn {
    let &System { read, op1, crn, crm, op2, .. } = system;
    match (op1, crn, crm, op2) {
        (3, 4, 2, 1) => Insn::Refused(Reason::Daif),
        // Identification registers: the kernel answers for those it lets a program know.
        (0, 0, _, _) if read => Insn::Plain,
        (3, 0, 0, 1 | 7) if read => Insn::Plain, // CTR, DCZID
        (3, 2, 4, 0 | 1) if read => Insn::Plain, // RNDR, RNDRRS
        (3, 2, 5, 1) => Insn::Plain,             // GCSPR
        (3, 4, 2, 0 | 2 | 5 | 6 | 7) => Insn::Plain, // NZCV, SVCR, DIT, SSBS, TCO
        (3, 4, 4, 0..=2) => Insn::Plain,         // FPCR, FPSR, FPMR
        (3, 9, 12..=14, _) => Insn::Plain,       // the performance monitor
        (3, 13, 0, 2 | 3 | 5 | 7) => Insn::Plain, // TPIDR, TPIDRRO, TPIDR2, SCXTNUM
        (3, 13, 2..=15, _) => Insn::Plain,       // the activity monitors
        (3, 14, 0, 0..=2 | 5 | 6) => Insn::Plain, // CNTFRQ, CNTPCT, CNTVCT and synchronised
        (3, 14, 2 | 3, 0..=2) => Insn::Plain,    // CNTP, CNTV
        (3, 14, 8..=15, _) => Insn::Plain,       // the performance monitor's counters
        _ => SYSTEM,
    }
}
