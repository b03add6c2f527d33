//! The project keeps its own rules: what may stand where, by looking at the tree.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The files outside `targets/` that may hold `unsafe`, and what for.
const UNSAFE_ISLANDS: &[&str] = &[
    // What a signal handler would lend to the path of a hit.
    "tests/hit_path/lib.rs",
    // mmap for a mapping that nobody looks into, default actions of signals
    "tests/launch.rs",
    // code made here, called as functions
    "tests/differential/calls.rs",
    // signal frames as doors into the code under test
    "tests/differential/arm64/enter.rs",
    "tests/differential/x86_64/enter.rs",
    // bpf(2)
    "tests/uprobes/bpf.rs",
];

/// Lines that a source file may have.
const LINES: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a member of the workspace").to_owned()
}

/// Every file of the project as (path from its root, text).
fn files() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the tree can be read") {
            let path = entry.expect("the tree can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // Build output carries cargo's mark; `.git` is a file in a second worktree.
            let built = path.join("CACHEDIR.TAG").exists() || name == "target";
            if built || name == ".git" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let from_root = path.strip_prefix(root()).expect("below the root");
                found.push((from_root.to_string_lossy().into_owned(), text));
            }
        }
    }
    assert!(found.len() > 30, "the tree is not there: {found:?}");
    found.sort();
    found
}

/// The lines of Rust files with comments taken away, as (file, number, code).
fn code() -> Vec<(String, usize, String)> {
    let rust = files().into_iter().filter(|(path, _)| path.ends_with(".rs"));
    rust.flat_map(|(path, text)| {
        let lines: Vec<_> = text
            .lines()
            .enumerate()
            .map(|(n, line)| {
                (path.clone(), n + 1, line.split("//").next().unwrap_or("").to_owned())
            })
            .collect();
        lines
    })
    .collect()
}

/// The lines outside `except` in which `wrong` sees something.
fn offenders(except: impl Fn(&str) -> bool, wrong: impl Fn(&str) -> bool) -> Vec<String> {
    code()
        .into_iter()
        .filter(|(path, _, code)| !except(path) && wrong(code))
        .map(|(path, n, code)| format!("{path}:{n}: {}", code.trim()))
        .collect()
}

fn has_word(code: &str, word: &str) -> bool {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == word)
}

#[test]
fn unsafe_is_only_in_targets_and_named_files() {
    let allowed = |path: &str| {
        path.starts_with("targets/") || UNSAFE_ISLANDS.contains(&path) || path == "tests/layers.rs"
    };
    let wrong = |code: &str| has_word(code, "unsafe") || code.contains("allow(unsafe_code");
    assert_eq!(offenders(allowed, wrong), [""; 0]);
    for island in UNSAFE_ISLANDS {
        let text = fs::read_to_string(root().join(island)).expect("the list names real files");
        assert!(has_word(&text, "unsafe"), "{island} needs no place in the list");
    }
}

#[test]
fn only_targets_and_tests_know_the_host() {
    let allowed = |path: &str| {
        path.starts_with("targets/") || path.starts_with("tests/") || path.contains("/tests/")
    };
    assert_eq!(offenders(allowed, |code| has_word(code, "target_arch")), [""; 0]);
}

#[test]
fn targets_know_the_host_in_one_folder() {
    let allowed = |path: &str| !path.starts_with("targets/") || path.starts_with("targets/native/");
    assert_eq!(offenders(allowed, |code| has_word(code, "target_arch")), [""; 0]);
}

#[test]
fn both_architectures_have_the_same_rooms() {
    // As their contents pages say; what only tests use is each side's own.
    let rooms = |arch: &str| -> BTreeSet<String> {
        let page = fs::read_to_string(root().join(format!("arch/{arch}/mod.rs"))).expect(arch);
        let mut rooms = BTreeSet::new();
        let mut before = "";
        for line in page.lines() {
            let room = line.strip_prefix("mod ").or_else(|| line.strip_prefix("pub mod "));
            if let Some(room) = room
                && !before.contains("cfg(test)")
            {
                rooms.insert(room.trim_end_matches(';').to_owned());
            }
            before = line;
        }
        rooms
    };
    let (arm64, x86_64) = (rooms("arm64"), rooms("x86_64"));
    assert!(arm64.len() > 5, "{arm64:?}");
    assert_eq!(arm64, x86_64);
    let names = |arch: &str| -> BTreeSet<_> {
        let folder = fs::read_dir(root().join("arch").join(arch)).expect(arch);
        folder.map(|entry| entry.expect(arch).file_name()).collect()
    };
    assert_eq!(names("arm64"), names("x86_64"));
}

