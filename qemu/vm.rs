use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::apt::{self, Apt};
use crate::initramfs::{self, Placed};
use crate::kernel::Kernel;
use crate::session::Session;
use crate::{Error, Guest, board, elf, launch, packages};

/// A virtual machine to be: what it is made of and what goes into it.
///
/// ```no_run
/// use xol_qemu::{Guest, Vm};
/// let out = Vm::new(Guest::Arm64).file("target/hello").run(["/tmp/hello", "world"])?;
/// assert_eq!((out.status, out.stdout.as_slice()), (0, b"hello world\n".as_slice()));
/// # Ok::<(), xol_qemu::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Vm {
    pub(crate) guest: Guest,
    pub(crate) suite: String,
    pub(crate) files: Vec<PathBuf>,
    placed: Vec<Placed>,
    pub(crate) packages: Vec<String>,
    pub(crate) xol: Option<PathBuf>,
    pub(crate) kernel: Option<String>,
    pub(crate) emulator: Option<PathBuf>,
    pub(crate) cpu: Option<String>,
    pub(crate) memory: Option<u32>,
    pub(crate) smp: u32,
    pub(crate) icount: bool,
    pub(crate) verbose: bool,
    pub(crate) timeout: Duration,
}

/// What a command left behind.
#[derive(Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit status; 128+N if signal N ended it, 126 and 127 if it could not be started.
    pub status: u8,
    /// Byte for byte.
    pub stdout: Vec<u8>,
    /// Byte for byte.
    pub stderr: Vec<u8>,
    /// A sentence if the guest's kernel killed something for want of memory meanwhile.
    pub out_of_memory: Option<String>,
}

/// The streams as text: this is what a failing test shows.
impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("status", &self.status)
            .field("stdout", &String::from_utf8_lossy(&self.stdout))
            .field("stderr", &String::from_utf8_lossy(&self.stderr))
            .field("out_of_memory", &self.out_of_memory)
            .finish()
    }
}

impl Vm {
    /// A guest of Debian's stable parts: two CPUs, 512 MiB, five minutes for a command.
    pub fn new(guest: Guest) -> Vm {
        Vm {
            guest,
            suite: apt::DEFAULT_SUITE.to_owned(),
            files: Vec::new(),
            placed: Vec::new(),
            packages: Vec::new(),
            xol: None,
            kernel: None,
            emulator: None,
            cpu: None,
            memory: None,
            smp: 2,
            icount: false,
            verbose: false,
            timeout: Duration::from_secs(300),
        }
    }

