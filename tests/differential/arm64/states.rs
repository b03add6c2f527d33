//! Random registers and memory: random bits, and values that mean something to the instruction.

use xol_arch::arm64::Registers;

use super::enter::{has_pauth, sign};
use super::{Hardware, Vectors, instructions};
use crate::cpu::{Layout, State, WINDOW};
use crate::rng::Rng;

/// NZCV.
const FLAGS: u64 = 0xf << 28;
/// BTYPE, which outside guarded pages may be anything.
const BTYPE: u64 = 3 << 10;

/// A state for the instruction.
pub(super) fn random(rng: &mut Rng, layout: &Layout, word: u32) -> State<Hardware> {
    let stack = layout.windows[1];
    let mut regs = Registers { pc: layout.site.0, ..Registers::default() };
    for n in 0..31 {
        regs.x[n] = value(rng, layout);
    }
    regs.sp = match rng.below(10) {
        0 => value(rng, layout),
        1 => stack.add(16 * rng.below(4)).0,
        2 => stack.add(WINDOW as u64 - rng.below(64)).0,
        _ => stack.add(256 + 16 * rng.below(200)).0,
    };
    let kept = if layout.guarded { FLAGS } else { FLAGS | BTYPE };
    regs.pstate = rng.next() & kept;
    // qemu 7.2 forgets to clear BTYPE after some system instructions and calls.
    if matches!(word >> 24, 0xd4 | 0xd5) {
        regs.pstate &= FLAGS;
    }
    // System calls without an effect, and numbers that do not exist.
    if word == 0xd400_0001 {
        regs.x[8] = *rng.choose(&[172, 173, 174, 178, 5000, u64::MAX, 1 << 30]);
    }
    aim(rng, layout, word, &mut regs);
    let memory = vec![window(rng, layout), window(rng, layout)];
    State { regs, vectors: vectors(rng), memory }
}

/// Lets a branch go somewhere mostly, signed as it expects it.
fn aim(rng: &mut Rng, layout: &Layout, word: u32, regs: &mut Registers) {
    let Some((register, signed)) = instructions::target(word) else { return };
    if rng.one_in(8) || register == 31 {
        return;
    }
    let mut to = instructions::somewhere(rng, layout).0;
    if rng.one_in(8) {
        to |= rng.next() << 56;
    }
    regs.set(register, to);
    if let Some((key_b, modifier)) = signed
        && has_pauth()
        && !rng.one_in(4)
    {
        let modifier = match modifier {
            None => 0,
            Some(31) => regs.sp,
            Some(n) => regs.get(n),
        };
        regs.set(register, sign(to, modifier, key_b));
    }
}

/// A general register's value.
fn value(rng: &mut Rng, layout: &Layout) -> u64 {
    let [data, stack] = layout.windows;
    match rng.below(16) {
        0 | 1 => rng.next(),
        2 => rng.below(256),
        3 => rng.below(256).wrapping_neg(),
        4 => 1 << rng.below(64),
        5 => u64::from(rng.next() as u32),
        6 | 7 => instructions::somewhere(rng, layout).0,
        8 => data.add(WINDOW as u64).offset(-(rng.below(64) as i64)).0,
        9 => stack.add(8 * rng.below(512)).0,
        10 => data.add(rng.below(WINDOW as u64)).0,
        11 => data.add(64 * rng.below(64)).0 | rng.next() << 56,
        _ => data.add(64 * rng.below(64)).0,
    }
}

fn window(rng: &mut Rng, layout: &Layout) -> Vec<u8> {
    let mut bytes = vec![0; WINDOW];
    rng.fill(&mut bytes);
    for doubleword in bytes.chunks_exact_mut(8) {
        if rng.one_in(4) {
            doubleword.copy_from_slice(&value(rng, layout).to_le_bytes());
        }
    }
    bytes
}

fn vectors(rng: &mut Rng) -> Vectors {
    let mut vectors = Vectors::default();
    for z in &mut vectors.z {
        match rng.below(4) {
            0 => {}
            1 => rng.fill(z),
            2 => {
                let floats = [0x3f80_0000, 0xbf80_0000, 0x7f80_0000, 0x7fc0_0000, 1, 0x4048_f5c3];
                for lane in z.chunks_exact_mut(4) {
                    lane.copy_from_slice(&u32::to_le_bytes(*rng.choose(&floats)));
                }
            }
            _ => {
                for lane in z.chunks_exact_mut(8) {
                    lane.copy_from_slice(&f64::to_le_bytes(rng.next() as i32 as f64 / 7.0));
                }
            }
        }
    }
    for p in &mut vectors.p {
        match rng.below(3) {
            0 => *p = [0xff; 4],
            1 => *p = [0x11; 4],
            _ => rng.fill(p),
        }
    }
    // FFR holds ones below zeros.
    let ones = (1_u64 << rng.below(33)) - 1;
    vectors.p[16] = (ones as u32).to_le_bytes();
    if rng.one_in(4) {
        // Rounding, flushing, default NaN; what went wrong before.
        vectors.fpcr = rng.next() as u32 & 0x07c0_0000;
        vectors.fpsr = rng.next() as u32 & 0x0800_009f;
    }
    vectors
}

/// One thing less each: a register zero, the vectors as after a start, a window empty.
pub(super) fn simpler(state: &State<Hardware>) -> Vec<State<Hardware>> {
    let mut all = Vec::new();
    let mut add = |change: &dyn Fn(&mut State<Hardware>)| {
        let mut simpler = state.clone();
        change(&mut simpler);
        if simpler != *state {
            all.push(simpler);
        }
    };
    add(&|state| state.vectors = Vectors::default());
    add(&|state| state.memory = vec![vec![0; WINDOW]; 2]);
    for n in 0..31 {
        add(&|state: &mut State<Hardware>| state.regs.x[n] = 0);
    }
    add(&|state| state.regs.pstate = 0);
    all
}
