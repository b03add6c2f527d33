//! Effects, copies, fixups and relocated code, one behaviour a test.

use super::{Arm64, Btype, Effect, Fixup, Registers};
use crate::{Addr, Arch, Code, Fault, Machine, Memory, Plan, Reason, Regs, Rules, Text};
use std::vec::Vec;

pub(super) const AT: Addr = Addr(0x40_0a28);
const SLOT: Addr = Addr(0x41_0000);
/// Out of reach of anything but a constant.
const FAR: Addr = Addr(0x7fff_0000_0000);

/// A thread whose memory holds its own address everywhere; nothing below 4096 is mapped.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fake {
    pub regs: Registers,
    pub vectors: [u128; 32],
}

impl Memory for Fake {
    fn read(&mut self, at: Addr, to: &mut [u8]) -> Result<(), Fault> {
        if at.0 < 4096 {
            return Err(Fault { at, write: false });
        }
        for (byte, at) in to.iter_mut().zip(at.0..) {
            *byte = content(at);
        }
        Ok(())
    }

    fn write(&mut self, at: Addr, _: &[u8]) -> Result<(), Fault> {
        panic!("nothing is written, at {at}")
    }
}

impl Machine<Arm64> for Fake {
    fn regs(&mut self) -> &mut Registers {
        &mut self.regs
    }

    fn set_vector(&mut self, n: u8, value: u128) -> Result<(), Fault> {
        self.vectors[usize::from(n)] = value;
        Ok(())
    }
}

fn content(at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 | 0x80
}

pub(super) fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn plan(words: &[u32]) -> Plan<Arm64> {
    Arm64::plan(&Text::new(AT, &bytes(words)), AT, Rules::default()).unwrap()
}

/// A thread at the site whose registers are all different, and BTYPE set.
pub(super) fn before() -> Fake {
    let mut fake = Fake::default();
    fake.regs.x = core::array::from_fn(|n| 0x1111_0000_0000 + 0x1001 * n as u64);
    fake.regs.sp = 0x7fff_ffff_e000;
    fake.regs.pc = AT.0;
    fake.regs.pstate = 0b0100 << 28 | 0b11 << 10;
    fake.vectors = core::array::from_fn(|n| u128::MAX - n as u128);
    fake
}

pub(super) fn simulate(word: u32, mut machine: Fake) -> Fake {
    let effect = plan(&[word]).effect.unwrap();
    Arm64::simulate(effect, AT, &mut machine).unwrap();
    machine
}

/// `before` after an instruction that changed nothing but what `change` says.
fn after(change: impl FnOnce(&mut Fake)) -> Fake {
    let mut fake = before();
    fake.regs.pc = AT.0 + 4;
    fake.regs.pstate &= !(3 << 10);
    change(&mut fake);
    fake
}

fn relocate_in(text: &Text<'_>, to: Addr) -> Result<(Vec<u32>, u8), Reason> {
    let plan = Arm64::plan(text, AT, Rules { exclusive_head: true }).unwrap();
    let mut code = Code::new();
    let done = Arm64::relocate(text, AT, &plan, to, &mut code).map_err(|r| r.reason)?.done;
    Ok((code.as_chunks().0.iter().map(|&word| u32::from_le_bytes(word)).collect(), done))
}

fn relocate(words: &[u32], to: Addr) -> Result<(Vec<u32>, u8), Reason> {
    relocate_in(&Text::new(AT, &bytes(words)), to)
}

/// The word of `B to` at `from`.
fn b(from: Addr, to: Addr) -> u32 {
    0x1400_0000 | (to.distance_from(from) >> 2) as u32 & 0x3ff_ffff
}

#[test]
fn branches_set_the_pc_and_clear_btype() {
    assert_eq!(simulate(0x1400_0010, before()), after(|m| m.regs.pc = AT.0 + 64));
    assert_eq!(simulate(0x17ff_ffff, before()), after(|m| m.regs.pc = AT.0 - 4));
    let called = after(|m| {
        m.regs.pc = AT.0 - 1024;
        m.regs.x[30] = AT.0 + 4;
    });
    assert_eq!(simulate(0x97ff_ff00, before()), called);
}

