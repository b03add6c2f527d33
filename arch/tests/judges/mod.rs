//! What the judges of arm64 words have in common.
#![allow(dead_code, reason = "nobody uses all of it")]

use std::path::PathBuf;

use capstone::Capstone;
use capstone::arch::BuildsCapstone;
use capstone::arch::arm64::ArchMode;
use xol_arch::Addr;

/// capstone, which shares nothing with ours.
pub(crate) struct Judge(Capstone);

impl Judge {
    pub(crate) fn new() -> Judge {
        Judge(Capstone::new().arm64().mode(ArchMode::Arm).build().expect("capstone has arm64"))
    }

    /// A word at an address as text, where it decodes.
    pub(crate) fn text(&self, word: u32, at: Addr) -> Option<String> {
        let insns = self.0.disasm_count(&word.to_le_bytes(), at.0, 1).ok()?;
        let insn = insns.first()?;
        Some(format!("{} {}", insn.mnemonic()?, insn.op_str()?))
    }
}

/// A row of a table: `word & mask == value`, and what these words are.
pub(crate) type Row = (u32, u32, &'static str);

/// What must never be a plain copy, said once more and by hand from the Arm ARM's pictures, in
/// no way from our decoder. SVC is not among it: it takes an exception and is copied.
pub(crate) const HARMFUL: &[Row] = &[
    (0x1f00_0000, 0x1000_0000, "ADR, ADRP: reads the PC"),
    (0x7c00_0000, 0x1400_0000, "B, BL: reads the PC"),
    (0xff00_0000, 0x5400_0000, "B.cond, BC.cond: reads the PC"),
    (0x7e00_0000, 0x3400_0000, "CBZ, CBNZ: reads the PC"),
    (0x7e00_0000, 0x3600_0000, "TBZ, TBNZ: reads the PC"),
    (0x7e00_0000, 0x7400_0000, "CB<cond>: reads the PC"),
    (0x3b00_0000, 0x1800_0000, "LDR (literal): reads the PC"),
    (0xfe00_0000, 0xd600_0000, "BR, BLR, RET, ERET, DRPS and signed: does not go on behind itself"),
    (0xff00_0000, 0x5500_0000, "RETAASPPC: reads the PC"),
    (0xff80_0000, 0xf380_0000, "AUTIASPPC: reads the PC"),
    (0xffff_c01f, 0xdac1_801e, "PACIASPPC, AUTIASPPCR and their like: reads the PC"),
    (0x3fa0_0000, 0x0800_0000, "LDXR, STXR: exclusive"),
    (0xbfa0_0000, 0x8820_0000, "LDXP, STXP: exclusive"),
    (0xbfa0_0000, 0x8900_0000, "LDTXR, STTXR: exclusive"),
    (0xffdf_ffe0, 0xd51b_4220, "MSR and MRS DAIF: touches DAIF"),
    (0xffff_f0df, 0xd503_40df, "MSR DAIFSet, DAIFClr: touches DAIF"),
    (0xffff_0000, 0x0000_0000, "UDF: changes the exception level"),
    (0xffe0_0000, 0xd420_0000, "BRK: changes the exception level"),
    (0xffe0_0000, 0xd440_0000, "HLT: changes the exception level"),
    (0xffe0_0000, 0xd4a0_0000, "DCPS: changes the exception level"),
    (0xffe0_001f, 0xd400_0002, "HVC: changes the exception level"),
    (0xffe0_001f, 0xd400_0003, "SMC: changes the exception level"),
];

/// Words of which ours knows what they are and capstone does not: `word & mask == value`. All
/// are newer than capstone 5 unless it says something else.
pub(crate) const NEWER: &[Row] = &[
    (0x9e00_0000, 0x8000_0000, "SME2 and later"),
    (0x1e00_0000, 0x0400_0000, "SVE2.1, zeroing predication, FP8"),
    (0x7e00_0000, 0x7400_0000, "CB<cond> (FEAT_CMPBR)"),
    (0xfa00_0000, 0xe800_0000, "LDTP, STTP and non-temporal (FEAT_LSUI)"),
    (0xfe40_0000, 0x6800_0000, "STGP, which it leaves out of MTE"),
    (0x7ff0_0000, 0x11c0_0000, "SMAX and its like (immediate, FEAT_CSSC)"),
    (0x7fff_c000, 0x5ac0_0000, "CTZ, CNT, ABS (FEAT_CSSC)"),
    (0x7fe0_f000, 0x1ac0_6000, "SMAX and its like (FEAT_CSSC)"),
    (0xbf20_f000, 0x3820_9000, "RCWCLR, RCWSCLR (FEAT_THE)"),
    (0xbf20_f000, 0x3820_a000, "RCWSWP, RCWSSWP (FEAT_THE)"),
    (0xbf20_f000, 0x3820_b000, "RCWSET, RCWSSET (FEAT_THE)"),
    (0xffe0_0000, 0x9b60_0000, "MADDPT, MSUBPT (FEAT_CPA)"),
    (0xbfe0_e000, 0x9a00_2000, "ADDPT, SUBPT (FEAT_CPA)"),
    (0x3f20_0c00, 0x1d00_0800, "LDAPUR, STLUR of vectors (FEAT_LRCPC3)"),
    (0x3f20_fc00, 0x1900_0800, "STILP, LDIAPP (FEAT_LRCPC3)"),
    (0xbf20_0c00, 0x9900_0800, "STILP, LDIAPP and the like (FEAT_LRCPC3)"),
    (0xbfff_7c00, 0x0d01_8400, "LDAP1, STL1 (FEAT_LRCPC3)"),
    (0xbfbf_fc00, 0x0d01_8400, "LDAP1, STL1 (FEAT_LRCPC3)"),
    (0x3f20_0c00, 0x1920_0400, "unprivileged atomics (FEAT_LSUI)"),
    (0xff20_0000, 0x1920_0000, "128-bit and RCW atomics"),
    (0xff20_0000, 0x5920_0000, "RCW atomics, software"),
    (0x3f20_0c00, 0x3c20_0000, "floating-point atomics (FEAT_LSFE)"),
    (0xbf80_0000, 0x0980_0000, "CASPT (FEAT_LSUI)"),
    (0xbf80_0000, 0x8980_0000, "CAST (FEAT_LSUI)"),
    (0xbfe0_0400, 0x0e40_0400, "FP16, FP8 and absolute minimum and maximum"),
    (0x9f20_0400, 0x0e00_0400, "FP8 conversions and products"),
    (0x9f20_0400, 0x0e20_0400, "FAMAX, FAMIN, FSCALE"),
    (0x9f20_8400, 0x0e00_0000, "LUTI2, LUTI4"),
    (0x9f00_0400, 0x0f00_0000, "FP8 products by element"),
    (0x7f30_fc00, 0x1e20_0000, "FCVT and its like in SIMD registers (FEAT_FPRCVT)"),
    (0x7f30_fc00, 0x1e30_0000, "FCVT and its like in SIMD registers (FEAT_FPRCVT)"),
    (0xbf3f_fc00, 0x2e21_7800, "F1CVTL and its like (FEAT_FP8)"),
    (0xffff_ec00, 0xd91f_0c00, "GCSSTR, GCSSTTR (FEAT_GCS)"),
];

/// Words that capstone takes for instructions and ours does not.
pub(crate) const LAXER: &[Row] = &[
    (0x3b20_0c00, 0x1900_0400, "memory copies whose registers are the same or XZR"),
    (0xff60_8000, 0x9b40_0000, "SMULH, UMULH with an addend that should be ones"),
    (0xff20_fc07, 0x1e20_2000, "FCMP with zero, with a register that should be zeros"),
    (0xffd8_0000, 0xd500_0000, "system instructions without a meaning"),
];

/// Words that are CONSTRAINED UNPREDICTABLE, which capstone does not decode: a load whose
/// registers overlap. Ours runs them where they are told to run.
pub(crate) fn overlaps(word: u32) -> bool {
    let field = |low: u32| word >> low & 31;
    let (t, n, t2) = (field(0), field(5), field(10));
    let writes_back = matches!(word >> 23 & 7, 0b001 | 0b011);
    match word >> 24 & 0x3b {
        // LDP, STP and so on
        0x28 | 0x29 => t == t2 || (writes_back && (t == n || t2 == n)),
        // LDR, STR and so on, with write-back; LDRAA
        0x38 => t == n,
        _ => false,
    }
}

/// The first row that a word is in.
pub(crate) fn listed(word: u32, table: &[Row]) -> Option<&'static str> {
    table.iter().find(|&&(mask, value, _)| word & mask == value).map(|&(_, _, why)| why)
}

