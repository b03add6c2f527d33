//! The rounds: everything is measured once in each, one after the other, so that what changes on the
//! machine changes for all.

use super::child::{Seen, Work};
use super::uprobes::Uprobes;
use std::ffi::CString;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;
use xol::WhyNotJump;
use xol::compare::Spread;
use xol::engine::Wish;
use xol::spec::Spec;
use xol::symbols::Object;
use xol::trace::{self, Counted, Options, RowState, Silent, Subject, TraceError};
use xol_arch::Strategy;
use xol_targets::loops::{self, KINDS, NOPS};
use xol_targets::ptrace::sys::Status;
use xol_targets::ptrace::{Launch, run_bare, tracer};

/// This very program.
const ME: &str = "/proc/self/exe";
/// AT_ENTRY (getauxval(3)).
const AT_ENTRY: u64 = 9;
/// So long for one measurement: a child that hangs does not hang us.
const LIMIT: Duration = Duration::from_secs(120);
/// Calls before those that are timed: of what does not stop, and of what does.
const WARM: (u64, u64) = (500, 8);

/// What was measured of one way at one kind of site, over the rounds.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    /// What a hit adds, or the unprobed call.
    pub(super) cost: Vec<f64>,
    /// The same over a bare stop.
    pub(super) ratio: Vec<f64>,
    /// Stops for each hit.
    pub(super) stops: Vec<f64>,
    pub(super) calls: u64,
    pub(super) hits: u64,
    pub(super) why: Option<String>,
}

/// What it took to arm many sites, over the rounds.
#[derive(Clone, Debug, Default)]
pub(super) struct Many {
    pub(super) cost: Vec<f64>,
    pub(super) memory: Vec<f64>,
}

/// Everything that is measured.
pub(super) struct Rounds {
    sites: Vec<(u64, u64)>,
    many: Vec<Spec>,
    probes: Vec<Spec>,
    file: PathBuf,
    /// Hits of one measurement that stops for each.
    hits: u64,
    /// As many more of what does not stop.
    faster: u64,
    uprobes: bool,
    pub(super) done: u64,
    pub(super) stop: Vec<f64>,
    pub(super) unprobed: Vec<Series>,
    pub(super) strategies: Vec<(Strategy, Vec<Series>, Many)>,
    pub(super) kernel: Vec<Series>,
    /// What the user should know: each once.
    pub(super) notes: Vec<String>,
}

/// Why a measurement is none.
pub(super) enum Missing {
    /// The user wants an end.
    Asked,
    /// It failed, for this reason.
    Failed(String),
}

impl Rounds {
    /// With nothing measured yet.
    ///
    /// # Errors
    /// A sentence, where this program cannot be looked at.
    pub(super) fn new(hits: u64, faster: u64) -> Result<Rounds, String> {
        let object = Object::open(ME).map_err(|error| format!("{ME} {error}"))?;
        let entry = super::super::doctor::procfs::auxv(AT_ENTRY);
        let entry = entry.ok_or("/proc is not mounted; try mount -t proc proc /proc")?;
        let base = entry.wrapping_sub(object.entry());
        let addr = |at: u64| at.wrapping_sub(base);
        let spec = |at: u64| Spec::parse(&format!("{:#x}", addr(at))).map_err(|e| e.to_string());
        let offset = |vaddr: u64| {
            let mut all = object.segments().iter();
            let of = all.find(|s| s.vaddr <= vaddr && vaddr - s.vaddr < s.filesz);
            of.map_or(0, |segment| vaddr - segment.vaddr + segment.offset)
        };
        let sites = (0..KINDS.len()).map(|kind| addr(loops::site(kind)));
        Ok(Rounds {
            sites: sites.map(|vaddr| (vaddr, offset(vaddr))).collect(),
            many: (0..NOPS).map(|n| spec(loops::nop(n))).collect::<Result<_, _>>()?,
            probes: (0..KINDS.len())
                .map(|kind| spec(loops::site(kind)))
                .collect::<Result<_, _>>()?,
            file: std::fs::read_link(ME).map_err(|error| format!("{ME}: {error}"))?,
            hits,
            faster,
            uprobes: true,
            done: 0,
            stop: Vec::new(),
            unprobed: vec![Series::default(); KINDS.len()],
            strategies: [Strategy::Jump, Strategy::Boost, Strategy::Simulate, Strategy::Xol]
                .into_iter()
                .chain([Strategy::Step])
                .map(|strategy| (strategy, vec![Series::default(); KINDS.len()], Many::default()))
                .collect(),
            kernel: vec![Series::default(); KINDS.len()],
            notes: Vec::new(),
        })
    }

    /// How many steps a round has.
    pub(super) const STEPS: u64 = 8;

    /// Measures everything once more; `step` is told whenever something is done.
    ///
    /// # Errors
    /// [`Missing`]: the round does not count.
    pub(super) fn round(&mut self, step: &mut dyn FnMut()) -> Result<(), Missing> {
        let before = self.lengths();
        let result = self.measure(step);
        match result {
            Ok(()) => self.done += 1,
            Err(_) => self.forget(&before),
        }
        result
    }

