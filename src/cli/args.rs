//! The table of commands and options, and the plain values they become. Nothing is opened, looked
//! up or started here.

use super::asked::{self, Asked};
#[cfg(feature = "measure")]
use super::compare::{self, Compare};
use super::failure::Failure;
use super::filters;
use super::help;
use super::look::{self, Look};
use super::manual;
use super::output::Report;
use super::ready::{self, Ready};
use super::show;
use super::unbuilt;
use super::whom::{self, Whom};
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Arg, ArgAction, ArgMatches};
use std::ffi::OsString;
use std::{path::PathBuf, process::ExitCode, time::Duration};
use xol::engine::Wish;
use xol::spec::{Spec, Where};
use xol::symbols::Machine;
use xol::trace::WhenFull;
use xol_arch::{Rules, Strategy};

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Command {
    /// `count`, `trace`, `latency` and `top`.
    Run(Box<Run>),
    List(List),
    Plan(Plan),
    Doctor(Doctor),
    /// `show`.
    #[cfg(feature = "show")]
    Show(ArgMatches),
    #[cfg(feature = "measure")]
    Compare(Compare),
    /// What a child of `compare` does, and where it says what it has seen.
    #[cfg(feature = "measure")]
    Loops(compare::Work, i32),
}

/// `count`, `trace`, `latency` and `top`.
#[derive(Debug)]
pub(crate) struct Run {
    /// What becomes of the hits.
    pub(crate) asked: Asked,
    pub(crate) probes: Vec<Spec>,
    /// `--where`.
    pub(crate) filter: Option<Where>,
    pub(crate) subject: Subject,
    /// `-f`.
    pub(crate) follow: bool,
    pub(crate) report: Report,
    pub(crate) look: Look,
    pub(crate) wish: Wish,
    pub(crate) rules: Rules,
    pub(crate) slots: Option<usize>,
    pub(crate) max_sites: Option<usize>,
    pub(crate) hits_per_site: Option<u64>,
    pub(crate) max_events: Option<u64>,
    pub(crate) duration: Option<Duration>,
    pub(crate) interval: Option<Duration>,
    /// `--debug-dir`.
    pub(crate) debug_folders: Vec<PathBuf>,
    /// `--ready`.
    pub(crate) ready: Option<Ready>,
    /// `--when-full`.
    pub(crate) when_full: WhenFull,
    /// `--toggle`, for tests.
    pub(crate) toggle: Option<u64>,
    /// `--calls`.
    pub(crate) calls: bool,
    /// `--string` and `-y`.
    pub(crate) reads: filters::Reads,
}

/// Whom to probe.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// `-- CMD ARG…`.
    Launch(Vec<OsString>),
    /// `-p PROCESS`.
    Attach(Vec<Whom>),
}

/// `list`.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) object: PathBuf,
    /// `--debug-dir`.
    pub(crate) debug_folders: Vec<PathBuf>,
    pub(crate) pattern: Option<String>,
    pub(crate) report: Report,
}

/// `plan`.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) object: PathBuf,
    /// `--debug-dir`.
    pub(crate) debug_folders: Vec<PathBuf>,
    pub(crate) locations: Vec<String>,
    /// `--raw --arch … [--base …]`: flat code for this architecture, loaded there.
    pub(crate) raw: Option<(Machine, u64)>,
    /// Only the sums.
    pub(crate) summary: bool,
    pub(crate) rules: Rules,
    pub(crate) report: Report,
}

/// `doctor`.
#[derive(Debug)]
pub(crate) struct Doctor {
    pub(crate) whom: Vec<Whom>,
    pub(crate) report: Report,
}

/// No command to run: help was asked for, or the command line is wrong.
#[derive(Debug)]
pub(crate) enum Outcome {
    Help(String),
    Wrong(Failure),
}

