use super::*;
use crate::symbols::Object;

fn parse(text: &str) -> Spec {
    Spec::parse(text).unwrap_or_else(|e| panic!("{e}"))
}

/// A spec in one line, for tables.
fn shape(spec: &Spec) -> String {
    let object = spec.object.as_ref().map_or("-", |o| o.as_str());
    let place = match &spec.location {
        Location::Symbol { name, version, offset } => {
            let kind = match name {
                SymbolName::Literal(_) => "literal",
                SymbolName::Exact(_) => "symbol",
                SymbolName::Glob(_) => "glob",
            };
            let version = version.as_ref().map_or(String::new(), |v| format!(" @{v}"));
            let offset = match offset {
                Offset::At(0) => String::new(),
                Offset::At(n) => format!(" +{n}"),
                Offset::Every => " +*".to_owned(),
            };
            format!("{kind} {}{version}{offset}", name.as_str())
        }
        Location::Address(at) => format!("address {at:#x}"),
        Location::Line { file, line } => format!("line {file} {line}"),
        Location::Usdt { provider, name } => {
            format!("usdt {} {name}", provider.as_deref().unwrap_or("-"))
        }
    };
    let signature = spec.signature.as_ref().map_or(String::new(), |s| format!(" {s}"));
    format!("{:?} {object} {place}{signature}", spec.when).to_lowercase()
}

#[test]
fn every_form_of_a_probe_is_read() {
    for (text, expected) in [
        ("malloc", "entry - symbol malloc"),
        ("libc:malloc", "entry libc symbol malloc"),
        ("libc:mem*", "entry libc glob mem*"),
        ("lib*.so*:str[cn]*", "entry lib*.so* glob str[cn]*"),
        ("open(path: str, flags: hex) -> i32", "both - symbol open (path: str, flags: hex) -> i32"),
        ("open ( path:str ,flags:hex )->i32", "both - symbol open (path: str, flags: hex) -> i32"),
        ("libc:write(fd: i32)", "entry libc symbol write (fd: i32)"),
        ("getpid() -> i32", "both - symbol getpid () -> i32"),
        ("malloc -> ptr", "both - symbol malloc -> ptr"),
        ("return:libc:read", "return libc symbol read"),
        ("return:read -> i64", "return - symbol read -> i64"),
        ("uretprobe:/bin/bash:readline", "return /bin/bash symbol readline"),
        ("uprobe:libc:malloc+4", "entry libc symbol malloc +4"),
        ("./app:main+0x10", "entry ./app symbol main +16"),
        ("./app:0x1139", "entry ./app address 0x1139"),
        ("0x1139", "entry - address 0x1139"),
        ("libc:qsort+*", "entry libc symbol qsort +*"),
        ("libc:*+*", "entry libc glob * +*"),
        ("geo::over(int)", "entry - symbol geo::over(int)"),
        ("app:over(const char*, Shape&)", "entry app symbol over(const char*, shape&)"),
        ("over(int)(n: i32) -> i32", "both - symbol over(int) (n: i32) -> i32"),
        ("over(double) -> f64", "both - symbol over(double) -> f64"),
        ("app:main+0x10(rax: u64, x0: ptr)", "entry app symbol main +16 (rax: u64, x0: ptr)"),
        ("app:0x1139(n: i32) -> i32", "both app address 0x1139 (n: i32) -> i32"),
        ("app.c:42", "entry - line app.c 42"),
        ("usdt:libc:setjmp", "entry - usdt libc setjmp"),
        ("usdt:setjmp", "entry - usdt - setjmp"),
        ("usdt:/bin/app:ns:probe", "entry /bin/app usdt ns probe"),
        ("=odd:name+3(x)", "entry - literal odd:name+3(x)"),
        ("libc:=mem*", "entry libc literal mem*"),
        ("return:=_Z3fooi", "return - literal _z3fooi"),
        ("memcpy@GLIBC_2.2.5", "entry - symbol memcpy @glibc_2.2.5"),
        ("libc:memcpy@@GLIBC_2.14+8", "entry libc symbol memcpy @glibc_2.14 +8"),
        ("app:malloc@plt", "entry app symbol malloc @plt"),
        ("ns::Type::method", "entry - symbol ns::type::method"),
        ("libfoo:ns::Type::method+0x4", "entry libfoo symbol ns::type::method +4"),
        ("::main", "entry - symbol ::main"),
        ("app:ns::f(n: i32) -> bool", "both app symbol ns::f (n: i32) -> bool"),
        ("Type::operator()", "entry - symbol type::operator()"),
        ("Type::operator()(n: i32)", "entry - symbol type::operator() (n: i32)"),
        ("Type::operator->", "entry - symbol type::operator->"),
        ("Type::operator+", "entry - symbol type::operator+"),
        ("Type::operator++", "entry - symbol type::operator++"),
        ("Type::operator+=", "entry - symbol type::operator+="),
        ("Type::operator[]", "entry - symbol type::operator[]"),
        ("Type::operator+ + 8", "entry - symbol type::operator+ +8"),
        ("(anonymous namespace)::f", "entry - symbol (anonymous namespace)::f"),
        (
            "app:(anonymous namespace)::f(n: i8)",
            "entry app symbol (anonymous namespace)::f (n: i8)",
        ),
        ("main::{lambda(int)#1}::operator()", "entry - symbol main::{lambda(int)#1}::operator()"),
        ("std::vector<int, A<b> >::size", "entry - symbol std::vector<int, a<b> >::size"),
        ("  libc : malloc  ", "entry libc symbol malloc"),
        ("libstdc++:__cxa_throw", "entry libstdc++ symbol __cxa_throw"),
        ("foo.part.0", "entry - symbol foo.part.0"),
        ("main.(*T).String", "entry - glob main.(*t).string"),
    ] {
        assert_eq!(shape(&parse(text)), expected, "{text}");
    }
}

