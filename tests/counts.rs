//! Counts are the kernel's own: a slice of what `compare-counts` compares in full.

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
