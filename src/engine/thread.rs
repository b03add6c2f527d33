//! What a thread is in the middle of, and what is decided when it stops there.
//!
//! Everything here is a function of what was looked up before: nothing is read from the target,
//! nothing is written to it. So each decision can be tested with every order of events
//! (`orders_tests`), and holds for a target that is not ptrace.

use super::ids::SiteId;
use super::slot::Part;
use xol_arch::Addr;

/// What a thread is in the middle of. It is in one of these at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Doing {
    /// Its own code; or a copy that leads back by itself.
    #[default]
    Own,
    /// The copy of a site's instruction, which ends at a trap (`xol`) or with a single step (`step`).
    Copy {
        /// The site.
        site: SiteId,
        /// Whether it is single-stepped.
        stepped: bool,
    },
    /// A system call made from a site's slot, which a signal has interrupted. The thread is stepped
    /// until the kernel has either led it to the handler or had it make the call again.
    Call {
        /// The site.
        site: SiteId,
    },
    /// Part of a trampoline that no signal may see. The thread is stepped out of it.
    Trampoline {
        /// Over how many instructions of the program it is stepped as well.
        steps: u8,
    },
}

impl Doing {
    /// Returns whether the thread is single-stepped through a trampoline.
    #[must_use]
    pub fn is_trampoline(self) -> bool {
        matches!(self, Doing::Trampoline { .. })
    }

    /// Returns whether the end of a single step, or of a system call that was stepped over, is ours.
    #[must_use]
    pub fn awaits_step(self) -> bool {
        matches!(self, Doing::Copy { stepped: true, .. } | Doing::Call { .. })
    }

    /// Returns whether the thread goes on with a single step when nothing has changed.
    #[must_use]
    pub fn is_stepped(self) -> bool {
        matches!(self, Doing::Copy { stepped: true, .. } | Doing::Trampoline { .. })
    }

    /// Returns the site whose registers from before its copy are kept.
    #[must_use]
    pub fn copied(self) -> Option<SiteId> {
        match self {
            Doing::Copy { site, .. } => Some(site),
            _ => None,
        }
    }
}

/// What a target knows of an address where a thread has trapped. The questions are asked in this
/// order, and no further than to the first answer.
pub trait Traps {
    /// Why a question could not be answered.
    type Error;

    /// Returns the site at `at`.
    fn site(&self, at: Addr) -> Option<SiteId>;
    /// Returns where the copy is of an instruction that a jump stands over.
    fn under_jump(&self, at: Addr) -> Option<Addr>;
    /// Returns whether `at` is in code that xol has made.
    fn is_ours(&self, at: Addr) -> bool;
    /// Returns whether a trap is there; `None` where nothing can be read.
    fn has_trap(&self, at: Addr) -> Option<bool>;
    /// Returns whether the text there was copied, with our trap in it, from where a site is; the
    /// thread is then led to where it goes on.
    ///
    /// # Errors
    /// Those of the target.
    fn follow_copied(&mut self, at: Addr) -> Result<bool, Self::Error>;
    /// Returns whether an xol that was killed has left the code there.
    fn was_left(&self, at: Addr) -> bool;
}

/// Whose trap it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// The site's: a hit.
    Site(SiteId),
    /// That of an instruction which a jump stands over: the thread goes on in its copy.
    UnderJump(Addr),
    /// One in code of ours: behind a copy, or where a recorder has found no room.
    Ours,
    /// One of ours that was taken away while it was on its way: the instruction is executed in place.
    Gone,
    /// One of ours in text that was copied: the thread goes on from where it was led.
    Copied,
    /// One that an earlier xol has left behind a copy: the thread goes on behind it.
    Left,
    /// The program's own.
    Programs,
}

/// Decides whose trap it was.
///
/// # Errors
/// Those of the target.
pub fn whose<T: Traps>(target: &mut T, at: Addr) -> Result<Trap, T::Error> {
    if let Some(site) = target.site(at) {
        return Ok(Trap::Site(site));
    }
    if let Some(copy) = target.under_jump(at) {
        return Ok(Trap::UnderJump(copy));
    }
    if target.is_ours(at) {
        return Ok(Trap::Ours);
    }
    match target.has_trap(at) {
        Some(false) => return Ok(Trap::Gone),
        Some(true) if target.follow_copied(at)? => return Ok(Trap::Copied),
        _ => {}
    }
    Ok(if target.was_left(at) { Trap::Left } else { Trap::Programs })
}

