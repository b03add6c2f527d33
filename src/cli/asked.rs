//! What the commands that aggregate are asked for: their options, and whether these make sense for
//! the PROBEs.

use super::args::{flag, one, option, positive_size, switch};
use super::failure::Failure;
use super::look::Form;
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches};
use xol::engine::Wish;
use xol::report::{Linear, Order, SortColumn};
use xol::spec::{
    Location, ObjectPattern, Offset, Signature, Spec, SymbolName, Type, When, prototype, time,
};
use xol_arch::Strategy;

/// Whether values, sums and slow calls are written as CSV and OpenMetrics, too.
pub(super) const TABLES: bool = cfg!(feature = "tables");

/// What is said of a form that is not among them.
pub(super) const NO_FORM: &str = if TABLES {
    "--slower: a line for each call is no metric; --format text, json and csv have it"
} else {
    "values, sums and slow calls are written as text or json (--format)"
};

/// What becomes of hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// They are counted: `count`.
    Counts,
    /// Each is told: `trace`.
    Lines,
    /// By value: `count --by`, `count --hist`.
    Values,
    /// Calls and errors: `count --summary`.
    Summary,
    /// Durations: `latency`.
    Times,
    /// Hits a second, live: `top`.
    Rates,
}

/// What rows are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Pid,
    Tid,
    Comm,
    Caller,
    Ret,
    Argument(String),
}

impl By {
    pub(crate) fn name(&self) -> &str {
        match self {
            By::Pid => "pid",
            By::Tid => "tid",
            By::Comm => "comm",
            By::Caller => "caller",
            By::Ret => "ret",
            By::Argument(name) => name,
        }
    }
}

/// The options of the commands that aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) what: What,
    pub(crate) by: Option<By>,
    /// `--hist`.
    pub(crate) hist: Option<By>,
    /// `--linear`.
    pub(crate) linear: Option<Linear>,
    /// `--slower`, in ns.
    pub(crate) slower: Option<u64>,
    /// `--self`.
    pub(crate) own: bool,
    pub(crate) order: Order,
    /// Whether that was asked for.
    pub(crate) is_ordered: bool,
}

impl Asked {
    /// Whether the engine is to tell of each hit.
    pub(crate) fn events(&self) -> bool {
        !matches!(self.what, What::Counts | What::Rates)
    }

    /// Whether hits have lines of their own.
    pub(crate) fn tells_lines(&self) -> bool {
        self.what == What::Lines || self.slower.is_some()
    }

    /// Returns whether what is asked for can be written in this form.
    pub(crate) fn has(&self, form: Form) -> bool {
        let always = match self.what {
            What::Counts | What::Lines => true,
            What::Times => self.slower.is_none(),
            _ => false,
        };
        let written = TABLES && (self.slower.is_none() || form == Form::Csv);
        always || written || matches!(form, Form::Text | Form::Json)
    }

    /// Whether durations are what it is about.
    pub(crate) fn timed(&self) -> bool {
        matches!(self.what, What::Times | What::Summary)
    }

    /// How hits are taken where the user leaves it to us: a stop would be most of a short call's
    /// time.
    pub(crate) fn wish(&self) -> Wish {
        match self.what {
            What::Times | What::Summary => Wish::Only(Strategy::Jump),
            _ => Wish::Auto,
        }
    }
}

/// Columns that `count`, `count --summary`, `latency` and `top` have.
const HITS: [SortColumn; 3] = [SortColumn::Hits, SortColumn::Missed, SortColumn::Place];
const SUMS: [SortColumn; 7] = [
    SortColumn::Total,
    SortColumn::Min,
    SortColumn::Mean,
    SortColumn::Max,
    SortColumn::Calls,
    SortColumn::Errors,
    SortColumn::Place,
];
const TIMES: [SortColumn; 13] = [
    SortColumn::Total,
    SortColumn::Own,
    SortColumn::Calls,
    SortColumn::Missed,
    SortColumn::Unfinished,
    SortColumn::Min,
    SortColumn::Mean,
    SortColumn::P50,
    SortColumn::P90,
    SortColumn::P99,
    SortColumn::P999,
    SortColumn::Max,
    SortColumn::Place,
];
const RATES: [SortColumn; 4] =
    [SortColumn::Rate, SortColumn::Hits, SortColumn::Missed, SortColumn::Place];

fn ordering(columns: &'static str) -> [Arg; 2] {
    [
        option("top", "N", "Only the first N rows").value_parser(positive_size),
        option("sort", "COLUMN", columns)
            .hide_possible_values(true)
            .value_parser(PossibleValuesParser::new(SortColumn::ALL.iter().map(|c| c.name()))),
    ]
}

fn by() -> Arg {
    option("by", "NAME", "A row for each value: of an argument, ret, tid, pid, comm, caller")
}

/// The options of `count` alone.
pub(crate) fn count_options() -> Vec<Arg> {
    let own = [
        by(),
        option("hist", "NAME", "A histogram by powers of two: of an argument, or ret"),
        switch("summary")
            .help("Calls, errors and times, as strace -c has them")
            .conflicts_with("hist"),
    ];
    let order = ordering(
        "hits, missed, place; total, min, mean, max, calls, errors [default: hits, total]",
    );
    own.into_iter().chain(order).collect()
}

