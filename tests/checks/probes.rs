//! Any text is a PROBE or an error that says where.

use xol::spec::{Glob, ObjectName, Spec, demangled};

/// `input` as the text of a PROBE; whether it is one.
///
/// # Panics
/// Where reading it does, or an error is empty.
pub fn check(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let _ = demangled(&text);
    let parsed = Spec::parse(&text);
    match &parsed {
        Ok(spec) => {
            assert_eq!(spec.text, text);
            assert_eq!(Spec::parse(&spec.text), parsed);
            let name = ObjectName {
                path: "/lib/libc.so.6",
                soname: Some("libc.so.6"),
                program: false,
                debug: &[],
            };
            let _ = spec.may_match(&name);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let glob = Glob::new(&text);
    assert!(Glob::is_pattern(&text) || glob.matches(&text), "a name that is no pattern is itself");
    parsed.is_ok()
}
