//! What is asked of an architecture about single instructions, by hand.
#![cfg(all(feature = "arm64", feature = "x86_64"))]

use xol_arch::arm64::{Arm64, Btype, Registers};
use xol_arch::x86_64::X86_64;
use xol_arch::{Addr, Arch, Text};

const BTI: u32 = 0xd503_241f;
const BTI_C: u32 = 0xd503_245f;
const BTI_J: u32 = 0xd503_249f;
const BTI_JC: u32 = 0xd503_24df;
const PACIASP: u32 = 0xd503_233f;
const PACIBSP: u32 = 0xd503_237f;
const NOP: u32 = 0xd503_201f;

#[test]
fn system_calls() {
    // svc #0; svc #1, which Linux takes as well; hvc #0; nop
    for (word, is) in [(0xd400_0001_u32, true), (0xd400_0002, false), (NOP, false)] {
        assert_eq!(Arm64::is_syscall(&word.to_le_bytes()), is, "{word:x}");
    }
    assert!(!Arm64::is_syscall(&[1, 0]));
    // syscall; ud2; nop; sysenter
    for (code, is) in
        [([0x0f, 0x05], true), ([0x0f, 0x0b], false), ([0x66, 0x90], false), ([0x0f, 0x34], false)]
    {
        assert_eq!(X86_64::is_syscall(&code), is, "{code:x?}");
    }
    assert!(!X86_64::is_syscall(&[0x0f]));
}

/// Arm ARM, BTypeCompatible; where each kind of branch may land on a guarded page.
#[test]
fn landings() {
    let may = |word: u32, btype: Option<Btype>| {
        let mut regs = Registers::default();
        if let Some(btype) = btype {
            regs.set_btype(btype);
        }
        Arm64::may_land(&word.to_le_bytes(), &regs)
    };
    for word in [NOP, BTI, BTI_C, BTI_J, PACIASP] {
        assert!(may(word, None), "{word:x}: no branch led here");
    }
    for (word, call, jump, guarded_jump) in [
        (BTI_C, true, true, false),
        (PACIASP, true, true, false),
        (PACIBSP, true, true, false),
        (BTI_J, false, true, true),
        (BTI_JC, true, true, true),
        (BTI, false, false, false),
        (NOP, false, false, false),
    ] {
        let got =
            [Btype::Call, Btype::Jump, Btype::GuardedJump].map(|btype| may(word, Some(btype)));
        assert_eq!(got, [call, jump, guarded_jump], "{word:x}");
    }
    let pads = [BTI, BTI_C, BTI_J, BTI_JC, PACIASP, PACIBSP];
    for word in pads {
        assert!(Arm64::is_landing_pad(&word.to_le_bytes()), "{word:x}");
    }
    // nop; autiasp; paciaz; pacia1716
    for word in [NOP, 0xd503_23bf, 0xd503_231f, 0xd503_211f] {
        assert!(!Arm64::is_landing_pad(&word.to_le_bytes()), "{word:x}");
    }
    assert!(!Arm64::is_landing_pad(&[0x5f, 0x24, 0x03]));
    // endbr64: nothing guards user code on Linux.
    let endbr = [0xf3, 0x0f, 0x1e, 0xfa];
    assert!(!X86_64::is_landing_pad(&endbr));
    assert!(X86_64::may_land(&[0x90], &xol_arch::x86_64::Registers::default()));
}

#[test]
fn branches_of_a_function() {
    let found = |found: &mut Vec<u64>, target: Addr| found.push(target.0);
    // 0: cbz x0, 8; 4: b 0; 8: ret
    let words = [0xb400_0040_u32, 0x17ff_ffff, 0xd65f_03c0];
    let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let text = Text { function: Some((Addr(0), Addr(12))), ..Text::new(Addr(0), &code) };
    let mut all = Vec::new();
    Arm64::targets(&text, &mut |target| found(&mut all, target));
    assert_eq!(all, [8, 0]);
    // 0: jne 4; 2: jmp 0; 4: ret
    let code = [0x75, 2, 0xeb, 0xfc, 0xc3];
    let text = Text { function: Some((Addr(0), Addr(5))), ..Text::new(Addr(0), &code) };
    all.clear();
    X86_64::targets(&text, &mut |target| found(&mut all, target));
    assert_eq!(all, [4, 0]);
}

/// No recorder of arm64 touches NZCV, so they need not be kept.
#[test]
fn flags() {
    // b.eq; adds x0, x0, x0
    for word in [0x5400_0040_u32, 0xab00_0000] {
        let code = word.to_le_bytes();
        assert!(!Arm64::flags_live(&Text::new(Addr(0), &code), Addr(0)));
    }
}
