//! `jump-cover PID…`: of every object that is mapped in the processes, how many function entries
//! and instructions can be replaced by a jump, each alone, as `xol plan` says and in the holes of
//! that address space; and how many pages the landing places of all entries need. With `arm64
//! FILE…` instead: of files, where no jump is constrained. Never a test.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Instant;

use xol::landing::Landings;
use xol::symbols::{Machine, Object};
use xol_arch::arm64::Arm64;
use xol_arch::jump::{Reach, Window};
use xol_arch::x86_64::X86_64;
use xol_arch::{Addr, Arch, Reason, Rules};

const HEAD: &str = "| object | what | number | as planned | with an address | why not |\n\
                    |---|---|---|---|---|---|";

/// What was counted over some sites.
#[derive(Default)]
struct Tally {
    sites: u64,
    windows: u64,
    placed: u64,
    reasons: BTreeMap<&'static str, u64>,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    println!("{HEAD}");
    if words.first().is_some_and(|word| word == "arm64") {
        for path in &words[1..] {
            let object = Object::open(path).expect("an object");
            // No jump is constrained: no hole is asked for.
            cover::<Arm64>(path, &object, 0, &[]);
        }
        return;
    }
    for pid in &words {
        process(pid);
    }
}

fn process(pid: &str) {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("a process");
    let holes = holes(&maps);
    let mut seen = BTreeSet::new();
    let mut entries = Vec::new();
    for line in maps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [range, _, "00000000", _, _, path] = words[..] else { continue };
        if !path.starts_with('/') || !seen.insert(path) {
            continue;
        }
        let Ok(object) = Object::open(path) else { continue };
        if object.machine() != Machine::X86_64 {
            continue;
        }
        let first = object.segments().iter().map(|s| s.vaddr & !4095).min().unwrap_or(0);
        let start = range.split('-').next().and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let bias = start.expect("a range").wrapping_sub(first);
        let windows = cover::<X86_64>(path, &object, bias, &holes);
        entries.extend(windows);
    }
    pages(&entries, &holes);
}

/// Free ranges, but for what may grow and the lowest megabyte.
fn holes(maps: &str) -> Vec<Range<u64>> {
    let mut holes = Vec::new();
    let mut free = 0x10_0000;
    for line in maps.lines() {
        let range = line.split(' ').next().unwrap_or_default();
        let (start, end) = range.split_once('-').expect("a range");
        let number = |hex| u64::from_str_radix(hex, 16).expect("a number");
        let grows = if line.ends_with("[heap]") { 1 << 30 } else { 0 };
        let start =
            number(start).saturating_sub(if line.ends_with("[stack]") { 1 << 28 } else { 0 });
        if free < start {
            holes.push(free..start);
        }
        free = free.max(number(end) + grows);
    }
    holes.retain(|hole| hole.end < 1 << 47);
    holes
}

/// Prints two rows; the windows of the entries.
fn cover<A: Arch>(path: &str, object: &Object, bias: u64, holes: &[Range<u64>]) -> Vec<Window> {
    let symbols = object.symbols().expect("symbols");
    // Where there is no symbol the unwind table says where functions begin.
    let all = std::iter::successors(Some(0), |&addr| Some(symbols.next_start(addr)))
        .take_while(|&addr| addr < u64::MAX);
    let named = symbols.iter().map(|(_, symbol)| symbol.addr);
    let starts: BTreeSet<u64> =
        all.chain(named).filter(|addr| symbols.code_around(*addr).is_some()).collect();
    let (mut entries, mut all) = (Tally::default(), Tally::default());
    let mut windows = Vec::new();
    let mut done = Addr(0);
    for &start in &starts {
        let Ok(Some(function)) = object.function::<A>(start) else { continue };
        let can = |at: Addr, tally: &mut Tally| {
            let rules = Rules::default();
            let window = function.window::<A>(at, rules, object, 0);
            let alone = |why| function.window_alone::<A>(at, rules, object, 0).map_err(|_| why);
            let mut window = window.or_else(alone);
            if let Ok(window) = &mut window {
                window.at = at.add(bias);
            }
            tally.add(window, holes)
        };
        windows.extend(can(Addr(start), &mut entries));
        // Functions that overlap are walked once.
        let (mut at, end) = function.range();
        if at < done {
            continue;
        }
        done = end;
        while at < end {
            can(at, &mut all);
            let len = A::length(&function.text(), at);
            at = at.add(len.map_or(A::INSN_ALIGN, |len| len as u64));
        }
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    entries.row(name, "entries");
    all.row(name, "instructions");
    windows
}

impl Tally {
    fn add(&mut self, window: Result<Window, Reason>, holes: &[Range<u64>]) -> Option<Window> {
        self.sites += 1;
        let window = match window {
            Ok(window) => window,
            Err(reason) => {
                *self.reasons.entry(reason.id()).or_default() += 1;
                return None;
            }
        };
        self.windows += 1;
        self.placed += u64::from(has_place(&window.reach(), holes));
        Some(window)
    }

    fn row(&self, name: &str, what: &str) {
        let share = |n: u64| format!("{:.2} %", 100.0 * n as f64 / self.sites.max(1) as f64);
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
        let reasons: Vec<_> =
            reasons.iter().take(5).map(|(id, n)| format!("{id} {}", share(**n))).collect();
        println!(
            "| {name} | {what} | {} | {} | {} | {} |",
            self.sites,
            share(self.windows),
            share(self.placed),
            reasons.join(", ")
        );
    }
}

/// Whether some address in a hole will do, its page whole and the place in one page.
fn has_place(reach: &Reach, holes: &[Range<u64>]) -> bool {
    let whole = |at: Addr| at.0 & 4095 <= 4091;
    let free = |at: Addr| whole(at) && holes.iter().any(|hole| hole.contains(&at.0));
    let place = |hole: &Range<u64>| {
        let (mut from, end) = (hole.start.next_multiple_of(4096), hole.end & !4095);
        loop {
            let at = reach.next(Addr(from), Addr(end))?;
            if whole(at) {
                return Some(at);
            }
            from = at.0 + 1;
        }
    };
    reach.is_free() || holes.iter().find_map(place).is_some_and(|at| reach.others(at).all(free))
}

/// Pages for 10,000 of the entries.
fn pages(windows: &[Window], holes: &[Range<u64>]) {
    let step = (windows.len() / 10_000).max(1);
    let some: Vec<&Window> = windows.iter().step_by(step).take(10_000).collect();
    let jumps: Vec<Reach> =
        some.iter().map(|window| window.reach()).filter(|reach| !reach.is_free()).collect();
    // Trampolines in the middle of the text would reach everything; somewhere near will do.
    let begun = Instant::now();
    let mut landings = Landings::new(holes.iter().cloned());
    let places = landings.place_all(&jumps, 0..1 << 47);
    let placed = places.iter().flatten().count();
    println!(
        "\nof {} entries {} are constrained; {placed} have a landing place, in {} pages of the \
         address space and {} of memory; {:.1} ms",
        some.len(),
        jumps.len(),
        landings.pages().count(),
        landings.backings(),
        begun.elapsed().as_secs_f64() * 1e3
    );
}
