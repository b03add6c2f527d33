//! x86-64 on the processor at hand.
//!
//! | room | holds |
//! |---|---|
//! | `enter` | the two doors: `rt_sigreturn` in, a signal handler out |
//! | `xstate` | x87, SSE, AVX and AVX-512 registers in a signal frame |
//! | `instructions` | random instructions, by row |
//! | `states` | random registers and memory that mean something to them |
//! | `excuses` | what may differ, and why |

mod enter;
mod excuses;
mod instructions;
mod states;
mod xstate;

use xol_arch::x86_64::{Registers, X86_64};
use xol_arch::{Addr, Regs as _};

use crate::cpu::{Case, Cpu, End, Layout, Outcome, Placed, State, Way, word_at};
use crate::rng::Rng;
use enter::Doors;
pub use xstate::Vectors;

/// Everything in reach of everything else, above and below 4 GiB; the data of a layout lies
/// between its site and its slot. The lower halves of one are nothing in the other,
/// and no distance is a power of two: what random registers add up to is mapped nowhere.
const LAYOUTS: [Layout; 2] = [
    Layout {
        site: Addr(0x2345_6800),
        slot: Addr(0x2746_1400),
        far_slot: Addr(0x7_1234_5100),
        windows: [Addr(0x2245_6000), Addr(0x2145_6000)],
        notes: Addr(0x21c5_1000),
        guarded: false,
    },
    Layout {
        site: Addr(0x5a5a_6789_a800),
        slot: Addr(0x5a5a_638b_1400),
        far_slot: Addr(0x5a62_0123_4100),
        windows: [Addr(0x5a5a_6689_a000), Addr(0x5a5a_6589_a000)],
        notes: Addr(0x5a5a_6609_5000),
        guarded: false,
    },
];

/// Distance of the data window from the site's page.
const DATA: i64 = -0x100_0000;

/// The flags a program has: CF PF AF ZF SF DF OF, NT, AC, ID. TF and RF are the debugger's.
const FLAGS: u64 = 0xcd5 | 1 << 14 | 1 << 18 | 1 << 21;
const TF: u64 = 1 << 8;

/// The processor at hand, through signal frames of this process.
#[derive(Clone, Debug, PartialEq)]
pub struct Hardware {
    doors: Doors,
    corpus: Vec<Vec<u8>>,
}

impl Cpu for Hardware {
    type Arch = X86_64;
    type Vectors = Vectors;

    fn open() -> Hardware {
        let windows =
            LAYOUTS.iter().flat_map(|layout| [layout.windows[0], layout.windows[1], layout.notes]);
        let windows: Vec<_> = windows.collect();
        let pages: Vec<_> = LAYOUTS.iter().flat_map(Layout::code_pages).collect();
        Hardware { doors: Doors::open(&windows, &pages), corpus: instructions::corpus() }
    }

    fn code(&self, rng: &mut Rng) -> Option<(Layout, Vec<u8>)> {
        let layout = *rng.choose(&LAYOUTS);
        let bytes = instructions::random(rng, &layout, &self.corpus)?;
        Some((layout, bytes))
    }

    fn state(&self, rng: &mut Rng, layout: &Layout, bytes: &[u8]) -> State<Self> {
        let mut state = states::random(rng, layout, bytes);
        self.doors.clip(&mut state.vectors);
        state
    }

    fn run(
        &mut self,
        layout: &Layout,
        code: &[Placed<'_>],
        state: &State<Self>,
        step: bool,
    ) -> Option<Outcome<Self>> {
        for (start, bytes) in layout.windows.into_iter().zip(&state.memory) {
            self.doors.write_window(start, bytes);
        }
        for page in layout.code_pages() {
            self.doors.write_code(page, &[0xcc; 4096]);
        }
        for placed in code {
            self.doors.write_code(placed.at, placed.bytes);
        }
        let mut regs = state.regs;
        regs.rflags = regs.rflags & FLAGS | if step { TF } else { 0 };
        let stop = self.doors.pass(&regs, &state.vectors);
        let mut regs = stop.regs;
        regs.rflags &= FLAGS;
        let end = match (stop.number, stop.code) {
            (libc::SIGALRM, _) => return None,
            (libc::SIGTRAP, libc::TRAP_TRACE) => End::Trap,
            (libc::SIGTRAP, _) => {
                regs.set_pc(regs.pc().offset(-1));
                End::Trap
            }
            (number, code) => End::Signal { number, code, address: stop.address },
        };
        let memory = layout.windows.map(|start| self.doors.read_window(start)).into();
        Some(Outcome { state: State { regs, vectors: stop.vectors, memory }, end })
    }

    fn set_vector(vectors: &mut Vectors, n: u8, value: u128) {
        vectors.zmm[usize::from(n)] = [0; 64];
        vectors.zmm[usize::from(n)][..16].copy_from_slice(&value.to_le_bytes());
    }

    fn can_step(&self) -> bool {
        true
    }

    const RED_ZONE: u64 = 128;
    const STACK_ALIGN: u64 = 1;

    fn write_notes(&mut self, layout: &Layout, bytes: &[u8]) {
        self.doors.write_window(layout.notes, bytes);
    }

    fn read_notes(&self, layout: &Layout) -> Vec<u8> {
        self.doors.read_window(layout.notes)
    }

    fn may_follow(&self, layout: &Layout, bytes: &[u8], at: Addr) -> bool {
        instructions::may_follow(layout, bytes, at)
    }

    fn thread_pointer(&self, state: &State<Self>) -> u64 {
        state.regs.fs_base
    }

    fn link(&self, layout: &Layout, state: &State<Self>) -> Option<u64> {
        word_at(layout, state, Addr(state.regs.rsp))
    }

    fn float(vectors: &Vectors, n: u8) -> u64 {
        vectors.zmm[usize::from(n)].first_chunk().map_or(0, |&low| u64::from_le_bytes(low))
    }

    fn clear_flags(regs: &mut Registers) {
        // CF PF AF ZF SF OF: no recorder touches DF.
        regs.rflags &= !0x8d5;
    }

    fn row(&self, layout: &Layout, bytes: &[u8]) -> String {
        instructions::row(bytes, layout.site)
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

/// The registers a program starts with here.
fn start(layout: &Layout) -> Registers {
    Registers { rip: layout.site.0, orig_rax: u64::MAX, ..Registers::default() }
}
