//! Threads that write to one ring while it is read.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::thread;

use crate::calls::thread_pointer;
use xol::engine::{Note, Reader};
use xol_arch::Addr;
use xol_arch::jump::{Features, Filter, Record, Recorder, Shape, Side, Value, Values};
use xol_targets::shared::Shared;

use super::armed::{Armed, PLUS_ONE, arm, features};

const THREADS: u64 = 8;

fn recorded(ring: &Shared, shape: Shape, count: &Shared, features: Features) -> Armed {
    let at = |shared: &Shared| Addr(shared.words().as_ptr() as u64);
    let values = Values::args(6).with(Value::Sp);
    let (ring, missed) = (at(ring), at(count).add(8));
    let event = Recorder::Event { ring, shape, missed, probe: 77, values, time: true, wait: false };
    let of =
        |recorder| Record { offset: 0, flags: false, stack: true, filter: Filter::NONE, recorder };
    let records = [of(Recorder::Count { counter: at(count) }), of(event)];
    arm(PLUS_ONE, &records, Side::Below, features)
}

/// `calls` calls in each thread, numbered, while `read` runs; each thread's pointer.
fn call(armed: &Armed, calls: u64, mut read: impl FnMut() -> bool) -> Vec<u64> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                scope.spawn(move || {
                    for n in 0..calls {
                        let args = [n, number, 2, 3, n ^ number, 5];
                        assert_eq!(armed.probed.call(args), n + 1);
                        // So that the reader has its turn in between.
                        if n.is_multiple_of(128) {
                            thread::yield_now();
                        }
                    }
                    thread_pointer()
                })
            })
            .collect();
        while !threads.iter().all(|thread| thread.is_finished()) {
            if !read() {
                thread::yield_now();
            }
        }
        while read() {}
        threads.into_iter().map(|thread| thread.join().expect("its calls")).collect()
    })
}

/// A ring that is too small: what is read and what is missed are all the calls, each record is
/// whole, and each thread's are in order.
pub(super) fn nothing_is_lost() {
    let calls = if cfg!(target_arch = "x86_64") { 200_000 } else { 10_000 };
    // What the processor has, and what all of them have.
    let features = [features(), Features { atomics: false, ..features() }];
    for (shards, slots, features) in
        [(0, 1, features[0]), (0, 1, features[1]), (0, 4, features[1]), (2, 6, features[0])]
    {
        let shape = Shape::new(shards, slots).expect("a shape");
        let ring = Shared::new(shape.len() as usize).expect("memory");
        let count = Shared::new(4096).expect("memory");
        let armed = recorded(&ring, shape, &count, features);
        let mut reader = Reader::new(ring.words(), shape).expect("it fits");
        let mut hits = 0;
        let mut last = BTreeMap::<u64, (u64, u64, u64)>::new();
        let mut check = |note: &Note| {
            hits += 1;
            let [n, thread, two, three, mixed, five, ..] = note.values;
            assert_eq!((note.recorder.0, two, three, five), (77, 2, 3, 5));
            assert_eq!(mixed, n ^ thread, "a torn record");
            assert!(n < calls && thread < THREADS && note.time > 0);
            if let Some(&(before, time, pointer)) = last.get(&thread) {
                assert!(before < n && time <= note.time && pointer == note.thread);
            }
            last.insert(thread, (n, note.time, note.thread));
        };
        let pointers = call(&armed, calls, || reader.read(1000, &mut check) > 0);
        let missed = count.words()[1].load(Ordering::Relaxed);
        assert_eq!(hits + missed, calls * THREADS, "{shape:?}");
        assert_eq!(count.words()[0].load(Ordering::Relaxed), calls * THREADS);
        assert_eq!(reader.pending(0), None);
        assert!(
            hits > 0
                && last
                    .iter()
                    .all(|(thread, (_, _, pointer))| { pointers[*thread as usize] == *pointer })
        );
        println!("jumps: {shards} {slots}: {hits} read, {missed} missed");
    }
}

/// A ring that is read often enough, which is here: large enough for all of it.
pub(super) fn everything_is_read() {
    let calls = 1000;
    let shape = Shape::new(3, 13).expect("a shape");
    let ring = Shared::new(shape.len() as usize).expect("memory");
    let count = Shared::new(4096).expect("memory");
    let armed = recorded(&ring, shape, &count, features());
    let mut reader = Reader::new(ring.words(), shape).expect("it fits");
    let mut seen = vec![vec![false; calls as usize]; THREADS as usize];
    let mut check = |note: &Note| {
        let place = &mut seen[note.values[1] as usize][note.values[0] as usize];
        assert!(!*place, "read twice");
        *place = true;
    };
    _ = call(&armed, calls, || reader.read(1000, &mut check) > 0);
    assert!(seen.iter().flatten().all(|&seen| seen));
    assert_eq!(count.words()[1].load(Ordering::Relaxed), 0);
    assert_eq!(reader.pending(0), None);
}
