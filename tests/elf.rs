//! An object's functions and instruction boundaries, as binutils sees them: xol's own reader is
//! what is being tested.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An object file.
#[derive(Clone, Debug)]
pub struct Object {
    /// Where it is.
    pub path: PathBuf,
    /// (address, offset, size) of each loaded segment that can be executed.
    text: Vec<(u64, u64, u64)>,
}

/// One name for a function's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name without a version.
    pub name: String,
    /// Its address in the file.
    pub addr: u64,
    /// Its size; 0 where the symbol does not say.
    pub size: u64,
    /// Whether what stands there chooses the function instead of being it.
    pub ifunc: bool,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Insn {
    /// Its address in the file.
    pub addr: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What objdump calls it.
    pub text: String,
}

impl Object {
    /// Reads the program headers of `path`.
    ///
    /// # Panics
    /// If readelf does not understand it.
    #[must_use]
    pub fn open(path: impl Into<PathBuf>) -> Object {
        let path = path.into();
        let text = tool("readelf", &["-lW"], &path)
            .lines()
            .filter_map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let load = words.first() == Some(&"LOAD") && words[6..].concat().contains('E');
                load.then(|| (hex(words[2]), hex(words[1]), hex(words[4])))
            })
            .collect();
        Object { path, text }
    }

    /// The C library that this process uses itself.
    ///
    /// # Panics
    /// If there is none in its maps.
    #[must_use]
    pub fn libc() -> Object {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc is mounted");
        let line = maps.lines().find(|line| line.ends_with("/libc.so.6"));
        let line = line.unwrap_or_else(|| panic!("no libc.so.6 in\n{maps}"));
        Object::open(&line[line.find('/').expect("it ends with a path")..])
    }

    /// The offset in the file of the code at `addr`.
    #[must_use]
    pub fn offset(&self, addr: u64) -> Option<u64> {
        self.text
            .iter()
            .find(|(at, _, size)| (*at..at + size).contains(&addr))
            .map(|(at, offset, _)| addr - at + offset)
    }

    /// Every function symbol of its own, from .symtab where there is one, and .dynsym.
    ///
    /// # Panics
    /// If readelf does not understand it.
    #[must_use]
    pub fn functions(&self) -> Vec<Function> {
        let mut functions = BTreeMap::new();
        for line in tool("readelf", &["-sW"], &self.path).lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let &[_, addr, size, kind, _, _, section, name, ..] = words.as_slice() else {
                continue;
            };
            if !matches!(kind, "FUNC" | "IFUNC") || section == "UND" {
                continue;
            }
            let (name, addr) = (name.split('@').next().unwrap_or(name), hex(addr));
            let size = size.strip_prefix("0x").map_or_else(|| size.parse().unwrap_or(0), hex);
            let function = Function { name: name.to_owned(), addr, size, ifunc: kind == "IFUNC" };
            if self.offset(addr).is_some() {
                functions.insert((addr, name.to_owned()), function);
            }
        }
        functions.into_values().collect()
    }

    /// Every instruction that objdump sees, in the order of addresses.
    ///
    /// # Panics
    /// If objdump does not understand it.
    #[must_use]
    pub fn instructions(&self) -> Vec<Insn> {
        let listing = tool("objdump", &["-dw"], &self.path);
        let insns = listing.lines().filter_map(|line| {
            let mut fields = line.split('\t');
            let addr = fields.next()?.trim().strip_suffix(':')?;
            let addr = u64::from_str_radix(addr, 16).ok()?;
            let bytes =
                fields.next()?.split_whitespace().map(number).collect::<Option<Vec<_>>>()?;
            let bytes = bytes.concat();
            let text = fields.next().unwrap_or("").trim().to_owned();
            let insn = !["(bad)", ".word", ".inst", "udf"].iter().any(|no| text.starts_with(no));
            insn.then_some(Insn { addr, bytes, text })
        });
        insns.collect()
    }
}

/// The bytes of a number as objdump prints it: single ones for x86-64, words for arm64.
fn number(digits: &str) -> Option<Vec<u8>> {
    let word = u32::from_str_radix(digits, 16).ok()?;
    Some(word.to_le_bytes()[..digits.len() / 2].to_vec())
}

/// A number written in hexadecimal, with or without 0x.
fn hex(text: &str) -> u64 {
    let digits = text.trim_start_matches("0x");
    u64::from_str_radix(if digits.is_empty() { "0" } else { digits }, 16).unwrap_or(0)
}

/// What one of the binutils says about `path`.
fn tool(name: &str, options: &[&str], path: &Path) -> String {
    let output = Command::new(name).args(options).arg(path).env("LC_ALL", "C").output();
    let output = output.unwrap_or_else(|e| panic!("{name}: {e}: install binutils"));
    assert!(
        output.status.success(),
        "{name} {}: {}",
        path.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `n` of `all`, chosen by `seed` and in their old order.
#[must_use]
pub fn sample<T: Clone>(all: &[T], n: usize, seed: u64) -> Vec<T> {
    // splitmix64: any seed will do, and the choice is the same on every machine.
    let mut state = seed;
    let mut random = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut left = n.min(all.len());
    let mut chosen = Vec::with_capacity(left);
    for (at, item) in all.iter().enumerate() {
        if random() % ((all.len() - at) as u64) < left as u64 {
            chosen.push(item.clone());
            left -= 1;
        }
    }
    chosen
}

/// What this kernel accepts as a uprobe but does not hit, or why it refuses it, from the
/// instruction's own bytes: prefixes that uprobes decode wrongly, on x86-64.
#[must_use]
pub fn kernel_blind_spot(insn: &Insn) -> Option<&'static str> {
    if std::env::consts::ARCH != "x86_64" {
        return None;
    }
    for byte in &insn.bytes {
        match byte {
            0xf0 => return Some("LOCK prefix"),
            0x2e => return Some("CS prefix"),
            0xc4 | 0xc5 => return Some("VEX"),
            0x62 => return Some("EVEX"),
            0x66 | 0xf2 | 0xf3 | 0x64 | 0x65 | 0x36 | 0x3e | 0x26 | 0x40..=0x4f => {}
            _ => return None,
        }
    }
    None
}