#[test]
fn indirect_branches_set_btype_by_register_and_page() {
    let go = |word: u32, guarded: bool| {
        let bytes = word.to_le_bytes();
        let text = Text { guarded, ..Text::new(AT, &bytes) };
        let plan = Arm64::plan(&text, AT, Rules::default()).unwrap();
        let mut machine = before();
        Arm64::simulate(plan.effect.unwrap(), AT, &mut machine).unwrap();
        machine
    };
    let x = before().regs.x;
    let to = |n: usize, btype| {
        after(|m| {
            m.regs.pc = x[n];
            m.regs.set_btype(btype);
        })
    };
    assert_eq!(go(0xd61f_0060, false), to(3, Btype::Jump)); // br x3
    assert_eq!(go(0xd61f_0060, true), to(3, Btype::GuardedJump));
    assert_eq!(go(0xd61f_0200, true), to(16, Btype::Jump)); // br x16
    assert_eq!(go(0xd61f_0220, true), to(17, Btype::Jump)); // br x17
    assert_eq!(go(0xd65f_0060, true), to(3, Btype::None)); // ret x3
    for guarded in [false, true] {
        let mut called = to(30, Btype::Call);
        called.regs.x[30] = AT.0 + 4;
        assert_eq!(go(0xd63f_03c0, guarded), called); // blr x30 goes to the old x30
    }
    assert_eq!(go(0xd61f_03e0, false).regs.pc, 0); // br xzr
}

#[test]
fn addresses_are_those_of_the_site() {
    assert_eq!(simulate(0x3000_0001, before()), after(|m| m.regs.x[1] = AT.0 + 1));
    assert_eq!(simulate(0xb000_0001, before()), after(|m| m.regs.x[1] = 0x40_1000));
    assert_eq!(simulate(0x1000_001f, before()), after(|_| ()));
}

#[test]
fn literal_loads_load_their_width() {
    let memory =
        |n: u64| (0..n).map(|i| u128::from(content(AT.0 + 8 + i)) << (8 * i)).sum::<u128>();
    let x = |value: u64| after(|m| m.regs.x[1] = value);
    let v = |value: u128| after(|m| m.vectors[1] = value);
    assert_eq!(simulate(0x1800_0041, before()), x(memory(4) as u64));
    assert_eq!(simulate(0x5800_0041, before()), x(memory(8) as u64));
    assert_eq!(simulate(0x9800_0041, before()), x(memory(4) as u64 | 0xffff_ffff << 32));
    assert_eq!(simulate(0x1c00_0041, before()), v(memory(4)));
    assert_eq!(simulate(0x5c00_0041, before()), v(memory(8)));
    assert_eq!(simulate(0x9c00_0041, before()), v(memory(16)));
    assert_eq!(simulate(0xd800_0041, before()), after(|_| ()));
    assert_eq!(simulate(0x5800_005f, before()), after(|_| ()));
}

#[test]
fn a_literal_load_that_faults_changes_nothing() {
    for word in [0x5800_0041, 0x9c00_0041, 0x5800_005f] {
        let effect = plan(&[word]).effect.unwrap();
        let mut machine = before();
        let fault = Arm64::simulate(effect, Addr(16), &mut machine);
        assert_eq!(fault, Err(Fault { at: Addr(24), write: false }));
        assert_eq!(machine, before());
    }
}

#[test]
fn signed_branches_give_their_register_back() {
    // copy, register, call, BTYPE from a guarded page
    let rows = [
        (0xd71f_0822, 0xdac1_1041, 1, false, Btype::GuardedJump), // braa x1, x2
        (0xd71f_0e1f, 0xdac1_17f0, 16, false, Btype::Jump),       // brab x16, sp
        (0xd61f_087f, 0xdac1_33e3, 3, false, Btype::GuardedJump), // braaz x3
        (0xd73f_0909, 0xdac1_1128, 8, true, Btype::Call),         // blraa x8, x9
        (0xd63f_0fdf, 0xdac1_37fe, 30, true, Btype::Call),        // blrabz x30
        (0xd65f_0bff, 0xdac1_13fe, 30, false, Btype::None),       // retaa
        (0xd65f_0fff, 0xdac1_17fe, 30, false, Btype::None),       // retab
    ];
    for (word, copy, register, call, btype) in rows {
        let bytes = bytes(&[word]);
        let text = Text { guarded: true, ..Text::new(AT, &bytes) };
        let plan = Arm64::plan(&text, AT, Rules::default()).unwrap();
        let mut code = Code::new();
        let fixup = Arm64::copy(&text, AT, &plan, SLOT, &mut code).unwrap();
        assert_eq!(code, u32::to_le_bytes(copy), "{word:08x}");
        assert_eq!(fixup, Fixup::Branch { register, call, btype });
        let mut machine = before();
        machine.regs.pc = SLOT.0 + 4;
        machine.regs.set(register, 0x1234_5678);
        Arm64::fixup(fixup, AT, &plan, &before().regs, &mut machine).unwrap();
        let expected = after(|m| {
            m.regs.pc = 0x1234_5678;
            m.regs.set_btype(btype);
            if call {
                m.regs.x[30] = AT.0 + 4;
            }
        });
        assert_eq!(machine, expected, "{word:08x}");
    }
}

