//! The plan of every row in `cases/*.txt`, and that no kind of plan is without a row.

use super::{Address, Base, Effect, Gpr, Operand, Segment, Width, X86_64};
use crate::{Addr, Arch, Plan, Reason, Reject, Rules, Text};
use std::collections::BTreeSet;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

const TABLES: [(&str, &str); 7] = [
    ("branches.txt", include_str!("cases/branches.txt")),
    ("calls.txt", include_str!("cases/calls.txt")),
    ("copies.txt", include_str!("cases/copies.txt")),
    ("leaving.txt", include_str!("cases/leaving.txt")),
    ("rejects.txt", include_str!("cases/rejects.txt")),
    ("rip_relative.txt", include_str!("cases/rip_relative.txt")),
    ("truncated.txt", include_str!("cases/truncated.txt")),
];

/// Two places, so that nothing that should depend on the address is a constant by chance.
const PLACES: [Addr; 2] = [Addr(0x5555_5555_4000), Addr(0x7fff_f7fe_8fff)];

struct Row {
    /// File and line.
    place: String,
    bytes: Vec<u8>,
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
            let columns: Vec<_> = line.split(';').map(str::trim).collect();
            let [bytes, asm, verdict, detail] = columns[..] else { panic!("{file}: {line}") };
            rows.push(Row {
                place: format!("{file}:{}", number + 1),
                bytes: bytes
                    .split_whitespace()
                    .map(|byte| u8::from_str_radix(byte, 16).unwrap())
                    .collect(),
                asm,
                expected: format!("{verdict} ; {detail}"),
            });
        }
    }
    rows
}

fn describe(plan: &Result<Plan<X86_64>, Reject>) -> String {
    match plan {
        Err(reject) => format!("reject ; {}", reject.reason.id()),
        Ok(Plan { effect: Some(effect), copied, .. }) => {
            let copy = if copied.is_some() { "copy+" } else { "" };
            format!("{copy}simulate ; {}", describe_effect(*effect))
        }
        Ok(Plan { copied: Some(copied), .. }) => {
            format!("copy ; {}", if copied.falls_through { "through" } else { "leaves" })
        }
        Ok(Plan { effect: None, copied: None, .. }) => "nothing ; at all".to_string(),
    }
}

fn describe_effect(effect: Effect) -> String {
    let ecx = |narrow| if narrow { " ecx" } else { "" };
    match effect {
        Effect::Jump { by } => format!("Jump by {by}"),
        Effect::JumpIf { condition, by, len } => {
            const NAMES: [&str; 16] = [
                "o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le",
                "g",
            ];
            format!("JumpIf {} by {by} len {len}", NAMES[usize::from(condition.tttn())])
        }
        Effect::Loop { zero_flag, narrow, by, len } => {
            let zf = zero_flag.map_or(String::new(), |zf| format!(" zf={}", u8::from(zf)));
            format!("Loop{}{zf} by {by} len {len}", ecx(narrow))
        }
        Effect::JumpIfCountZero { narrow, by, len } => {
            format!("JumpIfCountZero{} by {by} len {len}", ecx(narrow))
        }
        Effect::Call { by, len } => format!("Call by {by} len {len}"),
        Effect::CallTo { target, len } => format!("CallTo {} len {len}", operand(target)),
        Effect::JumpTo { target } => format!("JumpTo {}", operand(target)),
        Effect::Return { release } => format!("Return release {release}"),
        Effect::Lea { to, width, by, narrow, len } => {
            let width = match width {
                Width::Word => "word",
                Width::Long => "long",
                Width::Quad => "quad",
            };
            let cut = if narrow { " cut" } else { "" };
            format!("Lea {} {width} by {by} len {len}{cut}", name(to))
        }
    }
}

fn operand(operand: Operand) -> String {
    let Address { segment, base, index, shift, displacement, narrow } = match operand {
        Operand::Register(register) => return name(register).to_string(),
        Operand::Memory(address) => address,
    };
    let segment = match segment {
        Some(Segment::Fs) => "fs: ",
        Some(Segment::Gs) => "gs: ",
        None => "",
    };
    let base = base.map(|base| match base {
        Base::Register(register) => name(register).to_string(),
        Base::Site => "site".to_string(),
    });
    let index = index.map(|register| format!("{} * {}", name(register), 1 << shift));
    let parts: Vec<_> = base.into_iter().chain(index).collect();
    let displacement = match (parts.is_empty(), displacement < 0) {
        (true, _) => format!("{displacement}"),
        (false, true) => format!(" - {}", displacement.unsigned_abs()),
        (false, false) => format!(" + {displacement}"),
    };
    let cut = if narrow { "cut " } else { "" };
    format!("{cut}[{segment}{}{displacement}]", parts.join(" + ").replace(" * 1]", "]"))
}

