use super::super::event::tests::{ended, event};
use super::*;
use crate::report::Read;
use crate::spec::Type;

fn look(tree: bool) -> Look {
    Look {
        stamp: Stamp::Since(10_000_000_000),
        columns: Column::USUAL.to_vec(),
        tree,
        colours: Colours(false),
    }
}

#[test]
fn events_are_lines() {
    let mut lines = Lines::new(look(false));
    let mut out = String::new();
    lines.hit(&mut out, &event("open", 2_345_678));
    lines.hit(&mut out, &Event { tid: 41, args: None, ..event("open", 12_345_678) });
    lines.hit(&mut out, &Event { offset: 16, args: None, ..event("main", 0) });
    lines.hit(&mut out, &Event { args: None, ..event("", 0) });
    let untyped = Some((None, Read::Bits(u64::MAX)));
    lines.end(&mut out, 1, &Event { ret: untyped, ..ended("f", 0, End::Return) });
    assert_eq!(
        out,
        "    2.345678      41/42 open(path: \"/etc/hosts\", flags: 0x80000)
   12.345678      41 open(…)
    0.000000      41/42 main+0x10
    0.000000      41/42 0x1000(…)
    0.000000      41/42 <… f resumed> -> 0xffffffffffffffff (-1)  12.3 us
"
    );
}

/// What is told, one word each: `b1` call 1 begins, `e1` it returns, `h` a hit, `t` a tick;
/// `u1`, `x1`, `c1`, `f1` the other ends.
fn told(words: &str, tree: bool) -> String {
    const NAMES: [&str; 3] = ["zero", "one", "two"];
    let mut lines = Lines::new(look(tree));
    let mut out = String::new();
    for (n, word) in words.split(' ').enumerate() {
        let call: u64 = word[1..].parse().unwrap_or(0);
        let (name, at) = (NAMES[call as usize], n as u64 * 90_000);
        let mut ends = |end| lines.end(&mut out, call, &ended(name, at, end));
        match &word[..1] {
            "b" => lines.begin(&mut out, call, &Event { args: Some(&[]), ..event(name, at) }),
            "e" => ends(End::Return),
            "u" => ends(End::Unwound),
            "x" => ends(End::Exit),
            "c" => ends(End::Exec),
            "f" => ends(End::Unfinished),
            "h" => lines.hit(&mut out, &Event { args: None, ..event("hit", at) }),
            _ => lines.tick(&mut out, 10_000_000_000 + at * 1000),
        }
    }
    out.lines().map(|line| format!("{}\n", line.split_once("41/42 ").unwrap().1)).collect()
}

#[test]
fn calls_have_one_line_or_two() {
    for (words, text) in [
        ("b1 e1", "one() -> 3  12.3 us\n"),
        ("b1 h e1", "one() <unfinished …>\nhit(…)\n<… one resumed> -> 3  12.3 us\n"),
        (
            "b1 b2 e2 e1",
            "one() <unfinished …>\ntwo() -> 3  12.3 us\n<… one resumed> -> 3  12.3 us\n",
        ),
        (
            "b1 b2 e1 e2",
            "two() <unfinished …>\none() -> 3  12.3 us\n<… two resumed> -> 3  12.3 us\n",
        ),
        ("b1 t t e1", "one() <unfinished …>\n<… one resumed> -> 3  12.3 us\n"),
        ("b1 t e1", "one() -> 3  12.3 us\n"),
        ("b1 u1", "one() -> ? (unwound)\n"),
        ("b1 h x1", "one() <unfinished …>\nhit(…)\n<… one resumed> -> ? (exit)\n"),
        ("b1 c1", "one() -> ? (exec)\n"),
        ("b1 f1", "one() <unfinished …>\n"),
        ("b1 h f1", "one() <unfinished …>\nhit(…)\n"),
    ] {
        assert_eq!(told(words, false), text, "{words}");
    }
}

