use super::*;
use crate::spec::{Called, Signature, Spec, Where};
use xol_arch::jump;

fn signature(args: &str) -> Signature {
    Spec::parse(&format!("f({args})")).expect("a probe").signature.expect("a signature")
}

fn bind(filter: &str, args: &str) -> Result<Condition, String> {
    let parsed = Where::parse(filter).map_err(|e| e.to_string())?;
    let signature = signature(args);
    let of = Called { signature: Some(&signature), returns: false, fails: None };
    parsed.bind(&of).map_err(|e| e.to_string())
}

fn holds(filter: &str, args: &str, values: &[Seen<'_>]) -> bool {
    let condition = bind(filter, args).unwrap_or_else(|e| panic!("{e}"));
    condition.holds(&|what| values[arg(what)]).expect("everything can be read")
}

fn arg(what: What) -> usize {
    match what {
        What::Arg(n) => n,
        other => panic!("{other:?} is no argument"),
    }
}

#[test]
fn integers_are_of_their_type() {
    let one =
        |filter: &str, ty: &str, bits: u64| holds(filter, &format!("a: {ty}"), &[Seen::Bits(bits)]);
    for (filter, ty, bits, expected) in [
        ("a", "i32", 0, false),
        ("a", "i32", 0xdead_0000_0000, false),
        ("!a", "i32", 7, false),
        ("a == -1", "i8", 0x12ff, true),
        ("a == 255", "u8", 0x12ff, true),
        ("a < 0", "i32", 0xffff_ffff, true),
        ("a == 0xffffffff", "i32", 0xffff_ffff, true),
        ("a > 0x7fffffffffffffff", "hex", u64::MAX, true),
        ("a >= 0", "i64", u64::MAX, false),
        ("a == 'x'", "char", 0x178, true),
        ("a == true", "bool", 0x1ff02, true),
        ("a != true", "bool", 0x1ff00, true),
        ("a == NULL", "ptr", 0, true),
        ("a & 0x40", "u16", 0x1_0040, true),
        ("a & 6 == 2", "u32", 3, true),
        ("a & 6 != 2", "u32", 3, false),
        ("a & 0x80000000 != 0", "i32", 0x8000_0000, true),
        ("!(a > 3 || a < -3)", "i32", 2, true),
        ("!(a > 3 || a < -3)", "i32", 4, false),
        ("a<=3&&a>=3&&a==3", "u8", 3, true),
        ("3 == a", "u8", 3, true),
        ("2 < a <= 3", "u8", 3, true),
        ("3 < a <= 5", "u8", 3, false),
        ("5 > a >= 4", "u8", 3, false),
        ("a in 1..3", "u8", 3, false),
        ("a in 1..=3", "u8", 3, true),
        ("!(a in 1..=3)", "u8", 3, false),
        ("a in -5..0", "i32", 0xffff_ffff, true),
        ("a in 0x10..0x20", "hex", 0x1f, true),
    ] {
        assert_eq!(one(filter, ty, bits), expected, "{filter} {ty} {bits:#x}");
    }
}

#[test]
fn texts_are_like_patterns() {
    let path = |filter: &str, value: Seen<'_>| holds(filter, "path: str, n: i32", &[value; 2]);
    let etc = Seen::Text(b"/etc/passwd");
    assert!(path("path ~ \"/etc/*\"", etc) && !path("path ~ \"/usr/*\"", etc));
    assert!(path("!(path ~ \"/usr/*\")", etc) && path("path == \"/etc/passwd\"", etc));
    assert!(!path("path == \"/etc/*\"", etc) && path("path != \"/etc/*\"", etc));
    assert!(path("path != NULL && path", etc) && path("path == NULL", Seen::Bits(0)));
    // NULL is like nothing.
    assert!(!path("path ~ \"*\"", Seen::Bits(0)) && path("!(path ~ \"*\")", Seen::Bits(0)));
    assert_eq!(bind("path ~ \"a\"", "path: str").expect("a condition").filter(), None);
}

#[test]
fn what_cannot_be_read_is_compared_with_nothing() {
    let unread = |filter: &str, value: Seen<'_>| {
        let condition = bind(filter, "path: str, n: i32, ok: i32").expect("a condition");
        condition.holds(&|what| if arg(what) == 2 { Seen::Bits(1) } else { value })
    };
    for filter in ["n == 0", "n != 0", "!n", "n > 3 || n <= 3", "ok && n", "!(ok && n)"] {
        assert_eq!(unread(filter, Seen::Unknown), None, "{filter}");
    }
    for (filter, expected) in [("ok || n", true), ("!ok && n", false), ("!(ok || n)", false)] {
        assert_eq!(unread(filter, Seen::Unknown), Some(expected), "{filter}");
    }
    // Its address is known, its text is not.
    let at = Seen::Address(16);
    assert_eq!(unread("path != NULL", at), Some(true));
    assert_eq!((unread("path ~ \"*\"", at), unread("path != \"a\"", at)), (None, None));
}

