//! Random instructions, aimed at every row of the plans.

use iced_x86::{Decoder, DecoderError, EncodingKind, Instruction, Mnemonic, OpKind, Register};
use xol_arch::Addr;

use super::DATA;
use crate::cpu::{Layout, WINDOW};
use crate::rng::Rng;

const TABLES: [&str; 5] = [
    include_str!("../../../arch/x86_64/cases/branches.txt"),
    include_str!("../../../arch/x86_64/cases/calls.txt"),
    include_str!("../../../arch/x86_64/cases/copies.txt"),
    include_str!("../../../arch/x86_64/cases/leaving.txt"),
    include_str!("../../../arch/x86_64/cases/rip_relative.txt"),
];

/// The instructions of the plan tables that are not rejected.
pub(super) fn corpus() -> Vec<Vec<u8>> {
    let rows = TABLES.iter().flat_map(|table| table.lines());
    rows.filter(|line| !line.starts_with('#') && !line.is_empty() && !line.contains("; reject ;"))
        .filter_map(|line| line.split(';').next())
        .map(|bytes| bytes.split_whitespace().map(|b| u8::from_str_radix(b, 16).unwrap()).collect())
        .collect()
}

/// iced's view of some bytes at `at`.
pub(super) fn decode(bytes: &[u8], at: Addr) -> Option<(Instruction, Decoder<'_>)> {
    let mut decoder = Decoder::with_ip(64, bytes, at.0, 0);
    let insn = decoder.decode();
    (decoder.last_error() == DecoderError::None).then_some((insn, decoder))
}

/// A random instruction that may be run in this process, exactly its bytes.
pub(super) fn random(rng: &mut Rng, layout: &Layout, corpus: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut bytes = match rng.below(16) {
        0..=2 => rng.choose(corpus).clone(),
        3 | 4 => direct(rng),
        5 | 6 => indirect(rng),
        7 => leaving(rng),
        8 => lea(rng),
        9 if rng.one_in(4) => vec![0x0f, 0x05],
        9 | 10 => immediate(rng),
        _ => anything(rng),
    };
    bytes.resize(15, 0);
    point_at_data(rng, layout, &mut bytes);
    let (insn, _) = decode(&bytes, layout.site)?;
    bytes.truncate(insn.len());
    may_run(&insn, layout).then_some(bytes)
}

/// Moves a RIP-relative operand, if there is one, into the data window, or to anywhere within
/// reach of the slot too.
fn point_at_data(rng: &mut Rng, layout: &Layout, bytes: &mut [u8]) {
    let Some((insn, decoder)) = decode(bytes, layout.site) else { return };
    if !insn.is_ip_rel_memory_operand() {
        return;
    }
    let offset = decoder.get_constant_offsets(&insn).displacement_offset();
    let data = layout.site.align_down(4096).offset(DATA);
    // An aligned place mostly; sometimes over an edge.
    let mut place = rng.below(WINDOW as u64 / 64) * 64;
    if rng.one_in(4) {
        place = rng.below(WINDOW as u64 + 16).wrapping_sub(8);
    }
    let to = match rng.below(3) {
        0 => (rng.next() as i32) >> 1,
        _ => data.add(place).distance_from(layout.site.add(insn.len() as u64)) as i32,
    };
    bytes[offset..offset + 4].copy_from_slice(&to.to_le_bytes());
}

/// Prefixes that a branch may have: none mostly.
fn prefixes(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    while rng.one_in(4) {
        bytes.push(*rng.choose(&[0x64, 0x65, 0x2e, 0x3e, 0x67, 0xf2, 0x66, 0x26]));
    }
    if rng.one_in(3) {
        bytes.push(0x40 | rng.byte() & 15);
    }
    bytes
}

