//! `cargo vm` as its user sees it: streams, status, and errors of one sentence.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};

fn vm(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xol-qemu")).args(args).output().unwrap()
}

/// It failed as `cargo vm` itself, and in one line.
fn sentence(out: &Output) -> String {
    let text = String::from_utf8(out.stderr.clone()).unwrap();
    assert_eq!(out.status.code(), Some(125), "{text}");
    assert!(out.stdout.is_empty());
    // Fetching lists is told too, the first time.
    let lines: Vec<&str> =
        text.lines().filter(|l| !l.contains("fetching the package lists")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    lines[0].to_owned()
}

#[test]
fn a_run_is_its_command() {
    let out = vm(&["run", "x86_64", "--", "sh", "-c", "printf 'o\\0'; printf e >&2; exit 7"]);
    assert_eq!(
        (out.status.code(), out.stdout.as_slice(), out.stderr.as_slice()),
        (Some(7), &b"o\0"[..], &b"e"[..])
    );
}

#[test]
fn a_hang_ends_with_the_console() {
    let script = "echo '<0>stuck here' >/dev/kmsg; sleep 1000";
    let out = vm(&["run", "x86_64", "--timeout", "2", "--", "sh", "-c", script]);
    let text = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(125), "{text}");
    assert!(text.contains("still running after 2 s") && text.contains("stuck here"), "{text}");
}

#[test]
fn a_program_for_the_other_machine_is_refused() {
    let here = Path::new(env!("CARGO_BIN_EXE_xol-qemu")).to_str().unwrap();
    let (is, other) = match std::env::consts::ARCH {
        "x86_64" => ("x86_64", "arm64"),
        _ => ("arm64", "x86_64"),
    };
    for flag in ["--with", "--xol"] {
        let said = sentence(&vm(&["run", other, flag, here, "--", "true"]));
        assert!(
            said.contains(&format!("is a program for {is} and the guest is {other}")),
            "{said}"
        );
    }
    let said = sentence(&vm(&["user", other, "--", here]));
    assert!(said.contains(&format!("is a program for {is}")), "{said}");
}

#[test]
fn a_missing_file_is_named() {
    let said = sentence(&vm(&["run", "arm64", "--with", "/no/such/file", "--", "true"]));
    assert!(said.contains("/no/such/file: there is no such file"), "{said}");
}

#[test]
fn an_unknown_package_is_named() {
    let said = sentence(&vm(&["run", "arm64", "--package", "xol-no-such-package", "--", "true"]));
    assert!(said.contains("no installable package xol-no-such-package"), "{said}");
}

#[test]
fn an_emulator_that_refuses_is_quoted() {
    let said = sentence(&vm(&["run", "arm64", "--cpu", "abacus", "--", "true"]));
    assert!(said.contains("unable to find CPU model 'abacus'"), "{said}");
}

#[test]
fn what_is_missing_on_the_host_is_told_with_the_command_that_installs_it() {
    // As somebody else than root nothing can be installed; as root nothing should be, in a test.
    let here = env!("CARGO_BIN_EXE_xol-qemu");
    let mut command = match std::fs::metadata("/proc/self").unwrap().uid() {
        0 => Command::new("/usr/bin/setpriv"),
        _ => Command::new(here),
    };
    if command.get_program() != here {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", here]);
    }
    let out =
        command.args(["run", "arm64", "--", "true"]).env("PATH", "/var/empty").output().unwrap();
    let said = sentence(&out);
    assert!(said.contains("sudo apt-get install -y qemu-system-arm"), "{said}");
}

#[test]
fn a_wrong_command_line_has_status_2() {
    assert_eq!(vm(&["run", "mips", "--", "true"]).status.code(), Some(2));
    assert_eq!(vm(&["run", "arm64"]).status.code(), Some(2));
    assert_eq!(vm(&["fly"]).status.code(), Some(2));
}

#[test]
fn qemu_user_runs_a_program_of_the_packages() {
    for (guest, machine) in [("arm64", "aarch64"), ("x86_64", "x86_64")] {
        let out = vm(&["user", guest, "--", "dash", "-c", "printf 'o\\0'; printf e >&2; exit 7"]);
        assert_eq!(
            (out.status.code(), out.stdout.as_slice(), out.stderr.as_slice()),
            (Some(7), &b"o\0"[..], &b"e"[..]),
            "{machine}"
        );
        let out = vm(&["user", guest, "--", "dash", "-c", "kill -TERM $$"]);
        assert_eq!(out.status.code(), Some(128 + 15), "{machine}");
    }
}

#[test]
fn a_program_of_this_machine_is_sent_in_and_run() {
    let out = vm(&["exec", "x86_64", "--", env!("CARGO_BIN_EXE_xol-qemu"), "--help"]);
    let here = vm(&["--help"]);
    if std::env::consts::ARCH == "x86_64" {
        assert_eq!(out, here);
    }
}

/// Commands of `cargo vm`, up to its `--`, in the pages and in the workflow they show.
fn shown_commands() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let files = ["docs/board.md", "docs/ci.md", "docs/ci.yml", "docs/comparing.md"];
    let texts = files.map(|file| std::fs::read_to_string(root.join(file)).unwrap());
    let lines = texts.iter().flat_map(|text| text.lines());
    // Prose names it between backticks, without options.
    let commands = lines.filter_map(|line| line.split_once("cargo vm ").map(|(_, words)| words));
    let commands = commands.filter(|words| !words.contains('`'));
    commands.map(|words| words.split(" -- ").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn what_the_pages_tell_to_type_exists() {
    let commands = shown_commands();
    assert!(commands.len() >= 8, "{commands:?}");
    for command in commands {
        let mut words = command.split_whitespace();
        let help = vm(&[words.next().unwrap(), "--help"]);
        assert_eq!(help.status.code(), Some(0), "{command}");
        let help = String::from_utf8(help.stdout).unwrap();
        for option in words.filter(|word| word.starts_with('-')) {
            let has = help.split([' ', ',', '\n']).any(|word| word == option);
            assert!(has, "cargo vm {command}: there is no {option}");
        }
    }
}
