//! Jumps instead of traps: programs run as without them, and every hit is counted.

use std::time::Duration;

use xol_tests::commands::{self, words};
use xol_tests::elf::Object;
use xol_tests::killing::{Death, Victim, dies, syscalls};
use xol_tests::programs::{Build, program};
use xol_tests::run::{Run, as_often, run, slowness};
use xol_tests::target::Target;
use xol_tests::xol::{Counted, Line, command, count};

const JUMP: [&str; 2] = ["--strategy", "jump"];

fn counted(strategy: &str, probes: &[&str], command: &Run) -> Counted {
    let probes: Vec<String> = probes.iter().map(|&p| p.to_owned()).collect();
    let command = command.clone().limit(Duration::from_secs(120));
    count(&["-f", "--strategy", strategy], &probes, &command)
}

/// Runs `command` alone and with jumps, and compares.
fn same(probes: &[&str], command: &Run) -> Counted {
    let alone = command.finish();
    let probed = counted("jump", probes, command);
    alone.assert_same(&probed.finished);
    assert_eq!(probed.lines.iter().map(|l| l.missed).sum::<u64>(), 0, "missed hits");
    probed
}

/// As above with every function of libc: nearly all of them must have got a jump.
fn libc_everywhere(command: &Run) -> Counted {
    let probed = same(&["libc:*"], command);
    let libc: Vec<_> = probed.lines.iter().filter(|l| l.object.contains("libc.so")).collect();
    let jumps = libc.iter().filter(|l| l.strategy == "jump").count();
    let hits: u64 = libc.iter().filter(|l| l.strategy == "jump").map(|l| l.hits).sum();
    println!("{command}: {jumps} of {} are jumps, {hits} hits", libc.len());
    assert!(libc.len() > 2000 && jumps * 100 >= libc.len() * 97, "{jumps} of {}", libc.len());
    assert!(hits > 0, "{}", probed.text);
    probed
}

#[test]
fn tools() {
    libc_everywhere(&commands::ls());
    libc_everywhere(&commands::sort());
    libc_everywhere(&commands::gzip());
    libc_everywhere(&commands::sqlite());
}

#[test]
fn interpreters() {
    libc_everywhere(&commands::perl());
    libc_everywhere(&commands::python());
}

#[test]
fn processes() {
    libc_everywhere(&commands::shell());
    libc_everywhere(&commands::tar());
    for name in ["threads", "forks", "throws"] {
        libc_everywhere(&run(program(name, Build::Pie)));
    }
}

/// Children are cleaned before they run, or share their parent's memory until they exec.
#[test]
fn children_that_are_not_followed() {
    let forks = run(program("forks", Build::Pie));
    for command in [forks, commands::shell(), commands::python()] {
        let alone = command.finish();
        let probed = count(&JUMP, &["*:*".to_owned()], &command.limit(Duration::from_secs(120)));
        alone.assert_same(&probed.finished);
        let hits = |l: &&xol_tests::xol::Line| l.strategy == "jump" && l.hits > 0;
        assert!(probed.lines.iter().filter(hits).count() > 50, "{}", probed.finished);
    }
}

/// Programs that print what they found out about themselves.
#[test]
fn programs_that_look() {
    for name in ["masks", "traps", "jumps", "faults", "stops", "execs"] {
        let own = format!("{name}-pie:*");
        let probed = same(&[&own, "libc:*"], &run(program(name, Build::Pie)));
        let jumps = probed.lines.iter().filter(|l| l.strategy == "jump" && l.hits > 0).count();
        assert!(jumps > 10, "{name}: {jumps} jumps were hit");
    }
    // Faults in what is displaced, behind its first instruction too.
    let faults = same(&["faults-pie:*+*"], &run(program("faults", Build::Pie)));
    let behind = faults.lines.iter().filter(|l| l.symbol == "behind");
    let behind: Vec<_> = behind.map(|l| (l.hits, l.strategy.as_str())).collect();
    // A retry is no new hit.
    assert_eq!(behind, [(3, "jump"); 3], "{}", faults.text);
    for how in ["kill", "errno", "after"] {
        same(&["filters-pie:*", "libc:*"], &run(program("filters", Build::Pie)).arg(how));
    }
}

