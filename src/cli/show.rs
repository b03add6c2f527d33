//! `xol show`: a recording told, as `xol trace` would have told it.

use super::args::{flag, one};
use super::book::Book;
use super::failure::Failure;
use super::filters;
use super::help;
use super::look;
use super::output::Report;
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;
use xol::record::{Again, Ended, Player, RecordError, Told};
use xol::spec::Spec;

/// The table of its options.
pub(super) fn commands() -> Vec<clap::Command> {
    let formats = ["text", "json", "chrome", "csv", "record"];
    vec![
        clap::Command::new("show")
            .about("A recording, told as trace would have told it")
            .after_help(help::SHOW)
            .args([
                Arg::new("file")
                    .required(true)
                    .value_name("FILE")
                    .value_parser(clap::value_parser!(PathBuf))
                    .help("What trace --format record has written; - is stdin"),
                Arg::new("output")
                    .short('o')
                    .value_name("FILE")
                    .value_parser(clap::value_parser!(PathBuf))
                    .help("Where the report goes; - is stdout [default: stdout]"),
                Arg::new("format")
                    .long("format")
                    .value_name("FORMAT")
                    .help("text, json, chrome, csv, record [default: text]")
                    .hide_possible_values(true)
                    .value_parser(PossibleValuesParser::new(formats)),
                Arg::new("where")
                    .long("where")
                    .value_name("FILTER")
                    .help("Only calls whose arguments match: see xol help trace"),
                Arg::new("failed")
                    .long("failed")
                    .action(ArgAction::SetTrue)
                    .help("Only calls that have failed: a negative value, NULL, an errno"),
                Arg::new("follow")
                    .short('f')
                    .action(ArgAction::Count)
                    .help("-ff writes FILE.PID for each process, with -o FILE"),
            ])
            .args(look::options()),
    ]
}

/// Tells a recording.
pub(super) fn run(args: &ArgMatches) -> Result<(), Failure> {
    let file: PathBuf = one(args, "file").unwrap_or_default();
    let name = file.display().to_string();
    let from: Box<dyn Read> = if file.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        let failed = |error| Failure::new(format!("cannot open {name}: {error}"));
        Box::new(File::open(&file).map_err(failed)?)
    };
    let wrong = |error: RecordError| Failure::new(format!("{name}: {error}"));
    let cut = || {
        format!(
            "{name} ends before the run did: xol was killed, the disk was full, or it still records; \
             what is whole was told"
        )
    };
    let Some(mut player) = Player::new(BufReader::with_capacity(1 << 17, from)).map_err(wrong)?
    else {
        return Err(Failure::new(format!("{name} ends before its first event")));
    };
    let probes: Result<Vec<Spec>, _> =
        player.run().probes.iter().map(|text| Spec::parse(text)).collect();
    let probes = probes.map_err(|error| Failure::new(format!("{name}: {error}")))?;
    let filter = filters::filter(one(args, "where"), flag(args, "failed"), &probes)?;
    if filter.as_ref().is_some_and(xol::spec::Where::has_caller) {
        return Err(Failure::usage("--where: a recording does not have where calls come from"));
    }
    let to: PathBuf = one(args, "output").unwrap_or_else(|| "-".into());
    if to == file && to.as_os_str() != "-" {
        return Err(Failure::usage("-o: a recording cannot be written over itself"));
    }
    let report = Report::new(args, Some(to));
    let look = look::look(args, &report, filter.as_ref(), &probes)?;
    let mut book = Book::new(look, report, true, player.run().clone())?;
    let mut again = filter.map(|filter| Again::new(filter, probes));
    let mut failed = None;
    let played = player.play(&mut |told| {
        let result = match (told, &mut again) {
            (Told::Pause(now), _) => book.pause(now),
            (Told::Event(record, row), None) => book.again(record, row),
            (Told::Event(record, row), Some(again)) => {
                let mut result = Ok(());
                again.event(record, row, &mut |record| {
                    if result.is_ok() {
                        result = book.again(record, row);
                    }
                });
                result
            }
        };
        failed = result.err();
        failed.is_none()
    });
    if let Some(failure) = failed {
        return Err(failure);
    }
    let gaps = match &played {
        Ok(Some(Ended::Whole(gaps))) => gaps.clone(),
        _ => xol::record::Gaps::default(),
    };
    book.finish(&gaps)?;
    match played.map_err(wrong)? {
        Some(Ended::Cut) => super::run::say(&cut()),
        _ => super::run::say_missed(&gaps),
    }
    Ok(())
}
