//! What is remembered of threads and address spaces between two stops, and how it is looked up.

use crate::engine::Doing;
use crate::trace::session::{Session, Stage};
use crate::trace::space::sites::Sites;
use xol_arch::Addr;
use xol_targets::ptrace::{SpaceId, Tid};

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
        if self.notes.insert(text.clone()) {
            self.sink.note(&text);
        }
    }

    pub(in crate::trace) fn progress(&mut self, stage: Stage, done: usize, of: usize) {
        if done.is_multiple_of(256) && of >= 1024 {
            self.sink.progress(stage, done, of);
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
