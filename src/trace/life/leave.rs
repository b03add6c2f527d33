//! Leaving: every trap taken away, every thread out of our code, every page of ours unmapped.
//!
//! Jumps are taken away first, then traps, which needs no stop, but for the traps that see
//! SIGTRAP's action. Then each thread is seen outside of xol's code once (`outside` decides by what
//! is known of a thread). While one thread stands still the last traps go and SIGTRAP's action
//! comes back; the threads are seen outside once more, and what xol mapped is unmapped. A thread
//! that was asked to stop is not asked again before it had a processor: an interrupt comes before
//! signals and instructions, so a thread that is asked without pause never gets on.

use crate::engine::SiteId;
use crate::trace::life::outside::{self, Found, Next};
use crate::trace::session::{Session, Stage};
use crate::trace::space::borrow::PATIENCE;
use crate::trace::space::borrow::TURN;
use crate::trace::space::pending::{has_faulted, trap_on_its_way};
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::time::{Duration, Instant};
use xol_arch::{Addr, Arch};
use xol_targets::Native;
use xol_targets::ptrace::procfs::{Whereabouts, is_exiting, whereabouts};
use xol_targets::ptrace::{Pid, SpaceId, Tid, is_gone};

/// How far leaving has come.
#[derive(Debug, Default)]
pub(in crate::trace) struct Leaving {
    /// Spaces without a trap of ours, but for those that see SIGTRAP's action.
    disarmed: HashSet<SpaceId>,
    /// Spaces without any: the program's own action is in the kernel.
    bare: HashSet<SpaceId>,
    /// Threads that were seen outside of our code. They cannot come back: no trap leads there.
    pub(in crate::trace) out: HashSet<Tid>,
    /// Spaces with a thread that could not be seen there.
    stuck: HashSet<SpaceId>,
    /// Spaces in which nothing is left to be done.
    done: HashSet<SpaceId>,
}

/// How often a thread is looked at before the next one is.
const LOOKS: u32 = 8;
/// How many events are dealt with between two looks at what is left.
const EVENTS: usize = 32;
/// How long a thread is waited for where others were waited for in vain.
const SHORT: Duration = Duration::from_millis(50);

