//! SIGTRAP's action as the program sees it: what stands in for it and where the program sets or reads it,
//! from the first trap in a space to the last.

use super::consumer::Consumer;
use super::leave::{TURN, trap_on_its_way};
use super::session::Session;
use std::collections::BTreeSet;
use std::io;
use xol_arch::{Addr, Memory as _, Regs as _};
use xol_targets::native;
use xol_targets::ptrace::{Action, Pid, SpaceId, Tid, is_gone};

/// How many rt_sigactions of one thread, each in a handler that interrupted the one before, are
/// remembered.
const NESTED: usize = 8;
/// How often a thread is looked at until it stands where it may be borrowed. Eight were too few for one
/// that does nothing but set SIGTRAP's action.
const LOOKS: u32 = 64;

impl Session<'_> {
    /// Makes the processes of a space survive xol, as far as they can be stopped now, and arms the places
    /// that see SIGTRAP's action while a thread that might ask for it stands still: between the two the
    /// program would see ours. `tid`: one that is stopped already.
    pub(super) fn arm_watched(
        &mut self,
        space: SpaceId,
        tid: Option<Tid>,
        watched: &BTreeSet<u64>,
    ) -> io::Result<()> {
        let of_space = self.target.threads().filter(|t| {
            self.target.space_of(t.tid) == Some(space)
                && self.target.wants_protection(t.tid)
                && !self.target.is_deaf(t.tid)
        });
        let pids: BTreeSet<Pid> = of_space.map(|t| t.pid).collect();
        for pid in pids {
            let stopped = tid.filter(|&tid| self.target.thread(tid).is_some_and(|t| t.pid == pid));
            let borrowed = match stopped {
                Some(tid) => Some(tid),
                None => self.borrow_outside(pid, space)?,
            };
            let Some(tid) = borrowed else { continue };
            self.protect(tid);
            let written = self.write_traps(space, watched.iter().copied(), true);
            if stopped.is_none() {
                self.give_back(tid)?;
            }
            written?;
        }
        // What was made untraced before that has no handler.
        if let Err(error) = self.target.adopt_children(space) {
            self.note(error.to_string());
        }
        Ok(())
    }

    /// Whether a site sees SIGTRAP's action.
    pub(super) fn sees_action(&self, space: SpaceId, number: u32) -> bool {
        let Some(sites) = self.spaces.get(&space) else { return false };
        sites.consumers(number).any(|consumer| self.is_watched(consumer))
    }

    /// Whether the sites of a consumer see SIGTRAP's action.
    pub(super) fn is_watched(&self, consumer: u32) -> bool {
        use Consumer::{ActionSet, AnyCall, AnyCalled, AnyCaller, SettingAction};
        let consumer = self.consumers.get(consumer as usize);
        matches!(consumer, Some(ActionSet | AnyCall | AnyCalled | AnyCaller | SettingAction))
    }

    /// Takes the last traps of a space away, and puts SIGTRAP's action back while a thread that might
    /// ask for it stands still: between the two the program would see ours. Its threads are then to be
    /// seen outside once more.
    pub(super) fn bare_space(&mut self, space: SpaceId) -> io::Result<()> {
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
        self.leaving.out.retain(|tid| target.space_of(*tid) != Some(space));
        let done = done.and(self.take_traps(space, true));
        self.target.begin_bare(space);
        done
    }

    fn bare_process(&mut self, pid: Pid, space: SpaceId) -> io::Result<()> {
        let Some(tid) = self.borrow_outside(pid, space)? else { return Ok(()) };
        self.take_traps(space, true)?;
        let Some(tid) = self.borrow_untrapped(tid, pid)? else { return Ok(()) };
        if self.target.check_calls(tid).is_ok() {
            self.unprotect(tid)?;
        }
        self.give_back(tid)
    }

    /// Borrows a thread that is not on its way through a call which sees SIGTRAP's action: one that stands
    /// before the trap behind it has been told ours, and is put right there.
    pub(super) fn borrow_outside(&mut self, pid: Pid, space: SpaceId) -> io::Result<Option<Tid>> {
        for _ in 0..LOOKS {
            let Some(tid) = self.borrow_thread_of(pid) else { return Ok(None) };
            let found = match self.is_outside(tid, space) {
                Ok(false) => self.let_come(tid).map(|()| false),
                found => found,
            };
            match found {
                Ok(true) => return Ok(Some(tid)),
                Ok(false) => {}
                // Killed meanwhile; another may live.
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.borrow_thread_of(pid))
    }

    /// Whether a stopped thread is not on its way through a call which sees SIGTRAP's action.
    fn is_outside(&mut self, tid: Tid, space: SpaceId) -> io::Result<bool> {
        let pc = self.target.pc(tid)?;
        let site = self.sites(space).and_then(|sites| sites.find(pc));
        let inside = self.target.space(space).is_some_and(|s| s.is_ours(pc))
            || self.is_calling(tid, space, pc)?
            || site.is_some_and(|site| self.sees_action(space, site));
        Ok(!inside && !trap_on_its_way(tid))
    }

    /// A borrowed thread, or another, at a moment when none of its process has trapped and not stopped for
    /// it yet: where the program ignores SIGTRAP, the kernel drops what waits as soon as it is told so.
    fn borrow_untrapped(&mut self, tid: Tid, pid: Pid) -> io::Result<Option<Tid>> {
        let mut borrowed = tid;
        for _ in 0..LOOKS {
            let of_process = self.target.threads().filter(|t| t.pid == pid).map(|t| t.tid);
            let trapped: Vec<Tid> = of_process.filter(|&tid| trap_on_its_way(tid)).collect();
            if trapped.is_empty() {
                break;
            }
            for &tid in trapped.iter().filter(|&&tid| tid != borrowed) {
                self.target.await_turn(tid, u64::MAX, TURN);
                match self.take_event_of(tid) {
                    // The borrowed one must go on all the same.
                    Err(error) if !is_gone(&error) => return Err(error),
                    _ => {}
                }
            }
            // It sees the program's action as long as it stands still.
            if !trapped.contains(&borrowed) {
                continue;
            }
            match self.let_come(borrowed) {
                Err(error) if !is_gone(&error) => return Err(error),
                _ => {}
            }
            let Some(tid) = self.borrow_thread_of(pid) else { return Ok(None) };
            borrowed = tid;
        }
        Ok(Some(borrowed))
    }

    /// Lets a borrowed thread go on as far as what it is about to stop for, and deals with that.
    fn let_come(&mut self, tid: Tid) -> io::Result<()> {
        let turns = self.target.turns(tid);
        self.give_back(tid)?;
        self.target.await_turn(tid, turns, TURN);
        self.take_event_of(tid)
    }

    /// Makes a stopped thread's process survive xol.
    pub(super) fn protect(&mut self, tid: Tid) {
        if self.target.check_calls(tid).is_ok()
            && let Err(error) = self.target.protect(tid)
            && !error.is_gone()
            && let Some(pid) = self.target.thread(tid).map(|t| t.pid)
        {
            self.note(format!("process {pid} does not survive xol being killed: {error}"));
        }
    }

    /// Puts SIGTRAP's own action back in a stopped thread's process.
    ///
    /// # Errors
    /// That it is gone: nothing is wrong then.
    pub(super) fn unprotect(&mut self, tid: Tid) -> io::Result<()> {
        match self.target.unprotect(tid) {
            Err(error) if error.is_gone() => Err(io::ErrorKind::NotFound.into()),
            Err(error) => {
                let pid = self.target.thread(tid).map_or(Pid(tid.0), |t| t.pid);
                self.note(format!(
                    "process {pid}: SIGTRAP's action could not be restored: {error}"
                ));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// On rt_sigaction: what it is asked for is remembered until it is done.
    pub(super) fn setting_action(&mut self, tid: Tid) -> io::Result<()> {
        let regs = self.target.regs(tid)?;
        let args = [0, 1, 2].map(|n| native::syscall_arg(&regs, n));
        let setting = &mut self.states.entry(tid).or_default().setting;
        // What a handler left by a longjmp never came to its end.
        setting.retain(|&(sp, _)| sp != regs.sp());
        if setting.len() == NESTED {
            setting.remove(0);
        }
        setting.push((regs.sp(), args));
        Ok(())
    }

    /// The arguments of the rt_sigaction that a thread stands behind; `any`: if it was one.
    fn set_with(&mut self, tid: Tid, any: bool) -> io::Result<Option<[u64; 3]>> {
        let regs = self.target.regs(tid)?;
        if !native::RESULT_IS_AN_ARG && !any {
            return Ok(Some([0, 1, 2].map(|n| native::syscall_arg(&regs, n))));
        }
        let Some(state) = self.states.get_mut(&tid) else { return Ok(None) };
        let found = state.setting.iter().position(|&(sp, _)| sp == regs.sp());
        Ok(found.map(|i| state.setting.remove(i).1))
    }

    /// Behind rt_sigaction: the program sees its own SIGTRAP action, and ours stays in place.
    pub(super) fn action_set(&mut self, tid: Tid, at: Addr, any: bool) -> io::Result<()> {
        let Some([signal, new, old]) = self.set_with(tid, any)? else { return Ok(()) };
        let regs = self.target.regs(tid)?;
        if signal != native::SIGTRAP || native::result(&regs) != 0 {
            return Ok(());
        }
        let pid = self.target.thread(tid).map(|t| t.pid);
        let Some(process) = pid.and_then(|pid| self.target.process(pid)).cloned() else {
            return Ok(());
        };
        let mut machine = self.target.stopped(tid)?;
        let mut bytes = [0; 32];
        let set = new != 0 && machine.read(Addr(new), &mut bytes).is_ok();
        let mut told = [0; 32];
        let read = old != 0 && machine.read(Addr(old), &mut told).is_ok();
        let told = Action::from_bytes(&told);
        // Where the program handles SIGTRAP itself, a trap of another thread may have made the kernel
        // forget that a moment ago.
        let lost = matches!(process.action, Action::Handler(_)) && told.is_default();
        if read && (lost || self.target.is_stand_in(tid, told)) {
            let mut was = [0; 32];
            for (to, word) in was.chunks_exact_mut(8).zip(process.action.words()) {
                to.copy_from_slice(&word.to_ne_bytes());
            }
            // It was writable for the kernel a moment ago.
            let _ = self.target.stopped(tid)?.write(Addr(old), &was);
        }
        if set {
            self.target.stopped(tid)?.rewind(at);
            let action = Action::from_bytes(&bytes);
            self.target.settle_mask_behind(tid, action)?;
            if let Action::Handler(_) = action {
                self.note(format!(
                    "process {} handles SIGTRAP itself: it does not survive xol being killed",
                    process.pid
                ));
            }
            if let Err(error) = self.target.set_program_action(tid, action) {
                self.note(format!("process {}: {error}", process.pid));
            }
        }
        Ok(())
    }
}
