//! `xol compare`: what it counts is right, and what it writes can be read. No time is asserted.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use xol_tests::run::{Finished, Run, run, slowness};
use xol_tests::xol::{command, scratch, xol};

/// Small, and on every system.
const OBJECT: &str = "/usr/bin/true";
/// Strategies that this project has.
const OURS: [&str; 5] = ["jump", "boost", "simulate", "xol", "step"];

/// One at a time: the kernel's uprobes are in every process that runs the file.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One round of few hits, with `more` options.
fn compare(more: &[&str]) -> Run {
    let few = ["compare", "--rounds", "1", "--hits", "100", "--object", OBJECT];
    command(few.iter().chain(more).copied()).limit(Duration::from_secs(300))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// The one line on stderr.
fn sentence(finished: &Finished) -> String {
    let said = finished.err();
    let ours: Vec<&str> = said.lines().filter(|line| line.starts_with("xol: ")).collect();
    assert_eq!((ours.len(), said.lines().count()), (1, 1), "{finished}");
    ours[0].to_owned()
}

#[test]
fn every_site_is_hit_as_often_as_the_program_has_come_to_it() {
    let _alone = alone();
    let rows = lines(&compare(&["--format", "json"]).finish().ok().out());
    let costs: Vec<&Value> = rows.iter().filter(|row| row["row"] == "cost").collect();
    let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for cost in &costs {
        let (kind, way) = (cost["kind"].as_str().unwrap(), cost["strategy"].as_str().unwrap());
        if !OURS.contains(&way) {
            continue;
        }
        if cost["cost"].is_null() {
            assert!(cost["why"].as_str().is_some_and(|why| why.len() > 5), "{cost}");
            continue;
        }
        kinds.entry(kind).or_default().push(way);
        assert!(cost["calls"].as_u64() > Some(20) && cost["hits"] == cost["calls"], "{cost}");
        let stops = match way {
            "jump" => 0.0,
            "boost" | "simulate" => 1.0,
            _ => 2.0,
        };
        assert!((cost["stops"].as_f64().unwrap() - stops).abs() < 0.2, "{cost}");
        let [low, mid, high] = ["low", "cost", "high"].map(|key| cost[key].as_f64().unwrap());
        assert!(low <= mid && mid <= high, "{cost}");
    }
    assert_eq!(kinds.len(), 13, "{kinds:?}");
    for (kind, ways) in &kinds {
        // Calls and branches are only simulated, besides jumps; so is, on arm64, what reads the PC.
        let others: &[&str] = match *kind {
            "call" | "call-register" | "jump" | "branch" | "ret" => &["simulate"],
            "pc-load" | "pc-address" if cfg!(target_arch = "aarch64") => &["simulate"],
            _ => &["boost", "xol", "step"],
        };
        assert!(others.iter().all(|way| ways.contains(way)), "{kind}: {ways:?}");
    }
    let jumps = kinds.values().filter(|ways| ways.contains(&"jump")).count();
    let arming = rows.iter().filter(|row| row["row"] == "arming" && row["sites"] == 256).count();
    // In a board's binary it is not known where functions begin.
    let stripped = costs
        .iter()
        .any(|cost| cost["why"].as_str().is_some_and(|why| why.contains("the function around it")));
    let least = if stripped { (0, 3) } else { (11, 4) };
    assert!((jumps, arming) >= least && (jumps == 0) == stripped, "{kinds:?} {arming}");
}

#[test]
fn shares_are_what_plan_says() {
    let _alone = alone();
    let rows = lines(&compare(&["--format", "json"]).finish().ok().out());
    let mut shares = BTreeMap::new();
    let mut all = 0;
    for plan in lines(&command(["plan", OBJECT, "--format", "json"]).finish().ok().out()) {
        all += 1;
        for strategy in plan["strategies"].as_array().unwrap() {
            *shares.entry(strategy.as_str().unwrap().to_owned()).or_insert(0u64) += 1;
        }
    }
    assert!(all > 1000 && shares.len() == 5, "{shares:?}");
    let mut told = BTreeMap::new();
    for row in rows.iter().filter(|row| row["row"] == "share") {
        assert_eq!((&row["instructions"], &row["object"]), (&all.into(), &OBJECT.into()), "{row}");
        let strategy = row["strategy"].as_str().unwrap().to_owned();
        assert!(told.insert(strategy, row["possible"].as_u64().unwrap()).is_none());
    }
    assert_eq!(told, shares);
}

#[test]
fn a_picture_is_xml_with_all_that_is_in_the_table() {
    let _alone = alone();
    let svg = scratch("compare.svg");
    let path = svg.to_str().unwrap();
    if !run(xol()).arg("--version").finish().ok().out().contains("picture") {
        let refused = compare(&["--svg", path]).finish();
        assert_eq!(refused.code(), 2, "{refused}");
        assert!(sentence(&refused).contains("built without pictures"), "{refused}");
        return;
    }
    let table = compare(&["--svg", path]).finish().ok().out();
    let read = "import sys, xml.dom.minidom as m
for t in m.parse(sys.argv[1]).getElementsByTagName('text'): print(t.firstChild.data)";
    let texts = run("python3").args(["-c", read, path]).finish().ok().out();
    let kinds = table.lines().skip_while(|line| !line.starts_with("site ")).skip(1);
    let kinds: Vec<&str> = kinds.map_while(|line| line.split_whitespace().next()).collect();
    assert_eq!(kinds.len(), 13, "{table}");
    let machine = table.lines().next().and_then(|line| line.split_once(": ")).unwrap().1;
    for part in kinds.into_iter().chain([machine, "boost", "1 µs", "a bare ptrace stop"]) {
        assert!(texts.lines().any(|line| line == part), "{part}: {texts}");
    }
    // What cannot be written is said before anything is measured; what is full, afterwards.
    let nowhere = compare(&["--svg", "/nowhere/x.svg"]).finish();
    assert_eq!(nowhere.code(), 125, "{nowhere}");
    assert!(sentence(&nowhere).contains("cannot write to /nowhere/x.svg: No such file"));
    let full = compare(&["--svg", "/dev/full"]).finish();
    assert_eq!(full.code(), 125, "{full}");
    assert!(full.err().contains("xol: cannot write to /dev/full: No space left"), "{full}");
}

#[test]
fn a_narrow_terminal_gets_a_list() {
    let _alone = alone();
    let script = "import fcntl, os, pty, struct, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 20, 0, 0))
    os.execv(sys.argv[1], sys.argv[1:])
out = b''
try:
    while True: out += os.read(terminal, 65536)
except OSError: pass
sys.stdout.buffer.write(out.replace(b'\\r\\n', b'\\n'))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))";
    let text = compare(&[]).under(["python3", "-c", script]).finish().ok().out();
    assert!(text.contains("\nnop: nop") && text.contains("\n  step "), "{text}");
    assert!(!text.contains("site  "), "{text}");
}

