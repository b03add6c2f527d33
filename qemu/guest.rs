use std::fmt;
use std::str::FromStr;

/// What kind of machine a guest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guest {
    /// AArch64 on QEMU's `virt` board.
    Arm64,
    /// x86-64 on QEMU's `q35` board.
    X86_64,
}

impl Guest {
    /// Every guest there is.
    pub const ALL: [Guest; 2] = [Guest::Arm64, Guest::X86_64];

    /// The name `cargo vm` and the rest of xol know it by.
    pub fn name(self) -> &'static str {
        match self {
            Guest::Arm64 => "arm64",
            Guest::X86_64 => "x86_64",
        }
    }

    /// Debian's name for the architecture.
    pub fn debian(self) -> &'static str {
        match self {
            Guest::Arm64 => "arm64",
            Guest::X86_64 => "amd64",
        }
    }

    /// The first part of the compiler triples, and of QEMU's program names.
    pub fn cpu(self) -> &'static str {
        match self {
            Guest::Arm64 => "aarch64",
            Guest::X86_64 => "x86_64",
        }
    }

    /// `e_machine` of its ELF files (ELF gABI, "Machine").
    pub fn machine(self) -> u16 {
        match self {
            Guest::Arm64 => 183,
            Guest::X86_64 => 62,
        }
    }

    /// The emulator of the whole machine.
    pub fn emulator(self) -> String {
        format!("qemu-system-{}", self.cpu())
    }

    /// The Debian package that holds [`Guest::emulator`].
    pub fn emulator_package(self) -> &'static str {
        match self {
            Guest::Arm64 => "qemu-system-arm",
            Guest::X86_64 => "qemu-system-x86",
        }
    }

    /// The emulator of one process.
    pub fn user_emulator(self) -> String {
        format!("qemu-{}", self.cpu())
    }

    /// What Linux calls its first serial port.
    pub(crate) fn console(self) -> &'static str {
        match self {
            Guest::Arm64 => "ttyAMA0",
            Guest::X86_64 => "ttyS0",
        }
    }

    /// The board. `virt` with every feature the CPU model has: BTI and PAuth always, MTE needs tag
    /// memory and is asked for here.
    pub(crate) fn board(self, cpu: &str) -> &'static str {
        match self {
            Guest::Arm64 if cpu.starts_with("max") => "virt,gic-version=3,mte=on",
            Guest::Arm64 => "virt,gic-version=3",
            Guest::X86_64 => "q35",
        }
    }

    /// The CPU a guest has unless told otherwise: everything the emulator knows. The PAuth
    /// algorithm is implementation defined, and QEMU's own is ten times faster than Arm's.
    pub(crate) fn default_cpu(self) -> &'static str {
        match self {
            Guest::Arm64 => "max,pauth-impdef=on",
            Guest::X86_64 => "max",
        }
    }

    pub(crate) fn of_machine(machine: u16) -> Option<Guest> {
        Guest::ALL.into_iter().find(|g| g.machine() == machine)
    }
}

impl fmt::Display for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Guest {
    type Err = String;

    fn from_str(text: &str) -> Result<Guest, String> {
        match text {
            "arm64" | "aarch64" => Ok(Guest::Arm64),
            "x86_64" | "x86-64" | "amd64" => Ok(Guest::X86_64),
            _ => Err(format!("no guest is called {text}: there are arm64 and x86_64")),
        }
    }
}
