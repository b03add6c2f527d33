//! Windows: which sites can be jumps, and which of them share one.
//!
//! Each boundary of an instruction inside a window is a trap. A thread that comes there is moved to
//! the copy of that instruction in the trampoline, by xol or, when xol is dead, by the handler and
//! the orphan table. A boundary that is a site has an ordinary trap of its own, and a recorder in
//! the same trampoline.
//!
//! Where something is come to behind the instruction, as loops and shared RETs are, a trap for each time
//! would cost more than the one at the site. The jump then changes that instruction alone and ends with
//! the bytes behind it as they are: they are the next instructions, and the end of its displacement. They
//! leave it few landing places, or one; and as long as it stands, nothing may be written there.
//!
//! Flags are kept unless the instructions from the site on overwrite them unread on every path:
//! calls, returns, indirect jumps and the end of what is known count as readers. Where a function
//! moves anything but a stack into its stack pointer, a trampoline writes nothing below it
//! (`no-stack`).
//!
//! On arm64 a B may not replace a landing pad (BTI, PACIxSP): a function's site is then the
//! instruction behind the pad, if nothing but the pad leads there. That is not so where returns are
//! asked for, because the return address may be signed by then, nor for `FUNCTION+*`.

use crate::WhyNotJump;
use crate::engine::SiteId;
use crate::symbols::{Function, Object, signature};
use crate::trace::rows::consumer::Consumer;
use crate::trace::session::Session;
use crate::trace::space::jumps::LANDINGS;
use crate::trace::space::objects::Loaded;
use crate::trace::telling::recorders::Served;
use crate::trace::wanted::want::Want;
use std::io;
use std::rc::Rc;
use xol_arch::jump::{Side, Window};
use xol_arch::{Addr, Arch, Reason};
use xol_targets::Native;
use xol_targets::ptrace::{SpaceId, Tid};

/// A jump that is wanted.
pub(in crate::trace) struct Chosen {
    pub(in crate::trace) window: Window,
    pub(in crate::trace) text: Vec<u8>,
    pub(in crate::trace) function: Option<(Addr, Addr)>,
    pub(in crate::trace) guarded: bool,
    /// Whether there is a stack below the stack pointer.
    pub(in crate::trace) stack: bool,
    /// The sites that its trampoline serves.
    pub(in crate::trace) sites: Vec<Site>,
    /// The same jump where there is no place for it below.
    pub(in crate::trace) other: Option<Box<Chosen>>,
}

/// A site in a window.
pub(in crate::trace) struct Site {
    /// Where in the window, and its number.
    pub(in crate::trace) offset: u8,
    pub(in crate::trace) number: SiteId,
    pub(in crate::trace) served: Served,
    /// Whether what follows may read the flags.
    pub(in crate::trace) flags: bool,
}

/// Text as the program has it, read in pieces: wants come in the order of their addresses.
#[derive(Default)]
pub(in crate::trace) struct Piece {
    base: u64,
    bytes: Vec<u8>,
}

/// How much is read at once.
const PIECE: u64 = 64 << 10;

