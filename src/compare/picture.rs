//! A comparison as one picture: a panel for each machine, a row for each kind of site, the cost along
//! a logarithmic axis, a mark for each way with the range that it was measured in.
//!
//! It is written by hand: rows of names and marks with ranges are no chart that a crate has, so one
//! would be asked for lines and texts as well, and this is shorter than asking.

use super::{Comparison, Cost, STOP, UNPROBED, WAYS};
use std::fmt::Write;

/// In pixels: of the names at the left, of a panel with its margin, of a row.
const NAMES: f64 = 118.0;
const PANEL: f64 = 640.0;
const MARGIN: f64 = 28.0;
const ROW: f64 = 30.0;
/// Above the rows: title, machine and legend; below: numbers and the unit.
const HEAD: f64 = 92.0;
const FOOT: f64 = 78.0;
/// What is lower than this is drawn here: less than can be measured.
const LOWEST: f64 = 0.1;

/// The colour of each way, told apart by people who see fewer of them too (Okabe and Ito).
fn colour(way: &str) -> &'static str {
    match way {
        UNPROBED => "#777777",
        "jump" => "#009e73",
        "boost" => "#0072b2",
        "simulate" => "#56b4e9",
        "xol" => "#e69f00",
        "step" => "#d55e00",
        _ => "#cc79a7",
    }
}

/// SVG 1.1 of one machine, or of several below each other.
#[must_use]
pub fn picture(all: &[Comparison]) -> String {
    let panels: Vec<f64> = all.iter().map(height).collect();
    let (width, height) = (NAMES + PANEL + MARGIN, panels.iter().sum::<f64>().max(1.0));
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"DejaVu Sans, Helvetica, Arial, sans-serif\" \
         font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let mut top = 0.0;
    for (one, height) in all.iter().zip(panels) {
        panel(&mut out, one, top);
        top += height;
    }
    out.push_str("</svg>\n");
    out
}

fn height(one: &Comparison) -> f64 {
    HEAD + ROW * one.kinds().len() as f64 + FOOT
}

/// Powers of ten along the axis.
struct Axis {
    from: i32,
    to: i32,
}

impl Axis {
    fn of(one: &Comparison) -> Axis {
        let costs = || one.costs.iter().filter_map(|cost| cost.cost);
        let least = costs().map(|c| c.low).fold(f64::MAX, f64::min).clamp(LOWEST, 1e12);
        let most = costs().map(|c| c.high).fold(10.0, f64::max);
        Axis { from: least.log10().floor() as i32, to: most.log10().ceil() as i32 }
    }

    fn x(&self, value: f64) -> f64 {
        let at = value.max(10f64.powi(self.from)).log10() - f64::from(self.from);
        NAMES + PANEL * at / f64::from((self.to - self.from).max(1))
    }
}

fn panel(out: &mut String, one: &Comparison, top: f64) {
    let (axis, kinds) = (Axis::of(one), one.kinds());
    let (first, last) = (top + HEAD, top + HEAD + ROW * kinds.len() as f64);
    text(
        out,
        12.0,
        top + 24.0,
        "font-size=\"15\" font-weight=\"bold\"",
        &format!("What a hit costs on {}", one.arch),
    );
    text(out, 12.0, top + 42.0, "fill=\"#444\"", &one.machine);
    legend(out, one, top + 66.0);
    for power in axis.from..=axis.to {
        let x = axis.x(10f64.powi(power));
        line(out, [x, first, x, last], "stroke=\"#bbb\"");
        text(out, x, last + 18.0, "text-anchor=\"middle\"", &number(power, &one.unit));
        for part in 2..10 {
            let x = axis.x(f64::from(part) * 10f64.powi(power));
            if power < axis.to {
                line(out, [x, first, x, last], "stroke=\"#eee\"");
            }
        }
    }
    let what = match one.unit.as_str() {
        "ns" => "time that a hit adds to a call, logarithmic",
        _ => "instructions that a hit adds to a call, kernel and tracer included, logarithmic",
    };
    text(out, NAMES + PANEL / 2.0, last + 38.0, "text-anchor=\"middle\"", what);
    let rounds = format!(
        "marks: medians of {} round{}; bars: lowest to highest; unprobed: the whole call",
        one.rounds,
        if one.rounds == 1 { "" } else { "s" }
    );
    text(out, NAMES + PANEL / 2.0, last + 55.0, "text-anchor=\"middle\" fill=\"#444\"", &rounds);
    if let Some(stop) = one.stop() {
        let x = axis.x(stop.mid);
        line(out, [x, first - 4.0, x, last], "stroke=\"#333\" stroke-dasharray=\"5 3\"");
    }
    for (n, (kind, insn)) in kinds.iter().enumerate() {
        let middle = first + ROW * (n as f64 + 0.5);
        if n > 0 {
            let y = first + ROW * n as f64;
            line(out, [12.0, y, NAMES + PANEL, y], "stroke=\"#ddd\"");
        }
        text(out, 12.0, middle - 1.0, "font-weight=\"bold\"", kind);
        let small = "font-size=\"8.5\" fill=\"#555\" font-family=\"DejaVu Sans Mono, monospace\"";
        text(out, 12.0, middle + 10.0, small, insn);
        let ways = one.ways();
        for (n, way) in ways.iter().enumerate() {
            // Each a little below the one before, so that ranges do not cover each other.
            let y = middle + (n as f64 - (ways.len() as f64 - 1.0) / 2.0) * 3.4;
            if let Some(cost) = one.cost(kind, way) {
                measured(out, &axis, cost, y);
            }
        }
    }
    line(out, [NAMES, last, NAMES + PANEL, last], "stroke=\"#333\"");
}

