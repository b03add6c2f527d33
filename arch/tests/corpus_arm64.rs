//! Every instruction of real objects, as objdump splits them: nearly all have a plan, what is
//! simulated goes where objdump says, and what a relocated copy does is what was planned.
//!
//! `XOL_CORPUS_ARM64=/path/a:/path/b` measures other objects; `-- --nocapture` prints the tables.
#![cfg(all(feature = "arm64", feature = "text"))]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use xol_arch::arm64::{Arm64, Effect};
use xol_arch::{Addr, Arch, Code, Flow, Plan, Reason, Rules, Text};

mod judges;

/// Names that our text (yaxpeax's, but for what depends on its address) and objdump's give the
/// same instruction; `None` is any of objdump's.
const NAMES: &[(&str, Option<&str>, &str)] = &[
    ("b.hs", Some("b.cs"), "the condition's other name"),
    ("b.lo", Some("b.cc"), "the condition's other name"),
    ("ushll", Some("uxtl"), "an alias: a shift by nothing"),
    ("ushll2", Some("uxtl2"), "an alias: a shift by nothing"),
    ("sshll", Some("sxtl"), "an alias: a shift by nothing"),
    ("sshll2", Some("sxtl2"), "an alias: a shift by nothing"),
    ("mov", Some("dup"), "yaxpeax calls a DUP of an element MOV"),
    (".inst", None, "SVE and MOPS, which yaxpeax does not know"),
];

/// One line of objdump.
struct Line {
    at: Addr,
    word: u32,
    text: String,
}

/// What was counted over one object.
#[derive(Default)]
struct Tally {
    instructions: usize,
    /// What objdump shows outside every function: hand-written objects keep tables there.
    outside: usize,
    planned: usize,
    words: BTreeMap<&'static str, usize>,
    rejects: BTreeMap<&'static str, Vec<String>>,
    wrong: Vec<String>,
    /// Names that we and objdump give the same instruction: how often, and an example.
    names: BTreeMap<(String, String), (usize, String)>,
}

#[test]
fn every_instruction_of_real_objects_has_a_plan() {
    for object in judges::objects() {
        let tally = measure(&object);
        print(&object, &tally);
        assert!(tally.instructions > 10_000, "{}: objdump told nothing", object.display());
        let listed = |ours: &str, theirs: &str| {
            NAMES.iter().any(|(a, b, _)| *a == ours && b.is_none_or(|b| b == theirs))
        };
        let unlisted: Vec<_> = tally.names.iter().filter(|((a, b), _)| !listed(a, b)).collect();
        assert!(unlisted.is_empty(), "{}: {unlisted:#?}", object.display());
        assert!(tally.wrong.is_empty(), "{}: {:#?}", object.display(), tally.wrong);
        assert!(
            tally.planned * 1000 >= tally.instructions * 999,
            "{}: only {} of {} planned",
            object.display(),
            tally.planned,
            tally.instructions
        );
    }
}

fn measure(object: &Path) -> Tally {
    let mut tally = Tally::default();
    let code = code_ranges(object);
    assert!(!code.is_empty(), "{}: readelf tells no frames", object.display());
    for function in functions(object) {
        let bytes: Vec<_> = function.iter().flat_map(|line| line.word.to_le_bytes()).collect();
        let text = Text::new(function[0].at, &bytes);
        for line in &function {
            let inside = code.range(..=line.at).next_back().is_some_and(|(_, end)| line.at < *end);
            if inside {
                judge(&text, line, &mut tally);
            } else {
                tally.outside += 1;
            }
        }
    }
    tally
}

