//! `xol compare`: every strategy side by side on this machine.
//!
//! The program that is probed is xol itself, started as a child with a hidden option (`--loops`): it
//! comes to one site of each kind so often, and says how long that took beside a twin that is not
//! probed. So nothing is needed but xol's own file.
//!
//! | room | holds |
//! |---|---|
//! | `asked` | its options |
//! | `child` | what the child does, and how it says what it has seen |
//! | `rounds` | everything measured, one after the other, several times |
//! | `uprobes` | the kernel's own probes beside them |

mod asked;
mod child;
mod rounds;
mod uprobes;

pub(super) use asked::{Compare, options, read};
pub(super) use child::{Work, run as run_child};

use super::args;
use super::doctor::procfs::line;
use super::failure::Failure;
use super::objects;
use super::output::{Format, Output, Progress, Report};
use super::plan;
use rounds::{Missing, Rounds, Series};
use std::io::{self, Write};
use std::path::Path;
use xol::compare::{
    Arming, Comparison, Cost, STOP, Share, Spread, UNPROBED, UPROBE, listed, table,
};
use xol_arch::{Arch, Rules};
use xol_targets::loops::{KINDS, NOPS};
use xol_targets::native::SITES;
use xol_targets::ptrace::tracer::{self, CpuSet};
use xol_targets::ptrace::{Tid, procfs};
use xol_targets::{Native, terminal};

/// So much more often is done what does not stop; and where each instruction is emulated.
const FASTER: (u64, u64) = (100, 10);

/// Measures, and reports.
pub(super) fn run(compare: &Compare) -> Result<(), Failure> {
    let mut out = Output::stdout(&compare.report)?;
    // What cannot be written is better known before.
    let picture = compare.svg.as_deref().map(picture_file).transpose()?;
    let shares = shares(compare)?;
    let faster = if compare.icount { FASTER.1 } else { FASTER.0 };
    let mut rounds = Rounds::new(compare.hits, faster).map_err(Failure::new)?;
    let _ = tracer::catch_signals();
    stay();
    let asked = measure(compare, &mut rounds)?;
    let comparison = Comparison {
        arch: Native::NAME.to_owned(),
        machine: machine(),
        unit: if compare.icount { "instructions" } else { "ns" }.to_owned(),
        rounds: rounds.done,
        costs: costs(&rounds),
        shares,
        arming: arming(&rounds),
    };
    let mut text = String::new();
    match compare.report.format {
        Format::Json => {
            comparison.json(&mut text);
            text.push('\n');
        }
        Format::Text => {
            let all = std::slice::from_ref(&comparison);
            text = table(all);
            let widest = text.lines().map(|line| line.chars().count()).max();
            let columns =
                compare.report.to.is_none().then(|| terminal::size(io::stdout())).flatten();
            if columns.is_some_and(|(columns, _)| widest > Some(columns)) {
                text = listed(all);
            }
        }
    }
    out.write(&text)?;
    out.finish()?;
    if let Some((file, shown)) = picture {
        draw(file, &shown, &comparison)?;
    }
    for note in &rounds.notes {
        say(note);
    }
    if asked && rounds.done < compare.rounds {
        say(&format!("interrupted: {} of {} rounds", rounds.done, compare.rounds));
    }
    right(&comparison)
}

