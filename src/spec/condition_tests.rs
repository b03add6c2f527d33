use super::*;
use crate::spec::{Spec, Where};

fn signature(args: &str) -> Signature {
    Spec::parse(&format!("f({args})")).expect("a probe").signature.expect("a signature")
}

fn bind(filter: &str, args: &str) -> Result<Condition, String> {
    let parsed = Where::parse(filter).map_err(|e| e.to_string())?;
    parsed.bind(&signature(args)).map_err(|e| e.to_string())
}

fn holds(filter: &str, args: &str, values: &[Seen<'_>]) -> bool {
    let condition = bind(filter, args).unwrap_or_else(|e| panic!("{e}"));
    condition.holds(&|n| values[n]).expect("everything can be read")
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
        condition.holds(&|n| if n == 2 { Seen::Bits(1) } else { value })
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
        ("flag == 1", "no argument is called 'flag'", "^^^^\n    try path, flags, d, ok"),
        ("flags = 1", "equal is written ==", "      ^"),
        ("flags == 300", "'flags' is u8, which is 0 to 255", "         ^^^"),
        ("flags == -1", "'flags' is u8, which is 0 to 255", "         ^^"),
        ("flags & 0x100", "this is no mask of 8 bits", "        ^^^^^"),
        ("flags ~ \"x\"", "'flags' is u8, and not a text", "        ^^^"),
        ("path > 3", "a str is only == or != NULL", "       ^"),
        ("ok < 1", "a bool is only == or != true or false", "     ^"),
        ("d > 1", "only integers and texts can be compared", "^"),
        ("flags ==", "a number is missing", "        ^"),
        ("flags == b", "'b' is not a number", "         ^"),
        ("(flags", "this parenthesis is not closed", "^"),
        ("flags flags", "&& or || is missing", "      ^"),
        ("1 == flags", "a test begins with the name of an argument", "^"),
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
    let types =
        Type::ALL.iter().filter(|ty| !ty.is_float() && !matches!(ty, Type::Str | Type::Void));
    let types: Vec<&str> = types.map(|ty| ty.name()).collect();
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
            let evaluated = condition.holds(&|n| match n {
                0 => Seen::Bits(values[0]),
                2 => Seen::Bits(values[1]),
                _ => panic!("{text} asks for argument {n}"),
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
