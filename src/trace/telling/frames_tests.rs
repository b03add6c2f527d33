use super::*;
use xol_targets::ptrace::Pid;

const A: Who = (Pid(1), Tid(1));
const B: Who = (Pid(1), Tid(2));

fn key(sp: u64, back: u64) -> Key {
    Key { space: SpaceId(1), goroutine: Addr(0), sp: Addr(sp), back: Addr(back) }
}

fn made_by(who: Who, row: u32, ts_ns: u64) -> Frame {
    let args = Vec::new();
    let entry = Entry { call: ts_ns, who, ts_ns, args, rest: None, waited: 0, doubtful: false };
    Frame::new(Expect::Row(RowId(row), entry), false)
}

fn frame(row: u32, ts_ns: u64) -> Frame {
    made_by(A, row, ts_ns)
}

/// Adds a frame as a call of its thread.
fn call(frames: &mut Frames, key: Key, frame: Frame) {
    let Expect::Row(_, entry) = &frame.expect else { panic!("a call has a row") };
    let who = entry.who;
    assert!(!matches!(frames.add(key, frame), Added::No));
    frames.begins(who, key);
}

/// The calls that were taken: their numbers, and whether they were passed.
fn numbers(frames: Vec<(Key, Frame)>) -> Vec<(u64, bool)> {
    let number = |(_, frame): (Key, Frame)| {
        let passed = frame.passed;
        (frame.entry().expect("a call").1.call, passed)
    };
    frames.into_iter().map(number).collect()
}

#[test]
fn the_same_call_again_replaces_one_that_never_returned() {
    let mut frames = Frames::default();
    assert!(matches!(frames.add(key(0x1000, 7), frame(0, 1)), Added::Alone));
    let Added::For(before) = frames.add(key(0x1000, 7), frame(0, 2)) else { panic!("replaced") };
    assert_eq!(before.entry().map(|(_, entry)| entry.call), Some(1));
    assert_eq!(frames.count, 1);
    assert_eq!(frames.take_last(key(0x1000, 7), RowId(0)).map(|e| e.ts_ns), Some(2));
    assert!(frames.take_last(key(0x1000, 7), RowId(0)).is_none());
    assert_eq!(frames.count, 0);
}

#[test]
fn a_tail_call_does_not() {
    let mut frames = Frames::default();
    assert!(matches!(frames.add(key(0x1000, 7), frame(0, 1)), Added::Alone));
    let last = frames.last_mut(key(0x1000, 7), RowId(0)).expect("it was added");
    (last.awaited, last.left) = (true, true);
    assert!(matches!(frames.add(key(0x1000, 7), frame(0, 2)), Added::Alone));
    assert_eq!(frames.take_last(key(0x1000, 7), RowId(0)).map(|e| e.ts_ns), Some(2));
    assert_eq!(frames.take_awaited(key(0x1000, 7)).len(), 1);
    assert_eq!(frames.count, 0);
}

#[test]
fn go_begins_again_when_it_has_moved_a_stack() {
    let mut frames = Frames::default();
    let here = Key { goroutine: Addr(0xc000), ..key(0u64.wrapping_sub(64), 7) };
    assert!(matches!(frames.add(here, frame(0, 1)), Added::Alone));
    // By a jump back, which looks like a tail call.
    let last = frames.last_mut(here, RowId(0)).expect("it was added");
    (last.awaited, last.left) = (true, true);
    assert!(matches!(frames.add(here, frame(0, 2)), Added::Again));
    let mut other = frame(0, 3);
    let Expect::Row(_, entry) = &mut other.expect else { panic!("a call has a row") };
    entry.args.push(Value::Bits(5));
    assert!(matches!(frames.add(here, other), Added::For(_)));
    assert_eq!(frames.count, 1);
    // A thread that is gone is not the goroutine's.
    frames.begins(A, here);
    assert!(frames.take_thread(A).is_empty());
}

#[test]
fn a_return_address_ends_what_is_awaited() {
    let mut frames = Frames::default();
    frames.add(key(0x1000, 7), frame(0, 1));
    frames.add(key(0x1000, 7), Frame { awaited: true, ..frame(1, 2) });
    assert_eq!(frames.take_awaited(key(0x1000, 7)).len(), 1);
    assert!(frames.last_mut(key(0x1000, 7), RowId(0)).is_some());
    assert_eq!(frames.count, 1);
}

#[test]
fn the_innermost_frame_is_the_next_one_up_the_stack() {
    let mut frames = Frames::default();
    for (row, sp) in [(0, 0x1000), (1, 0x1100), (0, 0x2000)] {
        frames.add(key(sp, 7), frame(row, sp));
    }
    assert_eq!(frames.innermost(key(0x1000, 9), RowId(0)), Some(key(0x1000, 7)));
    assert_eq!(frames.innermost(key(0x1001, 9), RowId(0)), Some(key(0x2000, 7)));
    assert_eq!(frames.innermost(key(0x1101, 9), RowId(1)), None);
    let other = Key { space: SpaceId(0), ..key(0, 0) };
    assert_eq!(frames.innermost(other, RowId(0)), None);
    let goroutine = Key { goroutine: Addr(1), ..key(0, 0) };
    assert_eq!(frames.innermost(goroutine, RowId(0)), None);
}