fn judge(text: &Text<'_>, line: &Line, tally: &mut Tally) {
    // Padding and tables among the code.
    let data = line.text.starts_with("udf") || line.text.starts_with(".inst");
    if data {
        return;
    }
    tally.instructions += 1;
    let shown = || format!("{} {:08x} {}", line.at, line.word, line.text);
    let flow = Arm64::flow(text, line.at);
    if flow.is_ok_and(|flow| flow != (flow_of(&line.text), 4)) {
        tally.wrong.push(format!("{}: {flow:?}", shown()));
    }
    match Arm64::plan(text, line.at, Rules::default()) {
        Ok(plan) => {
            tally.planned += 1;
            let mut ours = String::new();
            let _ = Arm64::disassemble(text, line.at, &mut ours);
            let [ours, theirs] = [&ours, &line.text].map(|text| name(text).to_owned());
            if ours != theirs {
                tally.names.entry((ours, theirs)).or_insert((0, line.text.clone())).0 += 1;
            }
            *tally.words.entry(plan.word()).or_default() += 1;
            if let Err(why) = relocates(text, line.at, &plan) {
                tally.wrong.push(format!("{}: {why}", shown()));
            }
            if let Some(effect) = plan.effect
                && let Err(why) = agrees(text, effect, line)
            {
                tally.wrong.push(format!("{}: {why}", shown()));
            }
        }
        Err(reject) => {
            if reject.reason == Reason::Undecodable {
                tally.wrong.push(format!("{}: undecodable", shown()));
            }
            tally.rejects.entry(reject.reason.id()).or_default().push(shown());
        }
    }
}

/// What is simulated has the name and the address that objdump gives it.
fn agrees(text: &Text<'_>, effect: Effect, line: &Line) -> Result<(), String> {
    let mut ours = String::new();
    Arm64::disassemble(text, line.at, &mut ours).map_err(|_| "no text")?;
    // `b.ls	2819c <__gconv_open+0x2ac>  // b.plast`
    let theirs = line.text.split(" <").next().unwrap_or("").trim();
    let (ours, theirs) = (words(&ours), words(theirs));
    let address = |words: &[String]| u64::from_str_radix(words.last()?, 16).ok();
    let indirect = matches!(
        effect,
        Effect::BranchRegister { .. } | Effect::BranchLinkRegister { .. } | Effect::Return { .. }
    );
    // objdump calls b.hs b.cs and the like.
    let same_name = ours[0] == theirs[0] || ours[0].starts_with("b.");
    let same_end = indirect || address(&ours) == address(&theirs);
    if same_name && same_end { Ok(()) } else { Err(format!("{ours:?}")) }
}

/// The flow of one line of objdump: `tbz w0, #3, 2819c <name+0x10>`.
fn flow_of(text: &str) -> Flow {
    let text = words(text.split(" <").next().unwrap_or(""));
    let there = || {
        let last = text.last().map_or("", String::as_str);
        Addr(u64::from_str_radix(last, 16).unwrap_or(0))
    };
    match text[0].as_str() {
        "b" => Flow::Jump(there()),
        "cbz" | "cbnz" | "tbz" | "tbnz" => Flow::JumpIf(there()),
        name if name.starts_with("b.") || name.starts_with("bc.") => Flow::JumpIf(there()),
        "br" | "braa" | "brab" | "braaz" | "brabz" => Flow::JumpIndirect,
        "bl" => Flow::Call(Some(there())),
        "blr" | "blraa" | "blrab" | "blraaz" | "blrabz" | "svc" | "brk" => Flow::Call(None),
        "ret" if text.len() > 1 => Flow::JumpIndirect,
        "ret" | "retaa" | "retab" => Flow::Return,
        "nop" => Flow::Nop,
        _ => Flow::Next,
    }
}

/// The mnemonic.
fn name(text: &str) -> &str {
    text.split([' ', '\t']).next().unwrap_or("")
}

fn words(text: &str) -> Vec<String> {
    let words = text.split([' ', '\t', ',']).filter(|word| !word.is_empty());
    words.map(|word| word.trim_start_matches("0x").to_owned()).collect()
}

