//! Which slots are free, and whose the others are.

use crate::engine::SLOT_SIZE;
use crate::engine::SiteId;
use std::collections::VecDeque;
use xol_arch::Addr;

/// One area of slots in a target.
#[derive(Clone, Debug)]
struct Area {
    start: Addr,
    /// The site that has each slot, by index.
    owners: Vec<Option<SiteId>>,
    free: Vec<u32>,
}

/// The slots of one address space, bounded: when all are used, one is stolen.
#[derive(Clone, Debug, Default)]
pub(in crate::trace) struct Slots {
    areas: Vec<Area>,
    used: usize,
    limit: usize,
    /// The sites with slots, the one that was longest without a hit first: last hit, site, slot.
    oldest: VecDeque<Held>,
}

/// A slot that may be stolen: when its site was last hit, the site, where the slot is.
pub(in crate::trace) type Held = (u64, SiteId, Addr);

impl Slots {
    pub(in crate::trace) fn new(limit: usize) -> Slots {
        Slots { limit: limit.max(1), ..Slots::default() }
    }

    pub(in crate::trace) fn add_area(&mut self, start: Addr, len: u64) {
        let count = (len / SLOT_SIZE) as u32;
        self.areas.push(Area {
            start,
            owners: vec![None; count as usize],
            free: (0..count).rev().collect(),
        });
    }

    /// How many more slots the limit allows.
    pub(in crate::trace) fn allowed(&self) -> usize {
        self.limit.saturating_sub(self.used)
    }

    /// How many are used.
    pub(in crate::trace) fn used(&self) -> usize {
        self.used
    }

    /// Free slots that a jump from `near` reaches.
    pub(in crate::trace) fn free_near(&self, near: Addr, reach: u64) -> usize {
        self.areas.iter().filter(|a| near_enough(a, near, reach)).map(|a| a.free.len()).sum()
    }

    /// Whether there are slots, free or not, that a jump from `near` reaches.
    pub(in crate::trace) fn any_near(&self, near: Addr, reach: u64) -> bool {
        self.areas.iter().any(|a| near_enough(a, near, reach))
    }

    /// A free slot that a jump from `near` reaches, within the limit.
    pub(in crate::trace) fn take(&mut self, near: Addr, reach: u64, site: SiteId) -> Option<Addr> {
        if self.used >= self.limit {
            return None;
        }
        let area =
            self.areas.iter_mut().find(|a| !a.free.is_empty() && near_enough(a, near, reach))?;
        let slot = area.free.pop()?;
        *area.owners.get_mut(slot as usize)? = Some(site);
        self.used += 1;
        Some(area.start.add(u64::from(slot) * SLOT_SIZE))
    }

    /// Gives a slot back.
    pub(in crate::trace) fn release(&mut self, at: Addr) {
        if let Some((area, slot)) = self.locate(at)
            && area.owners[slot].take().is_some()
        {
            area.free.push(slot as u32);
            self.used -= 1;
        }
    }

    /// The site whose slot `pc` is in.
    pub(in crate::trace) fn owner(&self, pc: Addr) -> Option<SiteId> {
        let area = self
            .areas
            .iter()
            .find(|a| pc.0.wrapping_sub(a.start.0) < a.owners.len() as u64 * SLOT_SIZE)?;
        *area.owners.get(((pc.0 - area.start.0) / SLOT_SIZE) as usize)?
    }

    /// The slot in reach of `near` that is to be stolen next, and whose it is. `last_hit` says when a site
    /// was last hit, and nothing of one that must keep its slot.
    ///
    /// What was hit last is sorted once for many: a hit only makes a site younger, so that the first
    /// which was not hit since is the oldest of all. Each slot is proposed once.
    pub(in crate::trace) fn oldest(
        &mut self,
        near: Addr,
        reach: u64,
        last_hit: &dyn Fn(SiteId) -> Option<u64>,
    ) -> Option<Held> {
        self.next_oldest(near, reach, last_hit).or_else(|| {
            let mut all: Vec<Held> = Vec::with_capacity(self.used);
            for area in &self.areas {
                for (slot, owner) in (0..).zip(&area.owners) {
                    if let Some((site, hit)) = owner.and_then(|o| Some((o, last_hit(o)?))) {
                        all.push((hit, site, area.start.add(slot * SLOT_SIZE)));
                    }
                }
            }
            all.sort_unstable();
            self.oldest = all.into();
            self.next_oldest(near, reach, last_hit)
        })
    }