#[test]
fn a_forked_space_has_the_same_frames() {
    let mut frames = Frames::default();
    call(&mut frames, key(0x1000, 7), made_by(A, 0, 1));
    call(&mut frames, key(0x3000, 7), made_by(B, 0, 2));
    let child = (Pid(3), Tid(3));
    assert_eq!(frames.fork_space(SpaceId(1), SpaceId(2), (A, child), 10), 2);
    assert_eq!(frames.count, 4);
    assert_eq!(frames.sweep(SpaceId(1), |_| true).len(), 2);
    let there = |sp| Key { space: SpaceId(2), ..key(sp, 7) };
    let entry = frames.take_last(there(0x1000), RowId(0)).expect("a copy");
    assert_eq!((entry.who, entry.call >= 10), (child, true));
    // Nobody there has made the other's.
    let entry = frames.take_last(there(0x3000), RowId(0)).expect("a copy");
    assert_eq!(entry.who, (Pid(3), Tid(0)));
    assert_eq!(frames.count, 0);
}

#[test]
fn a_thread_that_is_further_up_has_passed_its_calls() {
    let mut frames = Frames::default();
    // Three calls, one in the other; then one from where the first was made.
    for (n, sp) in [(1, 0x3000), (2, 0x2000), (3, 0x1000)] {
        call(&mut frames, key(sp, n), made_by(A, n as u32, n));
    }
    call(&mut frames, key(0x1500, 4), made_by(B, 4, 4));
    call(&mut frames, key(0x2800, 5), made_by(A, 5, 5));
    assert_eq!(numbers(frames.take_thread(A)), [(3, true), (2, true), (5, false), (1, false)]);
    assert_eq!(numbers(frames.take_thread(B)), [(4, false)]);
    assert_eq!(frames.count, 0);
}

#[test]
fn calls_that_return_pass_what_they_had_called() {
    let mut frames = Frames::default();
    call(&mut frames, key(0x3000, 1), made_by(A, 1, 1));
    call(&mut frames, key(0x2000, 2), made_by(A, 2, 2));
    assert!(frames.take_last(key(0x3000, 1), RowId(1)).is_some());
    frames.ends(A, key(0x3000, 1));
    assert!(frames.made[&A].is_empty());
    assert_eq!(numbers(frames.take_if(|_, _| true)), [(2, true)]);
    // Another stack is further away.
    call(&mut frames, key(0x3000, 1), made_by(A, 1, 1));
    call(&mut frames, key(0x7fff_0000_0000, 2), made_by(A, 2, 2));
    assert_eq!(numbers(frames.take_if(|_, _| true)), [(1, false), (2, false)]);
}

#[test]
fn there_is_a_limit() {
    let mut frames = Frames { count: MOST, ..Frames::default() };
    assert!(frames.is_crowded());
    assert!(matches!(frames.add(key(0x1000, 7), frame(0, 1)), Added::No));
    let mut frames = Frames::default();
    let left = || Frame { awaited: true, left: true, ..frame(0, 1) };
    assert!((0..DEEP).all(|_| matches!(frames.add(key(0x1000, 7), left()), Added::Alone)));
    assert!(matches!(frames.add(key(0x1000, 7), left()), Added::No));
    assert_eq!(frames.take_left(key(0x1000, 7)).len(), DEEP);
    assert_eq!(frames.count, 0);
}

#[test]
fn a_call_in_the_place_of_another_ends_it_and_what_was_made_inside() {
    let mut frames = Frames::default();
    call(&mut frames, key(0x9000, 1), frame(0, 1));
    call(&mut frames, key(0x8000, 2), frame(0, 2));
    call(&mut frames, key(0x7000, 3), frame(0, 3));
    call(&mut frames, key(0x6000, 4), frame(0, 4));
    // From where it is, the first one goes on: call 2 was left by longjmp.
    let over = frames.take_replaced(A, key(0x8000, 5), RowId(0));
    assert_eq!(numbers(over), [(2, false), (3, false), (4, false)]);
    assert!(frames.take_replaced(A, key(0x8000, 5), RowId(0)).is_empty());
    // Another thread's is none of its business; from the same place, another row's may be the same call.
    call(&mut frames, key(0x8000, 5), made_by(B, 0, 5));
    call(&mut frames, key(0x7000, 6), made_by(B, 0, 6));
    assert!(frames.take_replaced(A, key(0x8000, 6), RowId(0)).is_empty());
    assert!(frames.take_replaced(B, key(0x8000, 5), RowId(1)).is_empty());
    assert_eq!(
        numbers(frames.take_replaced(B, key(0x8000, 5), RowId(0))),
        [(5, false), (6, false)]
    );
}
