//! The sites of one address space, in the tables the engine works on.

use crate::engine::ConsumerId;
use crate::engine::SiteId;
use crate::engine::{Counter, Link, NONE, Site, SlotRef, Table, find, hash_slots, index_insert};
use crate::trace::space::hot::Hot;
use crate::trace::space::jumps::Jumps;
use crate::trace::space::objects::Loaded;
use crate::trace::space::slots::Slots;
use crate::trace::space::text::Away;
use rustc_hash::FxHashMap;
use std::ops::{Index, IndexMut, Range};
use xol_arch::{Addr, Arch, Strategy};
use xol_targets::Native;
use xol_targets::ptrace::Area;

/// One address space as the engine knows it.
#[derive(Clone, Debug, Default)]
pub(in crate::trace) struct Sites {
    pub(in crate::trace) sites: Vec<Site<Native>>,
    index: Vec<u32>,
    links: Vec<Link>,
    clock: u64,
    pub(in crate::trace) slots: Slots,
    /// Sites whose traps became jumps.
    pub(in crate::trace) jumps: Jumps,
    /// Sites that may become jumps.
    pub(in crate::trace) hot: Hot,
    /// Objects that were mapped when last looked.
    pub(in crate::trace) objects: Vec<Loaded>,
    /// Text that the program may write, or has been able to.
    pub(in crate::trace) writable: Vec<Range<Addr>>,
    /// What was displaced at the sites in it.
    pub(in crate::trace) displaced: FxHashMap<u64, [u8; 16]>,
    /// Whether the program has put a copy of its text in its place, with something of ours in it.
    pub(in crate::trace) copied: bool,
    /// What was left in text that is no longer where it was.
    pub(in crate::trace) away: Vec<Away>,
    /// Whether it was tried to map our head.
    pub(in crate::trace) prepared: bool,
    /// Where functions are left.
    pub(in crate::trace) exits: crate::trace::space::exits::Known,
    /// What an xol that was killed has mapped, as long as a thread may be inside.
    pub(in crate::trace) left: Vec<Area>,
    /// Why there are no slots.
    pub(in crate::trace) no_slots: Option<String>,
}

impl Index<SiteId> for Sites {
    type Output = Site<Native>;

    fn index(&self, site: SiteId) -> &Site<Native> {
        &self.sites[site.index()]
    }
}

impl IndexMut<SiteId> for Sites {
    fn index_mut(&mut self, site: SiteId) -> &mut Site<Native> {
        &mut self.sites[site.index()]
    }
}

impl Sites {
    /// Returns a site, if there is one with that number.
    pub(in crate::trace) fn get(&self, site: SiteId) -> Option<&Site<Native>> {
        self.sites.get(site.index())
    }

    /// Returns a site to be changed, if there is one with that number.
    pub(in crate::trace) fn get_mut(&mut self, site: SiteId) -> Option<&mut Site<Native>> {
        self.sites.get_mut(site.index())
    }

    /// Returns all sites with their numbers.
    pub(in crate::trace) fn numbered(&self) -> impl Iterator<Item = (SiteId, &Site<Native>)> {
        (0..).map(SiteId).zip(&self.sites)
    }

    pub(in crate::trace) fn new(slots: usize) -> Sites {
        Sites { slots: Slots::new(slots), index: vec![NONE; hash_slots(0)], ..Sites::default() }
    }

    /// What a hit looks at.
    pub(in crate::trace) fn table<'a>(
        &'a mut self,
        counters: &'a mut [Counter],
    ) -> Table<'a, Native> {
        Table {
            sites: &mut self.sites,
            index: &self.index,
            links: &self.links,
            counters,
            clock: &mut self.clock,
        }
    }

    /// Returns the number of the site at `addr`.
    pub(in crate::trace) fn find(&self, addr: Addr) -> Option<SiteId> {
        find(&self.sites, &self.index, addr)
    }

    /// Returns the site whose slot `pc` is in, with its number.
    pub(in crate::trace) fn with_slot(&self, pc: Addr) -> Option<(SiteId, Site<Native>, SlotRef)> {
        let number = self.slots.owner(pc)?;
        let site = *self.get(number)?;
        Some((number, site, site.slot?))
    }

    /// Adds a site; its number.
    pub(in crate::trace) fn add(&mut self, site: Site<Native>) -> SiteId {
        let number = SiteId(self.sites.len() as u32);
        self.sites.push(site);
        if self.sites.len() * 2 > self.index.len() {
            self.rebuild();
        } else {
            index_insert(&mut self.index, site.addr, number);
        }
        number
    }

    /// Lets `consumer` know of the hits of `site`, once.
    pub(in crate::trace) fn link(&mut self, site: SiteId, consumer: ConsumerId) {
        if self.consumers(site).any(|c| c == consumer) {
            return;
        }
        let link = Link { consumer, next: self[site].first };
        self[site].first = self.links.len() as u32;
        self.links.push(link);
    }

    /// How hits of a site are taken now.
    pub(in crate::trace) fn strategy(&self, site: SiteId) -> Strategy {
        match self.get(site) {
            Some(site) if self.jumps.counts(site.addr) => Strategy::Jump,
            Some(site) => site.strategy,
            None => Strategy::Boost,
        }
    }

    /// The consumers of a site.
    pub(in crate::trace) fn consumers(
        &self,
        site: SiteId,
    ) -> impl Iterator<Item = ConsumerId> + '_ {
        let mut next = self.get(site).map_or(NONE, |s| s.first);
        std::iter::from_fn(move || {
            let link = self.links.get(next as usize)?;
            next = link.next;
            Some(link.consumer)
        })
    }

    /// Forgets the sites that `keep` does not want: their mapping is gone.
    pub(in crate::trace) fn retain(&mut self, keep: impl Fn(Addr) -> bool) {
        self.jumps.retain(&keep);
        let mut moved = vec![None; self.sites.len()];
        let mut kept = Vec::with_capacity(self.sites.len());
        for (old, site) in self.sites.iter().enumerate() {
            if !keep(site.addr) {
                if let Some(slot) = site.slot {
                    self.slots.release(slot.at);
                }
            } else {
                moved[old] = Some(SiteId(kept.len() as u32));
                kept.push(*site);
            }
        }
        if kept.len() == self.sites.len() {
            return;
        }
        // What was decoded there may be something else now.
        self.exits.retain(&keep);
        self.sites = kept;
        self.slots.renumber(&moved);
        self.rebuild();
    }

    /// Puts the program's own bytes into `bytes`, which were read at `base`, where an instruction
    /// begins.
    pub(in crate::trace) fn restore(&mut self, base: u64, bytes: &mut [u8]) {
        const TRAP: &[u8] = Native::TRAP;
        for offset in (0..bytes.len()).step_by(Native::INSN_ALIGN as usize) {
            if bytes[offset..].starts_with(TRAP)
                && let Some(number) = self.find(Addr(base + offset as u64))
                && let Some(site) = self.get(number).filter(|site| site.armed)
            {
                bytes[offset..][..TRAP.len()].copy_from_slice(&site.original[..TRAP.len()]);
            }
        }
        self.jumps.restore(base, bytes);
    }

    fn rebuild(&mut self) {
        self.index = vec![NONE; hash_slots(self.sites.len())];
        for (number, site) in self.sites.iter().enumerate() {
            index_insert(&mut self.index, site.addr, SiteId(number as u32));
        }
    }
}