#[test]
fn errors_point_at_what_is_wrong() {
    for (text, wrong, what) in [
        ("", "", "it is empty"),
        ("libc:", "", "nothing stands on one side"),
        (":malloc", "", "nothing stands on one side"),
        ("a:b:c", "c", "too many parts"),
        ("uprobe:/bin/a:b:c:d", "c:d", "too many parts"),
        ("foo(path)", "path", "'name: type'"),
        ("foo(a: int)", "int", "'int' is not a type"),
        ("foo(a: i32, )", "", "an argument is missing"),
        ("foo(a: i32, a: i8)", "a", "two arguments"),
        ("foo(a b: i32)", "a b", "is a word"),
        ("foo(a: i32", "(a: i32", "never closed"),
        ("foo)", ")", "never opened"),
        ("foo -> long", "long", "'long' is not a type"),
        ("foo() ->", "", "a type is missing"),
        ("main+foo", "foo", "an offset is a number"),
        ("main+0xzz", "0xzz", "no 64-bit number"),
        ("main+99999999999999999999", "99999999999999999999", "no 64-bit number"),
        ("0x12345678123456789", "0x12345678123456789", "no 64-bit number"),
        ("app.c:0", "0", "no line number"),
        ("app.c:99999999999", "99999999999", "no line number"),
        ("return:main+4", "main+4", "only a function returns"),
        ("main+4(a: i32)", "main+4(a: i32)", "and 'a' is none"),
        ("=", "=", "no symbol"),
        ("+4", "", "a function's name is missing"),
        ("usdt:a:b:c:d", "d", "too many parts"),
    ] {
        let error = Spec::parse(text).expect_err(text);
        assert!(error.what.contains(what), "{text}: {}", error.what);
        assert_eq!(&text[error.at.clone()], wrong, "{text}: {}", error.what);
    }
}

#[test]
fn an_error_is_shown_with_a_caret() {
    let error = Spec::parse("libc:open(path: string) -> i32").unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the probe: 'string' is not a type\n    \
         libc:open(path: string) -> i32\n                    \
         ^^^^^^\n    try str"
    );
}

