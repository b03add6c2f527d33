//! The emulator: which one, and its command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Error, Vm, host, packages};

/// Everything an emulator needs to know.
pub(crate) struct Launch {
    pub(crate) emulator: Emulator,
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
    /// In MiB.
    pub(crate) memory: u32,
}

/// The beginning of a command line.
pub(crate) struct Emulator(Vec<OsString>);

impl Emulator {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.0[0]);
        command.args(&self.0[1..]);
        command
    }
}

/// The emulator `vm` asks for: a path, one from another Debian release, else the installed one.
pub(crate) fn emulator(vm: &Vm) -> Result<Emulator, Error> {
    let name = vm.guest.emulator();
    match &vm.emulator {
        None => {
            host::tool(&name, vm.guest.emulator_package()).map(|path| Emulator(vec![path.into()]))
        }
        Some(path) if path.components().count() > 1 => match host::is_executable(path) {
            true => Ok(Emulator(vec![path.into()])),
            false => Err(Error::MissingFile(path.clone())),
        },
        Some(suite) => fetched(&suite.to_string_lossy(), &name, vm.guest.emulator_package()),
    }
}

/// A program of another Debian release, run by that release's own loader with its own libraries.
fn fetched(suite: &str, program: &str, package: &str) -> Result<Emulator, Error> {
    let here = host::guest()?;
    let root = packages::sysroot(here, suite, &[package.to_owned()])?;
    let mut words = packages::loader(here, &root)?;
    words.push(root.join("usr/bin").join(program).into());
    words.push("-L".into());
    words.push(root.join("usr/share/qemu").into());
    Ok(Emulator(words))
}

/// How the host and the guest's first process talk.
pub(crate) enum Talk<'a> {
    /// Orders on the emulator's own streams; the console and the command's streams in these files.
    Ports {
        /// Where the three files go.
        dir: &'a Path,
    },
    /// A person at the console.
    Console,
}

impl Launch {
    pub(crate) fn command(&self, vm: &Vm, talk: &Talk<'_>) -> Command {
        let mut command = self.emulator.command();
        let cpu = vm.cpu.as_deref().unwrap_or(vm.guest.default_cpu());
        command
            .args(["-M", vm.guest.board(cpu), "-cpu", cpu])
            .args(["-m", &self.memory.to_string(), "-smp", &vm.smp.to_string()])
            .args(["-nodefaults", "-display", "none", "-no-reboot"])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initrd);
        if vm.icount {
            // One nanosecond an instruction, and idle time is skipped.
            command.args(["-icount", "shift=0,sleep=off"]);
        }
        // A panic reboots at once, and a reboot ends the emulator.
        let mut append = format!("rdinit=/vm/init console={} panic=-1", vm.guest.console());
        if !vm.verbose {
            append.push_str(" loglevel=4");
        }
        match talk {
            Talk::Console => {
                append.push_str(" xol.shell");
                command.args(["-serial", "mon:stdio"]);
            }
            Talk::Ports { dir } => {
                let file = |id: &str| escaped(&format!("file,id={id},path="), &dir.join(id));
                command
                    .arg("-serial")
                    .arg("chardev:console")
                    .arg("-chardev")
                    .arg(file("console"))
                    .args(["-chardev", "stdio,id=orders,signal=off", "-chardev"])
                    .arg(file("stdout"))
                    .arg("-chardev")
                    .arg(file("stderr"))
                    .args(["-device", "virtio-serial-pci"]);
                for (n, id) in ["orders", "stdout", "stderr"].iter().enumerate() {
                    command.args(["-device", &format!("virtserialport,chardev={id},nr={}", n + 1)]);
                }
            }
        }
        command.arg("-append").arg(append);
        command
    }
}

/// A path behind an option of QEMU's, where a comma is written twice.
fn escaped(option: &str, path: &Path) -> OsString {
    let mut text = OsString::from(option);
    text.push(path.to_string_lossy().replace(',', ",,"));
    text
}
