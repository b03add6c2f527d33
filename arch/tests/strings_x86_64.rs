//! Random and mutated strings against capstone, which shares nothing with ours: whether they are
//! an instruction, how long it is, and whether it reads its own address.
//!
//! capstone is another decoder, not the truth: where the two disagree, the kind of disagreement
//! stands in a table with who is right and why. `XOL_STRINGS=N` looks at N strings.
#![cfg(all(feature = "x86_64", feature = "text"))]

use std::collections::BTreeMap;

use capstone::Capstone;
use capstone::arch::BuildsCapstone;
use capstone::arch::x86::ArchMode;
use xol_arch::x86_64::X86_64;
use xol_arch::{Addr, Arch, Code, Reason, Rules, Text};

const PLACES: [Addr; 2] = [Addr(0x5555_5555_4a28), Addr(0x7fff_f7e5_1d6b)];
const STRINGS: u64 = 400_000;

struct Judge {
    capstone: Capstone,
}

/// What one of the two says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verdict {
    len: usize,
    reads_pc: bool,
}

impl Judge {
    fn new() -> Judge {
        let capstone = Capstone::new().x86().mode(ArchMode::Mode64).build();
        Judge { capstone: capstone.expect("capstone") }
    }

    /// Decoded at two addresses: the text differs for a direct branch, names RIP for an operand,
    /// and says CALL for what pushes its own address.
    fn ask(&self, bytes: &[u8]) -> Option<(Verdict, String)> {
        let [one, two] = PLACES.map(|at| {
            let insns = self.capstone.disasm_count(bytes, at.0, 1).ok()?;
            let insn = insns.iter().next()?;
            let operands = insn.op_str().unwrap_or("");
            Some((insn.len(), format!("{} {operands}", insn.mnemonic().unwrap_or(""))))
        });
        let ((len, one), (_, two)) = (one?, two?);
        let names = |word: &str| one.split([' ', '[', ']']).any(|part| part == word);
        let reads_pc = one != two || ["rip", "eip", "call"].into_iter().any(names);
        Some((Verdict { len, reads_pc }, one))
    }
}

/// Ours: an instruction reads its address if it is not copied, or its copy is not its bytes.
fn ours(bytes: &[u8]) -> Result<Verdict, Reason> {
    let at = PLACES[0];
    let text = Text::new(at, bytes);
    let plan = X86_64::plan(&text, at, Rules::default()).map_err(|reject| reject.reason)?;
    let len = usize::from(plan.len);
    let mut copy = Code::new();
    let slot = at.add(0x0123_4567);
    let copied = X86_64::copy(&text, at, &plan, slot, &mut copy).is_ok();
    Ok(Verdict { len, reads_pc: !copied || copy != bytes[..len] })
}

