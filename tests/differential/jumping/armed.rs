//! A function with a jump in it.

use crate::Hardware;
use crate::calls::{self, Function};
use crate::cpu::Cpu;
use std::collections::BTreeMap;
use xol::landing::Landings;
use xol_arch::jump::{Features, Order, Record, Side, Trampoline, Window, build};
use xol_arch::{Addr, Arch, Code, Reason, Rules, Text};
use xol_targets::shared::Shared;

/// The architecture at hand.
pub type Native = <Hardware as Cpu>::Arch;

const PAGE: usize = 4096;
/// Where the trampoline is, from the function on.
const TRAMPOLINE: u64 = 2048;

/// A function in this process, and the same with a jump.
#[derive(Debug)]
pub struct Armed {
    /// As it was.
    pub twin: Function,
    /// With the jump.
    pub probed: Function,
    /// Where the latter is.
    pub at: Addr,
    /// Where the jump leads to in the end.
    pub trampoline: Trampoline,
    /// What it replaces.
    pub window: Window,
    /// Whether it goes there by a landing place.
    pub landing: bool,
    /// What the jump stands in, and where.
    pub text: (Shared, usize),
}

/// `x + 1`, whose first instructions are what compilers begin functions with.
#[cfg(target_arch = "x86_64")]
pub const PLUS_ONE: &[u8] = &[
    0x55, // push rbp
    0x48, 0x89, 0xe5, // mov rbp, rsp
    0x48, 0x8d, 0x47, 0x01, // lea rax, [rdi+1]
    0x5d, // pop rbp
    0xc3, // ret
];
/// `x + 1`
#[cfg(target_arch = "aarch64")]
pub const PLUS_ONE: &[u8] = &[
    0x5f, 0x24, 0x03, 0xd5, // bti c
    0x00, 0x04, 0x00, 0x91, // add x0, x0, #1
    0xc0, 0x03, 0x5f, 0xd6, // ret
];

/// Makes `code` a function and puts a jump at its beginning. `records` are at offsets of the
/// window. On x86-64 it lands on `side` if its last byte must trap, and replaces its instruction alone
/// where none is said; what traps is moved.
///
/// # Panics
/// There is no such jump.
#[must_use]
pub fn arm(
    code: &[u8],
    records: &[Record],
    side: impl Into<Option<Side>>,
    features: Features,
) -> Armed {
    let side = side.into();
    // A constrained jump needs what it can reach to be free: elsewhere, if it is not.
    for round in 0..64 {
        if let Some(armed) = arm_at(round * 0x1f0_6000, code, records, side, features) {
            return armed;
        }
    }
    panic!("no landing place anywhere");
}

fn arm_at(
    below: u64,
    code: &[u8],
    records: &[Record],
    side: Option<Side>,
    features: Features,
) -> Option<Armed> {
    let file = Shared::new(2 * PAGE).expect("memory");
    let twin = calls::executable(&file, 0..PAGE, None)?;
    // Not too far from what is counted.
    let near = (below > 0).then(|| Addr(twin.0 - below));
    let at = calls::executable(&file, PAGE..2 * PAGE, near)?;
    let mut page = code.to_vec();
    page.extend(Native::NOP.repeat(16 / Native::NOP.len()));
    let function = Some((at, at.add(code.len() as u64)));
    let text = Text { function, ..Text::new(at, &page) };
    let mut targets = Vec::new();
    Native::targets(&text, &mut |target| targets.push(target));
    targets.sort();
    let window = match side {
        Some(side) => Native::window(&text, at, Rules::default(), &targets, side),
        None => Native::window_alone(&text, at, Rules::default(), &targets),
    };
    let window = window.expect("a window");
    let order = Order { text: &text, window: &window, rules: Rules::default(), records, features };
    let to = at.add(TRAMPOLINE);
    let trampoline = match build::<Native>(&order, to) {
        Err(reject) if below > 0 && reject.reason == Reason::OutOfReach => return None,
        made => made.expect("a trampoline"),
    };
    let reach = window.reach();
    let mut target = to;
    let landing = !reach.is_free();
    if landing {
        let within = at.0.saturating_sub(1 << 31) + (1 << 20)..at.0 + (1 << 31) - (1 << 20);
        let place = Landings::new(holes()).place(&reach, within)?;
        let mut pages: BTreeMap<u64, Shared> = BTreeMap::new();
        for place in std::iter::once(place.at).chain(reach.others(place.at)) {
            let page = pages.entry(place.align_down(PAGE as u64).0);
            let memory = page.or_insert_with(|| Shared::new(PAGE).expect("memory"));
            let mut jump = Code::new();
            Native::jump(place, to, &mut jump).expect("in reach");
            memory.write(place.0 % PAGE as u64, &jump).expect("within a page");
        }
        for (page, memory) in pages {
            calls::executable(&memory, 0..PAGE, Some(Addr(page)))?;
        }
        target = place.at;
    }
    let mut jump = Code::new();
    window.write::<Native>(target, &mut jump).expect("in reach");
    assert!(window.fits::<Native>(&jump), "{jump:02x?}");
    let offset = window.at.distance_from(at) as usize;
    let shadow = window.shadow();
    for n in (1..window.len).filter(|n| window.traps >> n & 1 != 0) {
        let (byte, last) = (jump[usize::from(n)], shadow.is_some_and(|shadow| shadow.of == n));
        assert!(if last { window.last.bytes().has(byte) } else { byte == 0xcc }, "{jump:02x?}");
        let enter = trampoline.enter(n).expect("its boundaries are in it");
        calls::move_trap(at.add(n.into()), to.add(enter.into()));
    }
    if let Some(shadow) = shadow {
        let enter = trampoline.enter_shadow().expect("it leads somewhere");
        calls::move_trap(at.add(shadow.offset.into()), to.add(enter.into()));
    }
    file.write(0, code).expect("within a page");
    file.write(PAGE as u64, &page).expect("within a page");
    let changed = &jump[..window.changed().into()];
    file.write((PAGE + offset) as u64, changed).expect("within a page");
    file.write(PAGE as u64 + TRAMPOLINE, &trampoline.code).expect("within a page");
    let text = (file, PAGE + offset);
    Some(Armed {
        text,
        twin: Function::at(twin),
        probed: Function::at(at),
        at,
        trampoline,
        window,
        landing,
    })
}

/// What this processor lets programs do.
#[must_use]
pub fn features() -> Features {
    #[cfg(target_arch = "aarch64")]
    return Features { atomics: std::arch::is_aarch64_feature_detected!("lse"), ..Features::ALL };
    #[cfg(target_arch = "x86_64")]
    Features::ALL
}

/// Free ranges of this process, but for what may grow.
fn holes() -> Vec<std::ops::Range<u64>> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc is mounted");
    let mut holes = Vec::new();
    let mut free = 0x10_0000;
    for line in maps.lines() {
        let range = line.split(' ').next().unwrap_or_default();
        let (start, end) = range.split_once('-').expect("a range");
        let number = |hex| u64::from_str_radix(hex, 16).expect("a number");
        let grows = if line.ends_with("[heap]") { 1 << 30 } else { 0 };
        let start = number(start) - if line.ends_with("[stack]") { 1 << 28 } else { 0 };
        if free < start {
            holes.push(free..start);
        }
        free = free.max(number(end) + grows);
    }
    holes.retain(|hole| hole.end < 1 << 47);
    holes
}