/// A jump that a fault has made a trap is reported as one, and why, as is a site that never was one.
#[test]
fn reports_say_what_a_site_has_become() {
    let probed = same(&["faults-pie:*"], &run(program("faults", Build::Pie)));
    let said = |symbol: &str| {
        let line = probed.lines.iter().find(|l| l.symbol == symbol);
        let line = line.unwrap_or_else(|| panic!("no {symbol}: {}", probed.text));
        (line.strategy.as_str(), line.why_not_jump.as_deref())
    };
    for faulty in ["divides", "divides_memory", "loads"] {
        assert_eq!(said(faulty), ("boost", Some("interrupted")), "{faulty}");
    }
    assert_eq!(said("calls"), ("simulate", Some("indirect-call")));
    assert_eq!(said("main"), ("jump", None));
}

#[test]
fn objects_that_come_and_go() {
    let plugin = program("plugin", Build::Shared);
    let command = run(program("loads", Build::Pie)).arg(&plugin);
    same(&["plugin-shared:*", "libc:*"], &command);
    let probed = same(&["plugin-shared:plugin_work"], &command);
    assert_eq!(probed.lines.iter().map(|l| l.hits).sum::<u64>(), 40, "{}", probed.text);
}

#[test]
fn every_kind_of_entry() {
    let (name, begins) = match std::env::consts::ARCH {
        "x86_64" => ("entries", "e_"),
        _ => ("arm64", ""),
    };
    let path = program(name, Build::Pie);
    let functions = Object::open(&path).functions();
    let names = functions.iter().map(|f| &f.name).filter(|n| n.starts_with(begins));
    let probes: Vec<String> = names.map(|n| format!("{name}-pie:{n}+*")).collect();
    let probes: Vec<&str> = probes.iter().map(String::as_str).collect();
    let probed = same(&probes, &run(path));
    let armed: Vec<_> = probed.lines.iter().filter(|l| l.reason.is_none()).collect();
    let jumps = armed.iter().filter(|l| l.strategy == "jump").count();
    println!("{jumps} of {} instructions are jumps", armed.len());
    assert!(jumps * 4 > armed.len(), "{jumps} of {}", armed.len());
}

#[test]
fn every_link() {
    for build in [Build::Pie, Build::NoPie, Build::Static, Build::StaticPie, Build::Musl] {
        let path = program("calls", build);
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        for probe in [format!("{name}:*"), format!("{name}:*+*")] {
            if probe.ends_with("+*") && build != Build::Pie && build != Build::NoPie {
                continue;
            }
            let command = run(&path).args(["12", "5"]);
            let probed = same(&[&probe], &command);
            let boosted = counted("boost", &[&probe], &command);
            let hits = |run: &Counted| -> Vec<(u64, u64)> {
                run.lines.iter().map(|l| (l.addr, l.hits)).collect()
            };
            assert_eq!(hits(&probed), hits(&boosted), "{probe}");
            let jumps = probed.lines.iter().filter(|l| l.strategy == "jump").count();
            println!("{probe}: {jumps} of {} are jumps", probed.lines.len());
            assert!(jumps > 0, "{}", probed.text);
        }
    }
}

#[test]
fn counts_are_those_of_traps() {
    let sort = run("sort").arg("-n").stdin(words());
    for command in [run("ls").arg("/usr/bin"), sort] {
        let [jumps, traps] = ["jump", "boost"].map(|s| counted(s, &["libc:*"], &command));
        let hits = |run: &Counted| -> Vec<(String, u64, u64)> {
            run.lines.iter().map(|l| (l.symbol.clone(), l.addr, l.hits)).collect()
        };
        assert_eq!(hits(&jumps), hits(&traps), "{command}");
    }
}

