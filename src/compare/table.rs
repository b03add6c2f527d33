//! A comparison for people: a table, or a list where that is too wide.

use super::number::{Scale, with_range};
use super::{Comparison, STOP, Spread, UNPROBED, WAYS};
use std::fmt::Write;

/// Tables of one machine, or of several beside each other.
#[must_use]
pub fn table(all: &[Comparison]) -> String {
    let mut out = heading(all);
    let mut rows = vec![vec!["site".to_owned()]];
    let kinds = kinds(all);
    rows.extend(kinds.iter().map(|kind| vec![(*kind).to_owned()]));
    for way in WAYS {
        for one in all.iter().filter(|one| one.ways().contains(&way)) {
            let scale = scale(one, way);
            let arch = if all.len() > 1 { format!(" {}", one.arch) } else { String::new() };
            rows[0].push(format!("{way}{arch}, {}", scale.unit));
            for (row, kind) in rows[1..].iter_mut().zip(&kinds) {
                let cost = one.cost(kind, way).and_then(|cost| cost.cost);
                row.push(cost.map_or("–".to_owned(), |cost| with_range(cost, scale)));
            }
        }
    }
    columns(&mut out, &rows);
    for one in all {
        out.push('\n');
        strategies(&mut out, one, all.len() > 1);
    }
    out
}

/// The same for a terminal that is too narrow for columns.
#[must_use]
pub fn listed(all: &[Comparison]) -> String {
    let mut out = heading(all);
    for one in all {
        for (kind, insn) in one.kinds() {
            let _ = writeln!(out, "{kind}: {insn}");
            for way in one.ways() {
                let Some(cost) = one.cost(kind, way).and_then(|cost| cost.cost) else { continue };
                let scale = scale(one, way);
                let _ = writeln!(out, "  {way} {} {}", with_range(cost, scale), scale.unit);
            }
        }
        out.push('\n');
        strategies(&mut out, one, all.len() > 1);
    }
    out
}

