//! One process: who owns it, what it runs, who else is at it.

use super::Finding;
use super::procfs::Status;
use super::sandbox;
use crate::cli::failure::Failure;
use std::fs;
use std::path::Path;
use xol::symbols::{ElfError, Machine, Object};
use xol_targets::ptrace::{Pid, find_leftovers};

/// SIGTRAP's bit in the sets of /proc/PID/status.
const SIGTRAP: u32 = 4;
/// CAP_SYS_PTRACE (capabilities(7)).
const CAP_SYS_PTRACE: u32 = 19;

/// Looks at the process `pid`.
///
/// # Errors
/// There is none.
pub(super) fn look(pid: i32) -> Result<Vec<Finding>, Failure> {
    let folder = format!("/proc/{pid}");
    let gone = || Failure::new(format!("there is no process {pid}; `ps -e` lists those there are"));
    let status = Status::read(&folder).ok_or_else(gone)?;
    let me = Status::read("/proc/self").unwrap_or_default();
    let mut findings = vec![state(pid, &status)];
    if status.get("State").is_some_and(|s| s.starts_with('Z')) {
        return Ok(findings);
    }
    let own_pid = u64::from(std::process::id());
    if status.number("Tgid") == Some(own_pid) {
        findings.push(Finding::no("self", "xol cannot probe itself"));
    }
    findings.push(owner(&status, &me));
    findings.push(tracer(&status));
    findings.extend(program(pid, &folder));
    findings.extend(mappings(&folder));
    findings.extend(sandbox::filters_of(pid, &status, &me));
    findings.extend(sandbox::room_of(pid));
    let left = left(pid, &status);
    findings.extend(signals(&folder, left.is_some()));
    findings.extend(left);
    findings.extend(shadow_stack(&status));
    Ok(findings)
}

fn state(pid: i32, status: &Status) -> Finding {
    let name = status.get("Name").unwrap_or("?");
    let threads = status.number("Threads").unwrap_or(1);
    let detail = format!("{pid} ({name}), {threads} thread{}", if threads == 1 { "" } else { "s" });
    match status.get("State").unwrap_or("?").chars().next() {
        Some('Z' | 'X') => Finding::no("process", format!("{detail}: it has exited (a zombie)"))
            .advice("nothing is left to probe"),
        Some('D') => Finding::note("process", format!("{detail}: it waits in the kernel (D)"))
            .advice("xol attaches when that wait ends"),
        Some('T') => Finding::note("process", format!("{detail}: it is stopped"))
            .advice(format!("kill -CONT {pid}; it can be probed as it is, too")),
        _ => Finding::ok("process", detail),
    }
}

/// All three user ids must be ours, or we must be capable (ptrace(2), access mode checking).
fn owner(status: &Status, me: &Status) -> Finding {
    let ids = |s: &Status| -> Vec<u32> {
        let words = s.get("Uid").unwrap_or("").split_whitespace();
        words.filter_map(|id| id.parse().ok()).take(3).collect()
    };
    let (theirs, ours) = (ids(status), ids(me));
    let uid = theirs.first().copied().unwrap_or(0);
    if me.has_bit("CapEff", CAP_SYS_PTRACE) || theirs.iter().all(|id| Some(id) == ours.get(1)) {
        return Finding::ok("owner", format!("user {uid}"));
    }
    Finding::no("owner", format!("user {uid}, not this one")).advice("run xol as root")
}

fn tracer(status: &Status) -> Finding {
    match status.number("TracerPid").unwrap_or(0) {
        0 => Finding::ok("tracer", "none"),
        pid => {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            Finding::no("tracer", format!("process {pid} ({}) traces it already", name.trim()))
                .advice("detach that tracer first")
        }
    }
}

fn program(pid: i32, folder: &str) -> Vec<Finding> {
    let exe = format!("{folder}/exe");
    let path = match fs::read_link(&exe) {
        Ok(path) => path,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return vec![Finding::no("program", "none: a kernel thread").advice("a user program")];
        }
        Err(error) => {
            return vec![
                Finding::no("program", format!("{exe} cannot be read: {error}"))
                    .advice("run xol as root"),
            ];
        }
    };
    let shown = path.display().to_string();
    if let Some(emulator) = emulator(&path) {
        return vec![
            Finding::no("program", format!("{shown}: {emulator}, whose code is not the program's"))
                .advice("run the program natively, or xol inside a VM"),
        ];
    }
    let native = Machine::from_name(std::env::consts::ARCH);
    match Object::open(&exe) {
        Ok(object) if Some(object.machine()) != native => vec![
            Finding::no(
                "program",
                format!(
                    "{shown} is for {}: the kernel runs it in an emulator",
                    object.machine().name()
                ),
            )
            .advice(format!("an xol for {} in a VM", object.machine().name())),
        ],
        Ok(object) => vec![described(&shown, &object)],
        Err(ElfError::Io(error)) => {
            vec![Finding::no("program", format!("{shown} cannot be read: {error}"))]
        }
        Err(error) => vec![
            Finding::no("program", format!("process {pid} runs {shown}, which {error}"))
                .advice("gdb for 32-bit programs"),
        ],
    }
}

fn described(shown: &str, object: &Object) -> Finding {
    let mut about = vec![object.machine().name()];
    if object.is_static() {
        about.push("static");
    }
    about.push(if object.is_fixed() { "at a fixed address" } else { "position-independent" });
    if object.guarded() {
        about.push("guarded (BTI)");
    }
    let stripped = object.is_stripped();
    if stripped {
        about.push("stripped");
    }
    let detail = format!("{shown}: {}", about.join(", "));
    if stripped && object.symbols().is_ok_and(xol::symbols::Symbols::is_empty) {
        return Finding::note("program", detail)
            .advice("probe it by address; functions of its libraries have names");
    }
    Finding::ok("program", detail)
}

