//! Return probes. The return address is never touched. Where a function's exits are proven, a
//! RET with the stack pointer and the return address of a call ends that call. Where they are
//! not, and behind a tail call, a site stands at the return address, and a return is what comes
//! to it with the stack pointer that the call had promised (RULES H).

use crate::WhyNotJump;
use crate::engine::ConsumerId;
use crate::engine::RowId;
use crate::spec::AtEntry;
use crate::spec::Seen;
use crate::trace::rows::consumer::Consumer;
use crate::trace::rows::consumer::Resolver;
use crate::trace::session::Session;
use crate::trace::telling::events::Returned;
use crate::trace::telling::frames::Key;
use crate::trace::telling::frames::{Entry, Expect, Frame};
use crate::trace::telling::passing::passes_at_end;
use crate::trace::telling::value::Value;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use xol_arch::{Addr, Arch, Fault, Flow, Machine, Memory, Regs as _, Text};
use xol_targets::Native;
use xol_targets::native::{self, Regs};
use xol_targets::ptrace::{SpaceId, Stopped, Tid, tracer};

impl Session<'_> {
    /// A function whose return is of interest was entered.
    pub(in crate::trace) fn entered(
        &mut self,
        tid: Tid,
        space: SpaceId,
        row: RowId,
        at: Addr,
    ) -> io::Result<()> {
        // The site's own count was for the entry; the row counts returns.
        self.teller.rows.counter(row).hits -= 1;
        let rest = match self.at_entry(tid, row)? {
            AtEntry::Known(Some(true)) => None,
            AtEntry::Known(_) => return Ok(()),
            AtEntry::Open(rest) => Some(Arc::new(rest)),
        };
        let args = if self.options.events { self.read_args(tid, row)? } else { Vec::new() };
        let Some(pid) = self.target.thread(tid).map(|t| t.pid) else { return Ok(()) };
        let entry = Entry { rest, ..self.teller.entry((pid, tid), tracer::now_ns(), args) };
        let proven = self.sites_mut(space).exits.proven(at, row);
        self.expect(tid, space, at, Expect::Row(row, entry), !proven)
    }

    /// Arms a site at the return address of the call that has just been made.
    pub(in crate::trace) fn expect_return(
        &mut self,
        tid: Tid,
        space: SpaceId,
        at: Addr,
        expect: Expect,
    ) -> io::Result<()> {
        self.expect(tid, space, at, expect, true)
    }

    fn expect(
        &mut self,
        tid: Tid,
        space: SpaceId,
        at: Addr,
        expect: Expect,
        awaited: bool,
    ) -> io::Result<()> {
        let row = match &expect {
            Expect::Row(row, _) => Some(*row),
            Expect::Resolver(_) => None,
        };
        let Some((back, sp)) = native::caller(&mut self.target.stopped(tid)?) else {
            return Ok(());
        };
        let is_go = row.is_some_and(|row| self.teller.rows.is_go(row));
        let key = self.key_of(tid, space, is_go, (back, sp))?;
        if self.teller.frames.is_crowded()
            && let Some(pid) = self.target.thread(tid).map(|t| t.pid)
        {
            self.drop_dead(pid, key, tracer::now_ns());
        }
        let seen = !awaited || self.arm_back(tid, space, at, back)?;
        if !(seen && self.teller.begin_call(key, Frame::new(expect, awaited))) {
            self.teller.rows.missed(row);
        }
        Ok(())
    }

    /// Whether there is a site at a return address, which is armed if need be.
    fn arm_back(&mut self, tid: Tid, space: SpaceId, at: Addr, back: Addr) -> io::Result<bool> {
        let consumer = self.teller.rows.internal(Consumer::Returned);
        self.arm_in_hit(tid, space, at, back, consumer)
    }

    fn arm_in_hit(
        &mut self,
        tid: Tid,
        space: SpaceId,
        at: Addr,
        place: Addr,
        consumer: ConsumerId,
    ) -> io::Result<bool> {
        let sites = self.sites_mut(space);
        if let Some(site) = sites.find(place) {
            if sites.consumers(site).any(|known| known == consumer) {
                return self.rearm(space, site);
            }
            // Its jump knows nothing of this one.
            self.make_way(space, &[place])?;
            self.sites_mut(space).link(site, consumer);
            return self.rearm(space, site);
        }
        self.target.stopped(tid)?.rewind(at);
        let Some(want) = self.want_in_memory(space, place, consumer) else { return Ok(false) };
        let results = self.arm(space, Some(tid), &[want])?;
        Ok(matches!(results.first(), Some(Ok(_))))
    }

    /// A thread came to a return address.
    pub(in crate::trace) fn returned(
        &mut self,
        tid: Tid,
        space: SpaceId,
        at: Addr,
    ) -> io::Result<()> {
        let regs = self.target.regs(tid)?;
        let place = (at, regs.sp());
        let key = self.key_of(tid, space, false, place)?;
        let mut ended =
            self.teller.frames.take_awaited(key).into_iter().map(|e| (key, e)).collect();
        if self.wanted.go_returns {
            let key = self.key_of(tid, space, true, place)?;
            let of_go = self.teller.frames.take_awaited(key);
            Vec::extend(&mut ended, of_go.into_iter().map(|expect| (key, expect)));
        }
        for (key, expect) in ended {
            match expect {
                Expect::Row(row, mut entry) => self.end_by_return(tid, row, &mut entry, key)?,
                Expect::Resolver(resolver) => {
                    self.target.stopped(tid)?.rewind(at);
                    self.resolver_returned(tid, space, &resolver, Addr(regs.ret()))?;
                }
            }
        }
        Ok(())
    }

    /// A thread is about to run a RET of a function of this row. It returns from it if it does so
    /// to where the call came from, with the stack as it was then.
    pub(in crate::trace) fn exited(
        &mut self,
        tid: Tid,
        space: SpaceId,
        row: RowId,
    ) -> io::Result<()> {
        let Some(place) = native::returning(&mut self.target.stopped(tid)?) else {
            return Ok(());
        };
        let key = self.key_of(tid, space, self.teller.rows.is_go(row), place)?;
        let found = match self.teller.frames.take_last(key, row) {
            None if self.catch_up(tid)? => self.teller.frames.take_last(key, row),
            found => found,
        };
        if let Some(mut entry) = found {
            return self.end_by_return(tid, row, &mut entry, key);
        }
        // Its beginning may be noted down behind a record that does not come.
        if self.is_behind(space) {
            self.teller.rows.missed(Some(row));
        }
        Ok(())
    }

    /// Jumps that may leave a function and do not, through tables or to labels, each stop the program. Where
    /// that is oftener than the function is called, its calls end at their return addresses instead.
    fn has_stayed(&mut self, tid: Tid, space: SpaceId, row: RowId, at: Addr) -> io::Result<()> {
        const ENOUGH: u32 = 64;
        /// Stops for a call that ends at its return address, and room for doubt.
        const EACH: u64 = 4;
        let calls = self.teller.rows.counter(row).hits;
        let exits = &mut self.sites_mut(space).exits;
        let Some(entry) = exits.around(at, row).map(|inside| Addr(inside.entry)) else {
            return Ok(());
        };
        let times = exits.stayed.entry((entry, row)).or_default();
        *times = times.saturating_add(1);
        if *times < ENOUGH || u64::from(*times) < EACH * calls {
            return Ok(());
        }
        if exits.proven.remove(&(entry, row)) {
            exits.ends.retain(|ends| ends.first() != Some(&entry));
            self.make_way(space, &[entry])?;
            self.no_jump(space, entry, WhyNotJump::ExitsNotProven);
        }
        // Calls that are under way, too.
        for back in self.teller.frames.await_all(space, row) {
            self.arm_back(tid, space, at, back)?;
        }
        let sites = self.sites_mut(space);
        let of_function = sites
            .exits
            .around
            .iter()
            .filter(|((_, of), inside)| *of == row && inside.entry == entry.0);
        let leaves: Vec<Addr> = of_function.map(|(&(at, _), _)| at).collect();
        for at in leaves {
            let Some(sites) = self.spaces.get(&space) else { break };
            let Some(site) = sites.find(at) else { continue };
            // Its aliases' rows come to this, too.
            let done = |c| match self.teller.rows[c] {
                Consumer::Leave(of) => !sites.exits.proven(entry, of),
                _ => false,
            };
            if sites.consumers(site).all(done) {
                self.disarm(space, site)?;
            }
        }
        Ok(())
    }

    /// A thread is about to run a jump that may leave a function of this row.
    pub(in crate::trace) fn left(
        &mut self,
        tid: Tid,
        space: SpaceId,
        row: RowId,
        at: Addr,
    ) -> io::Result<()> {
        let to = self.jump_target(tid, space, at)?;
        if let Some(to) = to
            && self.sites_mut(space).exits.around(at, row).is_some_and(|inside| inside.has(to))
        {
            return self.has_stayed(tid, space, row, at);
        }
        let is_go = self.teller.rows.is_go(row);
        let sp = self.target.regs(tid)?.sp();
        let exact = match native::returning(&mut self.target.stopped(tid)?) {
            Some(place) => Some(self.key_of(tid, space, is_go, place)?),
            None => None,
        };
        if let Some(key) = exact
            && self.teller.frames.last_mut(key, row).is_none()
        {
            self.catch_up(tid)?;
        }
        let exact = exact.filter(|key| self.teller.frames.last_mut(*key, row).is_some());
        let below = self.key_of(tid, space, is_go, (Addr(0), sp))?;
        let Some(key) = exact.or_else(|| self.teller.frames.innermost(below, row)) else {
            return Ok(());
        };
        if !self.arm_back(tid, space, at, key.back)? {
            self.teller.frames.take_last(key, row);
            self.teller.rows.missed(Some(row));
            return Ok(());
        }
        // Only where the call itself is watched can a second one be told from the first.
        let left = exact.is_some() && self.arm_call(tid, space, at, key.back)?;
        if let Some(frame) = self.teller.frames.last_mut(key, row) {
            (frame.awaited, frame.left) = (true, left);
        }
        Ok(())
    }

    /// Where the jump at `at` is about to go, if that can be computed.
    fn jump_target(&mut self, tid: Tid, space: SpaceId, at: Addr) -> io::Result<Option<Addr>> {
        let sites = self.sites_mut(space);
        let effect = sites.find(at).and_then(|site| sites[site].plan.effect);
        let Some(effect) = effect else { return Ok(None) };
        let mut stopped = self.target.stopped(tid)?;
        let mut ahead = Ahead { regs: *stopped.seen(), stopped: &mut stopped };
        ahead.regs.set_pc(at);
        let jumped = Native::simulate(effect, at, &mut ahead);
        Ok(jumped.is_ok().then_some(ahead.regs.pc()))
    }

    /// Whether there is a site at the call that returns to `back`.
    fn arm_call(&mut self, tid: Tid, space: SpaceId, at: Addr, back: Addr) -> io::Result<bool> {
        let known = self.sites_mut(space).exits.calls.get(&back).copied();
        let call = known.unwrap_or_else(|| self.call_before(space, back));
        self.sites_mut(space).exits.calls.insert(back, call);
        let Some(call) = call else { return Ok(false) };
        let consumer = self.teller.rows.internal(Consumer::Called);
        self.arm_in_hit(tid, space, at, call, consumer)
    }

    /// The call instruction that ends at `back`.
    fn call_before(&mut self, space: SpaceId, back: Addr) -> Option<Addr> {
        let pid = self.target.owner(space)?.pid;
        let objects = &self.sites_mut(space).objects;
        let loaded = objects.iter().find(|l| (l.start..l.end).contains(&back)).cloned()?;
        let object = self.open(pid, &loaded)?;
        let bias = loaded.bias(&object)?;
        let behind = back.0.wrapping_sub(bias);
        let from = object.symbols().ok()?.decode_from(behind.checked_sub(1)?)?;
        let mut call = None;
        let each = &mut |at: u64, len: usize| {
            if at + len as u64 == behind {
                call = Some((at, len));
            }
        };
        object.boundaries::<Native>(from..behind, each).ok()?;
        let (at, len) = call?;
        let mut bytes = [0; 16];
        let bytes = bytes.get_mut(..len)?;
        object.read_code(at, bytes).ok()?;
        let flow = Native::flow(&Text::new(Addr(at), bytes), Addr(at));
        matches!(flow, Ok((Flow::Call(_), _))).then_some(Addr(at.wrapping_add(bias)))
    }

    /// A thread is about to make a call: one with the same return address and stack pointer that
    /// is still waited for was left for good.
    pub(in crate::trace) fn called(
        &mut self,
        tid: Tid,
        space: SpaceId,
        at: Addr,
    ) -> io::Result<()> {
        let sp = self.target.regs(tid)?.sp();
        let sites = self.sites_mut(space);
        let Some(site) = sites.find(at) else { return Ok(()) };
        let back = at.add(sites[site].plan.len.into());
        for is_go in [false, true].into_iter().take(1 + usize::from(self.wanted.go_returns)) {
            let key = self.key_of(tid, space, is_go, (back, sp))?;
            let left = self.teller.frames.take_left(key).into_iter().map(|frame| (key, frame));
            self.teller.end_unwound(left.collect(), tracer::now_ns());
        }
        Ok(())
    }

    /// An IFUNC resolver was entered: its return value is of interest.
    pub(in crate::trace) fn resolver_entered(
        &mut self,
        tid: Tid,
        space: SpaceId,
        resolver: &Rc<Resolver>,
        at: Addr,
    ) -> io::Result<()> {
        self.expect_return(
            tid,
            space,
            at,
            crate::trace::telling::frames::Expect::Resolver(resolver.clone()),
        )
    }

    /// A resolver has chosen: the probe goes there.
    pub(in crate::trace) fn resolver_returned(
        &mut self,
        tid: Tid,
        space: SpaceId,
        resolver: &Resolver,
        target: Addr,
    ) -> io::Result<()> {
        let mut wants = Vec::new();
        for &row in &resolver.rows {
            let consumer = self.teller.rows[row].consumer;
            wants.extend(self.want_in_memory(space, target, consumer));
        }
        self.arm_all(space, Some(tid), &wants).map(drop)
    }

    /// Counts a return and tells of it.
    pub(in crate::trace) fn end_by_return(
        &mut self,
        tid: Tid,
        row: RowId,
        entry: &mut Entry,
        key: Key,
    ) -> io::Result<()> {
        let now = tracer::now_ns();
        let value = match self.options.events || entry.rest.is_some() {
            true => self.read_returned(tid, row)?,
            false => Value::Unknown(None),
        };
        let duration = Seen::Bits(self.teller.lasted(entry, now));
        let passes = passes_at_end(entry.rest.as_ref(), Some(&value), duration);
        if self.options.events {
            self.teller.frames.ends(entry.who, key);
        }
        match passes {
            Some(true) => {}
            Some(false) => return Ok(()),
            None => {
                self.teller.rows.missed(Some(row));
                return Ok(());
            }
        }
        self.teller.count_of(row);
        if self.options.events {
            let Some(pid) = self.target.thread(tid).map(|t| t.pid) else { return Ok(()) };
            if !entry.doubtful {
                self.read_out(tid, row, &mut entry.args, &value)?;
            }
            let errno = self.error_of(tid, row, &value);
            let value = value.cut(self.options.string);
            let returned = Returned { value, errno };
            self.teller.return_event((pid, tid), row, entry, key.back, now, returned);
        }
        Ok(())
    }
}

/// A stopped thread whose registers can be changed without changing it.
struct Ahead<'a, 'b> {
    regs: Regs,
    stopped: &'a mut Stopped<'b>,
}

impl Memory for Ahead<'_, '_> {
    fn read(&mut self, at: Addr, to: &mut [u8]) -> Result<(), Fault> {
        self.stopped.read(at, to)
    }

    fn write(&mut self, at: Addr, _: &[u8]) -> Result<(), Fault> {
        Err(Fault { at, write: true })
    }
}

impl Machine<Native> for Ahead<'_, '_> {
    fn regs(&mut self) -> &mut Regs {
        &mut self.regs
    }

    fn set_vector(&mut self, _: u8, _: u128) -> Result<(), Fault> {
        Err(Fault { at: self.regs.pc(), write: true })
    }
}
