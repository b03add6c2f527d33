//! For tests: jumps taken back and written again, over and over, while the program runs.

use crate::trace::session::Session;
use crate::trace::space::jumps::{Jump, State};
use std::io;
use std::rc::Rc;
use std::time::Duration;
use xol_targets::ptrace::{SpaceId, tracer};

/// How long a state lasts at least.
const EVERY: Duration = Duration::from_millis(1);

/// What has been done so far.
#[derive(Debug, Default)]
pub(in crate::trace) struct Toggle {
    /// Jumps that are taken back.
    off: Vec<(SpaceId, usize, Rc<Jump>)>,
    /// Jumps that were written again.
    written: u64,
    done: bool,
}

impl Session<'_> {
    /// At a tick: what is a jump becomes a trap, or the other way round; then the next tick comes
    /// soon.
    pub(in crate::trace) fn toggle(&mut self) -> io::Result<()> {
        let Some(times) = self.options.toggle.filter(|_| !self.jumping.toggle.done) else {
            return Ok(());
        };
        let off = std::mem::take(&mut self.jumping.toggle.off);
        if off.is_empty() {
            self.take_for_now()?;
        } else {
            self.write_again(off)?;
        }
        if self.jumping.toggle.written >= times && self.jumping.toggle.off.is_empty() {
            self.jumping.toggle.done = true;
            self.note(format!(
                "{} jumps were taken back and written again",
                self.jumping.toggle.written
            ));
        }
        tracer::tick_after(Some(EVERY))
    }

    fn take_for_now(&mut self) -> io::Result<()> {
        let spaces: Vec<SpaceId> = self.spaces.keys().copied().collect();
        for space in spaces {
            let standing = self.sites_mut(space).jumps.standing();
            self.take_jumps(space, &standing)?;
            self.jumping.toggle.off.extend(standing.into_iter().map(|(n, jump)| (space, n, jump)));
        }
        Ok(())
    }

    fn write_again(&mut self, mut off: Vec<(SpaceId, usize, Rc<Jump>)>) -> io::Result<()> {
        while let Some(&(space, ..)) = off.first() {
            let mut of_space: Vec<_> = off.extract_if(.., |(of, ..)| *of == space).collect();
            of_space.retain(|(_, number, _)| self.may_return(space, *number));
            let jumps: Vec<_> = of_space.iter().map(|(.., jump)| jump.clone()).collect();
            if self.target.space(space).is_none() {
                continue;
            }
            let Some(stands) = self.write_jumps(space, &jumps)? else { continue };
            for ((_, number, _), stands) in of_space.into_iter().zip(stands) {
                if stands {
                    self.sites_mut(space).jumps.set(number, State::On);
                    self.jumping.toggle.written += 1;
                }
            }
        }
        Ok(())
    }
}
