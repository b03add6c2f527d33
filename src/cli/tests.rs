//! The contract: forms of the command line, statuses, and what is said when it is wrong.

use super::args::{Command, Outcome, Run, Subject, parse};
use super::output::Format;
use std::path::Path;
use std::time::Duration;
use xol::engine::Wish;
use xol::symbols::Machine;
use xol_arch::Strategy;

fn words(line: &str) -> Result<Command, Outcome> {
    parse(line.split_whitespace().map(Into::into))
}

fn wrong(line: &str) -> String {
    match words(line) {
        Err(Outcome::Wrong(failure)) => format!("{failure:?}"),
        other => panic!("{line}: {other:?}"),
    }
}

fn run(line: &str) -> Run {
    match words(line) {
        Ok(Command::Run(run)) => *run,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn a_run_is_read_whole() {
    let run = run("xol count libc:malloc free -f -o out --format json --strategy xol --slots 64 \
         --max-sites 1000 --hits-per-site 1 --max-events 10 --duration 1.5 --interval 2 \
         --allow-exclusive-head --calls -- ls -l --color=never");
    assert_eq!(
        run.probes.iter().map(|p| p.text.as_str()).collect::<Vec<_>>(),
        ["libc:malloc", "free"]
    );
    let command = ["ls", "-l", "--color=never"].map(Into::into).to_vec();
    assert_eq!(run.subject, Subject::Launch(command));
    assert!(run.follow && run.rules.exclusive_head && run.calls);
    assert_eq!(run.report.to.as_deref(), Some(Path::new("out")));
    assert_eq!(run.report.format, Format::Json);
    assert_eq!(run.wish, Wish::Only(Strategy::Xol));
    assert_eq!((run.slots, run.max_sites, run.hits_per_site), (Some(64), Some(1000), Some(1)));
    assert_eq!(run.max_events, Some(10));
    assert_eq!(run.duration, Some(Duration::from_millis(1500)));
    assert_eq!(run.interval, Some(Duration::from_secs(2)));
}

#[test]
fn defaults_are_plain() {
    let run = run("xol trace malloc -p 12 -p 13,14");
    assert_eq!(run.subject, Subject::Attach([12, 13, 14].map(super::whom::Whom::Pid).to_vec()));
    assert_eq!((run.wish, run.report.format), (Wish::Auto, Format::Text));
    assert!(!run.follow && !run.calls && run.report.to.is_none() && run.duration.is_none());
}

#[test]
fn a_wrong_command_line_is_status_2_and_says_what_is_wrong() {
    for (line, said) in [
        ("xol", "requires a subcommand"),
        ("xol cuont malloc -- ls", "a similar subcommand exists: 'count'"),
        ("xol count malloc", "nothing to probe: give a program"),
        ("xol count -- ls", "required arguments were not provided"),
        ("xol count malloc -p 0", "0 is no process"),
        ("xol count malloc -p 1 -- ls", "cannot be used with"),
        ("xol count malloc --sltos 1 -- ls", "a similar argument exists: '--slots'"),
        ("xol count malloc --slots 0 -- ls", "a number from 1 on"),
        ("xol count malloc --duration soon -- ls", "seconds are needed"),
        ("xol count malloc --strategy fast -- ls", "possible values: auto, step"),
        ("xol count foo(path) -- ls", "cannot read the probe"),
        ("xol count malloc -o |less -- ls", "-o >(less)"),
        ("xol trace --stack malloc -- ls", "not built yet"),
        ("xol trace --stack=4 malloc -- ls", "not built yet"),
        ("xol count --preload malloc -- ls", "not built yet"),
        ("xol count malloc --inject -p 1", "not built yet"),
        ("xol trace --sysroot / malloc -- ls", "not built yet"),
        ("xol count malloc -g localhost:1", "-g: not built yet"),
        ("xol count malloc --where x -- ls", "no argument is called 'x'"),
        ("xol count foo --where x -- ls", "give it a signature, as in 'foo(size: u64)'"),
        ("xol count malloc+4 --where size -- ls", "name registers, as in 'malloc+4(rax: u64)'"),
        ("xol count malloc --where size+1 -- ls", "&& or || is missing"),
        ("xol count malloc --where size= -- ls", "equal is written =="),
        ("xol count malloc --format chrome -- ls", "possible values: text, json, csv, openmetrics"),
        (
            "xol trace malloc --format openmetrics -- ls",
            "possible values: text, json, chrome, csv, record",
        ),
        ("xol list libc --format csv", "possible values: text, json"),
        ("xol trace malloc --columns when -- ls", "there is no 'when'; there are time, thread,"),
        (
            "xol trace malloc --columns pid --format json -- ls",
            "--columns is for --format text and csv",
        ),
        ("xol trace malloc --time delta --format csv -- ls", "--time is for --format text"),
        ("xol trace malloc --time wall --format chrome -- ls", "--time wall is for --format text"),
        ("xol trace malloc --tree -- ls", "write return:f"),
        ("xol trace return:malloc --tree --where ret -- ls", "when it ends"),
        ("xol trace malloc --format record -- ls", "give its file with -o FILE"),
        ("xol trace malloc --format record -ff -o a -- ls", "xol show -ff"),
        ("xol trace malloc --format record --tree -o a -- ls", "--tree is for --format text"),
        ("xol trace malloc --last 0 -- ls", "a number from 1 on"),
        ("xol count malloc --format record -- ls", "possible values: text, json, csv"),
        ("xol show", "required arguments were not provided"),
        ("xol show a --format openmetrics", "possible values: text, json, chrome, csv, record"),
        ("xol trace malloc -ff -- ls", "-o FILE"),
        ("xol trace malloc -ff -o - -- ls", "-o FILE"),
        ("xol trace foo --failed -- ls", "'--failed' is known at a return"),
        ("xol trace malloc --where ret -- ls", "'ret' is known at a return"),
        ("xol trace return:foo --where ret -- ls", "the type of what comes back is not known"),
        ("xol trace malloc+4 --where ret -- ls", "'ret' is known at a return"),
        ("xol trace return:malloc return:foo --failed -- ls", "(of 'return:foo')"),
        ("xol latency malloc+4 -- ls", "'malloc+4' is no function by its name"),
        ("xol latency malloc --by foo -- ls", "nothing is called 'foo'; there are size, ret, tid"),
        ("xol latency work --by n -- ls", "a signature names arguments, as in 'f(n: u64)'"),
        ("xol latency malloc free --by size -- ls", "'free' has no argument of that name"),
        ("xol latency malloc --linear 0,10ns -- ls", "three times are needed"),
        ("xol latency malloc --linear 5ns,5ns,1ns -- ls", "B must be more than A"),
        ("xol latency malloc --linear 0,10ns,0 -- ls", "STEP is 0"),
        ("xol latency malloc --linear 0,1s,1ns -- ls", "more than 1000 bars"),
        ("xol latency malloc --linear a,b,c -- ls", "'a' is no time"),
        ("xol latency malloc --slower fast -- ls", "'fast' is no time; try 100ns"),
        ("xol latency malloc --sort rate -- ls", "no such column here, but total"),
        ("xol latency malloc --sort self -- ls", "with --self only"),
        ("xol latency malloc --top 0 -- ls", "a number from 1 on"),
        ("xol count open --hist path -- ls", "'path' of 'open' is str"),
        ("xol latency malloc --slower 1ms --format openmetrics -- ls", super::asked::NO_FORM),
        ("xol count malloc --hist tid -- ls", "nothing is called 'tid'; there are size, ret"),
        ("xol count malloc+4 --by ret -- ls", "an instruction returns nothing"),
        ("xol count malloc --hist size --summary -- ls", "cannot be used with"),
        ("xol top malloc --by size -- ls", "unexpected argument '--by'"),
        ("xol stacks malloc -p 1", "stacks: not built yet"),
        ("xol compare --rounds 0", "a number from 1 on"),
        ("xol compare --loops kinds", "two numbers are needed"),
        ("xol plan --raw x", "--raw needs --arch"),
        ("xol plan --raw --arch arm64 x main", "--raw takes no LOCATION"),
        ("xol plan --raw --arch mips x", "possible values: arm64, x86_64"),
        ("xol plan x --base 1", "required arguments were not provided"),
        ("xol plan --raw --arch arm64 --base 0xzz x", "an address is needed"),
    ] {
        let message = wrong(line);
        assert!(message.contains(said), "{line}: {message}");
        assert!(message.contains("status: 2"), "{line}: {message}");
        assert!(!message.contains("\"error:"), "{line}: {message}");
        assert!(message.matches("\\n").count() < 4, "{line}: {message}");
    }
}

#[test]
fn objects_are_planned_by_location_or_flat() {
    let Ok(Command::Plan(plan)) = words("xol plan --raw --arch arm64 --base 0x8000 fw.bin") else {
        panic!()
    };
    assert_eq!(plan.raw, Some((Machine::Arm64, 0x8000)));
    let Ok(Command::Plan(plan)) = words("xol plan ls main 0x10 --summary") else { panic!() };
    assert_eq!((plan.locations, plan.summary), (vec!["main".into(), "0x10".into()], true));
}

#[test]
fn help_names_every_command_and_gives_examples() {
    let help = |line: &str| match words(line) {
        Err(Outcome::Help(text)) => text,
        other => panic!("{line}: {other:?}"),
    };
    let all = help("xol --help");
    let commands =
        ["trace", "count", "latency", "top", "stacks", "show", "list", "plan", "compare", "doctor"];
    for command in commands {
        assert!(all.contains(&format!("\n  {command} ")), "{command}: {all}");
        let one = help(&format!("xol {command} --help"));
        let built = !one.contains("(not built yet)\n\nUsage");
        assert!(!built || one.contains("EXAMPLES:\n  xol "), "{command}: {one}");
        // What is read on a terminal of 100 columns.
        assert!(one.lines().all(|l| l.chars().count() <= 110), "{command}: {one}");
    }
    for option in ["-o", "--format", "-f", "--slots", "--max-sites", "--hits-per-site"] {
        assert!(help("xol count --help").contains(option), "{option}");
    }
}
