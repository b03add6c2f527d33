//! Random instructions, aimed at every row of the plans.

use xol_arch::arm64::{Arm64, Effect, Literal, Test};
use xol_arch::{Addr, Arch, Plan, Rules, Text};

use super::DATA;
use crate::cpu::{Layout, WINDOW};
use crate::rng::Rng;

const TABLES: [&str; 3] = [
    include_str!("../../../arch/arm64/cases/branches.txt"),
    include_str!("../../../arch/arm64/cases/copies.txt"),
    include_str!("../../../arch/arm64/cases/literals.txt"),
];

/// A prologue, main part and epilogue of a memory copy or set, of which bits 31 and 30 are zero.
const MOPS: [[u32; 3]; 3] = [
    [0x1901_0440, 0x1941_0440, 0x1981_0440],
    [0x1d01_0440, 0x1d41_0440, 0x1d81_0440],
    [0x19c2_0420, 0x19c2_4420, 0x19c2_8420],
];

/// The instructions of the plan tables that are not rejected.
pub(super) fn corpus() -> Vec<u32> {
    let rows = TABLES.iter().flat_map(|table| table.lines());
    rows.filter(|line| !line.starts_with('#') && !line.is_empty() && !line.contains("; reject ;"))
        .filter_map(|line| line.split(" ; ").next())
        .map(|word| u32::from_str_radix(word, 16).unwrap())
        .collect()
}

pub(super) fn plan(words: &[u8], layout: &Layout) -> Option<Plan<Arm64>> {
    let text = Text { guarded: layout.guarded, ..Text::new(layout.site, words) };
    Arm64::plan(&text, layout.site, Rules::default()).ok()
}

/// A random instruction, or a sequence, that may be run in this process.
pub(super) fn random(rng: &mut Rng, layout: &Layout, corpus: &[u32]) -> Option<Vec<u32>> {
    let bits = rng.next() as u32;
    let word = match rng.below(64) {
        0..=3 => *rng.choose(corpus),
        4..=6 => offset(rng, 0x1400_0000 | bits & 1 << 31, 0, 26), // B, BL
        7..=9 => offset(rng, 0x5400_0000 | bits & 0x1f, 5, 19),    // B.cond, BC.cond
        10 | 11 => offset(rng, 0x3400_0000 | bits & 0x8100_001f, 5, 19), // CBZ, CBNZ
        12 | 13 => offset(rng, 0x3600_0000 | bits & 0x81f8_001f, 5, 14), // TBZ, TBNZ
        14 => offset(rng, 0x7400_0000 | bits & 0x81ff_c01f, 5, 9), // CB
        15..=18 => 0x1000_0000 | bits & 0xe0ff_ffff,               // ADR, ADRP
        19..=23 => return Some(near_literal(rng, bits)),
        24..=28 => literal(rng, bits),
        29 => 0xd61f_0000 | bits & 0x3e0,
        30 => 0xd61f_0200 | bits & 0x20, // BR by x16 and x17
        31 => 0xd63f_0000 | bits & 0x3e0,
        32 | 33 => 0xd65f_0000 | bits & 0x3e0,
        34..=38 => signed(rng, bits),
        39 => 0xd400_0001,
        40 => return Some(rng.choose(&MOPS).to_vec()),
        41..=43 => 0xd500_0000 | bits & 0x003f_ffff,
        _ => plain(rng, layout),
    };
    let plan = plan(&word.to_le_bytes(), layout)?;
    may_run(word, &plan).then_some(vec![word])
}

/// Something that runs anywhere: the groups as often as each other, whatever their size.
fn plain(rng: &mut Rng, layout: &Layout) -> u32 {
    // Bits 28 to 25 of SVE, SME, data processing and memory.
    let group = *rng.choose(&[
        0b0000, 0b0010, 0b1000, 0b1001, 0b0100, 0b0110, 0b1100, 0b1110, 0b0101, 0b1101, 0b0111,
        0b1111,
    ]);
    let mut word = 0;
    for _ in 0..32 {
        word = rng.next() as u32 & !(0xf << 25) | group << 25;
        if plan(&word.to_le_bytes(), layout).is_some_and(|plan| plan.copied.is_some()) {
            break;
        }
    }
    word
}