#[test]
fn errors_say_what_and_where() {
    let args = "path: str, flags: u8, d: f64, ok: bool";
    for (filter, said, mark) in [
        (
            "flag == 1",
            "no argument is called 'flag'",
            "^^^^\n    try flags, path, d, ok, ret, duration, pid, tid, comm",
        ),
        ("flags = 1", "equal is written ==", "      ^"),
        ("flags == 300", "'flags' is u8, which is 0 to 255", "         ^^^"),
        ("flags == -1", "'flags' is u8, which is 0 to 255", "         ^^"),
        ("flags & 0x100", "this is no mask of 8 bits", "        ^^^^^"),
        ("flags ~ \"x\"", "'flags' is u8, and not a text", "        ^^^"),
        ("path > 3", "a str is only == or != NULL", "       ^"),
        ("ok < 1", "a bool is only == or != true or false", "     ^"),
        ("d > 0x1", "'d' is f64, a number as in 2.5", "    ^^^"),
        ("d & 1", "'d' is f64, and a mask is for integers", "    ^"),
        ("flags > 1.5", "'flags' is u8, a whole number", "        ^^^"),
        ("flags > 1ms", "'flags' is u8, and not a time", "        ^^^"),
        ("path == 3", "'path' is a text, and not a number", "        ^"),
        ("comm == 3", "'comm' is a text, and not a number", "        ^"),
        ("pid == \"x\"", "'pid' is a number, and not a text", "       ^^^"),
        ("ret == 1", "'ret' is known at a return, and the probe tells of none", "^^^"),
        ("duration > 1ms", "'duration' is known at a return", "^^^^^^^^"),
        ("flags)", "this parenthesis was not opened", "     ^"),
        ("flags in 1-5", "a range is written with ..", "          ^"),
        ("1 < flags > 5", "the two relations of a range look the same way", "          ^"),
        ("flags ==", "a number is missing", "        ^"),
        ("flags == b", "'b' is not a number", "         ^"),
        ("(flags", "this parenthesis is not closed", "^"),
        ("flags flags", "&& or || is missing", "      ^"),
        ("1 flags", "a test begins with a name", "^"),
        ("1 == 2", "the name that the number is compared with is missing", "     ^"),
        ("", "the name of an argument is missing", "^"),
        ("path ~ \"x", "this text is not closed by \"", "       ^^"),
        ("path ~ x", "a text in quotes is missing", "       ^"),
        ("path < \"x\"", "a text is compared with ~, == or !=", "     ^"),
        ("flags == 'ab'", "a character is written like 'x'", "         ^^"),
    ] {
        let error = bind(filter, args).expect_err(filter);
        assert!(error.starts_with("cannot read the filter: "), "{error}");
        assert!(error.contains(said) && error.contains(&format!("\n    {mark}")), "{error}");
    }
    assert!(bind("a", "").expect_err("no arguments").contains("there are no arguments"));
    let deep = format!("{}a", "!".repeat(5000));
    assert!(Where::parse(&deep).expect_err("deep").to_string().contains("too deep"));
    assert!(Where::parse(&"(".repeat(5000)).is_err());
}

