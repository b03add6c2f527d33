//! The plan of every row in `cases/*.txt`, and that no kind of plan is without a row.

use super::{Arm64, Compare, Effect, Literal, Test, Width};
use crate::{Addr, Arch, Plan, Reason, Reject, Rules, Text};
use std::collections::BTreeSet;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

const TABLES: [(&str, &str); 6] = [
    ("branches.txt", include_str!("cases/branches.txt")),
    ("copies.txt", include_str!("cases/copies.txt")),
    ("literals.txt", include_str!("cases/literals.txt")),
    ("rejects.txt", include_str!("cases/rejects.txt")),
    ("sequences.txt", include_str!("cases/sequences.txt")),
    ("undecodable.txt", include_str!("cases/undecodable.txt")),
];

/// Two places, so that nothing that should depend on the address is a constant by chance.
const PLACES: [Addr; 2] = [Addr(0x5555_5555_4000), Addr(0xffff_f7fe_8ffc)];

struct Row {
    /// File and line.
    place: String,
    bytes: Vec<u8>,
    /// Where in `bytes` the site is.
    site: u64,
    asm: &'static str,
    expected: String,
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (file, text) in TABLES {
        for (number, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let columns: Vec<_> = line.split(" ; ").map(str::trim).collect();
            let [words, asm, verdict, detail] = columns[..] else { panic!("{file}: {line}") };
            let words: Vec<_> = words.split(' ').collect();
            let site = words.iter().position(|word| word.starts_with('[')).unwrap_or(0);
            rows.push(Row {
                place: format!("{file}:{}", number + 1),
                bytes: words.iter().flat_map(|word| parse(word).to_le_bytes()).collect(),
                site: 4 * site as u64,
                asm,
                expected: format!("{verdict} ; {detail}"),
            });
        }
    }
    rows
}

fn parse(word: &str) -> u32 {
    u32::from_str_radix(word.trim_matches(['[', ']']), 16).unwrap()
}

fn describe(plan: &Result<Plan<Arm64>, Reject>, at: Addr) -> String {
    match plan {
        Err(Reject { reason, nearest: None }) => format!("reject ; {}", reason.id()),
        Err(Reject { reason, nearest: Some(nearest) }) => {
            format!("reject ; {} {:+}", reason.id(), nearest.distance_from(at))
        }
        Ok(Plan { effect: Some(effect), copied: None, .. }) => {
            format!("simulate ; {}", describe_effect(*effect))
        }
        Ok(Plan { effect: None, copied: Some(copied), .. }) => {
            assert!(copied.falls_through);
            let kind = match (copied.trap_behind, copied.jump_behind) {
                (true, true) => "through",
                (true, false) => "trap",
                (false, true) => "jump",
                (false, false) => "nothing",
            };
            match copied.span {
                4 => format!("copy ; {kind}"),
                span => format!("copy ; {kind} span {span}"),
            }
        }
        Ok(plan) => panic!("{plan:?}"),
    }
}

fn describe_effect(effect: Effect) -> String {
    match effect {
        Effect::Branch { offset } => format!("Branch by {offset}"),
        Effect::BranchLink { offset } => format!("BranchLink by {offset}"),
        Effect::BranchIf { test, offset } => {
            format!("BranchIf {} by {offset}", describe_test(test))
        }
        Effect::BranchRegister { register, btype } => {
            format!("BranchRegister {} {btype:?}", general(register, 'x'))
        }
        Effect::BranchLinkRegister { register } => {
            format!("BranchLinkRegister {}", general(register, 'x'))
        }
        Effect::Return { register } => format!("Return {}", general(register, 'x')),
        Effect::Address { to, offset } => format!("Address {} by {offset}", general(to, 'x')),
        Effect::Page { to, offset } => format!("Page {} by {offset}", general(to, 'x')),
        Effect::Load { to, kind, offset } => {
            let to = match kind {
                Literal::W => general(to, 'w'),
                Literal::X => general(to, 'x'),
                Literal::Sw => format!("sw{to}"),
                Literal::S => format!("s{to}"),
                Literal::D => format!("d{to}"),
                Literal::Q => format!("q{to}"),
            };
            format!("Load {to} by {offset}")
        }
        Effect::Prefetch => "Prefetch".to_string(),
    }
}

