//! What an architecture brings, and what a run leaves.

use std::fmt;
use xol_arch::{Addr, Arch, Reason, Regs, Strategy};

use crate::rng::Rng;

/// Everything an instruction may read or write.
#[derive(Clone, Debug, PartialEq)]
pub struct State<C: Cpu> {
    /// The general registers; the PC is the site before a run.
    pub regs: <C::Arch as Arch>::Regs,
    /// All other registers that programs see.
    pub vectors: C::Vectors,
    /// The contents of [`Layout::windows`], in order.
    pub memory: Vec<Vec<u8>>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In a trap of ours at the PC.
    Trap,
    /// With a signal.
    Signal {
        /// Its number.
        number: i32,
        /// si_code.
        code: i32,
        /// si_addr.
        address: Addr,
    },
}

/// What a run left.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome<C: Cpu> {
    /// Registers and memory. The PC is where it stands architecturally: at a trap, its address.
    pub state: State<C>,
    /// Why it stopped.
    pub end: End,
}

/// Code to be put somewhere before a run; what lies around it traps.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    /// Where: in one of [`Layout::code_pages`].
    pub at: Addr,
    /// What.
    pub bytes: &'a [u8],
}

/// A window's length: what lies around it is not mapped.
pub const WINDOW: usize = 4096;

/// Places of one layout. Layouts differ in what reaches what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Where the instruction is.
    pub site: Addr,
    /// Where copies run.
    pub slot: Addr,
    /// A slot from which the data cannot be reached by a displacement.
    pub far_slot: Addr,
    /// Where memory that the program may write lies: its data and its stack. [`WINDOW`] bytes each.
    pub windows: [Addr; 2],
    /// Where trampolines note things down: as much. The tested instruction does not know of it.
    pub notes: Addr,
    /// Whether the site's page is guarded (arm64 BTI).
    pub guarded: bool,
}

impl Layout {
    /// The pages of code: readable, and full of traps but for what is placed.
    #[must_use]
    pub fn code_pages(&self) -> [Addr; 3] {
        [self.site, self.slot, self.far_slot].map(|at| at.align_down(4096))
    }
}

/// An instruction and what it runs on.
#[derive(Clone, Debug)]
pub struct Case<C: Cpu> {
    /// Where.
    pub layout: Layout,
    /// The instruction.
    pub bytes: Vec<u8>,
    /// The state before.
    pub state: State<C>,
}

/// The word of the program's memory at an address, if it is in a window.
pub fn word_at<C: Cpu>(layout: &Layout, state: &State<C>, at: Addr) -> Option<u64> {
    layout.windows.into_iter().zip(&state.memory).find_map(|(start, bytes)| {
        let offset = usize::try_from(at.0.checked_sub(start.0)?).ok()?;
        bytes.get(offset..)?.first_chunk().map(|&word| u64::from_le_bytes(word))
    })
}

/// One architecture on the hardware (or the emulator) at hand.
pub trait Cpu: Sized + fmt::Debug + Clone + PartialEq {
    /// Whose plans are tested.
    type Arch: Arch;
    /// Registers other than the general ones.
    type Vectors: Clone + PartialEq + fmt::Debug;

    /// Prepares this process. Once, before anything else.
    fn open() -> Self;

    /// A random instruction and where it is; `None` where the dice made none that may be run
    /// here.
    fn code(&self, rng: &mut Rng) -> Option<(Layout, Vec<u8>)>;

    /// A random state for it.
    fn state(&self, rng: &mut Rng, layout: &Layout, bytes: &[u8]) -> State<Self>;

    /// Both.
    fn case(&self, rng: &mut Rng) -> Option<Case<Self>> {
        let (layout, bytes) = self.code(rng)?;
        let state = self.state(rng, &layout, &bytes);
        Some(Case { layout, bytes, state })
    }

    /// Runs from `state` at its PC, with `code` placed and all else in the code pages trapping.
    /// With `step`, the hardware stops after one instruction. `None` if it did not end.
    fn run(
        &mut self,
        layout: &Layout,
        code: &[Placed<'_>],
        state: &State<Self>,
        step: bool,
    ) -> Option<Outcome<Self>>;

    /// Writes vector register `n` whole, as [`xol_arch::Machine::set_vector`] says.
    fn set_vector(vectors: &mut Self::Vectors, n: u8, value: u128);

    /// Whether hardware single-step can be asked for.
    fn can_step(&self) -> bool;

    /// Writes to [`Layout::notes`].
    fn write_notes(&mut self, layout: &Layout, bytes: &[u8]);

    /// What is there now.
    fn read_notes(&self, layout: &Layout) -> Vec<u8>;

    /// Whether the instruction may run at `at` of the layout's code in whatever state another
    /// instruction left.
    fn may_follow(&self, layout: &Layout, bytes: &[u8], at: Addr) -> bool;

    /// What names the thread that runs from `state`.
    fn thread_pointer(&self, state: &State<Self>) -> u64;

    /// Where a function that began here would return to, if that can be read.
    fn link(&self, layout: &Layout, state: &State<Self>) -> Option<u64>;

    /// The low 64 bits of vector register `n`.
    fn float(vectors: &Self::Vectors, n: u8) -> u64;

    /// Makes the flags zero that a recorder may lose.
    fn clear_flags(regs: &mut <Self::Arch as Arch>::Regs);

    /// Bytes below the stack pointer that belong to the program.
    const RED_ZONE: u64;

    /// What the stack pointer is a multiple of wherever it is used.
    const STACK_ALIGN: u64;

    /// Why relocated code may be refused for what is otherwise simulated.
    fn refusals(&self) -> &'static [Reason] {
        &[]
    }

    /// The plan row an instruction belongs to, for the counts.
    fn row(&self, layout: &Layout, bytes: &[u8]) -> String;

    /// The rows that a run of some seconds must reach: all there are.
    fn rows(&self) -> &'static [&'static str];

    /// Takes out of both what may differ by `way` without being wrong; each with its reason in
    /// the implementation.
    fn excuse(
        &self,
        case: &Case<Self>,
        way: Way,
        wanted: &mut Outcome<Self>,
        got: &mut Outcome<Self>,
    );

    /// Simpler states, tried in order when a case fails.
    fn simpler(&self, state: &State<Self>) -> Vec<State<Self>>;
}

/// A way to run a displaced instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// A strategy with the slot in reach.
    Near(Strategy),
    /// `xol` from a slot out of reach of RIP-relative operands.
    Far,
    /// The relocated code of a plan that is otherwise simulated: what an orphan runs.
    Orphan,
    /// A trampoline for several instructions, entered at each of them.
    Window,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Near(strategy) => f.pad(strategy.name()),
            Way::Far => f.pad("far"),
            Way::Orphan => f.pad("orphan"),
            Way::Window => f.pad("window"),
        }
    }
}

impl<C: Cpu> Outcome<C> {
    /// The PC.
    #[must_use]
    pub fn pc(&self) -> Addr {
        self.state.regs.pc()
    }
}
