//! How events and counts are to be written: `--format`, `--time`, `--columns`, `--tree`, `-ff`.

use super::args::{one, option, positive};
use super::failure::Failure;
use super::output::Report;
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};
use xol::report::{self, Colours, Column, Field, Stamp};
use xol::spec::{Spec, Where};
use xol_targets::ptrace::tracer;

/// `--format`, of the commands that start a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
    Csv,
    Chrome,
    OpenMetrics,
    Record,
}

impl Form {
    const ALL: [(&str, Form); 6] = [
        ("text", Form::Text),
        ("json", Form::Json),
        ("csv", Form::Csv),
        ("chrome", Form::Chrome),
        ("openmetrics", Form::OpenMetrics),
        ("record", Form::Record),
    ];
}

/// `--time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    Relative,
    Wall,
    Delta,
}

/// How a report is to look.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) form: Form,
    pub(crate) time: Time,
    pub(crate) columns: Vec<Column>,
    pub(crate) fields: Vec<Field>,
    pub(crate) tree: bool,
    /// Whether each process has a file.
    pub(crate) each: bool,
    /// `--last`: only the newest, and only at the end.
    pub(crate) last: Option<u64>,
    /// For tests: a recording of the same run.
    pub(crate) too: Option<PathBuf>,
}

/// When a run began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// In ns of CLOCK_MONOTONIC.
    pub(crate) start_ns: u64,
    /// The ns from the beginning of 1970 to that of CLOCK_MONOTONIC.
    pub(crate) wall_ns: u64,
}

impl Clock {
    /// A run that begins now.
    pub(crate) fn now() -> Clock {
        let (start_ns, wall) = (tracer::now_ns(), SystemTime::now().duration_since(UNIX_EPOCH));
        let wall = u64::try_from(wall.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX);
        Clock { start_ns, wall_ns: wall.saturating_sub(start_ns) }
    }
}

impl Look {
    /// Whether the names of threads are told.
    pub(crate) fn has_comm(&self) -> bool {
        match self.form {
            _ if self.too.is_some() => true,
            Form::Text => self.columns.contains(&Column::Comm),
            Form::Csv => self.fields.iter().any(|field| field.name() == "comm"),
            Form::Json | Form::Chrome | Form::Record => true,
            Form::OpenMetrics => false,
        }
    }

    /// The date and time of day of events, where their format has none by itself.
    pub(crate) fn stamp(&self, clock: Clock) -> Option<Stamp> {
        let wall = self.time == Time::Wall && matches!(self.form, Form::Json | Form::Csv);
        wall.then_some(Stamp::Wall(clock.wall_ns, ahead_of_utc))
    }

    /// The same for the lines of one file.
    pub(crate) fn lines(&self, clock: Clock, report: &Report) -> report::Look {
        let stamp = match self.time {
            Time::Relative => Stamp::Since(clock.start_ns),
            Time::Delta => Stamp::Delta(None),
            Time::Wall => Stamp::Wall(clock.wall_ns, ahead_of_utc),
        };
        report::Look {
            stamp,
            columns: self.columns.clone(),
            tree: self.tree,
            colours: Colours(!self.each && coloured(report)),
        }
    }
}

/// How far local time is ahead of UTC. Boards tell UTC: the tables of time zones are not there.
fn ahead_of_utc(moment: i64) -> i64 {
    if cfg!(feature = "names") { xol_targets::local::ahead_of_utc(moment) } else { 0 }
}

/// Whether a report goes to a terminal that shows colours, and nobody minds them (no-color.org).
fn coloured(report: &Report) -> bool {
    let terminal = match &report.to {
        None => std::io::stderr().is_terminal(),
        Some(path) => path.as_os_str() == "-" && std::io::stdout().is_terminal(),
    };
    let set = |name: &str| std::env::var_os(name).unwrap_or_default();
    terminal && set("NO_COLOR").is_empty() && set("TERM") != "dumb"
}

/// The options of those that tell events: `trace` and `show`.
pub(crate) fn options() -> [Arg; 4] {
    [
        Arg::new("time")
            .long("time")
            .value_name("WHICH")
            .value_parser(PossibleValuesParser::new(["wall", "relative", "delta"]))
            .hide_possible_values(true)
            .help("What TIME is: relative (to the start), wall, delta [default: relative]"),
        Arg::new("columns")
            .long("columns")
            .value_name("NAME,…")
            .help("The parts of a line, or of CSV: see xol help output"),
        Arg::new("tree").long("tree").action(ArgAction::SetTrue).help("Indent nested calls"),
        Arg::new("last")
            .long("last")
            .value_name("N")
            .value_parser(positive)
            .help("Only the newest N, told at the end: a flight recorder"),
    ]
}

