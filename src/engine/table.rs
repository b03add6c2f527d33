//! The lookup by address, and the counting of a hit.

use super::ids::{ConsumerId, SiteId};
use super::site::Site;
use xol_arch::{Addr, Arch};

/// No index: the end of a chain, an empty place.
pub const NONE: u32 = u32::MAX;

/// Executions a consumer was told of, and those it could not be told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Told.
    pub hits: u64,
    /// Not told: recursion, no room.
    pub missed: u64,
}

/// One consumer of a site; sites are shared by probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index of its [`Counter`].
    pub consumer: ConsumerId,
    /// The next of the same site, or [`NONE`].
    pub next: u32,
}

/// What a hit looks at: all of it lent.
#[derive(Debug)]
pub struct Table<'a, A: Arch> {
    /// The sites, in no order.
    pub sites: &'a mut [Site<A>],
    /// Indices into `sites` by hash of the address; a power of two, at most half full.
    pub index: &'a [u32],
    /// The consumers of all sites.
    pub links: &'a [Link],
    /// Their counters.
    pub counters: &'a mut [Counter],
    /// Counts hits: the clock by which the least recently hit site is found.
    pub clock: &'a mut u64,
}

/// How many places an index for `sites` needs.
#[must_use]
pub fn hash_slots(sites: usize) -> usize {
    (sites.max(32) * 2).next_power_of_two()
}

fn first_place(addr: Addr, places: usize) -> usize {
    (addr.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & places.wrapping_sub(1)
}

/// Enters site number `site` at `addr` into an index that has room.
pub fn index_insert(index: &mut [u32], addr: Addr, site: SiteId) {
    let mut i = first_place(addr, index.len());
    for _ in 0..index.len() {
        if let Some(place) = index.get_mut(i)
            && *place == NONE
        {
            *place = site.0;
            return;
        }
        i = (i + 1) & index.len().wrapping_sub(1);
    }
}

/// Returns the number of the site at `addr`, as an index of these sites has it.
#[must_use]
pub fn find<A: Arch>(sites: &[Site<A>], index: &[u32], addr: Addr) -> Option<SiteId> {
    let mut i = first_place(addr, index.len());
    for _ in 0..index.len() {
        let site = SiteId(*index.get(i)?);
        if site.0 == NONE {
            return None;
        }
        if sites.get(site.index())?.addr == addr {
            return Some(site);
        }
        i = (i + 1) & index.len().wrapping_sub(1);
    }
    None
}

impl<A: Arch> Table<'_, A> {
    /// Returns the number of the site at `addr`.
    #[must_use]
    pub fn find(&self, addr: Addr) -> Option<SiteId> {
        find(self.sites, self.index, addr)
    }

    /// Counts an execution of `site`, for the site and for each of its consumers.
    pub fn count(&mut self, site: SiteId) {
        *self.clock = self.clock.wrapping_add(1);
        let Some(site) = self.sites.get_mut(site.index()) else { return };
        site.hits = site.hits.wrapping_add(1);
        site.last_hit = *self.clock;
        let mut next = site.first;
        while let Some(link) = self.links.get(next as usize) {
            if let Some(counter) = self.counters.get_mut(link.consumer.index()) {
                counter.hits = counter.hits.wrapping_add(1);
            }
            next = link.next;
        }
    }
}
