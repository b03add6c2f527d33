//! Random registers and memory: random bits, and values that mean something to the instruction.

use iced_x86::Mnemonic;
use xol_arch::Addr;
use xol_arch::x86_64::{Gpr, Registers};

use super::{Hardware, Vectors, instructions, start};
use crate::cpu::{Layout, State, WINDOW};
use crate::rng::Rng;

/// The flags that a signal frame sets: CF PF AF ZF SF DF OF.
const SETTABLE: u64 = 0xcd5;

/// A state for the instruction.
pub(super) fn random(rng: &mut Rng, layout: &Layout, bytes: &[u8]) -> State<Hardware> {
    let [data, stack] = layout.windows;
    let mut regs = start(layout);
    for n in 0..16 {
        regs.set(Gpr::new(n), value(rng, layout));
    }
    regs.rsp = match rng.below(10) {
        0 => value(rng, layout),
        1 => stack.add(rng.below(24)).0,
        2 => stack.add(WINDOW as u64 - rng.below(24)).0,
        3 => stack.add(256 + rng.below(3000)).0,
        _ => stack.add(256 + 8 * rng.below(400)).0,
    };
    if rng.one_in(2) {
        regs.rcx = *rng.choose(&[0, 1, 2, 3, 1 << 32, (1 << 32) + 1, u64::MAX << 32, u64::MAX]);
    }
    regs.rflags = rng.next() & SETTABLE;
    regs.fs_base = base(rng, data);
    regs.gs_base = base(rng, data);
    let memory = vec![window(rng, layout), window(rng, layout)];
    let mut state = State { regs, vectors: vectors(rng), memory };
    if let Some((insn, _)) = instructions::decode(bytes, layout.site) {
        tame(rng, layout, insn.mnemonic(), &mut state);
    }
    state
}

/// A general register's value.
fn value(rng: &mut Rng, layout: &Layout) -> u64 {
    let [data, stack] = layout.windows;
    match rng.below(16) {
        0 | 1 => rng.next(),
        2 => rng.below(256),
        3 => rng.below(256).wrapping_neg(),
        4 => 1 << rng.below(64),
        5 | 6 => code(rng, layout),
        // Not canonical; the kernel's half.
        7 if rng.one_in(4) => 0x8000_0000_0000_0000 >> rng.below(16),
        7 => rng.next() | 0xffff_8000_0000_0000,
        8 => data.add(WINDOW as u64).offset(-(rng.below(64) as i64)).0,
        9 => stack.add(8 * rng.below(512)).0,
        10 => data.add(rng.below(WINDOW as u64)).0,
        _ => data.add(64 * rng.below(64)).0,
    }
}

/// Somewhere in the site's page, but not in the instruction: a place that traps.
fn code(rng: &mut Rng, layout: &Layout) -> u64 {
    let page = layout.site.align_down(4096);
    let at = page.add(rng.below(4000));
    if at.distance_from(layout.site) as u64 <= 15 { page.0 } else { at.0 }
}

fn base(rng: &mut Rng, data: Addr) -> u64 {
    if rng.one_in(8) { rng.next() >> 17 } else { data.add(rng.below(WINDOW as u64)).0 }
}

fn window(rng: &mut Rng, layout: &Layout) -> Vec<u8> {
    let mut bytes = vec![0; WINDOW];
    rng.fill(&mut bytes);
    for qword in bytes.chunks_exact_mut(8) {
        match rng.below(8) {
            0..=2 => qword.copy_from_slice(&code(rng, layout).to_le_bytes()),
            3 => qword.copy_from_slice(&value(rng, layout).to_le_bytes()),
            _ => {}
        }
    }
    bytes
}

fn vectors(rng: &mut Rng) -> Vectors {
    let mut vectors = Vectors::default();
    for zmm in &mut vectors.zmm {
        match rng.below(4) {
            0 => {}
            1 => rng.fill(zmm),
            2 => {
                let floats = [0x3f80_0000, 0xbf80_0000, 0x7f80_0000, 0x7fc0_0000, 1, 0x4048_f5c3];
                for lane in zmm.chunks_exact_mut(4) {
                    lane.copy_from_slice(&u32::to_le_bytes(*rng.choose(&floats)));
                }
            }
            _ => {
                for lane in zmm.chunks_exact_mut(8) {
                    lane.copy_from_slice(&f64::to_le_bytes(rng.next() as i32 as f64 / 7.0));
                }
            }
        }
    }
    for k in &mut vectors.k {
        *k = if rng.one_in(2) { rng.next() } else { u64::MAX };
    }
    for st in &mut vectors.st {
        rng.fill(st);
    }
    vectors.ftw = if rng.one_in(2) { 0 } else { rng.byte() };
    vectors.fsw = (rng.next() as u16) & 0x7f00;
    if rng.one_in(4) {
        // Rounding, flushing, flags; exceptions unmasked.
        vectors.mxcsr = rng.next() as u32 & 0xffff;
        vectors.fcw = rng.next() as u16 & 0x1f3f | 0x40;
    }
    vectors
}

/// What an instruction must not do to this process.
fn tame(rng: &mut Rng, layout: &Layout, mnemonic: Mnemonic, state: &mut State<Hardware>) {
    match mnemonic {
        // getpid, getppid, getuid; numbers that do not exist.
        Mnemonic::Syscall => {
            state.regs.rax = *rng.choose(&[39, 110, 102, 5000, u64::MAX, 1 << 30, 0x1_0000_0027]);
        }
        // TF would stop this program, AC make its own accesses fault; a signal frame gives NT and
        // ID back as they were left, not as they were asked for.
        Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq => {
            state.regs.rsp = layout.windows[1].add(rng.below(WINDOW as u64)).0;
            for (window, start) in state.memory.iter_mut().zip(layout.windows) {
                let offset = state.regs.rsp.wrapping_sub(start.0).wrapping_add(1) as usize;
                if let Some(byte) = window.get_mut(offset) {
                    *byte &= !0x41;
                }
                if let Some(byte) = window.get_mut(offset.wrapping_add(1)) {
                    *byte &= !0x24;
                }
            }
        }
        // The selector of 64-bit user code, with each operand size.
        Mnemonic::Retf => {
            for (window, start) in state.memory.iter_mut().zip(layout.windows) {
                let offset = state.regs.rsp.wrapping_sub(start.0) as usize;
                let width = *rng.choose(&[2, 4, 8]);
                if let Some(selector) = window.get_mut(offset.wrapping_add(width)..)
                    && selector.len() >= 2
                {
                    selector[..2].copy_from_slice(&[0x33, 0]);
                }
            }
        }
        _ => {}
    }
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
    for n in 0..16 {
        add(&|state: &mut State<Hardware>| state.regs.set(Gpr::new(n), 0));
    }
    add(&|state| state.regs.rflags = 0);
    add(&|state| state.regs = Registers { fs_base: 0, gs_base: 0, ..state.regs });
    all
}
