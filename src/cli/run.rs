//! `xol count` and `xol trace`: from the command line to a run, and from its end to a status.

use super::args::{Run, Subject};
use super::failure::Failure;
use super::output::{Format, Output, Progress};
use super::ready::Ready;
use super::whom;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use xol::engine::Wish;
use xol::report::{Became, CountRow, Event, Lines, Read, count_json, count_text, event_json};
use xol::trace::{
    self, HitEvent, Moment, Options, Outcome, RowState, Sink, Stage, TraceError, Value,
};
use xol_arch::Strategy;
use xol_targets::Native;
use xol_targets::ptrace::own;
use xol_targets::ptrace::pair::{self, End, Front, Side};
use xol_targets::ptrace::sys::Status;
use xol_targets::ptrace::{Begun, Launch, LaunchError, Pid, foreign_machine};

/// A user who waits no longer than this is not told that the probes are in.
const SOON: Duration = Duration::from_millis(300);

/// Runs to the end of the program, or until asked to end.
pub(super) fn run(run: Run, events: bool) -> Result<ExitCode, Failure> {
    let output = Output::stderr(&run.report)?;
    let name = match &run.subject {
        Subject::Launch(command) => command[0].to_string_lossy().into_owned(),
        Subject::Attach(_) => String::new(),
    };
    if let Some(ready) = &run.ready {
        ready.prepare()?;
    }
    let subject = subject(&run.subject)?;
    // Two processes from here on; where there can be only one, it does all by itself.
    let program = match &subject {
        trace::Subject::Begun(begun) => begun.borrow().as_ref().map(Begun::pid),
        _ => None,
    };
    let front = match pair::split(program) {
        Ok(Side::Front(front)) => {
            drop(subject);
            return in_front(front);
        }
        Ok(Side::Tracer(link)) => Some(link),
        Err(_) => None,
    };
    let options = Options {
        subject,
        follow: run.follow,
        wish: run.wish,
        rules: run.rules,
        slots: run.slots.unwrap_or(Options::SLOTS),
        max_sites: run.max_sites.unwrap_or(Options::MAX_SITES),
        hits_per_site: run.hits_per_site,
        max_events: run.max_events,
        duration: run.duration,
        interval: run.interval,
        debug_folders: run.debug_folders,
        when_full: run.when_full,
        toggle: run.toggle,
        calls: run.calls,
        probes: run.probes,
        filter: run.filter,
        events,
        comm: events && run.report.format == Format::Json,
    };
    let probes: Vec<String> = options.probes.iter().map(|p| p.text.clone()).collect();
    let mut reporter = Reporter {
        output: Some(output),
        format: run.report.format,
        probes: &probes,
        line: String::new(),
        lines: Lines::new(own::now_ns()),
        failed: None,
        progress: None,
        ready: run.ready,
        events,
    };
    let outcome = trace::run_behind(&options, &mut reporter, front);
    drop(reporter.progress.take());
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(TraceError::Launch(LaunchError::Exec(error))) => {
            return Err(not_started(&name, &error));
        }
        Err(TraceError::NotBuiltYet(what)) => return Err(Failure::not_built_yet(what)),
        Err(error) => return Err(Failure::new(error.to_string())),
    };
    if !events || !outcome.report.rows.iter().any(|r| matches!(r.row.state, RowState::Armed(_))) {
        reporter.counts(&outcome.report);
    } else if options.wish == Wish::Only(Strategy::Jump)
        && let Some(why) = no_jumps(&outcome.report)
    {
        say(&why);
    }
    reporter.finish()?;
    ended(&outcome)
}

/// Waits in front of the tracer, whose status is ours.
fn in_front(front: Front) -> Result<ExitCode, Failure> {
    match front.wait() {
        End::Exited(status) => Ok(ExitCode::from(status)),
        End::Killed(signal, traps) => Err(Failure::new(format!(
            "the process that traces was killed by signal {signal}; {traps} traps were taken away, \
             and the program goes on"
        ))),
    }
}

