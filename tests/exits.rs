//! Returns where there is no yardstick: in programs that the kernel's uretprobes break, and on
//! every architecture; and what calls have filled and were asked for.

use xol_tests::elf::Object;
use xol_tests::programs::{Build, program};
use xol_tests::run::run;
use xol_tests::{returns, xol};

/// Returns by traps, and by jumps where all of a function's ends can have one.
const STRATEGIES: [&str; 2] = ["auto", "jump"];

/// What the kernel's uretprobes count on x86-64 (`counts` compares with them), on every
/// architecture.
#[test]
fn returns_are_those_of_the_source() {
    let expected = [
        ("r_shared_one", 40),
        ("r_shared_two", 40),
        ("r_falls", 40),
        ("r_middle", 80),
        ("r_ret_twice", 40),
        ("r_nothing", 40),
        ("r_thunk", 40),
        ("r_thunk_pointer", 40),
        ("r_maybe_tail", 40),
        ("r_again", 120),
        ("r_pops", 40),
        ("r_leaf", 253),
        ("r_tail", 80),
        ("r_tail_twice", 50),
        ("r_frame", 54),
        ("r_tail_pointer", 40),
        ("r_cold", 40),
        ("r_early", 40),
        ("r_switch", 40),
        ("r_deep", 190),
        ("r_mutual", 78),
        ("r_mutual_other", 58),
        ("r_large", 40),
        ("r_variadic", 40),
        ("r_jumped", 53),
        ("r_jumped_over", 26),
        ("r_catches", 40),
        ("r_tail_jumped", 27),
        ("r_catches_tail", 40),
        ("r_odd", 138),
        ("r_even", 137),
        ("r_sorts", 40),
    ];
    let path = program("returns", Build::Pie);
    let names = expected.map(|(name, _)| name);
    let command = run(&path);
    let expected = expected.map(|(name, times)| (name.to_owned(), times));
    for strategy in STRATEGIES {
        let (hits, finished) = returns::count(&path, &names, &command, strategy);
        command.finish().assert_same(&finished);
        assert_eq!(hits, expected.clone().into(), "{strategy}");
    }
}

/// Frames that are left for another stack, and end in another thread than they began in. The
/// kernel's uretprobes kill such a program, so it counts itself.
/// Where a call comes back to is a site of the user's too, and a jump by then: it is told of both.
#[test]
fn returns_to_what_is_probed() {
    let path = program("returns", Build::Pie);
    let wanted =
        [("r_tail", 80), ("r_tail_twice", 50), ("r_tail_pointer", 40), ("r_thunk_pointer", 40)];
    let returns = wanted.map(|(name, _)| format!("return:returns-pie:{name}"));
    let probes: Vec<String> = ["returns-pie:*+*".to_owned()].into_iter().chain(returns).collect();
    let alone = run(&path).finish();
    for strategy in STRATEGIES {
        let counted = xol::count(&["--strategy", strategy], &probes, &run(&path));
        alone.assert_same(&counted.finished);
        for (name, times) in wanted {
            let of = |line: &&xol::Line| line.symbol == name && line.probe.starts_with("return:");
            let hits: Vec<u64> = counted.lines.iter().filter(of).map(|line| line.hits).collect();
            assert_eq!(hits, [times], "{strategy}: {name}");
        }
    }
}

#[test]
fn returns_of_coroutines() {
    let path = program("returns", Build::Pie);
    let names = ["r_abyss", "r_switched", "r_in_routine", "r_sorts", "r_catches_tail"];
    // So deep that it is looked for frames that cannot return; not where a stop takes long.
    let depth = if cfg!(target_arch = "x86_64") { "70000" } else { "500" };
    let command = run(&path).arg(depth);
    for strategy in STRATEGIES {
        let (hits, finished) = returns::count(&path, &names, &command, strategy);
        command.finish().assert_same(&finished);
        let said = returns::said(&finished);
        println!("{said:?}");
        assert_eq!(said.len(), names.len());
        assert_eq!(hits, said, "{strategy}");
    }
}