#[test]
fn plain_copies_are_the_words_themselves() {
    let mops = [0x1901_0440, 0x1941_0440, 0x1981_0440];
    for (words, span) in [(&[0xa9bf_7bfd][..], 4), (&mops, 12), (&[0xd400_0001], 4)] {
        let bytes = bytes(words);
        let text = Text::new(AT, &bytes);
        let plan = plan(words);
        let mut code = Code::new();
        let fixup = Arm64::copy(&text, AT, &plan, SLOT, &mut code).unwrap();
        assert_eq!((code.as_slice(), fixup), (&bytes[..], Fixup::None));
        let mut machine = before();
        machine.regs.pc = SLOT.0 + span;
        Arm64::fixup(fixup, AT, &plan, &before().regs, &mut machine).unwrap();
        assert_eq!(machine, after(|m| m.regs.pc = AT.0 + span));
        let mut expected = words.to_vec();
        expected.push(b(SLOT.add(span), AT.add(span)));
        assert_eq!(relocate(words, SLOT), Ok((expected, span as u8)));
        assert_eq!(relocate(words, FAR), Err(Reason::OutOfReach));
    }
}

#[test]
fn what_is_simulated_has_no_copy() {
    let bytes = bytes(&[0x1400_0010]);
    let text = Text::new(AT, &bytes);
    let mut code = Code::new();
    let copy = Arm64::copy(&text, AT, &plan(&[0x1400_0010]), SLOT, &mut code);
    assert_eq!((copy, code.len()), (Err(Reason::OutOfReach.into()), 0));
}

#[test]
fn branches_are_rebuilt() {
    assert_eq!(relocate(&[0x1400_0010], SLOT), Ok((Vec::from([b(SLOT, AT.add(64))]), 4)));
    // movz x30, #0xa2c ; movk x30, #0x40, lsl #16 ; b
    let called = Vec::from([0xd281_459e, 0xf2a0_081e, b(SLOT.add(8), AT.offset(-1024))]);
    assert_eq!(relocate(&[0x97ff_ff00], SLOT), Ok((called, 12)));
    // b.eq, cbnz x0, tbz w1, cbgt w1, w2: the same with an offset of 8
    for (word, near) in [
        (0x54ff_0000, 0x5400_0040),
        (0xb57f_ffe0, 0xb500_0040),
        (0x3607_ffe1, 0x3600_0041),
        (0x7402_1fe1, 0x7402_0041),
        (0x753f_1fe1, 0x753f_0041),
    ] {
        let Some(Effect::BranchIf { offset, .. }) = plan(&[word]).effect else { panic!() };
        let expected = Vec::from([
            near,
            b(SLOT.add(4), SLOT.add(12)),
            b(SLOT.add(8), AT.offset(offset.into())),
            b(SLOT.add(12), AT.add(4)),
        ]);
        assert_eq!(relocate(&[word], SLOT), Ok((expected, 12)), "{word:08x}");
    }
    for word in [0x1400_0010, 0x97ff_ff00, 0x5400_0040] {
        assert_eq!(relocate(&[word], FAR), Err(Reason::OutOfReach));
    }
}

