//! What a trampoline notes down about a hit, and the filter before it.

use super::Shape;
use crate::{Addr, Regs};

/// A value that a thread has at a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// The `n`th integer argument register, as [`Regs::arg`] numbers them.
    Arg(u8),
    /// The low 64 bits of vector register `n`: a float or a double; at a return what comes back is in 0.
    Float(u8),
    /// The `n`th word of the arguments on the stack, at a function's entry, by C's convention.
    Stack(u8),
    /// The register of an integer return value.
    Ret,
    /// The stack pointer.
    Sp,
    /// Where the function will return to, at its entry: the link register, or what the stack
    /// pointer points at.
    Link,
    /// A general register, as [`Regs::register`] numbers them.
    Register(u8),
}

impl Value {
    /// Words that a slot has room for.
    pub const WORDS: usize = 12;
    /// How many arguments in registers there are, and words of the stack.
    const EACH: u8 = 8;
    /// How many general registers there are, and vector registers.
    pub const REGISTERS: u8 = 32;

    /// Its bit in a set; `None` for what is never recorded.
    const fn bit(self) -> Option<u32> {
        match self {
            Value::Arg(n) if n < Value::EACH => Some(n as u32),
            Value::Ret => Some(8),
            Value::Sp => Some(9),
            Value::Link => Some(10),
            Value::Stack(n) if n < Value::EACH => Some(11 + n as u32),
            Value::Float(n) if n < Value::REGISTERS => Some(19 + n as u32),
            Value::Register(n) if n < Value::REGISTERS => Some(51 + n as u32),
            Value::Arg(_) | Value::Stack(_) | Value::Float(_) | Value::Register(_) => None,
        }
    }

    /// What a bit stands for.
    const fn of_bit(bit: u32) -> Value {
        match bit {
            0..8 => Value::Arg(bit as u8),
            8 => Value::Ret,
            9 => Value::Sp,
            10 => Value::Link,
            11..19 => Value::Stack(bit as u8 - 11),
            19..51 => Value::Float(bit as u8 - 19),
            _ => Value::Register(bit as u8 - 51),
        }
    }
}

/// A set of values. In a record each has a word, in the order of the set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values(u128);

impl Values {
    /// No value.
    pub const NONE: Values = Values(0);

    /// With `value` too; one that is never recorded is ignored.
    #[must_use]
    pub const fn with(self, value: Value) -> Values {
        match value.bit() {
            Some(bit) => Values(self.0 | 1 << bit),
            None => self,
        }
    }

    /// The first `n` arguments.
    #[must_use]
    pub fn args(n: u8) -> Values {
        (0..n).fold(Values::NONE, |set, n| set.with(Value::Arg(n)))
    }

    /// Whether `value` is among them.
    #[must_use]
    pub const fn has(self, value: Value) -> bool {
        self.word(value).is_some()
    }

    /// Which word of a record's values it is, if it is among them.
    #[must_use]
    pub const fn word(self, value: Value) -> Option<usize> {
        match value.bit() {
            Some(bit) if self.0 >> bit & 1 != 0 => {
                Some((self.0 & ((1 << bit) - 1)).count_ones() as usize)
            }
            _ => None,
        }
    }

    /// How many they are.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The word of the stack among them that is farthest from the stack pointer: where that can be read,
    /// all can.
    #[must_use]
    pub fn last_on_stack(self) -> Option<Value> {
        self.iter().filter(|value| matches!(value, Value::Stack(_))).last()
    }

    /// The members, in the order of their words.
    pub fn iter(self) -> impl Iterator<Item = Value> {
        (0..u128::BITS).filter(move |&bit| self.0 >> bit & 1 != 0).map(Value::of_bit)
    }
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the usual six, and two for bits")]
pub enum Relation {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// `value & constant != 0`
    AnyBit,
    /// `value & constant == 0`
    NoBit,
}

/// `value RELATION constant`, both as integers of `bits` bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Test {
    /// What is compared: a register, and no float.
    pub value: Value,
    /// 8, 16, 32 or 64: what of the register counts.
    pub bits: u8,
    /// Whether it has a sign.
    pub signed: bool,
    /// How.
    pub relation: Relation,
    /// With what.
    pub constant: u64,
}

impl Test {
    /// `value` cut to the test's width and extended again.
    #[must_use]
    pub const fn extended(&self, value: u64) -> u64 {
        let unused = 64_u32.saturating_sub(self.bits as u32);
        if unused >= 64 {
            return value;
        }
        if self.signed {
            ((value << unused).cast_signed() >> unused).cast_unsigned()
        } else {
            value << unused >> unused
        }
    }