impl Session<'_> {
    /// The windows of the sites that can have one, by address.
    pub(in crate::trace) fn choose(
        &mut self,
        space: SpaceId,
        wants: &[Want],
        fresh: &[usize],
    ) -> io::Result<Vec<Chosen>> {
        let shadow_stack = self.has_shadow_stack(space);
        let retried: Vec<Addr> = self.target.threads().flat_map(|t| t.retries.sites()).collect();
        let mut function: Option<Function> = None;
        let mut piece = Piece::default();
        let mut object: Option<(Loaded, Rc<Object>, u64)> = None;
        let mut chosen: Vec<Chosen> = Vec::new();
        for &i in fresh {
            let want = &wants[i];
            let before = chosen.last().map(|c| c.window.at.add(c.window.len.into()));
            if before.is_some_and(|end| want.addr < end) {
                // Counted by the one before it.
                continue;
            }
            let Some(number) = self.sites_mut(space).find(want.addr) else { continue };
            let sites = self.sites_mut(space);
            if sites.jumps.counts(want.addr) {
                continue;
            }
            if self.awaits_exits(space, number) {
                // Its turn comes when its function is known.
                continue;
            }
            if let Err(why) = self.recorder_for(space, number) {
                if self.is_wanted(space, number) {
                    self.no_jump(space, want.addr, why);
                }
                continue;
            }
            let range = match want.function {
                Some((start, end)) if end.0.saturating_sub(start.0) <= Function::LONGEST => {
                    (start, end)
                }
                _ => {
                    self.no_jump(space, want.addr, Reason::UnknownFunction.into());
                    continue;
                }
            };
            if function.as_ref().is_none_or(|f| f.range() != range) {
                function = self.function(space, range, want.guarded, &mut piece)?;
            }
            if !object.as_ref().is_some_and(|(loaded, ..)| loaded.has(want.addr)) {
                object = self.object_at(space, want.addr);
            }
            let (Some(f), Some((loaded, object, bias))) = (&function, &object) else {
                self.no_jump(space, want.addr, Reason::UnknownFunction.into());
                continue;
            };
            if self.may_restart(loaded, object, signature(object.machine())) {
                self.no_jump(space, want.addr, WhyNotJump::MayBeRestartable);
                continue;
            }
            match self.window(space, want, f, object, *bias, shadow_stack) {
                // Where the trap is expected that says that a hit was counted already.
                Ok(c) if retried.iter().any(|&at| c.window.overwrites(at)) => {
                    self.no_jump(space, want.addr, WhyNotJump::BeingRetried);
                }
                Ok(window) => chosen.push(window),
                Err(why) => self.no_jump(space, want.addr, why),
            }
        }
        Ok(chosen)
    }

    /// Whether restartable sequences of an object may be anywhere in it: not one hit outside of them
    /// says that the next is too, so this is for good.
    fn may_restart(&mut self, loaded: &Loaded, object: &Object, signature: u32) -> bool {
        let known = self.jumping.restartable.entry((loaded.file, signature));
        // What cannot be read may have them.
        *known.or_insert_with(|| object.may_restart(signature).unwrap_or(true))
    }

    /// Of the jumps that are wanted, those that are right in a process whose sequences have the
    /// signature of this stopped thread's.
    pub(in crate::trace) fn outside_sequences(
        &mut self,
        space: SpaceId,
        tid: Tid,
        chosen: Vec<Chosen>,
    ) -> Vec<Chosen> {
        let Some(number) = self.target.sequence_signature(tid) else { return chosen };
        let mut right = Vec::new();
        let mut object: Option<(Loaded, Rc<Object>, u64)> = None;
        for one in chosen {
            let at = one.window.at;
            if !object.as_ref().is_some_and(|(loaded, ..)| loaded.has(at)) {
                object = self.object_at(space, at);
            }
            // Of the usual one that was asked when it was chosen.
            if let Some((loaded, object, _)) = &object
                && number != signature(object.machine())
                && self.may_restart(loaded, object, number)
            {
                self.no_jump(space, at, WhyNotJump::MayBeRestartable);
                continue;
            }
            right.push(one);
        }
        right
    }

    pub(in crate::trace) fn object_at(
        &mut self,
        space: SpaceId,
        at: Addr,
    ) -> Option<(Loaded, Rc<Object>, u64)> {
        let pid = self.target.space(space)?.pid;
        let loaded = self.sites_mut(space).objects.iter().find(|l| l.has(at)).cloned()?;
        let object = self.open(pid, &loaded)?;
        let bias = loaded.bias(&object)?;
        Some((loaded, object, bias))
    }

    /// A function as the program has it, and what follows it.
    pub(in crate::trace) fn function(
        &mut self,
        space: SpaceId,
        range: (Addr, Addr),
        guarded: bool,
        piece: &mut Piece,
    ) -> io::Result<Option<Function>> {
        let (start, end) = (range.0.0, range.1.0 + Function::AHEAD as u64);
        if start < piece.base || end > piece.base + piece.bytes.len() as u64 {
            piece.base = start;
            piece.bytes.resize((end - start).max(PIECE) as usize, 0);
            let memory = self.target.space(space).ok_or(io::ErrorKind::NotFound)?;
            let got = memory.read_some(range.0, &mut piece.bytes).unwrap_or(0);
            piece.bytes.truncate(got);
            self.sites_mut(space).restore(start, &mut piece.bytes);
        }
        let bytes = &piece.bytes[(start - piece.base) as usize..];
        let bytes = bytes[..bytes.len().min((end - start) as usize)].to_vec();
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
        shadow_stack: bool,
    ) -> Result<Chosen, WhyNotJump> {
        let rules = self.options.rules;
        let window = match function.window::<Native>(want.addr, rules, object, bias) {
            Ok(window) => window,
            Err(why) if !LANDINGS => return Err(why.into()),
            // What is behind stays, where it must.
            Err(why) => {
                let alone = function.window_alone::<Native>(want.addr, rules, object, bias);
                let alone = alone.map_err(|_| why)?;
                return self.chosen(space, want, function, alone, shadow_stack);
            }
        };
        let mut chosen = self.chosen(space, want, function, window, shadow_stack)?;
        if LANDINGS
            && window.lands_below()
            && let Ok(other) =
                function.window_on::<Native>(want.addr, rules, object, bias, Side::Above)
        {
            // What is beyond may be another's.
            let mut beyond = (window.len..other.len).map(|n| window.at.add(n.into()));
            if !beyond.any(|at| self.sites_mut(space).find(at).is_some()) {
                let other = self.chosen(space, want, function, other, shadow_stack);
                chosen.other = other.ok().map(Box::new);
            }
        }
        Ok(chosen)
    }

    /// Returns what a trampoline can do in the place of a stop at a site, or why it cannot.
    pub(in crate::trace) fn recorder_for(
        &self,
        space: SpaceId,
        number: SiteId,
    ) -> Result<Served, WhyNotJump> {
        let sites = self.sites(space).ok_or(WhyNotJump::NotOnlyCounted)?;
        self.teller.recorder_for(sites, number)
    }

    /// What a jump is, if it replaces this.
    fn chosen(
        &mut self,
        space: SpaceId,
        want: &Want,
        function: &Function,
        window: Window,
        shadow_stack: bool,
    ) -> Result<Chosen, WhyNotJump> {
        if window.at != want.addr {
            // A trap that stands on a landing pad.
            return Err(Reason::BehindLandingPad.into());
        }
        if window.calls && shadow_stack {
            return Err(Reason::ShadowStack.into());
        }
        let end = window.at.add(window.len.into());
        let last = window.at.add(window.len.max(window.span).into());
        if self.sites_mut(space).may_write(&(window.at..last)) {
            return Err(WhyNotJump::WritableText);
        }
        let mut sites = Vec::new();
        for offset in 0..window.len {
            let at = window.at.add(offset.into());
            let Some(number) = self.sites_mut(space).find(at) else { continue };
            match self.recorder_for(space, number) {
                Ok(served) if window.has(offset) => {
                    let flags = Native::flags_live(&function.text(), at);
                    sites.push(Site { offset, number, served, flags });
                }
                Err(why) if offset == 0 => return Err(why),
                _ => return Err(WhyNotJump::SiteInside),
            }
        }
        if self.sites_mut(space).jumps.any_in(window.at, end) {
            return Err(WhyNotJump::SiteInside);
        }
        let code = function.text().from(window.at);
        Ok(Chosen {
            window,
            text: code[..code.len().min(Function::AHEAD)].to_vec(),
            function: Some(function.range()),
            guarded: want.guarded,
            stack: function.has_stack(),
            sites,
            other: None,
        })
    }

    /// Whether the user has asked for a site.
    fn is_wanted(&self, space: SpaceId, number: SiteId) -> bool {
        let of_user = |c| {
            matches!(
                self.teller.rows[c],
                Consumer::Row(_) | Consumer::Entered(_) | Consumer::Exit(_)
            )
        };
        self.spaces.get(&space).is_some_and(|sites| sites.consumers(number).any(of_user))
    }

    /// Whether a site is the entry of a function whose exits were not looked for yet, or are not proven.
    fn awaits_exits(&self, space: SpaceId, number: SiteId) -> bool {
        let Some(sites) = self.spaces.get(&space) else { return false };
        let Some(at) = sites.get(number).map(|site| site.addr) else { return false };
        let awaits = |c| match self.teller.rows[c] {
            Consumer::Entered(row) => !sites.exits.proven(at, row),
            _ => false,
        };
        sites.consumers(number).any(awaits)
    }
}
