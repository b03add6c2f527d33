//! Programs of the other architecture as processes of this machine, under qemu-user.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;

use crate::apt::DEFAULT_SUITE;
use crate::{Error, Guest, board, elf, host, packages};

/// What runs under qemu-user: which architecture, with which packages beside the C library.
#[derive(Clone, Debug)]
pub struct User {
    /// The architecture.
    pub guest: Guest,
    /// The Debian release of the libraries.
    pub suite: String,
    /// Packages whose programs and libraries are to be found.
    pub packages: Vec<String>,
}

impl User {
    /// Debian stable's C library and nothing else.
    pub fn new(guest: Guest) -> User {
        User { guest, suite: DEFAULT_SUITE.to_owned(), packages: Vec::new() }
    }

    /// A command that runs `words` under the emulator. The program is a path of this machine, or
    /// the name of one from the packages, or `xol` where it has been built.
    pub fn command(&self, words: &[OsString]) -> Result<Command, Error> {
        let (program, args) = words
            .split_first()
            .ok_or_else(|| Error::other("there is no command to run: put it behind --"))?;
        let emulator = host::tool(&self.guest.user_emulator(), "qemu-user")?;
        let root = packages::sysroot(self.guest, &self.suite, &self.packages)?;
        let path = PathBuf::from(program);
        let program = if path.components().count() > 1 {
            path
        } else {
            ["usr/bin", "usr/sbin", "usr/games", "usr/local/bin"]
                .iter()
                .map(|dir| root.join(dir).join(&path))
                .find(|file| host::is_executable(file))
                .or_else(|| board::built(self.guest).filter(|_| path.as_os_str() == "xol"))
                .ok_or_else(|| {
                    Error::other(format!(
                        "{} is in none of the packages; name its package with --package, or give its path",
                        path.display()
                    ))
                })?
        };
        elf::check(&program, self.guest)?;
        let mut command = Command::new(emulator);
        command.arg("-L").arg(root).arg(program).args(args);
        Ok(command)
    }

    /// Runs `words` on this terminal and returns the exit status, 128+N for signal N.
    pub fn run(&self, words: &[OsString]) -> Result<u8, Error> {
        let status = self.command(words)?.status().map_err(|e| {
            Error::other(format!("cannot start {}: {e}", self.guest.user_emulator()))
        })?;
        let code = status.code().or_else(|| status.signal().map(|n| n + 128)).unwrap_or(125);
        Ok(u8::try_from(code).unwrap_or(125))
    }
}