/// Exceptions leave functions that never return. The kernel's uretprobes end such a program: its
/// unwinder does not know their trampoline.
#[test]
fn returns_past_exceptions() {
    let path = program("throws", Build::Pie);
    let expected = [("t_throws", 30), ("t_tail", 20), ("t_over", 10), ("t_catches", 40)];
    let deep = ["deep", "rethrow", "text"];
    let names: Vec<&str> = expected.iter().map(|e| e.0).chain(deep).collect();
    let command = run(&path);
    for strategy in STRATEGIES {
        let (hits, finished) = returns::count(&path, &names, &command, strategy);
        command.finish().assert_same(&finished);
        for (name, times) in expected.into_iter().chain([("deep(int)", 0), ("rethrow(int)", 0)]) {
            let name = name.split('(').next().unwrap_or(name);
            let found = hits.iter().find(|(symbol, _)| symbol.contains(name));
            assert_eq!(found.map(|f| *f.1), Some(times), "{strategy}: {name}: {hits:?}");
        }
    }
}

/// Where not every exit can have a site, the return address stands in; where that cannot either,
/// the call is missed, and said to be.
#[test]
fn returns_with_too_few_sites() {
    let path = program("returns", Build::Pie);
    let expected =
        [("r_sorts", 40), ("r_tail", 80), ("r_switch", 40), ("r_leaf", 253), ("r_deep", 190)];
    let probes = expected.map(|(name, _)| format!("return:{}:{name}", path.display()));
    let mut seen = Vec::new();
    for most in ["8", "12", "16", "24", "32", "1000"] {
        let counted = xol::count(&["--max-sites", most], &probes, &run(&path));
        for (name, times) in expected {
            let line = counted.lines.iter().find(|l| l.symbol == name);
            let line = line.unwrap_or_else(|| panic!("no {name} in {}", counted.text));
            assert_eq!(line.hits + line.missed, times, "{most}: {}", counted.text);
        }
        seen.push(counted.lines.iter().map(|l| l.hits).sum::<u64>());
    }
    assert!(seen[0] < 603 && seen[5] == 603, "{seen:?}");
}

/// An event's address is the function's at its entry, and at its return where it goes back to.
#[test]
fn addresses_of_events() {
    let path = program("returns", Build::Pie);
    let object = Object::open(&path);
    let main = object.functions().into_iter().find(|f| f.name == "main").expect("a main");
    let sorts = object.functions().into_iter().find(|f| f.name == "r_sorts").expect("r_sorts");
    let report = xol::scratch("trace");
    let before = [xol::xol().as_os_str().to_owned(), "trace".into(), "--format".into()];
    let before = before.into_iter().chain(["json".into(), "-o".into(), report.clone().into()]);
    let probes = ["r_sorts".into(), "return:r_sorts".into(), "--".into()];
    let finished = run(&path).under(before.chain(probes)).finish();
    run(&path).finish().assert_same(&finished);
    let text = std::fs::read_to_string(&report).expect("a report");
    _ = std::fs::remove_file(&report);
    let events = text.lines().map(|line| -> serde_json::Value {
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))
    });
    let addrs: Vec<u64> = events.map(|event| event["addr"].as_u64().expect("an addr")).collect();
    assert_eq!(addrs.len(), 80, "{text}");
    for pair in addrs.chunks(2) {
        let back = sorts.addr.wrapping_add(pair[1].wrapping_sub(pair[0]));
        assert_eq!(pair[0] & 0xfff, sorts.addr & 0xfff, "{text}");
        assert!(main.addr < back && back < main.addr + main.size, "{back:#x}");
    }
}

/// The lines of `xol trace PROBES -- values WORDS`, and what the program says of its calls itself.
fn values(
    options: &[&str],
    probes: &[&str],
    words: &[&str],
) -> (Vec<serde_json::Value>, Vec<Vec<String>>) {
    let command = words.iter().fold(run(program("values", Build::Pie)), |run, word| run.arg(word));
    let (finished, text) = xol::reported("trace", options, probes, &command);
    assert_eq!(finished.code(), 0, "{finished}");
    let events = text.lines().map(|line| serde_json::from_str(line).expect("an object"));
    let said = finished.out();
    let said = said.lines().map(|line| line.split(' ').map(str::to_owned).collect());
    (events.collect(), said.collect())
}

