//! Just enough of ELF to refuse a program that the guest cannot run.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::{Error, Guest, host};

/// Refuses `file` if it is missing, or a program for another machine than `guest`. A file without
/// an executable bit is data, whatever is in it.
pub(crate) fn check(file: &Path, guest: Guest) -> Result<(), Error> {
    if !file.is_file() {
        return Err(Error::MissingFile(file.to_owned()));
    }
    if !host::is_executable(file) {
        return Ok(());
    }
    let mut header = [0u8; 20];
    let mut opened = File::open(file).map_err(|e| Error::io("read", file, &e))?;
    if opened.read_exact(&mut header).is_err() {
        return Ok(());
    }
    match machine(&header) {
        Some(machine) if machine != guest.machine() => {
            let is_for = match Guest::of_machine(machine) {
                Some(other) => other.to_string(),
                None => named(machine),
            };
            Err(Error::WrongArchitecture { file: file.to_owned(), is_for, guest })
        }
        _ => Ok(()),
    }
}

/// Whether a 64-bit little-endian program names no dynamic linker (it has no PT_INTERP).
pub(crate) fn is_static(elf: &[u8]) -> bool {
    let word = |at: usize, size: usize| {
        let bytes = elf.get(at..at + size)?;
        Some(bytes.iter().rev().fold(0usize, |value, &byte| value << 8 | usize::from(byte)))
    };
    let headers = || Some((word(0x20, 8)?, word(0x36, 2)?, word(0x38, 2)?));
    let Some((at, size, count)) = headers() else { return false };
    const PT_INTERP: usize = 3;
    (0..count).all(|n| word(at + n * size, 4).is_some_and(|kind| kind != PT_INTERP))
}

/// `e_machine`, if this is the beginning of an ELF file.
fn machine(header: &[u8; 20]) -> Option<u16> {
    let bytes = [header[18], header[19]];
    match header {
        // EI_DATA says the byte order.
        [0x7f, b'E', b'L', b'F', _, 2, ..] => Some(u16::from_be_bytes(bytes)),
        [0x7f, b'E', b'L', b'F', ..] => Some(u16::from_le_bytes(bytes)),
        _ => None,
    }
}

fn named(machine: u16) -> String {
    match machine {
        3 => "32-bit x86".to_owned(),
        8 => "MIPS".to_owned(),
        40 => "32-bit Arm".to_owned(),
        243 => "RISC-V".to_owned(),
        other => format!("ELF machine {other}"),
    }
}