#[test]
fn no_text_makes_the_parser_panic() {
    let pieces = [
        "malloc",
        ":",
        "::",
        "(",
        ")",
        "a: i32",
        "+",
        "*",
        "0x1f",
        "=",
        "@",
        "->",
        "i32",
        " ",
        "é",
        "[",
        "]",
        "operator",
        "usdt:",
        "return:",
        "7",
        ",",
        "<",
        ">",
        "{",
        "}",
        "\n",
        ".",
        "/",
        "-",
        "99999999999999999999",
        "\u{0}",
    ];
    let mut random = 0x2545_f491_4f6c_dd1du64;
    for _ in 0..30_000 {
        let mut text = String::new();
        for _ in 0..=(random % 9) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            text.push_str(pieces[(random >> 20) as usize % pieces.len()]);
        }
        match Spec::parse(&text) {
            Ok(spec) => assert_eq!(spec.text, text),
            Err(error) => {
                assert!(text.get(error.at.clone()).is_some(), "{text:?} {error:?}");
                let _ = error.to_string();
            }
        }
    }
}

#[test]
fn objects_are_meant_by_file_name_soname_or_path() {
    let libc = ObjectName {
        path: "/usr/lib/x86_64-linux-gnu/libc.so.6",
        soname: Some("libc.so.6"),
        program: false,
        debug: &[],
    };
    let old = ObjectName {
        path: "/lib/libc-2.31.so",
        soname: Some("libc.so.6"),
        program: false,
        debug: &[],
    };
    let musl = ObjectName {
        path: "/lib/ld-musl-x86_64.so.1",
        soname: Some("libc.musl-x86_64.so.1"),
        program: false,
        debug: &[],
    };
    let app =
        ObjectName { path: "/home/me/app (deleted)", soname: None, program: true, debug: &[] };
    for (object, name, means) in [
        ("libc", &libc, true),
        ("libc", &old, true),
        ("libc", &musl, true),
        ("libc", &app, false),
        ("libc.so", &libc, true),
        ("libc.so.6", &libc, true),
        ("libc.so.6", &old, true),
        ("libc*", &libc, true),
        ("lib", &libc, false),
        ("libc-2.31", &old, true),
        ("app", &app, true),
        ("*/x86_64-linux-gnu/*", &libc, true),
        ("/usr/lib/x86_64-linux-gnu/libc.so.6", &libc, true),
        ("/usr/lib/libc.so.6", &libc, false),
        ("/home/me/app", &app, true),
    ] {
        let spec = parse(&format!("{object}:f"));
        assert_eq!(spec.may_match(name), means, "{object} {}", name.path);
    }
    assert!(parse("f").may_match(&libc));
    assert!(parse("0x10").may_match(&app) && !parse("0x10").may_match(&libc));
}

#[cfg(feature = "demangle")]
#[test]
fn cpp_and_rust_names_match_without_parameters() {
    for (mangled, people) in [
        ("_ZN2ns4Type6methodEi", "ns::Type::method"),
        ("_ZNK2ns4TypeclEi", "ns::Type::operator()"),
        ("_Z10frobnicatePKc", "frobnicate"),
        ("_ZN2ns1fEi.cold", "ns::f.cold"),
        ("_ZN4core3fmt5write17h0123456789abcdefE", "core::fmt::write"),
        ("_RNvCs1234_7mycrate3foo", "mycrate::foo"),
        ("memcpy", "memcpy"),
    ] {
        assert_eq!(demangled(mangled), people);
        let Location::Symbol { name, .. } = parse(people).location else { panic!() };
        assert!(name.matches(mangled), "{people}");
        let Location::Symbol { name, .. } = parse(&format!("={people}")).location else { panic!() };
        assert_eq!(name.matches(mangled), people == mangled, "={people}");
    }
    let Location::Symbol { name, .. } = parse("ns::*").location else { panic!() };
    assert!(name.matches("_ZN2ns4Type6methodEi") && !name.matches("_ZN3not4Type6methodEi"));
}

