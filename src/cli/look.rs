//! How events and counts are to be written: `--format`, `--time`, `--columns`, `--tree`, `-ff`.

use super::failure::Failure;
use super::output::Report;
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches};
use std::io::IsTerminal;
use std::time::{SystemTime, UNIX_EPOCH};
use xol::report::{self, Colours, Column, Field, Stamp};
use xol::spec::{Spec, Where};
use xol_targets::ptrace::own;

/// `--format`, of the commands that start a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
    Csv,
    Chrome,
    OpenMetrics,
}

impl Form {
    const ALL: [(&str, Form); 5] = [
        ("text", Form::Text),
        ("json", Form::Json),
        ("csv", Form::Csv),
        ("chrome", Form::Chrome),
        ("openmetrics", Form::OpenMetrics),
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
}

impl Look {
    /// Whether the names of threads are told.
    pub(crate) fn has_comm(&self) -> bool {
        match self.form {
            Form::Text => self.columns.contains(&Column::Comm),
            Form::Csv => self.fields.iter().any(|field| field.name() == "comm"),
            Form::Json | Form::Chrome => true,
            Form::OpenMetrics => false,
        }
    }

    /// The same for the lines of one file.
    pub(crate) fn lines(&self, start_ns: u64, report: &Report) -> report::Look {
        let stamp = match self.time {
            Time::Relative => Stamp::Since(start_ns),
            Time::Delta => Stamp::Delta(None),
            Time::Wall => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
                Stamp::Wall(now.saturating_sub(own::now_ns()))
            }
        };
        report::Look {
            stamp,
            columns: self.columns.clone(),
            tree: self.tree,
            colours: Colours(!self.each && coloured(report)),
        }
    }
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

/// The options of `trace` alone.
pub(crate) fn options() -> [Arg; 3] {
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
    ]
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
    let (mut columns, mut fields) = (Column::USUAL.to_vec(), Field::all().collect());
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
    if form != Form::Text && (tree || word("time").is_some()) {
        let what = if tree { "--tree" } else { "--time" };
        return Err(Failure::usage(format!(
            "{what} is for --format text; ts_ns and addresses are in the others"
        )));
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
    Ok(Look { form, time, columns, fields, tree, each })
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
