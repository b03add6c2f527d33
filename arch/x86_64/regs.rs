//! General registers, as in Linux' `user_regs_struct`.

use crate::{Addr, ArgPlace, Regs};

/// The number of a general register as instructions encode it: 0 is rax, 1 rcx, 2 rdx, 3 rbx,
/// 4 rsp, 5 rbp, 6 rsi, 7 rdi, then r8 to r15. The upper four bits do not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpr(u8);

impl Gpr {
    /// rcx, which LOOP counts in and SYSCALL overwrites.
    pub const RCX: Gpr = Gpr(1);
    /// rsp.
    pub const RSP: Gpr = Gpr(4);

    /// Register `number`, modulo 16.
    #[must_use]
    pub const fn new(number: u8) -> Gpr {
        Gpr(number & 15)
    }

    /// 0 to 15.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// The registers of a stopped thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "their names are the processor's")]
pub struct Registers {
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rbx: u64,
    pub rsp: u64,
    pub rbp: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rip: u64,
    pub rflags: u64,
    /// What `fs:` adds to an address.
    pub fs_base: u64,
    /// What `gs:` adds to an address.
    pub gs_base: u64,
    /// The number of the system call the thread is in, or -1: Linux' own, not the processor's.
    pub orig_rax: u64,
    pub cs: u64,
    pub ss: u64,
    pub ds: u64,
    pub es: u64,
    pub fs: u64,
    pub gs: u64,
}

impl Registers {
    /// The register's value.
    #[must_use]
    pub const fn get(&self, register: Gpr) -> u64 {
        match register.0 {
            0 => self.rax,
            1 => self.rcx,
            2 => self.rdx,
            3 => self.rbx,
            4 => self.rsp,
            5 => self.rbp,
            6 => self.rsi,
            7 => self.rdi,
            8 => self.r8,
            9 => self.r9,
            10 => self.r10,
            11 => self.r11,
            12 => self.r12,
            13 => self.r13,
            14 => self.r14,
            _ => self.r15,
        }
    }

    /// Sets all 64 bits of the register.
    pub const fn set(&mut self, register: Gpr, value: u64) {
        *match register.0 {
            0 => &mut self.rax,
            1 => &mut self.rcx,
            2 => &mut self.rdx,
            3 => &mut self.rbx,
            4 => &mut self.rsp,
            5 => &mut self.rbp,
            6 => &mut self.rsi,
            7 => &mut self.rdi,
            8 => &mut self.r8,
            9 => &mut self.r9,
            10 => &mut self.r10,
            11 => &mut self.r11,
            12 => &mut self.r12,
            13 => &mut self.r13,
            14 => &mut self.r14,
            _ => &mut self.r15,
        } = value;
    }
}

impl Regs for Registers {
    fn pc(&self) -> Addr {
        Addr(self.rip)
    }

    fn set_pc(&mut self, pc: Addr) {
        self.rip = pc.0;
    }

    fn sp(&self) -> Addr {
        Addr(self.rsp)
    }

    /// System V AMD64 ABI 3.2.3: rdi, rsi, rdx, rcx, r8, r9.
    fn arg(&self, n: usize) -> Option<u64> {
        [self.rdi, self.rsi, self.rdx, self.rcx, self.r8, self.r9].get(n).copied()
    }

    /// Go ABIInternal: rax, rbx, rcx, rdi, rsi, r8 to r11.
    fn go_arg(&self, n: usize) -> Option<u64> {
        let registers = [
            self.rax, self.rbx, self.rcx, self.rdi, self.rsi, self.r8, self.r9, self.r10, self.r11,
        ];
        registers.get(n).copied()
    }

    fn ret(&self) -> u64 {
        self.rax
    }

    fn goroutine(&self) -> Addr {
        Addr(self.r14)
    }

