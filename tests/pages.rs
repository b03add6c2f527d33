//! What the pages in `docs/` show is what happens.
//!
//! A block that is marked `console` is run, line by line where a line begins with `$ `, in a folder of
//! its own with `docs/app.c` and xol in it; what stands under a line must be what it prints. `…` stands for
//! anything in its line, and alone for any number of lines. All numbers are alike, with or without a
//! unit of time, and so are all spaces. A block marked `console elsewhere` is not run, because it needs a
//! board or a guest; its commands and options must exist, which `qemu/tests/command.rs` sees to for
//! `cargo vm`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use xol_tests::run::run;
use xol_tests::xol::{command, scratch, xol};

/// One command and what stands under it.
struct Shown {
    command: String,
    output: Vec<String>,
    elsewhere: bool,
}

fn text(name: &str) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    fs::read_to_string(docs.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn shown(page: &'static str) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    let mut block = None;
    for line in text(page).lines() {
        match (block, line.strip_prefix("```"), line.strip_prefix("$ ")) {
            (None, Some("console"), _) => block = Some(Some(false)),
            (None, Some("console elsewhere"), _) => block = Some(Some(true)),
            (None, Some(_), _) => block = Some(None),
            (Some(_), Some(_), _) => block = None,
            (Some(Some(elsewhere)), None, Some(command)) => {
                all.push(Shown { command: command.to_owned(), output: Vec::new(), elsewhere });
            }
            (Some(Some(_)), None, None) => {
                let under = all.last_mut().unwrap_or_else(|| panic!("{page}: output of nothing"));
                under.output.push(line.to_owned());
            }
            _ => {}
        }
    }
    assert!(block.is_none() && all.len() > 3, "{page}: a block that does not end, or none");
    all
}

/// A line with each number as 0, its unit of time gone, and spaces as one.
fn alike(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line.trim();
    while let Some(next) = rest.chars().next() {
        if next.is_ascii_digit() {
            out.push('0');
            rest = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
            let behind = rest.trim_start_matches(' ');
            for unit in ["ns", "us", "µs", "ms", "s"] {
                let after = behind.strip_prefix(unit);
                if let Some(after) = after.filter(|a| !a.starts_with(char::is_alphanumeric)) {
                    rest = after;
                    break;
                }
            }
        } else if next == ' ' {
            out.push(' ');
            rest = rest.trim_start();
        } else {
            out.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    out
}

/// Whether a line is as it is shown.
fn is_line(shown: &str, printed: &str) -> bool {
    let (shown, printed) = (alike(shown), alike(printed));
    // A part that … has made an end of may have begun with a space.
    let parts: Vec<&str> = shown.split('…').map(str::trim).collect();
    let [first, middle @ .., last] = parts.as_slice() else { return shown == printed };
    let Some(mut rest) = printed.strip_prefix(first) else { return false };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

fn are_lines(shown: &[String], printed: &[&str]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((first, more)) if first == "…" => {
            (0..=printed.len()).any(|n| are_lines(more, &printed[n..]))
        }
        Some((first, more)) => printed
            .split_first()
            .is_some_and(|(line, behind)| is_line(first, line) && are_lines(more, behind)),
    }
}

/// A folder with the pages' program and xol.
fn place(page: &str) -> PathBuf {
    let folder = scratch(page);
    fs::create_dir_all(folder.join("bin")).expect("the folder is writable");
    fs::write(folder.join("app.c"), text("app.c")).expect("the folder is writable");
    std::os::unix::fs::symlink(xol(), folder.join("bin/xol")).expect("the folder is writable");
    folder
}

fn runs(page: &'static str) {
    let folder = place(page);
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", folder.join("bin").display());
    for part in shown(page).iter().filter(|part| !part.elsewhere) {
        let script = format!("exec 2>&1\n{}", part.command);
        let shell = run("/bin/sh").args(["-c", script.as_str()]).cwd(&folder).env("PATH", &path);
        let finished = shell.limit(Duration::from_secs(120)).finish();
        let printed = finished.out();
        // Said only where arming takes long, as on a machine that is busy.
        let lines = printed.lines().filter(|line| !line.starts_with("xol: armed "));
        let lines: Vec<&str> = lines.collect();
        let said = |why: &str| {
            let shown = part.output.join("\n");
            format!("{page}: $ {}\n{why}; shown:\n{shown}\nprinted:\n{printed}", part.command)
        };
        assert_eq!(finished.code(), 0, "{}", said("it failed"));
        assert!(are_lines(&part.output, &lines), "{}", said("it prints something else"));
    }
    fs::remove_dir_all(folder).expect("it is ours");
}

#[test]
fn the_page_for_a_board_is_right() {
    runs("board.md");
}

#[test]
fn the_page_for_ci_is_right() {
    runs("ci.md");
}

#[test]
fn the_page_for_comparing_is_right() {
    runs("comparing.md");
}

#[test]
fn the_page_for_those_who_know_other_tracers_works() {
    runs("others.md");
}

#[test]
fn the_workflow_is_the_one_shown() {
    let page = text("ci.md");
    let block = page.split("```yaml\n").nth(1).and_then(|block| block.split("```").next());
    assert_eq!(block, Some(text("ci.yml").as_str()));
}

/// What stands between two commands.
const END: &str = ";";

/// The words of a command line; quotes are undone once more where a word is itself a command line.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ' | '>') => words.extend(word.take()),
            (None, '\n' | '|' | ';' | '&') => {
                words.extend(word.take().into_iter().chain([END.into()]))
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Each use of xol in a command line: its command, and the options before `--`.
fn uses(line: &str) -> Vec<(String, Vec<String>)> {
    let words = words(line);
    let mut found = Vec::new();
    for (n, word) in words.iter().enumerate() {
        if word.contains(' ') && word.contains("xol ") {
            found.extend(uses(word));
        } else if (word == "xol" || word.ends_with("/xol")) && words.len() > n + 1 {
            let behind = words[n + 1..].iter().take_while(|word| *word != "--" && *word != END);
            let mut behind = behind.skip_while(|word| word.starts_with('-')).cloned();
            let Some(name) = behind.next() else { continue };
            if name.contains(':') || name.contains('/') {
                continue;
            }
            let options = behind.filter(|word| word.len() > 1 && word.starts_with('-'));
            found.push((name, options.collect()));
        }
    }
    found
}

#[test]
fn what_the_pages_tell_to_type_exists() {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut seen = 0;
    let pages = ["board.md", "ci.md", "comparing.md", "others.md"];
    let mut lines: Vec<String> = pages.into_iter().flat_map(shown).map(|s| s.command).collect();
    // Of a workflow each step is a text, in which quotes go over lines.
    lines.extend(text("ci.yml").split("- name:").skip(1).map(|step| {
        let run = step.split("run: |").nth(1);
        run.unwrap_or_default().split("- uses:").next().unwrap_or_default().to_owned()
    }));
    for (name, options) in lines.iter().flat_map(|line| uses(line)) {
        let help = known.entry(name.clone()).or_insert_with(|| {
            let help = command([name.as_str(), "--help"]).finish();
            assert_eq!(help.code(), 0, "xol {name}: {help}");
            help.out()
        });
        for option in options {
            let has = help.split([' ', ',', '\n']).any(|word| word == option);
            assert!(has, "xol {name} has no {option}");
            seen += 1;
        }
    }
    assert!(known.len() >= 7 && seen > 15, "{seen} options of {:?}", known.keys());
}

#[test]
fn a_page_that_is_wrong_is_found() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let are =
        |shown: &str, printed: &str| are_lines(&lines(shown), &printed.lines().collect::<Vec<_>>());
    assert!(are("took 1.2 ms\n…\nend", "took   17 us\nmore\nend"));
    assert!(are("a … b, 3 … c", "a 12 b, 4 5 6 c"));
    assert!(!are("took 1.2 ms\n…\nend", "took 1 hit\nend"));
    assert!(!are("20 hits", "20 hits\nand more"));
    assert!(!are("one\ntwo", "one"));
    assert!(!are("a … b", "a 12 c"));
    let used = uses("ssh board \"/tmp/xol trace 'f(a: str)' -o - -p app --last 2 -- x -y\" > file");
    let options = ["-o", "-p", "--last"].map(str::to_owned).to_vec();
    assert_eq!(used, [("trace".to_owned(), options)]);
}
