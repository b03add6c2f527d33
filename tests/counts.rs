//! Counts are the kernel's own: a slice of what `compare-counts` compares in full.
#![cfg(target_arch = "x86_64")]

use xol_tests::compare::{Choice, compare};
use xol_tests::elf::Object;
use xol_tests::programs::{Build, program};
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
