//! Counts are the kernel's own: a slice of what `compare-counts` compares in full.
#![cfg(target_arch = "x86_64")]

use xol_tests::compare::{Choice, compare};
use xol_tests::elf::Object;
use xol_tests::programs::{Build, program};
use xol_tests::returns;
use xol_tests::run::run;

#[test]
fn entries_of_libc_in_ls() {
    compare(
        &Object::libc(),
        &Choice::Entries { some: Some(200), seed: 1 },
        &run("ls").arg("/usr/bin"),
    )
    .assert_equal();
}

#[test]
fn instructions_of_libc_in_sort() {
    let numbers: String = (0..500u64).map(|n| format!("{}\n", n * 7919 % 503)).collect();
    let sort = run("sort").arg("-n").stdin(numbers);
    compare(&Object::libc(), &Choice::Instructions { some: 200, seed: 2 }, &sort).assert_equal();
}

#[test]
fn instructions_of_a_program() {
    let path = program("calls", Build::Pie);
    let command = run(&path).args(["20", "9"]);
    compare(&Object::open(&path), &Choice::Instructions { some: 200, seed: 3 }, &command)
        .assert_equal();
}

#[test]
fn returns_and_their_values() {
    let path = program("returns", Build::Pie);
    let object = Object::open(&path);
    let functions = object.functions();
    let names: Vec<&str> =
        functions.iter().map(|f| f.name.as_str()).filter(|n| n.starts_with("r_")).collect();
    let names: Vec<&str> = names.into_iter().filter(|n| !n.contains('.')).collect();
    let returns = returns::compare(&object, &names, &run(&path));
    println!("{returns}");
    assert!(returns.rows.len() >= 30, "{returns}");
    assert_eq!(returns.differences().count(), 0, "{returns}");
}

#[test]
fn returns_of_libc() {
    let returns =
        returns::compare(&Object::libc(), returns::FUNCTIONS, &run("ls").args(["-l", "/usr/bin"]));
    println!("{returns}");
    assert!(returns.rows.len() >= 15, "{returns}");
    assert_eq!(returns.differences().count(), 0, "{returns}");
}

/// Frames that are left for another stack, and end in another thread than they began in. The
/// kernel's uretprobes kill such a program, so it counts itself.
#[test]
fn returns_of_coroutines() {
    let path = program("returns", Build::Pie);
    let names = ["r_switched", "r_in_routine", "r_sorts", "r_catches_tail"];
    let (hits, finished) = returns::count(&path, &names, &run(&path).arg("coroutines"));
    let said = returns::said(&finished.ok());
    println!("{said:?}");
    assert_eq!(said.len(), names.len());
    assert_eq!(hits, said);
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
    let (hits, finished) = returns::count(&path, &names, &command);
    command.finish().assert_same(&finished);
    for (name, times) in expected.into_iter().chain([("deep(int)", 0), ("rethrow(int)", 0)]) {
        let name = name.split('(').next().unwrap_or(name);
        let found = hits.iter().find(|(symbol, _)| symbol.contains(name));
        assert_eq!(found.map(|f| *f.1), Some(times), "{name}: {hits:?}");
    }
}
