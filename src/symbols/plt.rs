//! PLT stubs: which imported function each jumps to, read from its own instructions.
//!
//! Linkers lay PLTs out in a dozen ways (.plt, .plt.sec, .plt.got, with and without landing
//! pads, sorted or not), but a stub always jumps through one GOT slot, and that slot's
//! relocation has the name.

use super::layout::{Layout, Machine};
use super::source::Source;

/// A stub and the GOT slot it jumps through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stub {
    pub(crate) addr: u64,
    pub(crate) size: u32,
    pub(crate) slot: u64,
}

/// The stubs in the sections called `.plt…`. Unreadable sections have none.
pub(crate) fn stubs(source: &Source, layout: &Layout) -> Vec<Stub> {
    let mut stubs = Vec::new();
    for section in &layout.sections {
        let name = layout.section_name(section);
        if name != ".plt" && !name.starts_with(".plt.") && name != ".iplt" {
            continue;
        }
        let Ok(code) = source.bytes(section.offset, section.size, "PLT") else { continue };
        match layout.machine {
            Machine::X86_64 => x86_64(&code, section.addr, section.entsize, &mut stubs),
            Machine::Arm64 => arm64(&code, section.addr, &mut stubs),
        }
    }
    stubs
}

/// Entries of 8 or 16 bytes that hold `jmp *disp(%rip)`: ff 25 disp32, perhaps behind endbr64
/// and a bnd prefix. The first entry of a lazy .plt pushes first (ff 35) and is no stub.
fn x86_64(code: &[u8], base: u64, entsize: u64, stubs: &mut Vec<Stub>) {
    let size = if entsize == 8 { 8 } else { 16 };
    for (i, entry) in code.chunks_exact(size).enumerate() {
        let addr = base.wrapping_add((i * size) as u64);
        let skip = match entry {
            [0xff, 0x25, ..] => 0,
            [0xf2, 0xff, 0x25, ..] => 1,
            [0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25, ..] => 4,
            [0xf3, 0x0f, 0x1e, 0xfa, 0xf2, 0xff, 0x25, ..] => 5,
            _ => continue,
        };
        let Some(&[a, b, c, d]) = entry.get(skip + 2..skip + 6) else { continue };
        let behind = addr.wrapping_add(skip as u64 + 6);
        let slot = behind.wrapping_add_signed(i32::from_le_bytes([a, b, c, d]).into());
        stubs.push(Stub { addr, size: size as u32, slot });
    }
}

/// `[bti c;] adrp x16, page; ldr x17, [x16, #offset]; add x16, x16, #…; br x17 …`. The first
/// entry of a lazy .plt stores x16 and x30 first and is left out by having a store before.
fn arm64(code: &[u8], base: u64, stubs: &mut Vec<Stub>) {
    const BTI_C: u32 = 0xd503_245f;
    const STP_X16_X30: u32 = 0xa9bf_7bf0;
    let words: Vec<u32> =
        code.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect();
    for (i, pair) in words.windows(2).enumerate() {
        let (adrp, ldr) = (pair[0], pair[1]);
        if adrp & 0x9f00_001f != 0x9000_0010 || ldr & 0xffc0_03ff != 0xf940_0211 {
            continue;
        }
        let before = i.checked_sub(1).map(|i| words[i]);
        if before == Some(STP_X16_X30) {
            continue;
        }
        let at = base.wrapping_add(i as u64 * 4);
        let page = (u64::from(adrp >> 5 & 0x7_ffff) << 2 | u64::from(adrp >> 29 & 3)) << 12;
        let page = (page << 31) as i64 >> 31;
        let slot =
            (at & !0xfff).wrapping_add_signed(page).wrapping_add(u64::from(ldr >> 10 & 0xfff) * 8);
        let pad = before == Some(BTI_C);
        let end = words[i..].iter().position(|&w| w == 0xd61f_0220).map_or(4, |n| n + 1);
        stubs.push(Stub {
            addr: if pad { at.wrapping_sub(4) } else { at },
            size: (end as u32 + u32::from(pad)) * 4,
            slot,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x86_stubs_of_every_layout_are_found() {
        let mut stubs = Vec::new();
        // push 0x2fe2(%rip); jmp *0x2fe4(%rip); nop: the lazy head, no stub.
        let mut code = vec![0xff, 0x35, 0xe2, 0x2f, 0, 0, 0xff, 0x25, 0xe4, 0x2f, 0, 0];
        code.extend([0x0f, 0x1f, 0x40, 0x00]);
        // jmp *0x2fe2(%rip); push $0; jmp head
        code.extend([0xff, 0x25, 0xe2, 0x2f, 0, 0, 0x68, 0, 0, 0, 0, 0xe9, 0xe0, 0xff, 0xff, 0xff]);
        // endbr64; bnd jmp *0x10(%rip); nop
        code.extend([0xf3, 0x0f, 0x1e, 0xfa, 0xf2, 0xff, 0x25, 0x10, 0, 0, 0]);
        code.extend([0x0f, 0x1f, 0x44, 0x00, 0x00]);
        x86_64(&code, 0x1020, 16, &mut stubs);
        assert_eq!(
            stubs,
            [
                Stub { addr: 0x1030, size: 16, slot: 0x4018 },
                Stub { addr: 0x1040, size: 16, slot: 0x105b },
            ]
        );
    }

    #[test]
    fn arm64_stubs_begin_at_their_landing_pad() {
        let mut stubs = Vec::new();
        let words: [u32; 13] = [
            0xa9bf_7bf0, // stp x16, x30, [sp, #-16]!
            0xf000_00f0, // adrp x16, #+0x1f000
            0xf947_fe11, // ldr x17, [x16, #0xff8]
            0x913f_e210, // add x16, x16, #0xff8
            0xd61f_0220, // br x17
            0xd503_245f, // bti c
            0x9000_0110, // adrp x16, #+0x20000
            0xf940_0211, // ldr x17, [x16]
            0x9100_0210, // add x16, x16, #0
            0xd61f_0220, // br x17
            0xd503_201f, // nop
            0xd503_201f,
            0xd503_201f,
        ];
        let code: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        arm64(&code, 0x1000, &mut stubs);
        assert_eq!(stubs, [Stub { addr: 0x1014, size: 20, slot: 0x21000 }]);
    }
}
