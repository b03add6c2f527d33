//! `xol` as people install it: a tar archive and a Debian package.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Error, Guest, board, host};

/// The version of what is packaged: the workspace has one.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is packed for every architecture alike.
#[derive(Clone, Debug)]
pub struct Papers {
    /// A folder with man pages.
    pub manual: PathBuf,
    /// What each shell completes, by the shell's name.
    pub completions: Vec<(&'static str, String)>,
    /// The folder that has both licences and README.md.
    pub source: PathBuf,
}

impl Papers {
    /// Has an `xol` of this machine write them into `folder`.
    pub fn write(xol: &Path, folder: &Path, source: PathBuf) -> Result<Papers, Error> {
        let manual = folder.join("man");
        // Pages of commands that there are no longer would stay.
        let _ = fs::remove_dir_all(&manual);
        host::output(Command::new(xol).arg("man").arg(&manual))?;
        let complete = |shell| {
            host::output(Command::new(xol).args(["completions", shell])).map(|text| (shell, text))
        };
        let completions: Result<_, Error> =
            ["bash", "zsh", "fish"].into_iter().map(complete).collect();
        Ok(Papers { manual, completions: completions?, source })
    }

    fn pages(&self) -> Result<Vec<PathBuf>, Error> {
        let entries =
            fs::read_dir(&self.manual).map_err(|e| Error::io("read", &self.manual, &e))?;
        let mut pages: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        pages.sort();
        Ok(pages)
    }
}

/// Builds `xol` with everything in it for each architecture, and packs it into `folder`. Returns the
/// archives and packages.
pub fn build(guests: &[Guest], folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let source = board::workspace()
        .ok_or_else(|| Error::other("cannot find xol's workspace; run this inside it"))?;
    let target =
        board::target_dir().ok_or_else(|| Error::other("cannot find cargo's target directory"))?;
    host::make(folder)?;
    // The one for this machine can be asked for its papers, which are every machine's.
    let here = host::guest()?;
    let own = board::build(here, None, board::Parts::All)?;
    let papers = Papers::write(&own.path, &target.join("package"), source)?;
    let mut made = Vec::new();
    for &guest in guests {
        let binary = match guest == here {
            true => own.clone(),
            false => board::build(guest, None, board::Parts::All)?,
        };
        made.push(archive(guest, &binary.path, &papers, folder)?);
        made.push(debian(guest, &binary.path, &papers, folder)?);
    }
    Ok(made)
}

/// Makes `xol-VERSION-ARCH.tar.gz`.
pub fn archive(
    guest: Guest,
    binary: &Path,
    papers: &Papers,
    folder: &Path,
) -> Result<PathBuf, Error> {
    let name = format!("xol-{VERSION}-{guest}");
    let tree = Tree::new(folder, &name)?;
    tree.copy(binary, "xol", 0o755)?;
    for text in ["LICENSE-MIT", "LICENSE-APACHE", "README.md"] {
        tree.copy(&papers.source.join(text), text, 0o644)?;
    }
    for page in papers.pages()? {
        tree.copy(&page, &format!("man/{}", file_name(&page)), 0o644)?;
    }
    for (shell, text) in &papers.completions {
        tree.write(&format!("completions/{}", completion(shell)), text, 0o644)?;
    }
    let made = folder.join(format!("{name}.tar.gz"));
    let mut tar = Command::new(host::tool("tar", "tar")?);
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "-czf"]);
    host::output(tar.arg(&made).arg("-C").arg(folder).arg(&name))?;
    Ok(made)
}