/// The options of `latency` alone.
pub(crate) fn latency_options() -> Vec<Arg> {
    let own = [
        by(),
        option("linear", "A,B,STEP", "Bars of one width, as in 0,10ms,500us"),
        option("slower", "TIME", "A line for each call that takes as long as that: 10ms")
            .value_parser(time),
        switch("self").help("Also the time that was not spent in other probed calls"),
    ];
    let order = ordering("total, self, calls, min, mean, p50, …, max, place [default: total]");
    own.into_iter().chain(order).collect()
}

/// The options of `top` alone.
pub(crate) fn top_options() -> Vec<Arg> {
    ordering("rate, hits, missed, place [default: rate]").into()
}

/// What `command` is asked for, checked against what is known of the PROBEs; they are made to tell
/// what that needs.
pub(crate) fn read(
    command: &str,
    args: &ArgMatches,
    probes: &mut [Spec],
) -> Result<Asked, Failure> {
    if command != "trace" && one::<u8>(args, "follow").is_some_and(|times| times > 1) {
        return Err(Failure::usage(format!(
            "-ff writes a file for each process of trace; {command} has one report: write -f"
        )));
    }
    let (by, hist) = (one::<String>(args, "by"), one::<String>(args, "hist"));
    let what = match command {
        "trace" => What::Lines,
        "latency" => What::Times,
        "top" => What::Rates,
        _ if flag(args, "summary") => What::Summary,
        _ if by.is_some() || hist.is_some() => What::Values,
        _ => What::Counts,
    };
    let by = by.map(|name| named("--by", &name, probes)).transpose()?;
    let hist = hist.map(|name| histogram(&name, probes)).transpose()?;
    let columns: &[SortColumn] = match what {
        What::Times => &TIMES,
        What::Summary => &SUMS,
        What::Rates => &RATES,
        What::Counts | What::Values | What::Lines => &HITS,
    };
    let asked = Asked {
        what,
        by,
        hist,
        linear: one::<String>(args, "linear").map(|text| linear(&text)).transpose()?,
        slower: one(args, "slower"),
        own: flag(args, "self"),
        order: Order { by: order(args, columns)?, top: one(args, "top") },
        is_ordered: one::<String>(args, "sort").is_some() || one::<usize>(args, "top").is_some(),
    };
    if asked.order.by == SortColumn::Own && !asked.own {
        return Err(Failure::usage("--sort self: there is such a column with --self only"));
    }
    let returns = [&asked.by, &asked.hist].into_iter().flatten().any(|by| is_late(by, probes));
    let callers = asked.by == Some(By::Caller);
    for probe in probes.iter_mut() {
        let function = matches!(&probe.location, Location::Symbol { offset: Offset::At(0), .. });
        if asked.timed() || returns || callers {
            if !function {
                let what = if asked.timed() { "how long a call takes" } else { "--by and --hist" };
                return Err(Failure::usage(format!(
                    "{what}: '{}' is no function by its name, and an instruction returns nothing",
                    probe.text
                )));
            }
            probe.when = When::Return;
        } else if what == What::Values && probe.when == When::Both {
            probe.when = When::Entry;
        }
        if asked.timed() && asked.slower.is_none() && !filtered(args) {
            only_needed(probe, &asked);
        }
    }
    Ok(asked)
}

/// Whether calls are let through by what they are about.
fn filtered(args: &ArgMatches) -> bool {
    one::<String>(args, "where").is_some() || flag(args, "failed")
}

/// The signature of a PROBE's function, as far as it is known before anything is looked up.
pub(super) fn known(probe: &Spec) -> Option<Signature> {
    let Location::Symbol { name, offset: Offset::At(0), .. } = &probe.location else { return None };
    let libcs = probe.object.as_ref().is_none_or(ObjectPattern::may_be_libc);
    probe.signature.clone().or_else(|| prototype(name.as_str()).filter(|_| libcs))
}

/// Whether a value is known only when a function returns.
fn is_late(by: &By, probes: &[Spec]) -> bool {
    match by {
        By::Ret => true,
        By::Argument(name) => {
            let out = |signature: Signature| {
                signature.args.iter().any(|arg| arg.out && arg.name == *name)
            };
            probes.iter().filter_map(known).any(out)
        }
        _ => false,
    }
}

/// Leaves out arguments that nobody asks for: they need not be read, and a string could not be
/// read where there is no stop.
fn only_needed(probe: &mut Spec, asked: &Asked) {
    if let Some(By::Argument(name)) = &asked.by {
        // What is known of libc's functions is not true of others of their names.
        if probe.object.is_some() && !probe.text.contains(['*', '?', '[']) {
            probe.signature = known(probe);
        }
        let args = probe.signature.iter_mut().flat_map(|signature| &mut signature.args);
        for arg in args.filter(|arg| arg.name != *name && arg.ty.is_memory()) {
            *arg = xol::spec::Arg::new(arg.name.as_str(), Type::Ptr);
        }
        return;
    }
    let glob = |probe: &Spec| {
        matches!(&probe.location, Location::Symbol { name: SymbolName::Glob(_), .. })
    };
    let needs_ret = asked.what == What::Summary || asked.by == Some(By::Ret);
    if needs_ret && probe.signature.is_none() && glob(probe) {
        // Which functions there are is known later, and so is what they return.
        return;
    }
    let ret = known(probe).and_then(|signature| signature.ret).filter(|_| needs_ret);
    probe.signature = Some(Signature { args: Vec::new(), open: true, ret });
}

