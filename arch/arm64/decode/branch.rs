//! Branches, exception generation and system instructions: bits 28 to 26 are 101.

use super::super::simulate::{Compare, Condition, Effect, Relation, Test, Width};
use super::{Indirect, Insn, SignedBranch, field, register, signed, system};
use crate::Reason;

const UNDECODABLE: Insn = Insn::Refused(Reason::Undecodable);

pub(super) fn decode(word: u32) -> Insn {
    match word >> 24 {
        // B     0001 01ii  iiii iiii  iiii iiii  iiii iiii
        0x14..=0x17 => Insn::Simulated(Effect::Branch { offset: signed(word, 0, 26) << 2 }),
        // BL    1001 01ii  iiii iiii  iiii iiii  iiii iiii
        0x94..=0x97 => Insn::Simulated(Effect::BranchLink { offset: signed(word, 0, 26) << 2 }),
        // CBZ   s011 0100  iiii iiii  iiii iiii  iiit tttt
        // CBNZ  s011 0101  iiii iiii  iiii iiii  iiit tttt
        0x34 | 0x35 | 0xb4 | 0xb5 => branch_if(
            Test::Zero { register: register(word, 0), width: width(word), negated: bit(word, 24) },
            signed(word, 5, 19) << 2,
        ),
        // TBZ   b011 0110  bbbb biii  iiii iiii  iiit tttt
        // TBNZ  b011 0111  bbbb biii  iiii iiii  iiit tttt
        0x36 | 0x37 | 0xb6 | 0xb7 => branch_if(
            Test::Bit {
                register: register(word, 0),
                bit: (field(word, 31, 1) << 5 | field(word, 19, 5)) as u8,
                set: bit(word, 24),
            },
            signed(word, 5, 14) << 2,
        ),
        // B.c   0101 0100  iiii iiii  iiii iiii  iii0 cccc
        // BC.c  0101 0100  iiii iiii  iiii iiii  iii1 cccc
        0x54 => branch_if(
            Test::Flags(Condition::new(field(word, 0, 4) as u8)),
            signed(word, 5, 19) << 2,
        ),
        // RETAASPPC, RETABSPPC  0101 0101  00ki iiii  iiii iiii  iii1 1111
        0x55 if word & 0x00c0_001f == 0x1f => Insn::Refused(Reason::PauthLr),
        0x74 | 0xf4 => compare_registers(word),
        0x75 | 0xf5 => compare_immediate(word),
        0xd4 => exception(word),
        0xd5 => system::decode(word),
        0xd6 | 0xd7 => indirect(word),
        _ => UNDECODABLE,
    }
}

const fn bit(word: u32, bit: u32) -> bool {
    word >> bit & 1 != 0
}

const fn width(word: u32) -> Width {
    if bit(word, 31) { Width::X } else { Width::W }
}

fn branch_if(test: Test, offset: i32) -> Insn {
    Insn::Simulated(Effect::BranchIf { test, offset })
}

/// ```text
/// CB<c>          s111 0100  cccm mmmm  00ii iiii  iiit tttt
/// CBB<c>, CBH<c> 0111 0100  cccm mmmm  1hii iiii  iiit tttt
/// ```
fn compare_registers(word: u32) -> Insn {
    let width = match (field(word, 14, 2), bit(word, 31)) {
        (0b00, _) => width(word),
        (0b10, false) => Width::B,
        (0b11, false) => Width::H,
        _ => return UNDECODABLE,
    };
    let relation = match field(word, 21, 3) {
        0b000 => Relation::Gt,
        0b001 => Relation::Ge,
        0b010 => Relation::Hi,
        0b011 => Relation::Hs,
        0b110 => Relation::Eq,
        0b111 => Relation::Ne,
        _ => return UNDECODABLE,
    };
    let with = Compare::Register(register(word, 16));
    branch_if(
        Test::Compare { register: register(word, 0), relation, with, width },
        signed(word, 5, 9) << 2,
    )
}