/// Eight threads, a timer that interrupts them, and faults that are handled at the first
/// instruction of a window.
#[test]
fn every_hit_is_counted_whatever_interrupts_it() {
    for every in ["", "+*"] {
        let (run, entries) = ticks(&JUMP, every, as_often("50000", "200"));
        for (entry, calls) in entries {
            assert_eq!((entry.hits, &*entry.strategy), (calls, "jump"), "{entry:?}: {}", run.text);
        }
    }
}

/// A counted run of `ticks`, probed at the entries of its functions or `every`where in them: the
/// lines of the entries, and how often the program says that it came there.
fn ticks(options: &[&str], every: &str, times: &str) -> (Counted, Vec<(Line, u64)>) {
    let functions = ["deep", "flat", "store", "on_tick"];
    let probes = functions.map(|f| format!("ticks-pie:{f}{every}"));
    let ticks = run(program("ticks", Build::Pie)).arg(times);
    let run = count(options, &probes, &ticks.limit(Duration::from_secs(120)));
    let out = run.finished.out();
    let number = |name: &str| -> u64 {
        let rest = out.split(name).nth(1).unwrap_or_else(|| panic!("{}", run.finished));
        rest.split([',', '\n']).next().and_then(|n| n.parse().ok()).expect("a number")
    };
    assert_eq!(number("wrong: "), 0, "{}", run.finished);
    let entries = functions.map(|function| {
        let entry = run.lines.iter().filter(|l| l.symbol == function).min_by_key(|l| l.addr);
        let entry = entry.unwrap_or_else(|| panic!("no {function}: {}", run.text));
        (entry.clone(), number(if function == "on_tick" { "ticks: " } else { "calls: " }))
    });
    (run, entries.into())
}

/// A count is locked as soon as another can come to it: the thread of another process, in the same
/// memory.
#[test]
fn two_processes_count_in_one_place() {
    let calls = as_often(3_000_000, 100_000);
    let command = run(program("pace", Build::Pie)).args([&calls.to_string(), "and a child"]);
    for (words, most) in [(&["-f"][..], 2), (&[][..], 1)] {
        let words: Vec<&str> = JUMP.iter().chain(words).copied().collect();
        let run = count(&words, &["plain", "framed"].map(|f| format!("pace-pie:{f}")), &command);
        for line in &run.lines {
            assert_eq!((line.hits, &*line.strategy), (most * calls, "jump"), "{}", run.text);
        }
        assert_eq!(run.lines.len(), 2, "{}", run.text);
        assert_eq!(run.finished.code(), 0, "{}", run.finished);
    }
}

/// With `auto` a site is a trap until it is hit often, and not one hit is lost or doubled when it
/// becomes a jump, whatever interrupts it.
#[test]
fn what_is_hit_often_becomes_a_jump() {
    for every in ["", "+*"] {
        let (run, entries) = ticks(&[], every, "50000");
        for (entry, calls) in entries {
            assert_eq!(entry.hits, calls, "{entry:?}: {}", run.text);
        }
        let jumps = run.lines.iter().filter(|l| l.strategy == "jump").count();
        println!("{jumps} of {} are jumps", run.lines.len());
        assert!(jumps * 2 > run.lines.len(), "{}", run.text);
        for line in run.lines.iter().filter(|l| l.reason.is_none()) {
            assert_eq!(line.strategy == "jump", line.why_not_jump.is_none(), "{}", run.text);
        }
    }
}

/// What is not hit often stays as it is, and the report says so.
#[test]
fn what_is_hit_seldom_stays_a_trap() {
    let command = run(program("calls", Build::Pie)).args(["12", "5"]);
    let probed = counted("auto", &["calls-pie:*", "libc:*"], &command);
    command.finish().assert_same(&probed.finished);
    for line in probed.lines.iter().filter(|l| l.hits < 32 && !l.strategy.is_empty()) {
        let said = (&*line.strategy, line.why_not_jump.as_deref());
        assert!(line.strategy != "jump" && said.1 == Some("few-hits"), "{line:?}");
    }
    let limited = count(&["--hits-per-site", "40"], &["calls-pie:leaf".into()], &{
        run(program("calls", Build::Pie)).args(["1000", "5"])
    });
    let leaf = &limited.lines[0];
    assert_eq!((leaf.hits, leaf.why_not_jump.as_deref()), (40, Some("limited-hits")));
    let traced = count(&["--strategy", "boost"], &["calls-pie:leaf".into()], &command);
    assert_eq!(traced.lines[0].why_not_jump.as_deref(), Some("not-asked-for"));
}