    fn measure(&mut self, step: &mut dyn FnMut()) -> Result<(), Missing> {
        let stop = self.bare()?;
        self.stop.push(stop);
        step();
        let work = Work::Kinds { times: self.hits * self.faster, warm: WARM.0 };
        let seen = plain(work)?;
        for (series, [twin, site, _]) in self.unprobed.iter_mut().zip(&seen.kinds) {
            // Neither of the two is probed.
            series.cost.push(f64::midpoint(*twin, *site));
            series.ratio.push(f64::midpoint(*twin, *site) / stop);
            series.stops.push(0.0);
            series.calls += work.calls();
        }
        let plain_memory = plain(Work::Idle)?.memory;
        step();
        for n in 0..self.strategies.len() {
            self.strategy(n, stop, plain_memory)?;
            step();
        }
        if self.uprobes {
            self.kernel(stop)?;
        }
        step();
        Ok(())
    }

    /// A stop, and nothing done at it.
    fn bare(&mut self) -> Result<f64, Missing> {
        let work = Work::Trap { times: self.hits };
        let (seen, traps) = bare(work, "a bare stop")?;
        if traps != work.calls() {
            return Err(failed(format!("{traps} stops for {} traps", work.calls())));
        }
        Ok(seen.trap)
    }

    /// One strategy at each kind of site, and at many.
    fn strategy(&mut self, n: usize, stop: f64, before: Option<f64>) -> Result<(), Missing> {
        let strategy = self.strategies[n].0;
        let work = match strategy {
            Strategy::Jump => Work::Kinds { times: self.hits * self.faster, warm: WARM.0 },
            _ => Work::Kinds { times: self.hits, warm: WARM.1 },
        };
        let run = traced(strategy, self.probes.clone(), work)?;
        let series = &mut self.strategies[n].1;
        for (kind, (series, &[twin, site, stops])) in
            series.iter_mut().zip(&run.seen.kinds).enumerate()
        {
            let row = run.rows.iter().find(|row| row.row.probe == kind);
            match row.map(|row| (row.row.state, row)) {
                Some((RowState::Armed(got), row)) if got == strategy => {
                    series.cost.push(site - twin);
                    series.ratio.push((site - twin) / stop);
                    series.stops.push(stops);
                    series.calls += work.calls();
                    series.hits += row.hits;
                }
                Some((RowState::Armed(_), row)) => {
                    series.why = row.why_not_jump.map(WhyNotJump::sentence).map(str::to_owned);
                }
                Some((RowState::Rejected(reject), _)) => series.why = Some(reject.to_string()),
                _ => series.why = Some("it was never armed".to_owned()),
            }
        }
        // Many of them are NOPs, which are nothing to simulate.
        if strategy == Strategy::Simulate {
            return Ok(());
        }
        let run = traced(strategy, self.many.clone(), Work::Idle)?;
        let armed = run.rows.iter().filter(|r| r.row.state == RowState::Armed(strategy)).count();
        let many = &mut self.strategies[n].2;
        if armed == NOPS
            && let Some(took) = run.took
        {
            many.cost.push(took);
            if let (Some(after), Some(before)) = (run.seen.memory, before) {
                many.memory.push((after - before).max(0.0));
            }
        }
        Ok(())
    }