fn direct(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = prefixes(rng);
    if rng.one_in(4) {
        // Counting in ecx.
        bytes.insert(0, 0x67);
    }
    let condition = rng.byte() & 15;
    let near = match rng.below(6) {
        0 => vec![0xeb],
        1 => vec![0x70 | condition],
        2 | 3 => vec![0xe0 | rng.byte() & 3],
        4 => vec![0xe8 | rng.byte() & 1],
        _ => vec![0x0f, 0x80 | condition],
    };
    let short = near.len() == 1 && !matches!(near[0], 0xe8 | 0xe9);
    bytes.extend(near);
    if short {
        bytes.push(rng.byte());
    } else {
        // Within the page mostly, else anywhere.
        let to = if rng.one_in(4) { rng.next() as i32 } else { rng.below(1800) as i32 - 900 };
        bytes.extend(to.to_le_bytes());
    }
    bytes
}

/// CALL r/m and JMP r/m, with every addressing form.
fn indirect(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = prefixes(rng);
    let call_or_jump = if rng.one_in(2) { 0o20 } else { 0o40 };
    bytes.extend([0xff, rng.byte() & !0o70 | call_or_jump, rng.byte()]);
    bytes.extend(displacement(rng));
    bytes
}

fn displacement(rng: &mut Rng) -> [u8; 4] {
    match rng.below(3) {
        0 => (rng.below(512) as i32 - 256).to_le_bytes(),
        _ => [rng.byte(), rng.byte(), rng.byte(), rng.byte()],
    }
}

fn leaving(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = prefixes(rng);
    bytes.push(*rng.choose(&[0xc3, 0xc3, 0xc2, 0xcb, 0xca]));
    bytes.extend([rng.byte() & 0x7f, 0]);
    bytes
}

fn lea(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    while rng.one_in(3) {
        bytes.push(*rng.choose(&[0x66, 0x67, 0x64]));
    }
    bytes.push(0x40 | rng.byte() & 15);
    bytes.extend([0x8d, 0o05 | rng.byte() & 0o70]);
    bytes.extend(displacement(rng));
    bytes
}

/// RIP-relative operands with immediates of every width behind them, locked and not.
fn immediate(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    // ADD to CMP r/m, imm8 and imm32 (66: imm16); MOV, TEST, IMUL, shifts; VEX and EVEX, map 3.
    const ARITHMETIC: &[u8] = &[0x80, 0x81, 0x81, 0x83];
    const LOCKABLE: &[u8] = &[0x00, 0x01, 0x09, 0x11, 0x19, 0x21, 0x29, 0x31, 0x87, 0xfe];
    const OTHERS: &[u8] = &[0xc6, 0xc7, 0xf7, 0x69, 0x6b, 0xc1];
    const VEX: &[u8] = &[0x0f, 0x04, 0x18, 0x44, 0x46, 0x21, 0xf0];
    const EVEX: &[u8] = &[0x03, 0x25, 0x1e, 0x43, 0x54, 0x18, 0x08];
    let forms: [(&[u8], &[u8]); 11] = [
        (&[0xf0], LOCKABLE),
        (&[0xf3, 0x66], OTHERS),
        (&[0xf0], ARITHMETIC),
        (&[0xf0, 0x66], ARITHMETIC),
        (&[0x66], ARITHMETIC),
        (&[], ARITHMETIC),
        (&[0xf3], OTHERS),
        (&[0x66], OTHERS),
        (&[], OTHERS),
        (&[0xc4, 0xe3], VEX),
        (&[0x62, 0xf3], EVEX),
    ];
    let (prefixes, opcode) = *rng.choose(&forms);
    bytes.extend(prefixes);
    match prefixes {
        [0xc4, ..] => bytes.push(rng.byte() & 0xfd | 1),
        [0x62, ..] => bytes.extend([rng.byte() & 0xfd | 5, rng.byte() & 0x7f | 8]),
        _ if rng.one_in(2) => bytes.push(0x40 | rng.byte() & 15),
        _ => {}
    }
    bytes.extend([*rng.choose(opcode), rng.byte() & 0o70 | 0o05]);
    bytes.extend([0; 4]);
    bytes.extend([rng.byte(), rng.byte(), rng.byte(), rng.byte()]);
    bytes
}

