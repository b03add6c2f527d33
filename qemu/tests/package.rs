//! What is packed is all there, with the right names and modes. A script stands in for `xol`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use xol_qemu::Guest;
use xol_qemu::package::{self, Papers};

const STAND_IN: &str = "#!/bin/sh
case $1 in
man) mkdir -p \"$2\" && echo '.TH xol 1' >\"$2/xol.1\" && echo '.TH xol-trace 1' >\"$2/xol-trace.1\" ;;
completions) echo \"# for $2\" ;;
esac
";

/// An empty folder, what is to be packed, and the stand-in.
fn given(name: &str) -> (PathBuf, Papers, PathBuf) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let xol = folder.join("stand-in");
    let text = folder.join("text");
    fs::write(&text, STAND_IN).unwrap();
    // By a process of its own: what another test starts meanwhile would hold it open for writing, and
    // nothing executes such a file (ETXTBSY).
    let installed = Command::new("install").args(["-m", "700"]).args([&text, &xol]).status();
    assert!(installed.unwrap().success());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
    let papers = Papers::write(&xol, &folder.join("papers"), source).unwrap();
    (folder, papers, xol)
}

fn said(program: &str, words: &[&str], file: &Path) -> String {
    let out = Command::new(program).args(words).arg(file).output().unwrap();
    assert!(out.status.success(), "{program}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn a_debian_package_has_everything() {
    let (folder, papers, xol) = given("deb");
    for (guest, architecture) in [(Guest::Arm64, "arm64"), (Guest::X86_64, "amd64")] {
        let made = package::debian(guest, &xol, &papers, &folder).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(made, folder.join(format!("xol_{version}_{architecture}.deb")));
        let info = said("dpkg-deb", &["--info"], &made);
        for line in ["Package: xol", &format!("Version: {version}"), "Maintainer: "] {
            assert!(info.contains(line), "{line}: {info}");
        }
        assert!(info.contains(&format!("Architecture: {architecture}")), "{info}");
        assert!(!info.contains("Depends"), "{info}");
        // Mode, owner, and name of each.
        let list = said("dpkg-deb", &["--contents"], &made);
        let all: Vec<(&str, &str, &str)> = list
            .lines()
            .map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                (words[0], words[1], words[5])
            })
            .collect();
        for (mode, name) in [
            ("-rwxr-xr-x", "./usr/bin/xol"),
            ("drwxr-xr-x", "./usr/bin/"),
            ("-rw-r--r--", "./usr/share/man/man1/xol.1.gz"),
            ("-rw-r--r--", "./usr/share/man/man1/xol-trace.1.gz"),
            ("-rw-r--r--", "./usr/share/bash-completion/completions/xol"),
            ("-rw-r--r--", "./usr/share/zsh/vendor-completions/_xol"),
            ("-rw-r--r--", "./usr/share/fish/vendor_completions.d/xol.fish"),
            ("-rw-r--r--", "./usr/share/doc/xol/copyright"),
            ("-rw-r--r--", "./usr/share/doc/xol/LICENSE-MIT"),
            ("-rw-r--r--", "./usr/share/doc/xol/LICENSE-APACHE"),
            ("-rw-r--r--", "./usr/share/doc/xol/README.md"),
        ] {
            assert!(all.contains(&(mode, "root/root", name)), "{name}: {list}");
        }
        assert!(!list.contains("DEBIAN"), "{list}");
        let files = all.iter().filter(|(mode, ..)| mode.starts_with('-')).count();
        assert_eq!(files, 10, "{list}");
    }
}

#[test]
fn an_archive_has_one_folder_with_everything() {
    let (folder, papers, xol) = given("tar");
    let made = package::archive(Guest::Arm64, &xol, &papers, &folder).unwrap();
    let name = format!("xol-{}-arm64", env!("CARGO_PKG_VERSION"));
    assert_eq!(made, folder.join(format!("{name}.tar.gz")));
    let list = said("tar", &["-tzf"], &made);
    let files: Vec<&str> = list.lines().filter(|line| !line.ends_with('/')).collect();
    let names = [
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "completions/_xol",
        "completions/xol.bash",
        "completions/xol.fish",
        "man/xol-trace.1",
        "man/xol.1",
        "xol",
    ];
    assert_eq!(files, names.map(|file| format!("{name}/{file}")));
    let long = said("tar", &["-tvzf"], &made);
    let mode = long.lines().find(|line| line.ends_with("/xol")).map(|line| &line[..10]);
    assert_eq!(mode, Some("-rwxr-xr-x"), "{long}");
    let shown = said("tar", &["-xOzf"], &made);
    assert!(shown.contains("# for zsh") && shown.contains(STAND_IN), "{shown}");
}

#[test]
fn what_is_missing_is_named() {
    let (folder, mut papers, xol) = given("missing");
    papers.source = folder.clone();
    let error = package::debian(Guest::Arm64, &xol, &papers, &folder).unwrap_err().to_string();
    assert!(error.contains("LICENSE-MIT"), "{error}");
    let error = Papers::write(Path::new("/bin/false"), &folder, folder.clone()).unwrap_err();
    assert!(error.to_string().contains("false"), "{error}");
}