/// Counts of whole programs are those of traps, with enough of them jumps.
#[test]
fn hot_programs_are_as_without_probes() {
    let script = "import re, threading\nout = []\n\
        def work(n):\n    out.append(sum(len(re.sub('a', 'b', 'banana' * k)) for k in range(n)))\n\
        ts = [threading.Thread(target=work, args=(300,)) for n in range(4)]\n\
        [t.start() for t in ts]; [t.join() for t in ts]\nprint(out)";
    let python = run("/usr/bin/python3").args(["-I", "-S", "-c", script]);
    let mut all = 0;
    // So many lines that it goes on long after a batch of jumps, which a busy machine may put off.
    let sort = run("sort").args(["-k2", "-n"]).stdin(words().repeat(10));
    let gzip = run("gzip").args(["-9", "-c"]).stdin(words());
    for (command, deterministic) in [(python, false), (sort, true), (gzip, true)] {
        let alone = command.finish();
        let auto = counted("auto", &["libc:*"], &command);
        alone.assert_same(&auto.finished);
        let jumps = auto.lines.iter().filter(|l| l.strategy == "jump").count();
        let hot: Vec<_> = auto.lines.iter().filter(|l| l.hits > 2000).collect();
        let upgraded = hot.iter().filter(|l| l.strategy == "jump").count();
        println!("{command}: {jumps} jumps, {upgraded} of {} hot ones", hot.len());
        assert!(upgraded * 10 >= hot.len() * 9 && jumps > 0, "{}", auto.text);
        all += upgraded;
        if deterministic {
            let boost = counted("boost", &["libc:*"], &command);
            let hits = |run: &Counted| -> Vec<(String, u64, u64)> {
                run.lines.iter().map(|l| (l.symbol.clone(), l.addr, l.hits)).collect()
            };
            assert_eq!(hits(&auto), hits(&boost), "{command}");
        }
    }
    assert!(all > 5, "{all} hot jumps");
}

/// Both ends of calls that are made often become jumps, some of which begin before the RET: returns are
/// those that traps see.
#[test]
fn returns_of_hot_programs_are_those_of_traps() {
    let sort = run("sort").args(["-k2", "-n"]).stdin(words());
    let calls = run(program("calls", Build::Pie)).args(["3000", "5"]);
    for (command, probes) in [(sort, "return:libc:*"), (calls, "return:calls-pie:*")] {
        let alone = command.finish();
        let [auto, jump, boost] = ["auto", "jump", "boost"].map(|strategy| {
            let run = counted(strategy, &[probes], &command);
            alone.assert_same(&run.finished);
            run
        });
        let hits = |run: &Counted| -> Vec<(String, u64, u64)> {
            run.lines.iter().map(|l| (l.symbol.clone(), l.addr, l.hits)).collect()
        };
        assert_eq!(hits(&auto), hits(&boost), "{command}");
        assert_eq!(hits(&jump), hits(&boost), "{command}");
        let jumps = |run: &Counted| run.lines.iter().filter(|l| l.strategy == "jump").count();
        println!("{command}: {} of {} are jumps", jumps(&jump), jump.lines.len());
        assert!(jumps(&auto) > 0 && jumps(&jump) * 3 > jump.lines.len(), "{}", jump.text);
    }
}

