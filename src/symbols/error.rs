//! Why a file cannot be read as a program.

use super::Machine;
use std::fmt;
use std::io;

/// Why a file is no object that xol can look into. `Display` is one sentence without a full
/// stop and without the file's name, which the caller has.
#[derive(Debug)]
#[non_exhaustive]
pub enum ElfError {
    /// The operating system said no.
    Io(io::Error),
    /// A directory, a device, a pipe.
    NotAFile,
    /// It does not start with `\x7fELF`.
    NotElf,
    /// A 32-bit object.
    Class32 {
        /// `e_machine`.
        machine: u16,
    },
    /// Big-endian.
    BigEndian {
        /// `e_machine`.
        machine: u16,
    },
    /// Neither arm64 nor x86-64.
    Machine {
        /// `e_machine`.
        machine: u16,
    },
    /// An ELF file, but not a program or a library.
    Kind {
        /// `e_type`.
        kind: u16,
    },
    /// One that this xol was built without.
    NotInThisBuild {
        /// Which.
        machine: Machine,
    },
    /// A part reaches over the end of the file.
    Truncated {
        /// The part.
        what: &'static str,
    },
    /// A part contradicts itself.
    Lying {
        /// The part.
        what: &'static str,
    },
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ElfError::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => write!(
                f,
                "cannot be read: {error}; whoever may only execute it cannot probe it: make it \
                 readable (chmod +r), or run xol as root"
            ),
            ElfError::Io(error) => write!(f, "cannot be read: {error}"),
            ElfError::NotAFile => f.write_str("is not a regular file"),
            ElfError::NotElf => f.write_str("is not an ELF file"),
            ElfError::Class32 { machine } => write!(
                f,
                "is a 32-bit {} object; xol knows 64-bit arm64 and x86-64 only",
                machine_name(*machine)
            ),
            ElfError::BigEndian { machine } => write!(
                f,
                "is a big-endian {} object; xol knows little-endian arm64 and x86-64 only",
                machine_name(*machine)
            ),
            ElfError::Machine { machine } => {
                write!(f, "is for {}; xol knows arm64 and x86-64 only", machine_name(*machine))
            }
            ElfError::Kind { kind } => write!(
                f,
                "is {}, not a program or a shared library",
                match kind {
                    1 => "a relocatable object (.o or a kernel module)",
                    4 => "a core dump",
                    _ => "an ELF file of an unknown type",
                }
            ),
            ElfError::NotInThisBuild { machine } => {
                write!(f, "is for {}, which this xol was built without", machine.name())
            }
            ElfError::Truncated { what } => {
                write!(f, "is damaged: its {what} reaches over the end of the file")
            }
            ElfError::Lying { what } => write!(f, "is damaged: its {what} makes no sense"),
        }
    }
}

impl std::error::Error for ElfError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ElfError::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// The usual name of an `e_machine`.
fn machine_name(machine: u16) -> String {
    let name = match machine {
        2 | 18 | 43 => "SPARC",
        3 => "x86 (i386)",
        8 => "MIPS",
        15 => "PA-RISC",
        20 => "PowerPC",
        21 => "PowerPC 64",
        22 => "s390x",
        40 => "ARM (AArch32)",
        42 => "SuperH",
        50 => "IA-64",
        62 => "x86-64",
        183 => "arm64",
        243 => "RISC-V",
        247 => "BPF",
        258 => "LoongArch",
        _ => return format!("unknown (e_machine {machine})"),
    };
    name.to_owned()
}