#[test]
fn without_tracefs_there_is_a_sentence() {
    let _alone = alone();
    let script = "umount -l /sys/kernel/tracing /sys/kernel/debug 2>/dev/null; exec \"$@\"";
    let without = ["unshare", "--mount", "sh", "-c", script, "sh"];
    let finished = compare(&["--format", "json"]).under(without).finish().ok();
    assert!(sentence(&finished).contains("there is no tracefs"), "{finished}");
    assert!(lines(&finished.out()).iter().all(|row| row["strategy"] != "uprobe"), "{finished}");
}

#[test]
fn an_interrupt_leaves_what_there_is() {
    let _alone = alone();
    let words = ["compare", "--rounds", "100000", "--hits", "20", "--object", OBJECT];
    let started = command(words).args(["--format", "json"]).limit(Duration::from_secs(300)).start();
    std::thread::sleep(Duration::from_secs(4) * slowness());
    kill(Pid::from_raw(started.pid().cast_signed()), Signal::SIGINT).expect("it runs");
    let finished = started.finish();
    // On a slow machine there is no round yet.
    if finished.code() == 130 {
        assert!(sentence(&finished).contains("before the first round was over"), "{finished}");
        return;
    }
    let rows = lines(&finished.ok().out());
    let rounds = rows[0]["rounds"].as_u64().unwrap();
    assert!((1..100_000).contains(&rounds), "{rounds}");
    let hits = rows.iter().filter(|row| row["hits"].is_u64() && row["strategy"] != "uprobe");
    hits.for_each(|row| assert_eq!(row["hits"], row["calls"], "{row}"));
}
