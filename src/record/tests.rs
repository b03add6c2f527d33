//! Recordings are read as they were written; damaged ones up to the damage.

use super::*;
use crate::report::{End, Text};
use crate::spec::{Signature, Spec, Type, Where};
use crate::symbols::BuildId;
use std::collections::VecDeque;

/// An event with values of its own.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    moment: Moment,
    ts_ns: u64,
    who: (i32, i32, Option<String>),
    row: u32,
    addr: u64,
    args: Vec<Value>,
    ret: Option<Value>,
    errno: Option<i32>,
    duration_ns: Option<u64>,
    missed: bool,
}

impl Kept {
    fn of(record: &Record<'_>) -> Kept {
        Kept {
            moment: record.moment,
            ts_ns: record.ts_ns,
            who: (record.pid, record.tid, record.comm.map(str::to_owned)),
            row: record.row,
            addr: record.addr,
            args: record.args.to_vec(),
            ret: record.ret.cloned(),
            errno: record.errno,
            duration_ns: record.duration_ns,
            missed: record.missed,
        }
    }

    fn record(&self) -> Record<'_> {
        Record {
            moment: self.moment,
            ts_ns: self.ts_ns,
            pid: self.who.0,
            tid: self.who.1,
            comm: self.who.2.as_deref(),
            row: self.row,
            addr: self.addr,
            args: &self.args,
            ret: self.ret.as_ref(),
            errno: self.errno,
            duration_ns: self.duration_ns,
            missed: self.missed,
        }
    }
}

fn probed(row: u32) -> Probed {
    let args = match row {
        0 => "n: i32, s: out bytes[ret<=n], o: oflags.arm64",
        _ => "n: i32, s: str",
    };
    Probed {
        probe: row as usize % 2,
        object: format!("/lib/{row}.so"),
        build_id: BuildId::new(&[row as u8 + 1; 20]),
        symbol: format!("f{row}"),
        mangled: (row == 1).then(|| "_Z1fv".to_owned()),
        offset: 0,
        vaddr: 0x1000 + u64::from(row),
        is_return: row == 1,
        signature: (row < 2).then(|| Signature {
            args: Signature::args_of(args).expect("arguments"),
            open: false,
            ret: (row == 1).then_some(Type::I64),
        }),
    }
}

/// Events of all kinds, some thousand of them.
fn events(count: u64) -> Vec<Kept> {
    let ends = [End::Return, End::Unwound, End::Exit, End::Exec, End::Unfinished];
    let kept = (0..count).map(|n| {
        let value = match n % 7 {
            0 => Value::Text(vec![n as u8; n as usize % 90], n % 2 == 0),
            1 => Value::Bad(n << 40),
            2 if n.is_multiple_of(5) => Value::File(n, format!("/dev/{n}").into()),
            2 => Value::Unknown(None),
            3 => Value::Unknown(Some(n)),
            4 => Value::Texts(
                vec![Text::Null, Text::Read(vec![1; n as usize % 9], n % 3 == 0), Text::Bad(n)],
                n % 2 == 0,
            ),
            _ => Value::Bits(n.wrapping_mul(0x1234_5678_9abc)),
        };
        let call = n / 8 * 4 + n % 4;
        let (moment, row) = match n % 8 {
            0..4 => (Moment::Begins(call), 1),
            4..7 => (Moment::Ends(call, ends[n as usize / 8 % 5]), 1),
            _ => (Moment::Hit, (n as u32 / 8 % 2) * 2),
        };
        let ends = matches!(moment, Moment::Ends(..));
        let returned = matches!(moment, Moment::Ends(_, End::Return));
        Kept {
            moment,
            // Not all in order.
            ts_ns: (1 << 50) + n * 1000 - n % 3 * 1500,
            who: (7, 7 + (n as i32 / 5) % 3, (n % 11 != 0).then(|| format!("t{}", n / 64))),
            row,
            addr: 0x7fff_0000_1000 + u64::from(row) * 16 + if ends { n } else { 0 },
            args: vec![Value::Bits(n % 300), value.clone()],
            ret: returned.then_some(if n % 3 == 0 { value } else { Value::Bits(!n) }),
            errno: (returned && n % 5 == 0).then_some(2),
            duration_ns: returned.then_some(n * 77),
            missed: n > count / 2,
        }
    });
    kept.collect()
}

fn run() -> Recorded {
    Recorded {
        xol: "1".into(),
        machine: "arm64".into(),
        start_ns: 1 << 50,
        wall_ns: 3,
        probes: vec!["f(n: i32, s: str)".into(), "return:f".into()],
    }
}