fn subject(subject: &Subject) -> Result<trace::Subject, Failure> {
    match subject {
        Subject::Attach(whom) => {
            Ok(trace::Subject::Attach(whom::pids(whom)?.into_iter().map(Pid).collect()))
        }
        Subject::Launch(command) => {
            let args: Result<Vec<CString>, _> =
                command.iter().map(|word| CString::new(word.as_bytes())).collect();
            let args = args.map_err(|_| Failure::usage("an argument has a NUL byte"))?;
            if let Some(machine) = in_path(&command[0]).and_then(|path| foreign_machine(&path)) {
                return Err(Failure::with_status(
                    126,
                    format!(
                        "cannot start '{}': it is a program for {machine}, and this xol is for {}; \
                         run it, and an xol for it, in a VM (`cargo vm run`)",
                        command[0].to_string_lossy(),
                        <Native as xol_arch::Arch>::NAME,
                    ),
                ));
            }
            let begun = Launch { program: args[0].clone(), args }.begin();
            let begun =
                begun.map_err(|error| Failure::new(TraceError::Launch(error).to_string()))?;
            Ok(trace::Subject::Begun(RefCell::new(Some(begun))))
        }
    }
}

/// The file that execvp(3) would start.
fn in_path(name: &OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Some(name.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// 127 where there is no such program, 126 where it cannot be run: as shells do.
fn not_started(name: &str, error: &io::Error) -> Failure {
    let (status, advice) = match error.kind() {
        io::ErrorKind::NotFound => (127, "is it in $PATH?"),
        io::ErrorKind::PermissionDenied => (126, "is it executable?"),
        _ => (126, "is it a program for this machine?"),
    };
    Failure::with_status(status, format!("cannot start '{name}': {error}; {advice}"))
}

/// The status xol ends with.
fn ended(outcome: &Outcome) -> Result<ExitCode, Failure> {
    for sentence in outcome.report.absent.iter().chain(&outcome.report.hints) {
        say(sentence);
    }
    if outcome.report.unread > 0 {
        say(&format!(
            "{} hits were missed: they came faster than they could be read",
            outcome.report.unread
        ));
        for counted in outcome.report.rows.iter().filter(|row| row.missed > 0) {
            say(&format!("  {} of {}", counted.missed, counted.row));
        }
    }
    if let Some(pid) = outcome.running {
        say(&format!("detached; process {pid} goes on"));
    }
    let armed = |state| matches!(state, RowState::Armed(_));
    let any = outcome.report.rows.iter().any(|r| armed(r.row.state));
    let status = match outcome.status {
        Some(Status::Exited(status)) => status as u8,
        Some(Status::Killed(signal)) => {
            say(&format!("the program was killed by signal {signal}"));
            128 + signal as u8
        }
        _ => outcome.signal.filter(|_| outcome.running.is_some()).map_or(0, |s| 128 + s as u8),
    };
    if !any && status == 0 {
        return Err(Failure::new("no probe was ever armed"));
    }
    Ok(ExitCode::from(status))
}

/// Why places have no jump where jumps were asked for.
fn no_jumps(report: &trace::Report) -> Option<String> {
    let mut stops: BTreeMap<&str, usize> = BTreeMap::new();
    for why in report.rows.iter().filter_map(|row| row.why_not_jump) {
        *stops.entry(why.id()).or_default() += 1;
    }
    let parts: Vec<String> = stops.iter().map(|(why, n)| format!("{n} {why}")).collect();
    (!parts.is_empty()).then(|| format!("no jump at: {}", parts.join(", ")))
}

fn say(text: &str) {
    // Not eprintln!, which panics when stderr is closed.
    let _ = io::Write::write_all(&mut io::stderr(), format!("xol: {text}\n").as_bytes());
}

/// Writes what a run tells.
struct Reporter<'a> {
    output: Option<Output>,
    format: Format,
    probes: &'a [String],
    line: String,
    lines: Lines,
    failed: Option<Failure>,
    progress: Option<(Stage, Progress)>,
    ready: Option<Ready>,
    events: bool,
}

impl Reporter<'_> {
    fn counts(&mut self, report: &trace::Report) {
        let rows: Vec<CountRow<'_>> = report
            .rows
            .iter()
            .map(|counted| CountRow {
                probe: self.probes.get(counted.row.probe).map_or("", |p| p),
                object: &counted.row.object,
                symbol: &counted.row.symbol,
                mangled: counted.row.mangled.as_deref(),
                offset: counted.row.offset,
                addr: counted.row.addr,
                is_return: counted.row.is_return,
                hits: counted.hits,
                missed: counted.missed,
                why_not_jump: counted.why_not_jump,
                became: match counted.row.state {
                    RowState::Waiting => Became::Waiting,
                    RowState::Armed(strategy) => Became::Armed(strategy),
                    RowState::Rejected(reject) => Became::Rejected(reject),
                },
            })
            .collect();
        self.line.clear();
        match self.format {
            Format::Text => count_text(&mut self.line, &rows),
            Format::Json => rows.iter().for_each(|row| count_json(&mut self.line, row)),
        }
        if let Some(why) = &report.no_slots
            && self.format == Format::Text
        {
            self.line.push_str(&format!("no room for slots: {why}\n"));
        }
        if report.stolen > 0 && self.format == Format::Text {
            self.line.push_str(&format!(
                "{} slots were taken from one site for another; --slots N allows more\n",
                report.stolen
            ));
        }
        self.send(true);
    }

    /// Passes the line on.
    fn send(&mut self, flush: bool) {
        if self.failed.is_none()
            && let Some(output) = &mut self.output
        {
            let result = output.write(&self.line);
            let result = result.and_then(|()| if flush { output.flush() } else { Ok(()) });
            self.failed = result.err();
        }
    }

    fn finish(&mut self) -> Result<(), Failure> {
        if let Some(failure) = self.failed.take() {
            return Err(failure);
        }
        self.output.take().map_or(Ok(()), Output::finish)
    }
}

