//! arm64 on the processor at hand, or on an emulator of it that runs this program:
//! `qemu-aarch64 -cpu max`.
//!
//! | room | holds |
//! |---|---|
//! | `enter` | the two doors: `rt_sigreturn` in, a signal handler out |
//! | `vectors` | SIMD and scalable vector registers in a signal frame |
//! | `instructions` | random instructions, by row |
//! | `states` | random registers and memory that mean something to them |
//! | `excuses` | what may differ, and why |

mod enter;
mod excuses;
mod instructions;
mod states;
mod vectors;

use xol_arch::arm64::{Arm64, Registers};
use xol_arch::{Addr, Reason};

use crate::cpu::{Case, Cpu, End, Layout, Outcome, Placed, State, Way};
use crate::rng::Rng;
use enter::{CodePage, Doors};
pub use vectors::Vectors;

/// A slot that literals are in reach of, in a page that is not guarded; one that they are not in
/// reach of, from a guarded page. A copy is the same wherever it runs: the far slot is any.
const LAYOUTS: [Layout; 2] = [
    Layout {
        site: Addr(0x1_2345_6800),
        slot: Addr(0x1_2349_1400),
        far_slot: Addr(0x1_2789_3100),
        windows: [Addr(0x1_2347_6000), Addr(0x1_234b_6000)],
        notes: Addr(0x1_234e_9000),
        guarded: false,
    },
    Layout {
        site: Addr(0x5a_6789_a800),
        slot: Addr(0x5a_6b4d_1400),
        far_slot: Addr(0x5a_6fed_4100),
        windows: [Addr(0x5a_678b_a000), Addr(0x5a_678f_a000)],
        notes: Addr(0x5a_6792_d000),
        guarded: true,
    },
];

/// Distance of the data window from the site's page: literal loads reach it.
const DATA: i64 = 0x2_0000;

/// The processor at hand, through signal frames of this process.
#[derive(Clone, Debug, PartialEq)]
pub struct Hardware {
    doors: Doors,
    corpus: Vec<u32>,
    /// What each page of code holds that is no trap: (address, length).
    placed: Vec<(Addr, usize)>,
}

fn traps(len: usize) -> Vec<u8> {
    <Arm64 as xol_arch::Arch>::TRAP.repeat(len / 4)
}

impl Cpu for Hardware {
    type Arch = Arm64;
    type Vectors = Vectors;

    fn open() -> Hardware {
        let windows =
            LAYOUTS.iter().flat_map(|layout| [layout.windows[0], layout.windows[1], layout.notes]);
        let windows: Vec<_> = windows.collect();
        let page = |layout: &Layout| {
            let [site, slots @ ..] = layout.code_pages();
            let site = CodePage { at: site, guarded: layout.guarded };
            [site].into_iter().chain(slots.map(|at| CodePage { at, guarded: false }))
        };
        let pages: Vec<_> = LAYOUTS.iter().flat_map(page).collect();
        let doors = Doors::open(&windows, &pages);
        for page in pages {
            doors.write_code(page.at, &traps(4096));
        }
        Hardware { doors, corpus: instructions::corpus(), placed: Vec::new() }
    }

    fn code(&self, rng: &mut Rng) -> Option<(Layout, Vec<u8>)> {
        let layout = *rng.choose(&LAYOUTS);
        let words = instructions::random(rng, &layout, &self.corpus)?;
        Some((layout, words.iter().flat_map(|word| word.to_le_bytes()).collect()))
    }

    fn state(&self, rng: &mut Rng, layout: &Layout, bytes: &[u8]) -> State<Self> {
        let word = bytes.first_chunk().map_or(0, |&bytes| u32::from_le_bytes(bytes));
        let mut state = states::random(rng, layout, word);
        self.doors.clip(&mut state.vectors);
        state
    }

    fn run(
        &mut self,
        layout: &Layout,
        code: &[Placed<'_>],
        state: &State<Self>,
        _: bool,
    ) -> Option<Outcome<Self>> {
        for (start, bytes) in layout.windows.into_iter().zip(&state.memory) {
            self.doors.write_window(start, bytes);
        }
        for (at, len) in std::mem::take(&mut self.placed) {
            self.doors.write_code(at, &traps(len));
        }
        for placed in code {
            self.doors.write_code(placed.at, placed.bytes);
            self.placed.push((placed.at, placed.bytes.len()));
        }
        let mut regs = state.regs;
        // Of an address in a program's half the exception return drops the tag, which
        // qemu-user's rt_sigreturn leaves out.
        if regs.pc >> 55 & 1 == 0 {
            regs.pc &= u64::MAX >> 8;
        }
        let stop = self.doors.pass(&regs, &state.vectors);
        let end = match stop.number {
            libc::SIGALRM => return None,
            libc::SIGTRAP => End::Trap,
            number => End::Signal { number, code: stop.code, address: stop.address },
        };
        let memory = layout.windows.map(|start| self.doors.read_window(start)).into();
        Some(Outcome { state: State { regs: stop.regs, vectors: stop.vectors, memory }, end })
    }

    fn set_vector(vectors: &mut Vectors, n: u8, value: u128) {
        let z = &mut vectors.z[usize::from(n)];
        *z = [0; vectors::LENGTH];
        z[..16].copy_from_slice(&value.to_le_bytes());
    }

    /// The debugger's registers are not a program's own.
    fn can_step(&self) -> bool {
        false
    }

    /// Indirect branches out of a guarded page, and literals out of reach, stay in place.
    fn refusals(&self) -> &'static [Reason] {
        &[Reason::LandingPad, Reason::OutOfReach]
    }

    const RED_ZONE: u64 = 0;
    const STACK_ALIGN: u64 = 16;

    fn write_notes(&mut self, layout: &Layout, bytes: &[u8]) {
        self.doors.write_window(layout.notes, bytes);
    }

    fn read_notes(&self, layout: &Layout) -> Vec<u8> {
        self.doors.read_window(layout.notes)
    }

    /// A window is one instruction.
    fn may_follow(&self, _: &Layout, _: &[u8], _: Addr) -> bool {
        false
    }

    fn thread_pointer(&self, _: &State<Self>) -> u64 {
        enter::thread_pointer()
    }

    fn link(&self, _: &Layout, state: &State<Self>) -> Option<u64> {
        Some(state.regs.x[30])
    }

    fn float(vectors: &Vectors, n: u8) -> u64 {
        vectors.z[usize::from(n)].first_chunk().map_or(0, |&low| u64::from_le_bytes(low))
    }

    fn clear_flags(regs: &mut Registers) {
        regs.set_nzcv(0);
    }

    fn row(&self, layout: &Layout, bytes: &[u8]) -> String {
        instructions::row(layout, bytes)
    }

    fn rows(&self) -> &'static [&'static str] {
        instructions::ROWS
    }

    fn excuse(
        &self,
        case: &Case<Self>,
        way: Way,
        wanted: &mut Outcome<Self>,
        got: &mut Outcome<Self>,
    ) {
        excuses::excuse(case, way, wanted, got);
    }

    fn simpler(&self, state: &State<Self>) -> Vec<State<Self>> {
        states::simpler(state)
    }
}
