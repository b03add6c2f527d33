//! How to displace an instruction: what must happen when a probe takes its place.
//!
//! Two architectures, both usable from any host: an x86-64 laptop explains an
//! arm64 binary. Nothing here knows a process, allocates, or needs `unsafe`.
//!
//! The flow is one way. [`Arch::plan`] looks at the bytes around a site once and
//! answers with a small [`Plan`] or a [`Reject`] that says why not. A hit only
//! executes what was decided: [`Arch::simulate`] computes the instruction's
//! effect, or a copy made by [`Arch::copy`] or [`Arch::relocate`] runs from a slot.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod addr;
#[cfg(feature = "arm64")]
pub mod arm64;
mod call;
mod flow;
pub mod jump;
mod plan;
mod reject;
mod text;
#[cfg(feature = "x86_64")]
pub mod x86_64;

pub use addr::Addr;
pub use call::{ArgPlace, Convention};
pub use flow::{Flow, Named, Step};
pub use plan::{Copied, Plan, Relocated, Rules, Strategies, Strategy};
pub use reject::{Reason, Reject};
pub use text::Text;

use core::fmt;

/// Code for one slot or one jump: a plain buffer, so that nothing allocates.
pub type Code = heapless::Vec<u8, 128>;

/// A memory access that the target does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The first byte that could not be accessed.
    pub at: Addr,
    /// Whether it was a write.
    pub write: bool,
}

/// The target's memory as one stopped thread sees it.
pub trait Memory {
    /// Reads exactly `to.len()` bytes.
    ///
    /// # Errors
    /// The fault the program itself would have taken; nothing else is an error.
    fn read(&mut self, at: Addr, to: &mut [u8]) -> Result<(), Fault>;
    /// Writes all of `from`, with the page's own permissions: a read-only page faults.
    ///
    /// # Errors
    /// As for [`Memory::read`].
    fn write(&mut self, at: Addr, from: &[u8]) -> Result<(), Fault>;
}

/// General registers of a stopped thread.
pub trait Regs: Copy + Default + PartialEq + fmt::Debug {
    /// The program counter.
    fn pc(&self) -> Addr;
    /// Sets the program counter, and with it only what says how control came there: arm64
    /// clears PSTATE.BTYPE.
    fn set_pc(&mut self, pc: Addr);
    /// The stack pointer.
    fn sp(&self) -> Addr;
    /// The `n`th integer argument at a function's entry, if it is in a register.
    fn arg(&self, n: usize) -> Option<u64>;
    /// The same for functions that Go has compiled.
    fn go_arg(&self, n: usize) -> Option<u64>;
    /// The integer return value just after a function returned.
    fn ret(&self) -> u64;
    /// Where the register of that name is, in lower case as assemblers write it; of a part of one, the
    /// whole.
    fn named(name: &str) -> Option<ArgPlace>;
    /// The general register of a number that [`named`](Regs::named) has given.
    fn register(&self, n: u8) -> Option<u64>;
    /// Where Go's code keeps the address of the goroutine that runs.
    fn goroutine(&self) -> Addr;
}

/// One stopped thread: what [`Arch::simulate`] works on.
pub trait Machine<A: Arch>: Memory {
    /// The general registers, as they are at the site.
    fn regs(&mut self) -> &mut A::Regs;
    /// Writes vector register `n` whole: bits above `value` become zero, as a
    /// scalar SIMD load on arm64 does. Only arm64 literal loads need it.
    ///
    /// # Errors
    /// Where the target cannot write vector registers, the fault names the PC.
    fn set_vector(&mut self, n: u8, value: u128) -> Result<(), Fault>;
}