#[test]
fn a_name_means_a_function_without_what_a_program_does_not_write() {
    use super::names::{means, plain};
    for (name, wanted) in [
        ("ns::shown<int>", "ns::shown"),
        ("ns::shown<int>", "ns::shown<int>"),
        ("ns::Vec<A<B<int> >, C>::push", "ns::Vec::push"),
        ("ns::Vec<A<B<int> >, C>::push", "ns::Vec<A<B<int>>,C>::push"),
        ("ns::Vec<int>::push<double>", "ns::Vec<int>::push"),
        ("ns::(anonymous namespace)::hidden", "ns::hidden"),
        ("ns::(anonymous namespace)::hidden", "ns::(anonymous namespace)::hidden"),
        ("std::__cxx11::list<int>::size", "std::list::size"),
        ("name[abi:cxx11]", "name"),
        ("name[abi:cxx11]", "name[abi:cxx11]"),
        ("ns::operator< <int>", "ns::operator<"),
        ("ns::operator<< <char, T>", "ns::operator<<"),
        ("ns::operator<<", "ns::operator<<"),
        ("T<int>::operator()", "T::operator()"),
        ("T::operator()<int>", "T::operator()"),
        ("T::operator V<int>", "T::operator V"),
        ("f<((2)>(1)), int>", "f"),
        ("f<int (*)(int)>", "f"),
        ("mycrate::f::<u32, fn(A) -> B>", "mycrate::f"),
        ("mycrate::f::<u32>", "mycrate::f::<u32>"),
        ("<mycrate::T<u8> as core::fmt::Debug>::fmt", "<mycrate::T as core::fmt::Debug>::fmt"),
    ] {
        assert!(means(wanted, name), "{wanted} for {name}");
    }
    for (name, wanted) in [
        ("ns::shown<int>", "ns::shown<double>"),
        ("ns::shown<int>", "shown"),
        ("ns::shown<int>::f", "ns::shown"),
        ("ns::operator<<", "ns::operator<"),
        ("ns::operator<", "ns::operator"),
        ("ns::operator< <int>", "ns::operator<<"),
        ("<A as B>::f", "f"),
        ("<A as B>::f", "::f"),
        ("f<", "f"),
        ("é<x>", "e"),
    ] {
        assert!(!means(wanted, name), "{wanted} is not {name}");
    }
    assert_eq!(plain("ns::Vec<A<int> >::push<B>"), "ns::Vec::push");
    assert_eq!(plain("operator<< <char>"), "operator<<");
}

#[test]
fn what_is_printed_can_be_written_in_a_probe() {
    use crate::symbols::{Bind, Kind, Symbol};
    let written = |name, version, kind| {
        let (default, bind) = (version != Some("OLD"), Bind::Global);
        written(&Symbol { name, version, default, addr: 1, size: 1, kind, bind })
    };
    let function = |name| written(name, None, Kind::Function);
    for (name, shown) in [
        ("malloc", "malloc"),
        ("scale.constprop.0", "scale.constprop.0"),
        ("main.(*T).String", "main.(*T).String"),
        ("main.Map[...]", "main.Map[...]"),
        ("type:.eq.main.T", "=type:.eq.main.T"),
        ("with@sign", "=with@sign"),
        ("0x12", "=0x12"),
        ("odd name(x: i32)", "=odd name(x: i32)"),
    ] {
        assert_eq!(function(name), shown);
        let spec = parse(&format!("app:{shown}"));
        let Location::Symbol { name: read, .. } = &spec.location else { panic!("{shown}") };
        assert!(read.matches(name), "{shown} does not mean {name}");
    }
    assert_eq!(written("memcpy", Some("OLD"), Kind::Function), "memcpy@OLD");
    assert_eq!(written("memcpy", Some("NEW"), Kind::Function), "memcpy");
    assert_eq!(written("puts", None, Kind::Plt), "puts@plt");
    #[cfg(feature = "demangle")]
    for (name, shown) in [
        ("_ZN2ns4Type6methodEi", "ns::Type::method"),
        ("_Z4nameB5cxx11v", "name[abi:cxx11]"),
        ("_ZNK2ns4TypeclEi", "ns::Type::operator()"),
        ("_ZN2ns4TypeplEi", "ns::Type::operator+"),
        ("_ZN2ns12_GLOBAL__N_16hiddenEv", "ns::(anonymous namespace)::hidden"),
        ("_RNvCs1234_7mycrate3foo", "mycrate::foo"),
        (
            "_ZN49_$LT$dyn$u20$a..A$u2b$b..B$u20$as$u20$core..C$GT$3fmt17h0123456789abcdefE",
            "<dyn a::A+b::B as core::C>::fmt",
        ),
    ] {
        assert_eq!(function(name), shown);
        let Location::Symbol { name: read, .. } = parse(shown).location else { panic!("{shown}") };
        assert!(read.matches(name), "{shown} does not mean {name}");
    }
}

