//! `bench-peers`: the same run of `programs/asks.c` summed up by strace, perf, uftrace, bpftrace and xol:
//! the calls and errors that each tells, and what a call then costs, as rows of a table. Never a test. Who is
//! not installed is left out. strace, perf and bpftrace also count what the loader asks for.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use xol_tests::bench::median;
use xol_tests::programs::{Build, program};
use xol_tests::run::run;
use xol_tests::xol::{scratch, xol};

/// Rounds of a run: each opens, reads, closes, and opens what is not there.
const ROUNDS: u64 = 20_000;
const CALLS: u64 = 4 * ROUNDS;
/// Runs with each, one after the other, so that all meet the same noise.
const RUNS: usize = 5;

/// Somebody who sums up calls.
struct Peer {
    name: &'static str,
    /// What stands before the command.
    before: Vec<OsString>,
    /// What then tells the report, where that is a command of its own.
    then: &'static [&'static str],
    /// Calls and errors, from the report's text.
    read: fn(&str) -> (u64, Option<u64>),
    costs: Vec<f64>,
    told: (u64, Option<u64>),
}

fn main() {
    let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
    let report = scratch("peers");
    let libc = libc_path();
    let probe = |kind: &str, name: &str| format!("{kind}:{libc}:{name}");
    let all = |kind: &str| ["open64", "read", "close"].map(|name| probe(kind, name)).join(",");
    let script = format!(
        "{} {{ @calls = count(); }} {} /(int32)retval < 0/ {{ @errors = count(); }}",
        all("uprobe"),
        all("uretprobe")
    );
    let file = report.display();
    let xol = |rest: &str| {
        let mut before = vec![xol().as_os_str().to_owned()];
        before.extend(words(rest));
        before
    };
    let peer = |name, before, then, read| Peer {
        name,
        before,
        then,
        read,
        costs: Vec::new(),
        told: (0, None),
    };
    let mut bpftrace = words("bpftrace -q -e");
    bpftrace.extend([script.into(), "-c".into()]);
    let mut peers = vec![
        peer("nobody", Vec::new(), &[], |_| (0, None)),
        peer(
            "xol count --summary",
            xol(&format!("count --summary -o {file} libc:open libc:read libc:close --")),
            &[],
            |text| table(text, &["libc"], 5, Some(6)),
        ),
        peer(
            "uftrace record --force, report",
            words(&format!("uftrace record --force -d {file}")),
            &["uftrace", "report", "-d"],
            |text| table(text, &["open", "read", "close"], 4, None),
        ),
        peer("bpftrace, uprobe and uretprobe", bpftrace, &[], |text| {
            let of = |name: &str| {
                let line = text.lines().find(|line| line.starts_with(name));
                line.and_then(|line| line.split(": ").nth(1)?.trim().parse().ok())
            };
            (of("@calls").unwrap_or(0), of("@errors"))
        }),
        peer("perf trace -s", words(&format!("perf trace -s -o {file}")), &[], |text| {
            table(text, &["openat", "read", "close"], 1, Some(2))
        }),
        peer("strace -c", words(&format!("strace -c -o {file}")), &[], |text| {
            table(text, &["openat", "read", "close"], 3, Some(4))
        }),
    ];
    peers.retain(|peer| match peer.before.first() {
        Some(tool) if which(tool).is_none() => {
            eprintln!("{}: there is no {}", peer.name, tool.display());
            false
        }
        _ => true,
    });
    for _ in 0..RUNS {
        for peer in &mut peers {
            if let Err(why) = once(peer, &report) {
                eprintln!("{}: {why}", peer.name);
            }
        }
    }
    println!("| by | calls of {CALLS} | errors of {ROUNDS} | a call, ns | times nobody |");
    println!("|---|---|---|---|---|");
    let alone = median(&peers[0].costs);
    for peer in peers.iter().filter(|peer| !peer.costs.is_empty()) {
        let cost = median(&peer.costs);
        let errors = peer.told.1.map_or("not told".to_owned(), |errors| errors.to_string());
        let (name, calls) = (peer.name, peer.told.0);
        println!("| {name} | {calls} | {errors} | {cost:.0} | {:.1} |", cost / alone);
    }
}

/// One run with a peer.
fn once(peer: &mut Peer, report: &Path) -> Result<(), String> {
    let asks = program("asks", Build::Pie);
    let command = match peer.name.starts_with("bpftrace") {
        // It takes the command as one word.
        true => run("bpftrace").args(&peer.before[1..]).arg(format!("{} {ROUNDS}", asks.display())),
        false => run(asks).arg(ROUNDS.to_string()).under(peer.before.clone()),
    };
    let finished = command.limit(Duration::from_secs(120)).finish();
    if finished.code() != 0 {
        return Err(format!("{finished}"));
    }
    let number = |line: &str| line.trim().parse::<f64>().ok();
    let round = finished.out().lines().find_map(number).ok_or("the program said nothing")?;
    peer.costs.push(round * ROUNDS as f64 / CALLS as f64);
    let mut text = std::fs::read_to_string(report).unwrap_or_default() + &finished.out();
    if let [tool, words @ ..] = peer.then {
        text = run(*tool).args(words).arg(report).finish().out();
    }
    peer.told = (peer.read)(&text);
    _ = std::fs::remove_file(report).or_else(|_| std::fs::remove_dir_all(report));
    Ok(())
}

/// The sums of two columns over the rows of a table whose last word, or first, is one of `names`, or
/// begins with it and a dot.
fn table(text: &str, names: &[&str], calls: usize, errors: Option<usize>) -> (u64, Option<u64>) {
    let mut sums = (0, errors.map(|_| 0));
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is = |word: &&str| {
            names.iter().any(|name| word == name || word.starts_with(&format!("{name}.")))
        };
        if !words.last().is_some_and(is) && !words.first().is_some_and(is) {
            continue;
        }
        let number = |n: usize| words.get(n).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        sums.0 += number(calls);
        if let (Some(sum), Some(n)) = (&mut sums.1, errors) {
            *sum += number(n);
        }
    }
    sums
}

/// Where a command is found.
fn which(tool: &OsStr) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(tool)).find(|file| file.exists())
}

/// The C library that programs here are linked with.
fn libc_path() -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    paths.find(|path| path.contains("libc.so")).unwrap_or("libc").to_owned()
}
