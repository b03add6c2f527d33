//! What a hit costs, in instructions of the guest: `ci/guests as_debian --nocapture` (qemu/tests) sets
//! `XOL_ICOUNT` and has the clock count instructions.
//! Elsewhere the same is counted, and the nanoseconds are told only.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use xol_tests::bench::median;
use xol_tests::cost::measure;
use xol_tests::run::as_often;

#[test]
fn a_hit_costs_little_more_than_a_stop() {
    // One CPU for the program and its tracer: no other to be woken.
    let mut cpu = CpuSet::new();
    cpu.set(0).expect("CPU 0 exists");
    sched_setaffinity(Pid::from_raw(0), &cpu).expect("CPU 0 is ours");
    // An emulated machine that counts instructions counts the same each time.
    let costs = measure(as_often(5, 3), 2000);
    print!("{costs}");
    if std::env::var_os("XOL_ICOUNT").is_none() {
        return;
    }
    // On x86-64 siginfo and the PC are requests of their own: the row with the least says what
    // remains then.
    let most = if cfg!(target_arch = "aarch64") { 1.15 } else { 1.5 };
    for row in costs.rows.iter().filter(|r| r.how == "boost") {
        let (ratio, _, _) = costs.ratio(row);
        assert!(ratio <= most, "{} at {}: {ratio}\n{costs}", row.how, row.entry);
    }
    for (how, most) in [("jump", 25.0), ("record", 60.0)] {
        for row in costs.rows.iter().filter(|r| r.how == how) {
            let cost = median(&row.cost);
            assert!(cost <= most, "{cost} instructions at {}\n{costs}", row.entry);
        }
    }
}
