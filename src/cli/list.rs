//! `xol list`: what can be probed in an object.

use super::args::List;
use super::failure::Failure;
use super::objects;
use super::output::{Format, Output};
use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use xol::report::json;
use xol::spec::{
    self, Candidate, Location, ObjectName, Offset, Spec, SymbolName, demangled, unnamed, written,
};
use xol::symbols::{Bind, Kind, Symbol, Symbols};

pub(crate) fn run(list: &List) -> Result<(), Failure> {
    let pattern = list.pattern.as_deref().map(pattern).transpose()?;
    let (path, object) = objects::open(&list.object, &list.debug_folders)?;
    let shown = path.display().to_string();
    let symbols = object.symbols().map_err(|e| Failure::new(format!("{shown} {e}")))?;
    let mut out = Output::stdout(&list.report)?;
    let (mut line, mut found) = (String::new(), 0);
    let many = overloads(symbols);
    let mut show = |symbol: &Symbol<'_>| -> Result<(), Failure> {
        if !pattern.as_ref().is_none_or(|p| p.matches(symbol)) {
            return Ok(());
        }
        line.clear();
        match list.report.format {
            Format::Json => as_json(&mut line, symbol),
            Format::Text => as_text(&mut line, symbol, &many, found == 0),
        }
        found += 1;
        out.write(&line)
    };
    for (_, symbol) in symbols.iter() {
        show(&symbol)?;
    }
    // Functions without a symbol have names of ours, where there are no others or these are asked for.
    let named = symbols.iter().any(|(_, s)| matches!(s.kind, Kind::Function | Kind::Ifunc));
    let asked = pattern.as_ref().map_or(!named, |p| p.name.may_be_unnamed() && p.version.is_none());
    for range in symbols.unnamed().filter(|_| asked) {
        let name = unnamed(range.start);
        let (addr, size) = (range.start, range.end - range.start);
        let (kind, bind) = (Kind::Function, Bind::Local);
        show(&Symbol { name: &name, version: None, default: false, addr, size, kind, bind })?;
    }
    out.finish()?;
    if found > 0 {
        return Ok(());
    }
    let Some(pattern) = pattern else {
        return Err(Failure::new(format!(
            "{shown} has no symbols: it is stripped. Its instructions can be probed by address; \
             `xol plan {shown}` lists them"
        )));
    };
    let name = ObjectName { path: &shown, soname: object.soname(), program: true, debug: &[] };
    let candidate = Candidate { name, object: &object };
    Err(Failure::new(spec::unknown(&pattern.spec, &[candidate])))
}

/// PATTERN: the symbol part of a PROBE.
struct Pattern {
    spec: Spec,
    name: SymbolName,
    version: Option<String>,
}

fn pattern(text: &str) -> Result<Pattern, Failure> {
    let spec = Spec::parse(text).map_err(|e| Failure::usage(e.to_string()))?;
    match &spec.location {
        Location::Symbol { name, version, offset: Offset::At(0) } if spec.object.is_none() => {
            let (name, version) = (name.clone(), version.clone());
            Ok(Pattern { spec, name, version })
        }
        _ => {
            Err(Failure::usage(format!("'{text}' is no name or pattern of functions; try 'mem*'")))
        }
    }
}

impl Pattern {
    fn matches(&self, symbol: &Symbol<'_>) -> bool {
        let version = match self.version.as_deref() {
            None => true,
            Some("plt") => symbol.kind == Kind::Plt,
            Some("") => symbol.default,
            Some(version) => symbol.version == Some(version),
        };
        version && self.name.matches(symbol.name)
    }
}

/// The demangled names that several symbols have: a PROBE means all of them by it, and one by its
/// symbol.
fn overloads(symbols: &Symbols) -> HashSet<String> {
    let (mut once, mut many) = (HashMap::new(), HashSet::new());
    for (_, symbol) in symbols.iter() {
        let shown = demangled(symbol.name);
        if shown != symbol.name
            && once.insert(shown.to_string(), symbol.name).is_some_and(|n| n != symbol.name)
        {
            many.insert(shown.into_owned());
        }
    }
    many
}