/// Programs whose text is not the text of the program they run.
fn emulator(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?;
    let known = [
        ("qemu-img", None),
        ("qemu-io", None),
        ("qemu-nbd", None),
        ("qemu-ga", None),
        ("qemu-system-", None),
        ("qemu-", Some("qemu-user")),
        ("valgrind", Some("valgrind")),
        ("memcheck-", Some("valgrind")),
        ("box64", Some("box64")),
        ("box86", Some("box86")),
        ("FEX", Some("FEX")),
    ];
    if name == "rr" {
        return Some("rr");
    }
    let tool = path.components().any(|c| c.as_os_str() == "valgrind").then_some("valgrind");
    known.iter().find(|(start, _)| name.starts_with(start)).map_or(tool, |(_, what)| *what)
}

/// Text that many processes share cannot be changed for one.
fn mappings(folder: &str) -> Option<Finding> {
    let maps = fs::read_to_string(format!("{folder}/maps")).ok()?;
    let shared = maps.lines().find(|line| {
        let flags = line.split_whitespace().nth(1).unwrap_or("");
        flags.contains('x') && flags.ends_with('s')
    })?;
    let path = shared.split_whitespace().nth(5).unwrap_or("anonymous memory");
    Some(Finding::note("text", format!("{path} is mapped shared and cannot be probed")))
}

/// A thread that blocks, ignores or handles SIGTRAP loses its probes' safety net.
fn signals(folder: &str, is_left: bool) -> Option<Finding> {
    let threads = fs::read_dir(format!("{folder}/task")).ok()?;
    let mut how = Vec::new();
    for thread in threads.flatten() {
        let Some(status) = Status::read(&thread.path().to_string_lossy()) else { continue };
        for (set, what) in [("SigBlk", "blocks"), ("SigIgn", "ignores"), ("SigCgt", "handles")] {
            // The handler of an xol that was killed is not the program's.
            let own = !is_left || set != "SigCgt";
            if own && status.has_bit(set, SIGTRAP) && !how.contains(&what) {
                how.push(what);
            }
        }
    }
    (!how.is_empty()).then(|| {
        Finding::note("SIGTRAP", format!("it {} SIGTRAP itself", how.join(" and "))).advice(
            "nothing: it keeps what it set; but if xol is killed then, probes left in it are fatal",
        )
    })
}

/// What an xol that was killed has left.
fn left(pid: i32, status: &Status) -> Option<Finding> {
    if status.number("TracerPid").unwrap_or(0) != 0 {
        return None;
    }
    let left = find_leftovers(Pid(pid)).ok().filter(|left| !left.is_empty())?;
    let sites: usize = left.iter().map(|left| left.sites.len()).sum();
    let places = if sites == 1 { "1 place".into() } else { format!("{sites} places") };
    Some(
        Finding::note("left", format!("an xol that was killed has left its probes in {places}"))
            .advice("nothing: they do no harm, and the next xol takes them away first"),
    )
}

fn shadow_stack(status: &Status) -> Option<Finding> {
    let on = status.get("x86_Thread_features")?.contains("shstk");
    on.then(|| Finding::note("shadow stack", "it is on: xol keeps it right for calls it simulates"))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn emulators_are_known_by_their_executable() {
        for (path, what) in [
            ("/usr/bin/qemu-aarch64-static", Some("qemu-user")),
            ("/usr/bin/qemu-x86_64", Some("qemu-user")),
            ("/usr/bin/qemu-system-aarch64", None),
            ("/usr/bin/qemu-img", None),
            ("/usr/libexec/valgrind/memcheck-amd64-linux", Some("valgrind")),
            ("/usr/libexec/valgrind/none-amd64-linux", Some("valgrind")),
            ("/usr/bin/rr", Some("rr")),
            ("/usr/bin/rrdtool", None),
            ("/usr/bin/box64", Some("box64")),
            ("/usr/bin/FEXInterpreter", Some("FEX")),
            ("/usr/bin/ls", None),
        ] {
            assert_eq!(emulator(Path::new(path)), what, "{path}");
        }
    }

    #[test]
    fn a_process_is_described() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let findings = look(child.id() as i32).unwrap();
        let find = |check: &str| findings.iter().find(|f| f.check == check).cloned().unwrap();
        // Between fork and exec it is still us.
        assert!(find("process").detail.starts_with(&child.id().to_string()), "{findings:?}");
        assert_eq!(find("tracer").verdict, Verdict::Ok);
        assert_eq!(find("owner").verdict, Verdict::Ok);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(look(child.id() as i32).is_err());
    }

    #[test]
    fn states_and_tracers_are_told() {
        let status = |text: &str| Status::from_text(text);
        assert_eq!(state(1, &status("State:\tZ (zombie)")).verdict, Verdict::No);
        assert_eq!(state(1, &status("State:\tT (stopped)")).verdict, Verdict::Note);
        assert_eq!(state(1, &status("State:\tS (sleeping)")).verdict, Verdict::Ok);
        let us = std::process::id();
        let traced = tracer(&status(&format!("TracerPid:\t{us}")));
        assert!(traced.detail.contains(&us.to_string()) && traced.verdict == Verdict::No);
        let user = |uid: u32| status(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\nCapEff:\t0\n"));
        assert_eq!(owner(&user(1), &user(1)).verdict, Verdict::Ok);
        assert_eq!(owner(&user(0), &user(1)).verdict, Verdict::No);
        assert!(shadow_stack(&status("x86_Thread_features:\tshstk wrss")).is_some());
        assert!(shadow_stack(&status("x86_Thread_features:\t")).is_none());
    }
}