/// Any opcode of any map with any operands; RIP-relative half of the time.
fn anything(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    while rng.one_in(4) {
        bytes.push(*rng.choose(&[0x66, 0xf2, 0xf3, 0xf0, 0x67, 0x64, 0x65, 0x2e]));
    }
    match rng.below(8) {
        0..=3 => {
            if rng.one_in(2) {
                bytes.push(0x40 | rng.byte() & 15);
            }
            match rng.below(5) {
                0 | 1 => {}
                2 => bytes.push(0x0f),
                3 => bytes.extend([0x0f, 0x38]),
                _ => bytes.extend([0x0f, 0x3a]),
            }
        }
        // C5 RvvvvLpp ; C4 RXBmmmmm WvvvvLpp
        4 => bytes.extend([0xc5, rng.byte()]),
        5 => bytes.extend([0xc4, rng.byte() & 0xe0 | (1 + rng.below(3) as u8), rng.byte()]),
        // 62 RXBR'0mmm Wvvvv1pp zL'Lbv'aaa
        _ => bytes.extend([
            0x62,
            rng.byte() & 0xf0 | *rng.choose(&[1, 1, 2, 2, 3, 5, 6]),
            rng.byte() | 4,
            if rng.one_in(2) { 0x48 } else { rng.byte() | 8 },
        ]),
    }
    bytes.push(rng.byte());
    let modrm = rng.byte();
    bytes.push(if rng.one_in(2) { modrm & 0o70 | 0o05 } else { modrm });
    bytes.extend([rng.byte(), rng.byte(), 0, 0]);
    bytes.extend([rng.byte(), rng.byte(), rng.byte(), rng.byte()]);
    bytes
}

/// Whether this process survives it and it does the same thing twice.
fn may_run(insn: &Instruction, layout: &Layout) -> bool {
    // The time, the CPU's number, random numbers, what XSAVE may leave out, waiting.
    const ELUSIVE: [Mnemonic; 17] = [
        Mnemonic::Rdtsc,
        Mnemonic::Rdtscp,
        Mnemonic::Rdpid,
        Mnemonic::Rdpru,
        Mnemonic::Rdpmc,
        Mnemonic::Cpuid,
        Mnemonic::Rdrand,
        Mnemonic::Rdseed,
        Mnemonic::Xsaveopt,
        Mnemonic::Xsaveopt64,
        Mnemonic::Monitorx,
        Mnemonic::Mwaitx,
        Mnemonic::Umonitor,
        Mnemonic::Umwait,
        Mnemonic::Tpause,
        Mnemonic::Wrpkru,
        Mnemonic::Rdpkru,
    ];
    // Segment registers are not in a signal frame: this program would keep them.
    let segment = insn.op_kinds().zip(0..).any(|(kind, n)| {
        kind == OpKind::Register && insn.op_register(n).is_segment_register() && n == 0
    });
    let loads_segment = segment && !matches!(insn.mnemonic(), Mnemonic::Push)
        || matches!(insn.mnemonic(), Mnemonic::Lfs | Mnemonic::Lgs | Mnemonic::Lss);
    // A branch to itself does not end, one into itself runs other instructions too.
    let into_itself = insn.op0_kind() == OpKind::NearBranch64
        && Addr(insn.near_branch64()).distance_from(layout.site) as u64 <= 15;
    !(ELUSIVE.contains(&insn.mnemonic()) || loads_segment || into_itself)
}

/// Whether the instruction may run at `at` in a state that was not made for it.
pub(super) fn may_follow(layout: &Layout, bytes: &[u8], at: Addr) -> bool {
    // What other instructions have states made for; what stores the address of an x87
    // instruction, which is where that ran.
    let excluded = [
        Mnemonic::Syscall,
        Mnemonic::Popf,
        Mnemonic::Popfd,
        Mnemonic::Popfq,
        Mnemonic::Retf,
        Mnemonic::Fnstenv,
        Mnemonic::Fstenv,
        Mnemonic::Fnsave,
        Mnemonic::Fsave,
        Mnemonic::Fxsave,
        Mnemonic::Fxsave64,
        Mnemonic::Xsave,
        Mnemonic::Xsave64,
        Mnemonic::Xsavec,
        Mnemonic::Xsavec64,
    ];
    decode(bytes, at)
        .is_some_and(|(insn, _)| may_run(&insn, layout) && !excluded.contains(&insn.mnemonic()))
}

