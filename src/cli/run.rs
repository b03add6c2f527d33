//! `xol count`, `trace` and what else probes: from the command line to a run, and from its end to a status.

use super::answers::Answer;
use super::args::{Run, Subject};
use super::asked::{Asked, By, TABLES, What};
use super::book::Book;
use super::failure::Failure;
use super::latency::Latency;
use super::look::{Clock, Form};
use super::output::{Format, Progress, Report, replace};
use super::ready::Ready;
use super::top::Top;
use super::values::Values;
use super::whom;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;
use xol::engine::Wish;
use xol::record::{Gaps, Record, Recorded};
use xol::report::{
    Became, CountRow, Order, Stamp, arrange, count_csv, count_json, count_openmetrics, count_text,
    no_jumps,
};
use xol::trace::{self, HitEvent, Moment, Options, Outcome, RowState, Sink, Stage, TraceError};
use xol_arch::Strategy;
use xol_targets::Native;
use xol_targets::ptrace::pair::{self, End, Front, Side};
use xol_targets::ptrace::sys::Status;
use xol_targets::ptrace::tracer;
use xol_targets::ptrace::{Begun, Launch, LaunchError, Pid, foreign_machine};

/// A user who waits no longer than this is not told that the probes are in.
const SOON: Duration = Duration::from_millis(300);

/// Runs to the end of the program, or until asked to end.
pub(super) fn run(run: Run) -> Result<ExitCode, Failure> {
    let asked = run.asked;
    let events = asked.events();
    let mut report = run.report;
    // What is drawn while a program of one's own runs goes where its own output does not.
    if asked.what == What::Rates && matches!(run.subject, Subject::Attach(_)) && report.to.is_none()
    {
        report.to = Some("-".into());
    }
    // What is replaced as a whole is not there before it is.
    let replaced = report
        .to
        .clone()
        .filter(|path| run.look.form == Form::OpenMetrics && path.as_os_str() != "-");
    if let Some(path) = &replaced {
        replace(path, "# EOF\n")?;
    }
    let form = run.look.form;
    let comm = asked.by == Some(By::Comm) || run.look.has_comm() && asked.tells_lines();
    let to = report.to.clone().filter(|_| replaced.is_none());
    let probes: Vec<String> = run.probes.iter().map(|p| p.text.clone()).collect();
    let clock = Clock::now();
    let recorded = Recorded {
        xol: env!("CARGO_PKG_VERSION").to_owned(),
        machine: <Native as xol_arch::Arch>::NAME.to_owned(),
        start_ns: clock.start_ns,
        wall_ns: clock.wall_ns,
        probes: probes.clone(),
    };
    let mut look = run.look;
    if events && !asked.tells_lines() {
        // Events make sums, which are written as that form has them.
        look.form = Form::Text;
    }
    let book = Book::new(look, Report { to, ..report.clone() }, events, recorded)?;
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
        trace::Subject::Begun(begun) => {
            begun.lock().ok().and_then(|begun| begun.as_ref().map(Begun::pid))
        }
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
    let interval = match asked.what {
        // Keys do not wait for the next screen.
        What::Rates => Some(Duration::from_millis(100)),
        _ => run.interval,
    };
    // A sum counts errors, whichever they were.
    let errno = asked.tells_lines();
    let aside = TABLES && asked.slower.is_some() && form == Form::Csv;
    let (order, is_ordered) = (asked.order, asked.is_ordered);
    // A screen of `top` is of the moment at which it is seen.
    let is_timed = run.interval.is_some() && form == Form::Text && asked.what != What::Rates;
    let stamp = is_timed.then_some(Stamp::Since(clock.start_ns));
    let quiet = report.to.as_ref().is_some_and(|to| to.as_os_str() != "-")
        && !io::IsTerminal::is_terminal(&io::stderr());
    let answer = answer(asked, &report, (run.interval, &run.debug_folders));
    let mut options = Options::to_count(subject, run.probes);
    options.follow = run.follow;
    options.wish = run.wish;
    options.rules = run.rules;
    options.slots = run.slots.unwrap_or(Options::SLOTS);
    options.max_sites = run.max_sites.unwrap_or(Options::MAX_SITES);
    options.hits_per_site = run.hits_per_site;
    options.max_events = run.max_events;
    options.duration = run.duration;
    options.interval = interval;
    options.debug_folders = run.debug_folders;
    options.when_full = run.when_full;
    options.toggle = run.toggle;
    options.calls = run.calls;
    options.filter = run.filter;
    options.events = events;
    options.errno = errno;
    options.comm = events && comm;
    options.string = run.reads.string.unwrap_or(Options::STRING);
    options.files = run.reads.files;
    let mut reporter = Reporter {
        book: Some(book),
        form,
        replaced,
        probes: &probes,
        line: String::new(),
        failed: None,
        quiet,
        progress: None,
        ready: run.ready,
        events: events && answer.is_none(),
        answer,
        order,
        is_ordered,
        stamp,
        aside,
    };
    let outcome = trace::run_behind(&options, &mut reporter, front);
    drop(reporter.progress.take());
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            // What is kept to be told at the end is told before that is.
            let _ = reporter.finish(&Gaps::default());
            return Err(match error {
                TraceError::Launch(LaunchError::Exec(error)) => not_started(&name, &error),
                TraceError::NotBuiltYet(what) => Failure::not_built_yet(what),
                error => Failure::new(error.to_string()),
            });
        }
    };
    if !reporter.events
        || !outcome.report.rows.iter().any(|r| matches!(r.row.state, RowState::Armed(_)))
    {
        reporter.counts(&outcome.report);
    } else if options.wish == Wish::Only(Strategy::Jump)
        && let Some(why) = no_jumps(outcome.report.rows.iter().filter_map(|row| row.why_not_jump))
    {
        say(&why);
    }
    let missed = outcome.report.rows.iter().filter(|row| row.missed > 0);
    let gaps = Gaps {
        unread: outcome.report.unread,
        rows: missed.map(|counted| (counted.missed, counted.row.to_string())).collect(),
    };
    reporter.finish(&gaps)?;
    ended(&outcome, &gaps)
}

