//! A slice of all arm64 words against capstone, which shares nothing with ours.
//!
//! capstone does not say which instructions read the PC, but its text does: decoded at two
//! addresses, it differs exactly for those. `XOL_WORDS=N` looks at N words.
#![cfg(all(feature = "arm64", feature = "text"))]

use std::collections::BTreeSet;

use capstone::Capstone;
use capstone::arch::BuildsCapstone;
use capstone::arch::arm64::ArchMode;
use xol_arch::arm64::{Arm64, Effect};
use xol_arch::{Addr, Arch, Plan, Reason, Reject, Rules, Text};

/// Two addresses in different pages, neither at the start of one.
const PLACES: [Addr; 2] = [Addr(0x40_0a28), Addr(0x7f_1234_5d6c)];
const WORDS: u64 = 300_000;

/// Words of which ours knows what they are and capstone does not: `word & mask == value`. All
/// are newer than capstone 5 unless it says something else.
const NEWER: &[(u32, u32, &str)] = &[
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
const LAXER: &[(u32, u32, &str)] = &[
    (0x3b20_0c00, 0x1900_0400, "memory copies whose registers are the same or XZR"),
    (0xff60_8000, 0x9b40_0000, "SMULH, UMULH with an addend that should be ones"),
    (0xff20_fc07, 0x1e20_2000, "FCMP with zero, with a register that should be zeros"),
    (0xffd8_0000, 0xd500_0000, "system instructions without a meaning"),
];

fn listed(word: u32, table: &[(u32, u32, &'static str)]) -> Option<&'static str> {
    table.iter().find(|&&(mask, value, _)| word & mask == value).map(|&(_, _, why)| why)
}

/// Words that are CONSTRAINED UNPREDICTABLE, which capstone does not decode: a load whose
/// registers overlap. Ours runs them where they are told to run.
fn overlaps(word: u32) -> bool {
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

/// What capstone says about one word.
struct Judge(Capstone);

impl Judge {
    fn new() -> Judge {
        Judge(Capstone::new().arm64().mode(ArchMode::Arm).build().expect("capstone has arm64"))
    }

    fn text(&self, word: u32, at: Addr) -> Option<String> {
        let insns = self.0.disasm_count(&word.to_le_bytes(), at.0, 1).ok()?;
        let insn = insns.first()?;
        Some(format!("{} {}", insn.mnemonic()?, insn.op_str()?))
    }
}

/// Every word at a corner of an encoding group, one of each line of the tables, then
/// pseudo-random ones.
fn words() -> impl Iterator<Item = u32> {
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
    let count = std::env::var("XOL_WORDS").map_or(WORDS, |n| n.parse().expect("a number"));
    let values = [NEWER, LAXER].concat().into_iter().map(|(_, value, _)| value);
    corners.chain(values).chain(random.take(count as usize))
}

fn plan(word: u32, at: Addr) -> Result<Plan<Arm64>, Reject> {
    Arm64::plan(&Text::new(at, &word.to_le_bytes()), at, Rules::default())
}

/// Words and numbers, the numbers in decimal.
fn spelling(text: &str) -> Vec<String> {
    let words = text.split([' ', ',', '#']).filter(|word| !word.is_empty());
    words
        .map(|word| match word.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).expect("a number").to_string(),
            None => word.to_owned(),
        })
        .collect()
}

/// What a look at one word comes to.
enum Finding {
    Agreed,
    /// Excused by a line of a table.
    Excused(&'static str),
    Wrong(String),
}

/// Compares our plan of `word` with what capstone says.
fn compare(judge: &Judge, word: u32) -> Finding {
    let wrong = |is: bool, why: &dyn Fn() -> String| match is {
        true => Finding::Wrong(why()),
        false => Finding::Agreed,
    };
    let [here, there] = PLACES.map(|at| plan(word, at));
    if here != there {
        return Finding::Wrong(format!("{here:?} here, {there:?} there"));
    }
    let Some(theirs) = judge.text(word, PLACES[0]) else {
        return match listed(word, NEWER) {
            _ if here.is_err() => Finding::Agreed,
            Some(why) => Finding::Excused(why),
            None => wrong(!overlaps(word), &|| format!("{here:?}, capstone does not decode it")),
        };
    };
    let reads_pc = Some(&theirs) != judge.text(word, PLACES[1]).as_ref();
    let mnemonic = theirs.split(' ').next().unwrap_or("");
    let plan = match here {
        Err(Reject { reason: Reason::Undecodable, .. }) => {
            return match listed(word, LAXER) {
                Some(why) => Finding::Excused(why),
                None => Finding::Wrong(format!("undecodable, capstone: {theirs}")),
            };
        }
        Err(_) => return Finding::Agreed,
        Ok(plan) => plan,
    };
    if plan.copied.is_some() {
        let harmful = reads_pc
            || theirs.contains("daif")
            || ["hvc", "smc", "hlt", "brk", "udf", "eret", "drps", "dcps1", "dcps2", "dcps3"]
                .contains(&mnemonic)
            || ["ldxr", "ldaxr", "ldxp", "ldaxp", "stxr", "stlxr", "stxp", "stlxp"]
                .iter()
                .any(|exclusive| mnemonic.starts_with(exclusive));
        return wrong(harmful, &|| format!("copied, capstone: {theirs}"));
    }
    let indirect = matches!(
        plan.effect,
        Some(
            Effect::BranchRegister { .. }
                | Effect::BranchLinkRegister { .. }
                | Effect::Return { .. }
        )
    );
    if reads_pc == indirect {
        return Finding::Wrong(format!("{:?}, capstone: {theirs}", plan.effect));
    }
    let mut ours = String::new();
    Arm64::disassemble(&Text::new(PLACES[0], &word.to_le_bytes()), PLACES[0], &mut ours).unwrap();
    let (mut said, mut theirs_said) = (spelling(&ours), spelling(&theirs));
    if mnemonic == "prfm" {
        // capstone leaves out the operations that have no name.
        said.remove(1);
        theirs_said.retain(|word| !word.starts_with('p') || word == "prfm");
    }
    wrong(said != theirs_said, &|| format!("{ours}, capstone: {theirs}"))
}

#[test]
fn plans_agree_with_capstone() {
    let judge = Judge::new();
    let mut wrong = Vec::new();
    let mut excuses = BTreeSet::new();
    let mut count = 0;
    for word in words() {
        count += 1;
        match compare(&judge, word) {
            Finding::Agreed => {}
            Finding::Excused(why) => drop(excuses.insert(why)),
            Finding::Wrong(why) => wrong.push(format!("{word:08x}: {why}")),
        }
    }
    println!("{count} words");
    let shown = wrong[..wrong.len().min(40)].join("\n");
    assert!(wrong.is_empty(), "{} of {count}:\n{shown}", wrong.len());
    let idle: Vec<_> =
        [NEWER, LAXER].concat().into_iter().filter(|(_, _, why)| !excuses.contains(why)).collect();
    assert!(idle.is_empty(), "nothing needs {idle:#?}");
}