#[test]
fn indirect_branches_leave_only_where_btype_comes_out_right() {
    let go = |word: u32, guarded| {
        let bytes = word.to_le_bytes();
        relocate_in(&Text { guarded, ..Text::new(AT, &bytes) }, SLOT)
    };
    let same = |word| Ok((Vec::from([word]), 4));
    let pad = Err(Reason::LandingPad);
    for ret in [0xd65f_03c0, 0xd65f_0060, 0xd65f_0bff, 0xd65f_0fff] {
        assert_eq!((go(ret, false), go(ret, true)), (same(ret), same(ret)));
    }
    for other in [0xd61f_0060, 0xd71f_0822, 0xd61f_087f] {
        assert_eq!((go(other, false), go(other, true)), (same(other), pad.clone()));
    }
    for veneer in [0xd61f_0200, 0xd61f_0220, 0xd71f_0a02] {
        assert_eq!((go(veneer, false), go(veneer, true)), (same(veneer), same(veneer)));
    }
    // blr x8, blraa x8, x9, blraaz x8: x30, then the same without the link
    for (word, jump) in
        [(0xd63f_0100, 0xd61f_0100), (0xd73f_0909, 0xd71f_0909), (0xd63f_091f, 0xd61f_091f)]
    {
        let expected = Ok((Vec::from([0xd281_459e, 0xf2a0_081e, jump]), 12));
        assert_eq!((go(word, false), go(word, true)), (expected, pad.clone()), "{word:08x}");
    }
    // blr x30, blraa x30, x1, blraa x1, x30: the link is taken
    for word in [0xd63f_03c0, 0xd73f_0bc1, 0xd73f_083e] {
        assert_eq!(go(word, false), pad);
    }
}

#[test]
fn addresses_are_rebuilt_as_constants() {
    // adrp x5, 0: a constant without a bit
    let nothing = Vec::from([0xd280_0005, b(SLOT.add(4), AT.add(4))]);
    assert_eq!(relocate(&[0x90ff_e005], SLOT), Ok((nothing, 4)));
    let back = b(SLOT.add(8), AT.add(4));
    // adr x1, #1 ; adrp x1, #0x1000 from far enough
    let adr = Vec::from([0xd281_4521, 0xf2a0_0801, back]);
    assert_eq!(relocate(&[0x3000_0001], SLOT), Ok((adr, 8)));
    let adrp = Vec::from([0xd282_0001, 0xf2a0_0801, back]);
    assert_eq!(relocate(&[0xb000_0001], SLOT), Ok((adrp, 8)));
}

#[test]
fn literal_loads_are_rebuilt() {
    let literal = |word| [&[word, 0xd503_201f][..], &[0; 4]].concat();
    let near = |word: u32| {
        word & !(0x7ffff << 5) | ((AT.add(8).distance_from(SLOT) >> 2) as u32 & 0x7ffff) << 5
    };
    for word in [0x1800_0041, 0x5800_0041, 0x9800_0041, 0x1c00_0041, 0x5c00_0041, 0x9c00_0041] {
        let expected = Vec::from([near(word), b(SLOT.add(4), AT.add(4))]);
        assert_eq!(relocate(&literal(word), SLOT), Ok((expected, 4)), "{word:08x}");
    }
    // Two megabytes away: the address in the destination itself, if it is surely readable.
    let away = AT.add(2 << 20);
    let via =
        |load| Ok((Vec::from([0xd281_4601, 0xf2a0_0801, load, b(away.add(12), AT.add(4))]), 12));
    assert_eq!(relocate(&literal(0x1800_0041), away), via(0xb940_0021));
    assert_eq!(relocate(&literal(0x5800_0041), away), via(0xf940_0021));
    assert_eq!(relocate(&literal(0x9800_0041), away), via(0xb980_0021));
    // Readable to its last byte, and not.
    assert_eq!(relocate(&literal(0x5800_0041)[..4], away), via(0xf940_0021));
    assert_eq!(relocate(&literal(0x5800_0041)[..3], away), Err(Reason::OutOfReach));
    assert_eq!(relocate(&[0x5800_0041], away), Err(Reason::OutOfReach));
    let nothing = Ok((Vec::from([0xd503_201f, b(away.add(4), AT.add(4))]), 4));
    assert_eq!(relocate(&literal(0x5800_005f), away), nothing);
    assert_eq!(relocate(&[0xd800_0041], away), nothing);
    // No general register to put it in.
    assert_eq!(relocate(&literal(0x1c00_0041), away), Err(Reason::OutOfReach));
}