impl Outcome {
    pub(crate) fn exit(self) -> ExitCode {
        match self {
            Outcome::Help(text) => {
                let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
                ExitCode::SUCCESS
            }
            Outcome::Wrong(failure) => failure.exit(),
        }
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Outcome {
        Outcome::Wrong(failure)
    }
}

/// Reads the command line.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Command, Outcome> {
    let matches = table().try_get_matches_from(words).map_err(|error| {
        let text = error.render().to_string();
        if !error.use_stderr() {
            return Outcome::Help(text);
        }
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let said = |line: &&str| !line.trim().is_empty() && !line.starts_with("For more");
        let lines: Vec<&str> = text.lines().filter(said).collect();
        Outcome::Wrong(Failure::usage(lines.join("\n")))
    })?;
    let (name, args) = matches.subcommand().unwrap_or(("", &matches));
    if name == "help" {
        return Err(topic(one::<String>(args, "topic").as_deref()));
    }
    if let Some(text) = manual::run(name, args, table) {
        return Err(Outcome::Help(text?));
    }
    let report = Report::new(args, one(args, "output"));
    Ok(match name {
        "count" | "trace" | "latency" | "top" => Command::Run(Box::new(run(name, args, report)?)),
        "list" => Command::List(List {
            object: one(args, "object").unwrap_or_default(),
            debug_folders: many(args, "debug-dir"),
            pattern: one(args, "pattern"),
            report,
        }),
        "plan" => Command::Plan(plan(args, report)?),
        #[cfg(feature = "measure")]
        "compare" => compare::read(args, report),
        "doctor" => Command::Doctor(Doctor { whom: whom(args), report }),
        #[cfg(feature = "show")]
        "show" => Command::Show(args.clone()),
        other => return Err(Failure::not_built_yet(other).into()),
    })
}

/// What `xol help TOPIC` says.
fn topic(topic: Option<&str>) -> Outcome {
    let mut table = table();
    match topic {
        None => Outcome::Help(table.render_long_help().to_string()),
        Some("output") => Outcome::Help(super::formats::OUTPUT.to_owned()),
        Some("PROBE" | "PROBES" | "probe" | "probes") => Outcome::Help(help::PROBE.to_owned()),
        Some(name) => {
            table.build();
            match table.find_subcommand_mut(name) {
                Some(command) => Outcome::Help(command.render_long_help().to_string()),
                None => Outcome::Wrong(Failure::usage(format!(
                    "there is no help on '{name}'; try xol help output, xol help PROBE, or xol help COMMAND"
                ))),
            }
        }
    }
}

pub(super) fn one<T: Clone + Send + Sync + 'static>(args: &ArgMatches, name: &str) -> Option<T> {
    args.try_get_one::<T>(name).ok().flatten().cloned()
}

fn many<T: Clone + Send + Sync + 'static>(args: &ArgMatches, name: &str) -> Vec<T> {
    args.try_get_many::<T>(name).ok().flatten().unwrap_or_default().cloned().collect()
}

pub(super) fn flag(args: &ArgMatches, name: &str) -> bool {
    one::<bool>(args, name).unwrap_or(false)
}

fn whom(args: &ArgMatches) -> Vec<Whom> {
    many::<Vec<Whom>>(args, "pid").concat()
}

fn run(command: &str, args: &ArgMatches, report: Report) -> Result<Run, Failure> {
    unbuilt::check(args)?;
    let mut probes = Vec::new();
    for text in many::<String>(args, "probe") {
        probes.push(Spec::parse(&text).map_err(|e| Failure::usage(e.to_string()))?);
    }
    let asked = asked::read(command, args, &mut probes)?;
    let filter = filters::of_run(args, &mut probes)?;
    let look = look::look(args, &report, filter.as_ref(), &probes)?;
    if !asked.has(look.form) {
        return Err(Failure::usage(asked::NO_FORM));
    }
    let (command, pids) = (many::<OsString>(args, "command"), whom(args));
    if command.is_empty() && pids.is_empty() {
        return Err(Failure::usage(
            "nothing to probe: give a program to start behind --, or a running one with -p PROCESS",
        ));
    }
    let subject = if command.is_empty() { Subject::Attach(pids) } else { Subject::Launch(command) };
    let strategy = one::<String>(args, "strategy");
    let strategy = strategy.and_then(|name| Strategy::ALL.into_iter().find(|s| s.name() == name));
    let wish = strategy.map_or_else(|| asked.wish(), Wish::Only);
    Ok(Run {
        asked,
        probes,
        filter,
        subject,
        follow: one::<u8>(args, "follow").is_some_and(|times| times > 0),
        report,
        look,
        wish,
        rules: rules(args),
        slots: one(args, "slots"),
        max_sites: one(args, "max-sites"),
        hits_per_site: one(args, "hits-per-site"),
        max_events: one(args, "max-events"),
        duration: one(args, "duration"),
        interval: one(args, "interval"),
        debug_folders: many(args, "debug-dir"),
        ready: one(args, "ready"),
        when_full: one(args, "when-full").unwrap_or_default(),
        toggle: one(args, "toggle"),
        calls: flag(args, "calls"),
        reads: filters::Reads::new(args),
    })
}