/// Numbers without a pattern, the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ self.0 >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ mixed >> 32) % below.max(1)
    }

    /// Small ones, ones near the ends of each width, and any.
    fn value(&mut self) -> u64 {
        let edge = 1_u64 << self.next(64);
        match self.next(4) {
            0 => self.next(4),
            1 => edge.wrapping_add(self.next(3)).wrapping_sub(1),
            2 => (self.next(4)).wrapping_sub(2),
            _ => self.next(u64::MAX),
        }
    }

    fn test(&mut self, name: &str) -> String {
        let relation = ["==", "!=", "<", "<=", ">", ">="][self.next(6) as usize];
        let value = match self.next(3) {
            0 => format!("{:#x}", self.value()),
            1 => format!("{}", self.value().cast_signed()),
            _ => format!("{}", self.next(6)),
        };
        match self.next(4) {
            0 => name.to_owned(),
            1 => format!("{name} & {:#x}", self.value()),
            2 => format!("{name} & {:#x} {relation} {value}", self.value()),
            _ => format!("{name} {relation} {value}"),
        }
    }
}

/// What a trampoline tests is what is evaluated here, for every filter that it can have.
#[test]
fn compiled_and_evaluated_agree() {
    let plain = |ty: &&Type| !ty.is_float() && !ty.is_memory() && !matches!(ty, Type::Void);
    let types = Type::ALL.iter().filter(plain).map(|ty| ty.name());
    let types: Vec<&str> = types.chain(["oflags", "signal"]).collect();
    let mut random = Random(7);
    let (mut compiled, mut passed, mut checks) = (0, 0, 0);
    for _ in 0..60_000 {
        let tys = [0; 2].map(|_| types[random.next(types.len() as u64) as usize]);
        // A float does not take an integer's register.
        let args = format!("a: {}, d: f64, b: {}", tys[0], tys[1]);
        let parts: Vec<String> = (0..=random.next(3))
            .map(|_| {
                let name = ["a", "b"][random.next(2) as usize];
                let test = random.test(name);
                if random.next(4) == 0 { format!("!({test})") } else { test }
            })
            .collect();
        let text = match random.next(6) {
            0 => format!("!({})", parts.join(" || ")),
            _ => parts.join(" && "),
        };
        let Ok(condition) = bind(&text, &args) else { continue };
        let Some(filter) = condition.filter() else { continue };
        compiled += 1;
        for _ in 0..20 {
            let values = [random.value(), random.value()];
            let evaluated = condition.holds(&|what| match arg(what) {
                0 => Seen::Bits(values[0]),
                2 => Seen::Bits(values[1]),
                n => panic!("{text} asks for argument {n}"),
            });
            let evaluated = evaluated.expect("everything can be read");
            let tested = filter.iter().all(|test| {
                let jump::Value::Arg(n) = test.value else { panic!("{test:?}") };
                test.holds(values[usize::from(n)])
            });
            assert_eq!(evaluated, tested, "{text} of ({args}) for {values:x?}: {filter:?}");
            checks += 1;
            passed += u64::from(evaluated);
        }
    }
    assert!(compiled > 10_000, "{compiled} filters");
    assert!(passed * 10 > checks && passed * 10 < checks * 9, "{passed} of {checks} pass");
}

#[test]
fn what_has_no_filter_has_none() {
    let filter = |text: &str| bind(text, "a: u32, b: u32").expect(text).filter();
    assert_eq!(filter("a == 1 || b == 2"), None);
    assert_eq!(filter("a & 6 != 2"), None);
    assert_eq!(filter("a && a && a && b && b"), None, "there is room for four");
    assert_eq!(filter("a & 0xf00 == 0x300").map(|f| f.iter().count()), Some(3));
    assert_eq!(filter("!(a == 1 || b == 2)").map(|f| f.iter().count()), Some(2));
}

