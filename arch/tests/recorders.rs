//! Recorders as capstone reads them, byte for byte what `tests/differential` runs: who changes one
//! reads here what it became, and runs it again there.
//!
//! `XOL_RECORDERS=write cargo test -p xol-arch --test recorders` writes the tables anew.
#![cfg(all(feature = "arm64", feature = "x86_64"))]

use std::fmt::Write;
use std::path::Path;

use capstone::Capstone;
use capstone::arch::BuildsCapstone;
use capstone::arch::{arm64, x86};
use xol_arch::arm64::Arm64;
use xol_arch::jump::{
    Features, Filter, LongCode, Record, Recorded, Recorder, Relation, Shape, Test, Value, Values,
};
use xol_arch::x86_64::X86_64;
use xol_arch::{Addr, Arch, Reject};

/// Where the code's first byte runs.
const TO: Addr = Addr(0x1_0000_0000);
const COUNTER: Addr = Addr(TO.0 + 0x1000);
const RING: Addr = Addr(TO.0 + 0x8000);
/// No LEA and no ADR reaches it.
const FAR: Addr = Addr(0x7654_3210_0000);

/// What is recorded, how, and with what.
struct Case {
    name: String,
    record: Record,
    features: Features,
}

fn case(name: impl Into<String>, recorder: Recorder) -> Case {
    let record = Record { offset: 0, flags: false, stack: true, filter: Filter::NONE, recorder };
    Case { name: name.into(), record, features: Features::ALL }
}

fn count(name: impl Into<String>) -> Case {
    case(name, Recorder::Count { counter: COUNTER })
}

fn filtered(name: impl Into<String>, tests: &[Test]) -> Case {
    let all = tests.iter().try_fold(Filter::NONE, |all, &test| all.with(test));
    let mut case = count(name);
    case.record.filter = all.expect("no more than four");
    case
}

fn event(name: &str, shape: (u8, u8), values: Values, time: bool) -> Case {
    let shape = Shape::new(shape.0, shape.1).expect("a shape");
    let missed = COUNTER.add(8);
    let (probe, wait) = (0x1234_5678, false);
    case(name, Recorder::Event { ring: RING, shape, missed, probe, values, time, wait })
}

fn kept(mut case: Case) -> Case {
    case.record.flags = true;
    case
}

fn waiting(mut case: Case) -> Case {
    if let Recorder::Event { wait, .. } = &mut case.record.recorder {
        *wait = true;
    }
    case
}

/// Where there is no stack.
fn nowhere(mut case: Case) -> Case {
    case.record.stack = false;
    case
}