#[test]
fn the_head_of_a_sequence_can_be_boosted_if_asked_for() {
    let bytes = bytes(&[0x885f_7c20, 0x1100_0400, 0x8802_7c20]);
    let text = Text::new(AT, &bytes);
    let rules = Rules { exclusive_head: true };
    let copied = Arm64::plan(&text, AT, rules).unwrap().copied.unwrap();
    assert_eq!((copied.trap_behind, copied.jump_behind), (false, true));
    let code = Vec::from([0x885f_7c20, b(SLOT.add(4), AT.add(4))]);
    assert_eq!(relocate_in(&text, SLOT), Ok((code, 4)));
    for inside in [4, 8] {
        let reject = Arm64::plan(&text, AT.add(inside), rules).unwrap_err();
        assert_eq!(reject.reason, Reason::ExclusiveSequence);
    }
    // What follows may now be named: the head itself.
    let reject = Arm64::plan(&text, AT.add(4), rules).unwrap_err();
    assert_eq!(reject.nearest, Some(AT));
}

#[test]
fn sequences_end_with_their_function() {
    // LDXR; NOP; RET | STXR
    let bytes = bytes(&[0x885f_7c20, 0xd503_201f, 0xd503_201f, 0x8802_7c20]);
    let text = Text::new(AT, &bytes);
    let at = AT.add(4);
    assert!(Arm64::plan(&text, at, Rules::default()).is_err());
    let function = |from, to| Text { function: Some((AT.add(from), AT.add(to))), ..text };
    assert!(Arm64::plan(&function(0, 16), at, Rules::default()).is_err());
    assert!(Arm64::plan(&function(0, 12), at, Rules::default()).is_ok());
    assert!(Arm64::plan(&function(4, 16), at, Rules::default()).is_ok());
    // A function that the site is not in says nothing.
    assert!(Arm64::plan(&function(8, 16), at, Rules::default()).is_err());
    assert!(Arm64::plan(&function(0, 4), at, Rules::default()).is_err());
}

/// A sequence as long as is looked at, the site in its middle.
#[test]
fn long_sequences_are_seen() {
    let place = |load: usize, store: usize| {
        let mut words = [0xd503_201f; 700];
        (words[350 - load], words[350 + store]) = (0x885f_7c20, 0x8802_7c20);
        let bytes = bytes(&words);
        Arm64::plan(&Text::new(AT, &bytes), AT.add(4 * 350), Rules::default()).err()
    };
    for (load, store) in [(1, 1), (1, 100), (100, 1), (200, 250), (256, 255)] {
        let reason = place(load, store).map(|reject| reject.reason);
        assert_eq!(reason, Some(Reason::ExclusiveSequence), "{load} {store}");
    }
    assert_eq!(place(257, 1), None);
    assert_eq!(place(1, 256), None);
}

#[test]
fn the_nearest_place_is_in_the_function() {
    // NOP | LDXR; NOP; STXR | NOP
    let bytes = bytes(&[0xd503_201f, 0x885f_7c20, 0xd503_201f, 0x8802_7c20, 0xd503_201f]);
    let nearest = |function| {
        let text = Text { function, ..Text::new(AT, &bytes) };
        Arm64::plan(&text, AT.add(8), Rules::default()).unwrap_err().nearest
    };
    let function = |from, to| Some((AT.add(from), AT.add(to)));
    assert_eq!(nearest(None), Some(AT));
    assert_eq!(nearest(function(0, 20)), Some(AT));
    assert_eq!(nearest(function(4, 20)), Some(AT.add(16)));
    assert_eq!(nearest(function(4, 16)), None);
}

/// Written here once more, so that the two say the same.
#[test]
fn a_text_is_planned_as_each_of_its_words() {
    let bytes = bytes(&[0xd503_201f, 0, 0x1400_0010, 0xffff_ffff, 0xd65f_03c0]);
    let text = Text::new(AT, &bytes);
    let (mut in_a_row, mut at) = (Vec::new(), AT);
    Arm64::plans(&text, Rules::default(), &mut |at, plan| in_a_row.push((at, plan)));
    for (place, plan) in &in_a_row {
        assert_eq!((*place, *plan), (at, Arm64::plan(&text, at, Rules::default())));
        at = at.add(4);
    }
    assert_eq!(in_a_row.len(), 5);
}