    /// Whether it holds for a register's value: what the code in a trampoline computes.
    #[must_use]
    pub const fn holds(&self, value: u64) -> bool {
        let (value, constant) = (self.extended(value), self.extended(self.constant));
        let less = if self.signed {
            value.cast_signed() < constant.cast_signed()
        } else {
            value < constant
        };
        match self.relation {
            Relation::Eq => value == constant,
            Relation::Ne => value != constant,
            Relation::Lt => less,
            Relation::Le => less || value == constant,
            Relation::Gt => !less && value != constant,
            Relation::Ge => !less,
            Relation::AnyBit => value & constant != 0,
            Relation::NoBit => value & constant == 0,
        }
    }
}

/// Tests that must all hold for a hit to be recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter([Option<Test>; 4]);

impl Filter {
    /// Everything passes.
    pub const NONE: Filter = Filter([None; 4]);

    /// With `test` too; `None` where there is no room for it.
    #[must_use]
    pub fn with(mut self, test: Test) -> Option<Filter> {
        *self.0.iter_mut().find(|place| place.is_none())? = Some(test);
        Some(self)
    }

    /// The tests.
    pub fn iter(&self) -> impl Iterator<Item = &Test> {
        self.0.iter().flatten()
    }

    /// Whether a stopped thread passes; for sites that trap, the same as in a trampoline.
    #[must_use]
    pub fn passes<R: Regs>(&self, regs: &R) -> bool {
        self.iter().all(|test| {
            let value = match test.value {
                Value::Arg(n) => regs.arg(n.into()),
                Value::Ret => Some(regs.ret()),
                Value::Sp => Some(regs.sp().0),
                Value::Register(n) => regs.register(n),
                Value::Link | Value::Float(_) | Value::Stack(_) => None,
            };
            value.is_some_and(|value| test.holds(value))
        })
    }
}

/// What is done at a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorder {
    /// `[counter] += 1`, atomically.
    Count {
        /// A 64-bit word, aligned; x86-64 needs it within ±2 GiB of the trampoline.
        counter: Addr,
    },
    /// A record in a ring.
    Event {
        /// The ring, aligned to 128 bytes.
        ring: Addr,
        /// Its shape.
        shape: Shape,
        /// Counts records that found no room: a 64-bit word, aligned, as near as a counter.
        missed: Addr,
        /// The number in the record.
        probe: u32,
        /// The values in the record.
        values: Values,
        /// Whether the time is in the record. TSC or CNTVCT may be forbidden to a program.
        time: bool,
        /// Whether a thread that finds no room traps, at [`Recorded::full`](super::Recorded::full): its tracer makes room
        /// and has it begin again. What goes on behind the trap counts the record as missed.
        wait: bool,
    },
}

/// One recorder at one instruction of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Offset of the instruction in the window.
    pub offset: u8,
    /// Whether the flags must come back as they were: [`crate::Arch::flags_live`].
    pub flags: bool,
    /// Whether there is a stack below the stack pointer, to keep things on:
    /// [`crate::Arch::has_stack`].
    pub stack: bool,
    /// What must hold.
    pub filter: Filter,
    /// What is done then.
    pub recorder: Recorder,
}

/// What the processor and the kernel let a program do (AT_HWCAP, AT_HWCAP2, CPUID).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// x86-64: RDFSBASE (HWCAP2_FSGSBASE).
    pub fsgsbase: bool,
    /// x86-64: LAHF and SAHF in 64-bit mode (CPUID 8000_0001 ECX bit 0): all but the oldest.
    pub lahf: bool,
    /// arm64: atomic instructions (HWCAP_ATOMICS); else load- and store-exclusive.
    pub atomics: bool,
}

