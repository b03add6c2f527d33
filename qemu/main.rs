//! `cargo vm`: boots arm64 and x86-64 virtual machines and runs things in them.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use xol_qemu::apt::{Apt, DEFAULT_SUITE};
use xol_qemu::board::Toolchain;
use xol_qemu::cargo_test::{self, CargoTest};
use xol_qemu::compare::Compare;
use xol_qemu::user::User;
use xol_qemu::{Error, Guest, Stream, Vm, board, package, shell};

/// Boots arm64 and x86-64 virtual machines from Debian packages and runs things in them.
#[derive(Parser)]
#[command(name = "cargo vm", bin_name = "cargo vm", subcommand_required = true)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Boot, run a command, and hand back its output and its status
    Run {
        /// arm64 or x86_64
        guest: Guest,
        #[command(flatten)]
        machine: Machine,
        /// End the guest when the command takes longer than this many seconds
        #[arg(long, value_name = "SECS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
        timeout: u64,
        /// The command and its arguments
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Boot, send a program of this machine in, and run it: what cargo calls a runner
    Exec {
        /// arm64 or x86_64
        guest: Guest,
        #[command(flatten)]
        machine: Machine,
        /// End the guest when the program takes longer than this many seconds
        #[arg(long, value_name = "SECS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
        timeout: u64,
        /// The program's path and its arguments
        #[arg(last = true, required = true, value_name = "FILE")]
        command: Vec<OsString>,
    },
    /// Build tests here and run them in one guest
    Test {
        /// arm64 or x86_64
        guest: Guest,
        #[command(flatten)]
        machine: Machine,
        /// A file or directory the tests read, to be found in the guest where it is here
        #[arg(long, value_name = "PATH")]
        in_place: Vec<PathBuf>,
        /// A variable for the tests
        #[arg(long, value_name = "NAME=VALUE")]
        env: Vec<OsString>,
        /// End the guest when one test program takes longer than this many seconds
        #[arg(long, value_name = "SECS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
        timeout: u64,
        /// What cargo test is told, and behind another -- what the test programs are told
        #[arg(last = true, value_name = "ARGS")]
        args: Vec<OsString>,
    },
    /// Boot and open a shell on the console
    Shell {
        /// arm64 or x86_64
        guest: Guest,
        #[command(flatten)]
        machine: Machine,
    },
    /// Run a program under qemu-user, without a kernel of its own
    User {
        /// arm64 or x86_64
        guest: Guest,
        /// A Debian package whose programs and libraries are to be found
        #[arg(long, value_name = "DEB")]
        package: Vec<String>,
        /// The Debian release of the packages
        #[arg(long, value_name = "NAME", default_value = DEFAULT_SUITE)]
        suite: String,
        /// The program and its arguments
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Build xol for a board: static, stripped, one architecture
    Build {
        /// arm64 or x86_64
        guest: Guest,
        /// rustup or debian [default: rustup's musl where it can be had]
        #[arg(long, value_name = "NAME")]
        toolchain: Option<Toolchain>,
        /// Smaller, with a stop for every hit
        #[arg(long)]
        without_jumps: bool,
        /// Where to put a copy
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Build xol with everything in it, and pack it: xol-VERSION-ARCH.tar.gz and a .deb
    Package {
        /// arm64 or x86_64 [default: both]
        guest: Option<Guest>,
        /// The folder to put them into
        #[arg(short, long, value_name = "DIR", default_value = ".")]
        output: PathBuf,
    },
    /// What each strategy costs in a guest, in the guest's instructions
    Compare {
        /// arm64 or x86_64
        #[arg(required_unless_present = "both")]
        guest: Option<Guest>,
        /// Both architectures, in one table
        #[arg(long, conflicts_with = "guest")]
        both: bool,
        /// How often everything is measured
        #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
        rounds: u64,
        /// Hits of one measurement
        #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
        hits: u64,
        /// text or json
        #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
        format: String,
        /// Draw it
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
        #[command(flatten)]
        machine: Machine,
        /// End a guest when it takes longer than this many seconds
        #[arg(long, value_name = "SECS", default_value_t = 1800, value_parser = clap::value_parser!(u64).range(1..))]
        timeout: u64,
    },
    /// Fetch the package lists anew
    Update {
        /// arm64 or x86_64
        guest: Guest,
        /// The Debian release
        #[arg(long, value_name = "NAME", default_value = DEFAULT_SUITE)]
        suite: String,
    },
}

#[derive(Args, Clone)]
struct Machine {
    /// A file to be found in the guest's /tmp
    #[arg(long, value_name = "FILE")]
    with: Vec<PathBuf>,
    /// A Debian package, NAME or NAME=VERSION, with what it depends on
    #[arg(long, value_name = "DEB")]
    package: Vec<String>,
    /// The xol to put on the guest's PATH instead of the one `cargo vm build` left behind
    #[arg(long, value_name = "FILE")]
    xol: Option<PathBuf>,
    /// The Debian release of the packages
    #[arg(long, value_name = "NAME", default_value = DEFAULT_SUITE)]
    suite: String,
    /// Another kernel: 5.10, 6.12-16k, linux-image-…[/VERSION], or an image's path
    #[arg(long, value_name = "KERNEL")]
    kernel: Option<String>,
    /// Another emulator: its path, or the Debian release to take it from
    #[arg(long, value_name = "QEMU")]
    emulator: Option<PathBuf>,
    /// QEMU's CPU model [default: everything it can emulate]
    #[arg(long, value_name = "MODEL")]
    cpu: Option<String>,
    /// Memory in MiB [default: 512, more for many packages]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(32..))]
    memory: Option<u32>,
    /// How many CPUs
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    smp: u32,
    /// Make the guest's clocks count instructions, a nanosecond each; one CPU
    #[arg(long)]
    icount: bool,
    /// Show what the kernel says on its console
    #[arg(long)]
    verbose: bool,
}

impl Machine {
    fn vm(self, guest: Guest) -> Vm {
        let mut vm = Vm::new(guest).suite(self.suite).smp(self.smp);
        vm = self.with.into_iter().fold(vm, Vm::file);
        vm = self.package.into_iter().fold(vm, Vm::package);
        vm = self.xol.into_iter().fold(vm, Vm::xol);
        vm = self.kernel.into_iter().fold(vm, Vm::kernel);
        vm = self.emulator.into_iter().fold(vm, Vm::emulator);
        vm = self.cpu.into_iter().fold(vm, Vm::cpu);
        vm = self.memory.into_iter().fold(vm, Vm::memory);
        if self.verbose {
            vm = vm.verbose();
        }
        if self.icount { vm.icount() } else { vm }
    }
}

fn main() -> ExitCode {
    match act(Cli::parse().what) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("cargo vm: {error}");
            ExitCode::from(125)
        }
    }
}

