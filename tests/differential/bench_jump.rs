//! `bench-jump`: what a jump probe costs on this machine, as rows of a table. Never a test.

use std::hint::black_box;
use std::sync::atomic::Ordering;
use std::time::Instant;

use xol::engine::Reader;
use xol_arch::arm64::Arm64;
use xol_arch::jump::{
    Features, Filter, LongCode, Record, Recorder, Relation, Shape, Side, Test, Value, Values,
};
use xol_arch::x86_64::X86_64;
use xol_arch::{Addr, Arch, Text};
use xol_differential::calls::Function;
use xol_differential::jumping::armed::{Armed, PLUS_ONE, arm, features};
use xol_targets::shared::Shared;

/// Calls in one measurement: as many as a shard of the ring has slots.
const CALLS: u64 = 4096;
const ROUNDS: usize = 2000;

fn main() {
    // One thread uses one shard, which stays in a cache as one that is read does.
    let shape = Shape::new(4, 12).expect("a shape");
    let ring = Shared::new(shape.len() as usize).expect("memory");
    let counter = Shared::new(4096).expect("memory");
    let at = |shared: &Shared| Addr(shared.words().as_ptr() as u64);
    let count = Recorder::Count { counter: at(&counter) };
    let event = |args, time| Recorder::Event {
        ring: at(&ring),
        shape,
        missed: at(&counter).add(8),
        probe: 1,
        values: Values::args(args),
        time,
        wait: true,
    };
    let never = Test {
        value: Value::Arg(1),
        bits: 32,
        signed: true,
        relation: Relation::Eq,
        constant: 12345,
    };
    let filter = Filter::NONE.with(never).expect("one");
    let of =
        |recorder, flags, filter| vec![Record { offset: 0, flags, stack: true, filter, recorder }];
    let rows: Vec<(&str, Vec<Record>)> = vec![
        ("jump and back, nothing recorded", vec![]),
        ("count, flags dead", of(count, false, Filter::NONE)),
        ("count, flags live", of(count, true, Filter::NONE)),
        ("count, filtered out, flags dead", of(count, false, filter)),
        ("record, no time, no argument", of(event(0, false), false, Filter::NONE)),
        ("record with time", of(event(0, true), false, Filter::NONE)),
        ("record with time and six arguments", of(event(6, true), false, Filter::NONE)),
        ("the same, flags live", of(event(6, true), true, Filter::NONE)),
        ("the same, filtered out", of(event(6, true), false, filter)),
    ];
    let armed: Vec<Armed> =
        rows.iter().map(|(_, records)| arm(PLUS_ONE, records, Side::Below, features())).collect();
    let mut reader = Reader::new(ring.words(), shape).expect("it fits");
    let mut times = vec![Vec::new(); rows.len()];
    let (mut twins, mut reads) = (Vec::new(), Vec::new());
    let mut sum = 0;
    for _ in 0..ROUNDS {
        for (armed, times) in armed.iter().zip(&mut times) {
            let twin = timed(armed.twin);
            twins.push(twin);
            times.push(timed(armed.probed) - twin);
            let begun = Instant::now();
            let read = reader.read(CALLS as usize, &mut |note| sum ^= note.values[5] ^ note.time);
            if read == CALLS as usize {
                reads.push(begun.elapsed().as_secs_f64() * 1e9 / read as f64);
            }
        }
    }
    black_box(sum);
    assert_eq!(counter.words()[1].load(Ordering::Relaxed), 0);
    let twin = median(&twins);
    println!("| what | ns added | times an unprobed call |\n|---|---|---|");
    println!("| an unprobed call ({twin:.2} ns) | | 1.0 |");
    for ((name, _), times) in rows.iter().zip(&times) {
        let added = median(times);
        println!("| {name} | {added:.2} | {:.1} |", (added + twin) / twin);
    }
    let read = median(&reads);
    println!("| reading a record | {read:.2} | {:.0} million a second |", 1e3 / read);
    println!();
    straight::<X86_64>(Features::ALL);
    straight::<Arm64>(Features::ALL);
    straight::<Arm64>(Features { atomics: false, ..Features::ALL });
}

/// Nanoseconds of one call.
fn timed(function: Function) -> f64 {
    let begun = Instant::now();
    let mut x = 0;
    for _ in 0..CALLS {
        x = function.call([x & 0xff, 1, 2, 3, 4, 5]);
    }
    black_box(x);
    begun.elapsed().as_secs_f64() * 1e9 / CALLS as f64
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// How many instructions a recorder executes when nobody is in its way, the two jumps included.
fn straight<A: Arch>(features: Features) {
    let near = Addr(0x5555_5555_0000);
    let ring = Recorder::Event {
        ring: Addr(0x7f12_3456_0000),
        shape: Shape::new(4, 10).expect("a shape"),
        missed: near.add(0x123_4570),
        probe: 70_000,
        values: Values::args(6),
        time: true,
        wait: true,
    };
    let counter = Recorder::Count { counter: near.add(0x123_4568) };
    for (name, recorder, flags) in [
        ("count, flags dead", counter, false),
        ("count, flags live", counter, true),
        ("record with time and six arguments", ring, false),
    ] {
        let record = Record { offset: 0, flags, stack: true, filter: Filter::NONE, recorder };
        let mut code = LongCode::new();
        let done = A::record(&record, features, near, &mut code).expect("a recorder");
        let text = Text::new(near, &code);
        let mut offset = 0_u16;
        let mut count = 2;
        while let Ok(len) = A::length(&text, near.add(offset.into())) {
            // A shard that is full is another way.
            let missed = done.missed.is_some_and(|m| (m.from..m.committed).contains(&offset));
            count += u64::from(!missed);
            offset += len as u16;
        }
        let kind = if features.atomics { "" } else { " without LSE" };
        println!("{}{kind}: {name}: {count} instructions, {} bytes", A::NAME, code.len());
    }
}
