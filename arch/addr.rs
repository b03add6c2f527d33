//! Addresses in the target, kept apart from our own pointers.

use core::fmt;

/// An address in the target's address space, or in a file's.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Addr(pub u64);

impl Addr {
    /// This address plus `n`, wrapping as the processors do.
    #[must_use]
    pub const fn add(self, n: u64) -> Addr {
        Addr(self.0.wrapping_add(n))
    }

    /// This address plus the signed `n`, wrapping.
    #[must_use]
    pub const fn offset(self, n: i64) -> Addr {
        Addr(self.0.wrapping_add_signed(n))
    }

    /// The signed distance from `from` to here, wrapping.
    #[must_use]
    pub const fn distance_from(self, from: Addr) -> i64 {
        self.0.wrapping_sub(from.0) as i64
    }

    /// Down to a multiple of `align`, a power of two.
    #[must_use]
    pub const fn align_down(self, align: u64) -> Addr {
        Addr(self.0 & !(align - 1))
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Addr;
    use std::format;

    #[test]
    fn addresses_wrap_and_are_written_in_hexadecimal() {
        let at = Addr(0x1234);
        assert_eq!((format!("{at}"), format!("{at:?}")), ("0x1234".into(), "0x1234".into()));
        assert_eq!((at.add(4), at.offset(-4)), (Addr(0x1238), Addr(0x1230)));
        assert_eq!(Addr(u64::MAX).add(2), Addr(1));
        assert_eq!((Addr(1).distance_from(Addr(3)), Addr(3).distance_from(Addr(1))), (-2, 2));
        assert_eq!((at.align_down(0x1000), at.align_down(4)), (Addr(0x1000), at));
    }
}
