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
        self.make_way_for(space, wants)?;
        let traps = self.arm_traps(space, tid, wants)?;
        self.check_unwritten(space, &traps.read)?;
        self.jump_at_once(space, tid, wants, traps.fresh)?;
        Ok(traps.armed)
    }

    /// Jumps give way to what does not go together with them: a new site inside, or a new
    /// consumer of a hit.
    pub(in crate::trace) fn make_way_for(
        &mut self,
        space: SpaceId,
        wants: &[Want],
    ) -> io::Result<()> {
        let sites = self.sites_mut(space);
        let mut over = Vec::new();
        for want in wants {
            if sites.jumps.over(want.addr).is_none() {
                continue;
            }
            let known = sites.find(want.addr);
            if !known.is_some_and(|site| sites.consumers(site).any(|c| c == want.consumer)) {
                over.push(want.addr);
            }
        }
        over.sort_unstable();
        self.make_way(space, &over)
    }
}
