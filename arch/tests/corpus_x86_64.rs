//! Every instruction of real objects, as objdump splits them: the lengths agree, nearly all have
//! a plan, and what a relocated copy does is what was planned.
//!
//! `XOL_CORPUS=/path/a:/path/b` measures other objects; `-- --nocapture` prints the tables.
#![cfg(feature = "x86_64")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use xol_arch::x86_64::X86_64;
use xol_arch::{Addr, Arch, Code, Flow, Plan, Rules, Text};

/// Where Debian and its relatives keep the objects; the first that exists of each line.
const OBJECTS: [&[&str]; 4] = [
    &["/usr/lib/x86_64-linux-gnu/libc.so.6", "/usr/lib64/libc.so.6", "/lib/libc.so.6"],
    &["/usr/lib/x86_64-linux-gnu/libstdc++.so.6", "/usr/lib64/libstdc++.so.6"],
    &["/usr/lib/x86_64-linux-gnu/libcrypto.so.3", "/usr/lib64/libcrypto.so.3"],
    &["/usr/bin/python3", "/usr/bin/perl"],
];

/// One line of objdump.
struct Line {
    at: Addr,
    bytes: Vec<u8>,
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
    /// Where objdump and the decoder disagree on the length.
    lengths: Vec<String>,
    unrelocated: Vec<String>,
}

#[test]
fn every_instruction_of_real_objects_has_a_plan() {
    for object in objects() {
        let tally = measure(&object);
        print(&object, &tally);
        assert!(tally.instructions > 10_000, "{}: objdump told nothing", object.display());
        assert!(
            tally.planned * 1000 >= tally.instructions * 999,
            "{}: only {} of {} planned",
            object.display(),
            tally.planned,
            tally.instructions
        );
        // objdump shows data among the code as instructions too; a handful is theirs.
        assert!(
            tally.lengths.len() * 100_000 <= tally.instructions,
            "{}: {:#?}",
            object.display(),
            tally.lengths
        );
        assert!(tally.unrelocated.is_empty(), "{}: {:#?}", object.display(), tally.unrelocated);
    }
}

/// libc's system calls with a constant number, found in its bytes, are those found in its text.
#[test]
fn constant_system_calls_are_those_of_objdump() {
    let Some(libc) = objects().into_iter().next() else { return };
    let lines = disassembly(&libc);
    // Sections are not contiguous: everything between two gaps by itself.
    let gap = |a: &Line, b: &Line| a.at.add(a.bytes.len() as u64) == b.at;
    let (mut found, mut wanted) = (Vec::new(), Vec::new());
    for part in lines.chunk_by(gap) {
        let bytes: Vec<u8> = part.iter().flat_map(|line| line.bytes.iter().copied()).collect();
        X86_64::syscalls(&Text::new(part[0].at, &bytes), &mut |at, number| {
            found.push((at, number))
        });
        let calls = part.iter().enumerate().filter(|(_, line)| line.text.starts_with("syscall"));
        wanted.extend(calls.filter_map(|(i, line)| Some((line.at, loaded(&part[..i])?))));
    }
    println!("{}: {} system calls with a constant number", libc.display(), found.len());
    assert!(wanted.len() > 100, "{}", wanted.len());
    assert_eq!(found, wanted);
}

/// Where control goes is what objdump's text says.
#[test]
fn flows_are_those_of_objdump() {
    for object in objects() {
        let code = code_ranges(&object);
        let (mut compared, mut wrong) = (0, Vec::new());
        for line in disassembly(&object) {
            if code.range(..=line.at).next_back().is_none_or(|(_, end)| line.at >= *end) {
                continue;
            }
            let ours = X86_64::flow(&Text::new(line.at, &line.bytes), line.at);
            let Ok((ours, length)) = ours else { continue };
            compared += 1;
            if length != line.bytes.len() || ours != flow(&line.text) {
                wrong.push(format!("{} {:02x?} {}: {ours:?}", line.at, line.bytes, line.text));
            }
        }
        println!("{}: {compared} flows", object.display());
        assert!(compared > 10_000 && wrong.is_empty(), "{compared} {wrong:#?}");
    }
}

/// The flow of one line of objdump: `notrack jmp *%rax`, `je     1234 <name+0x10>`.
fn flow(text: &str) -> Flow {
    const PREFIXES: [&str; 12] = [
        "notrack", "bnd", "repz", "repnz", "rep", "data16", "rex.W", "cs", "ds", "es", "ss", "lock",
    ];
    let mut words = text.split_whitespace().skip_while(|word| PREFIXES.contains(word));
    let mnemonic = words.next().unwrap_or("").split(',').next().unwrap_or("");
    let operand = words.next().unwrap_or("");
    let there = || Addr(u64::from_str_radix(operand, 16).unwrap_or(0));
    match mnemonic {
        "jmp" | "ljmp" if operand.starts_with('*') => Flow::JumpIndirect,
        "jmp" => Flow::Jump(there()),
        "xbegin" => Flow::JumpIf(there()),
        _ if mnemonic.starts_with('j') || mnemonic.starts_with("loop") => Flow::JumpIf(there()),
        "call" if !operand.starts_with('*') => Flow::Call(Some(there())),
        "call" | "lcall" | "syscall" | "int3" | "int" | "int1" => Flow::Call(None),
        "ret" => Flow::Return,
        "lret" | "lretq" => Flow::JumpIndirect,
        "hlt" | "ud0" | "ud1" | "ud2" => Flow::Stop,
        "nop" | "nopw" | "nopl" | "xchg" if mnemonic != "xchg" || operand == "%ax,%ax" => Flow::Nop,
        _ => Flow::Next,
    }
}

