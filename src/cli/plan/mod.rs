//! `xol plan`: each instruction's plan, or why it is rejected. Nothing runs; objects of either
//! architecture are explained on any machine.
//!
//! | room | holds |
//! |---|---|
//! | `walk` | from code to one verdict for each instruction |
//! | `line` | a verdict as text and as JSON |
//! | `sums` | how many of what |

#[cfg(test)]
mod jump_tests;
mod line;
mod summary;
#[cfg(test)]
mod tests;
mod walk;

use super::args::Plan;
use super::failure::Failure;
use super::objects;
use super::output::{Format, Output, Progress};
use line::Insn;
use std::fs::File;
use std::io::Read;
use summary::Sums;
#[cfg(feature = "measure")]
use xol::compare::Share;
use xol::for_machine;
use xol::spec::{self, Candidate, Location, ObjectName, Place, Spec};
use xol::symbols::{ElfError, Object};
use xol_arch::{Addr, Arch, Text};

pub(crate) fn run(plan: &Plan) -> Result<(), Failure> {
    let out = Output::stdout(&plan.report)?;
    let mut report =
        Writer { plan, out, line: String::new(), sums: Sums::default(), function: None };
    let shown = plan.object.display().to_string();
    let damaged = |error: ElfError| Failure::new(format!("{shown} {error}"));
    if let Some((machine, base)) = plan.raw {
        for_machine!(machine, A => raw::<A>(plan, base, &mut report)?).map_err(damaged)?;
        return report.finish();
    }
    let specs = locations(plan)?;
    let (path, object) = objects::open(&plan.object, &plan.debug_folders)?;
    let shown = path.display().to_string();
    let damaged = |error: ElfError| Failure::new(format!("{shown} {error}"));
    if object.is_debug_file() {
        return Err(Failure::new(format!(
            "{shown} is a debug file: it has names, and no code; plan the program or library that \
             it is of"
        )));
    }
    if specs.is_empty() {
        for_machine!(object.machine(), A => everything::<A>(&object, &mut report))
            .map_err(&damaged)??;
        return report.finish();
    }
    for spec in &specs {
        let found = spec::resolve(spec, &object)
            .map_err(|e| Failure::new(format!("{shown}: '{}': {e}", spec.text)))?;
        if found.places.is_empty() && found.rejects.is_empty() {
            let name =
                ObjectName { path: &shown, soname: object.soname(), program: true, debug: &[] };
            let candidate = Candidate { name, object: &object };
            return Err(Failure::new(spec::unknown(spec, &[candidate])));
        }
        let rejects = found.rejects.into_iter().map(|(place, reject)| (place, Some(reject)));
        let mut places: Vec<_> =
            found.places.into_iter().map(|place| (place, None)).chain(rejects).collect();
        places.sort_unstable_by_key(|(place, _)| place.vaddr);
        for_machine!(object.machine(), A => listed::<A>(&object, &places, &mut report))
            .map_err(&damaged)??;
    }
    report.finish()
}

/// How many instructions an object has, and how many of them each strategy can take.
#[cfg(feature = "measure")]
pub(super) fn shares(plan: &Plan) -> Result<Vec<Share>, Failure> {
    let (path, object) = objects::open(&plan.object, &plan.debug_folders)?;
    let out = Output::stdout(&plan.report)?;
    let mut report =
        Writer { plan, out, line: String::new(), sums: Sums::default(), function: None };
    for_machine!(object.machine(), A => everything::<A>(&object, &mut report))
        .map_err(|error| Failure::new(format!("{} {error}", path.display())))??;
    Ok(report.sums.shares(&path.display().to_string()))
}

/// LOCATIONs are PROBEs without an object.
fn locations(plan: &Plan) -> Result<Vec<Spec>, Failure> {
    let mut specs = Vec::new();
    for text in &plan.locations {
        let spec = Spec::parse(text).map_err(|e| Failure::usage(e.to_string()))?;
        let plain = spec.object.is_none() && spec.signature.is_none();
        match spec.location {
            Location::Symbol { .. } | Location::Address(_) if plain => specs.push(spec),
            Location::Line { .. } | Location::Usdt { .. } => {
                return Err(Failure::not_built_yet(&format!("'{text}'")));
            }
            _ => {
                return Err(Failure::usage(format!(
                    "'{text}' is no place in {}; try main, main+0x10, 'main+*' or 0x1139",
                    plan.object.display()
                )));
            }
        }
    }
    Ok(specs)
}

