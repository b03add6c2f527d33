//! One run: what is traced, what is counted, and the loop.

use super::jumping::Jumping;
use super::life::Life;
use super::options::{Options, Subject};
use super::rows::consumer::RowState;
use super::space::borrow::PATIENCE;
use super::space::sites::Sites;
use super::space::state::ThreadState;
use super::telling::teller::Teller;
use super::wanted::Wanted;
use super::{Outcome, Sink, TraceError};
use rustc_hash::FxHashMap;
use std::io;
use std::sync::PoisonError;
use std::time::{Duration, Instant};
use xol_arch::Addr;
use xol_targets::ptrace::pair::Link;
use xol_targets::ptrace::sys::Status;
use xol_targets::ptrace::{AttachError, Begun, Event, Pid, Ptrace, Space, SpaceId, Tid, is_gone};

/// What is worth telling a waiting user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Instructions planned, of so many.
    Planned,
    /// Traps taken away, of so many.
    Disarmed,
}

/// One run of xol over its targets.
pub(super) struct Session<'a> {
    pub(super) target: Ptrace,
    pub(super) options: &'a Options,
    pub(super) teller: Teller<'a>,
    pub(super) wanted: Wanted,
    pub(super) jumping: Jumping,
    pub(super) life: Life,
    /// A space with so many open calls that those which cannot return are looked for.
    pub(super) sweep_due: Option<SpaceId>,
    pub(super) spaces: FxHashMap<SpaceId, Sites>,
    pub(super) states: FxHashMap<Tid, ThreadState>,
    /// Whose events are dealt with right now, the last within those before it.
    pub(super) dealing: Vec<Tid>,
    /// Of the trap that is dealt with: the instruction, and where the thread has trapped in its place.
    pub(super) shadowed: Option<(Addr, Addr)>,
    /// Files that no probe can be in, or that could not be read.
    pub(super) resolved: super::space::opened::Cache,
    /// The process that was launched.
    pub(super) root: Option<Pid>,
    /// How it has ended.
    pub(super) root_status: Option<Status>,
    pub(super) ending: bool,
    pub(super) started: Instant,
    /// Slots taken from one site for another.
    pub(super) stolen: u64,
    /// Children that run in their parents' memory.
    pub(super) vforks: super::watching::tracers::Vforks,
    /// What trampolines note down.
    pub(super) rings: super::recorded::ring::Rings,
    /// Whether that was said.
    armed_told: bool,
    /// What ends the run as a failure, found while an event was handled.
    pub(super) fatal: Option<TraceError>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        options: &'a Options,
        sink: &'a mut dyn Sink,
        front: Option<Link>,
    ) -> Session<'a> {
        Session {
            target: Ptrace::behind(front),
            options,
            teller: Teller::new(options, sink),
            wanted: Wanted::default(),
            jumping: Jumping::default(),
            life: Life::default(),
            sweep_due: None,
            spaces: FxHashMap::default(),
            states: FxHashMap::default(),
            dealing: Vec::new(),
            shadowed: None,
            resolved: super::space::opened::Cache::default(),
            root: None,
            root_status: None,
            ending: false,
            started: Instant::now(),
            stolen: 0,
            vforks: super::watching::tracers::Vforks::default(),
            rings: super::recorded::ring::Rings::default(),
            armed_told: false,
            fatal: None,
        }
    }

    /// Starts or attaches, runs until the end, leaves everything as it was found.
    pub(super) fn run(&mut self) -> Result<Outcome, TraceError> {
        if self.options.calls {
            self.target.vouch();
        }
        xol_targets::ptrace::tracer::catch_signals().map_err(TraceError::Io)?;
        let begun = self.begin();
        self.tell_armed();
        // The time that was asked for is that of the probes.
        self.started = Instant::now();
        xol_targets::ptrace::tracer::tick_after(self.options.duration).map_err(TraceError::Io)?;
        let result = begun.and_then(|()| self.main_loop());
        if matches!(
            result,
            Err(TraceError::NoneLeft(_) | TraceError::NotBuiltYet(_) | TraceError::Attach(_))
        ) && let Some(root) = self.root.filter(|_| self.root_status.is_none())
        {
            // It has not begun yet: the command was for the probes' sake.
            let _ = xol_targets::ptrace::sys::tgkill(
                root,
                Tid(root.0),
                super::hits::hit::libc_signal::KILL,
            );
            return Err(result.err().unwrap_or(TraceError::Io(io::ErrorKind::Other.into())));
        }
        // What became of the places is what it was before leaving; what was counted in them goes on
        // until the last trap is gone.
        let places = self.places();
        let enough = self.teller.has_enough().then(|| self.report());
        // Whatever happened: the text is restored before anything is said.
        let left = self.leave();
        self.finish_all_rings();
        self.teller.end_all_calls();
        let signal = result?;
        left.map_err(TraceError::Io)?;
        self.target.say_done();
        Ok(self.outcome(signal, &places, enough))
    }

    /// Says once that probes are in.
    fn tell_armed(&mut self) {
        if self.teller.rows.armed_once && !self.armed_told {
            self.armed_told = true;
            let armed =
                self.teller.rows.iter().filter(|row| matches!(row.state, RowState::Armed(_)));
            self.teller.sink.armed(armed.count(), self.started.elapsed());
        }
    }

    fn begin(&mut self) -> Result<(), TraceError> {
        match &self.options.subject {
            Subject::Launch(launch) => {
                let begun = launch.begin().map_err(TraceError::Launch)?;
                self.launch(begun)
            }
            Subject::Begun(begun) => {
                let begun = begun.lock().unwrap_or_else(PoisonError::into_inner).take();
                begun.map_or(Ok(()), |begun| self.launch(begun))
            }
            Subject::Attach(pids) => {
                // What takes time comes before anybody can see that it is traced.
                for &pid in pids {
                    self.look_ahead(pid);
                }
                for &pid in pids {
                    self.target.attach(pid, pids.len() == 1).map_err(TraceError::Attach)?;
                }
                for &pid in pids {
                    let Some(space) = self.target.process(pid).map(|p| p.space) else { continue };
                    self.new_space(space);
                    let armed = self.take_over(space, pid);
                    match armed.and_then(|()| self.refresh(space, None)) {
                        Err(error) if !is_gone(&error) => return Err(TraceError::Io(error)),
                        _ => self.await_program(pid, space).map_err(TraceError::Io)?,
                    }
                    if self.target.process(pid).is_some_and(|p| p.space != space) {
                        // It has become another program, in which the probes are looked for anew.
                        self.fatal = None;
                    }
                }
                // With its probes in, it may have come to its end by now.
                if let (Some(&pid), false) = (pids.first(), self.teller.rows.armed_once)
                    && self.target.is_empty()
                {
                    return Err(TraceError::Attach(AttachError::Ended(pid)));
                }
                self.fatal.take().map_or(Ok(()), Err)?;
                self.note_waiting();
                Ok(())
            }
        }
    }

    fn launch(&mut self, begun: Begun) -> Result<(), TraceError> {
        self.root = Some(self.target.launch(begun).map_err(TraceError::Launch)?);
        Ok(())
    }

    /// If a process gets a new program while it is attached to, nothing that was found is right: waits
    /// until that is told, and its probes are in. One that is about to has no threads any more, perhaps,
    /// whose files could be read: so what failed is given a moment.
    fn await_program(&mut self, pid: Pid, space: SpaceId) -> io::Result<()> {
        const MOMENT: Duration = Duration::from_millis(50);
        let begun = Instant::now();
        while self.target.process(pid).is_some_and(|p| p.space == space)
            && (self.target.space(space).is_some_and(Space::has_ended)
                && begun.elapsed() < PATIENCE
                || self.fatal.is_some() && begun.elapsed() < MOMENT)
        {
            match self.target.next_event() {
                Ok(Some(event)) => {
                    if let Event::Exec(..) = event {
                        self.fatal = None;
                    }
                    match self.handle(event) {
                        Err(error) if !is_gone(&error) => return Err(error),
                        _ => {}
                    }
                }
                Ok(None) => std::thread::sleep(Duration::from_micros(200)),
                Err(error) if is_gone(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Runs until there is a reason to end: the signal that asked for it, if that is the reason.
    fn main_loop(&mut self) -> Result<Option<i32>, TraceError> {
        let deadline = self.options.duration.map(|d| self.started + d);
        let mut next_report = self.options.interval.map(|i| (Instant::now() + i, i));
        while !self.target.is_empty() {
            let event = match self.target.wait() {
                Ok(event) => event,
                Err(error) if is_gone(&error) => break,
                Err(error) => return Err(TraceError::Io(error)),
            };
            match self.handle(event) {
                Ok(()) => {}
                // The thread died under our hands: its end is an event of its own.
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(TraceError::Io(error)),
            }
            self.tell_armed();
            if self.teller.sink.failed() {
                return Ok(None);
            }
            if let Event::Tick = event {
                self.teller.sink.tick();
                if let Some((signal, terminal)) = xol_targets::ptrace::tracer::take_caught()
                    && self.asked_to_end(signal, terminal)
                {
                    return Ok(Some(signal));
                }
                if xol_targets::ptrace::tracer::take_asked() {
                    let report = self.report();
                    self.teller.sink.asked(&report);
                }
                if let Some((at, every)) = &mut next_report
                    && Instant::now() >= *at
                {
                    *at += *every;
                    let report = self.report();
                    self.teller.sink.interval(&report);
                }
                if deadline.is_some_and(|at| Instant::now() >= at) {
                    return Ok(None);
                }
                self.toggle().map_err(TraceError::Io)?;
            }
            if self.teller.has_enough() {
                return Ok(None);
            }
            if let Some(error) = self.fatal.take() {
                return Err(error);
            }
        }
        Ok(None)
    }

    /// Ctrl-C reaches a launched program too: it ends as it wants to, unless asked twice.
    fn asked_to_end(&mut self, signal: i32, terminal: bool) -> bool {
        let wait = terminal && self.root.is_some() && !self.ending;
        self.ending = true;
        let _ = signal;
        !wait
    }
}