fn rules(args: &ArgMatches) -> Rules {
    Rules { exclusive_head: flag(args, "allow-exclusive-head") }
}

fn plan(args: &ArgMatches, report: Report) -> Result<Plan, Failure> {
    let machine = one::<String>(args, "arch").and_then(|name| Machine::from_name(&name));
    let raw = match (flag(args, "raw"), machine) {
        (true, Some(machine)) => Some((machine, one(args, "base").unwrap_or(0))),
        (true, None) => return Err(Failure::usage("--raw needs --arch arm64 or --arch x86_64")),
        _ => None,
    };
    let locations = many(args, "location");
    if raw.is_some() && !locations.is_empty() {
        return Err(Failure::usage("flat code has no names: --raw takes no LOCATION"));
    }
    Ok(Plan {
        object: one(args, "object").unwrap_or_default(),
        debug_folders: many(args, "debug-dir"),
        locations,
        raw,
        summary: flag(args, "summary"),
        rules: rules(args),
        report,
    })
}

fn table() -> clap::Command {
    let probing = |name: &'static str, about: &'static str, examples: &str| {
        clap::Command::new(name)
            .about(about)
            .after_help(format!("{}\n\n{examples}\n\n{}", help::PROBES, help::STATUS))
            .args(run_options())
            .args(filters::options())
            .args(unbuilt::options())
            .args(report_options(name))
            .override_usage(format!("xol {name} [OPTIONS] PROBE… [-p PROCESS | -- CMD ARG…]"))
            .group(clap::ArgGroup::new("subject").args(["pid", "gdb", "command"]))
    };
    help::named("xol")
        .after_help(format!("{}\n\n{}", help::PROBES, help::STATUS))
        .subcommand_required(true)
        .infer_long_args(true)
        .arg_required_else_help(false)
        .disable_help_subcommand(true)
        .subcommands([
            probing("trace", "A line for each hit", help::TRACE)
                .args(look::options())
                .args(look::trace_options()),
            probing("count", "Hits for each probe, at the end", &help::count())
                .args(asked::count_options()),
            probing("latency", "Entry-to-return times: percentiles and histograms", help::LATENCY)
                .args(asked::latency_options()),
            probing("top", "Hits a second, live", help::TOP).args(asked::top_options()),
            probing("stacks", "Call stacks, folded or as a flame graph (not built yet)", ""),
            clap::Command::new("list")
                .about("What can be probed in an object: its functions")
                .after_help(help::LIST)
                .args([
                    object(),
                    Arg::new("pattern").value_name("PATTERN").help("Only functions of this name"),
                    debug_folder(),
                ])
                .args(report_options("")),
            clap::Command::new("plan")
                .about("Each instruction's plan, or why it is rejected")
                .after_help(help::PLAN)
                .args([
                    object(),
                    Arg::new("location")
                        .value_name("LOCATION")
                        .num_args(1..)
                        .help("Only these places"),
                    switch("raw").help("The file is flat code without an ELF around it"),
                    option("arch", "ARCH", "What the code is for, with --raw: arm64, x86_64")
                        .hide_possible_values(true)
                        .value_parser(PossibleValuesParser::new(["arm64", "x86_64"])),
                    option("base", "ADDR", "Where the code would be loaded, with --raw")
                        .value_parser(address)
                        .requires("raw"),
                    switch("summary").help("Only the sums"),
                    debug_folder(),
                    exclusive_head(),
                ])
                .args(report_options("")),
            #[cfg(feature = "measure")]
            clap::Command::new("compare")
                .about("Every strategy side by side on this machine")
                .after_help(help::COMPARE)
                .args(compare::options())
                .args(report_options("")),
            clap::Command::new("help")
                .about("Help on a command, on PROBE, or on output: every field of every report")
                .arg(Arg::new("topic").value_name("TOPIC").help("output, PROBE, or a command")),
            clap::Command::new("doctor")
                .about("What this machine, kernel and process allow, and what to do")
                .after_help(help::DOCTOR)
                .arg(pid())
                .args(report_options("")),
        ])
        .subcommands(show::commands())
        .subcommands(manual::commands())
}

fn object() -> Arg {
    Arg::new("object")
        .required(true)
        .value_name("OBJECT")
        .value_parser(clap::value_parser!(PathBuf))
        .help("A program or library, of arm64 or x86-64")
}