    /// A file to be found in the guest's `/tmp` under its own name, with its executable bit.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Vm {
        self.files.push(path.into());
        self
    }

    /// A file, or everything below a directory, to be found in the guest where it is here.
    pub fn in_place(mut self, path: impl AsRef<Path>) -> Result<Vm, Error> {
        let path = path.as_ref();
        let path = fs::canonicalize(path).map_err(|_| Error::MissingFile(path.to_owned()))?;
        if path.is_dir() {
            let failed = |e| Error::io("read", &path, &e);
            for entry in fs::read_dir(&path).map_err(failed)? {
                self = self.in_place(entry.map_err(failed)?.path())?;
            }
        } else if path.is_file() {
            let to = path.as_os_str().as_encoded_bytes()[1..].to_vec();
            self.placed.push(Placed { from: path, to });
        }
        Ok(self)
    }

    /// A Debian package, `NAME` or `NAME=VERSION`, with what it depends on.
    pub fn package(mut self, name: impl Into<String>) -> Vm {
        self.packages.push(name.into());
        self
    }

    /// The `xol` to put on the guest's PATH instead of the one [`board::build`] left behind.
    pub fn xol(mut self, path: impl Into<PathBuf>) -> Vm {
        self.xol = Some(path.into());
        self
    }

    /// The Debian release the programs come from; `bookworm` unless said.
    pub fn suite(mut self, suite: impl Into<String>) -> Vm {
        self.suite = suite.into();
        self
    }

    /// Another kernel than the release's: a version (`5.10`), a version and flavour (`6.12-16k`),
    /// a package (`linux-image-…`, `/VERSION` behind it if an exact one is meant) or an image.
    pub fn kernel(mut self, wanted: impl Into<String>) -> Vm {
        self.kernel = Some(wanted.into());
        self
    }

    /// Another emulator than the one on the PATH: a path, or a Debian release to take it from.
    pub fn emulator(mut self, path: impl Into<PathBuf>) -> Vm {
        self.emulator = Some(path.into());
        self
    }

    /// QEMU's CPU model and features; everything it can emulate unless said.
    pub fn cpu(mut self, model: impl Into<String>) -> Vm {
        self.cpu = Some(model.into());
        self
    }

    /// Memory in MiB.
    pub fn memory(mut self, mib: u32) -> Vm {
        self.memory = Some(mib);
        self
    }

    /// How many CPUs.
    pub fn smp(mut self, cpus: u32) -> Vm {
        self.smp = cpus;
        self
    }

    /// Makes the guest's clocks count its instructions: one is a nanosecond. Exact and repeatable,
    /// with one CPU.
    pub fn icount(mut self) -> Vm {
        self.icount = true;
        self.smp = 1;
        self
    }

    /// Lets the kernel say everything on its console.
    pub fn verbose(mut self) -> Vm {
        self.verbose = true;
        self
    }

    /// How long each command may take. Booting has its own limit, two minutes or this if it is more.
    pub fn timeout(mut self, limit: Duration) -> Vm {
        self.timeout = limit;
        self
    }

    /// Boots and waits until the guest takes commands.
    pub fn boot(&self) -> Result<Session, Error> {
        Session::start(self)
    }

    /// Boots, runs `command` and ends the guest.
    pub fn run<S: AsRef<OsStr>>(
        &self,
        command: impl IntoIterator<Item = S>,
    ) -> Result<Output, Error> {
        self.boot()?.run(command)
    }

    /// Writes the initramfs below `dir` and gives the emulator's command line up to the devices.
    pub(crate) fn prepare(&self, dir: &Path) -> Result<launch::Launch, Error> {
        // What the user can have got wrong comes first; fetching takes a while.
        for file in self.files.iter().chain(&self.xol) {
            elf::check(file, self.guest)?;
        }
        let emulator = launch::emulator(self)?;
        let kernel = Kernel::fetch(self.guest, &self.suite, self.kernel.as_deref())?;
        let busybox = initramfs::busybox(&Apt::new(self.guest, &self.suite)?)?;
        let archives = packages::archives(self.guest, &self.suite, &self.packages)?;
        let initrd = dir.join("initrd");
        let size = initramfs::write(&initrd, &busybox, &kernel, &archives, &self.placed())?;
        let mib = u32::try_from(size >> 20).unwrap_or(u32::MAX);
        // The archive and what is unpacked from it are both there for a moment, and the kernel gives
        // its first file system half of what the archive leaves.
        let memory = self.memory.unwrap_or_else(|| 512.max(256 + mib.saturating_mul(4)));
        Ok(launch::Launch { emulator, kernel: kernel.image, initrd, memory })
    }

    fn placed(&self) -> Vec<Placed> {
        let place = |from: &Path, dir: &str, name: &OsStr| Placed {
            from: from.to_owned(),
            to: [dir.as_bytes(), name.as_encoded_bytes()].concat(),
        };
        let xol = self.xol.clone().or_else(|| board::built(self.guest));
        let mut placed = self.placed.clone();
        placed.extend(xol.iter().map(|path| place(path, "usr/local/bin/", OsStr::new("xol"))));
        placed.extend(
            self.files.iter().filter_map(|path| Some(place(path, "tmp/", path.file_name()?))),
        );
        placed
    }
}

/// A script for the guest's shell that becomes `command`.
pub(crate) fn script<S: AsRef<OsStr>>(command: impl IntoIterator<Item = S>) -> Vec<u8> {
    let mut script = b"exec".to_vec();
    for word in command {
        script.extend_from_slice(b" '");
        for &byte in word.as_ref().as_encoded_bytes() {
            match byte {
                b'\'' => script.extend_from_slice(b"'\\''"),
                _ => script.push(byte),
            }
        }
        script.push(b'\'');
    }
    script.push(b'\n');
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_words() {
        assert_eq!(script(["echo", "it's", "$HOME", ""]), b"exec 'echo' 'it'\\''s' '$HOME' ''\n");
    }
}