fn legend(out: &mut String, one: &Comparison, y: f64) {
    let mut x = 18.0;
    for way in WAYS.into_iter().filter(|way| one.ways().contains(way)) {
        mark(out, way, x, y - 4.0);
        let name = if way == "uprobe" { "kernel's uprobe" } else { way };
        text(out, x + 9.0, y, "", name);
        x += 32.0 + 7.2 * name.len() as f64;
    }
    if one.costs.iter().any(|cost| cost.strategy == STOP) {
        line(
            out,
            [x - 6.0, y - 4.0, x + 14.0, y - 4.0],
            "stroke=\"#333\" stroke-dasharray=\"5 3\"",
        );
        text(out, x + 19.0, y, "", "a bare ptrace stop");
    }
}

fn measured(out: &mut String, axis: &Axis, cost: &Cost, y: f64) {
    let Some(spread) = cost.cost else { return };
    let style = format!("stroke=\"{}\" stroke-width=\"2\"", colour(&cost.strategy));
    line(out, [axis.x(spread.low), y, axis.x(spread.high), y], &style);
    mark(out, &cost.strategy, axis.x(spread.mid), y);
}

/// A shape of its own for each way, for print without colours.
fn mark(out: &mut String, way: &str, x: f64, y: f64) {
    let fill = colour(way);
    let path = match way {
        UNPROBED => "-4 -4L4 4M-4 4L4 -4",
        "jump" => "0 -5L5 4L-5 4Z",
        "boost" => "-4 -4L4 -4L4 4L-4 4Z",
        "simulate" => "0 -5L5 0L0 5L-5 0Z",
        "xol" => "0 5L5 -4L-5 -4Z",
        "step" => {
            "-5 -1.5L-1.5 -1.5L-1.5 -5L1.5 -5L1.5 -1.5L5 -1.5L5 1.5L1.5 1.5L1.5 5L-1.5 5L-1.5 1.5L-5 1.5Z"
        }
        _ => "-4.5 0A4.5 4.5 0 1 0 4.5 0A4.5 4.5 0 1 0 -4.5 0Z",
    };
    let _ = writeln!(
        out,
        "<path transform=\"translate({x:.1} {y:.1})\" d=\"M{path}\" fill=\"{fill}\" stroke=\"{}\" \
         stroke-width=\"{}\"/>",
        if way == UNPROBED { fill } else { "white" },
        if way == UNPROBED { "1.8" } else { "0.6" },
    );
}

/// What stands at a power of ten.
fn number(power: i32, unit: &str) -> String {
    if unit == "ns" {
        let steps = [(9, "s"), (6, "ms"), (3, "µs"), (0, "ns"), (-3, "ps")];
        let of = steps.into_iter().find(|(from, _)| power >= *from).unwrap_or((-3, "ps"));
        return format!("{} {}", 10u64.pow(power.saturating_sub(of.0).clamp(0, 12) as u32), of.1);
    }
    match power {
        ..0 => format!("{}", 10f64.powi(power)),
        0..=9 => {
            let digits = 10u64.pow(power as u32).to_string();
            let (head, rest) = digits.split_at((digits.len() - 1) % 3 + 1);
            let groups = rest.as_bytes().chunks(3).map(String::from_utf8_lossy);
            groups.fold(head.to_owned(), |all, group| format!("{all},{group}"))
        }
        _ => format!("1e{power}"),
    }
}

fn line(out: &mut String, [x1, y1, x2, y2]: [f64; 4], style: &str) {
    let _ = writeln!(
        out,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {style}/>"
    );
}

fn text(out: &mut String, x: f64, y: f64, style: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{text}</text>");
}

#[cfg(test)]
mod tests {
    use super::super::tests::made;
    use super::*;

    #[test]
    fn a_picture_names_everything_and_escapes_it() {
        let svg = picture(&[made("arm64", "instructions"), made("x86_64", "ns")]);
        for part in [
            ">What a hit costs on arm64<",
            ">A &amp; B &lt;1&gt;, Linux 6<",
            ">nop &lt;a&amp;b&gt;<",
            ">1 µs<",
            ">1,000<",
            ">100 ps<",
        ] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        // Of two machines: four measured marks each, and three in the legend.
        assert_eq!(svg.matches("<path ").count(), 2 * (5 + 3));
    }

    #[test]
    fn what_is_below_nothing_is_drawn_at_the_edge() {
        let axis = Axis { from: -1, to: 4 };
        assert_eq!((axis.x(-3.0), axis.x(0.1)), (NAMES, NAMES));
        assert_eq!(axis.x(1e4), NAMES + PANEL);
    }
}