/// How a thread goes on that has come to the end of a single step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stepped {
    /// With another step: the copy has not ended.
    On,
    /// With another step: a signal has interrupted the system call, and comes next.
    Interrupted {
        /// The site that the call is of.
        site: SiteId,
    },
    /// Behind the site's instruction: the copy has ended, and what it left different is corrected.
    Finish {
        /// The site.
        site: SiteId,
    },
    /// Where it is: the copy has led out of the slot.
    Out,
    /// As its place in the trampoline says.
    InTrampoline,
    /// With its signal: the step was the program's own.
    Programs,
}

/// Decides that, for a thread in this `part` of the slot of the site that it is at, if it is still in
/// that slot. `restarts`: its system call's result says that the kernel may have it made again.
#[must_use]
pub(super) fn stepped(doing: Doing, part: Option<Part>, gate: bool, restarts: bool) -> Stepped {
    match (doing, part) {
        (Doing::Trampoline { .. }, _) => Stepped::InTrampoline,
        (Doing::Call { .. }, _) if restarts => Stepped::On,
        (Doing::Call { site }, Some(Part::Inside | Part::Behind)) => Stepped::Finish { site },
        // A handler has returned, or the call is to be made again: in place.
        (Doing::Call { .. }, _) => Stepped::Out,
        (Doing::Copy { stepped: true, .. }, Some(Part::Start | Part::Inside)) => Stepped::On,
        // What leaves the slot by itself has not yet.
        (Doing::Copy { stepped: true, .. }, Some(Part::Behind)) if !gate => Stepped::On,
        (Doing::Copy { stepped: true, site }, Some(_)) if restarts => Stepped::Interrupted { site },
        (Doing::Copy { stepped: true, site }, Some(_)) => Stepped::Finish { site },
        (Doing::Copy { stepped: true, .. }, None) => Stepped::Out,
        (Doing::Own | Doing::Copy { stepped: false, .. }, _) => Stepped::Programs,
    }
}

/// A thread that a signal has found in a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// Where in the slot.
    pub(super) part: Part,
    /// Whether there is a place for a trap behind the copy.
    pub(super) gate: bool,
    /// Whether the thread has brought the signal on itself: a fault.
    pub(super) fault: bool,
    /// Whether the copy makes a system call.
    pub(super) calls: bool,
    /// Whether the instruction's effect can be computed.
    pub(super) computable: bool,
}

/// What becomes of the signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meets {
    /// It is delivered with the thread at the site: the instruction has not been executed, and is
    /// once more when the handler returns, which is no new hit.
    Before,
    /// It is delivered after the instruction's effect was computed.
    Computed,
    /// It waits until the copy has run.
    Waits,
    /// It is delivered behind the instruction.
    Behind,
    /// It waits until the thread was stepped out of the slot: code that leaves the slot by itself, in
    /// more than one instruction, has begun.
    WaitsStepping,
    /// The thread is stepped to its handler, and the frame that the kernel has written is corrected:
    /// the call may block for ever, and only the kernel knows whether it is made again.
    InCall,
}

/// Decides that.
#[must_use]
pub(super) fn meets(found: Found) -> Meets {
    match found {
        Found { calls: true, fault: false, .. } => Meets::InCall,
        Found { part: Part::Start, fault: true, .. } => Meets::Before,
        Found { part: Part::Start, gate: true, .. } => Meets::Waits,
        // What leaves the slot by itself has no place for a trap behind it.
        Found { part: Part::Start, computable: true, .. } => Meets::Computed,
        Found { part: Part::Start, .. } => Meets::Before,
        Found { part: Part::Behind, gate: false, fault: false, .. } => Meets::WaitsStepping,
        Found { part: Part::Behind, .. } => Meets::Behind,
        Found { part: Part::Inside, fault: true, .. } => Meets::Before,
        Found { part: Part::Inside, .. } => Meets::Waits,
    }
}

/// How a thread is taken out of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Out {
    /// To the site: its instruction is executed there, which is no new hit.
    Before,
    /// Behind the site's instruction.
    Behind,
    /// Not now: the copy has to run on.
    Not,
}

/// Decides that, for a thread in this `part` of a slot.
#[must_use]
pub(super) fn out(part: Part, gate: bool) -> Out {
    match part {
        Part::Start => Out::Before,
        Part::Behind if gate => Out::Behind,
        Part::Behind | Part::Inside => Out::Not,
    }
}
