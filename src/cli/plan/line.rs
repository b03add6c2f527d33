//! One instruction's verdict, as text and as JSON.

use std::fmt::Write;
use xol::report::json::Object;
use xol_arch::{Reason, Reject, Strategies};

/// One instruction and what was decided.
pub(super) struct Insn<'a> {
    pub(super) addr: u64,
    pub(super) bytes: &'a [u8],
    /// In the architecture's usual syntax.
    pub(super) text: &'a str,
    pub(super) verdict: Verdict,
}

/// What was decided.
#[derive(Clone, Copy)]
pub(super) enum Verdict {
    Plan {
        /// `copy` or `simulate`.
        word: &'static str,
        /// With `jump`, where one is right as far as the file says.
        strategies: Strategies,
        /// Why there can be no jump.
        no_jump: Option<Reason>,
    },
    Reject(Reject),
}

impl Verdict {
    /// Why there can be no jump; `None` where there can.
    pub(super) fn no_jump(&self) -> Option<Reason> {
        match self {
            Verdict::Plan { no_jump, .. } => *no_jump,
            Verdict::Reject(reject) => Some(reject.reason),
        }
    }
}

pub(super) fn text(out: &mut String, insn: &Insn<'_>) {
    let _ = write!(out, "{:>12x}  ", insn.addr);
    let start = out.len();
    for byte in insn.bytes {
        let _ = write!(out, "{byte:02x} ");
    }
    pad(out, start + 24);
    let start = out.len();
    let _ = write!(out, "{} ", insn.text);
    pad(out, start + 40);
    match &insn.verdict {
        Verdict::Plan { word, strategies, no_jump } => {
            let _ = write!(out, "{word:<9}");
            for strategy in strategies.iter() {
                let _ = write!(out, " {}", strategy.name());
            }
            if let Some(reason) = no_jump {
                let _ = write!(out, "  (no jump: {})", reason.id());
            }
        }
        Verdict::Reject(reject) => {
            let _ = write!(out, "reject    {}: {reject}", reject.reason.id());
        }
    }
    out.push('\n');
}

fn pad(out: &mut String, to: usize) {
    while out.len() < to {
        out.push(' ');
    }
}

pub(super) fn json(out: &mut String, insn: &Insn<'_>) {
    let mut object = Object::new(out);
    object.number("addr", insn.addr);
    object.nested("bytes", |out| {
        out.push('"');
        for byte in insn.bytes {
            let _ = write!(out, "{byte:02x}");
        }
        out.push('"');
    });
    object.text("insn", insn.text);
    match &insn.verdict {
        Verdict::Plan { word, strategies, .. } => {
            object.text("plan", word);
            object.texts("strategies", strategies.iter().map(xol_arch::Strategy::name));
            object.null("reason");
            object.null("detail");
        }
        Verdict::Reject(reject) => {
            object.text("plan", "reject");
            object.texts("strategies", std::iter::empty());
            object.text("reason", reject.reason.id());
            object.text("detail", &reject.to_string());
        }
    }
    object.text_or_null("why_not_jump", insn.verdict.no_jump().map(Reason::id));
    object.end();
    out.push('\n');
}
