//! Every order in which signals, leaving and other threads can meet a hit, one by one.
//!
//! Each test runs the same program on the fake target, unprobed once and then probed, with something
//! happening before every turn in turn. What must hold: each handler sees a state that the program is in
//! when nothing is probed, in that order; each signal is delivered once; at the end everything is as
//! without probes; each execution is counted once.

use super::fake::{END, Fake, INSTRUCTIONS, Planned, SYSCALL, Seen};
use std::collections::BTreeMap;
use xol_arch::Strategy;

/// Runs the program with traps at some instructions, and everything at the planned turns.
fn run(
    sites: &[u64],
    strategy: Strategy,
    slots: usize,
    threads: usize,
    planned: &[(usize, Planned)],
    order: &dyn Fn(usize) -> usize,
) -> Fake {
    let mut fake = Fake::new(threads, sites, strategy, slots);
    fake.run(planned, order);
    fake
}

/// The states that an unprobed thread is in, one after the other.
fn path() -> Vec<Seen> {
    let mut fake = run(&[], Strategy::Boost, 0, 1, &[], &|_| 0);
    std::mem::take(&mut fake.threads[0].path)
}

/// How often each instruction is executed: a fault is no execution.
fn executions(path: &[Seen]) -> BTreeMap<u64, u64> {
    let mut all = BTreeMap::new();
    for (n, seen) in path.iter().enumerate() {
        if path.get(n + 1).is_none_or(|next| next.pc != seen.pc) {
            *all.entry(seen.pc).or_default() += 1;
        }
    }
    all
}

/// Asserts what must hold of every run.
fn assert_as_unprobed(fake: &Fake, path: &[Seen], what: &str) {
    for (n, thread) in fake.threads.iter().enumerate() {
        assert!(thread.ended, "{what}: {thread:#?}");
        assert_eq!(
            thread.path.last().map(|s| strip(s, n)),
            path.last().map(|s| strip(s, 0)),
            "{what}"
        );
        let mut behind = 0;
        let mut numbers = Vec::new();
        for (sent, seen) in &thread.seen {
            let at = path[behind..].iter().position(|state| strip(state, 0) == strip(seen, n));
            let Some(at) = at else { panic!("{what}: {sent:?} sees {seen:x?}, not in {path:x?}") };
            behind += at;
            if !sent.is_a_fault() {
                numbers.push(sent.number());
            }
        }
        assert_eq!(numbers, (1..=thread.sent).collect::<Vec<_>>(), "{what}");
    }
}

/// A state without what differs from thread to thread.
fn strip(seen: &Seen, thread: usize) -> Seen {
    seen.of_first_thread(thread)
}

/// Asserts that every execution was counted, or, where the tracer has left, none twice.
fn assert_counted(fake: &Fake, path: &[Seen], threads: u64, all: bool, what: &str) {
    let executed = executions(path);
    for (at, hits) in fake.hits() {
        let expected = executed.get(&at).copied().unwrap_or(0) * threads;
        assert!(if all { hits == expected } else { hits <= expected }, "{what}: {at:#x} {hits}");
    }
}

/// So many turns that nothing can be planned behind them.
const TURNS: usize = 80;

fn one_signal(sites: &[u64], strategy: Strategy) {
    let path = path();
    for turn in 0..TURNS {
        let planned = [(turn, Planned::Signal(0))];
        let fake = run(sites, strategy, sites.len(), 1, &planned, &|_| 0);
        let what = format!("{strategy:?}, a signal at {turn}");
        assert_as_unprobed(&fake, &path, &what);
        assert_counted(&fake, &path, 1, true, &what);
    }
}

fn two_signals(sites: &[u64], strategy: Strategy) {
    let path = path();
    for first in 0..TURNS {
        for second in first..(first + 8).min(TURNS) {
            let planned = [(first, Planned::Signal(0)), (second, Planned::Signal(0))];
            let fake = run(sites, strategy, sites.len(), 1, &planned, &|_| 0);
            let what = format!("{strategy:?}, signals at {first} and {second}");
            assert_as_unprobed(&fake, &path, &what);
            assert_counted(&fake, &path, 1, true, &what);
        }
    }
}

fn leaving(sites: &[u64], strategy: Strategy) {
    let path = path();
    for turn in 0..TURNS {
        let fake = run(sites, strategy, sites.len(), 1, &[(turn, Planned::Leave)], &|_| 0);
        let what = format!("{strategy:?}, left at {turn}");
        assert_as_unprobed(&fake, &path, &what);
        assert_counted(&fake, &path, 1, false, &what);
    }
}

fn leaving_with_a_signal(sites: &[u64], strategy: Strategy) {
    let path = path();
    for turn in 0..TURNS {
        for other in turn.saturating_sub(6)..(turn + 6).min(TURNS) {
            let planned = [(other, Planned::Signal(0)), (turn, Planned::Leave)];
            let fake = run(sites, strategy, sites.len(), 1, &planned, &|_| 0);
            let what = format!("{strategy:?}, left at {turn}, a signal at {other}");
            assert_as_unprobed(&fake, &path, &what);
            assert_counted(&fake, &path, 1, false, &what);
        }
    }
}