impl Features {
    /// All of them.
    pub const ALL: Features = Features { fsgsbase: true, lahf: true, atomics: true };
    /// None of them.
    pub const NONE: Features = Features { fsgsbase: false, lahf: false, atomics: false };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn values_have_words_of_their_own() {
        let all: Vec<Value> = (0..83).map(Value::of_bit).collect();
        assert!(all.iter().enumerate().all(|(n, value)| value.bit() == Some(n as u32)), "{all:?}");
        let none = Values::NONE;
        for out in [Value::Arg(8), Value::Float(32), Value::Stack(8), Value::Register(32)] {
            assert_eq!((none.with(out), none.has(out)), (none, false), "{out:?}");
        }
        assert!(none.is_empty() && all.iter().all(|&value| !none.has(value)));
        for (n, &value) in all.iter().enumerate() {
            let one = none.with(value);
            assert!(one.iter().eq([value]) && one.with(value) == one, "{value:?}");
            assert_eq!(one.word(value), Some(0), "{value:?}");
            let other = all[(n + 3) % all.len()];
            let two = one.with(other);
            let words = [two.word(value), two.word(other)];
            let expected = if n + 3 < all.len() { [Some(0), Some(1)] } else { [Some(1), Some(0)] };
            assert_eq!((two.len(), words), (2, expected), "{value:?}");
        }
        let set = Values::args(3).with(Value::Sp).with(Value::Float(2));
        let words: Vec<_> = set.iter().map(|value| set.word(value)).collect();
        assert_eq!(words, [0, 1, 2, 3, 4].map(Some));
        assert!(Values::args(9).iter().eq((0..8).map(Value::Arg)));
    }

    /// Each relation, of numbers on both sides of the sign, against the same in wider integers.
    #[test]
    fn relations_are_the_usual_ones() {
        let numbers = [0, 1, 5, 0x7f, 0x80, 0xff, 0x7fff_ffff_ffff_ffff, 1 << 63, u64::MAX];
        for (value, constant) in numbers.iter().flat_map(|&a| numbers.map(|b| (a, b))) {
            for (bits, signed) in [(8, false), (8, true), (64, false), (64, true)] {
                let wide = |number: u64| match (bits, signed) {
                    (8, false) => i128::from(number as u8),
                    (8, true) => i128::from(number as i8),
                    (_, false) => i128::from(number),
                    (_, true) => i128::from(number as i64),
                };
                let (a, b) = (wide(value), wide(constant));
                for (relation, wanted) in [
                    (Relation::Eq, a == b),
                    (Relation::Ne, a != b),
                    (Relation::Lt, a < b),
                    (Relation::Le, a <= b),
                    (Relation::Gt, a > b),
                    (Relation::Ge, a >= b),
                    (Relation::AnyBit, a & b != 0),
                    (Relation::NoBit, a & b == 0),
                ] {
                    let test = Test { value: Value::Ret, bits, signed, relation, constant };
                    assert_eq!(test.holds(value), wanted, "{value:#x}: {test:x?}");
                }
            }
        }
    }

    #[cfg(feature = "arm64")]
    #[test]
    fn a_filter_looks_at_the_registers() {
        let mut regs = crate::arm64::Registers::default();
        (regs.x[0], regs.x[1], regs.sp) = (7, 8, 9);
        let passes = |value, constant| {
            let relation = Relation::Eq;
            let test = Test { value, bits: 64, signed: false, relation, constant };
            Filter::NONE.with(test).unwrap().passes(&regs)
        };
        assert!(passes(Value::Arg(1), 8) && passes(Value::Ret, 7) && passes(Value::Sp, 9));
        assert!(!passes(Value::Arg(1), 9) && !passes(Value::Ret, 0) && !passes(Value::Sp, 0));
        assert!(!passes(Value::Link, 0) && !passes(Value::Arg(8), 0));
        assert!(Filter::NONE.passes(&regs));
    }

    #[test]
    fn tests_are_of_their_width() {
        let test = |bits, signed, relation, constant| Test {
            value: Value::Arg(0),
            bits,
            signed,
            relation,
            constant,
        };
        // -1 as i8 is less than 0, 255 as u8 is not.
        assert!(test(8, true, Relation::Lt, 0).holds(0x12ff));
        assert!(!test(8, false, Relation::Lt, 0).holds(0x12ff));
        assert!(test(32, false, Relation::Eq, 5).holds(0xdead_0000_0005));
        assert!(!test(64, false, Relation::Eq, 5).holds(0xdead_0000_0005));
        assert!(test(64, true, Relation::Ge, u64::MAX).holds(0));
        assert!(test(16, false, Relation::AnyBit, 0x8000).holds(0x1_8000));
        assert!(test(16, false, Relation::NoBit, 0x7fff).holds(0x1_8000));
        assert!(
            test(64, false, Relation::Gt, 5).holds(6) && test(64, false, Relation::Le, 5).holds(5)
        );
    }

    #[test]
    fn a_filter_has_room_for_four() {
        let test = Test {
            value: Value::Ret,
            bits: 64,
            signed: false,
            relation: Relation::Ne,
            constant: 0,
        };
        let mut filter = Filter::NONE;
        for _ in 0..4 {
            filter = filter.with(test).unwrap();
        }
        assert_eq!(filter.with(test), None);
        assert_eq!(filter.iter().count(), 4);
    }
}
