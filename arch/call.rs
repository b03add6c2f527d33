//! Calling conventions: where a function's arguments are when it is entered.
//!
//! | convention | integers | floats | on the stack |
//! |---|---|---|---|
//! | System V x86-64, 3.2.3 | RDI RSI RDX RCX R8 R9 | XMM0 to XMM7 | 8 bytes each, above the return address |
//! | AAPCS64, 6.8.2 | X0 to X7 | V0 to V7 | 8 bytes each, at SP |
//! | Go ABIInternal, x86-64 | RAX RBX RCX RDI RSI R8 R9 R10 R11 | X0 to X14 | at their natural alignment, above the return address |
//! | Go ABIInternal, arm64 | R0 to R15 | F0 to F15 | at their natural alignment, above the saved link register |
//!
//! Whichever kind runs out of registers goes on on the stack, in the order of the declaration; the
//! other kind goes on in its registers. Go's assembly (ABI0) has all arguments on the stack.

/// Where an argument is at a function's first instruction, or a register at any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgPlace {
    /// A general register, by the number that [`Regs::named`](crate::Regs::named) has for it.
    Register(u8),
    /// The convention's `n`th integer register.
    Integer(u8),
    /// Vector register `n`.
    Float(u8),
    /// So many bytes above the stack pointer.
    Stack(u32),
}

/// How a compiler passes arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convention {
    integers: u8,
    floats: u8,
    /// The first argument on the stack, in bytes above the stack pointer.
    stack: u32,
    /// Whether arguments on the stack are as close as their alignment lets them; else each has
    /// 8 bytes.
    packed: bool,
}

impl Convention {
    /// C, C++ and Rust on x86-64.
    pub const SYSTEM_V: Convention = Convention { integers: 6, floats: 8, stack: 8, packed: false };
    /// C, C++ and Rust on arm64.
    pub const AAPCS64: Convention = Convention { integers: 8, floats: 8, stack: 0, packed: false };
    /// Go from 1.17 on, on x86-64.
    pub const GO_X86_64: Convention =
        Convention { integers: 9, floats: 15, stack: 8, packed: true };
    /// Go from 1.18 on, on arm64.
    pub const GO_ARM64: Convention =
        Convention { integers: 16, floats: 16, stack: 8, packed: true };

    /// The same without registers: Go's ABI0.
    #[must_use]
    pub const fn on_stack(self) -> Convention {
        Convention { integers: 0, floats: 0, ..self }
    }

    /// Which word of the arguments on the stack is so many bytes above the stack pointer, where each has one.
    #[must_use]
    pub const fn stack_word(self, above: u32) -> Option<u8> {
        match above.checked_sub(self.stack) {
            Some(bytes) if !self.packed && bytes % 8 == 0 && bytes / 8 < 256 => {
                Some((bytes / 8) as u8)
            }
            _ => None,
        }
    }

    /// Where arguments of these kinds are: whether each is a float, and its size in bytes.
    pub fn places(self, args: impl Iterator<Item = (bool, u8)>) -> impl Iterator<Item = ArgPlace> {
        let (mut integers, mut floats, mut stack) = (0, 0, self.stack);
        args.map(move |(is_float, size)| {
            let (used, room) = match is_float {
                true => (&mut floats, self.floats),
                false => (&mut integers, self.integers),
            };
            if *used < room {
                *used += 1;
                let n = *used - 1;
                return if is_float { ArgPlace::Float(n) } else { ArgPlace::Integer(n) };
            }
            let size = if self.packed { u32::from(size.max(1)) } else { 8 };
            let at = stack.next_multiple_of(size);
            stack = at + size;
            ArgPlace::Stack(at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    /// Letters are arguments: `i` i32, `l` i64, `b` i8, `d` f64, `f` f32. The places as in
    /// `i0` integer register 0, `v3` vector register 3, `s16` 16 bytes above the stack pointer.
    fn placed(convention: Convention, args: &str) -> String {
        let kinds = args.chars().map(|c| match c {
            'l' => (false, 8),
            'i' => (false, 4),
            'b' => (false, 1),
            'd' => (true, 8),
            _ => (true, 4),
        });
        let names = convention.places(kinds).map(|place| match place {
            ArgPlace::Register(n) => std::format!("r{n}"),
            ArgPlace::Integer(n) => std::format!("i{n}"),
            ArgPlace::Float(n) => std::format!("v{n}"),
            ArgPlace::Stack(at) => std::format!("s{at}"),
        });
        names.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn arguments_are_where_the_compilers_put_them() {
        for (convention, args, places) in [
            (Convention::SYSTEM_V, "", ""),
            (Convention::SYSTEM_V, "ldl", "i0 v0 i1"),
            // The seventh integer and the ninth float, in the order of the declaration.
            (
                Convention::SYSTEM_V,
                "llllllbddddddddfi",
                "i0 i1 i2 i3 i4 i5 s8 v0 v1 v2 v3 v4 v5 v6 v7 s16 s24",
            ),
            (
                Convention::SYSTEM_V,
                "dddddddddllllllll",
                "v0 v1 v2 v3 v4 v5 v6 v7 s8 i0 i1 i2 i3 i4 i5 s16 s24",
            ),
            // A register that is left is still used.
            (Convention::SYSTEM_V, "lllllllfl", "i0 i1 i2 i3 i4 i5 s8 v0 s16"),
            (Convention::AAPCS64, "llllllllbfi", "i0 i1 i2 i3 i4 i5 i6 i7 s0 v0 s8"),
            (Convention::AAPCS64, "dddddddddfl", "v0 v1 v2 v3 v4 v5 v6 v7 s0 s8 i0"),
            (Convention::GO_X86_64, "lllllllllll", "i0 i1 i2 i3 i4 i5 i6 i7 i8 s8 s16"),
            (
                Convention::GO_X86_64,
                "lllllllllbildl",
                "i0 i1 i2 i3 i4 i5 i6 i7 i8 s8 s12 s16 v0 s24",
            ),
            (
                Convention::GO_ARM64,
                "llllllllllllllllbl",
                "i0 i1 i2 i3 i4 i5 i6 i7 i8 i9 i10 i11 i12 i13 i14 i15 s8 s16",
            ),
            (Convention::GO_X86_64.on_stack(), "bidb", "s8 s12 s16 s24"),
        ] {
            assert_eq!(placed(convention, args), places, "{convention:?} {args}");
        }
    }
}
