//! Reports of whole objects, compared with binutils; flat code in every shape.

use super::super::args::Plan;
use super::super::output::{Format, Report};
use super::run;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use xol::symbols::Machine;
use xol_arch::{Reason, Rules};

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("xol-plan-{name}-{}", std::process::id()))
}

/// What `xol plan` reports, and the status's message if it fails.
pub(super) fn report(name: &str, mut plan: Plan) -> Result<String, String> {
    let to = scratch(name);
    plan.report.to = Some(to.clone());
    let result = run(&plan);
    let text = std::fs::read_to_string(&to).unwrap_or_default();
    let _ = std::fs::remove_file(&to);
    result.map(|()| text).map_err(|failure| format!("{failure:?}"))
}

pub(super) fn plan(object: &Path, format: Format) -> Plan {
    Plan {
        object: object.to_owned(),
        debug_folders: Vec::new(),
        locations: Vec::new(),
        raw: None,
        summary: false,
        rules: Rules::default(),
        report: Report { to: None, format },
    }
}

fn raw(name: &str, machine: Machine, base: u64, code: &[u8]) -> Vec<Value> {
    let file = scratch(&format!("{name}-code"));
    std::fs::write(&file, code).unwrap();
    let mut asked = plan(&file, Format::Json);
    asked.raw = Some((machine, base));
    let lines = report(name, asked).unwrap();
    let _ = std::fs::remove_file(&file);
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_object_is_cut_where_objdump_cuts_it() {
    for (path, objdump) in [
        ("/bin/ls", "objdump"),
        ("/usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1", "aarch64-linux-gnu-objdump"),
    ] {
        let output = Command::new(objdump).args(["-dwz", path]).output();
        let output = output.unwrap_or_else(|e| panic!("{objdump} is not installed: {e}"));
        let theirs: BTreeMap<u64, String> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| {
                let (addr, rest) = line.trim_start().split_once(":\t")?;
                let bytes: String = rest.split('\t').next()?.split_whitespace().collect();
                // arm64 words are printed as numbers, high byte first.
                let bytes = if objdump == "objdump" { bytes } else { swapped(&bytes) };
                Some((u64::from_str_radix(addr, 16).ok()?, bytes))
            })
            .collect();
        assert!(theirs.len() > 10_000, "{objdump} {path}: {}", theirs.len());
        let name = Path::new(path).file_name().unwrap().to_str().unwrap();
        let lines = report(name, plan(Path::new(path), Format::Json)).unwrap();
        let mut ours = BTreeMap::new();
        for line in lines.lines() {
            let insn: Value = serde_json::from_str(line).unwrap();
            let bytes = insn["bytes"].as_str().unwrap().to_owned();
            assert!(ours.insert(insn["addr"].as_u64().unwrap(), bytes).is_none(), "{line}");
            let strategies = insn["strategies"].as_array().unwrap().len();
            match insn["plan"].as_str().unwrap() {
                "copy" | "simulate" => {
                    assert!(strategies > 0 && insn["reason"].is_null(), "{line}")
                }
                "reject" => {
                    assert!(Reason::ALL.iter().any(|r| insn["reason"] == r.id()), "{line}");
                    assert!(insn["detail"].is_string() && strategies == 0, "{line}");
                }
                other => panic!("{other}"),
            }
            let jump = insn["strategies"].as_array().unwrap().contains(&"jump".into());
            assert_eq!(jump, insn["why_not_jump"].is_null(), "{line}");
        }
        for (addr, bytes) in &theirs {
            assert_eq!(ours.get(addr), Some(bytes), "{path} at {addr:x}");
        }
        assert_eq!(ours.len(), theirs.len(), "{path}");
    }
}

fn swapped(hex: &str) -> String {
    let pairs: Vec<&str> = (0..hex.len() / 2).map(|i| &hex[i * 2..i * 2 + 2]).collect();
    pairs.into_iter().rev().collect()
}

#[test]
fn flat_code_is_cut_the_same_whatever_the_pieces() {
    // Long enough for several pieces, with instructions across every border.
    let mut code = Vec::new();
    let mut random = 7u64;
    while code.len() < 150_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        code.extend((random >> 24).to_le_bytes()[..5].iter());
    }
    for (name, machine) in [("x86", Machine::X86_64), ("arm", Machine::Arm64)] {
        let insns = raw(name, machine, 0x8000, &code);
        let mut at = 0x8000;
        for insn in &insns {
            assert_eq!(insn["addr"], at, "{insn}");
            let bytes = insn["bytes"].as_str().unwrap();
            let from = (at - 0x8000) as usize;
            let expected: String =
                code[from..from + bytes.len() / 2].iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(bytes, expected);
            if insn["reason"] == "undecodable" && machine == Machine::X86_64 {
                assert_eq!(bytes.len(), 2, "{insn}");
            }
            at += bytes.len() as u64 / 2;
        }
        assert_eq!(at, 0x8000 + code.len() as u64);
    }
}

