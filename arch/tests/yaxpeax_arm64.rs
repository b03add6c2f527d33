//! arm64 words against yaxpeax-arm: a slice of all of them, and every word of real objects' code.
//! It writes our text, but decides nothing, and knows neither SVE nor SME: where the two disagree
//! on what a word is, a table says why. `XOL_WORDS=N` looks at N words.
#![cfg(all(feature = "arm64", feature = "text"))]

use std::collections::{BTreeMap, BTreeSet};

use object::{Object, ObjectSection, SectionKind};
use xol_arch::arm64::{Arm64, Effect};
use xol_arch::{Addr, Arch, Reason, Reject, Rules, Text};
use yaxpeax_arch::{Decoder, U8Reader};
use yaxpeax_arm::armv8::a64::{DecodeError, InstDecoder, Instruction, Operand};

mod judges;

use judges::{HARMFUL, Judge, LAXER, NEWER, Row, listed, overlaps, words};

const AT: Addr = Addr(0x40_0a28);
const WORDS: u64 = 300_000;

/// Words that ours knows and the two judges do not, or the other way round.
const ALONE: &[Row] = &[
    (0xbfa0_0000, 0x8900_0000, "LDTXR, STTXR (FEAT_LSUI), which are rejected by name"),
    (0xffc0_0000, 0xd540_0000, "SYSP, MSRR, MRRS, which are rejected by name"),
];

fn decode(word: u32) -> Result<Instruction, DecodeError> {
    InstDecoder::default().decode(&mut U8Reader::new(&word.to_le_bytes()))
}

/// Agreed: `None`; excused: why; else what is wrong. Where yaxpeax is alone against ours and
/// capstone, it is wrong: it takes fields for free that are not.
fn compare(judge: &Judge, word: u32) -> Result<Option<&'static str>, String> {
    let ours = Arm64::plan(&Text::new(AT, &word.to_le_bytes()), AT, Rules::default());
    let known = !matches!(ours, Err(Reject { reason: Reason::Undecodable, .. }));
    let theirs = match decode(word) {
        Err(DecodeError::IncompleteDecoder) => return Ok(Some("yaxpeax says that it is not done")),
        theirs if theirs.is_ok() != known => {
            let rows = [NEWER, LAXER, ALONE];
            let why = match rows.iter().find_map(|rows| listed(word, rows)) {
                _ if known && overlaps(word) => Some("registers that overlap"),
                _ if judge.text(word, AT).is_some() == known && known => {
                    Some("yaxpeax alone does not know it")
                }
                _ if judge.text(word, AT).is_some() == known => Some("yaxpeax alone takes it"),
                why => why,
            };
            return why.map(Some).ok_or_else(|| format!("{ours:?}, yaxpeax: {theirs:?}"));
        }
        Err(_) => return Ok(None),
        Ok(theirs) => theirs,
    };
    let Ok(plan) = ours else { return Ok(None) };
    // An operand that is relative to the PC is one to both.
    let relative = theirs.operands.iter().any(|operand| matches!(operand, Operand::PCOffset(_)));
    let indirect = matches!(
        plan.effect,
        Some(
            Effect::BranchRegister { .. }
                | Effect::BranchLinkRegister { .. }
                | Effect::Return { .. }
        )
    );
    if relative != (plan.effect.is_some() && !indirect) {
        return Err(format!("{:?}, yaxpeax: {theirs}", plan.effect));
    }
    Ok(None)
}

/// Compares words; every row of the tables must be needed by one.
fn all(words: impl Iterator<Item = u32>) -> BTreeSet<&'static str> {
    let judge = Judge::new();
    let (mut excuses, mut count, mut wrong) = (BTreeMap::new(), 0, Vec::new());
    for word in words {
        count += 1;
        match compare(&judge, word) {
            Ok(None) => {}
            Ok(Some(why)) => *excuses.entry(why).or_insert(0) += 1,
            Err(why) => wrong.push(format!("{word:08x}: {}", &why[..why.len().min(40)])),
        }
    }
    println!("{count} words");
    for (why, n) in &excuses {
        println!("{n:7} {why}");
    }
    let shown = wrong[..wrong.len().min(100)].join("\n");
    assert!(wrong.is_empty(), "{} of {count}:\n{shown}", wrong.len());
    excuses.into_keys().collect()
}

#[test]
fn plans_agree_with_yaxpeax() {
    let excuses = all(words(&[ALONE, HARMFUL], WORDS));
    let idle: Vec<_> = ALONE.iter().filter(|(_, _, why)| !excuses.contains(why)).collect();
    assert!(idle.is_empty() || std::env::var_os("XOL_WORDS").is_some(), "nothing needs {idle:#?}");
}

#[test]
fn words_of_real_objects_are_the_same_to_yaxpeax() {
    let mut distinct = BTreeSet::new();
    for path in judges::objects() {
        let file = std::fs::read(&path).expect("it exists");
        let object = object::File::parse(&*file).expect("an object");
        for section in object.sections().filter(|section| section.kind() == SectionKind::Text) {
            let (words, _) = section.data().expect("it is in the file").as_chunks();
            distinct.extend(words.iter().map(|&word| u32::from_le_bytes(word)));
        }
    }
    assert!(distinct.len() > 50_000, "{}", distinct.len());
    all(distinct.into_iter());
}