/// With an offset at bit `low` that stays in the page mostly, and is never nothing.
fn offset(rng: &mut Rng, word: u32, low: u32, width: u32) -> u32 {
    let by = match rng.below(4) {
        0 => rng.next() as u32,
        _ => 500_u32.wrapping_sub(1 + rng.below(499) as u32).wrapping_sub(200),
    };
    let by = if by == 0 { 1 } else { by };
    word | (by & ((1 << width) - 1)) << low
}

/// A literal load from the data window mostly, sometimes over its edge.
fn literal(rng: &mut Rng, bits: u32) -> u32 {
    let opcode = bits & 0xc400_001f;
    let by = match rng.below(8) {
        0 => rng.next() as u32,
        // From the middle of the site's page to the window.
        _ => (DATA as u32 - 0x800) / 4 + rng.below(WINDOW as u64 / 4 + 8) as u32 - 4,
    };
    0x1800_0000 | opcode | (by & 0x7_ffff) << 5
}

/// A literal load with its literal close behind: what is surely readable can be loaded through
/// the destination. What stands between the two traps.
fn near_literal(rng: &mut Rng, bits: u32) -> Vec<u32> {
    let trap = Arm64::TRAP.first_chunk().map_or(0, |&bytes| u32::from_le_bytes(bytes));
    let opcode = match bits & 0xc400_0000 {
        0xc400_0000 => 0, // not allocated
        opcode => opcode,
    };
    let mut words = vec![0x1800_0000 | opcode | 2 << 5 | bits & 0x1f, trap];
    words.extend((0..4).map(|_| rng.next() as u32));
    words
}

/// BRAA, BLRAA, RETAA and the like.
fn signed(rng: &mut Rng, bits: u32) -> u32 {
    let key = bits & 0x400;
    match rng.below(5) {
        0 => 0xd61f_081f | key | bits & 0x3e0,
        1 => 0xd63f_081f | key | bits & 0x3e0,
        2 => 0xd71f_0800 | key | bits & 0x3ff,
        3 => 0xd73f_0800 | key | bits & 0x3ff,
        _ => 0xd65f_0bff | key,
    }
}

/// Whether this process survives it and it does the same thing twice.
fn may_run(word: u32, plan: &Plan<Arm64>) -> bool {
    // A branch to itself does not end.
    let into_itself = matches!(
        plan.effect,
        Some(
            Effect::Branch { offset: 0 }
                | Effect::BranchLink { offset: 0 }
                | Effect::BranchIf { offset: 0, .. }
        )
    );
    /// (mask, value): what waits, tells the time, or is kept outside a signal frame.
    const ELUSIVE: [(u32, u32); 13] = [
        (0xffff_ffbf, 0xd503_203f & 0xffff_ffbf), // YIELD, WFI
        (0xffff_ffff, 0xd503_205f),               // WFE
        (0xffff_ffc0, 0xd503_1000),               // WFET, WFIT
        (0xffdf_f000, 0xd51b_d000),               // thread pointers, the activity monitors
        (0xffdf_f000, 0xd51b_e000),               // counters and timers
        (0xffdf_f000, 0xd51b_9000),               // the performance monitor
        (0xffff_f000, 0xd53b_2000),               // random numbers
        (0xffdf_ffe0, 0xd51b_4240),               // SVCR
        (0xffff_f0ff, 0xd503_407f),               // SMSTART, SMSTOP
        (0xffe0_fc00, 0x9ac0_1000),               // IRG
        (0xfe00_c000, 0xa400_c000), // SVE loads of structures: qemu 7.2 aborts at an edge
        (0xfe00_c000, 0xa400_0000), // LD1RQ and LD1RO: the same
        (0xffe0_001f, 0xd400_0001), // SVC, but for the one whose number is chosen
    ];
    let elusive = ELUSIVE.iter().any(|&(mask, value)| word & mask == value);
    !into_itself && (!elusive || word == 0xd400_0001)
}

