//! Go: programs whose functions pass arguments in their own way.
//!
//! ```text
//! .go.buildinfo + 0    "\xff Go buildinf:"
//!               + 14   the size of a pointer
//!               + 15   flags; bit 1: the version follows at 32, its length before it (1.18 on)
//! ```

use super::layout::Layout;
use super::source::Source;

/// How Go has compiled an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// Arguments are in registers: 1.18 or later.
    Registers,
    /// An older one, or one that does not say: what its functions expect where is not known.
    Older,
}

/// The bit of `.go.buildinfo`'s flags that Go 1.18 and later set.
const INLINE: u8 = 2;

impl Go {
    /// What the file says; `None` is no Go.
    pub(crate) fn read(source: &Source, layout: &Layout, noted: bool) -> Option<Go> {
        let mut head = [0; 16];
        let section = layout.section(".go.buildinfo");
        let read = section.map(|s| source.read(s.offset, &mut head, "build information"));
        match read {
            Some(Ok(())) if head.starts_with(b"\xff Go buildinf:") => {
                Some(if head[15] & INLINE != 0 { Go::Registers } else { Go::Older })
            }
            _ => noted.then_some(Go::Older),
        }
    }

    /// Whether a function of such an object is Go's own: C's have no package before a dot in their
    /// names, only what compilers put behind one.
    #[must_use]
    pub fn compiled(symbol: &str) -> bool {
        const OF_C: [&str; 8] =
            ["cold", "part", "isra", "constprop", "lto_priv", "llvm", "localalias", "clone"];
        let Some((package, rest)) = symbol.split_once('.') else { return false };
        !package.is_empty() && !OF_C.iter().any(|word| rest.split('.').next() == Some(word))
    }

    /// Whether it is written in assembly: its arguments are on the stack.
    #[must_use]
    pub fn assembled(symbol: &str) -> bool {
        symbol.ends_with(".abi0")
    }
}

#[cfg(test)]
mod tests {
    use super::Go;

    #[test]
    fn functions_of_go_have_packages() {
        for (symbol, go) in [
            ("main.main", true),
            ("main.(*T).Method", true),
            ("encoding/json.(*decodeState).object", true),
            ("runtime.memmove", true),
            ("type:.eq.main.T", true),
            ("x_cgo_init", false),
            ("crosscall2", false),
            ("helper.part.0", false),
            ("helper.cold", false),
            ("helper.isra.0.cold", false),
        ] {
            assert_eq!(Go::compiled(symbol), go, "{symbol}");
        }
        assert!(Go::assembled("runtime.rt0_go.abi0") && !Go::assembled("runtime.memmove"));
    }
}
