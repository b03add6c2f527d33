//! What is done about a thread that is to be seen outside of our code, by what a look at it tells without
//! stopping it.

/// Where a look finds a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::trace) enum Found {
    /// In a stop that was seen, or not begun.
    Stopped,
    /// In a stop of its own that was not seen yet.
    Waiting,
    /// Blocked in a call.
    InCall {
        /// Whether it returns into code of ours.
        into_ours: bool,
        /// Whether no interrupt ends the call: a vfork.
        deaf: bool,
    },
    /// On a processor, or somewhere that nothing is known of.
    Running,
}

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::trace) enum Next {
    /// Nothing more: it is outside, and no trap leads back.
    Out,
    /// It is stopped, if it has not been, and moved.
    Stop,
    /// What comes next is its own.
    Wait,
}

/// What is done about a thread that was not seen outside yet: `asked` to stop already, or on its way
/// by single `steps`.
pub(in crate::trace) fn next(found: Found, asked: bool, steps: bool) -> Next {
    match found {
        Found::Stopped => Next::Stop,
        // An interrupt that is on its way ends nothing: the kernel forgets it when we do.
        Found::InCall { into_ours: false, deaf: true } => Next::Out,
        // Asked, its call is ended by that: nobody would have it made again.
        Found::InCall { into_ours: false, .. } if !asked => Next::Out,
        // Asked to stop again and again, it would never make its step.
        _ if steps => Next::Wait,
        _ => Next::Stop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread as the kernel has it.
    #[derive(Clone, Copy, Debug)]
    struct Thread {
        place: Place,
        interrupted: bool,
        stopped: bool,
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Place {
        /// In a slot, with so many steps to go.
        Slot(u8),
        /// In a call made from a slot.
        CallInSlot {
            deaf: bool,
        },
        Program,
        Call {
            deaf: bool,
        },
    }

    impl Thread {
        fn found(self) -> Found {
            match self.place {
                _ if self.stopped => Found::Stopped,
                Place::Slot(_) | Place::Program => Found::Running,
                Place::CallInSlot { deaf } => Found::InCall { into_ours: true, deaf },
                Place::Call { deaf } => Found::InCall { into_ours: false, deaf },
            }
        }

        /// What it may do next; a call ends sooner or later.
        fn run(&mut self, choice: u32) {
            let deaf = choice & 4 != 0;
            match self.place {
                _ if self.stopped => {}
                Place::Call { deaf: true } | Place::CallInSlot { deaf: true }
                    if choice & 3 != 0 => {}
                _ if self.interrupted => (self.interrupted, self.stopped) = (false, true),
                Place::Slot(0) => self.place = Place::Program,
                Place::Slot(_) if choice & 1 != 0 => self.place = Place::CallInSlot { deaf },
                Place::Slot(n) => self.place = Place::Slot(n - 1),
                Place::CallInSlot { .. } => self.place = Place::Slot(0),
                Place::Program if choice & 1 != 0 => self.place = Place::Call { deaf },
                Place::Program => {}
                Place::Call { .. } => self.place = Place::Program,
            }
        }
    }

    #[test]
    fn every_thread_is_out_at_last_and_none_that_is_inside_or_would_lose_its_call() {
        let mut seed = 1u32;
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed >> 16
        };
        let begins = [
            Place::Slot(2),
            Place::CallInSlot { deaf: true },
            Place::CallInSlot { deaf: false },
            Place::Program,
            Place::Call { deaf: true },
            Place::Call { deaf: false },
        ];
        for round in 0..6000 {
            let place = begins[round % begins.len()];
            let mut thread = Thread { place, interrupted: round % 4 == 0, stopped: false };
            let mut asked = thread.interrupted;
            let mut out = false;
            for _ in 0..200 {
                for _ in 0..random() % 3 {
                    thread.run(random());
                }
                match next(thread.found(), asked, false) {
                    Next::Out => {
                        assert!(!matches!(thread.place, Place::Slot(_) | Place::CallInSlot { .. }));
                        assert!(!thread.interrupted || thread.place == Place::Call { deaf: true });
                        out = true;
                    }
                    Next::Stop if thread.stopped => {
                        (thread.place, thread.stopped, asked) = (Place::Program, false, false);
                        out = true;
                    }
                    Next::Stop if !asked => (thread.interrupted, asked) = (true, true),
                    Next::Stop => {}
                    Next::Wait => {}
                }
                if out {
                    break;
                }
            }
            assert!(out, "{thread:?}");
        }
    }

    #[test]
    fn a_step_is_left_to_be_made() {
        assert_eq!(next(Found::Running, false, true), Next::Wait);
        assert_eq!(next(Found::Waiting, false, true), Next::Wait);
        assert_eq!(next(Found::Running, false, false), Next::Stop);
        assert_eq!(next(Found::Stopped, false, true), Next::Stop);
    }
}
