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
