//! Where constrained jumps land.
//!
//! A jump some of whose bytes must trap can go to few addresses. At the one that is chosen stands
//! only a second jump, five bytes, to a trampoline that lies densely with others: a **landing
//! place**. Places that share their low bits lie in the same pages, and a page of the address
//! space needs no memory of its own: several may be views of one page of shared memory, its
//! **backing**, as long as no two places have the same offset.
//!
//! Nothing here knows a process: the holes of its address space come from the caller, which
//! reads /proc/PID/maps, and maps and writes what is chosen.

use std::collections::BTreeMap;
use std::ops::Range;

use xol_arch::Addr;
use xol_arch::jump::Reach;

/// Bytes of a landing place: `jmp rel32`.
const PLACE: u64 = 5;
/// A place is rather so far behind the first that is possible, in bytes. That one has the lowest
/// bits of the jump's own address, by which branch predictors know branches: taken for each other,
/// they cost 5 to 10 ns a pass.
const SKEW: u64 = 0x15_5540;
/// Words of a set with a bit for each byte of a page.
const PAGE_BITS: usize = 64;
/// The only page size where jumps are constrained (x86-64).
const PAGE: u64 = 4096;

/// A landing place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where the constrained jump goes.
    pub at: Addr,
    /// Which page of the backing memory has it, at the same offset.
    pub backing: u32,
}

impl Place {
    /// The page that it is in.
    #[must_use]
    pub fn page(self) -> Addr {
        self.at.align_down(PAGE)
    }

    /// Its offset in the backing memory.
    #[must_use]
    pub fn offset(self) -> u64 {
        u64::from(self.backing) * PAGE + (self.at.0 & (PAGE - 1))
    }
}

/// The bytes of one backing page that are used.
#[derive(Clone, Debug)]
struct Used([u64; PAGE_BITS]);

impl Used {
    fn is_free(&self, offset: u64) -> bool {
        self.next_free(offset) == Some(offset)
    }

    /// The first offset from `from` on where a place is free.
    fn next_free(&self, from: u64) -> Option<u64> {
        let first = (from / 64) as usize;
        (first..PAGE_BITS).find_map(|i| {
            let used = *self.0.get(i)?;
            // No place goes over the end.
            let next = self.0.get(i + 1).copied().unwrap_or(u64::MAX);
            let taken = (1..PLACE).fold(used, |taken, n| taken | used >> n | next << (64 - n));
            let not_before = if i == first { u64::MAX << (from % 64) } else { u64::MAX };
            let free = !taken & not_before;
            (free != 0).then(|| 64 * i as u64 + u64::from(free.trailing_zeros()))
        })
    }

    fn set(&mut self, offset: u64, used: bool) {
        for byte in offset..offset + PLACE {
            let word = &mut self.0[(byte / 64) as usize];
            *word = *word & !(1 << (byte % 64)) | u64::from(used) << (byte % 64);
        }
    }
}

/// One page of the address space that has places.
#[derive(Clone, Copy, Debug)]
struct Page {
    backing: u32,
    places: u32,
}

/// The landing places of one address space.
#[derive(Clone, Debug, Default)]
pub struct Landings {
    /// Free ranges by their beginning, to their end: whole pages.
    holes: BTreeMap<u64, u64>,
    pages: BTreeMap<u64, Page>,
    backings: Vec<Used>,
    /// The page that a jump with these constraints last landed in.
    recent: BTreeMap<u8, u64>,
}

impl Landings {
    /// With these free ranges of the address space. What may grow (the heap, stacks) and what
    /// must stay free for its own sake is not to be among them.
    #[must_use]
    pub fn new(holes: impl IntoIterator<Item = Range<u64>>) -> Landings {
        let whole = |hole: Range<u64>| {
            let start = hole.start.checked_next_multiple_of(PAGE)?;
            let end = hole.end & !(PAGE - 1);
            (start < end).then_some((start, end))
        };
        Landings { holes: holes.into_iter().filter_map(whole).collect(), ..Landings::default() }
    }

