//! Each check for a second of mutated input, from seeds that mean something to it;
//! `XOL_SECONDS=N` gives it more.

use std::time::{Duration, Instant};

use xol::record::{Gaps, Probed, Record, Recorded, Recorder};
use xol::report::End;
use xol::spec::{Arg, Signature, Type};
use xol::trace::{Moment, Value};
use xol_arch::arm64::Arm64;
use xol_arch::x86_64::X86_64;
use xol_checks::{displaced, objects, plans, probes, recordings};

/// SplitMix64
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// A second of seeds, each with a few bytes changed, taken out or put in, behind `head` random
/// bytes. A failure names the input.
fn for_a_second(seeds: &[Vec<u8>], head: usize, check: fn(&[u8]) -> bool) {
    assert!(!seeds.is_empty());
    let (start, mut rng, mut count, mut meant) = (Instant::now(), Rng(1), 0_u64, 0);
    let seconds = std::env::var("XOL_SECONDS").map_or(1, |n| n.parse().expect("a number"));
    while start.elapsed() < Duration::from_secs(seconds) {
        let mut input: Vec<u8> = (0..head).map(|_| rng.next() as u8).collect();
        let seed = rng.below(seeds.len());
        input.extend(&seeds[seed]);
        for _ in 0..rng.below(5) {
            // Files have what matters at their ends.
            let len = input.len() - head;
            let at = match rng.below(4) {
                0 => len - rng.below(len.min(4096)) - usize::from(len > 0),
                1 | 2 => rng.below(len.min(1024)),
                _ => rng.below(len),
            };
            let at = head + at.min(len);
            match rng.below(6) {
                0 if input.len() > head + 1 => drop(input.remove(at)),
                1 => input.insert(at, rng.next() as u8),
                2 => input.truncate(at.max(head)),
                3 => {
                    let other = rng.below(seeds.len());
                    input.extend(&seeds[other]);
                }
                _ => {
                    if let Some(byte) = input.get_mut(at) {
                        *byte ^= 1 << rng.below(8);
                    }
                }
            }
        }
        let told = Told(&input);
        meant += u64::from(check(&input));
        std::mem::forget(told);
        count += 1;
    }
    println!("{count} inputs, {meant} of them with a meaning");
    assert!(meant * 50 > count, "{meant} of {count} mean something");
}

/// Dropped only while a check panics.
struct Told<'a>(&'a [u8]);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        let shown = &self.0[..self.0.len().min(4096)];
        eprintln!("input of {} bytes: {shown:02x?}", self.0.len());
    }
}

/// The first column of plan tables: words, or bytes with spaces between them.
fn rows(tables: &[&str], words: bool) -> Vec<Vec<u8>> {
    let lines = tables.iter().flat_map(|table| table.lines());
    let rows = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let hex = |text: &str| u32::from_str_radix(text, 16).ok();
    rows.filter_map(|line| {
        let column = line.split(';').next()?.split_whitespace();
        let row: Vec<u8> = if words {
            column.filter_map(hex).flat_map(u32::to_le_bytes).collect()
        } else {
            column.filter_map(hex).map(|byte| byte as u8).collect()
        };
        (!row.is_empty()).then_some(row)
    })
    .collect()
}

fn arm64() -> Vec<Vec<u8>> {
    rows(
        &[
            include_str!("../../arch/arm64/cases/branches.txt"),
            include_str!("../../arch/arm64/cases/copies.txt"),
            include_str!("../../arch/arm64/cases/literals.txt"),
            include_str!("../../arch/arm64/cases/rejects.txt"),
        ],
        true,
    )
}

fn x86_64() -> Vec<Vec<u8>> {
    rows(
        &[
            include_str!("../../arch/x86_64/cases/branches.txt"),
            include_str!("../../arch/x86_64/cases/calls.txt"),
            include_str!("../../arch/x86_64/cases/copies.txt"),
            include_str!("../../arch/x86_64/cases/leaving.txt"),
            include_str!("../../arch/x86_64/cases/rejects.txt"),
            include_str!("../../arch/x86_64/cases/rip_relative.txt"),
        ],
        false,
    )
}

#[test]
fn arm64_plans() {
    for_a_second(&arm64(), 8, plans::check::<Arm64>);
}

#[test]
fn x86_64_plans() {
    for_a_second(&x86_64(), 8, plans::check::<X86_64>);
}

#[test]
fn arm64_displaced() {
    for_a_second(&arm64(), 16, displaced::check::<Arm64>);
}

#[test]
fn x86_64_displaced() {
    for_a_second(&x86_64(), 16, displaced::check::<X86_64>);
}

#[test]
fn files() {
    // Small ones of both architectures; the second comes with a cross compiler.
    let paths = ["/usr/bin/true", "/usr/aarch64-linux-gnu/lib/libdl.so.2"];
    let seeds: Vec<_> = paths.iter().filter_map(|path| std::fs::read(path).ok()).collect();
    for_a_second(&seeds, 0, objects::check);
}

/// A recording of calls, which return, and of hits.
fn recording(calls: u64) -> Vec<u8> {
    let run = Recorded { probes: vec!["f(s: str) -> i32".into()], ..Recorded::default() };
    let mut recorder = Recorder::new(Vec::new(), &run).expect("a Vec takes all");
    let arg = Arg::new("s", Type::Str);
    let signature = Signature { args: vec![arg], open: false, ret: Some(Type::I32) };
    let probed = || Probed { signature: Some(signature.clone()), ..Probed::default() };
    for n in 0..calls {
        let args =
            [if n % 2 == 0 { Value::Text(vec![b'a'; 9], n % 3 == 0) } else { Value::Bad(n) }];
        let (tid, ret) = (7 + (n % 2) as i32, Value::Bits(n));
        let begins = Record {
            moment: Moment::Begins(n),
            ts_ns: n * 1000,
            pid: 7,
            tid,
            comm: Some("name"),
            row: 3,
            addr: 0x1000,
            args: &args,
            ret: None,
            errno: None,
            duration_ns: None,
            missed: false,
        };
        let ends = Record {
            moment: Moment::Ends(n, End::Return),
            ret: Some(&ret),
            errno: Some(2),
            duration_ns: Some(50),
            ..begins
        };
        for record in [begins, ends, Record { moment: Moment::Hit, row: 1, ..begins }] {
            recorder.event(&record, probed).expect("a Vec takes all");
        }
        recorder.tick(n * 1000).expect("a Vec takes all");
    }
    recorder.finish(&Gaps { unread: 1, rows: vec![(1, "f".into())] }).expect("a Vec takes all")
}

#[test]
fn recordings() {
    for_a_second(&[recording(0), recording(2), recording(9)], 0, recordings::check);
}

#[test]
fn texts() {
    let seeds = [
        "malloc",
        "libc:mem*",
        "open(path: str, flags: hex) -> i32",
        "./app:main+0x10",
        "'libc:*+*'",
        "app.c:42",
        "usdt:libc:setjmp",
        "return:libc:read",
        "uprobe:/lib/libc.so.6:read",
        "std::vec::Vec<T>::push",
        "=operator[]",
        "memcpy@@GLIBC_2.14",
        "read@plt",
    ];
    let seeds: Vec<_> = seeds.iter().map(|text| text.as_bytes().to_vec()).collect();
    for_a_second(&seeds, 0, probes::check);
}
