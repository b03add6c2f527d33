//! The target outlives its tracer, whenever that is killed.

use std::time::{Duration, Instant};

use xol_tests::killing::{Death, Victim, dies, syscalls};
use xol_tests::run::{as_often, slowness};
use xol_tests::target::Target;

/// What xol does before it is killed: attaches, arms more sites than it has slots, hits, steals,
/// follows returns, detaches.
fn words(strategy: &str, target: &Target) -> Vec<String> {
    let pid = target.pid().to_string();
    let name = target.name();
    let mut words: Vec<String> =
        ["count", "--strategy", strategy, "--slots", "3", "--duration", "0.03"]
            .map(str::to_owned)
            .into();
    words.extend(["-o".to_owned(), "/dev/null".to_owned(), "-p".to_owned(), pid]);
    words.push(format!("{name}:probed_*"));
    words.push(format!("return:{name}:returns_*"));
    words
}

const VICTIMS: [Victim; 3] = [Victim::Both, Victim::Tracer, Victim::Front];

/// Kills xol once, and lets the target come to its end.
fn survives(strategy: &str, death: Death, victim: Victim) {
    let target = Target::start("loops");
    let end = dies(&words(strategy, &target), death, victim);
    // Long enough that every site is reached by somebody.
    std::thread::sleep(Duration::from_millis(3));
    let finished = target.end();
    let out = finished.out();
    assert!(
        finished.code() == 5 && out == "ready\nran: 1, ticked: 1, wrong: 0\n",
        "{strategy}, {death:?} of {victim:?}, xol ended with {end:?}:\n{finished}"
    );
}

/// Every system call of a run, a share of which is tested in one go. `XOL_CALLS` says which
/// instead: `all`, or `500-560`.
fn at_every_call(strategy: &str) {
    let target = Target::start("loops");
    let calls = syscalls(&words(strategy, &target));
    assert_eq!(target.end().code(), 5);
    let wanted = std::env::var("XOL_CALLS").unwrap_or_default();
    let (from, to, step) = match wanted.split_once('-') {
        Some((from, to)) => (from.parse().expect("a number"), to.parse().expect("a number"), 1),
        None if wanted == "all" => (1, calls, 1),
        None => (1, calls, (calls / as_often(150, 8)).max(1)),
    };
    println!("{strategy}: {calls} calls, every {step}.");
    assert!(calls > 100, "xol made only {calls} calls");
    let begun = Instant::now();
    let mut n = from;
    while n <= to {
        // Where each call is tried, with each of them.
        match step {
            1 => VICTIMS.iter().for_each(|&who| survives(strategy, Death::AtCall(n), who)),
            _ => survives(strategy, Death::AtCall(n), VICTIMS[(n / step) as usize % 3]),
        }
        n += step;
    }
    println!("{strategy}: killed from {from} to {to} in {:?}", begun.elapsed());
}

#[test]
fn at_every_call_with_boost() {
    at_every_call("boost");
}

#[test]
fn at_every_call_with_simulate() {
    at_every_call("simulate");
}

#[test]
fn at_every_call_with_xol() {
    at_every_call("xol");
}

#[test]
fn at_every_call_with_jump() {
    at_every_call("jump");
}

#[test]
fn at_random_moments() {
    // Any seed will do; the moments differ with the machine's load anyway.
    let mut state = 88_172_645_463_325_252u64;
    for n in 0..as_often(300, 20) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let strategy = ["boost", "simulate", "xol", "jump"][n % 4];
        let after = Duration::from_micros(state % 45_000) * slowness();
        survives(strategy, Death::After(after), VICTIMS[n / 4 % 3]);
    }
}