/// The options of `trace` alone.
pub(crate) fn trace_options() -> [Arg; 1] {
    [option("record-too", "FILE", "For tests: a recording of the same run")
        .value_parser(clap::value_parser!(PathBuf))
        .hide(true)]
}

/// What the command line says of it.
pub(crate) fn look(
    args: &ArgMatches,
    report: &Report,
    filter: Option<&Where>,
    probes: &[Spec],
) -> Result<Look, Failure> {
    let word = |name: &str| args.try_get_one::<String>(name).ok().flatten();
    let flag = |name: &str| args.try_get_one::<bool>(name).ok().flatten().is_some_and(|&on| on);
    let form = word("format").and_then(|name| Form::ALL.iter().find(|(n, _)| n == name));
    let form = form.map_or(Form::Text, |&(_, form)| form);
    let time = match word("time").map(String::as_str) {
        Some("wall") => Time::Wall,
        Some("delta") => Time::Delta,
        _ => Time::Relative,
    };
    let wall = time == Time::Wall;
    let usual = Field::all().filter(|field| wall || field.name() != "time");
    let (mut columns, mut fields) = (Column::USUAL.to_vec(), usual.collect());
    match (word("columns"), form) {
        (None, _) => {}
        (Some(text), Form::Text) => {
            let known = || Column::ALL.iter().map(|(name, _)| *name);
            let named = |name: &str| Column::ALL.iter().find(|(n, _)| *n == name).map(|(_, c)| *c);
            columns = list(text, named, known().collect())?;
        }
        (Some(text), Form::Csv) => {
            fields = list(text, Field::from_name, Field::all().map(Field::name).collect())?;
        }
        (Some(_), _) => {
            return Err(Failure::usage(
                "--columns is for --format text and csv: others name their fields",
            ));
        }
    }
    let tree = flag("tree");
    let timed = word("time").is_some() && !(wall && matches!(form, Form::Json | Form::Csv));
    if form != Form::Text && (tree || timed) {
        let what = match (tree, wall) {
            (true, _) => "--tree is for --format text",
            (false, true) => "--time wall is for --format text, json and csv",
            (false, false) => "--time is for --format text, and --time wall for json and csv too",
        };
        return Err(Failure::usage(format!("{what}; ts_ns and addresses are in the others")));
    }
    if tree && !probes.iter().any(|probe| probe.when.ret()) {
        return Err(Failure::usage(
            "--tree shows what is inside of calls whose end is told: give a probe what comes back, as \
             in 'f(n: i32) -> i32', or write return:f",
        ));
    }
    if tree && filter.is_some_and(Where::is_late) {
        return Err(Failure::usage(
            "--tree shows calls when they begin, and whether this filter lets one pass is known when \
             it ends",
        ));
    }
    let each = args.try_get_one::<u8>("follow").ok().flatten().is_some_and(|&times| times > 1);
    if each && report.to.as_ref().is_none_or(|path| path.as_os_str() == "-") {
        return Err(Failure::usage(
            "-ff writes a file for each process: give their name with -o FILE",
        ));
    }
    if form == Form::Record {
        if each {
            return Err(Failure::usage(
                "-ff: a recording has all processes; xol show -ff writes a file for each",
            ));
        }
        if report.to.is_none() {
            return Err(Failure::usage("a recording is no text: give its file with -o FILE"));
        }
    }
    let (last, too) = (one(args, "last"), one(args, "record-too"));
    Ok(Look { form, time, columns, fields, tree, each, last, too })
}

/// Names with commas in between.
fn list<T>(
    text: &str,
    named: impl Fn(&str) -> Option<T>,
    known: Vec<&'static str>,
) -> Result<Vec<T>, Failure> {
    text.split(',')
        .map(|name| {
            named(name.trim()).ok_or_else(|| {
                let known = known.join(", ");
                Failure::usage(format!("--columns: there is no '{name}'; there are {known}"))
            })
        })
        .collect()
}