impl Session<'_> {
    /// Leaves everything as it was found. Goes on over errors; the first is returned.
    pub(in crate::trace) fn leave(&mut self) -> io::Result<()> {
        self.target.begin_leaving();
        let begun = Instant::now();
        let mut result = Ok(());
        let mut keep = |done: io::Result<()>| match done {
            Err(error) if !is_gone(&error) && result.is_ok() => result = Err(error),
            _ => {}
        };
        // Children may be made all the while.
        loop {
            for space in self.armed_spaces() {
                keep(self.disarm_space(space));
            }
            let inside: Vec<Tid> =
                self.target.threads().map(|t| t.tid).filter(|t| !self.is_out(*t)).collect();
            for &tid in &inside {
                keep(self.see_out(tid, begun));
            }
            if !inside.is_empty() {
                continue;
            }
            let Some(space) = self.open_space() else { break };
            if !self.life.leaving.bare.contains(&space) {
                keep(self.bare_space(space));
                // Not before: children that begin meanwhile might come to a trap.
                self.life.leaving.bare.insert(space);
                continue;
            }
            keep(self.finish_space(space, begun));
            self.life.leaving.done.insert(space);
            // A thread may have been making a process that has a copy of what was just unmapped.
            let target = &self.target;
            self.life.leaving.out.retain(|tid| target.space_of(*tid) != Some(space));
        }
        // What is left is blocked in calls and has nothing of ours: the kernel lets it go,
        // without a stop, when we end.
        result
    }

    /// Spaces with traps, but for those of children that are cleaned before they run.
    fn armed_spaces(&self) -> Vec<SpaceId> {
        let new = |space: SpaceId| {
            self.target
                .processes()
                .any(|p| p.space == space && self.life.to_clean.contains_key(&p.pid))
        };
        let all = self.spaces.keys().copied();
        all.filter(|&space| !self.life.leaving.disarmed.contains(&space) && !new(space)).collect()
    }

    /// A space in which something is left to be done.
    fn open_space(&self) -> Option<SpaceId> {
        let mut all = self.spaces.keys().copied();
        all.find(|space| {
            self.target.space(*space).is_some() && !self.life.leaving.done.contains(space)
        })
    }

    fn disarm_space(&mut self, space: SpaceId) -> io::Result<()> {
        self.life.leaving.disarmed.insert(space);
        if self.target.space(space).is_none() {
            return Ok(());
        }
        let marks = self.marks(space);
        self.take_all_jumps(space)?;
        self.take_traps(space, false)?;
        self.restore_copies(space, &marks)?;
        if let Err(error) = self.target.adopt_sharers(space) {
            self.note(format!("what xol has mapped stays mapped: {error}"));
            self.life.leaving.stuck.insert(space);
        }
        self.restore_all_moved(space)
    }

    /// Takes the traps of a space away: all, or all but those that see SIGTRAP's action.
    pub(in crate::trace) fn take_traps(&mut self, space: SpaceId, all: bool) -> io::Result<()> {
        let mut addrs = BTreeSet::new();
        for number in (0..self.sites_mut(space).sites.len() as u32).map(SiteId) {
            let site = self.sites_mut(space)[number];
            if site.armed && (all || !self.sees_action(space, number)) {
                addrs.insert(site.addr.0);
            }
        }
        let count = addrs.len();
        let foreign = self.write_traps(space, addrs.iter().copied(), false)?;
        for at in foreign {
            self.note(format!("the byte at {at:#x} is not ours any more; it was left alone"));
        }
        for site in &mut self.sites_mut(space).sites {
            site.armed &= !addrs.contains(&site.addr.0);
        }
        self.progress(Stage::Disarmed, count, count);
        Ok(())
    }

    /// Whether a thread was seen outside of our code, after the last trap was gone.
    fn is_out(&self, tid: Tid) -> bool {
        self.life.leaving.out.contains(&tid)
    }

    /// A thread or process that begins when no trap is left: it has nothing to do with us, and a process
    /// in its parent's memory is let go, lest the parent waits for it and we for the parent. Whether
    /// that was done.
    pub(in crate::trace) fn let_start(&mut self, tid: Tid) -> io::Result<bool> {
        let Some(space) = self.target.space_of(tid) else { return Ok(false) };
        if !self.life.leaving.bare.contains(&space) {
            return Ok(false);
        }
        self.life.leaving.out.insert(tid);
        let pid = self.target.thread(tid).map(|t| t.pid);
        let Some(pid) = pid.filter(|&pid| {
            self.target.process(pid).is_some_and(|p| p.shares_memory)
                && self.target.threads().filter(|t| t.pid == pid).count() == 1
        }) else {
            return Ok(false);
        };
        if self.target.check_calls(tid).is_ok() {
            self.unprotect(tid)?;
        }
        self.target.detach_thread(tid, 0)?;
        self.target.forget(pid);
        Ok(true)
    }

    /// Tries to see a thread outside of our code.
    fn see_out(&mut self, tid: Tid, begun: Instant) -> io::Result<()> {
        for _ in 0..LOOKS {
            if self.is_out(tid) {
                return Ok(());
            }
            let Some(space) = self.target.space_of(tid) else {
                // Its process ended while it was attached to, or could not be: nothing is in there.
                self.life.leaving.out.insert(tid);
                // Asked to stop, its call would end with EINTR when we go.
                return if self.target.is_asked(tid) { self.let_go(tid) } else { Ok(()) };
            };
            let is_out = match self.comes_out(space, tid, begun) {
                // It was killed where it stood, and runs nothing any more.
                Err(error) if is_gone(&error) => {
                    unless_gone(self.take_event_of(tid))?;
                    self.target.thread(tid).is_none() || is_exiting(tid)
                }
                other => other?,
            };
            if is_out {
                self.life.leaving.out.insert(tid);
                return Ok(());
            }
        }
        if begun.elapsed() > 2 * PATIENCE {
            self.give_up(tid);
        }
        Ok(())
    }

    fn give_up(&mut self, tid: Tid) {
        let Some(space) = self.target.space_of(tid) else { return };
        self.note(format!(
            "thread {tid} does not stop (state {}); what it may be in stays mapped",
            state_of(tid)
        ));
        self.life.leaving.stuck.insert(space);
        self.life.leaving.out.insert(tid);
    }

    /// Whether a thread is out of our code, or is now. `false`: it stopped for something else
    /// first, or has a copy to run.
    fn comes_out(&mut self, space: SpaceId, tid: Tid, begun: Instant) -> io::Result<bool> {
        let steps = self.doing(tid).is_trampoline();
        match outside::next(self.look_at(tid, space), self.target.is_asked(tid), steps) {
            Next::Out => {
                self.send_rest(tid)?;
                return Ok(true);
            }
            Next::Wait => {
                if self.target.poll_is_quiet(tid) {
                    std::thread::sleep(Duration::from_micros(50));
                }
                unless_gone(self.take_event_of(tid))?;
                return Ok(self.target.thread(tid).is_none());
            }
            Next::Stop => {}
        }
        let limit = if begun.elapsed() < PATIENCE { PATIENCE } else { SHORT };
        match self.stop_thread(tid, limit) {
            Ok(true) => {
                // A trap or fault that was taken just before the stop is still on its way: its signal
                // must come while we are there.
                let trapped = trap_on_its_way(tid)
                    && (self.is_stepped(tid) || self.may_have_trapped(tid, space)?);
                let out = !trapped && !has_faulted(tid) && self.move_out(tid)?;
                let out = out && !self.has_undelivered(tid)?;
                let turns = self.target.turns(tid);
                self.give_back(tid)?;
                if !out {
                    self.target.await_turn(tid, turns, TURN);
                }
                Ok(out)
            }
            Ok(false) => {
                self.take_event_of(tid)?;
                Ok(self.target.thread(tid).is_none())
            }
            Err(error) if is_gone(&error) => {
                // Its exit will be reported to whoever waits next.
                if self.target.thread(tid).is_some() {
                    unless_gone(self.take_event_of(tid))?;
                }
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.give_up(tid);
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    fn look_at(&self, tid: Tid, space: SpaceId) -> Found {
        if self.target.is_stopped(tid) || !self.target.has_begun(tid) {
            return Found::Stopped;
        }
        match whereabouts(tid) {
            // The child that it is making may have what is not taken away yet.
            Whereabouts::InCall { number, pc, .. }
                if number >= 0 && !self.target.may_clone(tid) =>
            {
                let into_ours = self.target.space(space).is_some_and(|s| s.is_ours(pc));
                let deaf = self.target.is_asked(tid) && self.target.is_deaf(tid);
                match self.target.poll_is_quiet(tid) {
                    true => Found::InCall { into_ours, deaf },
                    false => Found::Waiting,
                }
            }
            _ => Found::Running,
        }
    }

    /// Whether a thread was let go for one instruction, the end of which is a SIGTRAP, wherever that leads.
    fn is_stepped(&self, tid: Tid) -> bool {
        let doing = self.doing(tid);
        doing.awaits_step() || doing.is_stepped()
    }

    /// Whether a thread stands where one does that has trapped for us: other SIGTRAPs may come
    /// without a pause.
    fn may_have_trapped(&mut self, tid: Tid, space: SpaceId) -> io::Result<bool> {
        let at = Addr(self.target.pc(tid)?.0.wrapping_sub(Native::TRAP_ADVANCE));
        let mut here = [0; 4];
        let ours = self.target.space(space).is_some_and(|s| {
            let got = s.read_some(at, &mut here).unwrap_or(0);
            s.is_ours(at) && Native::is_trap(&here[..got])
        });
        let sites = self.sites_mut(space);
        Ok(ours
            || sites.find(at).is_some()
            || sites.jumps.enter(at).is_some()
            || sites.jumps.shadow(at).is_some())
    }

    /// Puts SIGTRAP's action back and unmaps what is ours: nobody is inside any more.
    fn finish_space(&mut self, space: SpaceId, begun: Instant) -> io::Result<()> {
        let stuck = self.life.leaving.stuck.contains(&space);
        if !stuck {
            self.target.clear_padding(space)?;
        }
        loop {
            if !self.target.space(space).is_some_and(|s| s.has_head()) {
                return Ok(());
            }
            for pid in self.processes_of(space) {
                if self.take_back(pid, space, stuck)? {
                    return Ok(());
                }
            }
            // Others may have come, or stand in our way for a moment.
            if stuck || self.processes_of(space).is_empty() || begun.elapsed() > PATIENCE {
                return Ok(());
            }
            self.take_events()?;
        }
    }

    /// The processes of a space that have a thread: those in another's memory first, because that one may
    /// wait for them.
    pub(in crate::trace) fn processes_of(&self, space: SpaceId) -> Vec<Pid> {
        let lives = |pid: Pid| self.target.threads().any(|t| t.pid == pid);
        let all = self.target.processes().filter(|p| p.space == space && lives(p.pid));
        let mut all: Vec<_> = all.map(|p| (!p.shares_memory, p.pid)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, pid)| pid).collect()
    }

    /// Puts SIGTRAP's action of one process back, and unmaps what is ours if that was the last. Whether
    /// nothing is left to be done in the space.
    fn take_back(&mut self, pid: Pid, space: SpaceId, stuck: bool) -> io::Result<bool> {
        let Some(tid) = self.borrow_thread_of(pid) else { return Ok(false) };
        if let Err(why) = self.target.check_calls(tid) {
            self.note(format!(
                "process {pid}: xol's pages stay mapped and its handler of SIGTRAP stays: {why}"
            ));
            self.give_back(tid)?;
            return Ok(true);
        }
        match self.unprotect(tid) {
            Err(error) if is_gone(&error) => return Ok(false),
            done => done?,
        }
        let protected = |p: &xol_targets::ptrace::Process| {
            p.space == space && p.protected && self.target.threads().any(|t| t.pid == p.pid)
        };
        if stuck || self.target.processes().any(protected) {
            self.give_back(tid)?;
            return Ok(false);
        }
        match self.target.unmap_all(tid) {
            Ok(()) => {}
            Err(error) if error.is_gone() => return Ok(false),
            Err(error) => self.note(format!("process {pid}: xol's pages stay mapped: {error}")),
        }
        unless_gone(self.target.detach_thread(tid, 0))?;
        Ok(true)
    }

    /// Deals with some of what has happened.
    fn take_events(&mut self) -> io::Result<()> {
        for _ in 0..EVENTS {
            match self.target.next_event() {
                Ok(Some(event)) => match self.handle(event) {
                    Err(error) if !is_gone(&error) => return Err(error),
                    _ => {}
                },
                Ok(None) => {
                    std::thread::sleep(Duration::from_micros(200));
                    return Ok(());
                }
                Err(error) if is_gone(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes the last traps of a space away, and puts SIGTRAP's action back while a thread that might
    /// ask for it stands still: between the two the program would see ours. Its threads are then to be
    /// seen outside once more.
    pub(in crate::trace) fn bare_space(&mut self, space: SpaceId) -> io::Result<()> {
        if self.target.space(space).is_none() {
            return Ok(());
        }
        let mut done = Ok(());
        for pid in self.processes_of(space) {
            match self.bare_process(pid, space) {
                // Another process may have that memory too.
                Err(error) if is_gone(&error) => {}
                its => done = done.and(its),
            }
        }
        let target = &self.target;
        self.life.leaving.out.retain(|tid| target.space_of(*tid) != Some(space));
        let done = done.and(self.take_traps(space, true));
        self.target.begin_bare(space);
        done
    }

    pub(in crate::trace) fn bare_process(&mut self, pid: Pid, space: SpaceId) -> io::Result<()> {
        let Some(tid) = self.borrow_outside(pid, space)? else { return Ok(()) };
        self.take_traps(space, true)?;
        let Some(tid) = self.borrow_untrapped(tid, pid)? else { return Ok(()) };
        if self.target.check_calls(tid).is_ok() {
            self.unprotect(tid)?;
        }
        self.give_back(tid)
    }
}

/// That a thread has ended is no error here.
fn unless_gone(done: io::Result<()>) -> io::Result<()> {
    done.or_else(|error| if is_gone(&error) { Ok(()) } else { Err(error) })
}

fn state_of(tid: Tid) -> char {
    xol_targets::ptrace::procfs::status(tid).map_or('?', |s| s.state as char)
}