/// The row that `--by NAME` means.
fn named(option: &str, name: &str, probes: &[Spec]) -> Result<By, Failure> {
    let of = |probe: &Spec| known(probe).filter(|signature| !signature.open);
    let has = |signature: &Signature| signature.args.iter().any(|arg| arg.name == name);
    if probes.iter().filter_map(of).any(|signature| has(&signature)) {
        for probe in probes {
            let glob =
                matches!(&probe.location, Location::Symbol { name: SymbolName::Glob(_), .. });
            match of(probe) {
                Some(signature) if has(&signature) => {}
                None if glob => {}
                _ => {
                    return Err(Failure::usage(format!(
                        "{option} {name}: '{}' has no argument of that name; give it one, as in \
                         'f({name}: u64)'",
                        probe.text
                    )));
                }
            }
        }
        return Ok(By::Argument(name.to_owned()));
    }
    let any = option == "--by";
    match name {
        "ret" => return Ok(By::Ret),
        "tid" if any => return Ok(By::Tid),
        "pid" if any => return Ok(By::Pid),
        "comm" if any => return Ok(By::Comm),
        "caller" if any => return Ok(By::Caller),
        _ => {}
    }
    // Which functions a pattern means is known later.
    let glob = |probe: &Spec| {
        matches!(&probe.location, Location::Symbol { name: SymbolName::Glob(_), .. })
            && known(probe).is_none()
    };
    if probes.iter().any(glob) && !name.is_empty() && probes.iter().all(|p| of(p).is_none()) {
        return Ok(By::Argument(name.to_owned()));
    }
    let mut names: Vec<String> = Vec::new();
    for signature in probes.iter().filter_map(of) {
        for arg in signature.args {
            if !names.contains(&arg.name) {
                names.push(arg.name);
            }
        }
    }
    let built_in = if any { &["ret", "tid", "pid", "comm", "caller"][..] } else { &["ret"] };
    names.extend(built_in.iter().map(|&name| name.to_owned()));
    Err(Failure::usage(format!(
        "{option}: nothing is called '{name}'; there are {}; a signature names arguments, as in \
         'f({}: u64)'",
        names.join(", "),
        if name.is_empty() { "n" } else { name }
    )))
}

/// The values that `--hist NAME` means: whole numbers.
fn histogram(name: &str, probes: &[Spec]) -> Result<By, Failure> {
    let by = named("--hist", name, probes)?;
    for probe in probes {
        let Some(signature) = known(probe) else { continue };
        let ty = match &by {
            By::Argument(name) => signature.args.iter().find(|a| a.name == *name).map(|a| a.ty),
            _ => signature.ret,
        };
        if let Some(ty) = ty.filter(|ty| ty.is_float() || ty.is_memory() || *ty == Type::Void) {
            return Err(Failure::usage(format!(
                "--hist takes whole numbers, and '{name}' of '{}' is {}; --by counts each value",
                probe.text,
                ty.name()
            )));
        }
    }
    Ok(by)
}

fn order(args: &ArgMatches, columns: &[SortColumn]) -> Result<SortColumn, Failure> {
    let Some(name) = one::<String>(args, "sort") else { return Ok(columns[0]) };
    columns.iter().copied().find(|column| column.name() == name).ok_or_else(|| {
        let names: Vec<&str> = columns.iter().map(|column| column.name()).collect();
        Failure::usage(format!(
            "--sort {name}: there is no such column here, but {}",
            names.join(", ")
        ))
    })
}

fn linear(text: &str) -> Result<Linear, Failure> {
    let wrong = |why: &str| {
        Failure::usage(format!("--linear {text}: {why}; it is A,B,STEP, as in 0,10ms,500us"))
    };
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let [from, to, step] = parts[..] else { return Err(wrong("three times are needed")) };
    let [from, to, step] = [from, to, step].map(time);
    match (from, to, step) {
        (Ok(from), Ok(to), Ok(step)) => Linear::new(from, to, step).map_err(wrong),
        (Err(why), ..) | (_, Err(why), _) | (.., Err(why)) => Err(wrong(&why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, ns) in [
            ("10ms", Some(10_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("0.25us", Some(250)),
            ("7ns", Some(7)),
            ("7", None),
            ("0", Some(0)),
            ("1.5", None),
            ("1.0001us", None),
            ("ms", None),
            ("", None),
            ("-1ms", None),
            ("1.2.3s", None),
            ("10 ms", None),
            ("99999999999s", None),
        ] {
            assert_eq!(time(text).ok(), ns, "{text}");
        }
    }
}
