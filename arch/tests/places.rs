//! What a thread in a trampoline stands for, and what it gets back, by hand: the offsets are those
//! that capstone shows in `cases/recorders.txt`.
#![cfg(all(feature = "arm64", feature = "x86_64"))]

use xol_arch::arm64::Arm64;
use xol_arch::jump::{
    Features, Filter, Order, Phase, Place, Record, Recorder, Shape, Trampoline, Values, Window,
    build,
};
use xol_arch::x86_64::X86_64;
use xol_arch::{Addr, Arch, Fault, Memory, Regs, Rules, Text};

const AT: Addr = Addr(0x5555_0000_1000);
const TO: Addr = Addr(0x5555_0100_0000);
const SP: Addr = Addr(0x7ffe_0000_1000);

/// Each word holds its own address; what is above `end` is not there.
struct Stack {
    end: Addr,
}

impl Memory for Stack {
    fn read(&mut self, at: Addr, to: &mut [u8]) -> Result<(), Fault> {
        if at >= self.end {
            return Err(Fault { at, write: false });
        }
        to.copy_from_slice(&at.0.to_le_bytes()[..to.len()]);
        Ok(())
    }

    fn write(&mut self, at: Addr, _: &[u8]) -> Result<(), Fault> {
        Err(Fault { at, write: true })
    }
}

/// An event with six arguments and the time, then a count.
fn trampoline<A: Arch>(code: &[u8], flags: bool, span: u8) -> Trampoline {
    let shape = Shape::new(1, 2).unwrap();
    let values = Values::args(6);
    let (ring, missed) = (TO.add(0x8000), TO.add(0x1008));
    let event =
        Recorder::Event { ring, shape, missed, probe: 0x1234_5678, values, time: true, wait: true };
    let count = Recorder::Count { counter: TO.add(0x1000) };
    let record =
        |recorder| Record { offset: 0, flags, stack: true, filter: Filter::NONE, recorder };
    let order = Order {
        text: &Text::new(AT, code),
        window: &Window::one(AT, span),
        rules: Rules::default(),
        records: &[record(event), record(count)],
        features: Features { atomics: false, ..Features::ALL },
    };
    build::<A>(&order, TO).unwrap()
}

fn recording(record: u8, phase: Phase) -> Option<Place> {
    Some(Place::Recording { offset: 0, record, phase })
}

#[test]
fn x86_64_threads_stand_where_they_are() {
    // add eax, eax writes all flags.
    let made = trampoline::<X86_64>(&[0x01, 0xc0, 0x90, 0x90, 0x90], false, 2);
    // 0 to 279 the event, to 287 lock inc, to 289 add, to 294 the jump back.
    assert!(made.flags_lost());
    assert_eq!((made.code.len(), made.enter(0), made.enter(2)), (294, Some(0), None));
    assert!(made.locks().eq([279]));
    assert!(made.fulls().eq([242]));
    assert_eq!((made.full_at(242), made.full_at(243)), (Some((0, 32)), None));
    let at = |recorded| Some(Place::At { offset: 0, recorded });
    for (pc, wanted) in [
        (0, at(0)),
        (8, recording(0, Phase::Before)),
        (120, recording(0, Phase::Before)),
        (126, recording(0, Phase::Claimed)),
        (132, recording(0, Phase::Taken)),
        (224, recording(0, Phase::Taken)),
        (231, recording(0, Phase::After)),
        (236, recording(0, Phase::Before)),
        (242, recording(0, Phase::Before)),
        (243, recording(0, Phase::Before)),
        (251, recording(0, Phase::After)),
        (271, recording(0, Phase::After)),
        (279, at(1)),
        (287, at(2)),
        (289, Some(Place::Behind { offset: 2 })),
        (294, None),
    ] {
        assert_eq!(made.place(pc), wanted, "{pc}");
    }
    let kept = trampoline::<X86_64>(&[0x73, 0x10, 0x90, 0x90, 0x90], true, 2);
    assert!(!kept.flags_lost());
}

#[test]
fn x86_64_threads_get_back_what_was_theirs() {
    let made = trampoline::<X86_64>(&[0x01, 0xc0, 0x90, 0x90, 0x90], false, 2);
    let [rax, rdx, r10, r11] = [176, 168, 160, 152].map(|below| SP.0 - below);
    for (pc, moved, wanted) in [
        (0, false, [1, 2, 3, 4]),
        (8, true, [1, 2, 3, 4]),
        (13, true, [rax, 2, 3, 4]),
        (18, true, [rax, rdx, 3, 4]),
        (28, true, [rax, rdx, r10, r11]),
        (251, true, [rax, rdx, r10, r11]),
        (256, true, [1, rdx, r10, r11]),
        (266, true, [1, 2, 3, r11]),
        (271, true, [1, 2, 3, 4]),
        (279, false, [1, 2, 3, 4]),
        (287, false, [1, 2, 3, 4]),
    ] {
        let mut regs = xol_arch::x86_64::Registers::default();
        (regs.rax, regs.rdx, regs.r10, regs.r11) = (1, 2, 3, 4);
        regs.rsp = if moved { SP.0 - 176 } else { SP.0 };
        made.rewind::<X86_64>(pc, &mut regs, &mut Stack { end: SP }).unwrap();
        assert_eq!([regs.rax, regs.rdx, regs.r10, regs.r11], wanted, "{pc}");
        assert_eq!(regs.sp(), SP, "{pc}");
    }
    let mut regs = xol_arch::x86_64::Registers { rsp: SP.0 - 176, ..Default::default() };
    let fault = made.rewind::<X86_64>(28, &mut regs, &mut Stack { end: Addr(SP.0 - 170) });
    assert_eq!(fault, Err(Fault { at: Addr(SP.0 - 168), write: false }));
}