#[test]
fn the_end_of_flat_code_is_truncated_not_lost() {
    let insns = raw("cut-x86", Machine::X86_64, 0, &[0x90, 0xe8, 0, 0]);
    assert_eq!(insns.len(), 3);
    assert_eq!((&insns[1]["plan"], &insns[1]["reason"]), (&"reject".into(), &"truncated".into()));
    let insns = raw("cut-arm", Machine::Arm64, 0, &[0x1f, 0x20, 0x03, 0xd5, 0x1f, 0x20]);
    assert_eq!(insns.len(), 2);
    assert_eq!(insns[0]["plan"], "copy");
    assert_eq!((&insns[1]["bytes"], &insns[1]["reason"]), (&"1f20".into(), &"truncated".into()));
    assert!(raw("empty", Machine::Arm64, 0, &[]).is_empty());
}

#[test]
fn locations_are_probes_without_an_object() {
    let ask = |locations: &[&str], format| {
        let mut asked = plan(Path::new("/lib/x86_64-linux-gnu/libc.so.6"), format);
        asked.locations = locations.iter().map(|&l| l.to_owned()).collect();
        report(&format!("locations-{}", locations.concat().len()), asked)
    };
    let one = ask(&["malloc"], Format::Json).unwrap();
    assert_eq!(one.lines().count(), 1);
    let all = ask(&["malloc+*"], Format::Json).unwrap();
    assert!(all.lines().count() > 50 && all.starts_with(one.trim_end()));
    let inside = ask(&["malloc+1"], Format::Json).unwrap();
    assert!(inside.contains("\"reason\":\"inside-instruction\""), "{inside}");
    let text = ask(&["malloc+*"], Format::Text).unwrap();
    assert!(text.contains(" <malloc>:\n") && text.contains(" instructions\n"), "{text}");
    assert!(text.contains("by the strategy that auto takes"), "{text}");
    let missing = ask(&["mallox"], Format::Text).unwrap_err();
    assert!(missing.contains("status: 125") && missing.contains("near: malloc"), "{missing}");
    let wrong = ask(&["libc:malloc+4+4"], Format::Text).unwrap_err();
    assert!(wrong.contains("status: 2"), "{wrong}");
}

#[test]
fn the_first_place_that_cannot_be_probed_says_why_in_text() {
    let file = scratch("text-code");
    std::fs::write(&file, [0x0f, 0x0b, 0x90]).unwrap();
    let mut asked = plan(&file, Format::Text);
    asked.raw = Some((Machine::X86_64, 0x1000));
    let text = report("text", asked).unwrap();
    let _ = std::fs::remove_file(&file);
    assert_eq!(
        text,
        "        1000  0f 0b                   ud2                                     \
         reject    exception: the instruction raises an exception by design
        1002  90                      nop                                     \
         copy      step xol boost  (no jump: unknown-function)

2 instructions
           1   50.0 %  copy
           1   50.0 %  reject
by the strategies that are correct
           1   50.0 %  step
           1   50.0 %  xol
           1   50.0 %  boost
by the strategy that auto takes
           1   50.0 %  boost
rejected because
           1   50.0 %  exception: the instruction raises an exception by design
no jump because; and so many of them where functions begin
           1   50.0 %       0  exception: the instruction raises an exception by design
           1   50.0 %       0  unknown-function: where the function around it begins and ends is not known
"
    );
}

/// What can be probed and what cannot, of whole objects of both architectures.
#[test]
fn a_summary_adds_up_and_lists_what_cannot_be_probed() {
    for path in ["/lib/x86_64-linux-gnu/libc.so.6", "/usr/aarch64-linux-gnu/lib/libc.so.6"] {
        let mut asked = plan(Path::new(path), Format::Json);
        asked.summary = true;
        let sums: Value = serde_json::from_str(&report("sums", asked).unwrap()).unwrap();
        let number = |value: &Value| value.as_u64().unwrap();
        let total = |name: &str| sums[name].as_object().unwrap().values().map(number).sum::<u64>();
        let all = number(&sums["instructions"]);
        assert!(all > 100_000, "{sums}");
        assert_eq!(total("plans"), all, "{sums}");
        assert_eq!(total("strategies") + total("reasons"), all, "{sums}");
        let rejected = number(&sums["plans"]["reject"]);
        assert_eq!(rejected, total("reasons"), "{sums}");
        assert_eq!(sums["possible"]["step"], sums["possible"]["xol"], "{sums}");
        for strategy in sums["possible"].as_object().unwrap().values() {
            assert!((1..all).contains(&number(strategy)), "{sums}");
        }
        let functions = number(&sums["functions"]);
        let planned = number(&sums["functions_planned"]);
        assert!(functions > 2000 && planned * 1000 >= functions * 999, "{sums}");
        let jumps = number(&sums["possible"]["jump"]);
        assert_eq!(jumps + total("no_jump"), all, "{sums}");
        assert!(jumps * 10 >= all * 9, "{sums}");
        let jumps = number(&sums["functions_jump"]);
        assert_eq!(jumps + total("functions_no_jump"), functions, "{sums}");
        assert!(jumps * 100 >= functions * 99, "{sums}");

        let mut asked = plan(Path::new(path), Format::Text);
        asked.summary = true;
        let text = report("sums-text", asked).unwrap();
        let listed = text.lines().filter(|line| line.starts_with(&" ".repeat(24))).count() as u64;
        assert!(listed > 0 && listed <= rejected, "{text}");
        assert_eq!(listed == rejected, !text.contains(" more\n"), "{text}");
    }
}