/// A string as JSON has it, or bytes that are none: `{"bytes": …}`, cut where --string says.
fn bytes(value: &serde_json::Value) -> Vec<u8> {
    if let Some(text) = value.as_str().or_else(|| value["str"].as_str()) {
        return text.as_bytes().to_vec();
    }
    let hex = value["bytes"].as_str().unwrap_or_else(|| panic!("{value}"));
    unhex(hex)
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

/// What is read is what is there when the function returns, and as much as it says.
#[test]
fn what_calls_have_filled_is_told() {
    let probe = "fill(to: out bytes[ret], from: bytes[n], n: i32) -> i32";
    for strategy in STRATEGIES {
        let (events, said) = values(&["--strategy", strategy], &[probe], &["fill"]);
        assert_eq!((events.len(), said.len()), (4000, 4000), "{strategy}");
        for (event, said) in events.iter().zip(&said) {
            let (args, [ret, from, to]) = (&event["args"], &said[..]) else { panic!("{said:?}") };
            assert_eq!(event["ret"].to_string(), *ret, "{event} {said:?}");
            assert_eq!(args["from"].as_str(), Some(from.as_str()), "{event} {said:?}");
            match event["ret"].as_i64() {
                Some(-1) => assert!(args["to"].is_u64(), "{event}"),
                _ => assert_eq!(args["to"].as_str(), Some(to.as_str()), "{event} {said:?}"),
            }
        }
    }
}

/// libc's own calls: what was read, and what their flags are called.
#[test]
fn flags_have_the_names_of_the_source() {
    let file = xol::scratch("values");
    let path = file.to_string_lossy().into_owned();
    let names = ["open", "openat", "socket", "mmap", "raise", "access"];
    let probes: Vec<String> = names.iter().map(|name| format!("libc:{name}")).collect();
    let mut probes: Vec<&str> = probes.iter().map(String::as_str).collect();
    probes.push("return:libc:read");
    let (events, said) = values(&["--string", "100"], &probes, &["files", &path]);
    // What the loader and the C library have called before is not the program's.
    let first = events.iter().position(|event| event["args"]["path"] == path.as_str());
    let mut events = events[first.expect("the first open")..].iter();
    for words in &said {
        let event = events.next().unwrap_or_else(|| panic!("no event for {words:?}"));
        let args = &event["args"];
        if words[0] == "read" {
            assert_eq!(event["ret"].to_string(), words[1], "{event}");
            let wanted = unhex(&words[2]);
            match event["ret"].as_i64() {
                Some(-1) => assert!(args["buf"].is_u64(), "{event}"),
                _ => assert_eq!(bytes(&args["buf"]), wanted[..wanted.len().min(100)], "{event}"),
            }
            let cut = args["buf"]["cut"] == true;
            assert_eq!(cut, wanted.len() > 100, "{event}");
            continue;
        }
        // The names stand behind the call, in which there are blanks.
        let names: Vec<&serde_json::Value> = {
            let of = |name| event["names"].get(name);
            ["prot", "flags", "mode", "domain", "kind", "signal"]
                .into_iter()
                .filter_map(of)
                .collect()
        };
        let wanted = &words[words.len() - names.len()..];
        assert!(!names.is_empty(), "{event} {words:?}");
        for (name, wanted) in names.iter().zip(wanted) {
            let set = |text: &str| text.split('|').map(str::to_owned).collect::<Vec<_>>();
            let (mut name, mut wanted) = (set(name.as_str().expect("a name")), set(wanted));
            name.sort();
            wanted.sort();
            assert_eq!(name, wanted, "{event} {words:?}");
        }
        let number_of_names = words.iter().filter(|word| word.ends_with(')')).count();
        assert_eq!(number_of_names, 1, "{words:?}");
        let behind = words.iter().skip_while(|word| !word.ends_with(')')).count() - 1;
        assert_eq!(behind, names.len(), "{event} {words:?}");
    }
}

/// What a program is called with is an array of strings, up to NULL or as many as are read.
#[test]
fn arrays_of_strings_are_told() {
    let (events, said) = values(&[], &["libc:execvp"], &["exec", "echo", "a  b", "", "é"]);
    assert_eq!(said, [["a", "", "b", "", "é"]]);
    let args = &events[0]["args"];
    assert_eq!(args["argv"], serde_json::json!(["echo", "a  b", "", "é"]), "{args}");
    assert_eq!(args["file"], "echo");
    let probe = "execv(path: str, argv: str[], again: str[2])";
    let (events, _) = values(&["--string", "3"], &[probe], &["many"]);
    let args = &events[0]["args"];
    assert_eq!(args["argv"]["cut"], true, "{args}");
    let all = args["argv"]["strs"].as_array().expect("an array");
    assert_eq!(all.len(), 64, "{args}");
    assert_eq!((&all[0], &all[1]), (&serde_json::json!({"str": "tru", "cut": true}), &"x".into()));
}
