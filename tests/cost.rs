//! What one hit costs: each strategy, the kernel's uprobe and a bare ptrace stop at the same
//! instructions of `programs/hits.c`, which times itself. Under `cargo vm … --icount` its
//! nanoseconds are the guest's instructions.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use crate::bench::{Running, median};
use crate::elf::Object;
use crate::programs::{Build, program};
use crate::run::slowness;
use crate::target::Target;

/// Strategies, and the entries they are measured at.
const KINDS: [(&str, &str); 8] = [
    ("boost", "push"),
    ("boost", "mov"),
    ("simulate", "jmp"),
    ("xol", "push"),
    ("step", "push"),
    ("jump", "nop"),
    ("jump", "push"),
    ("record", "push"),
];
/// The kernel steps one and simulates the other.
const UPROBES: [&str; 2] = ["push", "jmp"];
/// As many calls as one hit that stops takes the time of.
const JUMPS: u64 = 100;
/// As many records as a ring has at most.
const LAP: u64 = 1 << 14;
/// What a record holds, besides the time.
const SIX: &str = "(a: i64, b: i64, c: i64, d: i64, e: i64, f: i64)";

/// Nanoseconds of one hit each, one for each round.
#[derive(Debug)]
pub struct Costs {
    /// A stop and its continuation, with nothing done in between (on arm64 the PC must be moved
    /// over the BRK).
    pub bare: Vec<f64>,
    /// The least that a tracer cannot do without besides: the stop read with WNOWAIT (its signal
    /// must outlive us), the signal told from one that somebody sent, the PC read and written.
    pub least: Vec<f64>,
    /// One row for each of strategy and entry.
    pub rows: Vec<Row>,
}

/// One way to be hit.
#[derive(Debug)]
pub struct Row {
    /// A strategy, `record` for a jump that writes to the ring, or `uprobe`.
    pub how: &'static str,
    /// Which instruction: a store to the stack, a move, a jump.
    pub entry: &'static str,
    /// Nanoseconds.
    pub cost: Vec<f64>,
}

impl Costs {
    /// The row's cost over that of a bare stop: in the middle, the best and the worst round.
    #[must_use]
    pub fn ratio(&self, row: &Row) -> (f64, f64, f64) {
        let each: Vec<f64> = row.cost.iter().zip(&self.bare).map(|(c, b)| c / b).collect();
        let best = each.iter().copied().fold(f64::MAX, f64::min);
        let worst = each.iter().copied().fold(0.0, f64::max);
        (median(&row.cost) / median(&self.bare), best, worst)
    }
}

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = median(&self.bare);
        writeln!(f, "| a bare ptrace stop and continue | | {bare:.0} | |")?;
        let least = median(&self.least);
        writeln!(f, "| the least a tracer does at one | | {least:.0} | {:.2} |", least / bare)?;
        for row in &self.rows {
            let (ratio, best, worst) = self.ratio(row);
            let goal = if matches!(row.how, "boost" | "simulate") { "1.15" } else { "" };
            writeln!(
                f,
                "| `{}` at `{}` | {goal} | {:.*} | {ratio:.2} [{best:.2}–{worst:.2}] |",
                row.how,
                row.entry,
                usize::from(matches!(row.how, "jump" | "record")),
                median(&row.cost)
            )?;
        }
        Ok(())
    }
}

/// Measures all of them in turn, `rounds` times, with `hits` hits each.
///
/// # Panics
/// If a count is wrong.
#[must_use]
pub fn measure(rounds: usize, hits: u64) -> Costs {
    let path = program("hits", Build::Pie);
    let object = Object::open(&path);
    let functions = object.functions();
    let addr = |name: &str| functions.iter().find(|f| f.name == name).expect("it is there").addr;
    let mut target = Target::start("hits");
    let pid = target.pid().to_string();
    let name = target.name();
    let row = |how, entry| Row { how, entry, cost: Vec::new() };
    let mut rows: Vec<Row> = KINDS.map(|(how, entry)| row(how, entry)).into();
    rows.extend(UPROBES.map(|entry| row("uprobe", entry)));
    let (mut bares, mut leasts) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let base = timed(&mut target, "push_twin", 25 * hits);
        bares.push(bare(&mut target, hits, false) - base);
        leasts.push(bare(&mut target, hits, true) - base);
        for row in &mut rows {
            let probed = format!("{}_probed", row.entry);
            let at = addr(&probed);
            if row.how == "uprobe" {
                let event = Event::new(&path, object.offset(at).expect("in the text"));
                row.cost.push(timed(&mut target, &probed, hits) - base);
                assert_eq!(event.hits(), hits, "the kernel's count");
                continue;
            }
            let probe = format!("{name}:{probed}");
            if row.how == "record" {
                let probe = probe + SIX;
                let xol = Running::trace(&["--strategy", "jump", "-o", "-", "-p", &pid, &probe]);
                xol.jumps(&target, at);
                // Once around the ring, whose pages are new; then all of them have room in it.
                for _ in 0..4 {
                    _ = timed(&mut target, &probed, LAP / 4);
                    std::thread::sleep(Duration::from_millis(40) * slowness());
                }
                let hits = hits.min(2000);
                let twin = timed(&mut target, &format!("{}_twin", row.entry), hits);
                row.cost.push(timed(&mut target, &probed, hits) - twin);
                let told = xol.interrupt();
                let told = told.matches("push_probed(a: ").count() as u64;
                assert_eq!(told, LAP + hits, "records");
                continue;
            }
            let xol = Running::attach(&["--strategy", row.how, "-p", &pid, &probe]);
            let hits = if row.how == "jump" {
                xol.jumps(&target, at);
                let hits = hits * JUMPS;
                let twin = timed(&mut target, &format!("{}_twin", row.entry), hits);
                row.cost.push(timed(&mut target, &probed, hits) - twin);
                hits
            } else {
                xol.armed(&target, at);
                row.cost.push(timed(&mut target, &probed, hits) - base);
                hits
            };
            let counts = xol.interrupt();
            assert!(counts.contains(&hits.to_string()), "{} {probed}: {counts}", row.how);
        }
    }
    Costs { bare: bares, least: leasts, rows }
}