#[test]
fn no_layer_reaches_up() {
    let arch = offenders(
        |path| !path.starts_with("arch/"),
        |code| ["xol_targets", "libc::", "nix::"].iter().any(|up| code.contains(up)),
    );
    assert_eq!(arch, [""; 0]);
    let targets = offenders(|path| !path.starts_with("targets/"), |code| code.contains("xol::"));
    assert_eq!(targets, [""; 0]);
    // The fake target's processor is an x86-64, whatever the host is.
    let engine = offenders(
        |path| !path.starts_with("src/engine/") || path.starts_with("src/engine/fake/"),
        |code| {
            ["xol_targets", "arm64", "x86_64", "ptrace", "symbols", "spec", "cli"]
                .iter()
                .any(|word| has_word(code, word))
        },
    );
    assert_eq!(engine, [""; 0]);
}

/// The rooms of `src/trace`, each of which uses those before it.
const ROOMS: [&str; 13] = [
    "space", "rows", "telling", "reading", "wanted", "recorded", "arming", "jumping", "returns",
    "watching", "hits", "life", "",
];

/// What a room may call in one above it: (room, function).
const DOORS: [(&str, &str); 1] = [("space", "handle")];

/// Where a file of `src/trace` stands among the rooms, if it is one: those beside them, the loop, are last.
fn room_of(path: &str) -> Option<usize> {
    let path = path.strip_prefix("src/trace/")?;
    let room = path.rsplit_once('/').map_or("", |(room, _)| room);
    let found = ROOMS.iter().position(|name| *name == room);
    Some(found.unwrap_or_else(|| panic!("{path} is in a room that has no place")))
}

/// The words that are called in a line: each before a parenthesis, behind a point.
fn called(code: &str) -> impl Iterator<Item = &str> {
    code.match_indices('(').filter_map(|(end, _)| {
        let begin = code[..end].rfind('.')? + 1;
        let word = &code[begin..end];
        word.chars().all(|c| c.is_alphanumeric() || c == '_').then_some(word)
    })
}

#[test]
fn a_room_uses_what_stands_below_it() {
    let code: Vec<_> = code().into_iter().filter(|(path, ..)| room_of(path).is_some()).collect();
    // The functions of a run, which all rooms add to.
    let mut functions: Vec<(usize, String)> = Vec::new();
    let mut of_run = false;
    for (path, _, line) in &code {
        if line.starts_with("impl") {
            of_run = line.contains(" Session<");
        }
        let name = line.split("fn ").nth(1).and_then(|rest| rest.split(['(', '<']).next());
        let own = line.starts_with("    ") && !line.starts_with("     ");
        if let (true, true, Some(name), Some(room)) = (of_run, own, name, room_of(path)) {
            functions.push((room, name.to_owned()));
        }
    }
    assert!(functions.len() > 200, "{functions:?}");
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    let mut before = String::new();
    for (path, n, line) in &code {
        let Some(room) = room_of(path).filter(|_| !path.ends_with("/trace/mod.rs")) else {
            continue;
        };
        // Types and functions by their paths.
        for path_of in line.split("crate::trace::").skip(1) {
            let named = path_of.split("::").next().unwrap_or("");
            if ROOMS.iter().position(|name| *name == named).is_some_and(|other| other > room) {
                wrong.push(format!("{path}:{n}: {}", line.trim()));
            }
        }
        // Functions of the run, also where the call begins in the line before.
        let calls = ["self.", "session."].iter().any(|of| line.contains(of))
            || line.trim_start().starts_with('.') && before.trim_end().ends_with("self");
        for name in called(line).filter(|_| calls) {
            let of_run = format!("self.{name}(");
            let of_session = format!("session.{name}(");
            let whole = line.contains(&of_run)
                || line.contains(&of_session)
                || line.trim_start().starts_with('.');
            let mut homes = functions.iter().filter(|(_, known)| known == name).peekable();
            if !whole || homes.peek().is_none() || homes.any(|(other, _)| *other <= room) {
                continue;
            }
            match DOORS.iter().find(|(from, door)| (*from, *door) == (ROOMS[room], name)) {
                Some(door) => drop(used.insert(door)),
                None => wrong.push(format!("{path}:{n}: {}", line.trim())),
            }
        }
        before.clone_from(line);
    }
    assert_eq!(wrong, [""; 0]);
    assert_eq!(used.len(), DOORS.len(), "a door that nobody goes through");
}

#[test]
fn rooms_name_no_more_than_they_may() {
    let outside = |path: &str, rooms: &[&str]| {
        !rooms.iter().any(|room| path.starts_with(&format!("src/trace/{room}/")))
    };
    // What is told depends on no target.
    let telling = |path: &str| outside(path, &["rows", "telling"]);
    assert_eq!(offenders(telling, |code| has_word(code, "Session")), [""; 0]);
    // One reader of /proc, one place that knows which target it is.
    let trace = |path: &str| !path.starts_with("src/trace/");
    assert_eq!(offenders(trace, |code| code.contains("/proc") || code.contains("libc::")), [""; 0]);
    let other = |path: &str| trace(path) || path == "src/trace/session.rs";
    assert_eq!(offenders(other, |code| has_word(code, "Ptrace")), [""; 0]);
}

#[test]
fn files_are_short() {
    let long: Vec<_> = files()
        .iter()
        .filter(|(path, text)| path.ends_with(".rs") && text.lines().count() > LINES)
        .map(|(path, text)| format!("{path}: {} lines", text.lines().count()))
        .collect();
    assert_eq!(long, [""; 0]);
}