    /// What is free now, but for the pages that have places.
    pub fn set_holes(&mut self, holes: impl IntoIterator<Item = Range<u64>>) {
        self.holes = Landings::new(holes).holes;
        for page in self.pages.keys().copied().collect::<Vec<u64>>() {
            self.reserve(page..page + PAGE);
        }
    }

    /// The pages that have places: each page's address, and which backing page is seen there.
    pub fn pages(&self) -> impl Iterator<Item = (Addr, u32)> {
        self.pages.iter().map(|(&at, page)| (Addr(at), page.backing))
    }

    /// How many pages of memory they need.
    #[must_use]
    pub fn backings(&self) -> usize {
        self.backings.len()
    }

    /// Takes `range` out of the holes: something else is mapped there now.
    pub fn reserve(&mut self, range: Range<u64>) {
        let over: Vec<_> = self
            .holes
            .range(..range.end)
            .filter(|&(_, &end)| end > range.start)
            .map(|(&start, &end)| (start, end))
            .collect();
        for (start, end) in over {
            self.holes.remove(&start);
            let (before, behind) = (range.start & !(PAGE - 1), range.end.next_multiple_of(PAGE));
            if start < before {
                self.holes.insert(start, before);
            }
            if behind < end {
                self.holes.insert(behind, end);
            }
        }
    }

    /// Places for many jumps, those with the least choice first; `within` is where a second jump
    /// reaches its trampoline from. `None` where no address is free that the jump can go to.
    #[must_use]
    pub fn place_all(&mut self, jumps: &[Reach], within: Range<u64>) -> Vec<Option<Place>> {
        let mut order: Vec<usize> = (0..jumps.len()).collect();
        order.sort_unstable_by_key(|&n| {
            (std::cmp::Reverse(jumps[n].constraints().count_ones()), jumps[n].range().0, n)
        });
        let mut places = vec![None; jumps.len()];
        for n in order {
            places[n] = self.place(&jumps[n], within.clone());
        }
        places
    }

    /// A place for one jump, and those that it goes to instead when others have put traps in its
    /// displacement ([`Reach::others`]).
    #[must_use]
    pub fn place(&mut self, jump: &Reach, within: Range<u64>) -> Option<Place> {
        // Where one is free and its others are not, the next may have them.
        const TRIES: u32 = 16;
        let (first, end) = jump.range();
        let within = within.start.max(first.0)..within.end.min(end.0);
        let mut from = within.start;
        for _ in 0..TRIES {
            let rest = from..within.end;
            if rest.is_empty() {
                break;
            }
            let place = self.in_a_page(jump, &rest).or_else(|| self.in_a_hole(jump, &rest))?;
            if self.take_all(place, jump, &within) {
                self.recent.insert(jump.constraints(), place.page().0);
                return Some(place);
            }
            from = place.at.0 + 1;
        }
        None
    }

    /// Takes a place, and those that the jump goes to instead; none where one is not free: it would go
    /// astray.
    fn take_all(&mut self, place: Place, jump: &Reach, within: &Range<u64>) -> bool {
        self.take(place);
        let mut taken = vec![place];
        for other in jump.others(place.at) {
            let Some(other) = self.exactly(other.0, within).filter(|one| !taken.contains(one))
            else {
                taken.into_iter().for_each(|one| _ = self.release(one));
                return false;
            };
            self.take(other);
            taken.push(other);
        }
        true
    }

    /// The place at this address, if it is free.
    fn exactly(&mut self, at: u64, within: &Range<u64>) -> Option<Place> {
        let (page, offset) = (at & !(PAGE - 1), at & (PAGE - 1));
        if !within.contains(&at) || at + PLACE > within.end || offset + PLACE > PAGE {
            return None;
        }
        if let Some(known) = self.pages.get(&page) {
            let free = self.backings[known.backing as usize].is_free(offset);
            return free.then_some(Place { at: Addr(at), backing: known.backing });
        }
        let (_, &end) = self.holes.range(..=page).next_back()?;
        if page + PAGE > end {
            return None;
        }
        let backing = self.backing_for(offset);
        self.reserve(page..page + PAGE);
        self.pages.insert(page, Page { backing, places: 0 });
        Some(Place { at: Addr(at), backing })
    }