/// A quarter random bytes, the rest rows of the plan tables behind a prefix or with a bit turned.
fn strings(count: u64, mut each: impl FnMut(&[u8; 15])) {
    let mut state = 0x1234_5678_u64;
    let mut next = || {
        // SplitMix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let seeds = [
        include_str!("../x86_64/cases/branches.txt"),
        include_str!("../x86_64/cases/calls.txt"),
        include_str!("../x86_64/cases/copies.txt"),
        include_str!("../x86_64/cases/leaving.txt"),
        include_str!("../x86_64/cases/rip_relative.txt"),
        include_str!("../x86_64/cases/rejects.txt"),
    ];
    let seeds: Vec<Vec<u8>> = seeds
        .iter()
        .flat_map(|table| table.lines())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter_map(|line| line.split(';').next())
        .map(|bytes| bytes.split_whitespace().map(|b| u8::from_str_radix(b, 16).unwrap()).collect())
        .collect();
    for _ in 0..count {
        let mut bytes = [0; 15];
        bytes[..8].copy_from_slice(&next().to_le_bytes());
        bytes[8..].copy_from_slice(&next().to_le_bytes()[..7]);
        let dice = next();
        if dice & 3 != 0 {
            let seed = &seeds[(dice >> 8) as usize % seeds.len()];
            // A prefix in front, or not; a bit turned, or not.
            let skip = usize::from(dice & 4 != 0);
            let len = seed.len().min(15 - skip);
            bytes[skip..skip + len].copy_from_slice(&seed[..len]);
            if skip == 1 {
                let prefixes = [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x64, 0x48, 0x41, 0x4f];
                bytes[0] = prefixes[(dice >> 16) as usize % prefixes.len()];
            }
            if dice & 8 != 0 {
                let bit = (dice >> 24) as usize % (8 * (skip + len).max(1));
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
        each(&bytes);
    }
}

/// Disagreements: what kind, about which mnemonic (of ours, else capstone's), and who is right.
const DISAGREEMENTS: &[(Kind, &[&str], &str)] = &[
    (
        Kind::OnlyOurs,
        &[
            "aadd",
            "aand",
            "aesdec128kl",
            "aesdec256kl",
            "aesdecwide128kl",
            "aesdecwide256kl",
            "aesenc128kl",
            "aesenc256kl",
            "aesencwide128kl",
            "aesencwide256kl",
            "aor",
            "axor",
            "clui",
            "cmpaxadd",
            "cmpbexadd",
            "cmpbxadd",
            "cmplexadd",
            "cmplxadd",
            "cmpnbexadd",
            "cmpnbxadd",
            "cmpnlexadd",
            "cmpnlxadd",
            "cmpnoxadd",
            "cmpnpxadd",
            "cmpnsxadd",
            "cmpnzxadd",
            "cmpoxadd",
            "cmppxadd",
            "cmpsxadd",
            "cmpzxadd",
            "encodekey128",
            "encodekey256",
            "enqcmd",
            "ldtilecfg",
            "loadiwkey",
            "mcommit",
            "rdpru",
            "senduipi",
            "serialize",
            "sttilecfg",
            "stui",
            "tdpbf16ps",
            "tdpbssd",
            "tdpbsud",
            "tdpbusd",
            "tdpbuud",
            "tdpfp16ps",
            "testui",
            "tileloadd",
            "tileloaddt1",
            "tilerelease",
            "tilestored",
            "tilezero",
            "umonitor",
            "umwait",
            "tpause",
            "vcvtne2ps2bf16",
            "vcvtneps2bf16",
            "vcvtneps2bf16x",
            "vcvtneps2bf16y",
            "vdpbf16ps",
            "vp2intersectd",
            "vp2intersectq",
            "vpdpbusd",
            "vpdpbusds",
            "vpdpwssd",
            "vpdpwssds",
            "vpmadd52huq",
            "vpmadd52luq",
            "vsm3rnds2",
            "xresldtrk",
            "xsusldtrk",
        ],
        "newer than capstone 5",
    ),
    (
        Kind::OnlyOurs,
        &["fcom", "fcomp", "fstp", "fstpnce", "fxch", "ffreep"],
        "x87 aliases of the first processors, which all still execute",
    ),
    (
        Kind::OnlyOurs,
        &["nop", "nopl", "nopw", "nopq", "prefetch", "prefetchw", "prefetchwt1"],
        "reserved NOPs",
    ),
    (Kind::OnlyOurs, &["lfence", "mfence", "sfence"], "rm is ignored (Intel SDM 2, LFENCE)"),
    (Kind::OnlyOurs, &["movsxd"], "63 without REX.W moves 32 bits"),
    (
        Kind::OnlyOurs,
        &["rep", "repz", "repnz", "addr32", "xstore"],
        "VIA's PadLock with more prefixes; an illegal opcode elsewhere",
    ),
    (Kind::OnlyOurs, &["bsr", "bsf"], "prefix F2, which means nothing here"),
    (
        Kind::OnlyOurs,
        &["vpcmpistri", "vpcmpestri", "vpinsrb"],
        "VEX.W, which is ignored in 64-bit mode",
    ),
    (
        Kind::Length,
        &["ret", "retw", "retq", "bnd", "rep", "repz", "repnz"],
        "C2 has two bytes of immediate whatever 66 and REX.W say: executed",
    ),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// capstone knows no instruction.
    OnlyOurs,
    /// Undecodable to us.
    OnlyCapstone,
    Length,
    /// Whether the address matters. None is excused.
    Address,
}

/// The prefixes, and what is behind them.
fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let prefix = |byte: &u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3);
    bytes.split_at(bytes.iter().position(|byte| !prefix(byte)).unwrap_or(bytes.len()))
}