    fn next_oldest(
        &mut self,
        near: Addr,
        reach: u64,
        last_hit: &dyn Fn(SiteId) -> Option<u64>,
    ) -> Option<Held> {
        let mut far = 0;
        while let Some(&(hit, site, at)) = self.oldest.get(far) {
            let same = self.owner(at) == Some(site) && last_hit(site) == Some(hit);
            if same && !Slots::reaches(at, near, reach) {
                far += 1;
                continue;
            }
            let held = self.oldest.remove(far);
            if same {
                return held;
            }
        }
        None
    }

    /// Sites got new numbers, [`crate::engine::NONE`] for those that are gone.
    pub(in crate::trace) fn renumber(&mut self, moved: &[Option<SiteId>]) {
        self.oldest.clear();
        for owner in self.areas.iter_mut().flat_map(|a| &mut a.owners) {
            *owner = owner.and_then(|old| *moved.get(old.index())?);
        }
    }

    /// Whether a slot at `at` is reached by a jump from `near`.
    pub(in crate::trace) fn reaches(at: Addr, near: Addr, reach: u64) -> bool {
        at.distance_from(near).unsigned_abs() < reach
    }

    fn locate(&mut self, at: Addr) -> Option<(&mut Area, usize)> {
        let area = self
            .areas
            .iter_mut()
            .find(|a| at.0.wrapping_sub(a.start.0) < a.owners.len() as u64 * SLOT_SIZE)?;
        let slot = ((at.0 - area.start.0) / SLOT_SIZE) as usize;
        Some((area, slot))
    }
}

fn near_enough(area: &Area, near: Addr, reach: u64) -> bool {
    let end = area.start.add(area.owners.len() as u64 * SLOT_SIZE);
    Slots::reaches(area.start, near, reach) && Slots::reaches(end, near, reach)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_whose_it_was_given_to_until_it_is_released() {
        let mut slots = Slots::new(3);
        slots.add_area(Addr(0x10000), 4 * SLOT_SIZE);
        let near = Addr(0x20000);
        let a = slots.take(near, 1 << 20, SiteId(7)).unwrap();
        let b = slots.take(near, 1 << 20, SiteId(8)).unwrap();
        assert_ne!(a, b);
        assert_eq!(slots.owner(b.add(SLOT_SIZE - 1)), Some(SiteId(8)));
        assert_eq!(slots.owner(Addr(0x10000 + 4 * SLOT_SIZE)), None);
        assert!(slots.take(near, 1 << 20, SiteId(9)).is_some());
        assert!(slots.take(near, 1 << 20, SiteId(10)).is_none(), "the limit is three");
        slots.release(a);
        assert_eq!(slots.owner(a), None);
        assert!(slots.take(near, 0x100, SiteId(11)).is_none(), "out of reach");
        assert_eq!(slots.take(near, 1 << 20, SiteId(12)), Some(a));
    }

    #[test]
    fn the_slot_to_steal_is_that_of_the_least_recent_hit() {
        let mut slots = Slots::new(8);
        let (low, high) = (Addr(0x10000), Addr(0x1000_0000));
        slots.add_area(low, 4 * SLOT_SIZE);
        slots.add_area(high, 4 * SLOT_SIZE);
        let reach = 1 << 20;
        let at: Vec<Addr> =
            (0..4).map(|site| slots.take(low, reach, SiteId(site)).unwrap()).collect();
        let far = slots.take(high, reach, SiteId(4)).unwrap();
        let mut hits = [30, 10, 20, 40, 1];
        let next = |slots: &mut Slots, hits: &[u64; 5], near| {
            slots.oldest(near, reach, &|site| hits.get(site.index()).copied())
        };
        assert_eq!(next(&mut slots, &hits, low), Some((10, SiteId(1), at[1])));
        // Hit since it was sorted: no longer the oldest.
        hits[2] = 50;
        assert_eq!(next(&mut slots, &hits, low), Some((30, SiteId(0), at[0])));
        slots.release(at[3]);
        // Only what is far is left, so all are sorted again; what was kept may be proposed again.
        assert_eq!(next(&mut slots, &hits, low), Some((10, SiteId(1), at[1])));
        assert_eq!(next(&mut slots, &hits, high), Some((1, SiteId(4), far)));
        slots.renumber(&[0, 1, 2, 3, 4].map(|n| Some(SiteId(n))));
        assert_eq!(next(&mut slots, &hits, low), Some((10, SiteId(1), at[1])));
    }
}