/// What the nearest of the last twelve lines that matters loads into eax.
fn loaded(lines: &[Line]) -> Option<u64> {
    for line in lines.iter().rev().take(12) {
        let words: Vec<_> = line.text.split_whitespace().collect();
        let [mnemonic, operands @ ..] = &words[..] else { return None };
        let operands = operands.first().copied().unwrap_or("");
        if let Some(number) = operands.strip_suffix(",%eax").and_then(|n| n.strip_prefix("$0x"))
            && *mnemonic == "mov"
        {
            return u64::from_str_radix(number, 16).ok();
        }
        if (*mnemonic, operands) == ("xor", "%eax,%eax") {
            return Some(0);
        }
        let leaves = mnemonic.starts_with('j') || ["call", "ret"].contains(mnemonic);
        if leaves || [",%rax", ",%eax", ",%al"].iter().any(|rax| operands.ends_with(rax)) {
            return None;
        }
    }
    None
}

fn objects() -> Vec<PathBuf> {
    if let Some(list) = std::env::var_os("XOL_CORPUS") {
        return std::env::split_paths(&list).collect();
    }
    let found: Vec<_> = OBJECTS
        .iter()
        .filter_map(|paths| paths.iter().map(PathBuf::from).find(|path| path.exists()))
        .filter(|path| is_x86_64(path))
        .collect();
    // An arm64 host has none of its own; an x86-64 host that has none is a mistake.
    assert!(!found.is_empty() || !cfg!(target_arch = "x86_64"), "no object to measure");
    found
}

/// ELF e_machine 62.
fn is_x86_64(path: &Path) -> bool {
    std::fs::read(path).is_ok_and(|file| file.get(18..20) == Some(&[62, 0]))
}

fn measure(object: &Path) -> Tally {
    let mut tally = Tally::default();
    let code = code_ranges(object);
    assert!(!code.is_empty(), "{}: readelf tells no frames", object.display());
    for line in disassembly(object) {
        if code.range(..=line.at).next_back().is_none_or(|(_, end)| line.at >= *end) {
            tally.outside += 1;
            continue;
        }
        tally.instructions += 1;
        let text = Text::new(line.at, &line.bytes);
        let shown = || format!("{} {:02x?} {}", line.at, line.bytes, line.text);
        match X86_64::length(&text, line.at) {
            Ok(length) if length == line.bytes.len() => {}
            other => tally.lengths.push(format!("{}: {other:?}", shown())),
        }
        match X86_64::plan(&text, line.at, Rules::default()) {
            Ok(plan) => {
                tally.planned += 1;
                *tally.words.entry(plan.word()).or_default() += 1;
                if let Err(why) = relocates(&text, line.at, &plan) {
                    tally.unrelocated.push(format!("{}: {why}", shown()));
                }
            }
            Err(reject) => {
                tally.rejects.entry(reject.reason.id()).or_default().push(shown());
            }
        }
    }
    tally
}

/// From a slot 64 MiB behind, every plan has code, and it ends with a jump to where the
/// instruction goes on.
fn relocates(text: &Text<'_>, at: Addr, plan: &Plan<X86_64>) -> Result<(), String> {
    let slot = at.add(64 << 20);
    let mut code = Code::new();
    let relocated = X86_64::relocate(text, at, plan, slot, &mut code)
        .map_err(|reject| format!("relocate: {reject}"))?;
    let done = usize::from(relocated.done);
    if done < code.len() {
        let rel = <[u8; 4]>::try_from(&code[done + 1..]).map_err(|_| "a long tail")?;
        let target = slot.add(code.len() as u64).offset(i32::from_le_bytes(rel).into());
        if code[done] != 0xe9 || target != at.add(plan.len.into()) {
            return Err(format!("goes on at {target}"));
        }
    }
    if plan.copied.is_some() {
        let mut copy = Code::new();
        X86_64::copy(text, at, plan, slot, &mut copy)
            .map_err(|reject| format!("copy: {reject}"))?;
        if copy.len() != usize::from(plan.len) || !code.starts_with(&copy) {
            return Err("the copy is another".into());
        }
    }
    Ok(())
}

fn print(object: &Path, tally: &Tally) {
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
    for line in &tally.lengths {
        println!("  length: {line}");
    }
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

/// Objdump's lines that have bytes.
fn disassembly(object: &Path) -> Vec<Line> {
    let objdump = if cfg!(target_arch = "x86_64") { "objdump" } else { "x86_64-linux-gnu-objdump" };
    let output = Command::new(objdump)
        .args(["-d", "-w"])
        .arg(object)
        .output()
        .expect("objdump (binutils) is needed");
    // `    1234:\t48 89 e5             \tmov    %rsp,%rbp`
    let line = |line: &str| {
        let mut columns = line.split('\t');
        let at = columns.next()?.trim().strip_suffix(':')?;
        let at = Addr(u64::from_str_radix(at, 16).ok()?);
        let bytes: Option<Vec<_>> = columns
            .next()?
            .split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).ok())
            .collect();
        Some(Line { at, bytes: bytes?, text: columns.next().unwrap_or("").to_owned() })
    };
    String::from_utf8_lossy(&output.stdout).lines().filter_map(line).collect()
}