    /// rdi, rsi, rdx, rcx, r8 and r9 are those of arguments; the others are 0 to 15 as [`Gpr`] has them,
    /// 16 is rip, 17 rflags.
    fn named(name: &str) -> Option<ArgPlace> {
        const NAMES: [[&str; 2]; 18] = [
            ["rax", "eax"],
            ["rcx", "ecx"],
            ["rdx", "edx"],
            ["rbx", "ebx"],
            ["rsp", "esp"],
            ["rbp", "ebp"],
            ["rsi", "esi"],
            ["rdi", "edi"],
            ["r8", "r8d"],
            ["r9", "r9d"],
            ["r10", "r10d"],
            ["r11", "r11d"],
            ["r12", "r12d"],
            ["r13", "r13d"],
            ["r14", "r14d"],
            ["r15", "r15d"],
            ["rip", "eip"],
            ["rflags", "eflags"],
        ];
        if let Some(digits) = name.strip_prefix("xmm") {
            let n = (0..16).find(|n: &u8| digits.parse() == Ok(*n) && digits.len() <= 2)?;
            return (digits == "0" || !digits.starts_with(['0', '+']))
                .then_some(ArgPlace::Float(n));
        }
        let found = NAMES.iter().position(|names| names.contains(&name))? as u8;
        let argument = [7, 6, 2, 1, 8, 9].iter().position(|&register| register == found);
        Some(argument.map_or(ArgPlace::Register(found), |n| ArgPlace::Integer(n as u8)))
    }

    fn register(&self, n: u8) -> Option<u64> {
        match n {
            0..16 => Some(self.get(Gpr::new(n))),
            16 => Some(self.rip),
            17 => Some(self.rflags),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Gpr, Registers};
    use crate::{Addr, ArgPlace, Regs};

    #[test]
    fn registers_have_names() {
        let regs = Registers {
            rax: 1,
            rsp: 2,
            r8: 3,
            r15: 4,
            rip: 5,
            rflags: 6,
            rdi: 7,
            ..Registers::default()
        };
        let value = |name| match Registers::named(name) {
            Some(ArgPlace::Register(n)) => regs.register(n),
            Some(ArgPlace::Integer(n)) => regs.arg(n.into()),
            _ => None,
        };
        let named = ["rax", "eax", "rsp", "r8", "r8d", "r15", "rip", "eflags", "edi"].map(value);
        assert_eq!(named, [1, 1, 2, 3, 3, 4, 5, 6, 7].map(Some));
        let floats = ["xmm0", "xmm9", "xmm15"].map(Registers::named);
        assert_eq!(floats, [0, 9, 15].map(|n| Some(ArgPlace::Float(n))));
        for none in ["", "xmm", "xmm16", "xmm01", "x0", "r16", "r08", "ax"] {
            assert_eq!(Registers::named(none), None, "{none}");
        }
    }

    #[test]
    fn numbers_and_names_agree() {
        let mut regs = Registers::default();
        for n in 0..16 {
            regs.set(Gpr::new(n), 100 + u64::from(n));
        }
        for n in 0..16 {
            assert_eq!(regs.get(Gpr::new(n)), 100 + u64::from(n));
        }
        assert_eq!((regs.rax, regs.rcx, regs.rdx, regs.rbx), (100, 101, 102, 103));
        assert_eq!((regs.rsp, regs.rbp, regs.rsi, regs.rdi), (104, 105, 106, 107));
        assert_eq!((regs.r8, regs.r11, regs.r15), (108, 111, 115));
    }

    #[test]
    fn arguments_are_where_the_abi_says() {
        let mut regs = Registers { rip: 7, rsp: 8, rax: 9, ..Registers::default() };
        (regs.rdi, regs.rsi, regs.rdx, regs.rcx, regs.r8, regs.r9) = (1, 2, 3, 4, 5, 6);
        let arguments: [_; 7] = core::array::from_fn(|n| regs.arg(n));
        assert_eq!(arguments, [Some(1), Some(2), Some(3), Some(4), Some(5), Some(6), None]);
        assert_eq!((regs.pc(), regs.sp(), regs.ret()), (Addr(7), Addr(8), 9));
        regs.set_pc(Addr(10));
        assert_eq!(regs.rip, 10);
    }
}
