//! `launch [--map OBJECT]… [--stop] -- CMD ARG…`: becomes CMD, without address randomisation, and
//! with no signal ignored.
//!
//! `--map` maps an object executable first, so that the kernel checks a uprobe's instruction
//! when the probe is registered; `--stop` waits for SIGCONT in front of the execve.
// One mapping that is never looked into, and default actions; nix has no safe form of either.
#![allow(unsafe_code)]

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::personality::{self, Persona};
use nix::sys::signal::{SigHandler, Signal, raise};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let mut stop = false;
    loop {
        let Some(word) = args.next() else { return wrong("no command") };
        match word.to_str() {
            Some("--") => break,
            Some("--stop") => stop = true,
            Some("--map") => {
                let Some(path) = args.next() else { return wrong("--map needs an object") };
                if let Err(e) = map(&path) {
                    return wrong(&format!("{}: {e}", path.display()));
                }
            }
            _ => return wrong("unknown option"),
        }
    }
    let Some(program) = args.next() else { return wrong("no command") };
    if let Err(e) = personality::set(Persona::ADDR_NO_RANDOMIZE) {
        return wrong(&format!("personality: {e}"));
    }
    // A shell's `&` ignores some.
    for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGPIPE] {
        // SAFETY: no handler is replaced, only the default or SIG_IGN.
        if let Err(e) = unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) } {
            return wrong(&format!("{signal}: {e}"));
        }
    }
    if stop && let Err(e) = raise(Signal::SIGSTOP) {
        return wrong(&format!("SIGSTOP: {e}"));
    }
    let error = Command::new(&program).args(args).exec();
    eprintln!("launch: {}: {error}", program.display());
    ExitCode::from(127)
}

fn wrong(what: &str) -> ExitCode {
    eprintln!("launch: {what}");
    ExitCode::from(2)
}

/// Maps the whole of `path` executable, for as long as this process lives.
fn map(path: &std::ffi::OsStr) -> std::io::Result<()> {
    let file = File::open(path)?;
    let len = usize::try_from(file.metadata()?.len()).map_err(std::io::Error::other)?;
    let len = NonZeroUsize::new(len).ok_or_else(|| std::io::Error::other("empty"))?;
    let prot = ProtFlags::PROT_READ | ProtFlags::PROT_EXEC;
    // SAFETY: a new private mapping at an address that the kernel chooses touches nothing else.
    unsafe { mmap(None, len, prot, MapFlags::MAP_PRIVATE, &file, 0) }?;
    Ok(())
}
