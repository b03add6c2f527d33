//! What is made of the table of commands for those who install xol: `xol completions SHELL`, and
//! `xol man DIR`.

use super::failure::Failure;
use super::help;
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Command};
use clap_complete::Shell;
use std::path::{Path, PathBuf};

/// The commands.
pub(super) fn commands() -> Vec<Command> {
    vec![
        Command::new("completions")
            .about("What bash, zsh or fish reads to complete xol's command line")
            .after_help(help::COMPLETIONS)
            .arg(
                Arg::new("shell")
                    .value_name("SHELL")
                    .required(true)
                    .value_parser(PossibleValuesParser::new(["bash", "zsh", "fish"])),
            ),
        Command::new("man").about("Writes xol's man pages into a folder").arg(
            Arg::new("folder")
                .value_name("DIR")
                .required(true)
                .value_parser(clap::value_parser!(PathBuf)),
        ),
    ]
}

/// What one of them prints; `None` where `name` is another command.
pub(super) fn run(
    name: &str,
    args: &ArgMatches,
    table: fn() -> Command,
) -> Option<Result<String, Failure>> {
    match name {
        "completions" => {
            let shell = args.get_one::<String>("shell").cloned().unwrap_or_default();
            Some(completions(table(), &shell))
        }
        "man" => {
            let folder = args.get_one::<PathBuf>("folder").cloned().unwrap_or_default();
            Some(pages(table(), &folder).map(|()| String::new()))
        }
        _ => None,
    }
}

/// What a shell reads to complete xol's command line.
fn completions(mut table: Command, shell: &str) -> Result<String, Failure> {
    let shell = match shell {
        "bash" => Shell::Bash,
        "zsh" => Shell::Zsh,
        _ => Shell::Fish,
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut table, "xol", &mut text);
    String::from_utf8(text).map_err(|_| Failure::new("a completion is no text"))
}

/// Writes xol.1, and a page for each command that the help lists, into a folder.
fn pages(mut table: Command, folder: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(format!("cannot write to {}: {error}", folder.display()))
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    table.build();
    let mut pages = vec![("xol".to_owned(), table.clone())];
    for command in table.get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = format!("xol-{}", command.get_name());
        // Its own name is what the page is called.
        let shown: &'static str = Box::leak(name.clone().into_boxed_str());
        pages.push((name, command.clone().name(shown).display_name(shown)));
    }
    for (name, command) in pages {
        let mut text = Vec::new();
        clap_mangen::Man::new(command).title(name.clone()).render(&mut text).map_err(failed)?;
        // What stands behind the options is in lines already.
        let text = String::from_utf8_lossy(&text);
        let text = match text.split_once(".SH EXTRA\n") {
            Some((before, behind)) => {
                let (extra, rest) = match behind.find("\n.SH ") {
                    Some(at) => behind.split_at(at + 1),
                    None => (behind, ""),
                };
                format!("{before}.SH NOTES\n.nf\n{extra}.fi\n{rest}")
            }
            None => text.into_owned(),
        };
        std::fs::write(folder.join(format!("{name}.1")), text).map_err(failed)?;
    }
    Ok(())
}
