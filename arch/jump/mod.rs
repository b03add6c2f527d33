//! Jumps instead of traps: what they replace, where they may go, and the code they lead to.
//!
//! | room | holds |
//! |---|---|
//! | `window` | the instructions that a jump replaces |
//! | `reach` | the addresses that a jump may go to |
//! | `record` | what a trampoline notes down about a hit, and the filter before it |
//! | `ring` | where the notes lie in shared memory |
//! | `trampoline` | recorders, copies and the jump back, and what each offset stands for |
//!
//! ```text
//! site        jmp landing        a landing place only where the jump is constrained,
//! landing     jmp trampoline     else the jump leads there itself
//! trampoline  recorders of instruction 0
//!             copy of instruction 0
//!             recorders of instruction 1, if any
//!             copy of instruction 1
//!             …
//!             jmp behind the last
//! ```
//!
//! On x86-64 a jump is five bytes and may replace up to five instructions, at low addresses ten
//! ([`Last`]). A thread that comes to one of them but the first finds a byte that traps, and is moved to
//! that instruction's place in the trampoline ([`Trampoline::enter`]). So nothing has to be proven
//! about the function. Where threads come there often, the jump replaces its instruction alone: its
//! displacement ends with the bytes behind it as they are ([`Window::shared`]), and it goes to the one
//! landing place, or the few, that they leave. Where somebody else puts a trap there later, it goes to
//! another that is kept for that ([`Reach::others`]). On arm64 a jump is one instruction and replaces one.
//!
//! # What a program can still see
//!
//! - Flags that the code behind the site overwrites without reading them are not kept: a signal
//!   handler that looks at them there may see others.
//! - A recorder uses the stack below the red zone (arm64, which has none: below the stack
//!   pointer), and needs it to be there. Where a function puts anything but a stack into the stack
//!   pointer ([`crate::Arch::has_stack`]), none does.
//! - What the copies themselves leave different is in the documentation of each architecture.

mod reach;
mod record;
mod ring;
mod trampoline;
mod window;

pub use reach::{Reach, TrapBytes};
pub use record::{Features, Filter, Record, Recorder, Relation, Test, Value, Values};
pub use ring::{HEAD, PROBE, SLOT, SLOTS, Shape, THREAD, TIME, TURN, VALUES};
pub use trampoline::{
    Kept, LOCK, LongCode, NO_LOCK, Noted, Order, Phase, Piece, Place, Recorded, Saved, Trampoline,
    build,
};
pub use window::{Covered, LEAD, Last, MAX_COVERED, Shadow, Side, Window};

/// Spreads thread pointers over shards: 2^32 divided by the golden ratio, odd.
pub(crate) const SPREAD: u32 = 0x9e37_79b1;
/// Thread pointers that differ do so above this bit: each thread has pages of its own.
pub(crate) const SPREAD_SHIFT: u8 = 12;