/// Every word at a corner of an encoding group, one of each row of `tables`, then pseudo-random
/// ones: as many as `XOL_WORDS` says, else `count`.
pub(crate) fn words(tables: &[&[Row]], count: u64) -> impl Iterator<Item = u32> {
    const LOW: u32 = (1 << 21) - 1;
    let corners = (0..1 << 11).flat_map(|high: u32| {
        let bits = (0..21).map(|bit| 1 << bit);
        let corners = [0, LOW].into_iter().chain(bits.clone()).chain(bits.map(|bit| LOW ^ bit));
        corners.map(move |low: u32| high << 21 | low)
    });
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let random = core::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 21) as u32
    });
    let count = std::env::var("XOL_WORDS").map_or(count, |n| n.parse().expect("a number"));
    let values = tables.concat().into_iter().map(|(_, value, _)| value);
    corners.chain(values).chain(random.take(count as usize))
}

/// Where Debian and its relatives keep arm64 objects, natively and for cross compilers; the first
/// that exists of each line. `XOL_CORPUS_ARM64=/path/a:/path/b` names others.
pub(crate) fn objects() -> Vec<PathBuf> {
    const OBJECTS: [&[&str]; 2] = [
        &["/usr/lib/aarch64-linux-gnu/libc.so.6", "/usr/aarch64-linux-gnu/lib/libc.so.6"],
        &["/usr/lib/aarch64-linux-gnu/libstdc++.so.6", "/usr/aarch64-linux-gnu/lib/libstdc++.so.6"],
    ];
    if let Some(list) = std::env::var_os("XOL_CORPUS_ARM64") {
        return std::env::split_paths(&list).collect();
    }
    let exists = |paths: &&[&str]| paths.iter().map(PathBuf::from).find(|path| path.exists());
    let found: Vec<_> = OBJECTS.iter().filter_map(exists).collect();
    assert!(!found.is_empty(), "no arm64 object here: libc6-arm64-cross has one");
    found
}
