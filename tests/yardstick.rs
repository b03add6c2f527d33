//! The yardstick itself: the kernel's counts agree with what a program says of itself.

use xol_tests::elf::Object;
use xol_tests::programs::{Build, program};
use xol_tests::run::run;
use xol_tests::uprobes::{Moment, count};

fn offset_of(object: &Object, name: &str) -> u64 {
    let functions = object.functions();
    let found = functions.iter().find(|f| f.name == name);
    let addr = found.unwrap_or_else(|| panic!("no {name}")).addr;
    object.offset(addr).expect("a function is in a text segment")
}

#[test]
fn counts_what_the_program_counts() {
    let path = program("calls", Build::Pie);
    let object = Object::open(&path);
    let names = ["leaf", "recurse", "never"];
    let offsets = names.map(|name| offset_of(&object, name));
    let counts = count(&path, &offsets, Moment::Entry, &run(&path).args(["10", "7"]));
    let said = counts.finished.ok().out();
    let hits: Vec<_> = counts.sites.iter().map(|s| s.hits).collect();
    assert_eq!(hits, [Ok(10), Ok(8), Ok(0)], "{said}");
    assert!(said.contains("leaf 10\nrecurse 8\n"), "{said}");
}

#[test]
fn returns_what_the_program_returns() {
    let path = program("calls", Build::Pie);
    let object = Object::open(&path);
    let offsets = ["leaf", "tail"].map(|name| offset_of(&object, name));
    let counts = count(&path, &offsets, Moment::Return, &run(&path).args(["4", "2"]));
    let values: Vec<_> = counts.sites.iter().map(|s| s.values.clone()).collect();
    // tail(n) jumps to leaf(n): its return value is leaf's.
    assert_eq!(values, [vec![0, 1, 4, 9], vec![9]], "{}", counts.finished);
}

#[test]
fn names_the_sites_that_the_kernel_refuses() {
    let path = program("calls", Build::Pie);
    let object = Object::open(&path);
    let names = ["leaf", "locked", "recurse", "vector"];
    let offsets = names.map(|name| offset_of(&object, name));
    let counts = count(&path, &offsets, Moment::Entry, &run(&path).args(["3", "1"]));
    let hits: Vec<_> = counts.sites.iter().map(|s| s.hits).collect();
    assert!(matches!(hits[..], [Ok(3), Err(_), Ok(2), Err(_)]), "{hits:?}\n{}", counts.finished);
}

#[test]
fn agrees_with_itself_on_every_function_of_libc() {
    let libc = Object::libc();
    let mut addrs: Vec<u64> = libc.functions().iter().map(|f| f.addr).collect();
    addrs.dedup();
    let offsets: Vec<u64> = addrs.iter().filter_map(|&a| libc.offset(a)).collect();
    let command = run("ls").arg("/usr/bin");
    let [one, two] = [(), ()].map(|()| count(&libc.path, &offsets, Moment::Entry, &command).sites);
    let differ: Vec<_> = one.iter().zip(&two).filter(|(one, two)| one != two).collect();
    assert!(differ.is_empty(), "{differ:?}");
    let hit = one.iter().filter(|s| s.hits.is_ok_and(|n| n > 0)).count();
    let refused = one.iter().filter(|s| s.hits.is_err()).count();
    println!("{} sites, {hit} hit, {refused} refused", one.len());
    assert!(hit > 30 && refused < one.len() / 20);
}
