//! General registers, as in Linux' `user_pt_regs`.

use super::simulate::Condition;
use crate::{Addr, ArgPlace, Regs};

/// The registers of a stopped thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// x0 to x30.
    pub x: [u64; 31],
    /// The stack pointer.
    pub sp: u64,
    /// The program counter.
    pub pc: u64,
    /// NZCV, BTYPE and so on, as SPSR_EL1 holds them.
    pub pstate: u64,
}

/// PSTATE.BTYPE: what kind of branch led here, for the landing pads of guarded pages
/// (bits 11 and 10 of an SPSR).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Btype {
    /// No indirect branch, or RET.
    None = 0b00,
    /// BR from a page that is not guarded, or by x16 or x17: any BTI will do.
    Jump = 0b01,
    /// BLR: BTI c or jc.
    Call = 0b10,
    /// BR by another register from a guarded page: BTI j or jc.
    GuardedJump = 0b11,
}

/// Whether a guarded page has an indirect branch of kind `btype` come to `word` (Arm ARM,
/// BTypeCompatible).
///
/// ```text
/// BTI      1101 0101  0000 0011  0010 0100  hh01 1111    hh: none, c, j, jc
/// PACIxSP  1101 0101  0000 0011  0010 0011  0x11 1111    as BTI c; Linux sets SCTLR_EL1.BT0
/// ```
pub(super) const fn may_land(word: u32, btype: u8) -> bool {
    match (word, btype) {
        (_, 0b00) => true,
        (0xd503_245f | 0xd503_233f | 0xd503_237f, _) => btype != Btype::GuardedJump as u8,
        (0xd503_249f, _) => btype != Btype::Call as u8,
        (0xd503_24df, _) => true,
        _ => false,
    }
}

impl Registers {
    const BTYPE: u32 = 10;

    /// `xn`, or 0 for 31, XZR.
    #[must_use]
    pub fn get(&self, n: u8) -> u64 {
        self.x.get(usize::from(n)).copied().unwrap_or(0)
    }

    /// Sets `xn`; nothing for 31, XZR.
    pub fn set(&mut self, n: u8, value: u64) {
        if let Some(x) = self.x.get_mut(usize::from(n)) {
            *x = value;
        }
    }

    /// N, Z, C and V in bits 3 to 0.
    #[must_use]
    pub const fn nzcv(&self) -> u8 {
        (self.pstate >> 28 & 0xf) as u8
    }

    /// Sets N, Z, C and V from bits 3 to 0.
    pub const fn set_nzcv(&mut self, nzcv: u8) {
        self.pstate = self.pstate & !(0xf << 28) | (nzcv as u64 & 0xf) << 28;
    }

    /// Whether `condition` holds for the flags.
    #[must_use]
    pub const fn holds(&self, condition: Condition) -> bool {
        condition.holds(self.nzcv())
    }

    /// PSTATE.BTYPE, bits 1 and 0.
    #[must_use]
    pub const fn btype(&self) -> u8 {
        (self.pstate >> Self::BTYPE & 3) as u8
    }

    /// Sets PSTATE.BTYPE.
    pub const fn set_btype(&mut self, btype: Btype) {
        self.pstate = self.pstate & !(3 << Self::BTYPE) | (btype as u64) << Self::BTYPE;
    }
}

impl Regs for Registers {
    fn pc(&self) -> Addr {
        Addr(self.pc)
    }

    /// Clears BTYPE too: a thread that an engine sends somewhere did not branch there.
    fn set_pc(&mut self, pc: Addr) {
        self.pc = pc.0;
        self.set_btype(Btype::None);
    }

    fn sp(&self) -> Addr {
        Addr(self.sp)
    }

    fn arg(&self, n: usize) -> Option<u64> {
        self.x.get(..8)?.get(n).copied()
    }

    fn go_arg(&self, n: usize) -> Option<u64> {
        self.x.get(..16)?.get(n).copied()
    }

    fn ret(&self) -> u64 {
        self.x[0]
    }

    fn goroutine(&self) -> Addr {
        Addr(self.x[28])
    }

    /// x0 to x7 are those of arguments; of the others 8 to 30 are x8 to x30, 31 is sp, 32 pc.
    fn named(name: &str) -> Option<ArgPlace> {
        let register = match name {
            "fp" => 29,
            "lr" => 30,
            "sp" => 31,
            "pc" => 32,
            _ => {
                let kind = name.chars().next()?;
                let number = name
                    .get(1..)
                    .filter(|digits| !digits.starts_with(['+', '0']) || *digits == "0")?;
                let n: u8 = number.parse().ok()?;
                return match kind {
                    'x' | 'w' if n < 8 => Some(ArgPlace::Integer(n)),
                    'x' | 'w' if n < 31 => Some(ArgPlace::Register(n)),
                    'd' | 's' | 'v' if n < 32 => Some(ArgPlace::Float(n)),
                    _ => None,
                };
            }
        };
        Some(ArgPlace::Register(register))
    }

    fn register(&self, n: u8) -> Option<u64> {
        match n {
            31 => Some(self.sp),
            32 => Some(self.pc),
            _ => self.x.get(usize::from(n)).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_have_names() {
        let mut regs = Registers { sp: 31, pc: 32, ..Registers::default() };
        for n in 0..31 {
            regs.set(n, n.into());
        }
        let value = |name| match Registers::named(name) {
            Some(ArgPlace::Register(n)) => regs.register(n),
            Some(ArgPlace::Integer(n)) => regs.arg(n.into()),
            _ => None,
        };
        let named = ["x0", "w7", "x30", "lr", "fp", "sp", "pc"].map(value);
        assert_eq!(named, [0, 7, 30, 30, 29, 31, 32].map(Some));
        let floats = ["d0", "s31", "v8"].map(Registers::named);
        assert_eq!(floats, [0, 31, 8].map(|n| Some(ArgPlace::Float(n))));
        for none in ["", "x", "x31", "x07", "x+1", "d32", "rax", "\u{e9}1"] {
            assert_eq!(Registers::named(none), None, "{none}");
        }
    }

    #[test]
    fn landings_accept_what_the_manual_says() {
        // BTYPE 01, 10, 11: B is BR to any landing, C is BLR, J is BR by another register.
        for (name, word, accepts) in [
            ("bti", 0xd503_241f, [false, false, false]),
            ("bti c", 0xd503_245f, [true, true, false]),
            ("bti j", 0xd503_249f, [true, false, true]),
            ("bti jc", 0xd503_24df, [true, true, true]),
            ("paciasp", 0xd503_233f, [true, true, false]),
            ("pacibsp", 0xd503_237f, [true, true, false]),
            ("paciaz", 0xd503_231f, [false, false, false]),
            ("nop", 0xd503_201f, [false, false, false]),
            ("ret", 0xd65f_03c0, [false, false, false]),
        ] {
            assert!(may_land(word, 0), "{name}");
            let says = [Btype::Jump, Btype::Call, Btype::GuardedJump];
            assert_eq!(says.map(|btype| may_land(word, btype as u8)), accepts, "{name}");
        }
    }
}
