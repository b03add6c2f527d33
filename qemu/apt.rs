//! Debian packages of any architecture and release, with apt's own resolver, without root and
//! without touching what is installed here: apt is given its own empty state below the cache.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::host::{self, Lock};
use crate::{Error, Guest};

/// The release guests are made of unless told otherwise.
pub const DEFAULT_SUITE: &str = "bookworm";

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt's view of one release for one architecture.
pub struct Apt {
    guest: Guest,
    suite: String,
    root: PathBuf,
}

/// One package as resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version, with the epoch.
    pub version: String,
    /// Its architecture as Debian says it, or `all`.
    pub arch: String,
}

impl Package {
    /// The stem of the file apt downloads it to.
    pub fn stem(&self) -> String {
        format!("{}_{}_{}", self.name, self.version.replace(':', "%3a"), self.arch)
    }
}

impl Apt {
    /// The release `suite` (`bookworm`, `trixie`, `bookworm-backports`…) for `guest`. The first use
    /// downloads the package lists.
    pub fn new(guest: Guest, suite: &str) -> Result<Apt, Error> {
        if !suite.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') || suite.is_empty() {
            return Err(Error::other(format!(
                "{suite} is not a Debian release; bookworm and trixie are"
            )));
        }
        for (tool, package) in [("apt-get", "apt"), ("apt-cache", "apt"), ("dpkg-deb", "dpkg")] {
            host::tool(tool, package)?;
        }
        let keyring = || Path::new(KEYRING).exists().then_some(());
        let install = || {
            if host::is_root() {
                host::install(&["debian-archive-keyring"]);
            }
        };
        host::find_or(&keyring, &install)?.ok_or_else(|| Error::MissingTool {
            tool: format!("{KEYRING} (it authenticates Debian's packages)"),
            install: "sudo apt-get install -y debian-archive-keyring".to_owned(),
        })?;
        let root = host::cache()?.join(format!("apt-{suite}-{}", guest.debian()));
        let apt = Apt { guest, suite: suite.to_owned(), root };
        let _lock = Lock::of(&apt.root)?;
        if !apt.root.join("updated").exists() {
            apt.configure()?;
            apt.refresh()?;
        }
        Ok(apt)
    }

    /// Downloads the package lists anew.
    pub fn update(&self) -> Result<(), Error> {
        let _lock = Lock::of(&self.root)?;
        self.configure()?;
        self.refresh()
    }

    /// `packages` (`NAME` or `NAME=VERSION`) and everything they depend on.
    pub fn resolve(&self, packages: &[String]) -> Result<Vec<Package>, Error> {
        let said = self.remembered(&[&["install".to_owned()], packages].concat(), || {
            let install = || host::output(self.apt_get(&["-s", "-q", "install"]).args(packages));
            let said = install().map_err(|e| self.unknown_among(packages, e))?;
            let inst = said.lines().filter(|l| l.starts_with("Inst ")).collect::<Vec<_>>();
            Ok(inst.join("\n"))
        })?;
        Ok(said.lines().filter_map(parse_inst).collect())
    }

    /// The packages whose names match `pattern` (an extended regular expression), the newest first,
    /// without their dependencies.
    pub fn matching(&self, pattern: &str) -> Result<Vec<Package>, Error> {
        let shown = self.remembered(&["matching".to_owned(), pattern.to_owned()], || {
            let found = host::output(self.apt_cache().args(["search", "--names-only", pattern]))?;
            let names: Vec<&str> = found.lines().filter_map(|l| l.split(' ').next()).collect();
            match names.is_empty() {
                true => Ok(String::new()),
                false => self.show(&names),
            }
        })?;
        let mut packages: Vec<Package> = shown.split("\n\n").filter_map(parse_control).collect();
        packages.sort_by(|a, b| match (newer(&a.version, &b.version), a.version == b.version) {
            (_, true) => Ordering::Equal,
            (true, _) => Ordering::Less,
            (false, _) => Ordering::Greater,
        });
        Ok(packages)
    }

    /// One package by name (`NAME` or `NAME=VERSION`), without its dependencies.
    pub fn one(&self, package: &str) -> Result<Package, Error> {
        let key = ["show".to_owned(), package.to_owned()];
        let shown = self.remembered(&key, || self.show(&[package])).ok();
        shown.and_then(|shown| parse_control(&shown)).ok_or_else(|| self.unknown(package))
    }

    /// The name a package that holds nothing itself stands for: the first it depends on.
    pub fn stands_for(&self, package: &str) -> Result<String, Error> {
        let key = ["show".to_owned(), package.to_owned()];
        let shown = self.remembered(&key, || self.show(&[package])).ok();
        let depends =
            shown.as_ref().and_then(|s| s.lines().find_map(|l| l.strip_prefix("Depends: ")));
        let first = depends.and_then(|d| d.split([' ', ',']).next());
        first.map(str::to_owned).ok_or_else(|| self.unknown(package))
    }

    fn show(&self, names: &[&str]) -> Result<String, Error> {
        host::output(self.apt_cache().args(["show", "--no-all-versions"]).args(names))
    }

    /// What apt says takes it a second to say, and stays true as long as the lists are the same.
    fn remembered(
        &self,
        question: &[String],
        ask: impl FnOnce() -> Result<String, Error>,
    ) -> Result<String, Error> {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        question.hash(&mut hasher);
        let _lock = Lock::of(&self.root)?;
        let memo = self.root.join("answers").join(format!("{:016x}", hasher.finish()));
        if let Ok(text) = fs::read_to_string(&memo) {
            return Ok(text);
        }
        let answer = ask()?;
        memo.parent().map_or(Ok(()), host::make)?;
        fs::write(&memo, &answer).map_err(|e| Error::io("write", &memo, &e))?;
        Ok(answer)
    }

    fn unknown(&self, package: &str) -> Error {
        let (package, suite) = (package.to_owned(), self.suite.clone());
        Error::UnknownPackage { package, suite, guest: self.guest }
    }

    /// apt names what it cannot find; when it says something else, that is all there is.
    fn unknown_among(&self, packages: &[String], said: Error) -> Error {
        let text = said.to_string();
        let named = packages.iter().find(|p| {
            let name = p.split('=').next().unwrap_or(p);
            let ways = [format!("package {name}"), format!("'{name}'"), format!(" {name} :")];
            ways.iter().any(|way| text.contains(way))
        });
        named.map_or(said, |package| self.unknown(package))
    }

    /// The packages' files, downloaded where they are not yet here.
    pub fn download(&self, packages: &[Package]) -> Result<Vec<PathBuf>, Error> {
        let _lock = Lock::of(&self.root)?;
        let dir = self.root.join("archives");
        let file = |p: &Package| dir.join(format!("{}.deb", p.stem()));
        let missing: Vec<&Package> = packages.iter().filter(|p| !file(p).exists()).collect();
        if !missing.is_empty() {
            let wanted: Vec<String> =
                missing.iter().map(|p| format!("{}={}", p.name, p.version)).collect();
            let fetch =
                || host::output(self.apt_get(&["-q", "download"]).args(&wanted).current_dir(&dir));
            // A superseded version leaves the archive: the lists are then out of date.
            if let Err(error) = fetch() {
                if !self.is_stale() {
                    return Err(error);
                }
                self.refresh()?;
                fetch()?;
            }
        }
        packages
            .iter()
            .map(|p| {
                let file = file(p);
                if file.exists() {
                    Ok(file)
                } else {
                    Err(Error::other(format!(
                        "apt downloaded no {}; try `cargo vm update`",
                        file.display()
                    )))
                }
            })
            .collect()
    }

    fn configure(&self) -> Result<(), Error> {
        for dir in ["lists/partial", "archives/partial"] {
            host::make(&self.root.join(dir))?;
        }
        let root = self.root.display();
        let arch = self.guest.debian();
        let mut config = format!(
            r#"Dir::State "{root}";
Dir::State::lists "{root}/lists";
Dir::State::status "{root}/status";
Dir::Cache "{root}";
Dir::Cache::archives "{root}/archives";
Dir::Etc::sourcelist "{root}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Install-Recommends "0";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "0";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "0";
Debug::NoLocking "1";
"#,
        );
        let mirror =
            std::env::var("XOL_VM_MIRROR").unwrap_or_else(|_| "http://deb.debian.org".to_owned());
        let base = self.suite.strip_suffix("-backports").unwrap_or(&self.suite);
        let mut sources = String::new();
        let mut source = |archive: &str, suite: &str| {
            sources.push_str(&format!(
                "deb [arch={arch} signed-by={KEYRING}] {mirror}/{archive} {suite} main\n"
            ));
        };
        source("debian", base);
        if !matches!(base, "sid" | "unstable") {
            source("debian", &format!("{base}-updates"));
            source("debian-security", &format!("{base}-security"));
        }
        if base != self.suite {
            source("debian", &self.suite);
            // Backports are taken only where they are asked for.
            config.push_str(&format!("APT::Default-Release \"{}\";\n", self.suite));
        }
        for (name, content) in
            [("apt.conf", config.as_str()), ("sources.list", &sources), ("status", "")]
        {
            let path = self.root.join(name);
            fs::write(&path, content).map_err(|e| Error::io("write", &path, &e))?;
        }
        Ok(())
    }

    fn refresh(&self) -> Result<(), Error> {
        eprintln!(
            "cargo vm: fetching the package lists of Debian {} for {}",
            self.suite,
            self.guest.debian()
        );
        let _ = fs::remove_dir_all(self.root.join("answers"));
        host::output(&mut self.apt_get(&["-q", "update"])).map_err(|e| {
            Error::other(format!(
                "cannot fetch the package lists of Debian {}: check the network, the release's name, or set \
                 XOL_VM_MIRROR to a mirror that can be reached. {e}",
                self.suite
            ))
        })?;
        let stamp = self.root.join("updated");
        fs::write(&stamp, "").map_err(|e| Error::io("write", &stamp, &e))
    }

    /// Whether the lists are older than the archive is likely to be.
    fn is_stale(&self) -> bool {
        let age =
            fs::metadata(self.root.join("updated")).and_then(|m| m.modified()).map(|t| t.elapsed());
        !matches!(age, Ok(Ok(age)) if age < Duration::from_secs(6 * 3600))
    }

    fn apt_get(&self, args: &[&str]) -> Command {
        let mut command = Command::new("apt-get");
        command.env("APT_CONFIG", self.root.join("apt.conf")).env("LC_ALL", "C").args(args);
        command
    }

    fn apt_cache(&self) -> Command {
        let mut command = Command::new("apt-cache");
        command.env("APT_CONFIG", self.root.join("apt.conf")).env("LC_ALL", "C");
        command
    }
}

