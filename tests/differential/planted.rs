//! `planted`: puts mistakes into a copy of the tree, one after the other, and shows that the tests
//! notice each. `cargo run --release -p xol-differential --bin planted [WORD]`; with a word only
//! those whose name has it: `planted killed` takes away what lets a program outlive its tracer.
//!
//! A suite is first run on the copy as it is, where it must pass; a copy with a mistake must still
//! compile, and then its suite must fail.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

/// A mistake.
struct Fault {
    name: &'static str,
    file: &'static str,
    /// Stands in the file exactly once.
    right: &'static str,
    wrong: &'static str,
    suite: Suite,
}

const FAULTS: [Fault; 10] = [
    Fault {
        name: "one flag in a simulation: JBE looks at CF alone",
        file: "arch/x86_64/simulate.rs",
        right: "3 => rflags & (CF | ZF) != 0,",
        wrong: "3 => rflags & CF != 0,",
        suite: Suite::X86_64,
    },
    Fault {
        name: "a displacement off by one",
        file: "arch/x86_64/relocate/operand.rs",
        right: "let end = slot.add(decoded.bytes.len() as u64);",
        wrong: "let end = slot.add(decoded.bytes.len() as u64 + 1);",
        suite: Suite::X86_64,
    },
    Fault {
        name: "RCX after SYSCALL",
        file: "arch/x86_64/relocate/mod.rs",
        right: "            regs.rcx = next;\n",
        wrong: "",
        suite: Suite::X86_64,
    },
    Fault {
        name: "flags that a caller or a callee may read are lost",
        file: "arch/x86_64/emit/flags.rs",
        right: "_ => return true,",
        wrong: "_ => return false,",
        suite: Suite::X86_64,
    },
    Fault {
        name: "the exclusive scan in one direction only",
        file: "arch/arm64/plan/exclusives.rs",
        right: "from = from.max(at.0.saturating_sub(reach));",
        wrong: "from = from.max(at.0);",
        suite: Suite::Unit,
    },
    Fault {
        name: "BTYPE never set",
        file: "arch/arm64/simulate.rs",
        right: "regs.set_btype(btype);",
        wrong: "let _ = btype;\n    regs.set_btype(Btype::None);",
        suite: Suite::Arm64,
    },
    Fault {
        name: "a literal load of the wrong width",
        file: "arch/arm64/simulate.rs",
        right: "Literal::X | Literal::D => 8,",
        wrong: "Literal::X | Literal::D => 4,",
        suite: Suite::Arm64,
    },
    Fault {
        name: "killed with stops read so that their signal is gone",
        file: "targets/ptrace/wait.rs",
        right: "let info = sys::get_siginfo(tid)?;",
        wrong: "let info = sys::get_siginfo(tid)?;\n        sys::wait(Whom::One(tid), true, false)?;",
        suite: Suite::Death,
    },
    Fault {
        name: "killed with no handler in the target",
        file: "targets/ptrace/signals.rs",
        right: "        self.write_action(tid, ours(home))?;\n",
        wrong: "",
        suite: Suite::Death,
    },
    Fault {
        name: "killed in a call whose frame brings nothing back",
        file: "targets/ptrace/inject.rs",
        right: "native::write_frame(&regs, mask, &fpstate, Addr(at), frame);",
        wrong: "native::write_frame(&Default::default(), mask, &fpstate, Addr(at), frame);",
        suite: Suite::Death,
    },
];

/// What must notice.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Suite {
    X86_64,
    Arm64,
    Unit,
    Death,
}

impl Suite {
    /// A command that only builds, and the one that runs.
    fn commands(self) -> [&'static [&'static str]; 2] {
        match self {
            Suite::X86_64 => [
                &["cargo", "build", "--release", "-p", "xol-differential"],
                &[
                    "cargo",
                    "run",
                    "--release",
                    "-p",
                    "xol-differential",
                    "--bin",
                    "differential",
                    "--",
                    "--arch",
                    "x86_64",
                    "--seconds",
                    "10",
                ],
            ],
            Suite::Arm64 => [
                &[
                    "ci/arm64",
                    "run",
                    "xol-differential",
                    "differential",
                    "--arch",
                    "arm64",
                    "--states",
                    "0",
                ],
                &[
                    "ci/arm64",
                    "run",
                    "xol-differential",
                    "differential",
                    "--arch",
                    "arm64",
                    "--seconds",
                    "20",
                ],
            ],
            Suite::Death => [
                &["cargo", "build", "--release", "-p", "xol", "-p", "xol-tests"],
                &["cargo", "test", "-p", "xol-tests", "--test", "death"],
            ],
            Suite::Unit => [
                &["cargo", "test", "-p", "xol-arch", "--lib", "--no-run"],
                &["cargo", "test", "-p", "xol-arch", "--lib"],
            ],
        }
    }
}

fn main() -> ExitCode {
    match all() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("planted: {error}");
            ExitCode::FAILURE
        }
    }
}

fn all() -> io::Result<bool> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let work = root.join("target/planted");
    let tree = work.join("tree");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    copy(&root, &tree)?;
    let run = |words: &[&str]| -> io::Result<Output> {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(&tree);
        command.env("CARGO_TARGET_DIR", work.join("target")).output()
    };
    let word = std::env::args().nth(1).unwrap_or_default();
    let faults: Vec<&Fault> = FAULTS.iter().filter(|fault| fault.name.contains(&word)).collect();
    for suite in [Suite::X86_64, Suite::Unit, Suite::Arm64, Suite::Death] {
        if !faults.iter().any(|fault| fault.suite == suite) {
            continue;
        }
        for words in suite.commands() {
            let output = run(words)?;
            if !output.status.success() {
                return Err(failed("without a mistake", words, &output));
            }
        }
    }
    let mut noticed = 0;
    for fault in &faults {
        let path = tree.join(fault.file);
        let text = fs::read_to_string(&path)?;
        if text.matches(fault.right).count() != 1 {
            let why = format!("{} has not once: {}", fault.file, fault.right);
            return Err(io::Error::other(why));
        }
        fs::write(&path, text.replace(fault.right, fault.wrong))?;
        let [build, test] = fault.suite.commands();
        let built = run(build)?;
        if !built.status.success() {
            return Err(failed(fault.name, build, &built));
        }
        let output = run(test)?;
        fs::write(&path, text)?;
        let verdict = if output.status.success() { "NOT NOTICED" } else { "noticed" };
        noticed += usize::from(!output.status.success());
        println!("{verdict:12} {:50} {}", fault.name, first_words(&output));
    }
    println!("{noticed} of {} noticed", faults.len());
    Ok(noticed == faults.len())
}

/// The line that says what differs, or which test failed.
fn first_words(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let says = |line: &&str| line.ends_with(" differs") || line.ends_with("... FAILED");
    text.lines().find(says).unwrap_or("").to_owned()
}

fn failed(what: &str, words: &[&str], output: &Output) -> io::Error {
    let said = String::from_utf8_lossy(&output.stderr);
    io::Error::other(format!("{what}: {} failed:\n{said}", words.join(" ")))
}

/// Copies a tree without build output and history.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path: PathBuf = entry?.path();
        let Some(name) = path.file_name() else { continue };
        if ["target", ".git"].iter().any(|skipped| name == *skipped) {
            continue;
        }
        if path.is_dir() {
            copy(&path, &to.join(name))?;
        } else {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}
