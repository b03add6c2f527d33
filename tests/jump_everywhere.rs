//! Jumps at every function of large programs and libraries, and at every instruction of functions:
//! the programs do what they do without, and each count is the kernel's own.

use std::collections::BTreeSet;
use std::time::Duration;

use xol_tests::commands;
use xol_tests::compare::{Choice, Comparison, Places, Row, places};
use xol_tests::elf::Object;
use xol_tests::run::{Run, as_often, run};

const JUMP: [&str; 2] = ["--strategy", "jump"];

/// Functions of libc that are worth walking through: long ones, with loops, tables of jumps,
/// calls, atomic instructions, callers of what IFUNCs choose.
const FUNCTIONS: [&str; 24] = [
    "qsort_r",
    "malloc",
    "free",
    "realloc",
    "calloc",
    "getenv",
    "getdelim",
    "strcoll_l",
    "readdir64",
    "setlocale",
    "_IO_file_xsputn",
    "_IO_file_overflow",
    "_IO_file_underflow",
    "fwrite",
    "fclose",
    "memmem",
    "strdup",
    "fnmatch",
    "tsearch",
    "strftime_l",
    "regexec",
    "mbsrtowcs",
    "vsnprintf",
    "strtol",
];

/// Compares the sites of `probes` in `command`; at least `share` of a thousand must be jumps.
fn same(all: &Places, probes: &[String], command: &Run, share: usize) -> Comparison {
    let command = command.clone().limit(Duration::from_secs(120));
    let same = all.compare_with(&JUMP, probes, &command);
    let rows = same.rows.len();
    let jumps = same.rows.iter().filter(|r| r.how == "jump");
    let (jumps, hit) = (jumps.clone().count(), jumps.filter(|r| r.xol > Some(0)).count());
    println!("{same}{jumps} of {rows} are jumps, {hit} of them hit\n");
    assert!(same.rows.iter().all(Row::equal), "{same}");
    assert!(same.unsteady.len() * 50 <= rows, "not deterministic: {same}");
    assert!(jumps * 1000 >= rows * share, "{jumps} of {rows} are jumps");
    assert!(hit > 20, "{same}");
    same
}

/// Every entry of an object.
fn entries(path: &str, commands: &[Run], share: usize) {
    let path = std::fs::canonicalize(path).expect(path);
    let probe = [format!("{}:*", path.display())];
    let object = Object::open(path);
    let mut named: Vec<u64> = object.functions().iter().map(|f| f.addr).collect();
    named.dedup();
    let all = places(&object, &Choice::Named);
    for command in commands {
        let rows = same(&all, &probe, command, share).rows.len();
        assert!(rows * 10 > named.len() * 9, "{rows} of {}", named.len());
    }
}

/// A library of the system's.
fn library(name: &str) -> String {
    format!("/lib/{}-linux-gnu/{name}", std::env::consts::ARCH)
}

#[test]
fn libcrypto() {
    entries(&library("libcrypto.so.3"), &[commands::openssl()], 999);
}

#[test]
fn libsqlite3() {
    entries(&library("libsqlite3.so.0"), &[commands::sqlite()], 999);
}

/// Not in arm64's guest, where a seventh of its counts is another in each run, the kernel's too.
#[test]
fn python3() {
    entries("/usr/bin/python3", &[commands::python_alone()], 980);
}

#[test]
fn perl() {
    entries("/usr/bin/perl", &[commands::perl()], 999);
}

#[test]
fn libc() {
    let ls = run("ls").args(["-l", "/etc"]);
    let commands = [ls, commands::sort(), commands::sqlite(), commands::git()];
    let some = &commands[..as_often(commands.len(), 1)];
    entries(&Object::libc().path.to_string_lossy(), some, 980);
}

#[test]
fn every_instruction_of_functions() {
    let all = places(&Object::libc(), &Choice::Functions(FUNCTIONS.into()));
    let probes = FUNCTIONS.map(|name| format!("libc:{name}+*"));
    let mut hit = BTreeSet::new();
    let commands = [
        run("ls").args(["-l", "/etc"]),
        commands::sort(),
        commands::git(),
        run("find").args(["/etc", "-maxdepth", "1", "-name", "p*"]),
        run("date").args(["-u", "-d", "@1000000000"]),
        run("sed").args(["-n", "s/\\(1\\|2\\)3*/x/p"]).stdin(commands::words()),
    ];
    for command in &commands[..as_often(commands.len(), 2)] {
        let same = same(&all, &probes, command, 940);
        assert!(same.rows.len() > 3000, "{} places", same.rows.len());
        let rows = same.rows.iter().filter(|r| r.xol > Some(0));
        hit.extend(rows.filter_map(|r| Some(r.place.split('+').next()?.to_owned())));
    }
    println!("{} functions: {hit:?}", hit.len());
    assert!(hit.len() >= as_often(20, 12), "{hit:?}");
}