fn cases() -> Vec<Case> {
    use Relation::{AnyBit, Eq, Ge, Gt, Le, Lt, Ne, NoBit};
    let test = Test { value: Value::Arg(0), bits: 64, signed: false, relation: Eq, constant: 5 };
    let all = [Value::Ret, Value::Sp, Value::Link].into_iter().fold(Values::args(8), Values::with);
    let six = Values::args(6);
    let odd = Values::NONE.with(Value::Arg(1)).with(Value::Arg(3)).with(Value::Arg(4));
    let no_atomics = Features { atomics: false, ..Features::ALL };
    let mut cases = vec![
        count("count"),
        kept(count("count, flags kept")),
        nowhere(count("count, no stack")),
        nowhere(kept(count("count, flags kept, no stack"))),
        nowhere(filtered("count if equal, no stack", &[test])),
        nowhere(event("event, no stack", (0, 1), Values::NONE, false)),
        Case { features: no_atomics, ..count("count without atomics") },
        Case { features: Features::NONE, ..count("count with nothing") },
        kept(Case { features: Features::NONE, ..count("count with nothing, flags kept") }),
        case("count far away", Recorder::Count { counter: FAR }),
        event("event of one shard", (0, 1), Values::NONE, false),
        event("event with the time", (1, 2), Values::NONE, true),
        event("event of six arguments and the time", (4, 12), six, true),
        event("event of three arguments", (6, 20), odd, false),
        kept(event("event of six, flags kept", (1, 2), six, true)),
        Case { features: no_atomics, ..event("event without atomics", (1, 2), six, true) },
        Case { features: Features::NONE, ..event("event with nothing", (1, 2), six, true) },
        waiting(event("event that waits", (1, 2), six, true)),
        waiting(kept(event("event that waits, flags kept", (1, 2), Values::NONE, true))),
        event("event of all", (1, 2), all, false),
        event(
            "event of what is no argument",
            (1, 2),
            Values::NONE.with(Value::Sp).with(Value::Ret).with(Value::Link),
            true,
        ),
    ];
    let floats = [0, 1, 7].map(Value::Float).into_iter().fold(Values::args(1), Values::with);
    cases.push(event("event of an argument and three floats", (1, 2), floats, false));
    let stack = [0, 3, 7].map(Value::Stack).into_iter().fold(Values::NONE, Values::with);
    cases.push(kept(event("event of three words of the stack, flags kept", (1, 2), stack, true)));
    let registers = [0, 3, 4, 10, 12, 15].map(Value::Register);
    let registers = registers.into_iter().fold(Values::NONE.with(Value::Float(15)), Values::with);
    cases.push(kept(event("event of seven registers, flags kept", (1, 2), registers, true)));
    let last = Values::NONE.with(Value::Register(30)).with(Value::Register(31));
    cases.push(event("event of the last two registers", (0, 1), last, false));
    let many = (0..8).map(Value::Float).fold(Values::args(4), Values::with);
    cases.push(event("event of twelve", (0, 1), many, false));
    cases.push(event("event of thirteen", (0, 1), many.with(Value::Stack(0)), false));
    let mut far = event("event far away", (2, 3), Values::args(2), false);
    if let Recorder::Event { ring, .. } = &mut far.record.recorder {
        *ring = FAR;
    }
    cases.push(far);
    for relation in [Eq, Ne, Lt, Le, Gt, Ge, AnyBit, NoBit] {
        let narrow = Test { relation, bits: 8, constant: 0x1_fe, ..test };
        cases.push(filtered(format!("count if {relation:?} of 8 bits"), &[narrow]));
        for signed in [false, true] {
            let sign = if signed { "signed" } else { "unsigned" };
            let name = format!("count if {relation:?} {sign}");
            cases.push(filtered(name, &[Test { relation, signed, ..test }]));
        }
    }
    for (bits, signed) in
        [(8, true), (16, false), (16, true), (32, false), (32, true), (7, false), (128, true)]
    {
        let test = Test { value: Value::Arg(3), bits, signed, relation: Lt, constant: 0x9abc_def0 };
        cases.push(filtered(format!("count if less, {bits} bits, signed {signed}"), &[test]));
    }
    for value in
        [2, 4, 5, 6, 7, 8].map(Value::Arg).into_iter().chain([Value::Ret, Value::Sp, Value::Link])
    {
        cases.push(filtered(format!("count if {value:?}"), &[Test { value, ..test }]));
    }
    let large = Test { constant: 0x8000_0000_0000_0001, ..test };
    let bits = Test { relation: AnyBit, value: Value::Arg(2), ..large };
    cases.push(filtered("count if a large constant", &[large]));
    cases.push(filtered("count if a bit of a large constant", &[bits]));
    cases.push(kept(filtered("count if four, flags kept", &[large, bits, test, test])));
    let Case { record: Record { recorder, .. }, .. } = event("", (1, 2), six, false);
    let mut both = filtered("event if two", &[test, bits]);
    both.record.recorder = recorder;
    cases.push(kept(both));
    cases
}

/// The code of a case behind `before` bytes.
fn made<A: Arch>(case: &Case, before: usize) -> Result<(LongCode, Recorded), Reject> {
    let mut code = LongCode::new();
    code.resize(before, 0).expect("there is room for them");
    let recorded = A::record(&case.record, case.features, TO, &mut code)?;
    Ok((code, recorded))
}