fn two_threads(sites: &[u64], strategy: Strategy) {
    let path = path();
    for pattern in 0..1u32 << 10 {
        let order = |turn: usize| (pattern >> (turn % 10)) as usize & 1;
        let planned = [(pattern as usize % 40, Planned::Signal(0))];
        let fake = run(sites, strategy, sites.len(), 2, &planned, &order);
        let what = format!("{strategy:?}, two threads by {pattern:#b}");
        assert_as_unprobed(&fake, &path, &what);
        assert_counted(&fake, &path, 2, true, &what);
    }
}

fn few_slots(sites: &[u64], strategy: Strategy) {
    let path = path();
    for pattern in 0..1u32 << 10 {
        let order = |turn: usize| (pattern >> (turn % 10)) as usize & 1;
        let planned = [(pattern as usize % 40, Planned::Signal(1))];
        let fake = run(sites, strategy, 2, 2, &planned, &order);
        let what = format!("{strategy:?}, two slots for all, by {pattern:#b}");
        assert_as_unprobed(&fake, &path, &what);
        // A site may be given up for want of a slot.
        assert_counted(&fake, &path, 2, false, &what);
    }
}

/// The call ends when a signal's handler has run, and not before.
fn a_blocked_call(strategy: Strategy) {
    let path = path();
    for turn in 0..TURNS {
        for leave in [turn / 2, turn, turn + 3, usize::MAX] {
            let mut fake = Fake::new(1, &[SYSCALL], strategy, 1);
            fake.threads[0].waits_for = 1;
            fake.run(&[(turn, Planned::Signal(0)), (leave, Planned::Leave)], &|_| 0);
            let what = format!("{strategy:?}, a signal at {turn}, left at {leave}");
            assert_as_unprobed(&fake, &path, &what);
            assert_counted(&fake, &path, 1, leave > TURNS, &what);
        }
    }
}

/// The call's push can only be made by the processor.
fn a_growing_stack(sites: &[u64], strategy: Strategy) {
    let path = path();
    for turn in 0..TURNS {
        for leave in [turn / 2, turn, turn + 3, usize::MAX] {
            let mut fake = Fake::new(1, sites, strategy, sites.len());
            fake.threads[0].grows = true;
            fake.run(&[(turn, Planned::Signal(0)), (leave, Planned::Leave)], &|_| 0);
            let what = format!("{strategy:?}, a signal at {turn}, left at {leave}");
            assert_as_unprobed(&fake, &path, &what);
            assert_counted(&fake, &path, 1, leave > TURNS, &what);
        }
    }
}

fn leaving_two_threads(sites: &[u64], strategy: Strategy) {
    let path = path();
    for turn in 0..TURNS {
        for pattern in 0..64u32 {
            let order = |turn: usize| (pattern >> (turn % 6)) as usize & 1;
            let planned = [(turn / 2, Planned::Signal(1)), (turn, Planned::Leave)];
            let fake = run(sites, strategy, sites.len(), 2, &planned, &order);
            let what = format!("{strategy:?}, left at {turn}, two threads by {pattern:#b}");
            assert_as_unprobed(&fake, &path, &what);
            assert_counted(&fake, &path, 2, false, &what);
        }
    }
}

#[test]
fn the_program_executes_each_instruction_and_faults_once() {
    let path = path();
    assert_eq!(path.last().map(|seen| seen.pc), Some(END));
    assert_eq!(executions(&path).len(), INSTRUCTIONS.len() + 1);
    assert_eq!(path.iter().filter(|seen| seen.pc == INSTRUCTIONS[1]).count(), 2);
    assert!(INSTRUCTIONS.contains(&SYSCALL));
}

macro_rules! orders {
    ($($module:ident: $strategy:ident)*) => {$(
        mod $module {
            use super::*;
            const STRATEGY: Strategy = Strategy::$strategy;

            #[test]
            fn a_signal_before_every_turn() {
                one_signal(&INSTRUCTIONS, STRATEGY);
            }

            #[test]
            fn a_signal_with_one_site_alone() {
                for site in INSTRUCTIONS {
                    one_signal(&[site], STRATEGY);
                }
            }

            #[test]
            fn two_signals_before_all_turns() {
                two_signals(&INSTRUCTIONS, STRATEGY);
            }

            #[test]
            fn leaving_before_every_turn() {
                leaving(&INSTRUCTIONS, STRATEGY);
            }

            #[test]
            fn leaving_with_one_site_alone() {
                for site in INSTRUCTIONS {
                    leaving(&[site], STRATEGY);
                    leaving_with_a_signal(&[site], STRATEGY);
                }
            }

            #[test]
            fn leaving_while_a_signal_comes() {
                leaving_with_a_signal(&INSTRUCTIONS, STRATEGY);
            }

            #[test]
            fn two_threads_in_every_order() {
                two_threads(&INSTRUCTIONS, STRATEGY);
            }

            #[test]
            fn slots_that_are_stolen() {
                few_slots(&INSTRUCTIONS, STRATEGY);
            }

            #[test]
            fn a_call_that_waits_for_a_signal() {
                a_blocked_call(STRATEGY);
            }

            #[test]
            fn a_stack_that_only_the_processor_can_write() {
                a_growing_stack(&INSTRUCTIONS, STRATEGY);
                a_growing_stack(&[0x1006], STRATEGY);
            }

            #[test]
            fn leaving_two_threads_in_every_order() {
                leaving_two_threads(&INSTRUCTIONS, STRATEGY);
            }
        }
    )*};
}

orders! {
    boost: Boost
    xol: Xol
    step: Step
    simulate: Simulate
}