/// Every row there is.
pub(super) const ROWS: &[&str] = &[
    "call fs/gs",
    "call memory",
    "call register",
    "call rel",
    "call rip",
    "copy evex",
    "copy evex rip imm0",
    "copy evex rip imm1",
    "copy legacy",
    "copy legacy rip imm0",
    "copy legacy rip imm1",
    "copy legacy rip imm2",
    "copy legacy rip imm4",
    "copy lock",
    "copy lock rip imm0",
    "copy lock rip imm1",
    "copy lock rip imm2",
    "copy lock rip imm4",
    "copy rep",
    "copy rep rip imm0",
    "copy rep rip imm1",
    "copy rep rip imm2",
    "copy rep rip imm4",
    "copy vex",
    "copy vex rip imm0",
    "copy vex rip imm1",
    "ja",
    "jae",
    "jb",
    "jbe",
    "je",
    "jecxz",
    "jg",
    "jge",
    "jl",
    "jle",
    "jmp fs/gs",
    "jmp memory",
    "jmp register",
    "jmp rel",
    "jmp rip",
    "jne",
    "jno",
    "jnp",
    "jns",
    "jo",
    "jp",
    "jrcxz",
    "js",
    "lea rip to 16 bits",
    "lea rip to 32 bits",
    "lea rip to 64 bits",
    "loop",
    "loop ecx",
    "loope",
    "loope ecx",
    "loopne",
    "loopne ecx",
    "ret",
    "ret imm",
    "retf",
    "retf imm",
    "syscall",
];

/// The row of an instruction: what kind of plan it has, and what matters for it.
pub(super) fn row(bytes: &[u8], at: Addr) -> String {
    let Some((insn, decoder)) = decode(bytes, at) else { return "undecodable".into() };
    let operand = |insn: &Instruction| match insn.op0_kind() {
        OpKind::Register => "register",
        _ if insn.is_ip_rel_memory_operand() => "rip",
        _ if matches!(insn.segment_prefix(), Register::FS | Register::GS) => "fs/gs",
        _ => "memory",
    };
    let name = format!("{:?}", insn.mnemonic()).to_lowercase();
    match insn.mnemonic() {
        Mnemonic::Call if insn.op0_kind() == OpKind::NearBranch64 => "call rel".into(),
        Mnemonic::Jmp if insn.op0_kind() == OpKind::NearBranch64 => "jmp rel".into(),
        Mnemonic::Call | Mnemonic::Jmp => format!("{name} {}", operand(&insn)),
        Mnemonic::Loop | Mnemonic::Loope | Mnemonic::Loopne => {
            format!("{name}{}", if bytes.contains(&0x67) { " ecx" } else { "" })
        }
        Mnemonic::Jrcxz | Mnemonic::Jecxz => name,
        Mnemonic::Ret | Mnemonic::Retf => {
            format!("{name}{}", if insn.op_count() == 1 { " imm" } else { "" })
        }
        Mnemonic::Syscall => "syscall".into(),
        Mnemonic::Lea if insn.is_ip_rel_memory_operand() => {
            format!("lea rip to {} bits", 8 * insn.op0_register().size())
        }
        _ if insn.is_jcc_short_or_near() => name,
        _ => {
            let encoding = match insn.encoding() {
                EncodingKind::VEX => "vex",
                EncodingKind::EVEX => "evex",
                _ if insn.has_rep_prefix() || insn.has_repne_prefix() => "rep",
                _ if insn.has_lock_prefix() => "lock",
                _ => "legacy",
            };
            if insn.is_ip_rel_memory_operand() {
                let immediate = decoder.get_constant_offsets(&insn).immediate_size();
                format!("copy {encoding} rip imm{immediate}")
            } else {
                format!("copy {encoding}")
            }
        }
    }
}