/// Why capstone takes for an instruction what we reject as undecodable. Being too strict costs a
/// probe; these are none that a compiler or a person writes.
fn stricter(bytes: &[u8]) -> Option<&'static str> {
    let (prefixes, opcode) = split(bytes);
    match opcode {
        _ if prefixes.contains(&0xf0) => Some("LOCK where nothing is locked"),
        [0xc4 | 0xc5 | 0x62, ..] if !prefixes.is_empty() => Some("a prefix before VEX or EVEX"),
        _ if prefixes.iter().any(|p| [0x66, 0xf2, 0xf3].contains(p)) => {
            Some("66, F2 or F3 where the manual says NP")
        }
        [0x0f, 0x20..=0x23, ..] => Some("control and debug registers that are none"),
        [0x0f, 0x38, 0xf8, ..] => Some("MOVDIR64B without 66"),
        [0x8c | 0x8e, ..] => Some("MOV to CS, or of a segment register that is none"),
        [0x62, ..] => Some("reserved EVEX fields: L'L = 3, z without a mask or with a store"),
        [0xc4, ..] => Some("gathers whose registers are the same"),
        [0x0f, 0xa6 | 0xa7, ..] => Some("VIA's PadLock without REP"),
        [0x8f, ..] => {
            Some("LWP, which records its own address and which no processor has any more")
        }
        [0x0f, 0xae, ..] => Some("rm is not 0 where the manual wants it so"),
        _ => None,
    }
}

/// Why we know what capstone does not, besides the table.
fn newer(bytes: &[u8]) -> Option<&'static str> {
    match split(bytes) {
        (_, [0x62, map, ..]) if map & 7 >= 5 => Some("AVX-512 FP16"),
        (_, [0xc4, 0xe2 | 0xc2 | 0xa2 | 0x82 | 0x62 | 0x42 | 0x22 | 0x02, ..]) => {
            Some("AVX-VNNI-INT, SM3, SM4 and others newer than capstone 5")
        }
        (_, [0x62, ..]) => Some("EVEX with L'L that scalar instructions ignore"),
        (prefixes, _) if prefixes.contains(&0x66) && prefixes.iter().any(|p| p & 0xfe == 0xf2) => {
            Some("prefix 66 beside F2 or F3, which win")
        }
        _ => None,
    }
}

fn mnemonic(text: &str) -> &str {
    text.split(' ').next().unwrap_or("")
}

#[test]
fn strings_are_what_capstone_says() {
    let count = std::env::var("XOL_STRINGS").map_or(STRINGS, |n| n.parse().expect("a number"));
    let judge = Judge::new();
    let mut agreed = 0_u64;
    let mut by_rule: BTreeMap<&str, u64> = BTreeMap::new();
    let mut kinds: BTreeMap<(Kind, String), (u64, String)> = BTreeMap::new();
    strings(count, |bytes| {
        let kind = match (ours(bytes), judge.ask(bytes)) {
            (Ok(a), Some((b, _))) if a == b => {
                agreed += 1;
                return;
            }
            (Ok(a), Some((b, text))) if a.len != b.len => (Kind::Length, text),
            (Ok(_), Some((_, text))) => (Kind::Address, text),
            (Ok(_), None) => {
                let mut text = String::new();
                X86_64::disassemble(&Text::new(PLACES[0], bytes), PLACES[0], &mut text).unwrap();
                if let Some(why) = newer(bytes) {
                    *by_rule.entry(why).or_default() += 1;
                    return;
                }
                (Kind::OnlyOurs, text)
            }
            (Err(Reason::Undecodable), Some((_, text))) => {
                if let Some(why) = stricter(bytes) {
                    *by_rule.entry(why).or_default() += 1;
                    return;
                }
                (Kind::OnlyCapstone, text)
            }
            // Both know none, or ours knows it and rejects it for what it is.
            (Err(_), _) => return,
        };
        let kind = (kind.0, mnemonic(&kind.1).to_owned());
        kinds.entry(kind).or_insert_with(|| (0, format!("{bytes:02x?}"))).0 += 1;
    });
    println!("{agreed} of {count} strings are the same instruction to both");
    for (why, n) in &by_rule {
        println!("{n:7} {why}");
    }
    let mut unexplained = Vec::new();
    for ((kind, mnemonic), (n, example)) in &kinds {
        let why = DISAGREEMENTS
            .iter()
            .find(|(k, mnemonics, _)| k == kind && mnemonics.contains(&mnemonic.as_str()));
        let line = format!("{n:7} {kind:?} {mnemonic}, e.g. {example}");
        match why {
            Some((_, _, why)) => println!("{line}: {why}"),
            None => unexplained.push(line),
        }
    }
    assert!(unexplained.is_empty(), "{unexplained:#?}");
    assert!(agreed > count / 4, "{agreed}");
}