fn name(register: Gpr) -> &'static str {
    const NAMES: [&str; 16] = [
        "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12",
        "r13", "r14", "r15",
    ];
    NAMES[usize::from(register.number())]
}

#[test]
fn plans_are_as_written() {
    let mut wrong = Vec::new();
    for row in rows() {
        for at in PLACES {
            let got = X86_64::plan(&Text::new(at, &row.bytes), at, Rules::default());
            if describe(&got) != row.expected {
                wrong.push(format!("{} {}: {}", row.place, row.asm, describe(&got)));
            }
            if let Ok(plan) = got {
                assert_eq!(usize::from(plan.len), row.bytes.len(), "{}", row.place);
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Every prefix of an instruction that was planned is truncated, whatever lies behind is not
/// looked at.
#[test]
fn length_is_exact() {
    for row in rows().iter().filter(|row| !row.expected.starts_with("reject")) {
        for shorter in 0..row.bytes.len() {
            let got = X86_64::length(&Text::new(PLACES[0], &row.bytes[..shorter]), PLACES[0]);
            assert_eq!(
                got.map_err(|reject| reject.reason),
                Err(Reason::Truncated),
                "{}",
                row.place
            );
        }
        for behind in [0x00, 0x48, 0x90, 0xcc, 0xff] {
            let mut bytes = row.bytes.clone();
            bytes.extend([behind; 16]);
            let got = X86_64::length(&Text::new(PLACES[0], &bytes), PLACES[0]);
            assert_eq!(got, Ok(row.bytes.len()), "{}", row.place);
        }
    }
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
        "copy leaves",
        "copy through",
        "copy+simulate JumpTo",
        "copy+simulate Lea",
        "copy+simulate Return",
        "reject breakpoint",
        "reject enclave",
        "reject exception",
        "reject far-transfer",
        "reject interrupt-return",
        "reject interrupt-shadow",
        "reject privileged",
        "reject software-interrupt",
        "reject too-long",
        "reject transaction",
        "reject truncated",
        "reject undecodable",
        "reject vendor-dependent",
        "simulate Call",
        "simulate CallTo",
        "simulate Jump",
        "simulate JumpIf",
        "simulate JumpIfCountZero",
        "simulate Loop",
    ]
    .map(String::from)
    .into();
    assert_eq!(seen, wanted);
}

/// The tables' text is objdump's, ours agrees but for spelling.
#[cfg(feature = "text")]
#[test]
fn text_agrees_with_objdump() {
    let mut wrong = Vec::new();
    for row in rows().iter().filter(|row| row.asm != "-" && !row.expected.ends_with("undecodable"))
    {
        let mut text = String::new();
        X86_64::disassemble(&Text::new(Addr(0), &row.bytes), Addr(0), &mut text).unwrap();
        let (ours, theirs) = (spelling(&text), spelling(row.asm));
        if ours != theirs {
            wrong.push(format!("{} {}: {text} ({theirs}, {ours})", row.place, row.asm));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Without what the two spell differently: prefixes that change nothing, operands that are
/// implied, the size suffix, leading zeros of a displacement.
#[cfg(feature = "text")]
fn spelling(text: &str) -> String {
    const IDLE: [&str; 16] = [
        "notrack", "bnd", "repe", "repne", "data16", "rex.W", "rex.w", "rex.B", "cs", "ds", "es",
        "ss", "gs", "rep", "repz", "repnz",
    ];
    let text = text.split(" #").next().unwrap();
    let words = text.split_whitespace().filter(|word| !IDLE.contains(word));
    let text = words.collect::<Vec<_>>().join(" ");
    let text = text.replace("%ds:", "").replace("%es:", "").replace("%eiz,1", "");
    let text = text.replace("(%dx)", "%dx").replace("%db", "%dr");
    let text = text.replace("0x0(", "(").replace(",1)", ")").replace("(,)", "");
    let (mnemonic, operands) = text.split_once(' ').unwrap_or((&text, ""));
    let mnemonic = mnemonic.trim_end_matches(['l', 'q', 'w']);
    format!("{mnemonic} {operands}")
}