#[test]
fn calls_are_indented() {
    for (words, text) in [
        ("b1 e1", "one() -> 3  12.3 us\n"),
        ("b1 b2 e2 e1", "one() {\n  two() -> 3  12.3 us\n} one -> 3  12.3 us\n"),
        ("b1 h e1", "one() {\n  hit(…)\n} one -> 3  12.3 us\n"),
        ("h b1 e1 h", "hit(…)\none() -> 3  12.3 us\nhit(…)\n"),
        ("b1 t t e1", "one() {\n} one -> 3  12.3 us\n"),
        // The inner one is told to have been left when it is made again, or at the end: it is known before.
        ("b1 b2 e1 u2", "one() {\n  two() -> ? (unwound)\n} one -> 3  12.3 us\n"),
        (
            "b1 b2 h e1 u2 h",
            "one() {\n  two() {\n    hit(…)\n  } two -> ? (unwound)\n} one -> 3  12.3 us\nhit(…)\n",
        ),
        // It has gone on elsewhere.
        (
            "b1 b2 e1 e2",
            "one() {\n  two() -> ? (unwound)\n} one -> 3  12.3 us\n  } two -> 3  12.3 us\n",
        ),
        ("b1 b2 f2 f1", "one() {\n  two() <unfinished …>\n} one <unfinished …>\n"),
        ("e1", "} one -> 3  12.3 us\n"),
    ] {
        assert_eq!(told(words, true), text, "{words}");
    }
}

#[test]
fn threads_have_trees_of_their_own() {
    let mut lines = Lines::new(Look { columns: vec![Column::Tid, Column::Call], ..look(true) });
    let mut out = String::new();
    let of = |tid, name, micros| Event { tid, args: Some(&[]), ..event(name, micros) };
    let over = |tid, name, micros| Event { tid, ..ended(name, micros, End::Return) };
    lines.begin(&mut out, 1, &of(1, "a", 0));
    lines.begin(&mut out, 2, &of(2, "b", 1));
    lines.begin(&mut out, 3, &of(1, "c", 2));
    lines.end(&mut out, 2, &over(2, "b", 3));
    lines.end(&mut out, 3, &over(1, "c", 4));
    lines.end(&mut out, 1, &over(1, "a", 5));
    assert_eq!(out, "      1 a() {\n      2 b()\n      1   c()\n      1 } a\n");
}

#[test]
fn columns_and_colours_are_as_asked_for() {
    let mut out = String::new();
    let mut line = |columns: &[Column], colours, event: &Event<'_>| {
        let look = Look { columns: columns.to_vec(), colours: Colours(colours), ..look(false) };
        out.clear();
        Lines::new(look).hit(&mut out, event);
        out.clone()
    };
    let minus_one = Some((Some(Type::I32), Read::Bits(u64::MAX)));
    let failed = Event {
        ret: minus_one,
        errno: Some(13),
        comm: Some("a\x1bb"),
        ..ended("open", 1, End::Return)
    };
    use Column::{Call, Comm, Duration, Object, Pid, Probe, Ret, Tid, Time};
    assert_eq!(
        line(&Column::USUAL, false, &failed),
        "    0.000001      41/42 open() -> -1 EACCES  12.3 us\n"
    );
    assert_eq!(line(&[Comm, Call], false, &failed), "a?b             open()\n");
    assert_eq!(
        line(&[Pid, Tid, Object, Probe, Duration, Ret], false, &failed),
        "     41      42 libc.so.6 libc:open  12.3 us -> -1 EACCES\n"
    );
    let coloured = line(&[Time, Call, Ret, Duration], true, &failed);
    assert_eq!(
        coloured,
        "\x1b[2m    0.000001\x1b[0m \x1b[36mopen\x1b[0m()\x1b[31m -> -1 EACCES\x1b[0m  \x1b[2m12.3 us\x1b[0m\n"
    );
    assert_eq!(line(&[Tid], true, &failed), "\x1b[35m     42\x1b[0m\n");
    let good = line(&[Call, Ret], true, &ended("open", 1, End::Return));
    assert_eq!(good, "\x1b[36mopen\x1b[0m() -> 3\n");
    assert!(Event { errno: Some(4095), ..failed }.is_bad());
}
