//! What is remembered of threads and address spaces between two stops, and how it is looked up.

use crate::engine::Doing;
use crate::trace::session::{Session, Stage};
use crate::trace::space::later::Later;
use crate::trace::space::sites::Sites;
use xol_arch::Addr;
use xol_targets::native::Regs;
use xol_targets::ptrace::{SpaceId, Tid};

/// What is remembered of a thread between two of its stops.
#[derive(Clone, Debug, Default)]
pub(in crate::trace) struct ThreadState {
    /// What it is in the middle of.
    pub(in crate::trace) doing: Doing,
    /// Its registers before the copy that it runs or has run.
    pub(in crate::trace) before: Regs,
    /// Signals that came while another was held, and such that have to come once more.
    pub(in crate::trace) later: Later,
    /// How often it was seen to have such when it was to be left.
    pub(in crate::trace) late: u32,
    /// The rt_sigactions it is in, by stack pointer: a handler may make one inside another.
    pub(in crate::trace) setting: Vec<(Addr, [u64; 3])>,
    /// The mremaps it is in that concern text, by stack pointer: and what they put something else on.
    pub(in crate::trace) moving: Vec<(Addr, std::ops::Range<Addr>)>,
}

impl Session<'_> {
    /// Returns the sites of a space, if it has any.
    pub(in crate::trace) fn sites(&self, space: SpaceId) -> Option<&Sites> {
        self.spaces.get(&space)
    }

    pub(in crate::trace) fn sites_mut(&mut self, space: SpaceId) -> &mut Sites {
        let slots = self.options.slots;
        self.spaces.entry(space).or_insert_with(|| Sites::new(slots))
    }

    /// Returns what a thread is in the middle of.
    pub(in crate::trace) fn doing(&self, tid: Tid) -> Doing {
        self.states.get(&tid).map_or(Doing::Own, |state| state.doing)
    }

    /// Notes that a thread is in the middle of something else.
    pub(in crate::trace) fn does(&mut self, tid: Tid, doing: Doing) {
        self.states.entry(tid).or_default().doing = doing;
    }

    /// Says something once.
    pub(in crate::trace) fn note(&mut self, text: String) {
        self.teller.note(text);
    }

    pub(in crate::trace) fn progress(&mut self, stage: Stage, done: usize, of: usize) {
        if done.is_multiple_of(256) && of >= 1024 {
            self.teller.sink.progress(stage, done, of);
        }
    }

    pub(in crate::trace) fn new_space(&mut self, space: SpaceId) {
        let _ = self.sites_mut(space);
    }

    /// Whether an address is in what was left.
    pub(in crate::trace) fn is_left(&self, space: SpaceId, at: Addr) -> bool {
        self.spaces.get(&space).is_some_and(|sites| sites.left.iter().any(|area| area.has(at)))
    }
}
