//! Compared with binutils on this machine's own libraries and on programs made for it, and fed
//! with damage.

mod damage;
mod synthetic;

use super::*;
use std::collections::BTreeSet;
use std::process::Command;

/// Objects of both architectures and of several linkers' and libcs' making.
const OBJECTS: [&str; 5] = [
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/lib64/ld-linux-x86-64.so.2",
    "/usr/bin/python3",
    "/usr/aarch64-linux-gnu/lib/libc.so.6",
    "/bin/ls",
];

fn present() -> Vec<&'static str> {
    let present: Vec<_> = OBJECTS.into_iter().filter(|p| Path::new(p).exists()).collect();
    assert!(present.len() >= 2, "no objects to compare with binutils: install libc6-dev");
    present
}

fn tool(name: &str, args: &[&str]) -> String {
    let output = Command::new(name).args(args).env("LC_ALL", "C").output();
    let output = output.unwrap_or_else(|e| panic!("{name} (install binutils): {e}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// (address, size, name as readelf writes it) of each defined function.
fn by_readelf(path: &str, table: &str) -> BTreeSet<(u64, u64, String)> {
    let mut found = BTreeSet::new();
    for line in tool("readelf", &["-W", table, path]).lines() {
        let field: Vec<&str> = line.split_whitespace().collect();
        if let [_, value, size, "FUNC" | "IFUNC", _, _, section, name, ..] = field[..]
            && section != "UND"
        {
            let size = size
                .strip_prefix("0x")
                .map_or_else(|| size.parse().unwrap(), |hex| u64::from_str_radix(hex, 16).unwrap());
            found.insert((u64::from_str_radix(value, 16).unwrap(), size, name.to_owned()));
        }
    }
    found
}

#[test]
fn functions_are_those_that_readelf_lists() {
    for path in present() {
        let object = Object::open(path).unwrap();
        let symbols = object.symbols().unwrap();
        let theirs = by_readelf(path, "--dyn-syms");
        let mut ours = BTreeSet::new();
        for (_, s) in symbols.iter() {
            if matches!(s.kind, Kind::Function | Kind::Ifunc) {
                let at = if s.default { "@@" } else { "@" };
                let version = s.version.map(|v| format!("{at}{v}")).unwrap_or_default();
                // readelf gives size 0 where the file does.
                let size = theirs.iter().find(|t| t.0 == s.addr && t.1 == 0).map_or(s.size, |_| 0);
                ours.insert((s.addr, size, format!("{}{version}", s.name)));
            }
        }
        let missing: Vec<_> = theirs.difference(&ours).take(5).collect();
        assert!(missing.is_empty(), "{path}: {} functions, missing {missing:x?}", theirs.len());
        if tool("readelf", &["-WS", path]).contains(".symtab") {
            continue;
        }
        let extra: Vec<_> = ours.difference(&theirs).take(5).collect();
        assert!(extra.is_empty(), "{path}: too many: {extra:x?}");
    }
}

#[test]
fn plt_stubs_are_those_that_objdump_names() {
    for (path, objdump) in [
        ("/lib/x86_64-linux-gnu/libc.so.6", "objdump"),
        ("/bin/ls", "objdump"),
        ("/usr/aarch64-linux-gnu/lib/libc.so.6", "aarch64-linux-gnu-objdump"),
    ] {
        if !Path::new(path).exists() {
            continue;
        }
        let object = Object::open(path).unwrap();
        let symbols = object.symbols().unwrap();
        let mut checked = 0;
        for line in tool(objdump, &["-d", "-j", ".plt", "-j", ".plt.sec", "-j", ".plt.got", path])
            .lines()
            .filter(|l| l.ends_with("@plt>:") && !l.contains("*ABS*"))
        {
            let (addr, name) = line.trim_end_matches(">:").split_once(" <").unwrap();
            let addr = u64::from_str_radix(addr, 16).unwrap();
            let id = symbols.at(addr).unwrap_or_else(|| panic!("{path}: no stub at {addr:x}"));
            // objdump appends the version of the import.
            let name = name.trim_end_matches("@plt").split('@').next().unwrap();
            assert_eq!(symbols.get(id).name, name, "{path} at {addr:x}");
            assert_eq!(symbols.get(id).kind, Kind::Plt);
            checked += 1;
        }
        assert!(checked > 0, "{path}: objdump names no stub");
    }
}

#[test]
fn the_headers_say_what_readelf_says() {
    for path in present() {
        let object = Object::open(path).unwrap();
        let notes = tool("readelf", &["-n", path]);
        let theirs = notes.lines().find_map(|l| l.trim().strip_prefix("Build ID: "));
        assert_eq!(object.build_id().map(|id| id.to_string()).as_deref(), theirs, "{path}");
        let dynamic = tool("readelf", &["-d", path]);
        let soname = dynamic.lines().find_map(|l| l.split_once("Library soname: ["));
        let soname = soname.map(|(_, name)| name.trim_end_matches(']'));
        assert_eq!(object.soname(), soname, "{path}");
        let bti = notes.contains("AArch64 feature: BTI");
        assert_eq!(object.guarded(), bti, "{path}");
    }
}

#[test]
fn unwind_starts_give_stripped_functions_their_bounds() {
    let object = Object::open("/proc/self/exe").unwrap();
    let symbols = object.symbols().unwrap();
    // Forget the symbols: the bounds of a known function must still be found.
    let bare = Symbols {
        starts: symbols.starts.clone(),
        code: symbols.code.clone(),
        ..Symbols::default()
    };
    let mut found = 0;
    for (_, s) in symbols.iter().filter(|(_, s)| s.kind == Kind::Function && s.size > 32) {
        if bare.starts.binary_search(&s.addr).is_ok() {
            let range = bare.function_at(s.addr + s.size / 2).unwrap();
            assert!(range.start >= s.addr && range.start < s.addr + s.size, "{s}: {range:x?}");
            found += 1;
        }
    }
    assert!(found > 100, "{found}");
}

#[test]
fn the_signal_return_of_libc_is_fixed() {
    let object = Object::open("/lib/x86_64-linux-gnu/libc.so.6").unwrap();
    let fixed = object.fixed().unwrap();
    assert_eq!(fixed.len(), 1, "{fixed:x?}");
    let reject = object.place_reject(fixed[0].range.start + 7).unwrap().unwrap();
    assert_eq!(reject.reason, xol_arch::Reason::FixedRange);
    assert_eq!(
        object.place_reject(object.layout.segments[0].vaddr).unwrap().unwrap().reason,
        xol_arch::Reason::NotCode
    );
}

#[test]
fn got_slots_are_those_that_readelf_lists() {
    let path = "/bin/ls";
    let object = Object::open(path).unwrap();
    let relocs = tool("readelf", &["-Wr", path]);
    let line = relocs.lines().find(|l| l.contains(" malloc@")).expect("ls imports malloc");
    let slot = u64::from_str_radix(line.split_whitespace().next().unwrap(), 16).unwrap();
    assert_eq!(object.got_slots("malloc").unwrap(), [slot]);
    assert_eq!(object.got_slots("no_such_function").unwrap(), []);
}