#[test]
fn floats_are_compared_as_such() {
    let one =
        |filter: &str, ty: &str, bits: u64| holds(filter, &format!("a: {ty}"), &[Seen::Bits(bits)]);
    let f64s = |filter: &str, value: f64| one(filter, "f64", value.to_bits());
    let f32s = |filter: &str, value: f32| one(filter, "f32", value.to_bits().into());
    assert!(f64s("a > 1", 1.5) && !f64s("a > 1.5", 1.5) && f64s("a >= 1.5", 1.5));
    assert!(f64s("a == 0.1", 0.1) && f32s("a == 0.1", 0.1) && !f64s("a == 0.1", 0.1_f32.into()));
    assert!(f64s("a", -1.0) && !f64s("a", -0.0) && f64s("a < -1e3", -1001.0));
    assert!(f64s("a in 0.5..1", 0.5) && !f64s("a in 0.5..1", 1.0) && f64s("0 < a < 1", 0.25));
    // Nothing holds of a NaN, so that its opposite does.
    assert!(!f64s("a > 1", f64::NAN) && f64s("!(a > 1)", f64::NAN) && f64s("!(a <= 1)", f64::NAN));
    assert_eq!(bind("a > 1", "a: f64").expect("a condition").filter(), None);
}

/// The value of each name in a call that has ended.
fn ended(
    filter: &str,
    probe: &str,
    see: impl Fn(What) -> Seen<'static>,
) -> (AtEntry, Option<bool>) {
    let signature = Spec::parse(probe).expect("a probe").signature;
    let of = Called { signature: signature.as_ref(), returns: true, fails: None };
    let parsed =
        if filter.is_empty() { Where::failed(None) } else { Where::parse(filter).expect(filter) };
    let condition = parsed.bind(&of).unwrap_or_else(|e| panic!("{e}"));
    let at_entry = condition.at_entry(&|what| {
        assert!(!what.is_late(), "{filter} asks for {what:?} at the entry");
        see(what)
    });
    // What is left gives the same answer as the whole.
    let whole = condition.holds(&see);
    match &at_entry {
        AtEntry::Known(answer) => assert!(answer.is_none() || *answer == whole, "{filter}"),
        AtEntry::Open(rest) => {
            let rest = rest.holds(&|what| {
                assert!(what.is_late(), "{filter} asks for {what:?} at the end");
                see(what)
            });
            assert_eq!(rest, whole, "{filter}");
        }
    }
    (at_entry, whole)
}

#[test]
fn ends_of_calls_are_looked_at() {
    let see = |what: What| match what {
        What::Arg(_) | What::Tid => Seen::Bits(7),
        What::Pid => Seen::Bits(5),
        What::Comm => Seen::Text(b"worker-3"),
        What::Caller => Seen::Text(b"app:main"),
        What::Ret => Seen::Bits(0xffff_ffff),
        What::Duration => Seen::Bits(2_000_000),
    };
    let probe = "f(n: i32) -> i32";
    let known = |answer| AtEntry::Known(Some(answer));
    for (filter, passes) in [
        ("ret < 0", true),
        ("ret == 0", false),
        ("duration > 1ms", true),
        ("duration > 2ms", false),
        ("duration >= 2000us && duration <= 0.002s", true),
        ("duration in 1ms..3ms", true),
        ("n == 7 && ret < 0", true),
        ("n == 7 && (ret == 0 || duration > 1ms)", true),
        ("pid == 5 && tid == 7 && ret == -1", true),
        ("!(ret < 0 || duration > 10ms)", false),
        ("", true),
    ] {
        let (at_entry, whole) = ended(filter, probe, see);
        assert_eq!(whole, Some(passes), "{filter}");
        assert!(matches!(at_entry, AtEntry::Open(_)), "{filter}");
    }
    for (filter, passes) in [
        ("n == 8 && ret < 0", false),
        ("n == 7 || ret < 0", true),
        ("comm ~ \"worker-*\"", true),
        ("comm != \"worker-3\"", false),
        ("pid == 5", true),
        ("pid != 5 && duration > 1s", false),
    ] {
        assert_eq!(ended(filter, probe, see), (known(passes), Some(passes)), "{filter}");
    }
    // An argument comes before what every hit has.
    assert_eq!(ended("pid == 7", "kill(pid: i32) -> i32", see).1, Some(true));
}