/// From a slot 64 MiB behind, nearly every plan has code, and it ends with a jump to where the
/// instruction goes on.
fn relocates(text: &Text<'_>, at: Addr, plan: &Plan<Arm64>) -> Result<(), String> {
    let slot = at.add(64 << 20);
    let mut code = Code::new();
    let done = match Arm64::relocate(text, at, plan, slot, &mut code) {
        Ok(relocated) => usize::from(relocated.done),
        // A vector literal: no register can hold its address.
        Err(reject) if matches!(plan.effect, Some(Effect::Load { .. })) => {
            return match reject.reason {
                Reason::OutOfReach => Ok(()),
                reason => Err(format!("relocate: {}", reason.id())),
            };
        }
        Err(reject) => return Err(format!("relocate: {reject}")),
    };
    if let Some(tail) = code.get(done..).filter(|tail| !tail.is_empty()) {
        let word = tail.first_chunk().map_or(0, |&bytes| u32::from_le_bytes(bytes));
        let target = slot.add(done as u64).offset(i64::from((word << 6) as i32 >> 4));
        let span = plan.span();
        if word >> 26 != 0b00_0101 || tail.len() != 4 || target != at.add(span.into()) {
            return Err(format!("goes on at {target}"));
        }
    }
    Ok(())
}

fn print(object: &Path, tally: &Tally) {
    for ((ours, theirs), (n, example)) in &tally.names {
        println!("  {n:7} times {ours}, which objdump calls {theirs}: {example}");
    }
    println!(
        "{}: {} instructions, {} lines outside functions",
        object.display(),
        tally.instructions,
        tally.outside
    );
    let share = |n: usize| 100.0 * n as f64 / tally.instructions as f64;
    for (word, n) in &tally.words {
        println!("  {word:24} {n:9} {:8.4}%", share(*n));
    }
    for (reason, lines) in &tally.rejects {
        println!("  reject {reason:17} {:9} {:8.4}%", lines.len(), share(lines.len()));
        for line in lines.iter().take(5) {
            println!("      {line}");
        }
    }
}

/// Runs of consecutive lines of objdump's: a function, where there are symbols.
fn functions(object: &Path) -> Vec<Vec<Line>> {
    let objdump =
        if cfg!(target_arch = "aarch64") { "objdump" } else { "aarch64-linux-gnu-objdump" };
    let output = Command::new(objdump)
        .args(["-d", "-w"])
        .arg(object)
        .output()
        .expect("objdump for arm64 (binutils-aarch64-linux-gnu) is needed");
    let mut functions: Vec<Vec<Line>> = Vec::new();
    let mut next = Addr(0);
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        // `   280f8:	91174320 	add	x0, x25, #0x5d0`
        let Some(line) = parse(line) else {
            next = Addr(0);
            continue;
        };
        if line.at != next || functions.is_empty() {
            functions.push(Vec::new());
        }
        next = line.at.add(4);
        if let Some(function) = functions.last_mut() {
            function.push(line);
        }
    }
    functions
}

/// What the unwind tables say is code: start to end.
fn code_ranges(object: &Path) -> BTreeMap<Addr, Addr> {
    let output = Command::new("readelf")
        .arg("-wF")
        .arg(object)
        .output()
        .expect("readelf (binutils) is needed");
    // `00000018 0000000000000014 0000001c FDE cie=00000000 pc=0000000000027810..0000000000027832`
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_once(" pc=")?.1.split_once(".."))
        .filter_map(|(start, end)| {
            let hex = |text: &str| u64::from_str_radix(text.trim(), 16).ok().map(Addr);
            Some((hex(start)?, hex(end)?))
        })
        .collect()
}

fn parse(line: &str) -> Option<Line> {
    let (at, rest) = line.split_once(":\t")?;
    let (word, text) = rest.split_once('\t')?;
    Some(Line {
        at: Addr(u64::from_str_radix(at.trim(), 16).ok()?),
        word: u32::from_str_radix(word.trim(), 16).ok()?,
        text: text.replace('\t', " "),
    })
}
