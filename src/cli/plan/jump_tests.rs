//! Where jumps can be, by what objdump says of the code around: where branches go, where calls come
//! back, which instructions enter the kernel.

use super::tests::{plan, report};
use crate::cli::output::Format;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// A program with all of it: symbols, system calls, loops, ends of functions without padding.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
/// Bytes of a jump.
const JUMP: u64 = 5;

/// One instruction as objdump has it.
struct Insn {
    len: u64,
    name: String,
    /// Where a direct branch goes.
    to: Option<u64>,
    /// Whether it moves into the stack pointer what may be no stack.
    odd_stack: bool,
}

fn objdump() -> BTreeMap<u64, Insn> {
    let output = Command::new("objdump").args(["-dwz", LOADER]).output();
    let output = output.expect("objdump is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    let insns = text.lines().filter_map(|line| {
        let (at, rest) = line.trim_start().split_once(":\t")?;
        let (bytes, text) = rest.split_once('\t')?;
        let prefixes = ["bnd", "cs", "data16", "lock", "notrack", "rep", "repnz", "repz"];
        let mut words = text.split_whitespace().skip_while(|word| prefixes.contains(word));
        let name = words.next()?.split(',').next()?.to_owned();
        let branches =
            name.starts_with('j') || name.starts_with("call") || name.starts_with("loop");
        let from = text.split_whitespace().last()?.strip_suffix(",%rsp");
        let usual = |from: &str| from.starts_with(['$', '-', '0', '(']) || from == "%rbp";
        let odd_stack = from.is_some_and(|from| !usual(from));
        let to = words.next().filter(|_| branches).and_then(|to| u64::from_str_radix(to, 16).ok());
        let len = bytes.split_whitespace().count() as u64;
        Some((u64::from_str_radix(at, 16).ok()?, Insn { len, name, to, odd_stack }))
    });
    insns.collect()
}

#[test]
fn jumps_are_where_nothing_comes_into_them() {
    let insns = objdump();
    assert!(insns.len() > 20_000, "{}", insns.len());
    // With the symbols of a debug file, where one is installed.
    let (_, object) = crate::cli::objects::open(Path::new(LOADER), &[]).unwrap();
    let function = |at: u64| object.function_at(at).unwrap();
    let mut targets: BTreeSet<u64> = insns
        .iter()
        .filter_map(|(&from, insn)| insn.to.filter(|&to| function(from) == function(to)))
        .collect();
    // What a jump table leads to may be NOPs that nothing runs into.
    let indirect = insns.iter().filter(|(_, insn)| insn.name == "jmp" && insn.to.is_none());
    let open: BTreeSet<Option<u64>> =
        indirect.map(|(&at, _)| function(at).map(|range| range.start)).collect();
    let mut is_gap = false;
    for (&at, insn) in &insns {
        let nop = insn.name.starts_with("nop") || insn.name == "xchg";
        if is_gap && nop && open.contains(&function(at).map(|range| range.start)) {
            targets.insert(at);
        }
        let leaves = ["ret", "jmp", "ud2", "hlt", "(bad)"].contains(&insn.name.as_str());
        is_gap = leaves || is_gap && nop;
    }
    let symbols = object.symbols().unwrap();
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for line in report("jumps", plan(Path::new(LOADER), Format::Json)).unwrap().lines() {
        let verdict: Value = serde_json::from_str(line).unwrap();
        let why = verdict["why_not_jump"].as_str().unwrap_or("jump");
        *seen.entry(why.to_owned()).or_default() += 1;
        let at = verdict["addr"].as_u64().unwrap();
        // What a jump here would replace: on from here, and to where branches go.
        let window = at..at + JUMP;
        let entered = targets.range(at + 1..window.end).next().is_some();
        let other = symbols.next_symbol(at) < window.end;
        let covered: Vec<(u64, &Insn)> =
            insns.range(window.clone()).map(|(a, i)| (*a, i)).collect();
        let comes_back = |&(from, insn): &(u64, &Insn)| {
            insn.name.starts_with("call") && window.contains(&(from + insn.len))
        };
        let syscall = covered.iter().any(|(_, insn)| insn.name == "syscall");
        let end = function(at).map_or(0, |range| range.end);
        let ends = end < window.end;
        // What is behind stays as it is: nothing comes into the instruction itself.
        let len = insns.get(&at).map_or(0, |insn| insn.len);
        let alone = len < JUMP
            && targets.range(at + 1..at + len).next().is_none()
            && !other
            && covered.first().is_none_or(|(_, insn)| insn.name != "syscall");
        match why {
            "jump" if alone => {}
            "jump" => {
                assert!(!entered && !other && !syscall, "{line}");
                assert!(!covered.iter().any(comes_back), "{line}");
                assert!(covered.iter().take_while(|(from, _)| *from < end).count() > 0, "{line}");
                // What the jump reaches over is padding behind the end of everything.
                let last = covered.iter().rfind(|(from, _)| *from < end).unwrap().1;
                let leaves = ["ret", "jmp", "rep"].iter().any(|leaf| last.name.starts_with(leaf));
                assert!(!ends || leaves || at + last.len >= window.end, "{line}");
            }
            "entered" => {
                assert!(entered || other || covered.iter().any(comes_back), "{line}");
            }
            "indirect-call" => {
                assert!(covered.iter().any(|(_, insn)| insn.name.starts_with("call")), "{line}");
            }
            "system-call" => assert!(syscall, "{line}"),
            // Nor into what stands behind the end of a way.
            "window-end" => {
                let stops = |&(from, insn): &(u64, &Insn)| {
                    let ways = ["ret", "jmp", "rep", "notrack", "bnd", "ud2", "hlt"];
                    from + insn.len < window.end
                        && ways.iter().any(|way| insn.name.starts_with(way))
                };
                assert!(ends || covered.iter().any(stops), "{line}");
            }
            // Where the flags are read again, they would have to be kept below it.
            "no-stack" => {
                let mut whole = insns.range(function(at).expect("a function"));
                assert!(whole.any(|(_, insn)| insn.odd_stack), "{line}");
            }
            "unknown-function" => assert_eq!(end, 0, "{line}"),
            "window-instruction" => assert!(covered.len() > 1 && !syscall, "{line}"),
            _ => assert_eq!(verdict["reason"], why, "{line}"),
        }
    }
    for (why, least) in
        [("jump", 10_000), ("entered", 100), ("system-call", 20), ("window-end", 20)]
    {
        assert!(seen.get(why).is_some_and(|&n| n >= least), "{why}: {seen:?}");
    }
}
