//! `xol compare`: what each strategy costs at each kind of site, as a table, as JSON and as a picture.
//!
//! | room | holds |
//! |---|---|
//! | `table` | for people |
//! | `number` | costs with their spread, short |
//! | `picture` | SVG |

mod number;
#[cfg(feature = "picture")]
mod picture;
mod table;

#[cfg(feature = "picture")]
pub use picture::picture;
pub use table::{listed, table};

use crate::json::Object;

/// What is compared, in the order of columns: an unprobed call, the strategies from the cheapest on,
/// and the kernel's uprobes.
pub const WAYS: [&str; 7] = [UNPROBED, "jump", "boost", "simulate", "xol", "step", UPROBE];
/// A call of the function whose instruction the others probe.
pub const UNPROBED: &str = "unprobed";
/// A ptrace stop that nothing is done at.
pub const STOP: &str = "stop";
/// The kernel's own probe, through tracefs.
pub const UPROBE: &str = "uprobe";

/// Several measurements of one thing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median.
    pub mid: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

impl Spread {
    /// Of at least one measurement.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Spread> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        let (a, b) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Spread { mid: f64::midpoint(a, b), low, high })
    }
}

/// What one way costs at one kind of site.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cost {
    /// The kind of site; `trap` for a bare stop.
    pub kind: String,
    /// The instruction.
    pub insn: String,
    /// One of [`WAYS`], or [`STOP`].
    pub strategy: String,
    /// What a hit adds to a call; of [`UNPROBED`] what the call costs, of [`STOP`] the stop.
    pub cost: Option<Spread>,
    /// That over a bare stop of the same round.
    pub ratio: Option<Spread>,
    /// How often a hit stops the program, as the program itself has seen it.
    pub stops: Option<f64>,
    /// How often the program has come to the site, in all rounds.
    pub calls: u64,
    /// How often the probe says that it has.
    pub hits: Option<u64>,
    /// Why there is no cost.
    pub why: Option<String>,
}

/// Which part of an object's instructions a strategy can take.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// The strategy.
    pub strategy: String,
    /// The object's file.
    pub object: String,
    /// Its instructions.
    pub instructions: u64,
    /// Those of them that the strategy can take.
    pub possible: u64,
}

/// What it takes to arm sites.
#[derive(Clone, Debug, PartialEq)]
pub struct Arming {
    /// The strategy.
    pub strategy: String,
    /// How many sites.
    pub sites: u64,
    /// From the beginning of a run until all of them are in.
    pub cost: Spread,
    /// How many bytes more are the program's own then, for whatever xol has there, if the kernel says.
    pub memory: Option<Spread>,
}

/// All that was measured on one machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// `arm64` or `x86_64`.
    pub arch: String,
    /// Processor and kernel.
    pub machine: String,
    /// `ns`, or `instructions` where a guest's clock counts those.
    pub unit: String,
    /// How often everything was measured.
    pub rounds: u64,
    /// At each kind of site.
    pub costs: Vec<Cost>,
    /// Of one object.
    pub shares: Vec<Share>,
    /// Of many sites.
    pub arming: Vec<Arming>,
}

impl Comparison {
    /// The kinds of sites with their instructions, in their order.
    #[must_use]
    pub fn kinds(&self) -> Vec<(&str, &str)> {
        let mut kinds: Vec<(&str, &str)> = Vec::new();
        for cost in self.costs.iter().filter(|cost| cost.strategy != STOP) {
            if !kinds.iter().any(|(kind, _)| *kind == cost.kind) {
                kinds.push((&cost.kind, &cost.insn));
            }
        }
        kinds
    }

    /// What a way costs at a kind of site, if that was measured.
    #[must_use]
    pub fn cost(&self, kind: &str, way: &str) -> Option<&Cost> {
        self.costs.iter().find(|cost| cost.kind == kind && cost.strategy == way)
    }

    /// The bare stop.
    #[must_use]
    pub fn stop(&self) -> Option<Spread> {
        self.costs.iter().find(|cost| cost.strategy == STOP)?.cost
    }

    /// The ways that were measured anywhere.
    #[must_use]
    pub fn ways(&self) -> Vec<&'static str> {
        let some = |way: &&str| {
            self.costs.iter().any(|cost| cost.strategy == **way && cost.cost.is_some())
        };
        WAYS.into_iter().filter(some).collect()
    }

    /// One object a line: `xol help output` says which fields it has.
    pub fn json(&self, out: &mut String) {
        for cost in &self.costs {
            let mut object = self.begin(out, "cost", &cost.strategy);
            object.text("kind", &cost.kind);
            object.text("insn", &cost.insn);
            spread(&mut object, ["cost", "low", "high"], cost.cost);
            object.text("unit", &self.unit);
            spread(&mut object, ["ratio", "ratio_low", "ratio_high"], cost.ratio);
            number_or_null(&mut object, "stops", cost.stops);
            object.number("calls", cost.calls);
            match cost.hits {
                Some(hits) => object.number("hits", hits),
                None => object.null("hits"),
            }
            object.text_or_null("why", cost.why.as_deref());
            end(object, self.rounds);
        }
        for share in &self.shares {
            let mut object = self.begin(out, "share", &share.strategy);
            object.text("object", &share.object);
            object.number("instructions", share.instructions);
            object.number("possible", share.possible);
            end(object, self.rounds);
        }
        for arming in &self.arming {
            let mut object = self.begin(out, "arming", &arming.strategy);
            object.number("sites", arming.sites);
            spread(&mut object, ["cost", "low", "high"], Some(arming.cost));
            object.text("unit", &self.unit);
            spread(&mut object, ["memory", "memory_low", "memory_high"], arming.memory);
            end(object, self.rounds);
        }
    }

    fn begin<'o>(&self, out: &'o mut String, row: &str, strategy: &str) -> Object<'o> {
        if !out.is_empty() {
            out.push('\n');
        }
        let mut object = Object::new(out);
        object.text("row", row);
        object.text("arch", &self.arch);
        object.text("machine", &self.machine);
        object.text("strategy", strategy);
        object
    }
}

