//! A slice of all arm64 words against capstone, which shares nothing with ours.
//!
//! capstone does not say which instructions read the PC, but its text does: decoded at two
//! addresses, it differs exactly for those. `XOL_WORDS=N` looks at N words.
#![cfg(all(feature = "arm64", feature = "text"))]

use std::collections::BTreeSet;

use xol_arch::arm64::{Arm64, Effect};
use xol_arch::{Addr, Arch, Plan, Reason, Reject, Rules, Text};

mod judges;

use judges::{HARMFUL, Judge, LAXER, NEWER, listed, overlaps, words};

/// Two addresses in different pages, neither at the start of one.
const PLACES: [Addr; 2] = [Addr(0x40_0a28), Addr(0x7f_1234_5d6c)];
const WORDS: u64 = 300_000;

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

/// Whether capstone's text says DAIF, an exception or an exclusive access.
fn harms(theirs: &str) -> bool {
    let mnemonic = theirs.split(' ').next().unwrap_or("");
    theirs.contains("daif")
        || ["hvc", "smc", "hlt", "brk", "udf", "eret", "drps", "dcps1", "dcps2", "dcps3"]
            .contains(&mnemonic)
        || ["ldxr", "ldaxr", "ldxp", "ldaxp", "stxr", "stlxr", "stxp", "stlxp"]
            .iter()
            .any(|exclusive| mnemonic.starts_with(exclusive))
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
    // Both tables are somebody's word: each is held against the other.
    let harmful = reads_pc || harms(&theirs);
    if harmful && listed(word, HARMFUL).is_none() && listed(word, LAXER).is_none() {
        return Finding::Wrong(format!("not said to be harmful, capstone: {theirs}"));
    }
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
    if let Some(copied) = plan.copied {
        let plain = copied.jump_behind && copied.trap_behind;
        let harmful = harmful || plain && listed(word, HARMFUL).is_some();
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
    for word in words(&[NEWER, LAXER, HARMFUL], WORDS) {
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
    // Fewer words than usual need fewer rows.
    assert!(idle.is_empty() || count < WORDS, "nothing needs {idle:#?}");
}