/// Every round; returns whether the user wanted an end.
fn measure(compare: &Compare, rounds: &mut Rounds) -> Result<bool, Failure> {
    let mut progress = Progress::new("measuring", compare.rounds * Rounds::STEPS);
    let mut done = 0;
    while rounds.done < compare.rounds {
        let mut step = || {
            done += 1;
            progress.at(done);
        };
        let asked = match rounds.round(&mut step) {
            Ok(()) => tracer::take_caught().is_some(),
            Err(Missing::Asked) => true,
            Err(Missing::Failed(why)) => return Err(Failure::new(why)),
        };
        if asked && rounds.done == 0 {
            return Err(Failure::with_status(130, "interrupted before the first round was over"));
        }
        if asked {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The program and its tracer on one CPU, the one we are on: else it is measured how CPUs wake each
/// other.
fn stay() {
    let me = Tid(std::process::id().cast_signed());
    if let Some((cpu, _)) = procfs::cpu_and_policy(me) {
        // Where we may not, both follow each other all the same.
        let _ = tracer::set_affinity(&CpuSet::only(cpu));
    }
}

/// What of an object each strategy can take.
fn shares(compare: &Compare) -> Result<Vec<Share>, Failure> {
    let libc = Path::new("libc");
    let object = match &compare.object {
        Some(object) => object.clone(),
        None if objects::open(libc, &[]).is_ok() => libc.to_owned(),
        None => "/proc/self/exe".into(),
    };
    plan::shares(&args::Plan {
        object,
        debug_folders: Vec::new(),
        locations: Vec::new(),
        raw: None,
        summary: true,
        rules: Rules::default(),
        report: Report { to: None, format: Format::Text },
    })
}

fn costs(rounds: &Rounds) -> Vec<Cost> {
    let stop = Cost {
        kind: "trap".to_owned(),
        insn: "a trap of its own".to_owned(),
        strategy: STOP.to_owned(),
        cost: Spread::of(&rounds.stop),
        ratio: Spread::of(&[1.0]),
        stops: Some(1.0),
        ..Cost::default()
    };
    let mut costs = vec![stop];
    for kind in 0..KINDS.len() {
        let mut add = |strategy: &str, series: &Series| {
            costs.push(Cost {
                kind: KINDS[kind].to_owned(),
                insn: SITES[kind].0.to_owned(),
                strategy: strategy.to_owned(),
                cost: series.spread(),
                ratio: Spread::of(&series.ratio),
                stops: Spread::of(&series.stops).map(|stops| stops.mid),
                calls: series.calls,
                hits: (strategy != UNPROBED && !series.cost.is_empty()).then_some(series.hits),
                why: series.why.clone(),
            });
        };
        add(UNPROBED, &rounds.unprobed[kind]);
        for (strategy, series, _) in &rounds.strategies {
            add(strategy.name(), &series[kind]);
        }
        if rounds.kernel.iter().any(|series| !series.cost.is_empty()) {
            add(UPROBE, &rounds.kernel[kind]);
        }
    }
    costs
}

fn arming(rounds: &Rounds) -> Vec<Arming> {
    let each = rounds.strategies.iter().filter_map(|(strategy, _, many)| {
        Some(Arming {
            strategy: strategy.name().to_owned(),
            sites: NOPS as u64,
            cost: Spread::of(&many.cost)?,
            memory: Spread::of(&many.memory),
        })
    });
    each.collect()
}

/// Fails where a strategy has counted otherwise than the program.
fn right(comparison: &Comparison) -> Result<(), Failure> {
    let wrong = comparison
        .costs
        .iter()
        .find(|cost| cost.strategy != UPROBE && cost.hits.is_some_and(|hits| hits != cost.calls));
    match wrong {
        None => Ok(()),
        Some(cost) => Err(Failure::new(format!(
            "`{}` at {} ({}) counted {} hits of {} calls: this should not happen, and is worth \
             reporting",
            cost.strategy,
            cost.kind,
            cost.insn,
            cost.hits.unwrap_or(0),
            cost.calls
        ))),
    }
}

/// The processor and the kernel.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let of = |name: &str| {
        let mut lines = info.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
    };
    let model = || {
        let model = line("/sys/firmware/devicetree/base/model")?;
        Some(model.trim_end_matches('\0').to_owned())
    };
    let part = || Some(format!("CPU {} {}", of("CPU implementer")?, of("CPU part")?));
    let cpu = of("model name").or_else(model).or_else(part).unwrap_or_else(|| "unknown CPU".into());
    let release = line("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cpu}, Linux {release}")
}

/// Opens the picture's file.
#[cfg(feature = "picture")]
fn picture_file(path: &Path) -> Result<(std::fs::File, String), Failure> {
    let shown = path.display().to_string();
    let file = std::fs::File::create(path);
    Ok((file.map_err(|e| Failure::new(format!("cannot write to {shown}: {e}")))?, shown))
}

#[cfg(not(feature = "picture"))]
fn picture_file(_: &Path) -> Result<(std::fs::File, String), Failure> {
    Err(Failure::usage(
        "this xol was built without pictures: write --format json here, and draw elsewhere",
    ))
}

#[cfg(feature = "picture")]
fn draw(mut file: std::fs::File, shown: &str, comparison: &Comparison) -> Result<(), Failure> {
    let text = xol::compare::picture(std::slice::from_ref(comparison));
    file.write_all(text.as_bytes()).map_err(|e| Failure::writing(shown, &e))
}

#[cfg(not(feature = "picture"))]
fn draw(_: std::fs::File, _: &str, _: &Comparison) -> Result<(), Failure> {
    Ok(())
}

fn say(text: &str) {
    // Not eprintln!, which panics when stderr is closed.
    let _ = io::stderr().write_all(format!("xol: {text}\n").as_bytes());
}