    fn take(&mut self, place: Place) {
        self.backings[place.backing as usize].set(place.at.0 & (PAGE - 1), true);
        if let Some(page) = self.pages.get_mut(&place.page().0) {
            page.places += 1;
        }
    }

    /// Gives back what [`Landings::place`] has taken for a jump.
    pub fn release_all(&mut self, place: Place, jump: &Reach) {
        for at in std::iter::once(place.at).chain(jump.others(place.at)) {
            if let Some(page) = self.pages.get(&at.align_down(PAGE).0) {
                self.release(Place { at, backing: page.backing });
            }
        }
    }

    /// Gives one place back; true if its page has no other any more and is a hole again.
    pub fn release(&mut self, place: Place) -> bool {
        let at = place.page().0;
        let Some(page) = self.pages.get_mut(&at) else { return false };
        self.backings[page.backing as usize].set(place.at.0 & (PAGE - 1), false);
        page.places -= 1;
        if page.places > 0 {
            return false;
        }
        self.pages.remove(&at);
        self.recent.retain(|_, page| *page != at);
        let mut hole = at..at + PAGE;
        if let Some((&start, &end)) = self.holes.range(..at).next_back()
            && end == hole.start
        {
            hole.start = start;
        }
        if let Some(end) = self.holes.remove(&hole.end) {
            hole.end = end;
        }
        self.holes.insert(hole.start, hole.end);
        true
    }

    /// A place in a page that has others.
    fn in_a_page(&self, jump: &Reach, within: &Range<u64>) -> Option<Place> {
        let recent = self.recent.get(&jump.constraints()).filter(|page| within.contains(page));
        let recent = recent.and_then(|at| self.pages.get_key_value(at));
        recent
            .into_iter()
            .chain(self.pages.range(within.start & !(PAGE - 1)..within.end))
            .find_map(|(&at, page)| self.free_in(jump, at, page.backing, within))
    }

    /// The first place in a page that is free in its backing.
    fn free_in(&self, jump: &Reach, page: u64, backing: u32, within: &Range<u64>) -> Option<Place> {
        let used = self.backings.get(backing as usize)?;
        // A place does not go over the end of its page.
        let end = Addr((page + PAGE - PLACE + 1).min(within.end));
        let mut from = Addr(page.max(within.start));
        while let Some(at) = jump.next(from, end) {
            let offset = at.0 & (PAGE - 1);
            let free = used.next_free(offset)?;
            if free == offset {
                return Some(Place { at, backing });
            }
            from = Addr(page + free);
        }
        None
    }

    /// A place in a new page: in the nearest hole that has one, its beginning first, so that jumps
    /// from near each other come to the same page.
    fn in_a_hole(&mut self, jump: &Reach, within: &Range<u64>) -> Option<Place> {
        let (first, end) = jump.range();
        let site = first.0 / 2 + end.0 / 2;
        let distance = |&(start, end): &(u64, u64)| {
            if end <= site { site - end } else { start.saturating_sub(site) }
        };
        let mut holes: Vec<(u64, u64)> = self
            .holes
            .range(..within.end)
            .map(|(&start, &end)| (start.max(within.start & !(PAGE - 1)), end.min(within.end)))
            .filter(|(start, end)| start + PAGE <= *end)
            .collect();
        holes.sort_unstable_by_key(|hole| (distance(hole), *hole));
        let mut tries = holes.into_iter().flat_map(|(start, end)| {
            let from = jump.next(Addr(start.max(within.start)), Addr(end));
            let skewed = from.map(|from| from.add(SKEW)).filter(|from| from.0 < end);
            [skewed, from].into_iter().flatten().map(move |from| (start, from, end))
        });
        tries.find_map(|(start, mut from, end)| {
            loop {
                let at = jump.next(from, Addr(end))?;
                let page = at.0 & !(PAGE - 1);
                let offset = at.0 & (PAGE - 1);
                if page + PAGE > end {
                    return None;
                }
                if offset + PLACE <= PAGE && page >= start {
                    let backing = self.backing_for(offset);
                    self.reserve(page..page + PAGE);
                    self.pages.insert(page, Page { backing, places: 0 });
                    return Some(Place { at, backing });
                }
                from = at.add(1);
            }
        })
    }

