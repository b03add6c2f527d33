//! Stops, and going on.
//!
//! A stop is read with WNOWAIT and consumed only when the thread goes on, so that the kernel still
//! holds the trap's signal should xol be killed. Stops for PTRACE_EVENTs hold no signal, and are
//! consumed.

use super::event::{Event, Go};
use super::mask::Watch;
use super::procfs;
use super::signals::Action;
use super::space::{Space, SpaceId};
use super::sys::{self, EVENT_STOP, Pid, SYSCALL_STOP, Status, Tid, Whom};
use super::thread::{Process, State, Thread};
use super::tracer;
use super::{Ptrace, gone, is_gone, still_there};
use crate::native;
use std::io;
use xol_arch::Memory as _;

impl Ptrace {
    /// Waits for the next event.
    ///
    /// # Errors
    /// ECHILD when nothing is traced any more.
    pub fn wait(&mut self) -> io::Result<Event> {
        if let Some(child) = self.started.pop() {
            return Ok(self.begun(child));
        }
        loop {
            // Also where stops never pause: then no wait is interrupted. But where ticks never do,
            // a stop has its turn between two of them.
            let tick = tracer::take_tick();
            if tick && !std::mem::replace(&mut self.ticked, true) {
                return Ok(Event::Tick);
            }
            let (tid, status) = match self.next_status(!tick) {
                Ok(Some(found)) => {
                    self.ticked = false;
                    found
                }
                Ok(None) => return Ok(Event::Tick),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            match self.take(tid, status) {
                Ok(Some(event)) => return Ok(event),
                Ok(None) => {}
                // It died under our hands; its exit is reported next.
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next event, if there is one by now; never [`Event::Tick`].
    ///
    /// # Errors
    /// ECHILD when nothing is traced any more.
    pub fn next_event(&mut self) -> io::Result<Option<Event>> {
        if let Some(child) = self.started.pop() {
            return Ok(Some(self.begun(child)));
        }
        loop {
            match self.next_status(false) {
                Ok(Some((tid, status))) => match self.take(tid, status) {
                    Ok(Some(event)) => return Ok(Some(event)),
                    Ok(None) => {}
                    // It died under our hands; its exit is reported next.
                    Err(error) if is_gone(&error) => {}
                    Err(error) => return Err(error),
                },
                Ok(None) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether a thread is in the stop of a SIGTRAP.
    #[must_use]
    pub fn is_trapping(&self, tid: Tid) -> bool {
        self.threads.get(&tid).is_some_and(|thread| thread.by_trap)
    }

    /// Leaves the CPU of the thread that trapped last, if it has not trapped since this was called
    /// before: for a reader of what threads write while they run.
    pub fn unpin_if_idle(&mut self) {
        self.affinity.elsewhere();
    }

    /// Whether a thread has not stopped for anything that waits to be taken.
    #[must_use]
    pub fn poll_is_quiet(&self, tid: Tid) -> bool {
        !self.started.contains(&tid) && matches!(sys::wait(Whom::One(tid), false, false), Ok(None))
    }

    /// A new tracee that had stopped before its parent told of it is dealt with now.
    pub(super) fn begun(&mut self, child: Tid) -> Event {
        if let Some(thread) = self.threads.get_mut(&child) {
            thread.state = State::Stopped;
        }
        self.learn_mask(child);
        Event::Started(child)
    }

    /// The event that one thread has stopped for, if it has.
    ///
    /// # Errors
    /// ECHILD when it is gone.
    pub fn poll(&mut self, tid: Tid) -> io::Result<Option<Event>> {
        if let Some(i) = self.started.iter().position(|&child| child == tid) {
            self.started.swap_remove(i);
            return Ok(Some(self.begun(tid)));
        }
        match sys::wait(Whom::One(tid), false, false)? {
            Some((tid, status)) => self.take(tid, status),
            None => Ok(None),
        }
    }

    /// The next stop. The kernel names the first of its list that has one, so threads that trap
    /// without pause would starve the others: from time to time all are asked.
    fn next_status(&mut self, pauses: bool) -> io::Result<Option<(Tid, Status)>> {
        /// Stops between two looks at all threads; no more looks than a few for each stop.
        const STOPS: u32 = 16;
        self.unlooked += 1;
        if self.queue.is_empty() && self.unlooked >= STOPS.max(self.threads.len() as u32 / 4) {
            self.unlooked = 0;
            let running = self.threads.values().filter(|t| t.state == State::Running);
            let stopped =
                |tid: &Tid| matches!(sys::wait(Whom::One(*tid), false, false), Ok(Some(_)));
            self.queue.extend(running.map(|t| t.tid).filter(stopped));
        }
        while let Some(tid) = self.queue.pop_front() {
            if let Ok(Some(found)) = sys::wait(Whom::One(tid), false, false) {
                return Ok(Some(found));
            }
        }
        sys::wait(Whom::Any, false, pauses)
    }

    /// Turns one wait status into an event, or deals with it here.
    pub(super) fn take(&mut self, tid: Tid, status: Status) -> io::Result<Option<Event>> {
        let (signal, event) = match status {
            Status::Stopped { signal, event } => (signal, event),
            Status::Exited(_) | Status::Killed(_) => return self.exited(tid, status).map(Some),
        };
        if event == libc::PTRACE_EVENT_EXEC && self.processes.contains_key(&Pid(tid.0)) {
            // By a thread that had another number: the first one may have ended long ago.
            let thread = || Thread::new(tid, Pid(tid.0), State::Running);
            self.threads.entry(tid).or_insert_with(thread);
        }
        let Some(thread) = self.threads.get_mut(&tid) else {
            // A new tracee whose parent has not told yet. Its stop holds no signal: consume it.
            sys::wait(Whom::One(tid), true, false)?;
            if !self.early.contains(&tid) {
                self.early.push(tid);
            }
            return Ok(None);
        };
        thread.forget_regs();
        match (signal, event) {
            (SYSCALL_STOP, _) => self.syscall_stop(tid).map(|()| None),
            (_, EVENT_STOP) => self.event_stop(tid, signal),
            (_, 0) => self.signal_stop(tid, signal).map(Some),
            (_, libc::PTRACE_EVENT_EXEC) => {
                // Not consumed, an exec by another thread than the first keeps ptrace(2) from
                // finding it: the kernel takes the id for the old leader's.
                sys::wait(Whom::One(tid), true, false)?;
                self.exec_stop(tid).map(Some)
            }
            (_, libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE) => {
                self.clone_stop(tid, event == libc::PTRACE_EVENT_VFORK)
            }
            (_, libc::PTRACE_EVENT_VFORK_DONE) => {
                thread.state = State::Stopped;
                Ok(Some(Event::Returned(tid)))
            }
            _ => {
                thread.state = State::Stopped;
                self.go(tid, Go::On)?;
                Ok(None)
            }
        }
    }

    fn signal_stop(&mut self, tid: Tid, signal: i32) -> io::Result<Event> {
        let info = sys::get_siginfo(tid)?;
        let thread = self.known(tid)?;
        (thread.state, thread.entered) = (State::Delivering, None);
        thread.by_trap = signal == libc::SIGTRAP;
        // Any signal: with a fast timer, what a stop costs is what decides whether the thread gets on.
        self.affinity.trapped(tid);
        if signal == libc::SIGTRAP {
            if native::is_trap(info.code()) {
                return Ok(Event::Trap(tid));
            }
            if native::is_step(info.code()) {
                return Ok(Event::Stepped(tid));
            }
        }
        Ok(Event::Signal(tid, info))
    }

    fn event_stop(&mut self, tid: Tid, signal: i32) -> io::Result<Option<Event>> {
        let thread = self.known(tid)?;
        if thread.state == State::Starting {
            thread.state = State::Stopped;
            sys::wait(Whom::One(tid), true, false)?;
            self.learn_mask(tid);
            return Ok(Some(Event::Started(tid)));
        }
        if signal == libc::SIGTRAP {
            thread.asked = false;
            thread.state = State::Stopped;
            let entered = thread.entered.take();
            self.restart_if_interrupted(tid, entered)?;
            self.go(tid, Go::On)?;
        } else {
            sys::wait(Whom::One(tid), true, false)?;
            sys::listen(tid)?;
            let thread = self.known(tid)?;
            (thread.state, thread.asked) = (State::Listening, false);
        }
        Ok(None)
    }

    fn syscall_stop(&mut self, tid: Tid) -> io::Result<()> {
        let thread = self.known(tid)?;
        thread.state = State::Stopped;
        thread.watch.disturbed();
        match &mut thread.give_back {
            Some(give_back) if !give_back.entered => give_back.entered = true,
            Some(give_back) => {
                let (arg, value) = (give_back.arg, give_back.value);
                thread.give_back = None;
                let mut machine = self.stopped(tid)?;
                use xol_arch::Machine as _;
                native::set_syscall_arg(machine.regs(), arg, value);
            }
            None => {}
        }
        self.mask_at_call(tid)?;
        self.retry_at_call(tid)?;
        self.go(tid, Go::On)
    }

    /// What a thread that is about to run has inherited.
    pub(super) fn learn_mask(&mut self, tid: Tid) {
        if let Ok(mask) = sys::get_sigmask(tid) {
            let _ = self.learn(tid, mask);
        }
    }

    fn clone_stop(&mut self, tid: Tid, waits: bool) -> io::Result<Option<Event>> {
        let child = Tid(sys::get_event_message(tid)? as i32);
        self.known(tid)?.state = State::Stopped;
        let parent_pid = self.known(tid)?.pid;
        let pid = Pid(procfs::status(child).map_or(child.0, |s| s.tgid));
        let early = self.early.iter().position(|&t| t == child).map(|i| self.early.swap_remove(i));
        let state = State::Starting;
        self.threads.insert(child, Thread::new(child, pid, state));
        if early.is_some() {
            self.started.push(child);
        }
        if pid == parent_pid {
            self.go(tid, Go::On)?;
            return Ok(None);
        }
        // A child that is made in a handler returns from it as well.
        self.known(child)?.retries = self.known(tid)?.retries;
        let flags = self.clone_flags(tid)?;
        let shares_memory = flags & libc::CLONE_VM as u64 != 0;
        let parent = self.processes.get(&parent_pid).ok_or_else(gone)?.clone();
        let mut in_doubt = false;
        let space = if shares_memory {
            parent.space
        } else {
            let memory = self.spaces.get(&parent.space).ok_or_else(gone)?;
            // The copy was made some time between then and now.
            let let_go_at = self.threads.get(&tid).and_then(|t| t.let_go_at);
            in_doubt = let_go_at != Some(memory.changes());
            let forked = memory.forked(pid)?;
            self.add_space(forked)
        };
        let vforked = shares_memory && waits;
        let shares_handlers = flags & libc::CLONE_SIGHAND as u64 != 0;
        let handlers = if shares_handlers { parent.handlers } else { pid };
        let launched = false;
        let process =
            Process { pid, space, shares_memory, vforked, handlers, launched, in_doubt, ..parent };
        self.processes.insert(pid, process);
        Ok(Some(Event::Forked { parent: tid, child }))
    }

    /// What the call that made a new process lets it share.
    fn clone_flags(&mut self, tid: Tid) -> io::Result<u64> {
        let mut machine = self.stopped(tid)?;
        let regs = *machine.seen();
        Ok(match native::syscall_number(&regs) as i64 {
            libc::SYS_clone => native::syscall_arg(&regs, 0),
            libc::SYS_clone3 => {
                let mut flags = [0; 8];
                let at = xol_arch::Addr(native::syscall_arg(&regs, 0));
                // The kernel has read it there: it is readable.
                let _ = machine.read(at, &mut flags);
                u64::from_ne_bytes(flags)
            }
            number if native::is_vfork(number) => libc::CLONE_VM as u64,
            _ => 0,
        })
    }

    /// Brings a thread from an event inside its call to the call's exit: what is written to its
    /// registers before that, the call's own result overwrites.
    fn leave_syscall(&mut self, tid: Tid) -> io::Result<()> {
        sys::cont_to_syscall(tid, 0)?;
        loop {
            match sys::wait(Whom::One(tid), false, true) {
                Ok(Some((_, Status::Stopped { signal: SYSCALL_STOP, .. }))) => return Ok(()),
                Ok(Some((_, Status::Stopped { .. }))) => sys::cont_to_syscall(tid, 0)?,
                Ok(Some(_)) => return Err(gone()),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => still_there(tid)?,
                Err(error) => return Err(error),
            }
        }
    }

    fn exec_stop(&mut self, tid: Tid) -> io::Result<Event> {
        let pid = Pid(tid.0);
        let former = Tid(sys::get_event_message(tid)? as i32);
        self.leave_syscall(tid)?;
        // The other threads are gone, and the one that called has the leader's id now. Signals that wait
        // for it wait on.
        let held = self.take_held(former);
        self.threads.retain(|_, t| t.pid != pid);
        let thread = Thread { held, ..Thread::new(tid, pid, State::Stopped) };
        self.threads.insert(tid, thread);
        self.learn_mask(tid);
        let space = self.add_space(Space::open(pid)?);
        let process = self.processes.get_mut(&pid).ok_or_else(gone)?;
        let old = std::mem::replace(&mut process.space, space);
        (process.shares_memory, process.vforked, process.handlers) = (false, false, pid);
        (process.seen_action, process.known_action, process.in_doubt) = (true, false, false);
        // The kernel reset a handler. Ours, standing in for "ignore", must not be lost as one.
        process.protected &= process.action.is_ignore();
        if let Action::Handler(_) = process.action {
            process.action = Action::default();
        }
        Ok(Event::Exec(tid, old, former))
    }

    fn exited(&mut self, tid: Tid, status: Status) -> io::Result<Event> {
        sys::wait(Whom::One(tid), true, false)?;
        let Some(thread) = self.threads.remove(&tid) else { return Ok(Event::Tick) };
        if self.threads.values().any(|t| t.pid == thread.pid) {
            return Ok(Event::Gone(tid, thread.pid));
        }
        Ok(Event::Ended(thread.pid, status))
    }

    /// Forgets a process after [`Event::Ended`] was dealt with.
    pub fn forget(&mut self, pid: Pid) {
        self.threads.retain(|_, t| t.pid != pid);
        if let Some(process) = self.processes.remove(&pid) {
            self.drop_unused_space(process.space);
        }
    }

    /// Forgets an address space that no process has any more.
    pub fn drop_space(&mut self, id: SpaceId) {
        self.drop_unused_space(id);
    }

    /// Lets a stopped thread go on.
    ///
    /// # Errors
    /// ESRCH when it is gone: its exit will be reported.
    pub fn go(&mut self, tid: Tid, how: Go) -> io::Result<()> {
        if !std::mem::replace(&mut self.known(tid)?.is_corrected, true) {
            self.correct_mask(tid)?;
        }
        if let Go::FromTrap | Go::Step = how {
            self.settle_mask(tid)?;
        }
        self.flush_regs(tid)?;
        // A stepped instruction may be a call, and shows no stop at its ends.
        if self.leaving || !matches!(how, Go::On | Go::FromTrap) {
            self.put_block_back(tid)?;
        }
        let leaving = self.leaving;
        let instead = match how {
            Go::Deliver(info) | Go::DeliverStep(info) => self.announce(tid, info.signal())?,
            _ => None,
        };
        let changes = self.space_of(tid).and_then(|id| self.spaces.get(&id)).map(Space::changes);
        let thread = self.known(tid)?;
        thread.by_trap = false;
        let signal = match how {
            Go::Deliver(info) | Go::DeliverStep(info) => {
                thread.watch.disturbed();
                sys::set_siginfo(tid, &info)?;
                info.signal()
            }
            _ => 0,
        };
        thread.state = State::Running;
        thread.let_go_at = changes;
        // Where an interrupt came while it was stopped at the beginning of a call, the call ends with
        // EINTR as soon as it goes on.
        if !thread.asked {
            thread.entered = None;
        }
        thread.forget_regs();
        if std::mem::take(&mut thread.rejoin) {
            // Before it goes on: it executes nothing on the way.
            sys::interrupt(tid)?;
            thread.asked = true;
        }
        // Never when we leave: in a stop at a call that nobody takes, the kernel wakes the thread
        // when we end, as a signal would, and the call returns EINTR.
        let watched = !leaving
            && (matches!(thread.watch, Watch::Watched { .. })
                || thread.give_back.is_some()
                || thread.block.is_lifted()
                || thread.retries.is_owed()
                || thread.is_followed());
        match how {
            Go::Step | Go::StepOn | Go::DeliverStep(_) => sys::step(tid, signal)?,
            _ if watched => sys::cont_to_syscall(tid, signal)?,
            _ => sys::cont(tid, signal)?,
        }
        if let Some(instead) = instead {
            self.announced(tid, instead);
        }
        Ok(())
    }
}