/// LAHF: SF ZF 0 AF 0 PF 1 CF in bits 15 to 8; SETO: bit 0.
#[test]
fn x86_64_flags_come_back() {
    let restored = |rflags, value| {
        let mut regs = xol_arch::x86_64::Registers { rflags, ..Default::default() };
        X86_64::restore(&mut regs, xol_arch::jump::Kept::Flags, value);
        regs.rflags
    };
    assert_eq!(restored(0x246, 0xd7_01), 0x202 | 0x8d5);
    assert_eq!(restored(0xad7, 0x02_00), 0x202);
    assert_eq!(restored(0x202, 0x02_01), 0xa02);
    assert_eq!(restored(0xad7, 0xffff_ffff_ffff_4700), 0x202 | 0x45);
}

#[test]
fn arm64_threads_stand_where_they_are() {
    // add x0, x0, #1
    let made = trampoline::<Arm64>(&[0x00, 0x04, 0x00, 0x91], true, 4);
    // 0 to 204 the event, to 240 the count, to 244 add, to 248 the jump back.
    assert!(!made.flags_lost());
    assert_eq!((made.code.len(), made.enter(0), made.locks().count()), (248, Some(0), 0));
    assert!(made.fulls().eq([168]));
    assert_eq!((made.full_at(168), made.full_at(172)), (Some((0, 48)), None));
    let at = |recorded| Some(Place::At { offset: 0, recorded });
    for (pc, wanted) in [
        (0, at(0)),
        (4, recording(0, Phase::Before)),
        (104, recording(0, Phase::Before)),
        (108, recording(0, Phase::Claimed)),
        (112, recording(0, Phase::Taken)),
        (156, recording(0, Phase::Taken)),
        (160, recording(0, Phase::After)),
        (164, recording(0, Phase::Before)),
        (184, recording(0, Phase::Before)),
        (188, recording(0, Phase::Claimed)),
        (192, recording(0, Phase::After)),
        (200, recording(0, Phase::After)),
        (204, at(1)),
        (224, recording(1, Phase::Before)),
        (228, recording(1, Phase::Claimed)),
        (232, recording(1, Phase::After)),
        (240, at(2)),
        (244, Some(Place::Behind { offset: 4 })),
        (248, None),
    ] {
        assert_eq!(made.place(pc), wanted, "{pc}");
    }
    // CPYFP, CPYFM, CPYFE: one copy of three instructions.
    let words = [0x1901_0440_u32, 0x1941_0440, 0x1981_0440];
    let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let made = trampoline::<Arm64>(&code, true, 12);
    assert_eq!(made.place(240), at(2));
    assert_eq!(made.place(244), Some(Place::Inside { offset: 0, by: 4 }));
    assert_eq!(made.place(248), Some(Place::Inside { offset: 0, by: 8 }));
    assert_eq!(made.place(252), Some(Place::Behind { offset: 12 }));
}

#[test]
fn arm64_threads_get_back_what_was_theirs() {
    let made = trampoline::<Arm64>(&[0x00, 0x04, 0x00, 0x91], true, 4);
    let below = |by: u64| SP.0 - by;
    for (pc, moved, wanted) in [
        (0, false, [12, 13, 14, 15, 16, 17]),
        (4, true, [12, 13, 14, 15, below(64), below(56)]),
        (8, true, [12, 13, below(48), below(40), below(64), below(56)]),
        (192, true, [below(32), below(24), below(48), below(40), below(64), below(56)]),
        (196, true, [12, 13, below(48), below(40), below(64), below(56)]),
        (200, true, [12, 13, 14, 15, below(64), below(56)]),
        (204, false, [12, 13, 14, 15, 16, 17]),
    ] {
        let mut regs = xol_arch::arm64::Registers::default();
        (12..18).for_each(|n| regs.x[n] = n as u64);
        regs.sp = if moved { SP.0 - 64 } else { SP.0 };
        made.rewind::<Arm64>(pc, &mut regs, &mut Stack { end: SP }).unwrap();
        assert_eq!(regs.x[12..18], wanted, "{pc}");
        assert_eq!(regs.sp(), SP, "{pc}");
    }
}

/// A thread that takes a slot of the ring has its address in a register: the one that the turn is stored by, at
/// the end.
#[test]
fn a_taken_slot_is_where_its_turn_is_stored() {
    let made = trampoline::<X86_64>(&[0x01, 0xc0, 0x90, 0x90, 0x90], false, 2);
    let insn = iced_x86::Decoder::with_ip(64, &made.code[224..], 0, 0).decode();
    assert_eq!(insn.memory_base(), iced_x86::Register::R10);
    let regs = xol_arch::x86_64::Registers { r10: 0x1000, ..Default::default() };
    let slot = X86_64::slot_of(&regs);
    assert_eq!(slot.0 + xol_arch::jump::TURN, 0x1000 + insn.memory_displacement64());

    let made = trampoline::<Arm64>(&[0x00, 0x04, 0x00, 0x91], true, 4);
    let word = u32::from_le_bytes(made.code[156..160].try_into().unwrap());
    // STLR: 1x00 1000 1001 1111 1111 11nn nnnt tttt
    assert_eq!(word & 0xbfff_fc00, 0x889f_fc00);
    let mut regs = xol_arch::arm64::Registers::default();
    regs.x[(word >> 5 & 31) as usize] = 0x1000;
    assert_eq!(Arm64::slot_of(&regs).0 + xol_arch::jump::TURN, 0x1000);
}