fn recorded(events: &[Kept], finish: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut recorder = Recorder::new(&mut bytes, &run()).unwrap();
    for (n, event) in events.iter().enumerate() {
        recorder.event(&event.record(), || probed(event.row)).unwrap();
        if n % 100 == 99 {
            recorder.tick(event.ts_ns + 1).unwrap();
        }
    }
    match finish {
        true => drop(recorder.finish(&gaps()).unwrap()),
        false => recorder.flush().unwrap(),
    }
    bytes
}

fn gaps() -> Gaps {
    Gaps { unread: 3, rows: vec![(2, "libc:f".into()), (1, "libc:g".into())] }
}

/// What a recording tells, and how it ends.
fn played(bytes: &[u8]) -> (Vec<Kept>, Result<Option<Ended>, RecordError>) {
    let mut all = Vec::new();
    let mut player = match Player::new(bytes) {
        Ok(Some(player)) => player,
        Ok(None) => return (all, Ok(Some(Ended::Cut))),
        Err(error) => return (all, Err(error)),
    };
    assert_eq!(*player.run(), run());
    let end = player.play(&mut |told| {
        if let Told::Event(record, row) = told {
            assert_eq!(*row, probed(record.row));
            all.push(Kept::of(record));
        }
        true
    });
    (all, end)
}

#[test]
fn events_are_what_they_were() {
    let events = events(5000);
    let bytes = recorded(&events, true);
    let (told, end) = played(&bytes);
    assert_eq!(told, events);
    assert_eq!(end.unwrap(), Some(Ended::Whole(gaps())));
    assert!(bytes.len() < events.len() * 60, "{} bytes", bytes.len());
    let (told, end) = played(&recorded(&events, false));
    assert_eq!((told.len(), end.unwrap()), (5000, Some(Ended::Cut)));
}

#[test]
fn a_plain_event_takes_few_bytes() {
    let plain = |n: u64| Kept {
        moment: Moment::Hit,
        args: vec![Value::Bits(n), Value::Bits(3), Value::Bits(n % 256)],
        ret: None,
        errno: None,
        duration_ns: None,
        who: (7, 7, Some("main".into())),
        row: 0,
        addr: 0x5555_5555_1000,
        ts_ns: (1 << 50) + n * 30,
        missed: false,
    };
    let events: Vec<Kept> = (0..10_000).map(plain).collect();
    let bytes = recorded(&events, true);
    assert!(bytes.len() < 12 * events.len(), "{} bytes", bytes.len());
    assert_eq!(played(&bytes).0, events);
}

#[test]
fn a_cut_recording_is_told_up_to_its_last_whole_block() {
    let events = events(120);
    let bytes = recorded(&events, true);
    let mut most = 0;
    for len in 0..bytes.len() {
        let (told, end) = played(&bytes[..len]);
        assert_eq!(end.unwrap(), Some(Ended::Cut), "{len}");
        assert_eq!(told, events[..told.len()], "{len}");
        assert!(told.len() >= most && told.len().is_multiple_of(20), "{len}");
        most = told.len();
    }
    assert_eq!(most, 120);
}

#[test]
fn every_flipped_byte_is_seen() {
    let events = events(120);
    let bytes = recorded(&events, true);
    for at in 0..bytes.len() {
        for flip in [1, 0x80] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            let (told, end) = played(&damaged);
            let error = end.expect_err("a changed byte");
            assert_eq!(told, events[..told.len()], "{at}");
            match error {
                RecordError::Other => assert!(at < 16, "{at}"),
                RecordError::Damaged(block) => assert!(block as usize <= at, "{at}"),
                error => panic!("{at}: {error}"),
            }
        }
    }
    // Blocks that are whole, and not where they were written.
    let block = |at: usize| 16 + u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let second = 16 + block(16);
    let third = second + block(second);
    let without = [&bytes[..second], &bytes[third..]].concat();
    assert!(matches!(played(&without).1, Err(RecordError::Damaged(_))));
    let more = [&bytes[..], &bytes[..1]].concat();
    assert!(matches!(played(&more).1, Err(RecordError::Damaged(_))));
}