const LIBC: &str = "/lib/x86_64-linux-gnu/libc.so.6";

fn places_in(object: &Object, text: &str) -> Resolved {
    resolve(&parse(text), object).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn places(text: &str) -> Resolved {
    places_in(&Object::open(LIBC).unwrap(), text)
}

#[test]
fn places_of_libc_are_found() {
    let object = Object::open(LIBC).unwrap();
    let symbols = object.symbols().unwrap();
    let malloc = &places("malloc").places[..];
    assert_eq!(malloc.len(), 1);
    assert_eq!(symbols.get(malloc[0].symbol.unwrap()).name, "malloc");
    assert_eq!(malloc[0].kind, PlaceKind::Entry);
    // The alias is the same place under the name that was asked for.
    assert_eq!(places("__libc_malloc").places[0].vaddr, malloc[0].vaddr);
    assert_eq!(places("memcpy@@GLIBC_2.14").places[0].kind, PlaceKind::Resolver);
    assert_ne!(places("memcpy@GLIBC_2.2.5").places, places("memcpy@@GLIBC_2.14").places);
    assert_eq!(places("memcpy").places.len(), 2);
    assert_eq!(places("mallox"), Resolved::default());
    assert!(places("realloc@plt").places.len() == 1);
    let every = places("*");
    assert!(every.places.len() > 2000, "{}", every.places.len());
    assert!(every.places.windows(2).all(|w| w[0].vaddr < w[1].vaddr));
}

#[test]
fn an_address_inside_an_instruction_is_rejected_with_its_start() {
    let object = Object::open(LIBC).unwrap();
    let every = places_in(&object, "qsort_r+*");
    assert!(every.rejects.is_empty() && every.places.len() > 3, "{every:?}");
    for pair in every.places.windows(2) {
        for inside in pair[0].vaddr + 1..pair[1].vaddr {
            let resolved = places_in(&object, &format!("libc:{inside:#x}"));
            let (_, reject) = resolved.rejects[0];
            assert_eq!(reject.reason, xol_arch::Reason::InsideInstruction);
            assert_eq!(reject.nearest, Some(xol_arch::Addr(pair[0].vaddr)));
        }
        let start = places_in(&object, &format!("libc:{:#x}", pair[1].vaddr));
        assert_eq!(start.places.len(), 1, "{start:?}");
        assert_eq!(start.places[0].offset, pair[1].offset);
    }
}

#[test]
fn an_unknown_name_proposes_near_ones() {
    let object = Object::open(LIBC).unwrap();
    let name = ObjectName { path: LIBC, soname: Some("libc.so.6"), program: false, debug: &[] };
    let candidates = [Candidate { name, object: &object }];
    let sentence = unknown(&parse("libc:maloc"), &candidates);
    assert!(
        sentence.starts_with("no function is called 'maloc' in libc.so.6; near: malloc"),
        "{sentence}"
    );
    let sentence = unknown(&parse("libd:malloc"), &candidates);
    assert_eq!(
        sentence,
        "no object is called 'libd'; it is in libc.so.6: write 'libc.so.6:malloc'"
    );
    let sentence = unknown(&parse("libd:mallox"), &candidates);
    assert_eq!(sentence, "no object is called 'libd'; near: libc.so.6");
    let sentence = unknown(&parse("libc:zzz*"), &candidates);
    assert_eq!(sentence, "no function matches 'zzz*' in libc.so.6");
}

#[test]
fn forms_without_anything_behind_them_say_so() {
    let object = Object::open(LIBC).unwrap();
    for text in ["app.c:42", "usdt:libc:setjmp"] {
        let error = resolve(&parse(text), &object).unwrap_err();
        assert!(error.to_string().ends_with("not built yet"), "{error}");
    }
}