/// One architecture. Implemented by types that are never instantiated.
pub trait Arch: Copy + fmt::Debug + Eq + 'static {
    /// `arm64` or `x86_64`, as on the command line.
    const NAME: &'static str;
    /// The breakpoint instruction: BRK #… or INT3.
    const TRAP: &'static [u8];
    /// An instruction without effect, as long as the trap.
    const NOP: &'static [u8];
    /// How far behind the trap the PC stands when the trap is reported: 1 for INT3, 0 for BRK.
    const TRAP_ADVANCE: u64;
    /// Every instruction starts at a multiple of this.
    const INSN_ALIGN: u64;
    /// Whether no thread may run while a trap takes the place of an instruction, or gives it back.
    const STOPS_TO_PATCH: bool;
    /// The longest instruction in bytes.
    const MAX_INSN: usize;
    /// How C passes arguments.
    const CONVENTION: Convention;
    /// How Go passes arguments.
    const GO: Convention;
    /// How far apart a slot and its site may be so that a direct jump always reaches, in bytes.
    const JUMP_REACH: u64;

    /// General registers.
    type Regs: Regs;
    /// What [`Arch::simulate`] computes: decoded fields, never raw bits again.
    type Effect: Copy + fmt::Debug + PartialEq;
    /// What must be corrected after a copy ran; `Default` is nothing beyond the PC.
    type Fixup: Copy + fmt::Debug + PartialEq + Default;

    /// Whether the code begins with a breakpoint instruction, anybody's.
    fn is_trap(code: &[u8]) -> bool;

    /// Whether the code begins with an instruction that makes a system call.
    fn is_syscall(code: &[u8]) -> bool;

    /// Whether a guarded page lets control come to the instruction that `code` begins with as it
    /// came by `regs`. A trap is let through whatever it stands for, so that the engine has to
    /// look (arm64 BTI; nothing guards x86-64 user code on Linux).
    fn may_land(code: &[u8], regs: &Self::Regs) -> bool {
        let _ = (code, regs);
        true
    }

    /// Whether an indirect branch may land on the instruction that `code` begins with and on no jump in
    /// its place (arm64 BTI, PACIASP, PACIBSP).
    fn is_landing_pad(code: &[u8]) -> bool {
        let _ = code;
        false
    }

    /// The length in bytes of the instruction at `at`.
    ///
    /// # Errors
    /// [`Reason::Truncated`] or [`Reason::Undecodable`].
    fn length(text: &Text<'_>, at: Addr) -> Result<usize, Reject>;

    /// How control leaves the instruction at `at`, and its length in bytes.
    ///
    /// # Errors
    /// As for [`Arch::length`]; where processors differ, [`Reason::VendorDependent`].
    fn flow(text: &Text<'_>, at: Addr) -> Result<(Flow, usize), Reject>;

    /// Decides how the instruction at `at` can be displaced.
    ///
    /// # Errors
    /// Why it cannot, with the nearest place that can where that is known.
    fn plan(text: &Text<'_>, at: Addr, rules: Rules) -> Result<Plan<Self>, Reject>;

    /// Plans all of `text` from its beginning on, as [`Arch::plan`] plans each: calls `each` with
    /// every instruction's address, in order. Behind bytes that do not decode it goes on at the
    /// next place where an instruction may begin.
    fn plans(
        text: &Text<'_>,
        rules: Rules,
        each: &mut dyn FnMut(Addr, Result<Plan<Self>, Reject>),
    ) {
        let mut at = text.base;
        while !text.from(at).is_empty() {
            each(at, Self::plan(text, at, rules));
            at = at.add(Self::length(text, at).map_or(Self::INSN_ALIGN, |len| len as u64));
        }
    }

    /// Computes the instruction's effect on a stopped thread, the PC included.
    ///
    /// # Errors
    /// The fault the instruction itself would have taken; registers are then unchanged.
    fn simulate<M: Machine<Self>>(
        effect: Self::Effect,
        at: Addr,
        machine: &mut M,
    ) -> Result<(), Fault>;

    /// Appends to `out` the copy that runs at `slot`, without anything behind it: for `xol`
    /// and `step`, where the engine puts a trap or nothing behind the copy.
    ///
    /// # Errors
    /// Where the copy would not be right from `slot`, e.g. [`Reason::OutOfReach`].
    fn copy(
        text: &Text<'_>,
        at: Addr,
        plan: &Plan<Self>,
        slot: Addr,
        out: &mut Code,
    ) -> Result<Self::Fixup, Reject>;

    /// Corrects what the copy left different from the instruction at `at`; the PC afterwards is
    /// the one the instruction itself would have left. `before` are the registers as they were
    /// at the site when the copy was entered: what the copy had to overwrite comes back from
    /// there (arm64 authenticates a branch's register in place and gives it back signed).
    ///
    /// # Errors
    /// As for [`Arch::simulate`].
    fn fixup<M: Machine<Self>>(
        fixup: Self::Fixup,
        at: Addr,
        plan: &Plan<Self>,
        before: &Self::Regs,
        machine: &mut M,
    ) -> Result<(), Fault>;

    /// Appends to `out` code that has the instruction's whole effect when run at `to`, with no
    /// trap, and then goes on behind the instruction (or where it branches): a `boost` slot,
    /// and what an orphaned site runs.
    ///
    /// # Errors
    /// Where no such code is right at `to`.
    fn relocate(
        text: &Text<'_>,
        at: Addr,
        plan: &Plan<Self>,
        to: Addr,
        out: &mut Code,
    ) -> Result<Relocated, Reject>;

    /// Appends to `out` a direct jump that stands at `from` and goes to `to`.
    ///
    /// # Errors
    /// [`Reason::OutOfReach`].
    fn jump(from: Addr, to: Addr, out: &mut Code) -> Result<(), Reject>;

    /// Decodes from `from` on, one instruction behind the other whatever their flow, to the end of
    /// `text`, to what does not decode, or until `each` says `false`.
    fn follow(text: &Text<'_>, from: Addr, each: &mut dyn FnMut(&Step) -> bool);

    /// The places in the function around `text` that its own direct branches go to: calls
    /// `found` with each, in no order. Those outside the function are not reported.
    fn targets(text: &Text<'_>, found: &mut dyn FnMut(Addr));

    /// Decides what a jump for a probe on the instruction at `at` replaces: that, or what is behind the
    /// landing pads there. `text` must know the
    /// function, and go on behind it for as long as a jump and a NOP; `targets` are those of the
    /// function ([`Arch::targets`]) and whatever else is known to be entered, sorted; `side` is where
    /// it lands if it must trap at its last byte (x86-64).
    ///
    /// A caller that knows of places which nothing may be moved out of must look for them among
    /// [`jump::Window::covered`], not only at `at`.
    ///
    /// # Errors
    /// Why there can be no jump: what [`Arch::plan`] says of the instruction, or
    /// [`Reason::UnknownFunction`], [`Reason::WindowEnd`], [`Reason::WindowInstruction`],
    /// [`Reason::PadOnly`], [`Reason::NoLandingPlace`].
    fn window(
        text: &Text<'_>,
        at: Addr,
        rules: Rules,
        targets: &[Addr],
        side: jump::Side,
    ) -> Result<jump::Window, Reject>;

    /// Decides what a jump replaces that begins at `at` and leaves what is behind its instruction what it
    /// is: its displacement ends with those bytes, which say where it must land. Only what NOPs among them
    /// name may change. It is right if nothing comes into the instruction
    /// ([`jump::Window::entered`]), whatever comes to what is behind.
    ///
    /// # Errors
    /// What [`Arch::plan`] says of the instruction, or [`Reason::WindowEnd`] where it is no shorter than a
    /// jump, [`Reason::WindowInstruction`], [`Reason::IndirectCall`], [`Reason::Truncated`].
    fn window_alone(
        text: &Text<'_>,
        at: Addr,
        rules: Rules,
        targets: &[Addr],
    ) -> Result<jump::Window, Reject>;

    /// Appends code that takes back what a jump's last byte has pushed ([`jump::Last`]): 8 bytes.
    ///
    /// # Errors
    /// [`Reason::NoRoomForSlots`].
    fn take_push_back(out: &mut jump::LongCode) -> Result<(), Reject>;

    /// Whether a recorder before the instruction at `at` must keep the flags: unless the code from
    /// there on is seen to overwrite them all before anything can read them.
    fn flags_live(text: &Text<'_>, at: Addr) -> bool;

    /// Whether the stack pointer holds a stack wherever the function around `text` is: hand-written
    /// code may use it as one more register, and what a recorder wrote below it would be the
    /// program's. Not where a part of the function is not in `text`.
    fn has_stack(text: &Text<'_>) -> bool;

    /// Appends a recorder to a trampoline's code, whose first byte runs at `to`. Control comes out
    /// behind it with every register as before, the flags only where the record says so.
    ///
    /// # Errors
    /// [`Reason::OutOfReach`] of a counter, [`Reason::MissingFeature`], [`Reason::NoStack`].
    fn record(
        record: &jump::Record,
        features: jump::Features,
        to: Addr,
        out: &mut jump::LongCode,
    ) -> Result<jump::Recorded, Reject>;

    /// Gives a register back a value that a recorder kept.
    fn restore(regs: &mut Self::Regs, what: jump::Kept, value: u64);

    /// The slot of a ring that a thread has taken which is in [`jump::Phase::Taken`].
    fn slot_of(regs: &Self::Regs) -> Addr;

    /// The system-call instructions in `text` whose number is a constant loaded shortly before:
    /// calls `found` with the address of the instruction and the number. For watching a loader's
    /// mmap and the program's rt_sigaction; a call it does not recognise is not reported.
    fn syscalls(text: &Text<'_>, found: &mut dyn FnMut(Addr, u64));

    /// Writes the instruction at `at` as text, in the architecture's usual syntax.
    ///
    /// # Errors
    /// Only those of `out`: what does not decode is written as data.
    #[cfg(feature = "text")]
    fn disassemble(text: &Text<'_>, at: Addr, out: &mut dyn fmt::Write) -> fmt::Result;
}