#[test]
fn what_is_no_recording_gets_a_sentence() {
    for (bytes, said) in [
        (&b"    0.097761   23231 work(a: 992, b: 3)\n"[..], "no recording"),
        (b"\x7fELF", "no recording"),
        (&[0; 64], "no recording"),
        (
            b"\x89XOL\r\n\x1a\n\x02\0\0\0\xfd\xff\xff\xff",
            "a later xol has written it, in version 2",
        ),
        // Line ends that a transfer has changed.
        (b"\x89XOL\n\x1a\n\x01\0\0\0\xfe\xff\xff\xff\0", "no recording"),
    ] {
        let error = played(bytes).1.expect_err("no recording").to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn blocks_of_a_later_xol_are_passed_over() {
    let events = events(10);
    let bytes = recorded(&events, false);
    // The end, by another name.
    let mut ended = recorded(&events, true);
    let (from, kind) = (bytes.len(), 9_u16);
    let rest = ended.split_off(from)[16..].to_vec();
    let index = 3;
    let mut head = block::block_head(block::Kind::End, &rest, index);
    let as_end = block::read_head(&head).unwrap();
    assert_eq!(as_end.1, block::Kind::End as u16);
    head = block::head_of(kind, &rest, index);
    let other = [&bytes[..], &head, &rest].concat();
    let (told, end) = played(&other);
    assert_eq!((told.len(), end.unwrap()), (10, Some(Ended::Cut)));
}

/// The newest `most`, told after each `every` events and at the end.
fn newest(events: &[Kept], most: u64, every: usize) -> Vec<Vec<Kept>> {
    let mut newest = Newest::new(most);
    let mut all = Vec::new();
    for part in events.chunks(every) {
        for event in part {
            newest.event(&event.record(), || probed(event.row));
        }
        let mut told = Vec::new();
        let done: Result<(), ()> = newest.tell(&mut |record, row| {
            assert_eq!(*row, probed(record.row));
            told.push(Kept::of(record));
            Ok(())
        });
        assert_eq!(done, Ok(()));
        all.push(told);
    }
    all
}

#[test]
fn the_newest_are_kept() {
    let events = events(4000);
    let counts = |kept: &&Kept| !matches!(kept.moment, Moment::Begins(_));
    for most in [1, 2, 10, 100, 1999, 2000, 5000] {
        for every in [4000, 1000, 37] {
            let told = newest(&events, most, every);
            for (part, told) in events.chunks(every).zip(told) {
                let expected: VecDeque<&Kept> = part.iter().filter(counts).collect();
                let skip = expected.len().saturating_sub(most as usize);
                let seen: Vec<&Kept> = told.iter().filter(counts).collect();
                assert_eq!(seen, expected.into_iter().skip(skip).collect::<Vec<_>>(), "{most}");
                // Each end has its beginning, here or before.
                for (n, kept) in told.iter().enumerate() {
                    let Moment::Ends(call, _) = kept.moment else { continue };
                    let begins = |other: &Kept| other.moment == Moment::Begins(call);
                    assert!(told[..n].iter().any(begins) || every < 4000, "{most} {call}");
                }
            }
        }
    }
}

#[test]
fn beginnings_alone_take_no_memory() {
    let mut kept = events(1).remove(0);
    let mut newest = Newest::new(100);
    let (mut told, mut hits) = (0, 0);
    for call in 0..100_000 {
        // What has ended is kept, however many have begun since.
        let hit = call % 4_000 == 0;
        kept.moment = if hit { Moment::Hit } else { Moment::Begins(call) };
        newest.event(&kept.record(), || probed(kept.row));
    }
    let done: Result<(), ()> = newest.tell(&mut |record, _| {
        told += 1;
        hits += usize::from(record.moment == Moment::Hit);
        Ok(())
    });
    assert_eq!((done, hits), (Ok(()), 25));
    assert!((100..=1200).contains(&told), "{told}");
}

#[test]
fn a_filter_is_applied_again() {
    let specs: Vec<Spec> = run().probes.iter().map(|text| Spec::parse(text).unwrap()).collect();
    let events: Vec<Kept> = events(800)
        .into_iter()
        .map(|mut kept| {
            kept.args[1] = Value::Bits(0);
            kept.ret = kept.ret.map(|_| Value::Bits(kept.addr % 5));
            kept
        })
        .collect();
    let n = |kept: &Kept| match kept.args[0] {
        Value::Bits(bits) => bits,
        _ => 0,
    };
    let told = |text: &str| {
        let mut again = Again::new(Where::parse(text).unwrap(), specs.clone());
        let mut told = Vec::new();
        for kept in &events {
            let mut tell = |record: &Record<'_>| told.push(Kept::of(record));
            again.event(&kept.record(), &probed(kept.row), &mut tell);
        }
        told
    };
    let begun = |call| events.iter().find(|kept| kept.moment == Moment::Begins(call)).unwrap();
    let early = |kept: &&Kept| match kept.moment {
        Moment::Ends(call, _) => n(begun(call)) > 100,
        _ => kept.row != 2 && n(kept) > 100,
    };
    let expected: Vec<Kept> = events.iter().filter(early).cloned().collect();
    assert_eq!(told("n > 100"), expected);
    assert!(expected.len() > 100);
    // Whether a call passes shows at its end, and so that it has begun.
    let returned = told("ret == 3");
    let [begins, ends]: [Vec<&Kept>; 2] = [true, false].map(|begins| {
        let is = |kept: &&Kept| matches!(kept.moment, Moment::Begins(_)) == begins;
        returned.iter().filter(is).collect()
    });
    let passing = |kept: &&Kept| kept.ret == Some(Value::Bits(3));
    assert_eq!(ends, events.iter().filter(passing).collect::<Vec<_>>());
    assert!(ends.len() > 10);
    for (begin, end) in begins.iter().zip(&ends) {
        let Moment::Ends(call, _) = end.moment else { panic!("{end:?}") };
        assert_eq!((begin.moment, begin.ts_ns), (Moment::Begins(call), begun(call).ts_ns));
    }
    // A call that goes on has taken as long as that.
    let long = told("duration >= 3us");
    assert!(long.iter().any(|kept| matches!(kept.moment, Moment::Ends(_, End::Unfinished))));
    assert!(!long.iter().any(|k| matches!(k.moment, Moment::Ends(_, End::Unfinished)) && k.missed));
}

#[test]
fn the_format_is_what_it_was() {
    // Written by whatever machine: what version 1 is.
    let mut kept = events(1).remove(0);
    kept.moment = Moment::Hit;
    kept.args = vec![Value::Bits(0x1234), Value::Text(b"ab".to_vec(), false)];
    let bytes = recorded(&[kept], true);
    assert_eq!(bytes, WRITTEN);
}

/// A disk with so much room.
struct Disk(Vec<u8>, usize);

impl std::io::Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = self.1 - self.0.len();
        if room == 0 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        let taken = &bytes[..bytes.len().min(room)];
        self.0.extend(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_has_what_it_had_room_for() {
    let events = events(5000);
    for room in [300, 70_000, 70_017, 100_000] {
        let mut disk = Disk(Vec::new(), room);
        let mut recorder = Recorder::new(&mut disk, &run()).unwrap();
        let full = events
            .iter()
            .find_map(|kept| recorder.event(&kept.record(), || probed(kept.row)).err())
            .or_else(|| recorder.flush().err());
        assert!(
            full.is_some_and(|error| error.kind() == std::io::ErrorKind::StorageFull),
            "{room}"
        );
        drop(recorder);
        assert_eq!(disk.0.len(), room);
        let (told, end) = played(&disk.0);
        assert_eq!(end.unwrap(), Some(Ended::Cut));
        assert_eq!(told, events[..told.len()]);
        assert!(told.is_empty() == (room < 70_000), "{room}");
    }
}

const WRITTEN: &[u8] =
    b"\x89XOL\x0d\x0a\x1a\x0a\x01\x00\x00\x00\xfe\xff\xff\xff-\x00\x00\x00\x01\x004\x8f\
    \x9b\x00QK\xe5bG\xc0\x011\x05arm64\xfe\x00\x00\x00\x00\x00\x00\x04\x03\x02\x11f(n: i\
    32, s: str)\x08return:f@\x00\x00\x00\x02\x00\xb7.\x03\xd4\x96\xa9\xcd\x83}\x89\x01\
    \x07\x01\x09/lib/1.so\x14\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\
    \x02\x02\x02\x02\x02\x02\x02f1\x05_Z1fv\x00\xf9\x01\x10\x03i64\x02\x01n\x03i32\x01s\
    \x03str\x1e\x00\x00\x00\x03\x00\x95R\x17\xfd\x9frJ#W\xadD\x00\x07\x07\x00\xfe\x00\
    \x00\x00\x00\x00\x00\x08\x01\xfd  \x00\x00\xfe\xff\x02\x00\xf94\x12\x01\x02ab\x12\
    \x00\x00\x00\x04\x00X\xc9y{\x5c8\xf05s\xa0\x03\x02\x02\x06libc:f\x01\x06libc:g";