/// ```text
/// CB<c>  s111 0101  ccci iiii  i0oo oooo  ooot tttt    i: the operand, o: the offset
/// ```
fn compare_immediate(word: u32) -> Insn {
    let relation = match field(word, 21, 3) {
        0b000 => Relation::Gt,
        0b001 => Relation::Lt,
        0b010 => Relation::Hi,
        0b011 => Relation::Lo,
        0b110 => Relation::Eq,
        0b111 => Relation::Ne,
        _ => return UNDECODABLE,
    };
    if bit(word, 14) {
        return UNDECODABLE;
    }
    let with = Compare::Immediate(field(word, 15, 6) as u8);
    branch_if(
        Test::Compare { register: register(word, 0), relation, with, width: width(word) },
        signed(word, 5, 9) << 2,
    )
}

/// ```text
/// 1101 0100  oooi iiii  iiii iiii  iii0 00ll
/// ```
fn exception(word: u32) -> Insn {
    match (field(word, 21, 3), field(word, 0, 5)) {
        (0b000, 0b00001) => Insn::Plain,                       // SVC
        (0b001, 0b00000) => Insn::Refused(Reason::Breakpoint), // BRK
        // HVC, SMC; HLT; DCPS1 to DCPS3
        (0b000, 0b00010 | 0b00011) | (0b010, 0b00000) | (0b101, 0b00001..=0b00011) => {
            Insn::Refused(Reason::Exception)
        }
        // TCANCEL of the withdrawn FEAT_TME
        (0b011, 0b00000) => Insn::Refused(Reason::Transaction),
        _ => UNDECODABLE,
    }
}

/// ```text
/// BR, BLR, RET            1101 0110  0oo1 1111  0000 00nn  nnn0 0000
/// BRAAZ, BLRAAZ and B     1101 0110  00o1 1111  0000 1knn  nnn1 1111
/// RETAA, RETAB            1101 0110  0101 1111  0000 1k11  1111 1111
/// RETAASPPCR and B        1101 0110  0101 1111  0000 1k11  111m mmmm
/// BRAA, BLRAA and B       1101 0111  00o1 1111  0000 1knn  nnnm mmmm
/// ERET, ERETAA and B      1101 0110  1001 1111  0000 xk11  111x xxxx
/// DRPS                    1101 0110  1011 1111  0000 0011  1110 0000
/// ```
fn indirect(word: u32) -> Insn {
    let rn = register(word, 5);
    let low = register(word, 0);
    match word & 0xffff_fc1f {
        0xd61f_0000 => return Insn::Simulated(Effect::jump(rn)),
        0xd63f_0000 => return Insn::Simulated(Effect::BranchLinkRegister { register: rn }),
        0xd65f_0000 => return Insn::Simulated(Effect::Return { register: rn }),
        _ => {}
    }
    let key_b = bit(word, 10);
    let (branch, modifier) = match (word & 0xffff_f800, low) {
        (0xd61f_0800, 31) => (Indirect::Jump, None),
        (0xd63f_0800, 31) => (Indirect::Call, None),
        (0xd71f_0800, _) => (Indirect::Jump, Some(low)),
        (0xd73f_0800, _) => (Indirect::Call, Some(low)),
        (0xd65f_0800, 31) if rn == 31 => {
            let branch = Indirect::Return;
            return Insn::Signed(SignedBranch { register: 30, modifier: Some(31), key_b, branch });
        }
        (0xd65f_0800, _) if rn == 31 => return Insn::Refused(Reason::PauthLr),
        _ => {
            return match word {
                0xd69f_03e0 | 0xd69f_0bff | 0xd69f_0fff | 0xd6bf_03e0 => {
                    Insn::Refused(Reason::ExceptionReturn)
                }
                _ => UNDECODABLE,
            };
        }
    };
    // XZR authenticates as nothing: the branch always faults, and no copy gives that address.
    if rn == 31 {
        return Insn::Refused(Reason::Exception);
    }
    Insn::Signed(SignedBranch { register: rn, modifier, key_b, branch })
}
