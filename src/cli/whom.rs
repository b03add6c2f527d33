//! Processes as users name them: `-p 12`, `-p "$(pidof x)"`, `-p redis-server`.

use super::failure::Failure;
use std::collections::BTreeSet;
use std::fs;

/// One that `-p` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// By number.
    Pid(i32),
    /// All of this name: that of the process, or of its program's file.
    Name(String),
}

/// How many names a refusal lists.
const LISTED: usize = 12;

/// Reads one word behind `-p`: numbers between spaces, commas or newlines, or names between commas,
/// since a name may have a space.
pub(super) fn parse(word: &str) -> Result<Vec<Whom>, String> {
    let pieces = |breaks: fn(char) -> bool| -> Vec<String> {
        let pieces = word.split(breaks).map(str::trim).filter(|piece| !piece.is_empty());
        pieces.map(str::to_owned).collect()
    };
    let is_number = |piece: &str| piece.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit());
    let mut all = pieces(|c| c == ',' || c.is_whitespace());
    if !all.iter().all(|piece| is_number(piece)) {
        all = pieces(|c| c == ',' || c == '\n');
    }
    if all.is_empty() {
        return Err("a process is needed: its number or its name".to_owned());
    }
    let whom = |piece: String| match piece.parse() {
        Ok(pid @ 1..) => Ok(Whom::Pid(pid)),
        _ if is_number(&piece) => Err(format!("{piece} is no process: they count from 1 on")),
        _ => Ok(Whom::Name(piece)),
    };
    all.into_iter().map(whom).collect()
}

/// A process and the names that it goes by.
#[derive(Debug)]
struct Named {
    pid: i32,
    comm: String,
    /// Its program's path; none where that may not be read.
    exe: Option<String>,
}

impl Named {
    fn is(&self, name: &str) -> bool {
        let exe = self.exe.as_deref().unwrap_or_default();
        let exe = exe.strip_suffix(" (deleted)").unwrap_or(exe);
        let file = exe.rsplit('/').next().unwrap_or_default();
        self.comm == name || exe == name || !file.is_empty() && file == name
    }
}

/// Looks up the processes that are meant, each once.
///
/// # Errors
/// None of a name, with the names there are.
pub(super) fn pids(all: &[Whom]) -> Result<Vec<i32>, Failure> {
    let running = match all.iter().any(|whom| matches!(whom, Whom::Name(_))) {
        true => running(),
        false => Vec::new(),
    };
    choose(all, &running).map_err(Failure::new)
}

fn choose(all: &[Whom], running: &[Named]) -> Result<Vec<i32>, String> {
    let mut pids = Vec::new();
    for whom in all {
        let before = pids.len();
        match whom {
            Whom::Pid(pid) => pids.push(*pid),
            Whom::Name(name) => {
                pids.extend(running.iter().filter(|one| one.is(name)).map(|one| one.pid));
                if pids.len() == before {
                    return Err(none_of(name, running));
                }
            }
        }
    }
    let mut seen = BTreeSet::new();
    pids.retain(|pid| seen.insert(*pid));
    Ok(pids)
}

/// What to say where no process has a name: those that begin alike, else some of all.
fn none_of(name: &str, running: &[Named]) -> String {
    let all: BTreeSet<&str> = running.iter().map(|one| one.comm.as_str()).collect();
    let start: String = name.chars().take(3).collect::<String>().to_lowercase();
    let alike = |other: &&&str| {
        let other = other.to_lowercase();
        other.contains(&start) || name.to_lowercase().contains(&other)
    };
    let mut listed: Vec<&str> = all.iter().filter(alike).copied().collect();
    let there = if listed.is_empty() { "there are" } else { "near:" };
    if listed.is_empty() {
        listed = all.iter().copied().collect();
    }
    let more = listed.len().saturating_sub(LISTED);
    listed.truncate(LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("no process is called '{name}'; {there} {}{more}", listed.join(", "))
}

/// All processes but this one, the kernel's own and those that have exited.
fn running() -> Vec<Named> {
    let own = std::process::id() as i32;
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut found: Vec<Named> = pids.filter(|&pid| pid != own).filter_map(named).collect();
    found.sort_unstable_by_key(|one| one.pid);
    found
}

fn named(pid: i32) -> Option<Named> {
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned();
    // Neither a kernel thread nor a zombie has a command line.
    if fs::read(format!("/proc/{pid}/cmdline")).ok()?.is_empty() {
        return None;
    }
    let exe = fs::read_link(format!("/proc/{pid}/exe")).ok();
    Some(Named { pid, comm, exe: exe.map(|path| path.to_string_lossy().into_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(n: i32) -> Whom {
        Whom::Pid(n)
    }

    fn name(name: &str) -> Whom {
        Whom::Name(name.to_owned())
    }

    #[test]
    fn numbers_and_names_are_told_apart() {
        for word in ["1 22 333", "1,22,333", "1\n22\n333\n", " 1, 22\t333"] {
            assert_eq!(parse(word), Ok(vec![pid(1), pid(22), pid(333)]), "{word:?}");
        }
        assert_eq!(parse("redis-server"), Ok(vec![name("redis-server")]));
        assert_eq!(parse("tmux: server,7"), Ok(vec![name("tmux: server"), pid(7)]));
        assert_eq!(parse("7zip"), Ok(vec![name("7zip")]));
        for word in ["0", "-3", "", " ", ",", "1 0", "99999999999"] {
            assert!(parse(word).is_err(), "{word:?}");
        }
    }

    #[test]
    fn a_name_is_that_of_the_process_or_of_its_file() {
        let one = |pid, comm: &str, exe: &str| Named {
            pid,
            comm: comm.to_owned(),
            exe: Some(exe.to_owned()),
        };
        let running = [
            one(3, "nginx", "/usr/sbin/nginx (deleted)"),
            one(5, "a-very-long-nam", "/opt/a-very-long-name"),
            one(7, "nginx", "/usr/sbin/nginx"),
        ];
        let choose = |all: &[Whom]| choose(all, &running);
        assert_eq!(choose(&[name("nginx")]), Ok(vec![3, 7]));
        assert_eq!(choose(&[pid(7), name("nginx"), pid(9)]), Ok(vec![7, 3, 9]));
        assert_eq!(choose(&[name("a-very-long-name")]), Ok(vec![5]));
        assert_eq!(choose(&[name("/usr/sbin/nginx")]), Ok(vec![3, 7]));
        let none = choose(&[name("ngimx")]).unwrap_err();
        assert_eq!(none, "no process is called 'ngimx'; near: nginx");
        let none = choose(&[name("redis")]).unwrap_err();
        assert_eq!(none, "no process is called 'redis'; there are a-very-long-nam, nginx");
    }
}