fn pid() -> Arg {
    Arg::new("pid")
        .short('p')
        .value_name("PROCESS")
        .value_parser(whom::parse)
        .action(ArgAction::Append)
        .help("Running processes: numbers, or a name for all that have it")
}

pub(super) fn switch(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

pub(super) fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn debug_folder() -> Arg {
    option("debug-dir", "DIR", "Debug files are looked for here too")
        .value_parser(clap::value_parser!(PathBuf))
        .action(ArgAction::Append)
}

fn exclusive_head() -> Arg {
    switch("allow-exclusive-head")
        .help("arm64: a load-exclusive itself may be probed (never what follows it)")
}

fn report_options(command: &str) -> [Arg; 2] {
    let (to, formats, names): (_, &[&str], _) = match command {
        "" => ("stdout", &["text", "json"], "text, json"),
        "trace" => {
            let names = "text, json, chrome, csv, record";
            ("stderr", &["text", "json", "chrome", "csv", "record"], names)
        }
        "count" | "latency" => {
            ("stderr", &["text", "json", "csv", "openmetrics"], "text, json, csv, openmetrics")
        }
        _ => ("stderr", &["text", "json"], "text, json"),
    };
    [
        Arg::new("output")
            .short('o')
            .value_name("FILE")
            .value_parser(clap::builder::OsStringValueParser::new().try_map(super::output::file))
            .help(format!("Where the report goes; - is stdout [default: {to}]")),
        option("format", "FORMAT", "")
            .help(format!("{names} [default: text]"))
            .hide_possible_values(true)
            .value_parser(PossibleValuesParser::new(formats.iter().copied())),
    ]
}

fn run_options() -> Vec<Arg> {
    let strategies = ["auto", "step", "xol", "boost", "simulate", "jump"];
    vec![
        Arg::new("probe").value_name("PROBE").required(true).num_args(1..).help("What to probe"),
        Arg::new("command")
            .value_name("CMD")
            .value_parser(clap::value_parser!(OsString))
            .num_args(1..)
            .last(true)
            .help("A program to start, and its arguments"),
        pid(),
        Arg::new("gdb").short('g').value_name("HOST:PORT").help("A gdb server (not built yet)"),
        switch("follow")
            .short('f')
            .action(ArgAction::Count)
            .help("Follow children too; trace -ff writes FILE.PID for each process, with -o FILE"),
        option("strategy", "STRATEGY", "auto, step, xol, boost, simulate, jump [default: auto]")
            .hide_possible_values(true)
            .value_parser(PossibleValuesParser::new(strategies)),
        option("max-events", "N", "End after so many hits").value_parser(positive),
        option("duration", "SECS", "End after this time").value_parser(seconds),
        option("interval", "SECS", "Report counts this often").value_parser(seconds),
        option("ready", "FD|FILE", "Where a line goes when the probes are in")
            .value_parser(ready::parse),
        option("slots", "N", "Slots in each process at most").value_parser(positive_size),
        option("max-sites", "N", "Sites in each process at most").value_parser(positive_size),
        option("hits-per-site", "N", "A site disarms itself after so many hits")
            .value_parser(positive),
        option("when-full", "HOW", "What a thread does that is too fast: wait, or drop its events")
            .value_parser(clap::value_parser!(WhenFull)),
        option("toggle", "N", "For tests: so many jumps are taken back and written again")
            .hide(true)
            .value_parser(positive),
        debug_folder(),
        switch("calls")
            .help("The program's seccomp filters let mmap, munmap and rt_sigaction through"),
        exclusive_head(),
    ]
}

pub(super) fn positive(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "a number from 1 on is needed".to_owned())
}

pub(super) fn positive_size(text: &str) -> Result<usize, String> {
    usize::try_from(positive(text)?).map_err(|_| "the number is too big".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    // Not through f64, the reading of which is 15 KB of a board's binary.
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let nanos: String = part.chars().chain(std::iter::repeat('0')).take(9).collect();
    let duration = || Some(Duration::new(format!("0{whole}").parse().ok()?, nanos.parse().ok()?));
    Some(digits(whole) && digits(part))
        .filter(|&right| right)
        .and_then(|_| duration())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "seconds are needed, as in 10 or 0.5".to_owned())
}

fn address(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    number.map_err(|_| "an address is needed, as in 0x8000".to_owned())
}