/// Flat code, read in pieces: it may be longer than memory, or come from a pipe.
fn raw<A: Arch>(plan: &Plan, base: u64, report: &mut Writer<'_>) -> Result<(), Failure> {
    /// What is looked at around an instruction.
    const AROUND: usize = 4 << 10;
    const PIECE: usize = 64 << 10;
    let shown = plan.object.display();
    let failed = |e: std::io::Error| Failure::new(format!("{shown} cannot be read: {e}"));
    let mut file = File::open(&plan.object).map_err(failed)?;
    let total = file.metadata().map_err(failed)?.len();
    let mut progress = Progress::new("planning", total);
    let mut bytes: Vec<u8> = Vec::new();
    let (mut first, mut at) = (base, base);
    loop {
        let wanted = (2 * AROUND + PIECE).saturating_sub(bytes.len());
        let got = (&mut file).take(wanted as u64).read_to_end(&mut bytes).map_err(failed)?;
        let end = first.checked_add(bytes.len() as u64).ok_or_else(|| {
            Failure::usage(format!("{shown} reaches over the end of memory from {base:#x}"))
        })?;
        let last = got < wanted;
        let stop = if last { end } else { end - AROUND as u64 };
        let text = Text::new(Addr(first), &bytes);
        at = walk::each::<A>(&text, at..stop, plan.rules, &mut |insn| report.insn(insn))?;
        if last {
            return Ok(());
        }
        let drop = ((at - first) as usize).saturating_sub(AROUND);
        bytes.drain(..drop);
        first += drop as u64;
        progress.at(at - base);
    }
}

/// All code of an object, function by function.
fn everything<A: Arch>(object: &Object, report: &mut Writer<'_>) -> Result<(), Failure> {
    let failed = |e: ElfError| Failure::new(format!("{} {e}", report.plan.object.display()));
    let symbols = object.symbols().map_err(failed)?;
    let fixed = object.fixed().map_err(failed)?;
    let code = object.code_ranges().map_err(failed)?;
    let total = code.iter().map(|r| r.end - r.start).sum();
    let mut progress = Progress::new("planning", total);
    let mut done = 0;
    for range in code {
        let mut at = range.start;
        while at < range.end {
            let end = symbols.next_start(at).min(range.end);
            report.heading(object, at)?;
            let rules = report.plan.rules;
            let wanted = at..end;
            let mut planned = walk::Planner::<A>::new(object, rules);
            planned
                .range(wanted, fixed, &mut |insn| report.insn(insn))
                .map_err(|e| e.failure(&report.plan.object))?;
            done += end - at;
            progress.at(done);
            at = end;
        }
    }
    Ok(())
}

/// Only these places.
fn listed<A: Arch>(
    object: &Object,
    places: &[(Place, Option<xol_arch::Reject>)],
    report: &mut Writer<'_>,
) -> Result<(), Failure> {
    let mut planner = walk::Planner::<A>::new(object, report.plan.rules);
    let mut function = None;
    for (place, reject) in places {
        if place.symbol.is_some() && function != place.symbol {
            report.heading(object, place.vaddr - place.offset)?;
        } else if place.symbol.is_none() {
            report.function = None;
        }
        function = place.symbol;
        planner
            .one(place.vaddr, *reject, &mut |insn| report.insn(insn))
            .map_err(|e| e.failure(&report.plan.object))?;
    }
    Ok(())
}

/// The report while it is written.
struct Writer<'a> {
    plan: &'a Plan,
    out: Output,
    line: String,
    sums: Sums,
    /// Where the function around the next instruction begins, and its name.
    function: Option<(u64, String)>,
}

impl Writer<'_> {
    fn insn(&mut self, insn: &Insn<'_>) -> Result<(), Failure> {
        self.sums.add(insn, self.function.as_ref());
        if self.plan.summary {
            return Ok(());
        }
        self.line.clear();
        match self.plan.report.format {
            Format::Json => line::json(&mut self.line, insn),
            Format::Text => line::text(&mut self.line, insn),
        }
        self.out.write(&self.line)
    }

    /// The function's name, if one begins at `vaddr`.
    fn heading(&mut self, object: &Object, vaddr: u64) -> Result<(), Failure> {
        let Ok(symbols) = object.symbols() else { return Ok(()) };
        let name = symbols.at(vaddr).map(|id| symbols.get(id).to_string());
        let gap = if self.sums.is_empty() { "" } else { "\n" };
        if !self.plan.summary && self.plan.report.format == Format::Text {
            match &name {
                Some(name) => self.out.write(&format!("{gap}{vaddr:x} <{name}>:\n"))?,
                None => self.out.write(gap)?,
            }
        }
        self.function = name.map(|name| (vaddr, name));
        Ok(())
    }

    fn finish(mut self) -> Result<(), Failure> {
        let text = match (self.plan.report.format, self.plan.summary) {
            (Format::Text, summary) => self.sums.text(summary),
            (Format::Json, true) => self.sums.json(),
            (Format::Json, false) => String::new(),
        };
        self.out.write(&text)?;
        self.out.finish()
    }
}
