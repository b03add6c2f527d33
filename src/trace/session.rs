//! One run: what is traced, what is counted, and the loop.

use super::consumer::{Consumer, Row, RowState};
use super::frames::Frames;
use super::objects::FileId;
use super::options::{Options, Subject};
use super::sites::Sites;
use super::{Outcome, Sink, TraceError};
use crate::engine::{Counter, Doing};
use crate::report::End;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::rc::Rc;
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
    pub(super) later: super::later::Later,
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
    pub(super) consumers: Vec<Consumer>,
    pub(super) counters: Vec<Counter>,
    pub(super) rows: Vec<Row>,
    pub(super) row_index: HashMap<super::consumer::RowKey, u32>,
    pub(super) frames: Frames,
    /// How many calls were told of that have an end.
    pub(super) calls: u64,
    /// Whether returns of functions that Go has compiled are of interest.
    pub(super) go_returns: bool,
    /// What threads are called.
    pub(super) comms: super::comms::Comms,
    pub(super) states: FxHashMap<Tid, ThreadState>,
    /// Of the trap that is dealt with: the instruction, and where the thread has trapped in its place.
    pub(super) shadowed: Option<(Addr, Addr)>,
    /// Forked children that are cleaned before they run: what their text had.
    pub(super) to_clean: BTreeMap<Pid, Vec<Addr>>,
    /// Children that run in their parents' memory.
    pub(super) vforks: super::tracers::Vforks,
    /// Notes for the user, each said once.
    pub(super) notes: HashSet<String>,
    /// Files that no probe can be in, or that could not be read.
    pub(super) resolved: super::probes::Cache,
    pub(super) root: Option<Pid>,
    pub(super) root_status: Option<Status>,
    pub(super) events: u64,
    pub(super) ending: bool,
    pub(super) started: Instant,
    /// How far leaving has come.
    pub(super) leaving: super::leave::Leaving,
    /// Objects that were looked through.
    pub(super) looked: Vec<super::probes::Looked>,
    /// What the last row is called.
    pub(super) named: Option<super::probes::Named>,
    /// Slots taken from one site for another.
    pub(super) stolen: u64,
    /// Counters that trampolines write.
    pub(super) tallies: Vec<Rc<super::jumps::Tally>>,
    /// Records that trampolines found no room for.
    pub(super) lost: u64,
    /// What trampolines note down.
    pub(super) rings: super::ring::Rings,
    /// How long threads have waited for room in them.
    pub(super) waits: super::full::Waits,
    /// Whose sites they note down.
    pub(super) notings: Vec<super::notes::Noting>,
    /// A space with so many frames that those which cannot return are looked for.
    pub(super) sweep_due: Option<SpaceId>,
    /// How often places were hit in processes that are over.
    pub(super) heat: super::upgrade::Heat,
    /// Room for the arguments of one hit.
    pub(super) args: Vec<super::Value>,
    /// Jumps taken back for a moment.
    pub(super) toggle: super::toggle::Toggle,
    /// Whether an object may have restartable sequences that nothing describes, by file and
    /// signature.
    pub(super) restartable: HashMap<(FileId, u32), bool>,
    /// Whether any site was ever armed.
    pub(super) armed_once: bool,
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
            consumers: Vec::new(),
            counters: Vec::new(),
            rows: Vec::new(),
            row_index: HashMap::new(),
            frames: Frames::default(),
            calls: 0,
            go_returns: false,
            comms: super::comms::Comms::default(),
            states: FxHashMap::default(),
            shadowed: None,
            to_clean: BTreeMap::new(),
            vforks: super::tracers::Vforks::default(),
            notes: HashSet::new(),
            resolved: super::probes::Cache::default(),
            root: None,
            root_status: None,
            events: 0,
            ending: false,
            started: Instant::now(),
            leaving: super::leave::Leaving::default(),
            looked: Vec::new(),
            named: None,
            stolen: 0,
            tallies: Vec::new(),
            lost: 0,
            rings: super::ring::Rings::default(),
            waits: super::full::Waits::default(),
            notings: Vec::new(),
            sweep_due: None,
            heat: super::upgrade::Heat::default(),
            args: Vec::new(),
            toggle: super::toggle::Toggle::default(),
            restartable: HashMap::new(),
            armed_once: false,
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
            let _ =
                xol_targets::ptrace::sys::tgkill(root, Tid(root.0), super::hit::libc_signal::KILL);
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
        if self.armed_once && !self.armed_told {
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
                if let (Some(&pid), false) = (pids.first(), self.armed_once)
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

    /// Deals with one event; the thread goes on.
    pub(super) fn handle(&mut self, event: Event) -> io::Result<()> {
        // What was noted down before comes first.
        match event {
            Event::Trap(tid)
            | Event::Signal(tid, _)
            | Event::Stepped(tid)
            | Event::Forked { parent: tid, .. }
                // In the middle of a record there is no waiting for it: by then the next signal of a
                // timer would be there, and the next instruction never made.
                if !self.doing(tid).is_trampoline() =>
            {
                self.drain(Some(tid))?;
            }
            _ => {}
        }
        self.deal_with(event)?;
        match event {
            Event::Signal(tid, _) | Event::Stepped(tid) if cfg!(feature = "jump") => {
                self.see_through(tid)
            }
            _ => Ok(()),
        }
    }

    /// Lets a thread that is in the middle of a record execute its few instructions now: if others were
    /// served between, the next signal of a fast timer would be there before each of them.
    fn see_through(&mut self, tid: Tid) -> io::Result<()> {
        const STEPS: u32 = 256;
        const MOMENT: Duration = Duration::from_millis(2);
        for _ in 0..STEPS {
            if !self.doing(tid).is_trampoline() {
                break;
            }
            let Some(event) = self.target.await_event(tid, MOMENT)? else { break };
            self.deal_with(event)?;
        }
        Ok(())
    }

    fn deal_with(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::Trap(tid) => self.on_trap(tid),
            Event::Stepped(tid) => self.on_step(tid),
            Event::Signal(tid, info) => self.on_signal(tid, info),
            Event::Forked { parent, child } => self.on_fork(parent, child),
            Event::Started(tid) => self.on_start(tid),
            Event::Exec(tid, old, former) => self.on_exec(tid, old, former),
            Event::Returned(tid) => self.on_return(tid),
            Event::Gone(tid, pid) => {
                self.states.remove(&tid);
                self.end_thread((pid, tid))?;
                self.unname_thread(pid, tid);
                self.put_traps_back(tid)
            }
            Event::Ended(pid, status) => {
                self.states.remove(&Tid(pid.0));
                self.unname_thread(pid, Tid(pid.0));
                if Some(pid) == self.root {
                    self.root_status = Some(status);
                }
                let space = self.target.process(pid).map(|p| p.space);
                self.vforks.forget(pid);
                self.target.forget(pid);
                match space {
                    Some(space) if self.target.space(space).is_some() => {
                        self.end_process(pid, space, End::Exit)?;
                    }
                    _ => self.forget_unused(space),
                }
                Ok(())
            }
            Event::Tick => {
                let count = self.drain(None)?;
                self.pace(count)
            }
        }
    }

    pub(super) fn sites_mut(&mut self, space: SpaceId) -> &mut Sites {
        let slots = self.options.slots;
        self.spaces.entry(space).or_insert_with(|| Sites::new(slots))
    }

    /// Returns the sites of a space, if it has any.
    pub(super) fn sites(&self, space: SpaceId) -> Option<&Sites> {
        self.spaces.get(&space)
    }

    /// Returns what a thread is in the middle of.
    pub(super) fn doing(&self, tid: Tid) -> Doing {
        self.states.get(&tid).map_or(Doing::Own, |state| state.doing)
    }

    /// Notes that a thread is in the middle of something else.
    pub(super) fn does(&mut self, tid: Tid, doing: Doing) {
        self.states.entry(tid).or_default().doing = doing;
    }

    pub(super) fn new_space(&mut self, space: SpaceId) {
        let _ = self.sites_mut(space);
    }

    pub(super) fn forget_unused(&mut self, space: Option<SpaceId>) {
        if let Some(space) = space
            && self.target.space(space).is_none()
        {
            if let Err(error) = self.finish_rings(space) {
                self.note(format!("the last events of a process: {error}"));
            }
            self.end_space(space);
            self.keep_heat(space);
            self.spaces.remove(&space);
            self.read_tallies();
        }
    }

    pub(super) fn progress(&mut self, stage: Stage, done: usize, of: usize) {
        if done.is_multiple_of(256) && of >= 1024 {
            self.sink.progress(stage, done, of);
        }
    }

    /// Says something once.
    pub(super) fn note(&mut self, text: String) {
        if self.notes.insert(text.clone()) {
            self.sink.note(&text);
        }
    }
}