fn describe_test(test: Test) -> String {
    let letter = |width| if width == Width::X { 'x' } else { 'w' };
    match test {
        Test::Flags(condition) => {
            const NAMES: [&str; 16] = [
                "eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le",
                "al", "nv",
            ];
            NAMES[usize::from(condition.code())].to_string()
        }
        Test::Zero { register, width, negated } => {
            let equal = if negated { "!=" } else { "==" };
            format!("{} {equal} 0", general(register, letter(width)))
        }
        Test::Bit { register, bit, set } => {
            format!("{}[{bit}] == {}", general(register, 'x'), u8::from(set))
        }
        Test::Compare { register, relation, with, width } => {
            let part = match width {
                Width::B => ".8",
                Width::H => ".16",
                Width::W | Width::X => "",
            };
            let relation = format!("{relation:?}").to_lowercase();
            let right = match with {
                Compare::Register(register) => general(register, letter(width)) + part,
                Compare::Immediate(number) => number.to_string(),
            };
            format!("{}{part} {relation} {right}", general(register, letter(width)))
        }
    }
}

fn general(register: u8, letter: char) -> String {
    if register == 31 { format!("{letter}zr") } else { format!("{letter}{register}") }
}

#[test]
fn plans_are_as_written() {
    let mut wrong = Vec::new();
    for row in rows() {
        for base in PLACES {
            let at = base.add(row.site);
            let got = Arm64::plan(&Text::new(base, &row.bytes), at, Rules::default());
            if describe(&got, at) != row.expected {
                wrong.push(format!(
                    "{} {}: {}, not {}",
                    row.place,
                    row.asm,
                    describe(&got, at),
                    row.expected
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The kinds of plan there are: a table has a row of each.
#[test]
fn every_kind_of_plan_has_a_row() {
    let seen: BTreeSet<_> = rows()
        .iter()
        .map(|row| {
            let (verdict, detail) = row.expected.split_once(" ; ").unwrap();
            format!("{verdict} {}", detail.split(' ').next().unwrap())
        })
        .collect();
    let wanted: BTreeSet<_> = [
        "copy through",
        "copy trap",
        "reject breakpoint",
        "reject daif",
        "reject exception",
        "reject exception-return",
        "reject exclusive-sequence",
        "reject hint",
        "reject mops-sequence",
        "reject pauth-lr",
        "reject privileged",
        "reject system-register",
        "reject transaction",
        "reject undecodable",
        "simulate Address",
        "simulate Branch",
        "simulate BranchIf",
        "simulate BranchLink",
        "simulate BranchLinkRegister",
        "simulate BranchRegister",
        "simulate Load",
        "simulate Page",
        "simulate Prefetch",
        "simulate Return",
    ]
    .map(String::from)
    .into();
    assert_eq!(seen, wanted);
}

#[test]
fn truncated_and_misaligned_sites_are_rejected() {
    let bytes = [0x1f, 0x20, 0x03, 0xd5, 0x1f, 0x20, 0x03];
    let text = Text::new(Addr(0x1000), &bytes);
    let reason = |at| Arm64::plan(&text, Addr(at), Rules::default()).map_err(|r| r.reason);
    assert!(reason(0x1000).is_ok());
    for at in [0x1004, 0x1008, 0xffc, 0, u64::MAX - 3] {
        assert_eq!(reason(at).unwrap_err(), Reason::Truncated, "{at:#x}");
    }
    for at in [0x1001, 0x1002, 0x1003, 0x1005, u64::MAX] {
        let reject = Arm64::plan(&text, Addr(at), Rules::default()).unwrap_err();
        assert_eq!(reject.reason, Reason::Misaligned);
        assert_eq!(reject.nearest, Some(Addr(at & !3)));
    }
    assert_eq!(Arm64::length(&text, Addr(0x1000)), Ok(4));
    let hole = Text::new(Addr(0x1000), &[0xff; 4]);
    assert_eq!(Arm64::length(&hole, hole.base), Err(Reason::Undecodable.into()));
    assert_eq!(Arm64::length(&text, Addr(0x1004)), Err(Reason::Truncated.into()));
    // In the last page of all there is no overflow.
    let last = Text::new(Addr(0u64.wrapping_sub(4)), &bytes[..4]);
    assert!(Arm64::plan(&last, last.base, Rules::default()).is_ok());
}

/// What the rows have that has no name here.
#[cfg(feature = "text")]
const NAMELESS: &[&str] = &[
    "add z0.s, p0/m, z0.s, z1.s",
    "at s1e1r, x0",
    "bfdot v0.4s, v1.8h, v2.8h",
    "brb iall",
    "ctz x0, x1",
    "dc isw, x0",
    "dsb nshnxs",
    "fmopa za0.s, p0/m, p1/m, z0.s, z1.s",
    "gcsstr x0, [x1]",
    "histcnt z0.s, p0/z, z1.s, z2.s",
    "ld1w { z0.s }, p0/z, [z1.s, #4]",
    "ld1w {za0h.s[w12, 0]}, p0/z, [x0]",
    "ld64b x0, [x8]",
    "ldff1w { z0.s }, p0/z, [x0, x1, lsl #2]",
    "ldiapp x0, x1, [x2]",
    "mrrs x0, x1, TTBR0_EL1",
    "mrs x0, AMCNTENSET0_EL0",
    "mrs x0, MDCCSR_EL0",
    "mrs x0, MDSCR_EL1",
    "mrs x0, PMEVCNTR0_EL0",
    "msr ALLINT, #1",
    "msrr TTBR0_EL1, x0, x1",
    "mul z0.d, z1.d, z2.d",
    "rcwcas x0, x1, [x2]",
    "rdvl x0, #1",
    "setffr",
    "smax w0, w1, #-5",
    "swpp x0, x1, [x2]",
    "tlbip vae1, x0, x1",
    "wfet x1",
    "wfit x1",
    "whilelo p0.s, w0, w1",
    "zero {za}",
];

/// Ours agrees with LLVM's but for how numbers are written.
#[cfg(feature = "text")]
#[test]
fn text_agrees_with_llvm() {
    let (mut wrong, mut without_name) = (Vec::new(), BTreeSet::new());
    let mut compared = 0;
    for row in rows().iter().filter(|row| !row.place.starts_with("sequences")) {
        let mut text = String::new();
        Arm64::disassemble(&Text::new(Addr(0), &row.bytes), Addr(0), &mut text).unwrap();
        if row.expected.ends_with("undecodable") {
            assert!(text.starts_with(".inst 0x"), "{}: {text}", row.place);
            continue;
        }
        // What has no name here is written as data or as numbers; what has one has the right one.
        let nameless = [".inst", "sys #", "msr pstate.", "mrs x0, s2_", "mrs x0, s3_"];
        if row.place.starts_with("undecodable") {
            continue;
        }
        if nameless.iter().any(|start| text.starts_with(start)) {
            without_name.insert(row.asm);
            continue;
        }
        compared += 1;
        // An operand that LLVM leaves out has its default value.
        let (ours, theirs) = (spelling(&text), spelling(row.asm));
        let rest = ours.strip_prefix(theirs.as_slice());
        if !rest.is_some_and(|rest| rest.iter().all(|word| word == "xzr" || word == "0")) {
            wrong.push(format!("{} {}: {text}", row.place, row.asm));
        }
    }
    assert!(wrong.is_empty() && compared > 200, "{compared}\n{}", wrong.join("\n"));
    assert_eq!(without_name.into_iter().collect::<Vec<_>>(), NAMELESS);
}

/// Words and numbers, the numbers in decimal and modulo 2^64.
#[cfg(feature = "text")]
fn spelling(text: &str) -> Vec<String> {
    let words = text.split([' ', ',', '#', '[', ']', '{', '}']).filter(|word| !word.is_empty());
    words
        .map(|word| {
            let (sign, digits) = match word.strip_prefix('-') {
                Some(digits) => (-1, digits),
                None => (1, word),
            };
            let number = match digits.strip_prefix("0x") {
                Some(hex) => u64::from_str_radix(hex, 16).map(i128::from),
                None => digits.parse::<u64>().map(i128::from),
            };
            number.map_or(word.to_lowercase(), |n| ((sign * n) as u64).to_string())
        })
        .collect()
}
