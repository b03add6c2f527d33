//! A probe on xol's own entry point: whether tracing works here, whatever the settings say.

use super::Finding;
use std::time::Duration;
use xol::spec::Spec;
use xol::symbols::{Machine, Object};
use xol::trace::{self, Options, Report, RowState, Silent, Subject, TraceError};
use xol_targets::ptrace::{Launch, LaunchError};

/// What a kernel, or what plays one, answers to a call it does not have (errno(3)).
const ENOSYS: i32 = 38;
/// Long enough for a board; the child does nothing.
const LIMIT: Duration = Duration::from_secs(10);

/// Runs this very program on nothing, with one probe in it.
pub(super) fn run() -> Finding {
    let check = "trial";
    let me = "/proc/self/exe";
    // Machine::from_name knows Rust's names of architectures.
    let native = Machine::from_name(std::env::consts::ARCH);
    let entry = match (Object::open(me), native) {
        (Ok(object), Some(_)) => object.entry(),
        (Err(error), _) => return Finding::note(check, format!("none: {me} {error}")),
        (_, None) => return Finding::note(check, "none on this architecture"),
    };
    let Ok(probe) = Spec::parse(&format!("{entry:#x}")) else {
        return Finding::note(check, "none: this program has no entry point");
    };
    let name = native.map_or("", Machine::name);
    let words = ["xol", "plan", "--raw", "--arch", name, "/dev/null", "-o", "/dev/null"];
    let words = words.iter().filter_map(|w| std::ffi::CString::new(*w).ok()).collect();
    let Ok(program) = std::ffi::CString::new(me) else { return Finding::note(check, "none") };
    let subject = Subject::Launch(Launch { program, args: words });
    let mut options = Options::to_count(subject, vec![probe]);
    options.duration = Some(LIMIT);
    match trace::run_behind(&options, &mut Silent::default(), None) {
        Ok(outcome) => judged(check, &outcome.report),
        Err(TraceError::Launch(LaunchError::Io(error))) if error.raw_os_error() == Some(ENOSYS) => {
            Finding::no(check, "there is no ptrace: this is qemu-user, gVisor or their like")
                .advice("a VM (qemu-system), or the program's own machine")
        }
        Err(TraceError::Launch(LaunchError::Io(error))) => {
            Finding::no(check, format!("a copy of xol cannot be traced: {error}"))
                .advice("the settings above; a container or sandbox may forbid ptrace")
        }
        Err(error) => Finding::no(check, format!("a probe in xol itself failed: {error}"))
            .advice("the settings above; a container or sandbox may forbid ptrace"),
    }
}

fn judged(check: &'static str, report: &Report) -> Finding {
    let hit = report.rows.iter().find(|counted| counted.hits == 1);
    match hit.map(|counted| counted.row.state) {
        Some(RowState::Armed(strategy)) => {
            Finding::ok(check, format!("a probe in xol itself was hit ({})", strategy.name()))
        }
        _ => Finding::no(check, "a probe in xol itself was armed but not hit once")
            .advice("reporting it, with the lines above: this should not happen"),
    }
}