#[test]
fn nothing_is_left_for_later() {
    let wrong = |line: &str| {
        ["TODO", "FIXME", "XXX"].iter().any(|mark| has_word(line, mark))
            || ["todo!", "unimplemented!", "#[ignore"].iter().any(|mark| line.contains(mark))
    };
    let found: Vec<_> = files()
        .into_iter()
        .filter(|(path, _)| path.ends_with(".rs") && path != "tests/layers.rs")
        .flat_map(|(path, text)| {
            let hits: Vec<_> =
                text.lines().filter(|l| wrong(l)).map(|l| format!("{path}: {l}")).collect();
            hits
        })
        .collect();
    assert_eq!(found, [""; 0]);
}

#[test]
fn no_file_names_somebodys_machine() {
    let places = ["/wo\u{72}k/", "/ro\u{6f}t/"];
    let found: Vec<_> = files()
        .into_iter()
        .flat_map(|(path, text)| {
            let wrong = |line: &&str| places.iter().any(|place| line.contains(place));
            let hits: Vec<_> =
                text.lines().filter(wrong).map(|l| format!("{path}: {}", l.trim())).collect();
            hits
        })
        .collect();
    assert_eq!(found, [""; 0]);
}

/// What `targets.txt` says runs where.
#[test]
fn every_test_has_a_row_and_every_empty_cell_a_reason() {
    let text = fs::read_to_string(root().join("tests/targets.txt")).expect("it is there");
    println!("{text}");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let (places, lines): (Vec<&str>, Vec<&str>) =
        lines.partition(|line| line.starts_with("environment "));
    let containers = fs::read_to_string(root().join("tests/containers.rs")).expect("it is there");
    let tests = containers.split("#[test]\nfn ").skip(1).filter_map(|test| test.split('(').next());
    let places = places.iter().filter_map(|line| line.split_whitespace().nth(1));
    assert_eq!(places.collect::<BTreeSet<_>>(), tests.collect(), "a row for each environment");
    let (reasons, table): (Vec<&str>, Vec<&str>) =
        lines.into_iter().partition(|line| line.starts_with('-'));
    let reasons: BTreeSet<&str> =
        reasons.iter().filter_map(|line| line.split_whitespace().next()).collect();
    let rows: Vec<Vec<&str>> = table.iter().map(|line| line.split_whitespace().collect()).collect();
    let (head, rows) = rows.split_first().expect("a head");
    // Each guest's column is run by somebody.
    let guests = fs::read_to_string(root().join("qemu/tests/suite/mod.rs")).expect("it is there");
    for target in head.iter().filter(|t| t.contains(':') && !t.ends_with(":user")) {
        assert!(guests.contains(&format!("passes(\"{target}\"")), "nothing runs {target}");
    }
    let mut used = BTreeSet::new();
    for row in rows {
        assert_eq!(row.len(), head.len(), "{row:?}");
        for cell in row[1..].iter().flat_map(|cell| cell.split('/')) {
            if cell.starts_with('-') {
                assert!(reasons.contains(cell), "{}: {cell} is not explained", row[0]);
                used.insert(cell);
                continue;
            }
            // The parts are names of tests that exist.
            for part in cell.split(',').filter(|&part| part != "all") {
                let source = fs::read_to_string(root().join(format!("tests/{}.rs", row[0])));
                let found = source.is_ok_and(|s| s.contains(&format!("fn {part}")));
                assert!(found, "{} has no test {part}", row[0]);
            }
        }
    }
    assert_eq!(used, reasons, "a reason that nothing has");
    let manifests = ["tests/Cargo.toml", "Cargo.toml"]
        .map(|path| fs::read_to_string(root().join(path)).expect("it is there"));
    let entries = manifests.iter().flat_map(|text| text.split("[[test]]").skip(1));
    let mut tests: BTreeSet<&str> = entries.filter_map(|entry| entry.split('"').nth(1)).collect();
    tests.insert("differential");
    let rows: BTreeSet<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(rows, tests);
}

/// The packages that others may use say what they are, and no other can be published by mistake.
#[test]
fn packages_say_what_they_are() {
    let mut published = BTreeSet::new();
    for folder in [
        ".",
        "arch",
        "targets",
        "qemu",
        "tests",
        "tests/checks",
        "tests/differential",
        "tests/hit_path",
        "fuzz",
    ] {
        let text = fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("it is there");
        let (_, package) = text.split_once("[package]").expect("a package");
        let package = package.split("\n[").next().unwrap_or_default();
        if package.contains("\npublish = false\n") {
            continue;
        }
        published.insert(folder);
        for field in ["description", "license", "readme", "keywords", "categories", "rust-version"]
        {
            let has = |line: &str| line.split([' ', '.']).next() == Some(field);
            assert!(package.lines().any(has), "{folder} has no {field}");
        }
    }
    assert_eq!(published, [".", "arch", "qemu", "targets"].into());
}
