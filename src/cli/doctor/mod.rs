//! `xol doctor`: what this machine, kernel and process allow, and what to do.
//!
//! What is not read from /proc is tried by xol on itself: nothing is attached to and nothing is
//! changed. Without a process
//! to look at, xol tries itself: one probe in a copy of xol that does nothing.
//!
//! | room | holds |
//! |---|---|
//! | `machine` | architecture, kernel, rights |
//! | `sandbox` | filters, namespaces and limits around either |
//! | `process` | one process: who owns it, what it runs, who else is at it |
//! | `trial` | one probe, really hit |
//! | `procfs` | the few formats of /proc that both read |

mod kernel;
mod process;
pub(super) mod procfs;
mod sandbox;
mod trial;

use super::args::Doctor;
use super::failure::Failure;
use super::output::{Format, Output};
use super::whom;
use std::fmt::Write;
use xol::report::json::Object;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// It works, with something to know.
    Note,
    /// It does not work as it is.
    No,
}

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Note => "note",
            Verdict::No => "no",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    /// What was found.
    detail: String,
    /// What to do about it.
    advice: Option<String>,
}

impl Finding {
    fn new(check: &'static str, verdict: Verdict, detail: impl Into<String>) -> Finding {
        Finding { check, verdict, detail: detail.into(), advice: None }
    }

    fn ok(check: &'static str, detail: impl Into<String>) -> Finding {
        Finding::new(check, Verdict::Ok, detail)
    }

    fn note(check: &'static str, detail: impl Into<String>) -> Finding {
        Finding::new(check, Verdict::Note, detail)
    }

    fn no(check: &'static str, detail: impl Into<String>) -> Finding {
        Finding::new(check, Verdict::No, detail)
    }

    fn advice(mut self, advice: impl Into<String>) -> Finding {
        self.advice = Some(advice.into());
        self
    }
}

/// Looks, reports, and fails with 125 if something stands in the way.
pub(crate) fn run(doctor: &Doctor) -> Result<(), Failure> {
    let pid = whom::pids(&doctor.whom)?.first().copied();
    let mut findings = kernel::look(pid.is_some());
    match pid {
        Some(pid) => findings.extend(process::look(pid)?),
        None => findings.push(trial::run()),
    }
    let mut out = Output::stdout(&doctor.report)?;
    let mut text = String::new();
    for finding in &findings {
        match doctor.report.format {
            Format::Text => as_text(&mut text, finding),
            Format::Json => as_json(&mut text, finding),
        }
    }
    let bad = findings.iter().filter(|f| f.verdict == Verdict::No).count();
    if doctor.report.format == Format::Text && bad == 0 {
        let what = match pid {
            Some(pid) => format!("process {pid} can be probed"),
            None => "programs can be probed here".to_owned(),
        };
        let _ = writeln!(text, "{what}");
    }
    out.write(&text)?;
    out.finish()?;
    match bad {
        0 => Ok(()),
        1 => Err(Failure::new("one thing stands in the way; see above for what to do")),
        _ => Err(Failure::new(format!("{bad} things stand in the way; see above for what to do"))),
    }
}

fn as_text(out: &mut String, finding: &Finding) {
    let _ = writeln!(out, "{:<5}{:<13}{}", finding.verdict.name(), finding.check, finding.detail);
    if let Some(advice) = &finding.advice {
        let _ = writeln!(out, "{:18}try: {advice}", "");
    }
}

fn as_json(out: &mut String, finding: &Finding) {
    let mut object = Object::new(out);
    object.text("check", finding.check);
    object.text("verdict", finding.verdict.name());
    object.text("detail", &finding.detail);
    object.text_or_null("advice", finding.advice.as_deref());
    object.end();
    out.push('\n');
}