fn end(mut object: Object<'_>, rounds: u64) {
    object.number("rounds", rounds);
    object.end();
}

fn number_or_null(object: &mut Object<'_>, key: &str, value: Option<f64>) {
    match value {
        Some(value) => object.number(key, format_args!("{value:.3}")),
        None => object.null(key),
    }
}

fn spread(object: &mut Object<'_>, keys: [&str; 3], value: Option<Spread>) {
    let each = [value.map(|v| v.mid), value.map(|v| v.low), value.map(|v| v.high)];
    for (key, value) in keys.into_iter().zip(each) {
        match (key.starts_with("ratio"), value) {
            // A jump is a small part of a stop.
            (true, Some(value)) => object.number(key, format_args!("{value:.6}")),
            (_, value) => number_or_null(object, key, value),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Two kinds, two ways, one of which cannot be at one of them.
    pub(in crate::compare) fn made(arch: &str, unit: &str) -> Comparison {
        let cost = |kind: &str, strategy: &str, of: Option<[f64; 3]>| Cost {
            kind: kind.into(),
            insn: format!("{kind} <a&b>"),
            strategy: strategy.into(),
            cost: of.and_then(|of| Spread::of(&of)),
            ratio: of.and_then(|of| Spread::of(&of.map(|v| v / 2500.0))),
            stops: Some(1.0),
            calls: 100,
            hits: (strategy != UNPROBED && strategy != STOP).then_some(100),
            why: of.is_none().then(|| "it is not \"right\"".into()),
        };
        Comparison {
            arch: arch.into(),
            machine: "A & B <1>, Linux 6".into(),
            unit: unit.into(),
            rounds: 3,
            costs: vec![
                cost("trap", STOP, Some([2500.0, 2400.0, 2600.0])),
                cost("nop", UNPROBED, Some([1.5, 1.25, 1.75])),
                cost("nop", "jump", Some([0.5, 0.4, 0.75])),
                cost("nop", "boost", Some([3200.0, 3201.0, 3202.0])),
                cost("ret", UNPROBED, Some([1.0, 1.0, 1.0])),
                cost("ret", "jump", None),
                cost("ret", "boost", Some([3000.0, 3500.0, 4000.0])),
            ],
            shares: vec![Share {
                strategy: "boost".into(),
                object: "/lib/libc.so.6".into(),
                instructions: 1000,
                possible: 993,
            }],
            arming: vec![Arming {
                strategy: "boost".into(),
                sites: 512,
                cost: Spread { mid: 3.2e6, low: 3.1e6, high: 3.9e6 },
                memory: Spread::of(&[81920.0]),
            }],
        }
    }

    #[test]
    fn a_spread_has_the_median_between_its_ends() {
        let of = |values: &[f64]| Spread::of(values).map(|s| (s.mid, s.low, s.high));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some((2.0, 1.0, 3.0)));
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), Some((2.5, 1.0, 4.0)));
    }

    #[test]
    fn each_line_is_an_object_of_json() {
        let mut out = String::new();
        made("x86_64", "ns").json(&mut out);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines.len(), 9);
        let begin = "\"arch\":\"x86_64\",\"machine\":\"A & B <1>, Linux 6\",\"strategy\"";
        assert_eq!(
            lines[3],
            format!(
                "{{\"row\":\"cost\",{begin}:\"boost\",\"kind\":\"nop\",\"insn\":\"nop <a&b>\",\
                 \"cost\":3201.000,\"low\":3200.000,\"high\":3202.000,\"unit\":\"ns\",\
                 \"ratio\":1.280400,\"ratio_low\":1.280000,\"ratio_high\":1.280800,\"stops\":1.000,\
                 \"calls\":100,\"hits\":100,\"why\":null,\"rounds\":3}}"
            )
        );
        let none = "\"cost\":null,\"low\":null,\"high\":null";
        assert!(
            lines[5].contains(none) && lines[5].contains("\"why\":\"it is not \\\"right\\\"\"")
        );
        assert_eq!(
            lines[7],
            format!(
                "{{\"row\":\"share\",{begin}:\"boost\",\"object\":\"/lib/libc.so.6\",\
                 \"instructions\":1000,\"possible\":993,\"rounds\":3}}"
            )
        );
        assert!(lines[8].contains("\"sites\":512,") && lines[8].contains("\"memory\":81920.000,"));
    }
}