/// Every row there is.
pub(super) const ROWS: &[&str] = &[
    "adr",
    "adrp",
    "b",
    "b.cond",
    "bc.cond",
    "bl",
    "blr",
    "blr guarded",
    "blraa",
    "blraa guarded",
    "br GuardedJump guarded",
    "br Jump",
    "br Jump guarded",
    "braa",
    "braa guarded",
    "cb<cond>",
    "cbnz",
    "cbz",
    "copy immediate",
    "copy memory",
    "copy mops",
    "copy register",
    "copy simd",
    "copy sme",
    "copy svc",
    "copy sve",
    "copy system",
    "ldr d literal",
    "ldr q literal",
    "ldr s literal",
    "ldr w literal",
    "ldr x literal",
    "ldrsw literal",
    "prfm literal",
    "ret",
    "ret guarded",
    "retaa",
    "retaa guarded",
    "tbnz",
    "tbz",
];

/// The row of an instruction: what kind of plan it has, and what matters for it.
pub(super) fn row(layout: &Layout, bytes: &[u8]) -> String {
    let Some(plan) = plan(bytes, layout) else { return "rejected".into() };
    let word = bytes.first_chunk().map_or(0, |&bytes| u32::from_le_bytes(bytes));
    let page = if layout.guarded { " guarded" } else { "" };
    match plan.effect {
        None if plan.copied.is_some_and(|copied| !copied.jump_behind) => {
            let name = match word & 0xff60_0000 {
                0xd660_0000 | 0xd640_0000 => "retaa",
                _ if word & 0x0020_0000 != 0 => "blraa",
                _ => "braa",
            };
            format!("{name}{page}")
        }
        None if plan.copied.is_some_and(|copied| copied.span > 4) => "copy mops".into(),
        None => format!("copy {}", group(word)),
        Some(Effect::Branch { .. }) => "b".into(),
        Some(Effect::BranchLink { .. }) => "bl".into(),
        Some(Effect::BranchIf { test, .. }) => match test {
            Test::Flags(_) if word & 0x10 != 0 => "bc.cond".into(),
            Test::Flags(_) => "b.cond".into(),
            Test::Zero { negated: false, .. } => "cbz".into(),
            Test::Zero { .. } => "cbnz".into(),
            Test::Bit { set: false, .. } => "tbz".into(),
            Test::Bit { .. } => "tbnz".into(),
            Test::Compare { .. } => "cb<cond>".into(),
        },
        Some(Effect::BranchRegister { btype, .. }) => format!("br {btype:?}{page}"),
        Some(Effect::BranchLinkRegister { .. }) => format!("blr{page}"),
        Some(Effect::Return { .. }) => format!("ret{page}"),
        Some(Effect::Address { .. }) => "adr".into(),
        Some(Effect::Page { .. }) => "adrp".into(),
        Some(Effect::Load { kind, .. }) => match kind {
            Literal::Sw => "ldrsw literal".into(),
            kind => format!("ldr {} literal", format!("{kind:?}").to_lowercase()),
        },
        Some(Effect::Prefetch) => "prfm literal".into(),
    }
}

/// The encoding group, as the Arm ARM cuts them.
fn group(word: u32) -> &'static str {
    match word >> 25 & 0xf {
        0b0000 => "sme",
        0b0010 => "sve",
        0b1000 | 0b1001 => "immediate",
        0b1010 | 0b1011 if word == 0xd400_0001 => "svc",
        0b1010 | 0b1011 => "system",
        0b0100 | 0b0110 | 0b1100 | 0b1110 => "memory",
        0b0101 | 0b1101 => "register",
        _ => "simd",
    }
}

/// The register a branch goes to, and how it is signed: by key B, with which modifier.
pub(super) fn target(word: u32) -> Option<(u8, Option<(bool, Option<u8>)>)> {
    let (rn, low, key_b) = ((word >> 5 & 31) as u8, (word & 31) as u8, word & 0x400 != 0);
    match word & 0xffff_f800 {
        0xd61f_0000 | 0xd63f_0000 | 0xd65f_0000 => Some((rn, None)),
        0xd65f_0800 => Some((30, Some((key_b, Some(31))))),
        0xd61f_0800 | 0xd63f_0800 => Some((rn, Some((key_b, None)))),
        0xd71f_0800 | 0xd73f_0800 => Some((rn, Some((key_b, Some(low))))),
        _ => None,
    }
}

/// Somewhere in the site's page that traps.
pub(super) fn somewhere(rng: &mut Rng, layout: &Layout) -> Addr {
    let page = layout.site.align_down(4096);
    let at = page.add(4 * rng.below(1000));
    if at.distance_from(layout.site) as u64 <= 15 { page } else { at }
}