#[test]
fn jumps_reach_128_mib() {
    let jump = |by: i64| {
        let mut code = Code::new();
        Arm64::jump(AT, AT.offset(by), &mut code).map(|()| code.to_vec()).map_err(|r| r.reason)
    };
    assert_eq!(jump(8), Ok(0x1400_0002_u32.to_le_bytes().to_vec()));
    assert_eq!(jump(-(1 << 27)), Ok(0x1600_0000_u32.to_le_bytes().to_vec()));
    assert_eq!(jump((1 << 27) - 4), Ok(0x15ff_ffff_u32.to_le_bytes().to_vec()));
    // From the far end of a slot too.
    let reach = Arm64::JUMP_REACH as i64;
    assert_eq!(reach, (128 << 20) - 4096);
    assert!([reach + 128, -reach - 128].into_iter().all(|by| jump(by).is_ok()));
    for by in [1 << 27, -(1 << 27) - 4, 2, i64::MIN] {
        assert_eq!(jump(by), Err(Reason::OutOfReach), "{by}");
    }
}

#[test]
fn traps_are_brk() {
    assert_eq!(Arm64::TRAP, 0xd42f_0de0_u32.to_le_bytes());
    assert!(Arm64::is_trap(Arm64::TRAP) && Arm64::is_trap(&[0, 0, 0x20, 0xd4, 0]));
    assert!(!Arm64::is_trap(Arm64::NOP) && !Arm64::is_trap(&[0, 0, 0x20]));
    let trap = Text::new(AT, Arm64::TRAP);
    let reject = Arm64::plan(&trap, AT, Rules::default()).unwrap_err();
    assert_eq!(reject.reason, Reason::Breakpoint);
}

#[test]
fn system_calls_with_a_constant_number_are_found() {
    let found = |words: &[u32]| {
        let bytes = bytes(words);
        let mut found = Vec::new();
        Arm64::syscalls(&Text::new(AT, &bytes), &mut |at, number| {
            found.push((at.distance_from(AT), number));
        });
        found
    };
    const SVC: u32 = 0xd400_0001;
    assert_eq!(found(&[0xd280_1bc8, SVC]), [(4, 222)]); // mov x8, #222
    assert_eq!(found(&[0x5280_0868, 0xaa01_03e0, 0xd503_201f, SVC]), [(12, 67)]); // mov w8, #67
    assert_eq!(found(&[0xd280_1bc8, 0x5280_0868, SVC, SVC]), [(8, 67)]);
    assert_eq!(found(&[0xd280_1bc8, 0xaa01_03e8, SVC]), []); // mov x8, x1
    assert_eq!(found(&[0xd2a0_1bc8, SVC]), []); // mov x8, #222 << 16
    assert_eq!(found(&[0xd280_1bc8, 0xf280_0028, SVC]), []); // movk x8, #1
    assert_eq!(found(&[0xd280_1bc8, 0xa940_2020, SVC]), []); // ldp x0, x8, [x1]
    assert_eq!(found(&[0xd280_1bc8, 0xf840_8500, SVC]), []); // ldr x0, [x8], #8
    assert_eq!(found(&[0xd280_1bc8, 0x5400_0040, SVC]), []); // b.eq
    assert_eq!(found(&[0xd280_1bc8, 0xd63f_0000, SVC]), []); // blr x0
    assert_eq!(found(&[SVC]), []);
    let mut apart = Vec::from([0xd280_1bc8]);
    apart.extend([0xd503_201f; 15]);
    apart.push(SVC);
    assert_eq!(found(&apart), [(64, 222)]);
    apart.insert(1, 0xd503_201f);
    assert_eq!(found(&apart), []);
}

#[test]
fn arguments_are_in_x0_to_x7() {
    let regs = before().regs;
    assert_eq!((regs.arg(0), regs.arg(7), regs.arg(8)), (Some(regs.x[0]), Some(regs.x[7]), None));
    assert_eq!((regs.ret(), regs.sp(), regs.pc()), (regs.x[0], Addr(regs.sp), AT));
}
