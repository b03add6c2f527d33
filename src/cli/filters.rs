//! `--where` and `--failed` on the command line.

use super::args::{flag, one, option, switch};
use super::asked::known;
use super::failure::Failure;
use clap::{Arg, ArgMatches};
use xol::spec::{
    Called, Location, ObjectPattern, Offset, Spec, SpecError, SymbolName, Type, When, Where,
    prototype,
};

/// Which calls are let through, and how much is read of what they are about.
pub(super) fn options() -> [Arg; 4] {
    [
        option(
            "where",
            "FILTER",
            "Only calls whose arguments match: 'flags & 0x40 != 0 && path ~ \"/etc/*\"'",
        ),
        switch("failed").help("Only calls that have failed: a negative value, NULL, an errno"),
        option("string", "N", "Tell N bytes of a string at most [default: 256]")
            .value_parser(bytes),
        switch("files")
            .short('y')
            .help("Tell descriptors with what they are open for: 3</etc/passwd>"),
    ]
}

/// How much is read of what calls are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reads {
    /// `--string`.
    pub(crate) string: Option<usize>,
    /// `-y`.
    pub(crate) files: bool,
}

impl Reads {
    pub(super) fn new(args: &clap::ArgMatches) -> Reads {
        Reads { string: super::args::one(args, "string"), files: super::args::flag(args, "files") }
    }
}

/// As many as a thread may stand still for.
fn bytes(text: &str) -> Result<usize, String> {
    let most = 1 << 20;
    text.parse()
        .ok()
        .filter(|n| (1..=most).contains(n))
        .ok_or_else(|| format!("a number from 1 to {most} is needed"))
}

/// The filter of a run. With `--failed`, what a function of libc has returned is told where only its name
/// is given.
pub(super) fn of_run(args: &ArgMatches, probes: &mut [Spec]) -> Result<Option<Where>, Failure> {
    let failed = flag(args, "failed");
    for probe in probes.iter_mut().filter(|probe| failed && probe.when == When::Entry) {
        let back = known(probe).and_then(|signature| signature.ret);
        if probe.signature.is_none() && back.is_some_and(|ty| ty != Type::Void) {
            probe.when = When::Return;
        }
    }
    filter(one::<String>(args, "where"), failed, probes)
}

/// `--where` and `--failed`, checked against what is known of the probes' arguments already.
pub(super) fn filter(
    text: Option<String>,
    failed: bool,
    probes: &[Spec],
) -> Result<Option<Where>, Failure> {
    let usage = |error: SpecError| Failure::usage(error.to_string());
    let filter = text.map(|text| Where::parse(&text)).transpose().map_err(usage)?;
    let filter = if failed { Some(Where::failed(filter)) } else { filter };
    let Some(filter) = filter else { return Ok(None) };
    for probe in probes {
        let entry = matches!(
            probe.location,
            Location::Symbol { offset: Offset::At(0), .. } | Location::Address(_)
        );
        if filter.has_caller() && !entry {
            return Err(Failure::usage(format!(
                "--where: a caller is known at a function's entry only, and not at '{}'",
                probe.text
            )));
        }
        let returns = probe.when.ret();
        let libcs = probe.object.as_ref().is_none_or(ObjectPattern::may_be_libc);
        let function = match &probe.location {
            Location::Symbol { name, offset: Offset::At(0), .. } => Some(name),
            _ => None,
        };
        let known = || prototype(function?.as_str()).filter(|_| libcs);
        let signature = probe.signature.clone().or_else(known);
        if signature.is_some() || !filter.has_arguments() {
            // Which functions a pattern is about is known later.
            let later = signature.is_none() && matches!(function, Some(SymbolName::Glob(_)));
            if !(later && returns) {
                let of = Called { signature: signature.as_ref(), returns, fails: None };
                drop(filter.bind(&of).map_err(|mut error| {
                    if probes.len() > 1 {
                        error.what += &format!(" (of '{}')", probe.text);
                    }
                    usage(error)
                })?);
            }
            continue;
        }
        match function {
            None => {
                return Err(Failure::usage(format!(
                    "--where compares arguments, which are known at a function's entry; at '{0}' name \
                     registers, as in '{0}(rax: u64)'",
                    probe.text
                )));
            }
            Some(SymbolName::Glob(_)) => {}
            Some(name) => {
                let mine = !libcs && prototype(name.as_str()).is_some();
                return Err(Failure::usage(format!(
                    "--where: nothing is known of the arguments of '{}'{}; give it a signature, as \
                     in '{}(size: u64)'",
                    probe.text,
                    if mine { ": what is known of libc's is not true of another's" } else { "" },
                    probe.text
                )));
            }
        }
    }
    Ok(Some(filter))
}