fn as_text(line: &mut String, symbol: &Symbol<'_>, many: &HashSet<String>, first: bool) {
    if first {
        let _ = writeln!(line, "{:>16} {:>8} {:<5} NAME", "ADDRESS", "SIZE", "KIND");
    }
    let (addr, size) = (symbol.addr, symbol.size);
    let _ = write!(line, "{addr:>16x} {size:>8} {:<5} ", symbol.kind.name());
    let shown = demangled(symbol.name);
    let literal = many.contains(&*shown) || written(symbol).starts_with('=');
    line.push_str(&shown);
    let _ = match symbol.version {
        _ if symbol.kind == Kind::Plt => write!(line, "@plt"),
        Some(version) => write!(line, "{}{version}", if symbol.default { "@@" } else { "@" }),
        None => Ok(()),
    };
    if literal && symbol.kind != Kind::Plt {
        let _ = write!(line, "  ={}", symbol.name);
    }
    line.push('\n');
}

fn as_json(line: &mut String, symbol: &Symbol<'_>) {
    let mut object = json::Object::new(line);
    object.number("addr", symbol.addr);
    object.number("size", symbol.size);
    object.text("name", symbol.name);
    object.text("demangled", &demangled(symbol.name));
    object.text_or_null("version", symbol.version);
    object.flag("default", symbol.default);
    object.text("kind", symbol.kind.name());
    object.end();
    line.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Report;
    use std::process::Command;
    use xol::symbols::Origin;

    fn listed(pattern: Option<&str>, format: Format) -> String {
        let name = format!("xol-list-{}-{}", std::process::id(), pattern.unwrap_or("all").len());
        let to = std::env::temp_dir().join(format!("{name}-{format:?}"));
        let report = Report { to: Some(to.clone()), format };
        let pattern = pattern.map(str::to_owned);
        run(&List { object: "libc".into(), debug_folders: Vec::new(), pattern, report }).unwrap();
        let text = std::fs::read_to_string(&to).unwrap();
        let _ = std::fs::remove_file(&to);
        text
    }

    #[test]
    fn a_library_is_found_by_its_name_and_listed_as_nm_does() {
        let (path, object) = objects::open("libc".as_ref(), &[]).unwrap();
        // Names of a debug file's own, where one is installed, are in no dynamic table.
        let debug = matches!(object.symbols().unwrap().origin, Origin::DebugFile(_));
        let nm = Command::new("nm").args(["-D", "--defined-only"]).arg(&path).output().unwrap();
        let nm = String::from_utf8_lossy(&nm.stdout).into_owned();
        let ours = listed(Some("mem*"), Format::Text);
        let mut found = 0;
        for line in nm.lines() {
            let word: Vec<&str> = line.split_whitespace().collect();
            let [addr, kind, name] = word[..] else { continue };
            if "TtWwi".contains(kind) && name.starts_with("mem") {
                let addr = format!("{:x} ", u64::from_str_radix(addr, 16).unwrap());
                let same = |l: &str| l.trim_start().starts_with(&addr) && l.ends_with(name);
                assert!(ours.lines().any(same), "{line}: {ours}");
                found += 1;
            }
        }
        assert!(found > 5, "{nm}");
        let stubs = ours.lines().filter(|l| l.ends_with("@plt")).count();
        let all = 1 + found + stubs;
        assert!(ours.lines().count() == all || debug && ours.lines().count() > all, "{ours}");
    }

    #[test]
    fn each_line_of_json_is_an_object() {
        for line in listed(None, Format::Json).lines() {
            let symbol: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(symbol["addr"].is_u64() && symbol["size"].is_u64(), "{line}");
            assert!(symbol["name"].is_string() && symbol["kind"].is_string(), "{line}");
        }
    }
}
