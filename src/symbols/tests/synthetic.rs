//! Programs made to have what real libraries rarely show.

use super::super::{Bind, Fixed, Kind, Object};
use super::tool;
use std::path::{Path, PathBuf};
use std::process::Command;
use xol_arch::Reason;

/// A folder for one test, gone afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let folder = std::env::temp_dir().join(format!("xol-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Scratch(folder)
    }

    /// Compiles `source` with `compiler` and its words; panics with its complaints.
    fn make(&self, name: &str, source: &str, compiler: &[&str]) -> PathBuf {
        let (from, to) = (self.0.join(format!("{name}.c")), self.0.join(name));
        std::fs::write(&from, source).unwrap();
        let made = Command::new(compiler[0])
            .args(&compiler[1..])
            .args(["-fno-builtin", "-x", if compiler[0] == "g++" { "c++" } else { "c" }, "-o"])
            .arg(&to)
            .arg(&from)
            .output()
            .unwrap_or_else(|e| panic!("{} is not installed: {e}", compiler[0]));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        to
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path) -> Object {
    Object::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The addresses and sizes of the symbols of this name.
fn named(object: &Object, name: &str) -> Vec<(u64, u64)> {
    let symbols = object.symbols().unwrap();
    let named = symbols.iter().filter(|(_, s)| s.name == name && s.kind != Kind::Plt);
    named.map(|(_, s)| (s.addr, s.size)).collect()
}

const PROGRAM: &str = "
#include <stdio.h>
#include <stdlib.h>
static int twice(int n) { return n * 2; }
int (*volatile indirect)(int) = twice;
__attribute__((noinline)) int visible(int n) { return indirect(n) + 1; }
asm(\".text\\n.globl sizeless\\n.type sizeless,@function\\nsizeless: nop\\n nop\\n ret\\n\"
    \".globl typeless\\ntypeless: nop\\n ret\\n\"
    \".globl behind\\n.type behind,@function\\nbehind: ret\\n.size behind,.-behind\\n\"
    \".data\\n.globl not_code\\n.type not_code,@function\\nnot_code: .quad 0\\n.text\\n\");
int main(int argc, char **argv) { void *p = malloc(argc); puts(argv[0]); free(p); return visible(argc); }
";

#[test]
fn programs_of_every_linking_have_their_functions() {
    let scratch = Scratch::new("linking");
    for (name, words, fixed, is_static) in [
        ("pie", &["-pie"][..], false, false),
        ("no-pie", &["-no-pie"], true, false),
        ("static", &["-static", "-no-pie"], true, true),
        ("static-pie", &["-static-pie"], false, true),
        ("now", &["-pie", "-Wl,-z,now", "-fcf-protection=full"], false, false),
    ] {
        let path = scratch.make(name, PROGRAM, &[&["gcc", "-O1"], words].concat());
        let object = open(&path);
        assert_eq!((object.is_fixed(), object.is_static()), (fixed, is_static), "{name}");
        for function in ["main", "visible", "twice", "sizeless", "typeless", "behind"] {
            assert_eq!(named(&object, function).len(), 1, "{name}: {function}");
        }
        assert!(named(&object, "not_code").is_empty(), "{name}: data with function type");
        // Assembly without sizes ends where the next thing begins.
        assert_eq!(named(&object, "typeless")[0].1, 2, "{name}");
        assert_eq!(named(&object, "behind")[0].1, 1, "{name}");
        let sizeless = named(&object, "sizeless")[0];
        assert_eq!(sizeless.0 + sizeless.1, named(&object, "behind")[0].0, "{name}");
        let symbols = object.symbols().unwrap();
        let typeless = symbols.at(named(&object, "typeless")[0].0).unwrap();
        assert_eq!(symbols.get(typeless).kind, Kind::Label, "{name}");
        let twice = symbols.at(named(&object, "twice")[0].0).unwrap();
        assert_eq!(symbols.get(twice).bind, Bind::Local, "{name}");
        if !is_static {
            let stubs = symbols.iter().filter(|(_, s)| s.kind == Kind::Plt);
            let mut stubs: Vec<&str> = stubs.map(|(_, s)| s.name).collect();
            stubs.sort_unstable();
            stubs.retain(|s| !s.starts_with("__"));
            assert_eq!(stubs, ["free", "malloc", "puts"], "{name}");
        }
    }
}

#[test]
fn without_section_headers_the_loader_s_tables_do() {
    let scratch = Scratch::new("sections");
    let path = scratch.make("lib.so", PROGRAM, &["gcc", "-O1", "-shared", "-fPIC"]);
    let whole = open(&path);
    let mut bytes = std::fs::read(&path).unwrap();
    // e_shoff, e_shnum, e_shstrndx
    bytes[0x28..0x30].fill(0);
    bytes[0x3c..0x40].fill(0);
    let bare = Object::from_bytes(bytes).unwrap();
    assert!(bare.is_stripped() && !whole.is_stripped());
    assert_eq!(named(&bare, "visible"), named(&whole, "visible"));
    assert!(named(&bare, "twice").is_empty());
    // A function without a name still has bounds, from the unwind table.
    let (start, size) = named(&whole, "twice")[0];
    let bounds = bare.function_at(start + 1).unwrap().unwrap();
    assert_eq!(bounds.start, start);
    assert!(bounds.end >= start + size);
    assert_eq!(bare.got_slots("malloc").unwrap(), whole.got_slots("malloc").unwrap());
    // The hash table counts symbols: by either kind.
    for style in ["sysv", "gnu"] {
        let hash = format!("-Wl,--hash-style={style}");
        let path = scratch.make(style, PROGRAM, &["gcc", "-O1", "-shared", "-fPIC", &hash]);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[0x28..0x30].fill(0);
        let bare = Object::from_bytes(bytes).unwrap();
        assert_eq!(named(&bare, "visible"), named(&open(&path), "visible"), "{style}");
    }
}

const VERSIONS: &str = "
int old(void) { return 1; }
int new(void) { return 2; }
asm(\".symver old,f@V1\\n.symver new,f@@V2\");
static int pick(void) { return 3; }
static void *resolve(void) { return (void *)pick; }
int chosen(void) __attribute__((ifunc(\"resolve\")));
int caller(void) { return chosen(); }
";

#[test]
fn versions_and_ifuncs_are_told_apart() {
    let scratch = Scratch::new("versions");
    let map = scratch.0.join("map");
    std::fs::write(&map, "V1 { };\nV2 { global: caller; chosen; } V1;\n").unwrap();
    let script = format!("-Wl,--version-script={}", map.display());
    let path = scratch.make("lib.so", VERSIONS, &["gcc", "-O1", "-shared", "-fPIC", &script]);
    let object = open(&path);
    let symbols = object.symbols().unwrap();
    let mut found: Vec<String> = symbols
        .iter()
        .filter(|(_, s)| s.name == "f" || s.name == "chosen" && s.kind != Kind::Plt)
        .map(|(_, s)| format!("{s} {} {:?}", s.kind.name(), s.version))
        .collect();
    found.sort();
    assert_eq!(
        found,
        ["chosen ifunc Some(\"V2\")", "f func Some(\"V2\")", "f@V1 func Some(\"V1\")"]
    );
}

const RSEQ: &str = "
asm(\".text\\n.globl begin\\n.type begin,@function\\nbegin: nop\\n nop\\n nop\\n.globl end\\nend: nop\\n\"
    \".globl abort\\nabort: ret\\n\"
    \".pushsection __rseq_cs,\\\"aw\\\"\\n.balign 32\\n.long 0,0\\n\"
    \".quad begin, end - begin, abort\\n.popsection\\n\");
int main(void) { return 0; }
";

#[test]
fn restartable_sequences_are_known_with_and_without_relocations() {
    let scratch = Scratch::new("rseq");
    for link in ["-pie", "-no-pie"] {
        let object = open(&scratch.make("rseq", RSEQ, &["gcc", link]));
        let begin = named(&object, "begin")[0].0;
        let expected = Fixed { range: begin..begin + 3, reason: Reason::RestartableSequence };
        assert!(object.fixed().unwrap().contains(&expected), "{link}: {:x?}", object.fixed());
        let reject = object.place_reject(begin + 2).unwrap().unwrap();
        assert_eq!(reject.reason, Reason::RestartableSequence, "{link}");
        assert_eq!(object.place_reject(begin + 3).unwrap(), None, "{link}");
    }
}

#[test]
fn musl_s_cancellation_points_are_found_by_name_and_by_bytes() {
    let scratch = Scratch::new("musl");
    let source = "#include <unistd.h>\n#include <pthread.h>\n#include <signal.h>
        int main(void) { char c; signal(SIGINT, SIG_IGN); pthread_cancel(pthread_self());
        return read(0, &c, 1); }";
    let path = scratch.make("musl", source, &["musl-gcc", "-static"]);
    let object = open(&path);
    let (begin, end) = (named(&object, "__cp_begin")[0].0, named(&object, "__cp_end")[0].0);
    let by_name = object.fixed().unwrap().to_vec();
    assert!(by_name.iter().any(|f| f.range == (begin..end)), "{begin:x} {end:x} {by_name:x?}");
    let stripped = scratch.0.join("stripped");
    let _ = tool("strip", &["-o", stripped.to_str().unwrap(), path.to_str().unwrap()]);
    let by_bytes = open(&stripped).fixed().unwrap().to_vec();
    assert!(by_bytes.iter().any(|f| f.range == (begin..end)), "{begin:x} {end:x} {by_bytes:x?}");
    // And the way back from a signal handler, which unwinders know by its bytes.
    let restore = named(&object, "__restore_rt")[0].0;
    assert!(by_bytes.iter().any(|f| f.range.contains(&restore)), "{restore:x} {by_bytes:x?}");
}

const CPP: &str = "
#include <string>
#include <vector>
namespace ns {
struct Type { int n; Type(int n); ~Type(); int method(int) const; int operator()(int); };
Type::Type(int n) : n(n) {}
Type::~Type() { n = 0; }
int Type::method(int k) const { return n + k; }
int Type::operator()(int k) { return n * k; }
bool operator+(const Type &a, const Type &b) { return a.n == b.n; }
}
namespace { __attribute__((noinline)) int hidden(int n) { return n + 1; } }
template <class T> __attribute__((noinline)) T same(T t) { return t; }
int overloaded(int n) { return n; }
int overloaded(double d) { return (int)d; }
int main(int c, char **v) { ns::Type t(c); std::vector<std::string> s(v, v + c);
  return t.method(1) + t(2) + (t + t) + hidden(c) + same<int>(c) + overloaded(1) + overloaded(1.0); }
";

#[test]
fn cpp_functions_are_meant_by_their_names_without_parameters() {
    let scratch = Scratch::new("cpp");
    let path = scratch.make("cpp", CPP, &["g++", "-O1"]);
    let object = open(&path);
    let nm = tool("nm", &["-C", path.to_str().unwrap()]);
    for people in [
        "ns::Type::Type",
        "ns::Type::~Type",
        "ns::Type::method",
        "ns::Type::operator()",
        "ns::operator+",
        "(anonymous namespace)::hidden",
        "same<int>",
        "overloaded",
        "main",
    ] {
        let spec = crate::spec::Spec::parse(people).unwrap();
        let ours = crate::spec::resolve(&spec, &object).unwrap();
        let ours: Vec<u64> = ours.places.iter().map(|p| p.vaddr).collect();
        let mut theirs: Vec<u64> = nm
            .lines()
            .filter_map(|l| Some((l.get(..16)?, l.get(19..)?)))
            .filter(|(_, name)| {
                // nm writes the return type of templates, and everyone's parameters.
                let name = name.strip_prefix("int ").unwrap_or(name);
                name.strip_prefix(people).is_some_and(|r| r.is_empty() || r.starts_with('('))
            })
            .map(|(addr, _)| u64::from_str_radix(addr, 16).unwrap())
            .collect();
        theirs.sort_unstable();
        theirs.dedup();
        assert!(!theirs.is_empty(), "{people}: {nm}");
        assert_eq!(ours, theirs, "{people}");
    }
}

#[test]
fn data_between_arm64_instructions_is_not_code() {
    use xol_arch::arm64::Arm64;
    let scratch = Scratch::new("mapping");
    let source = "asm(\".text\\n.globl mixed\\n.type mixed,@function\\nmixed: ldr x0, 1f\\n b 2f\\n\"
        \"1: .quad 0x1122334455667788\\n2: ldr w1, 3f\\n ret\\n3: .word 0xd503201f\\n.size mixed,.-mixed\\n\"
        \".globl table\\n.type table,@object\\ntable: .word 1, 2, 3, 4\\n.size table,.-table\\n\");
        int main(void) { return 0; }";
    let path = scratch.make("mapped", source, &["aarch64-linux-gnu-gcc", "-static"]);
    let object = open(&path);
    let [(mixed, size)] = named(&object, "mixed")[..] else { panic!("one mixed") };
    let mut begun = Vec::new();
    let all = mixed..mixed + size;
    object.boundaries::<Arm64>(all, &mut |at, len| begun.push((at - mixed, len))).unwrap();
    assert_eq!(begun, [(0, 4), (4, 4), (16, 4), (20, 4)]);
    let reject = |at| object.place_reject(at).unwrap().map(|r| (r.reason, r.nearest.map(|a| a.0)));
    assert_eq!(reject(mixed + 4), None);
    assert_eq!(reject(mixed + 8), Some((Reason::Data, Some(mixed + 16))));
    assert_eq!(reject(mixed + 12), Some((Reason::Data, Some(mixed + 16))));
    assert_eq!(reject(mixed + 24).map(|r| r.0), Some(Reason::Data));
    // A table right behind; it is no function and has no entry.
    assert_eq!(reject(mixed + size).map(|r| r.0), Some(Reason::Data));

    // Every word of the program: instructions here are what objdump takes for instructions.
    let listing = tool("aarch64-linux-gnu-objdump", &["-dw", &path.to_string_lossy()]);
    let line = |line: &str| {
        let (at, rest) = line.split_once(":\t")?;
        // Data is a `.word`, or bytes without a mnemonic.
        let data = rest.contains("\t.word") || !rest.contains('\t');
        Some((u64::from_str_radix(at.trim(), 16).ok()?, data))
    };
    let mut words = [0, 0];
    for (at, data) in listing.lines().filter_map(line) {
        let symbols = object.symbols().unwrap();
        let ours = symbols.data_from(at).is_some_and(|d| d.contains(&at));
        assert_eq!(ours, data, "{at:#x}");
        words[usize::from(data)] += 1;
    }
    assert!(words[0] > 10_000 && words[1] > 3, "{words:?}");
}
