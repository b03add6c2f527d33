//! Sites armed, and made jumps where that is due: the one way to arm for all rooms above.

use crate::trace::session::Session;
use crate::trace::wanted::want::{Armed, Want};
use std::io;
use xol_arch::Reason;
use xol_targets::ptrace::{SpaceId, Tid};

impl Session<'_> {
    /// Arms all of `wants`, using `tid` for calls in the target if one is needed and there is
    /// one. The results are in the same order.
    ///
    /// # Errors
    /// Those of the target; what could be armed then is.
    pub(in crate::trace) fn arm(
        &mut self,
        space: SpaceId,
        tid: Option<Tid>,
        wants: &[Want],
    ) -> io::Result<Vec<Armed>> {
        if self.target.is_leaving() {
            // A hit that is still on its way must not bring traps back.
            return Ok(vec![Err(Reason::TooManySites.into()); wants.len()]);
        }
        let gave_way = self.make_way_for(space, wants)?;
        let mut traps = self.arm_traps(space, tid, wants)?;
        self.check_unwritten(space, &traps.read)?;
        // A jump gives way to one more that is told of its site, and comes back for both.
        if cfg!(feature = "jump") && !gave_way.is_empty() {
            traps.fresh.extend(gave_way);
            traps.fresh.sort_unstable_by_key(|&i| (wants[i].addr, i));
            traps.fresh.dedup();
        }
        self.jump_at_once(space, tid, wants, traps.fresh)?;
        Ok(traps.armed)
    }

    /// Jumps give way to what does not go together with them: a new site inside, or a new
    /// consumer of a hit. Returns the wants at whose place a jump began that gave way.
    fn make_way_for(&mut self, space: SpaceId, wants: &[Want]) -> io::Result<Vec<usize>> {
        if !cfg!(feature = "jump") {
            return Ok(Vec::new());
        }
        let sites = self.sites_mut(space);
        let (mut over, mut gave_way) = (Vec::new(), Vec::new());
        for (i, want) in wants.iter().enumerate() {
            let Some((_, jump, _)) = sites.jumps.over(want.addr) else { continue };
            let begins = jump.window.at == want.addr;
            let known = sites.find(want.addr);
            if !known.is_some_and(|site| sites.consumers(site).any(|c| c == want.consumer)) {
                over.push(want.addr);
                if begins {
                    gave_way.push(i);
                }
            }
        }
        over.sort_unstable();
        self.make_way(space, &over)?;
        Ok(gave_way)
    }
}