#[test]
fn what_goes_on_has_lasted_so_long_already() {
    let see = |what: What| match what {
        What::Duration => Seen::AtLeast(5_000_000),
        What::Arg(_) => Seen::Bits(1),
        _ => Seen::Unknown,
    };
    for (filter, passes) in [
        ("duration > 1ms", Some(true)),
        ("duration > 5ms", None),
        ("duration < 1ms", Some(false)),
        ("duration < 10ms", None),
        ("duration == 5ms", None),
        ("ret < 0", None),
        ("ret < 0 && n == 0", Some(false)),
        ("ret < 0 || duration > 1ms", Some(true)),
        ("", None),
    ] {
        assert_eq!(ended(filter, "f(n: i32) -> i32", see).1, passes, "{filter}");
    }
}

#[test]
fn what_comes_back_has_a_type() {
    let bound = |filter: &str, probe: &str| {
        let signature = Spec::parse(probe).expect("a probe").signature;
        let of = Called { signature: signature.as_ref(), returns: true, fails: None };
        let parsed = if filter.is_empty() {
            Where::failed(None)
        } else {
            Where::parse(filter).expect(filter)
        };
        parsed.bind(&of).map_err(|e| e.to_string())
    };
    for (filter, probe, said) in [
        ("ret == 1", "f(n: i32)", "the type of what comes back is not known"),
        ("ret == 1", "f(n: i32) -> void", "it is void"),
        ("ret == 3000000000", "f() -> i32", "'ret' is i32, which is"),
        (
            "duration > 5",
            "f() -> i32",
            "a time is written with its unit: ns, us, ms or s\n    duration > 5\n               ^\n    try 10ms",
        ),
        ("duration ~ \"x\"", "f() -> i32", "'duration' is a time, and not a text"),
        ("", "f()", "the type of what comes back is not known"),
    ] {
        let error = bound(filter, probe).expect_err(filter);
        assert!(error.contains(said), "{error}");
    }
    assert!(bound("ret ~ \"a*\" && ret != NULL", "f() -> str").is_ok());
    assert!(bound("ret > 0.5", "f() -> f64").is_ok());
    assert!(bound("", "f() -> void").is_ok_and(|c| c.holds(&|_| Seen::Unknown) == Some(false)));
}

#[test]
fn what_an_argument_points_to_is_compared_where_it_is_known() {
    let arg = |n: usize| -> Seen<'static> {
        [Seen::Text(b"hello"), Seen::Bits(0x1000), Seen::Bits(0o101), Seen::Bits(0o644)][n]
    };
    let see = |what: What| if let What::Arg(n) = what { arg(n) } else { Seen::Unknown };
    let probe = "f(in: bytes[4], to: out bytes[4], flags: oflags.x86_64, mode: mode?) -> i32";
    for (filter, passes) in [
        ("in ~ \"he*\"", true),
        ("to != NULL", true),
        ("flags & 0x40", true),
        ("flags == 0x41 && mode == 420", true),
        ("mode != 420", false),
        ("!(mode == 1)", true),
    ] {
        assert_eq!(ended(filter, probe, see).1, Some(passes), "{filter}");
    }
    // A mode that is not there passes nothing, and its register is not asked.
    let other = |what: What| if what == What::Arg(2) { Seen::Bits(2) } else { see(what) };
    for filter in ["mode == 420", "mode != 420", "!(mode == 420)"] {
        assert_eq!(ended(filter, probe, other).1, Some(false), "{filter}");
    }
    let signature = Spec::parse(probe).expect("a probe").signature;
    let of = Called { signature: signature.as_ref(), returns: true, fails: None };
    let bound = Where::parse("mode == 420").expect("a filter").bind(&of).expect("a condition");
    assert_eq!(bound.filter(), None, "a trampoline does not ask both");
    let error = Where::parse("to ~ \"a\"").expect("a filter").bind(&of).expect_err("no text yet");
    assert!(error.what.contains("'to' is ptr"), "{error}");
}