/// What makes sums of the hits, where that is not the engine.
fn answer(
    asked: Asked,
    report: &Report,
    (period, debug_folders): (Option<Duration>, &[PathBuf]),
) -> Option<Box<dyn Answer>> {
    let to_stdout = report.to.as_ref().is_some_and(|to| to.as_os_str() == "-");
    let to_file = report.to.as_ref().is_some_and(|to| to.as_os_str() != "-");
    Some(match asked.what {
        What::Counts | What::Lines => return None,
        What::Times | What::Summary => Box::new(Latency::new(asked, debug_folders.to_vec())),
        What::Values => Box::new(Values::new(asked, debug_folders.to_vec())),
        What::Rates => {
            let terminal = Top::terminal(to_stdout, to_file || report.format == Format::Json);
            Box::new(Top::new(asked.order, terminal, period))
        }
    })
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
            Ok(trace::Subject::Begun(Mutex::new(Some(begun))))
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
    let known = in_path(OsStr::new(name)).and_then(|path| std::fs::metadata(path).ok());
    let (status, advice) = match error.kind() {
        io::ErrorKind::NotFound if known.is_some() => {
            (127, "it is there, and what is to run it (its #! line, its loader) is not")
        }
        io::ErrorKind::NotFound => (127, "is it in $PATH?"),
        _ if known.is_some_and(|known| known.is_dir()) => (126, "it is a folder"),
        io::ErrorKind::PermissionDenied => (126, "is it executable?"),
        _ => (126, "is it a program for this machine?"),
    };
    Failure::with_status(status, format!("cannot start '{name}': {error}; {advice}"))
}

/// The status xol ends with.
fn ended(outcome: &Outcome, gaps: &Gaps) -> Result<ExitCode, Failure> {
    for sentence in outcome.report.absent.iter().chain(&outcome.report.hints) {
        say(sentence);
    }
    say_missed(gaps);
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

/// Says how much was missed.
pub(super) fn say_missed(gaps: &Gaps) {
    if gaps.unread > 0 {
        say(&format!("{} hits were missed: they came faster than they could be read", gaps.unread));
        for (missed, row) in &gaps.rows {
            say(&format!("  {missed} of {row}"));
        }
    }
}

pub(super) fn say(text: &str) {
    // Not eprintln!, which panics when stderr is closed.
    let _ = io::Write::write_all(&mut io::stderr(), format!("xol: {text}\n").as_bytes());
}

/// Writes what a run tells.
struct Reporter<'a> {
    book: Option<Book>,
    form: Form,
    /// The file that is replaced whenever counts are told.
    replaced: Option<PathBuf>,
    probes: &'a [String],
    line: String,
    failed: Option<Failure>,
    /// Whether a file is written, and no terminal waits: how long it takes is then not told.
    quiet: bool,
    progress: Option<(Stage, Progress)>,
    ready: Option<Ready>,
    /// Whether hits are lines, and not sums.
    events: bool,
    answer: Option<Box<dyn Answer>>,
    order: Order,
    /// Whether that was asked for.
    is_ordered: bool,
    /// What the time of a table counts from, where there are several.
    stamp: Option<Stamp>,
    /// Whether sums are told on stderr as text: the report is a table of events.
    aside: bool,
}