    /// The kernel's uprobes, at all sites at once: taking one away costs it a tenth of a second.
    fn kernel(&mut self, stop: f64) -> Result<(), Missing> {
        let sites: Vec<_> = KINDS.into_iter().zip(self.sites.iter().map(|site| site.1)).collect();
        let (uprobes, refused) = match Uprobes::new(&self.file, &sites) {
            Ok(uprobes) => uprobes,
            Err(why) => {
                self.uprobes = false;
                self.notes.push(why);
                return Ok(());
            }
        };
        let work = Work::Kinds { times: self.hits, warm: WARM.1 };
        let seen = plain(work)?;
        let hits = uprobes.hits();
        for (n, series) in self.kernel.iter_mut().enumerate() {
            let [twin, site, stops] = seen.kinds[n];
            series.why.clone_from(&refused[n]);
            if series.why.is_none() {
                series.cost.push(site - twin);
                series.ratio.push((site - twin) / stop);
                series.stops.push(stops);
                series.calls += work.calls();
                series.hits += hits[n];
            }
        }
        Ok(())
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Series> {
        let strategies = self.strategies.iter_mut().flat_map(|(_, series, _)| series);
        self.unprobed.iter_mut().chain(strategies).chain(&mut self.kernel)
    }

    /// What there is before a round.
    fn lengths(&mut self) -> Vec<(usize, u64, u64)> {
        self.all().map(|series| (series.cost.len(), series.calls, series.hits)).collect()
    }

    /// Takes back what a round has left that did not come to its end.
    fn forget(&mut self, before: &[(usize, u64, u64)]) {
        let done = self.done as usize;
        for (series, &(length, calls, hits)) in self.all().zip(before) {
            for values in [&mut series.cost, &mut series.ratio, &mut series.stops] {
                values.truncate(length);
            }
            (series.calls, series.hits) = (calls, hits);
        }
        self.stop.truncate(done);
        for (_, _, many) in &mut self.strategies {
            many.cost.truncate(done);
            many.memory.truncate(done);
        }
    }
}

impl Series {
    pub(super) fn spread(&self) -> Option<Spread> {
        Spread::of(&self.cost)
    }
}

fn failed(why: impl Into<String>) -> Missing {
    Missing::Failed(why.into())
}

/// Why a child that was to do something has said nothing.
fn ended(status: &Option<Status>, what: &str) -> Missing {
    if tracer::take_caught().is_some() {
        return Missing::Asked;
    }
    let how = match status {
        // Ctrl-C is for both of us.
        Some(Status::Killed(2)) => return Missing::Asked,
        Some(Status::Killed(signal)) => format!("was killed by signal {signal}"),
        Some(Status::Exited(status)) => format!("ended with status {status}"),
        _ => "did not end".to_owned(),
    };
    failed(format!(
        "the program that is measured, a copy of xol, {how} before it had said what {what} costs; \
         `xol doctor` may say why"
    ))
}

/// What a child that is probed has said, and what became of its probes.
struct Run {
    seen: Seen,
    rows: Vec<Counted>,
    /// Nanoseconds until the probes were in.
    took: Option<f64>,
}

/// A child to be started, the end of the pipe that it answers through, and the child's end.
fn launch(work: Work) -> Result<(io::PipeReader, io::PipeWriter, Launch), Missing> {
    let broken = |error: io::Error| failed(format!("no pipe: {error}"));
    let (answer, pipe) = io::pipe().map_err(broken)?;
    tracer::pass_on(pipe.as_raw_fd()).map_err(broken)?;
    let (work, fd) = (work.word(), pipe.as_raw_fd().to_string());
    let words = ["xol", "compare", "--loops", work.as_str(), "--answer", fd.as_str()];
    let args = words.into_iter().filter_map(|word| CString::new(word).ok()).collect();
    let program = CString::new(ME).map_err(|_| failed(ME))?;
    Ok((answer, pipe, Launch { program, args }))
}

/// A child that nobody probes, or the kernel does. It is traced all the same, which costs nothing where
/// nothing stops it.
fn plain(work: Work) -> Result<Seen, Missing> {
    bare(work, "a call").map(|(seen, _)| seen)
}

/// A child at whose stops nothing is done; with it, how many there were.
fn bare(work: Work, what: &str) -> Result<(Seen, u64), Missing> {
    let wrong = |error| failed(TraceError::Launch(error).to_string());
    let (mut answer, pipe, launch) = launch(work)?;
    let begun = launch.begin().map_err(wrong)?;
    drop(pipe);
    let (traps, status) = run_bare(begun).map_err(wrong)?;
    let mut text = String::new();
    // What is cut is none.
    let _ = answer.read_to_string(&mut text);
    let seen = Seen::read(&text).ok_or_else(|| ended(&Some(status), what))?;
    Ok((seen, traps))
}

/// A child that we probe.
fn traced(strategy: Strategy, probes: Vec<Spec>, work: Work) -> Result<Run, Missing> {
    let (mut answer, pipe, launch) = launch(work)?;
    let mut options = Options::to_count(Subject::Launch(launch), probes);
    options.wish = Wish::Only(strategy);
    options.duration = Some(LIMIT);
    let mut quiet = Silent::default();
    let outcome = trace::run_behind(&options, &mut quiet, None);
    drop(pipe);
    let outcome = outcome.map_err(|error| failed(error.to_string()))?;
    if outcome.signal.is_some() {
        return Err(Missing::Asked);
    }
    let mut text = String::new();
    if outcome.running.is_none() {
        // What is cut is none.
        let _ = answer.read_to_string(&mut text);
    }
    let seen = Seen::read(&text);
    let seen = seen.ok_or_else(|| ended(&outcome.status, &format!("`{}`", strategy.name())))?;
    let took = quiet.took.map(|took| took.as_nanos() as f64);
    Ok(Run { seen, rows: outcome.report.rows, took })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_ends_at_once_is_told() {
        for (status, said) in [
            (
                Some(Status::Killed(31)),
                "was killed by signal 31 before it had said what `xol` costs",
            ),
            (Some(Status::Exited(1)), "ended with status 1 before"),
            (None, "did not end before"),
        ] {
            match ended(&status, "`xol`") {
                Missing::Failed(why) => assert!(why.contains(said), "{why}"),
                Missing::Asked => panic!("nobody asked"),
            }
        }
        assert!(matches!(ended(&Some(Status::Killed(2)), "`xol`"), Missing::Asked));
    }
}