/// Nanoseconds of one call, told by the target itself.
fn timed(target: &mut Target, name: &str, times: u64) -> f64 {
    let answer = target.ask(&format!("{name} {times}\n"));
    answer.trim().parse::<f64>().expect("picoseconds") / 1000.0
}

/// The target's own trap, waited for and continued, and nothing else but the `least`.
fn bare(target: &mut Target, hits: u64, least: bool) -> f64 {
    let pid = Pid::from_raw(target.pid().cast_signed());
    ptrace::seize(pid, Options::empty()).expect("tracing a child");
    target.tell(&format!("trap {hits}\n"));
    let mut left = hits;
    while left > 0 {
        if least {
            let flags = WaitPidFlag::__WALL
                | WaitPidFlag::WSTOPPED
                | WaitPidFlag::WEXITED
                | WaitPidFlag::WNOWAIT;
            match waitid(Id::All, flags) {
                Ok(WaitStatus::PtraceEvent(_, Signal::SIGTRAP, 0)) => {
                    left -= 1;
                    _ = ptrace::getsiginfo(pid).expect("it is stopped");
                    move_pc(pid);
                    ptrace::cont(pid, None).expect("it is stopped");
                    continue;
                }
                other => panic!("{other:?}"),
            }
        }
        match waitpid(pid, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Stopped(_, Signal::SIGTRAP)) => {
                left -= 1;
                over_the_trap(pid);
                ptrace::cont(pid, None).expect("it is stopped");
            }
            other => panic!("{other:?}"),
        }
    }
    let answer = target.line();
    ptrace::interrupt(pid).expect("it is traced");
    _ = waitpid(pid, Some(WaitPidFlag::__WALL)).expect("it stops");
    ptrace::detach(pid, None).expect("it is stopped");
    answer.trim().parse::<f64>().expect("picoseconds") / 1000.0
}

/// Where the trap does not move the PC by itself.
fn over_the_trap(pid: Pid) {
    if cfg!(target_arch = "aarch64") {
        move_pc(pid);
    }
}

/// Reads the PC, and writes it, behind the trap.
#[cfg(target_arch = "aarch64")]
fn move_pc(pid: Pid) {
    let mut regs = ptrace::getregset::<ptrace::regset::NT_PRSTATUS>(pid).expect("it is stopped");
    regs.pc += 4;
    ptrace::setregset::<ptrace::regset::NT_PRSTATUS>(pid, regs).expect("it is stopped");
}

#[cfg(not(target_arch = "aarch64"))]
fn move_pc(pid: Pid) {
    /// offsetof(struct user, regs.rip)
    const RIP: ptrace::AddressType = (16 * 8) as ptrace::AddressType;
    let pc = ptrace::read_user(pid, RIP).expect("it is stopped");
    ptrace::write_user(pid, RIP, pc).expect("it is stopped");
}

/// A uprobe through tracefs, for as long as it lives.
struct Event(String);

const TRACEFS: &str = "/sys/kernel/tracing";

impl Event {
    fn new(object: &Path, offset: u64) -> Event {
        if !Path::new(TRACEFS).join("uprobe_events").exists() {
            let flags = nix::mount::MsFlags::empty();
            let none: Option<&str> = None;
            nix::mount::mount(Some("nodev"), TRACEFS, Some("tracefs"), flags, none)
                .unwrap_or_else(|e| panic!("no tracefs in {TRACEFS}: {e}"));
        }
        let event = Event(format!("cost_{}_{offset:x}", std::process::id()));
        tell("uprobe_events", &format!("p:xol/{} {}:{offset:#x}", event.0, object.display()));
        tell(&format!("events/xol/{}/enable", event.0), "1");
        event
    }

    fn hits(&self) -> u64 {
        let profile = std::fs::read_to_string(format!("{TRACEFS}/uprobe_profile"));
        let profile = profile.expect("tracefs has it");
        let line = profile.lines().find(|l| l.contains(&self.0)).unwrap_or_default();
        line.split_whitespace().last().and_then(|n| n.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        tell(&format!("events/xol/{}/enable", self.0), "0");
        tell("uprobe_events", &format!("-:xol/{}", self.0));
    }
}

/// Appends one line to a file of tracefs.
fn tell(file: &str, line: &str) {
    let path = format!("{TRACEFS}/{file}");
    let open = OpenOptions::new().append(true).open(&path);
    let told = open.and_then(|mut f| f.write_all(line.as_bytes()));
    told.unwrap_or_else(|e| panic!("{path}: {line}: {e}"));
}