impl Reporter<'_> {
    fn counts(&mut self, report: &trace::Report) {
        let mut rows: Vec<CountRow<'_>> = report
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
        if self.answer.is_none() && self.form != Form::Text && self.is_ordered {
            arrange(&mut rows, self.order);
        }
        self.line.clear();
        let line = &mut self.line;
        if let Some(stamp) = &mut self.stamp {
            line.push_str("TIME");
            stamp.write(line, tracer::now_ns());
            line.push('\n');
        }
        let form = if TABLES && self.aside { Form::Text } else { self.form };
        match (&mut self.answer, form) {
            (Some(answer), form) => answer.report(line, &rows, &report.rows, form),
            (None, Form::Json) => rows.iter().for_each(|row| count_json(line, row)),
            (None, Form::Csv) if !self.events => count_csv(line, &rows),
            (None, Form::OpenMetrics) => count_openmetrics(line, &rows),
            (None, Form::Text | Form::Csv | Form::Chrome | Form::Record) => {
                count_text(line, &rows, self.order);
            }
        }
        if self.form == Form::Text || self.events && self.form != Form::Json {
            if let Some(why) = &report.no_slots {
                line.push_str(&format!("no room for slots: {why}\n"));
            }
            if report.stolen > 0 {
                line.push_str(&format!(
                    "{} slots were taken from one site for another; --slots N allows more\n",
                    report.stolen
                ));
            }
        }
        if self.events && matches!(self.form, Form::Csv | Form::Chrome | Form::Record) {
            // These are no events.
            line.lines().for_each(say);
            return;
        }
        if TABLES && self.aside {
            let _ = io::Write::write_all(&mut io::stderr(), line.as_bytes());
            return;
        }
        let text = std::mem::take(&mut self.line);
        match self.replaced.clone() {
            Some(path) => self.write(|_| replace(&path, &text)),
            None => self.write(|book| book.text(&text)),
        }
        self.line = text;
    }

    /// Does what writes, unless that has failed before.
    fn write(&mut self, write: impl FnOnce(&mut Book) -> Result<(), Failure>) {
        if self.failed.is_none()
            && let Some(book) = &mut self.book
        {
            self.failed = write(book).err();
        }
    }

    fn finish(&mut self, gaps: &Gaps) -> Result<(), Failure> {
        if let Some(failure) = self.failed.take() {
            return Err(failure);
        }
        self.book.take().map_or(Ok(()), |book| book.finish(gaps))
    }
}

impl Sink for Reporter<'_> {
    fn hit(&mut self, event: &HitEvent<'_>) {
        if self.answer.as_mut().is_some_and(|answer| !answer.hit(event)) {
            return;
        }
        let record = Record::from(event);
        if let (Moment::Ends(call, _), Some(_)) = (record.moment, &self.answer) {
            // Of a call that is told alone nothing was shown before.
            let began = Record { moment: Moment::Begins(call), ..record };
            self.write(|book| book.event(&began, event.row));
        }
        self.write(|book| book.event(&record, event.row));
    }

    fn interval(&mut self, report: &trace::Report) {
        if self.events {
            // Lines are shown at least that often.
            self.write(Book::flush);
        } else if self.answer.as_mut().is_none_or(|answer| answer.is_due()) {
            self.counts(report);
        }
    }

    fn asked(&mut self, report: &trace::Report) {
        if self.events {
            self.write(Book::asked);
        } else {
            self.counts(report);
        }
    }

    fn tick(&mut self) {
        self.write(Book::tick);
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

    fn arming(&mut self, places: usize, takes: Duration) {
        if !self.quiet {
            let seconds = takes.as_secs_f32().ceil();
            say(&format!(
                "{places} places are armed before the program goes on: about {seconds} s"
            ));
        }
    }

    fn armed(&mut self, places: usize, took: Duration) {
        let what = if places == 1 { "1 place".to_owned() } else { format!("{places} places") };
        if took > SOON && !self.quiet {
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
        self.failed.is_some() || self.answer.as_ref().is_some_and(|answer| answer.is_over())
    }
}