fn act(what: What) -> Result<u8, Error> {
    match what {
        What::Run { guest, machine, timeout, command } => run(guest, machine, timeout, &command),
        What::Exec { guest, mut machine, timeout, mut command } => {
            let file = PathBuf::from(&command[0]);
            command[0] = Path::new("/tmp").join(file.file_name().unwrap_or_default()).into();
            machine.with.push(file);
            run(guest, machine, timeout, &command)
        }
        What::Test { guest, machine, in_place, env, timeout, args } => {
            let vm = machine.vm(guest).timeout(Duration::from_secs(timeout));
            let vm = in_place.iter().try_fold(vm, Vm::in_place)?;
            let (cargo, libtest) = cargo_test::split(args);
            let failed = CargoTest { vm, environment: env, cargo, libtest, filters: Vec::new() }
                .run(&mut pass_on)?;
            Ok(u8::from(failed > 0) * 101)
        }
        What::Shell { guest, machine } => shell(&machine.vm(guest)).map(|()| 0),
        What::User { guest, package, suite, command } => {
            User { guest, suite, packages: package }.run(&command)
        }
        What::Build { guest, toolchain, without_jumps, output } => {
            let parts = match without_jumps {
                true => board::Parts::WithoutJumps,
                false => board::Parts::Usual,
            };
            let binary = board::build(guest, toolchain, parts)?;
            let path = output.as_ref().unwrap_or(&binary.path);
            if let Some(to) = &output {
                std::fs::copy(&binary.path, to)
                    .map_err(|e| Error::Other(format!("cannot write {}: {e}", to.display())))?;
            }
            println!("{}: {} bytes, static, {}", path.display(), binary.size, binary.triple);
            Ok(0)
        }
        What::Package { guest, output } => {
            let guests = guest.map_or(vec![Guest::Arm64, Guest::X86_64], |guest| vec![guest]);
            for made in package::build(&guests, &output)? {
                println!("{}", made.display());
            }
            Ok(0)
        }
        What::Compare { guest, both: _, rounds, hits, format, svg, machine, timeout } => {
            let guests = guest.map_or(vec![Guest::Arm64, Guest::X86_64], |guest| vec![guest]);
            let limit = Duration::from_secs(timeout);
            let vm = |guest| (guest, with_libc(machine.clone()).vm(guest).timeout(limit));
            let vms = guests.into_iter().map(vm).collect();
            let text = Compare { vms, rounds, hits, json: format == "json", svg }.run()?;
            // A reader that has gone away is no error of ours.
            let _ = std::io::stdout().write_all(text.as_bytes());
            Ok(0)
        }
        What::Update { guest, suite } => Apt::new(guest, &suite)?.update().map(|()| 0),
    }
}

/// With the object whose instructions are counted.
fn with_libc(mut machine: Machine) -> Machine {
    machine.package.push("libc6".to_owned());
    machine
}

fn run(guest: Guest, machine: Machine, timeout: u64, command: &[OsString]) -> Result<u8, Error> {
    let verbose = machine.verbose;
    let vm = machine.vm(guest).timeout(Duration::from_secs(timeout));
    let mut session = vm.boot()?;
    let (status, out_of_memory) = session.stream(command, &mut pass_on)?;
    if verbose {
        eprint!("{}", session.console());
    }
    if let Some(sentence) = out_of_memory {
        eprintln!("cargo vm: {sentence}");
    }
    Ok(status)
}

/// What the guest's command says, said here. A reader that has gone away is no error of ours.
fn pass_on(stream: Stream, bytes: &[u8]) {
    let _ = match stream {
        Stream::Stdout => {
            std::io::stdout().write_all(bytes).and_then(|()| std::io::stdout().flush())
        }
        Stream::Stderr => std::io::stderr().write_all(bytes),
    };
}