impl Sink for Reporter<'_> {
    fn hit(&mut self, event: &HitEvent<'_>) {
        self.line.clear();
        let known = event.signature.filter(|signature| !signature.open);
        let args = known.map(|signature| {
            let named = signature.args.iter().zip(event.args);
            named.map(|(arg, value)| (arg.name.as_str(), arg.ty, read(value))).collect::<Vec<_>>()
        });
        let ty = event.signature.and_then(|signature| signature.ret);
        let (moment, end) = match event.moment {
            Moment::Ends(_, end) => (event.moment, Some(end)),
            moment => (moment, None),
        };
        let event = Event {
            ts_ns: event.ts_ns,
            pid: event.pid.0,
            tid: event.tid.0,
            comm: event.comm,
            probe: self.probes.get(event.row.probe).map_or("", |p| p),
            object: &event.row.object,
            symbol: &event.row.symbol,
            offset: event.row.offset,
            vaddr: event.row.addr,
            addr: event.addr.0,
            args: args.as_deref(),
            end,
            ret: event.ret.as_ref().map(|value| (ty, read(value))),
            duration_ns: event.duration_ns,
        };
        let line = &mut self.line;
        match (self.format, moment) {
            (Format::Text, Moment::Begins(call)) => self.lines.begin(call, &event),
            (Format::Text, Moment::Ends(call, _)) => self.lines.end(line, call, &event),
            (Format::Text, Moment::Hit) => self.lines.hit(line, &event),
            (Format::Json, Moment::Begins(_)) => {}
            (Format::Json, _) => event_json(line, &event),
        }
        self.send(false);
    }

    fn interval(&mut self, report: &trace::Report) {
        if self.events {
            // Lines are shown at least that often.
            self.line.clear();
            self.send(true);
        } else {
            self.counts(report);
        }
    }

    fn tick(&mut self) {
        self.line.clear();
        self.lines.tick(&mut self.line, own::now_ns());
        self.send(true);
    }

    fn note(&mut self, text: &str) {
        say(text);
    }

    fn progress(&mut self, stage: Stage, done: usize, of: usize) {
        let what = match stage {
            Stage::Planned => "planning",
            Stage::Disarmed => "disarming",
        };
        if self.progress.as_ref().is_none_or(|(s, _)| *s != stage) {
            self.progress = Some((stage, Progress::new(what, of as u64)));
        }
        if let Some((_, progress)) = &mut self.progress {
            progress.at(done as u64);
        }
    }

    fn armed(&mut self, places: usize, took: Duration) {
        let what = if places == 1 { "1 place".to_owned() } else { format!("{places} places") };
        if took > SOON {
            say(&format!("armed {what}, in {}.{} s", took.as_secs(), took.subsec_millis() / 100));
        }
        if let Some(ready) = self.ready.take()
            && let Err(failure) = ready.tell(&format!("armed {what}\n"))
        {
            self.failed = Some(failure);
        }
    }

    fn progress_done(&mut self) {
        self.progress = None;
    }

    fn failed(&self) -> bool {
        self.failed.is_some()
    }
}

fn read(value: &Value) -> Read<'_> {
    match value {
        Value::Bits(bits) => Read::Bits(*bits),
        Value::Text(text, more) => Read::Text(text, *more),
        Value::Bad(at) => Read::Bad(*at),
        Value::Unknown(at) => Read::Unknown(*at),
    }
}