/// All kinds, in their order.
fn kinds(all: &[Comparison]) -> Vec<&str> {
    let mut kinds: Vec<&str> = Vec::new();
    for (kind, _) in all.iter().flat_map(Comparison::kinds) {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

fn scale(one: &Comparison, way: &str) -> Scale {
    let costs = one.costs.iter().filter(|cost| cost.strategy == way);
    let mids: Vec<f64> = costs.filter_map(|cost| Some(cost.cost?.mid)).collect();
    Scale::of(Spread::of(&mids).map_or(0.0, |spread| spread.mid), &one.unit)
}

fn heading(all: &[Comparison]) -> String {
    let mut out = String::new();
    for one in all {
        let _ = writeln!(out, "{}: {}", one.arch, one.machine);
    }
    let rounds = all.iter().map(|one| one.rounds).min().unwrap_or(0);
    let rounds = if rounds == 1 { "one round".to_owned() } else { format!("{rounds} rounds") };
    let _ = writeln!(
        out,
        "What a hit adds to a call, and what the unprobed call costs: medians of {rounds} [lowest–highest];\n\
         without a range, it is within 1 %. – means that the strategy cannot be there.\n"
    );
    out
}

/// Stops, shares, arming and memory: a line for each strategy.
fn strategies(out: &mut String, one: &Comparison, named: bool) {
    if named {
        let _ = writeln!(out, "{}", one.arch);
    }
    if let Some(stop) = one.stop() {
        let scale = Scale::of(stop.mid, &one.unit);
        let _ = writeln!(out, "a bare ptrace stop: {} {}", with_range(stop, scale), scale.unit);
    }
    let object = one.shares.first();
    let name = object.map_or("", |share| share.object.rsplit('/').next().unwrap_or(""));
    let sites = one.arming.first().map_or(0, |arming| arming.sites);
    let mids: Vec<f64> = one.arming.iter().map(|arming| arming.cost.mid).collect();
    let middle = Spread::of(&mids).map_or(0.0, |spread| spread.mid);
    let arming_scale = Scale::of(middle, &one.unit);
    let mut head = vec!["strategy".to_owned(), "stops".to_owned(), "bare stops".to_owned()];
    if object.is_some() {
        head.push(format!("can take of {name}"));
    }
    if sites > 0 {
        head.push(format!("arms {sites} sites, {}", arming_scale.unit));
        head.push("KiB more".to_owned());
    }
    let mut rows = vec![head];
    for way in one.ways().into_iter().filter(|way| ![UNPROBED, STOP].contains(way)) {
        let costs = || one.costs.iter().filter(move |cost| cost.strategy == way);
        let of = |values: Vec<f64>| Spread::of(&values);
        let stops = of(costs().filter_map(|cost| cost.stops).collect());
        let ratio = of(costs().filter_map(|cost| Some(cost.ratio?.mid)).collect());
        let plain = Scale { by: 1.0, unit: "" };
        let mut row = vec![
            way.to_owned(),
            stops.map_or("–".to_owned(), |stops| format!("{:.0}", stops.mid)),
            ratio.map_or("–".to_owned(), |ratio| match ratio.high < 0.01 {
                true => format!("{:.5} [{:.5}–{:.5}]", ratio.mid, ratio.low, ratio.high),
                false => with_range(ratio, plain),
            }),
        ];
        if object.is_some() {
            let share = one.shares.iter().find(|share| share.strategy == way);
            row.push(share.map_or("–".to_owned(), |share| {
                let part = share.possible as f64 * 100.0 / share.instructions.max(1) as f64;
                format!("{part:.1} % of {}", share.instructions)
            }));
        }
        if sites > 0 {
            let arming = one.arming.iter().find(|arming| arming.strategy == way);
            row.push(arming.map_or("–".to_owned(), |a| with_range(a.cost, arming_scale)));
            let memory = arming.and_then(|arming| arming.memory);
            let kib = Scale { by: 1024.0, unit: "KiB" };
            row.push(memory.map_or("–".to_owned(), |bytes| with_range(bytes, kib)));
        }
        rows.push(row);
    }
    columns(out, &rows);
}

/// Writes rows with columns as wide as they must be: the first to the left, the others to the right.
fn columns(out: &mut String, rows: &[Vec<String>]) {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |n: usize| rows.iter().filter_map(|r| r.get(n)).map(|c| c.chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|n| width(n).unwrap_or(0)).collect();
    for row in rows {
        for (n, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match n {
                0 => write!(out, "{cell:<width$}"),
                _ => write!(out, "  {cell:>width$}"),
            };
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::made;
    use super::*;

    #[test]
    fn a_table_has_a_row_for_each_kind_and_a_column_for_each_way() {
        let text = table(&[made("x86_64", "ns")]);
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        for row in [
            "site unprobed, ns jump, ns boost, µs",
            "nop 1.50 [1.25–1.75] 0.50 [0.40–0.75] 3.20",
            "ret 1.00 – 3.50 [3.00–4.00]",
            "a bare ptrace stop: 2.50 [2.40–2.60] µs",
            "jump 1 0.00020 [0.00020–0.00020] – – –",
            "boost 1 1.34 [1.28–1.40] 99.3 % of 1000 3.20 [3.10–3.90] 80.0",
        ] {
            assert!(lines.iter().any(|line| line == row), "{row}\n{text}");
        }
        // Columns stand below each other.
        let wide = |n: usize| text.lines().nth(n).map_or(0, |line| line.chars().count());
        let head = text.lines().position(|line| line.starts_with("site ")).unwrap();
        assert!(wide(head) > 40 && wide(head) == wide(head + 1) && wide(head) == wide(head + 2));
    }

    #[test]
    fn both_architectures_stand_beside_each_other() {
        let text = table(&[made("arm64", "instructions"), made("x86_64", "ns")]);
        let head = text.lines().find(|line| line.starts_with("site ")).unwrap();
        for part in ["jump arm64, instructions", "jump x86_64, ns", "boost arm64, 1000 instr."] {
            assert!(head.contains(part), "{head}");
        }
    }

    #[test]
    fn a_list_is_narrow() {
        let text = listed(&[made("x86_64", "ns")]);
        assert!(
            text.contains("\nret: ret <a&b>\n  unprobed 1.00 ns\n  boost 3.50 [3.00–4.00] µs\n")
        );
    }
}
