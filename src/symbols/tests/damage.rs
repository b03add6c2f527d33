//! Files that are no objects, or no longer.

use super::super::{ElfError, Object};

#[test]
fn other_files_are_refused_in_one_sentence() {
    let refuse = |bytes: &[u8]| Object::from_bytes(bytes.to_vec()).unwrap_err().to_string();
    assert_eq!(refuse(b""), "is not an ELF file");
    assert_eq!(refuse(b"#!/bin/sh\necho not an ELF file\n"), "is not an ELF file");
    let mut elf = std::fs::read("/bin/true").unwrap();
    elf[18] = 243;
    assert_eq!(refuse(&elf), "is for RISC-V; xol knows arm64 and x86-64 only");
    elf[4] = 1;
    elf[18] = 40;
    assert!(refuse(&elf).starts_with("is a 32-bit ARM (AArch32) object"), "{}", refuse(&elf));
    assert_eq!(Object::open("/").unwrap_err().to_string(), "is not a regular file");
}

fn look_at_everything(bytes: Vec<u8>) -> Result<usize, ElfError> {
    let object = Object::from_bytes(bytes)?;
    let symbols = object.symbols()?;
    let mut found = 0;
    for (id, symbol) in symbols.iter() {
        found += usize::from(symbols.at(symbol.addr) == Some(id));
        let _ = symbols.function_at(symbol.addr.wrapping_add(1));
    }
    object.fixed()?;
    object.code_at(object.entry())?;
    object.got_slots("malloc")?;
    object.place_reject(object.entry())?;
    Ok(found)
}

#[test]
fn damage_is_an_error_and_never_a_panic() {
    let whole = std::fs::read("/bin/true").unwrap();
    assert!(look_at_everything(whole.clone()).is_ok());
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let tables = whole.len() - 64 * 40..whole.len();
    let mut refused = 0;
    for round in 0..3000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + next() % 8 {
            // Where it hurts: the headers, the dynamic tables behind them, the sections.
            let at = match next() % 3 {
                0 => next() as usize % 0x400,
                1 => next() as usize % 0x2000,
                _ => tables.start + next() as usize % tables.len(),
            };
            bytes[at] = [0, 0xff, 0x7f, 0x80, 1, next() as u8][next() as usize % 6];
        }
        if round % 4 == 0 {
            bytes.truncate(next() as usize % whole.len());
        }
        refused += usize::from(look_at_everything(bytes).is_err());
    }
    assert!((500..3000).contains(&refused), "{refused}");
}