/// A filter that is there when a site gets hot is passed by for our calls, and for no others.
#[test]
fn filters_hold_while_traps_become_jumps() {
    let command = run(program("filters", Build::Pie)).args(["errno", "20000"]);
    let alone = command.finish();
    assert!(alone.out().ends_with("getpid -1\n"), "{alone}");
    for strategy in ["auto", "jump"] {
        let probed = counted(strategy, &["filters-pie:work"], &command);
        alone.assert_same(&probed.finished);
        let work = &probed.lines[0];
        assert_eq!((work.hits, &*work.strategy), (20_000, "jump"), "{}", probed.text);
    }
}

/// The first thread of a process has ended, and answers no stop any more.
#[test]
fn a_program_without_its_first_thread_gets_jumps() {
    let probes = ["orphans-pie:work".to_owned()];
    let begun = std::time::Instant::now();
    let command = run(program("orphans", Build::Pie)).limit(Duration::from_secs(60));
    for strategy in ["auto", "jump"] {
        let run = count(&["--strategy", strategy], &probes, &command);
        assert_eq!(run.finished.out(), "600000\n", "{}", run.finished);
        let line = &run.lines[0];
        assert_eq!((line.hits, &*line.strategy), (600_000, "jump"), "{}", run.text);
    }
    println!("{:?}", begun.elapsed());
}

/// Threads run through the sites while they become jumps and traps and nothing again.
#[test]
fn probes_that_come_and_go() {
    let target = Target::start("loops");
    let pid = target.pid().to_string();
    let name = target.name();
    let mut hits = 0;
    for n in 0..as_often(60, 10) {
        let every = if n % 2 == 0 { "" } else { "+*" };
        let visit = command(["count", "--format", "json", "-o", "-", "--duration", "0.01"])
            .args(JUMP)
            .args(["-p", &pid])
            .arg(format!("{name}:probed_*{every}"))
            .args(["libc:*"])
            .limit(Duration::from_secs(20))
            .finish();
        assert_eq!(visit.code(), 0, "visit {n}:\n{visit}");
        let lines = xol_tests::xol::parse(&visit.out());
        hits += lines.iter().filter(|l| l.strategy == "jump").map(|l| l.hits).sum::<u64>();
    }
    println!("{hits} hits");
    let finished = target.end();
    let out = finished.out();
    assert!(finished.code() == 5 && out == "ready\nran: 1, ticked: 1, wrong: 0\n", "{finished}");
    assert!(hits > 0, "{hits} hits");
}

/// What xol does before it is killed: attaches, writes jumps over instructions of every kind, at once
/// or while it counts, detaches.
fn visit(target: &Target, strategy: &str) -> Vec<String> {
    let words = ["count", "--strategy", strategy, "--duration", "0.02", "-o", "/dev/null", "-p"];
    let mut words: Vec<String> = words.map(str::to_owned).into();
    words.push(target.pid().to_string());
    words.push(format!("{}:probed_*", target.name()));
    words.push(format!("{}:returns_*+*", target.name()));
    words
}

fn survives(strategy: &str, death: Death) {
    let target = Target::start("loops");
    let end = dies(&visit(&target, strategy), death, Victim::Both);
    std::thread::sleep(Duration::from_millis(3));
    let finished = target.end();
    let out = finished.out();
    assert!(
        finished.code() == 5 && out == "ready\nran: 1, ticked: 1, wrong: 0\n",
        "{strategy}, {death:?}, xol ended with {end:?}:\n{finished}"
    );
}

#[test]
fn the_target_outlives_its_tracer() {
    for strategy in ["jump", "auto"] {
        let target = Target::start("loops");
        let calls = syscalls(&visit(&target, strategy));
        assert_eq!(target.end().code(), 5);
        let step = (calls / as_often(60, 6)).max(1);
        println!("{strategy}: {calls} calls, every {step}.");
        assert!(calls > 100, "xol made only {calls} calls");
        for n in (1..=calls).step_by(step as usize) {
            survives(strategy, Death::AtCall(n));
        }
        for n in 0..as_often(20, 3) {
            survives(strategy, Death::After(Duration::from_micros(2_000 * n + 137) * slowness()));
        }
    }
}