    /// A backing page where `offset` is free.
    fn backing_for(&mut self, offset: u64) -> u32 {
        let found = self.backings.iter().position(|used| used.is_free(offset));
        found.unwrap_or_else(|| {
            self.backings.push(Used([0; PAGE_BITS]));
            self.backings.len() - 1
        }) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xol_arch::jump::{Side, Window};
    use xol_arch::x86_64::X86_64;
    use xol_arch::{Arch, Rules, Text};

    const TEXT: u64 = 0x7f12_3456_0000;

    struct Dice(u64);

    impl Dice {
        fn roll(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }
    }

    /// Code of PUSH, MOV, SUB and so on, and its windows.
    fn windows(dice: &mut Dice, count: usize, side: Side) -> Vec<Window> {
        const INSNS: [&[u8]; 5] = [
            &[0x55],
            &[0x41, 0x57],
            &[0x48, 0x89, 0xe5],
            &[0x48, 0x83, 0xec, 0x18],
            &[0xe8, 1, 2, 3, 4],
        ];
        let mut code = Vec::new();
        let mut sites = Vec::new();
        while sites.len() < count {
            sites.push(Addr(TEXT + code.len() as u64));
            code.extend_from_slice(INSNS[dice.roll() as usize % INSNS.len()]);
        }
        code.extend_from_slice(&[0x90; 16]);
        let function = (Addr(TEXT), Addr(TEXT + code.len() as u64));
        let text = Text { function: Some(function), ..Text::new(Addr(TEXT), &code) };
        let window = |at: &Addr| X86_64::window(&text, *at, Rules::default(), &[], side);
        // Above, not each trap has a way to be.
        let windows: Vec<Window> = sites.iter().filter_map(|at| window(at).ok()).collect();
        assert!(windows.len() == count || side == Side::Above && windows.len() > count / 2);
        windows
    }

    /// RETs with other code behind: each has one place, in a page that others may see too.
    #[test]
    fn one_place_is_that_or_none() {
        let behind = |at: u64, code: [u8; 5]| {
            let text = Text::new(Addr(at), &code);
            X86_64::window_alone(&text, Addr(at), Rules::default(), &[]).unwrap().reach()
        };
        let within = TEXT - (1 << 31)..TEXT + (1 << 31);
        const CODE: [u8; 5] = [0xc3, 0x48, 0x8b, 0x44, 0xe0];
        let hole = TEXT - 0x7000_0000..TEXT - 0x10_0000;
        let mut landings = Landings::new(std::iter::once(hole));
        // ret; mov rax, [rax-..], and the same 16 pages on: one backing page has both.
        let at = |n: u64| Addr(TEXT + n + 5 - (0x1_0000_0000 - 0xe044_8b48));
        let one = landings.place(&behind(TEXT, CODE), within.clone());
        assert_eq!(one, Some(Place { at: at(0), backing: 0 }));
        // With a trap at the MOV it goes elsewhere in the same page.
        assert!(!landings.backings[0].is_free(0xb4d) && !landings.backings[0].is_free(0xbd1));
        let next = TEXT + 0x1_0008;
        let two = landings.place(&behind(next, CODE), within.clone());
        assert_eq!(two, Some(Place { at: at(0x1_0008), backing: 0 }));
        // What overlaps the first, what is not free, and what is out of reach.
        let over = behind(TEXT + 1, CODE);
        assert_eq!(landings.place(&over, within.clone()), None);
        let taken = behind(TEXT, [0xc3, 0x90, 0x90, 0xff, 0xff]);
        assert_eq!(landings.place(&taken, within.clone()), None);
        assert_eq!(landings.place(&behind(TEXT, [0xc3, 0, 0, 0, 0x70]), within), None);
        assert_eq!((landings.backings(), landings.pages.len()), (1, 2));
    }

    /// Random holes around the text.
    fn holes(dice: &mut Dice) -> Vec<Range<u64>> {
        let mut at = TEXT - (3 << 30);
        let mut holes = Vec::new();
        while at < TEXT + (3 << 30) {
            let end = at + dice.roll() % (400 << 20);
            let text = TEXT..TEXT + (1 << 20);
            if end <= text.start || at >= text.end {
                holes.push(at..end);
            }
            at = end + dice.roll() % (200 << 20);
        }
        holes
    }

    #[test]
    fn places_are_where_they_may_be_and_nobody_elses() {
        for seed in 1..40 {
            let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
            let holes = holes(&mut dice);
            let side = if seed % 2 == 0 { Side::Below } else { Side::Above };
            let windows = windows(&mut dice, 300, side);
            let jumps: Vec<Reach> = windows.iter().map(Window::reach).collect();
            let within = TEXT - (1 << 31) + (64 << 20)..TEXT + (1 << 31) - (64 << 20);
            let mut landings = Landings::new(holes.clone());
            let places = landings.place_all(&jumps, within.clone());
            let mut addresses = std::collections::BTreeSet::new();
            let mut backed = std::collections::BTreeSet::new();
            for (jump, place) in jumps.iter().zip(&places) {
                let Some(place) = place else { continue };
                assert!(jump.allows(place.at) && within.contains(&place.at.0));
                let page = place.page().0;
                assert!(holes.iter().any(|h| h.start <= page && page + PAGE <= h.end), "{place:?}");
                assert!(
                    landings.pages().any(|(at, backing)| at.0 == page && backing == place.backing)
                );
                for byte in 0..PLACE {
                    assert_eq!(place.at.add(byte).0 & !(PAGE - 1), page);
                    assert!(addresses.insert(place.at.add(byte)), "{place:?} overlaps");
                    assert!(backed.insert(place.offset() + byte), "{place:?} overlaps in memory");
                }
            }
            let unconstrained =
                jumps.iter().zip(&places).filter(|(jump, place)| jump.is_free() && place.is_none());
            assert_eq!(unconstrained.count(), 0);
            // Everything can be given back, and then the holes are what they were.
            let mut again = Landings::new(holes);
            for place in places.into_iter().flatten() {
                landings.release(place);
            }
            assert_eq!(landings.pages().count(), 0);
            let merged = |landings: &mut Landings| {
                let mut merged: Vec<(u64, u64)> = Vec::new();
                for (&start, &end) in &landings.holes {
                    match merged.last_mut() {
                        Some(last) if last.1 == start => last.1 = end,
                        _ => merged.push((start, end)),
                    }
                }
                merged
            };
            assert_eq!(merged(&mut landings), merged(&mut again));
        }
    }

    #[test]
    fn what_is_reserved_is_no_hole() {
        let mut landings = Landings::new(std::iter::once(0x10_0000..0x20_0000));
        landings.reserve(0x14_0000..0x15_0000);
        landings.reserve(0x1f_0000..0x30_0000);
        landings.reserve(0..0x10_1000);
        let holes: Vec<_> = landings.holes.iter().map(|(&start, &end)| (start, end)).collect();
        assert_eq!(holes, [(0x10_1000, 0x14_0000), (0x15_0000, 0x1f_0000)]);
    }
}