/// Makes `xol_VERSION_ARCH.deb`.
pub fn debian(
    guest: Guest,
    binary: &Path,
    papers: &Papers,
    folder: &Path,
) -> Result<PathBuf, Error> {
    let architecture = match guest {
        Guest::Arm64 => "arm64",
        Guest::X86_64 => "amd64",
    };
    let name = format!("xol_{VERSION}_{architecture}");
    let tree = Tree::new(folder, &name)?;
    tree.copy(binary, "usr/bin/xol", 0o755)?;
    for text in ["LICENSE-MIT", "LICENSE-APACHE", "README.md"] {
        tree.copy(&papers.source.join(text), &format!("usr/share/doc/xol/{text}"), 0o644)?;
    }
    tree.write("usr/share/doc/xol/copyright", COPYRIGHT, 0o644)?;
    for page in papers.pages()? {
        let to = format!("usr/share/man/man1/{}", file_name(&page));
        tree.copy(&page, &to, 0o644)?;
        // Without a name and a time in it, which would differ in every package.
        host::output(Command::new("gzip").arg("-9n").arg(tree.at(&to)))?;
    }
    for (shell, text) in &papers.completions {
        let folder = match *shell {
            "bash" => "bash-completion/completions",
            "zsh" => "zsh/vendor-completions",
            _ => "fish/vendor_completions.d",
        };
        // bash looks for a file that is called as the command is.
        let name = if *shell == "bash" { "xol" } else { completion(shell) };
        tree.write(&format!("usr/share/{folder}/{name}"), text, 0o644)?;
    }
    let size = fs::metadata(binary).map_err(|e| Error::io("read", binary, &e))?.len();
    let control = format!(
        "Package: xol\nVersion: {VERSION}\nArchitecture: {architecture}\nMaintainer: {}\n\
         Installed-Size: {}\nSection: devel\nPriority: optional\n{DESCRIPTION}",
        maintainer(),
        size / 1024 + 100,
    );
    tree.write("DEBIAN/control", &control, 0o644)?;
    let made = folder.join(format!("{name}.deb"));
    let mut deb = Command::new(host::tool("dpkg-deb", "dpkg")?);
    host::output(deb.args(["--root-owner-group", "--build"]).arg(&tree.root).arg(&made))?;
    Ok(made)
}

/// Whoever builds a package is asked for it, as Debian's own tools ask.
fn maintainer() -> String {
    let say = |name, or: &str| std::env::var(name).unwrap_or_else(|_| or.to_owned());
    format!("{} <{}>", say("DEBFULLNAME", "whoever built it"), say("DEBEMAIL", "root@localhost"))
}

/// What the file with a shell's completions is called.
fn completion(shell: &str) -> &'static str {
    match shell {
        "bash" => "xol.bash",
        "zsh" => "_xol",
        _ => "xol.fish",
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

const COPYRIGHT: &str = "\
xol may be used under the MIT licence or the Apache licence 2.0, whichever you like. Their texts are
in LICENSE-MIT and LICENSE-APACHE in this folder.
";

const DESCRIPTION: &str = "\
Description: probes for running arm64 and x86-64 programs
 Puts probes into running Linux programs from user space: it counts calls, tells their arguments, return
 values and durations, and needs no kernel uprobes, no BPF, no debug information, and no root beyond the
 right to ptrace.
 .
 The program is static and depends on nothing.
";

/// A folder that is packed and then deleted.
struct Tree {
    root: PathBuf,
}

impl Tree {
    fn new(folder: &Path, name: &str) -> Result<Tree, Error> {
        let root = folder.join(name);
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).map_err(|e| Error::io("create", &root, &e))?;
        mode(&root, 0o755)?;
        Ok(Tree { root })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>, bits: u32) -> Result<(), Error> {
        let file = self.at(name);
        // Whatever the umask is: what is packed is for everybody.
        let mut folder = self.root.clone();
        for part in Path::new(name).parent().into_iter().flat_map(Path::components) {
            folder.push(part);
            host::make(&folder)?;
            mode(&folder, 0o755)?;
        }
        fs::write(&file, text).map_err(|e| Error::io("write", &file, &e))?;
        mode(&file, bits)
    }

    fn copy(&self, from: &Path, name: &str, bits: u32) -> Result<(), Error> {
        let bytes = fs::read(from).map_err(|e| Error::io("read", from, &e))?;
        self.write(name, bytes, bits)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn mode(path: &Path, bits: u32) -> Result<(), Error> {
    let mode = fs::Permissions::from_mode(bits);
    fs::set_permissions(path, mode).map_err(|e| Error::io("set the mode of", path, &e))
}