/// `Inst NAME (VERSION ORIGIN… [ARCH])`
fn parse_inst(line: &str) -> Option<Package> {
    let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
    // Behind the parentheses it may say what the package is configured with.
    let (version, origin) = rest.split_once('(')?.1.split(')').next()?.split_once(' ')?;
    let arch = origin.rsplit('[').next()?.strip_suffix(']')?;
    Some(Package { name: name.to_owned(), version: version.to_owned(), arch: arch.to_owned() })
}

/// The first stanza of a package list.
fn parse_control(text: &str) -> Option<Package> {
    let stanza = text.split("\n\n").next()?;
    let field =
        |name: &str| stanza.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim().to_owned());
    Some(Package {
        name: field("Package:")?,
        version: field("Version:")?,
        arch: field("Architecture:")?,
    })
}

fn newer(a: &str, b: &str) -> bool {
    Command::new("dpkg")
        .args(["--compare-versions", a, "gt", b])
        .status()
        .is_ok_and(|s| s.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_simulation_of_an_installation_is_read() {
        let line =
            "Inst libc6 (1:2.36-9+deb12u13 Debian:12.12/oldstable, Debian-Security:12 [arm64]) []";
        let package = parse_inst(line).unwrap();
        assert_eq!(package.stem(), "libc6_1%3a2.36-9+deb12u13_arm64");
        assert_eq!(parse_inst("Conf libc6 (1 Debian [arm64])"), None);
    }

    #[test]
    fn a_stanza_is_read() {
        let text = "Package: dash\nArchitecture: arm64\nVersion: 0.5.12-2\n\nPackage: other\n";
        assert_eq!(parse_control(text).unwrap().stem(), "dash_0.5.12-2_arm64");
        assert_eq!(parse_control(""), None);
    }
}
