//! Windows: which sites can be jumps, and which of them share one.

use super::arm::Want;
use super::consumer::Consumer;
use super::notes::Served;
use super::objects::Loaded;
use super::session::Session;
use super::sites::Sites;
use crate::symbols::{Function, Object};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use xol_arch::jump::Window;
use xol_arch::{Addr, Arch, Reason};
use xol_targets::Native;
use xol_targets::ptrace::SpaceId;

const TRAP: &[u8] = Native::TRAP;
/// Why a place has no jump, in a word.
pub(super) type Why = &'static str;

/// A jump that is wanted.
pub(super) struct Chosen {
    pub(super) want: usize,
    pub(super) window: Window,
    pub(super) text: Vec<u8>,
    pub(super) function: Option<(Addr, Addr)>,
    pub(super) guarded: bool,
    /// The sites that its trampoline serves: offset in the window, number, how.
    pub(super) sites: Vec<(u8, u32, Served)>,
}

/// All sites of a space by address.
type Map = BTreeMap<u64, u32>;

impl Session<'_> {
    /// The windows of the sites that can have one, by address.
    pub(super) fn choose(
        &mut self,
        space: SpaceId,
        wants: &[Want],
        fresh: &[usize],
        returns: bool,
    ) -> io::Result<Vec<Chosen>> {
        let map: Map =
            (0..).zip(&self.sites_mut(space).sites).map(|(n, site)| (site.addr.0, n)).collect();
        let shadow_stack = self.has_shadow_stack(space);
        let mut function: Option<Function> = None;
        let mut object: Option<(Loaded, Rc<Object>, u64)> = None;
        let mut chosen: Vec<Chosen> = Vec::new();
        for &i in fresh {
            let want = &wants[i];
            let before = chosen.last().map(|c| c.window.at.add(c.window.len.into()));
            if before.is_some_and(|end| want.addr < end) {
                // Counted by the one before it.
                continue;
            }
            let Some(&number) = map.get(&want.addr.0) else { continue };
            if !self.is_wanted(space, number) || !returns && self.is_of_return(space, number) {
                // Of our own, or its turn comes when its function is known.
                continue;
            }
            let range = match want.function {
                Some((start, end)) if end.0.saturating_sub(start.0) <= Function::LONGEST => {
                    (start, end)
                }
                _ => {
                    self.no_jump(Reason::UnknownFunction.id(), 1);
                    continue;
                }
            };
            if function.as_ref().is_none_or(|f| f.range() != range) {
                function = self.function(space, range, &map, want.guarded)?;
            }
            if !object.as_ref().is_some_and(|(loaded, ..)| loaded.has(want.addr)) {
                object = self.object_at(space, want.addr);
            }
            let (Some(f), Some((_, object, bias))) = (&function, &object) else {
                self.no_jump(Reason::UnknownFunction.id(), 1);
                continue;
            };
            match self.window(space, want, f, object, *bias, &map, shadow_stack, returns) {
                Ok(window) => chosen.push(Chosen { want: i, ..window }),
                Err(why) => self.no_jump(why, 1),
            }
        }
        Ok(chosen)
    }

    fn object_at(&mut self, space: SpaceId, at: Addr) -> Option<(Loaded, Rc<Object>, u64)> {
        let pid = self.target.space(space)?.pid;
        let loaded = self.sites_mut(space).objects.iter().find(|l| l.has(at)).cloned()?;
        let object = self.open(pid, &loaded)?;
        let bias = loaded.bias(&object)?;
        Some((loaded, object, bias))
    }

    /// A function as the program has it, and what follows it.
    fn function(
        &mut self,
        space: SpaceId,
        range: (Addr, Addr),
        map: &Map,
        guarded: bool,
    ) -> io::Result<Option<Function>> {
        let base = range.0.0;
        let mut bytes = vec![0; (range.1.0 - base) as usize + Function::AHEAD];
        let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
        let Ok(got) = memory.read_some(range.0, &mut bytes) else { return Ok(None) };
        bytes.truncate(got);
        let sites = self.sites_mut(space);
        sites.restore(map, base, &mut bytes);
        Ok(Some(Function::new::<Native>(range, bytes, guarded)))
    }

    /// The window at a want, if a jump is right there.
    #[allow(clippy::too_many_arguments, reason = "one place, and all that is known around it")]
    fn window(
        &mut self,
        space: SpaceId,
        want: &Want,
        function: &Function,
        object: &Object,
        bias: u64,
        map: &Map,
        shadow_stack: bool,
        returns: bool,
    ) -> Result<Chosen, Why> {
        let window = function
            .window::<Native>(want.addr, self.options.rules, object, bias)
            .map_err(Reason::id)?;
        if window.calls && shadow_stack {
            return Err(Reason::ShadowStack.id());
        }
        let end = window.at.add(window.len.into());
        let mut sites = Vec::new();
        for (&at, &number) in map.range(window.at.0..end.0) {
            let offset = at.wrapping_sub(window.at.0) as u8;
            let later = !returns && self.is_of_return(space, number);
            match self.served(space, number) {
                Ok(served) if window.has(offset) && !later => sites.push((offset, number, served)),
                Err(why) if offset == 0 => return Err(why),
                _ => return Err("site-inside"),
            }
        }
        if self.sites_mut(space).jumps.any_in(window.at, end) {
            return Err("site-inside");
        }
        let code = function.text().from(window.at);
        Ok(Chosen {
            want: 0,
            window,
            text: code[..code.len().min(Function::AHEAD)].to_vec(),
            function: Some(function.range()),
            guarded: want.guarded,
            sites,
        })
    }

    /// Whether the user has asked for a site.
    fn is_wanted(&self, space: SpaceId, number: u32) -> bool {
        let of_user = |c| {
            matches!(
                self.consumers[c as usize],
                Consumer::Row(_) | Consumer::Entered(_) | Consumer::Exit(_)
            )
        };
        self.spaces.get(&space).is_some_and(|sites| sites.consumers(number).any(of_user))
    }

    /// Whether a site is an end of a call, of which all or none are jumps.
    fn is_of_return(&self, space: SpaceId, number: u32) -> bool {
        let ends =
            |c| matches!(self.consumers[c as usize], Consumer::Entered(_) | Consumer::Exit(_));
        self.spaces.get(&space).is_some_and(|sites| sites.consumers(number).any(ends))
    }
}

impl Sites {
    /// Puts the program's own bytes into `bytes`, which were read at `base`.
    fn restore(&self, map: &Map, base: u64, bytes: &mut [u8]) {
        let end = base + bytes.len() as u64;
        for (&at, &number) in map.range(base.saturating_sub(TRAP.len() as u64)..end) {
            let site = &self.sites[number as usize];
            for (at, &byte) in (at..).zip(&site.original[..TRAP.len()]).filter(|_| site.armed) {
                if (base..end).contains(&at) {
                    bytes[(at - base) as usize] = byte;
                }
            }
        }
        self.jumps.restore(base, bytes);
    }
}
