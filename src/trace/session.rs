//! One run: what is traced, what is counted, and the loop.

use super::options::{Options, Subject};
use super::rows::consumer::RowState;
use super::rows::table::Rows;
use super::space::objects::FileId;
use super::space::sites::Sites;
use super::telling::frames::Frames;
use super::{Outcome, Sink, TraceError};
use crate::engine::Doing;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::PoisonError;
use std::time::{Duration, Instant};
use xol_arch::Addr;
use xol_targets::native::Regs;
use xol_targets::ptrace::pair::Link;
use xol_targets::ptrace::sys::Status;
use xol_targets::ptrace::{AttachError, Begun, Event, Pid, Ptrace, Space, SpaceId, Tid, is_gone};

/// How long a thread may take to answer an interrupt.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// What is worth telling a waiting user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Instructions planned, of so many.
    Planned,
    /// Traps taken away, of so many.
    Disarmed,
}

/// What is remembered of a thread between two of its stops.
#[derive(Clone, Debug, Default)]
pub(super) struct ThreadState {
    /// What it is in the middle of.
    pub(super) doing: Doing,
    /// Its registers before the copy that it runs or has run.
    pub(super) before: Regs,
    /// Signals that came while another was held, and such that have to come once more.
    pub(super) later: super::space::later::Later,
    /// How often it was seen to have such when it was to be left.
    pub(super) late: u32,
    /// The rt_sigactions it is in, by stack pointer: a handler may make one inside another.
    pub(super) setting: Vec<(Addr, [u64; 3])>,
    /// The mremaps it is in that concern text, by stack pointer: and what they put something else on.
    pub(super) moving: Vec<(Addr, std::ops::Range<Addr>)>,
}

/// One run of xol over its targets.
pub(super) struct Session<'a> {
    pub(super) target: Ptrace,
    pub(super) options: &'a Options,
    pub(super) sink: &'a mut dyn Sink,
    pub(super) spaces: FxHashMap<SpaceId, Sites>,
    pub(super) rows: Rows,
    pub(super) frames: Frames,
    /// How many calls were told of that have an end.
    pub(super) calls: u64,
    /// Whether returns of functions that Go has compiled are of interest.
    pub(super) go_returns: bool,
    /// What threads are called.
    pub(super) comms: super::telling::comms::Comms,
    pub(super) states: FxHashMap<Tid, ThreadState>,
    /// Of the trap that is dealt with: the instruction, and where the thread has trapped in its place.
    pub(super) shadowed: Option<(Addr, Addr)>,
    /// Forked children that are cleaned before they run: what their text had.
    pub(super) to_clean: BTreeMap<Pid, Vec<Addr>>,
    /// Children that run in their parents' memory.
    pub(super) vforks: super::watching::tracers::Vforks,
    /// Notes for the user, each said once.
    pub(super) notes: HashSet<String>,
    /// Files that no probe can be in, or that could not be read.
    pub(super) resolved: super::space::opened::Cache,
    pub(super) root: Option<Pid>,
    pub(super) root_status: Option<Status>,
    pub(super) events: u64,
    pub(super) ending: bool,
    pub(super) started: Instant,
    /// How far leaving has come.
    pub(super) leaving: super::life::leave::Leaving,
    /// Objects that were looked through.
    pub(super) looked: Vec<super::wanted::probes::Looked>,
    /// What the last row is called.
    pub(super) named: Option<super::wanted::probes::Named>,
    /// Slots taken from one site for another.
    pub(super) stolen: u64,
    /// What trampolines note down.
    pub(super) rings: super::recorded::ring::Rings,
    /// How long threads have waited for room in them.
    pub(super) waits: super::telling::waits::Waits,
    /// Whose sites they note down.
    pub(super) notings: Vec<super::telling::notes::Noting>,
    /// A space with so many frames that those which cannot return are looked for.
    pub(super) sweep_due: Option<SpaceId>,
    /// How often places were hit in processes that are over.
    pub(super) heat: super::jumping::upgrade::Heat,
    /// Room for the arguments of one hit.
    pub(super) args: Vec<super::Value>,
    /// Jumps taken back for a moment.
    pub(super) toggle: super::jumping::toggle::Toggle,
    /// Whether an object may have restartable sequences that nothing describes, by file and
    /// signature.
    pub(super) restartable: HashMap<(FileId, u32), bool>,
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
            sink,
            spaces: FxHashMap::default(),
            rows: Rows::default(),
            frames: Frames::default(),
            calls: 0,
            go_returns: false,
            comms: super::telling::comms::Comms::default(),
            states: FxHashMap::default(),
            shadowed: None,
            to_clean: BTreeMap::new(),
            vforks: super::watching::tracers::Vforks::default(),
            notes: HashSet::new(),
            resolved: super::space::opened::Cache::default(),
            root: None,
            root_status: None,
            events: 0,
            ending: false,
            started: Instant::now(),
            leaving: super::life::leave::Leaving::default(),
            looked: Vec::new(),
            named: None,
            stolen: 0,
            rings: super::recorded::ring::Rings::default(),
            waits: super::telling::waits::Waits::default(),
            notings: Vec::new(),
            sweep_due: None,
            heat: super::jumping::upgrade::Heat::default(),
            args: Vec::new(),
            toggle: super::jumping::toggle::Toggle::default(),
            restartable: HashMap::new(),
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
        let enough = self.has_enough().then(|| self.report());
        // Whatever happened: the text is restored before anything is said.
        let left = self.leave();
        let left = left.and_then(|()| self.finish_all_rings());
        self.end_all_calls();
        let signal = result?;
        left.map_err(TraceError::Io)?;
        self.target.say_done();
        Ok(self.outcome(signal, &places, enough))
    }

    /// Says once that probes are in.
    fn tell_armed(&mut self) {
        if self.rows.armed_once && !self.armed_told {
            self.armed_told = true;
            let armed = self.rows.iter().filter(|row| matches!(row.state, RowState::Armed(_)));
            self.sink.armed(armed.count(), self.started.elapsed());
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
                if let (Some(&pid), false) = (pids.first(), self.rows.armed_once)
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
            if self.sink.failed() {
                return Ok(None);
            }
            if let Event::Tick = event {
                self.sink.tick();
                if let Some((signal, terminal)) = xol_targets::ptrace::tracer::take_caught()
                    && self.asked_to_end(signal, terminal)
                {
                    return Ok(Some(signal));
                }
                if xol_targets::ptrace::tracer::take_asked() {
                    let report = self.report();
                    self.sink.asked(&report);
                }
                if let Some((at, every)) = &mut next_report
                    && Instant::now() >= *at
                {
                    *at += *every;
                    let report = self.report();
                    self.sink.interval(&report);
                }
                if deadline.is_some_and(|at| Instant::now() >= at) {
                    return Ok(None);
                }
                self.toggle().map_err(TraceError::Io)?;
            }
            if self.has_enough() {
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