fn table<A: Arch>(capstone: &Capstone) -> String {
    let mut out = String::from("# Written and checked by arch/tests/recorders.rs: see there.\n");
    for case in cases() {
        let _ = writeln!(out, "\n{}", case.name);
        let (code, recorded) = match made::<A>(&case, 0) {
            Ok(made) => made,
            Err(reject) => {
                let _ = writeln!(out, "    refused: {}", reject.reason.id());
                continue;
            }
        };
        let insns = capstone.disasm_all(&code, TO.0).expect("capstone runs");
        let len: usize = insns.iter().map(|insn| insn.bytes().len()).sum();
        assert_eq!(len, code.len(), "{}: {:02x?} do not decode", case.name, &code[len..]);
        for insn in insns.iter() {
            let (name, operands) = (insn.mnemonic().unwrap_or(""), insn.op_str().unwrap_or(""));
            let _ = writeln!(out, "{:6}  {name} {operands}", insn.address() - TO.0);
        }
        let Recorded { noted, missed, full, full_time: _, saved, flags_lost, lock } = recorded;
        let _ = writeln!(out, "    noted {}, {}, {}", noted.from, noted.claimed, noted.committed);
        if let Some(missed) = missed {
            let _ = writeln!(
                out,
                "    missed {}, {}, {}",
                missed.from, missed.claimed, missed.committed
            );
        }
        if let Some(full) = full {
            let _ = writeln!(out, "    full {full}");
        }
        for saved in saved {
            let _ = writeln!(
                out,
                "    {:?} from {} until {} at {}",
                saved.what, saved.from, saved.until, saved.at
            );
        }
        let _ = writeln!(out, "    flags lost: {flags_lost}; lock at {lock:?}");
    }
    out
}

fn check<A: Arch>(capstone: &Capstone) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(A::NAME).join("cases/recorders.txt");
    let now = table::<A>(capstone);
    if std::env::var("XOL_RECORDERS").is_ok_and(|what| what == "write") {
        std::fs::write(&path, &now).expect("it can be written");
    }
    let then = std::fs::read_to_string(&path).expect("the table");
    for (number, (now, then)) in (1..).zip(now.lines().zip(then.lines())) {
        assert_eq!(now, then, "{}:{number}", path.display());
    }
    assert_eq!(now.len(), then.len(), "{}", path.display());
}

#[test]
fn arm64_recorders_are_as_written() {
    let capstone = Capstone::new().arm64().mode(arm64::ArchMode::Arm).build();
    check::<Arm64>(&capstone.expect("capstone has arm64"));
}

#[test]
fn x86_64_recorders_are_as_written() {
    let capstone = Capstone::new().x86().mode(x86::ArchMode::Mode64).build();
    check::<X86_64>(&capstone.expect("capstone has x86-64"));
}

/// No instruction of an arm64 recorder is one that writes NZCV: nothing there keeps them.
#[test]
fn arm64_recorders_leave_the_flags_alone() {
    let capstone = Capstone::new().arm64().mode(arm64::ArchMode::Arm).build();
    let capstone = capstone.expect("capstone has arm64");
    let writes = |code: &[u8]| {
        let insns = capstone.disasm_all(code, TO.0).expect("capstone runs");
        let names: Vec<String> =
            insns.iter().map(|insn| insn.mnemonic().unwrap_or("").to_owned()).collect();
        let all = ["adds", "subs", "adcs", "sbcs", "ands", "bics", "cmp", "cmn", "tst", "msr"];
        let more = ["ccmp", "ccmn", "fcmp", "fcmpe", "fccmp", "negs", "ngcs", "setf8", "rmif"];
        names.into_iter().find(|name| all.contains(&&**name) || more.contains(&&**name))
    };
    for case in cases() {
        let Ok((code, _)) = made::<Arm64>(&case, 0) else { continue };
        assert_eq!(writes(&code), None, "{}", case.name);
    }
    // subs x0, x0, #1
    assert_eq!(writes(&0xf100_0400_u32.to_le_bytes()).as_deref(), Some("subs"));
}

/// A recorder that does not fit is refused, however little is missing.
#[test]
fn what_does_not_fit_is_refused() {
    fits::<Arm64>();
    fits::<X86_64>();
}

fn fits<A: Arch>() {
    let room = LongCode::new().capacity();
    let far = Recorder::Count { counter: FAR };
    for case in cases().iter().filter(|case| case.record.recorder != far) {
        let Ok((code, _)) = made::<A>(case, 0) else { continue };
        let from = room - code.len();
        for before in [from, from + 1].into_iter().chain((from + 2..=room).step_by(11)) {
            let got = made::<A>(case, before);
            assert_eq!(got.is_ok(), before == from, "{} {before}", case.name);
        }
    }
}
