//! Landing places for the jumps of a group: chosen, and mapped in the target.

use crate::WhyNotJump;
use crate::landing::Place;
use crate::trace::jumping::windows::Chosen;
use crate::trace::session::Session;
use crate::trace::space::jumps::{LANDING, LANDINGS, Region};
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use xol_arch::jump::Reach;
use xol_arch::{Addr, Arch, Reason};
use xol_targets::Native;
use xol_targets::ptrace::{Area, SpaceId, Tid, max_mappings};

impl Session<'_> {
    /// Where each jump of a group lands: nowhere (`None`) if it reaches its trampoline itself. For which
    /// there is no place, it is the other way, if there is one.
    pub(in crate::trace) fn landings(
        &mut self,
        space: SpaceId,
        tid: Tid,
        region: &Region,
        group: &mut [Chosen],
    ) -> io::Result<Vec<Result<Option<Addr>, WhyNotJump>>> {
        if !LANDINGS {
            return Ok(group.iter().map(|_| Ok(None)).collect());
        }
        let jumps = &self.sites_mut(space).jumps;
        let within = within(region);
        let left = |c: &Chosen| {
            let reach = c.window.reach();
            let left = jumps.left_landing(c.window.at).filter(|_| !reach.is_free())?;
            let mut all = std::iter::once(left).chain(reach.others(left));
            (reach.allows(left) && all.all(|at| within.contains(&at.0))).then_some(left)
        };
        let left: Vec<Option<Addr>> = group.iter().map(left).collect();
        let new = group.iter().zip(&left).filter(|(_, left)| left.is_none());
        let reaches: Vec<Reach> = new.map(|(chosen, _)| chosen.window.reach()).collect();
        let mut placed = self.land(space, tid, region, &reaches)?.into_iter();
        let mut place = |left: Option<Addr>| match left {
            Some(left) => Some(Ok(Some(left))),
            None => placed.next(),
        };
        let mut landings: Vec<_> = left.into_iter().map_while(&mut place).collect();
        let mut again = Vec::new();
        for (n, chosen) in group.iter_mut().enumerate().filter(|(n, _)| landings[*n].is_err()) {
            if let Some(other) = chosen.other.take() {
                again.push((n, other.window.reach()));
                *chosen = *other;
            }
        }
        let reaches: Vec<Reach> = again.iter().map(|(_, reach)| *reach).collect();
        let places = self.land(space, tid, region, &reaches)?;
        for ((n, _), place) in again.into_iter().zip(places) {
            landings[n] = place;
        }
        // Until a jump stands, the next one there may have its place.
        let jumps = &mut self.sites_mut(space).jumps;
        for (chosen, landing) in group.iter().zip(&landings) {
            if let Ok(Some(landing)) = landing {
                jumps.leave_landing(chosen.window.at, *landing);
            }
        }
        Ok(landings)
    }

    fn land(
        &mut self,
        space: SpaceId,
        tid: Tid,
        region: &Region,
        reaches: &[Reach],
    ) -> io::Result<Vec<Result<Option<Addr>, WhyNotJump>>> {
        let constrained: Vec<_> = reaches.iter().filter(|r| !r.is_free()).copied().collect();
        let places = if constrained.is_empty() {
            Vec::new()
        } else {
            let within = within(region);
            let jumps = &self.spaces.get(&space).ok_or(io::ErrorKind::NotFound)?.jumps;
            let holes = self.target.holes(space, &jumps.pages)?;
            let jumps = &mut self.sites_mut(space).jumps;
            jumps.landings.set_holes(holes);
            let places = jumps.landings.place_all(&constrained, within);
            let all = |(place, reach): (&Option<Place>, &Reach)| {
                place.map(|place| pages_of(*reach, place.at).collect::<Vec<_>>())
            };
            let pages: BTreeSet<u64> =
                places.iter().zip(&constrained).filter_map(all).flatten().collect();
            let new = pages.difference(&jumps.pages).copied().collect();
            self.map_pages(space, tid, &new)?;
            let jumps = &mut self.sites_mut(space).jumps;
            let (mapped, landings) = (&jumps.pages, &mut jumps.landings);
            let is_mapped = |(place, reach): (Option<Place>, &Reach)| {
                let place = place?;
                if pages_of(*reach, place.at).all(|page| mapped.contains(&page)) {
                    return Some(place);
                }
                landings.release_all(place, reach);
                None
            };
            places.into_iter().zip(&constrained).map(is_mapped).collect()
        };
        let mut places = places.into_iter();
        Ok(reaches
            .iter()
            .map(|reach| match reach.is_free() {
                true => Ok(None),
                false => places
                    .next()
                    .flatten()
                    .map(|place| Some(place.at))
                    .ok_or(Reason::NoLandingPlace.into()),
            })
            .collect())
    }

    /// Maps pages, neighbours in one go.
    fn map_pages(&mut self, space: SpaceId, tid: Tid, pages: &BTreeSet<u64>) -> io::Result<()> {
        const PAGE: u64 = 4096;
        let limit = max_mappings() / 8;
        let mut pages = pages.iter().copied().peekable();
        while let Some(start) = pages.next() {
            let mut end = start + PAGE;
            while pages.next_if_eq(&end).is_some() {
                end += PAGE;
            }
            let bytes = self.sites_mut(space).jumps.pages.len() as u64 * PAGE + end - start;
            let noted = self.target.has_room_for(space, 1);
            if bytes / PAGE > limit as u64 || !noted || !self.may_take(space, bytes) {
                break;
            }
            let area = Area { start: Addr(start), len: end - start };
            match self.target.map_code_at(tid, area) {
                Ok(()) => {
                    let pages = (start..end).step_by(PAGE as usize);
                    self.sites_mut(space).jumps.pages.extend(pages);
                }
                Err(xol_targets::ptrace::InjectError::Io(error)) => return Err(error),
                // Something of the program's is there by now.
                Err(_) => {}
            }
        }
        Ok(())
    }
}

/// Where the trampolines of a region are reached from.
fn within(region: &Region) -> Range<u64> {
    let code = region.code;
    let low = (code.start.0 + code.len).saturating_sub(Native::JUMP_REACH);
    low..code.start.0.saturating_add(Native::JUMP_REACH - LANDING)
}

/// The pages of the landing places of one jump.
fn pages_of(reach: Reach, at: Addr) -> impl Iterator<Item = u64> {
    std::iter::once(at).chain(reach.others(at)).map(|at| at.align_down(4096).0)
}
