//! What comes with a signal.

use xol_arch::Addr;

/// In `si_errno` of a signal that stands for another: no errno, and nothing that a kernel puts there.
const PLACEHOLDER: u32 = 0x786f_6c21;
const ERRNO: u64 = 0xffff_ffff_0000_0000;

/// A siginfo_t as bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SigInfo(pub(super) [u64; 16]);

impl SigInfo {
    /// A siginfo with this signal, code and address and nothing else.
    #[must_use]
    pub fn new(signal: i32, code: i32, at: Addr) -> SigInfo {
        let mut info = SigInfo::default();
        info.0[0] = u64::from(signal as u32);
        info.0[1] = u64::from(code as u32);
        info.0[2] = at.0;
        info
    }
    /// `si_signo`.
    #[must_use]
    pub fn signal(&self) -> i32 {
        self.0[0] as i32
    }
    /// `si_code`.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.0[1] as i32
    }
    /// `si_addr`, where the signal has one.
    #[must_use]
    pub fn address(&self) -> Addr {
        Addr(self.0[2])
    }
    /// Sets `si_addr`.
    pub fn set_address(&mut self, at: Addr) {
        self.0[2] = at.0;
    }
    /// The whole siginfo_t.
    #[must_use]
    pub fn bytes(&self) -> [u8; 128] {
        let mut bytes = [0; 128];
        for (to, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
    /// Another expiry of the same timer comes while this one waits: as the kernel does, it is an
    /// overrun.
    pub fn add_overrun(&mut self, other: &SigInfo) {
        // si_tid and si_overrun, behind si_signo, si_errno, si_code.
        let timer = |info: &SigInfo| (info.code() == libc::SI_TIMER).then_some(info.0[2] as u32);
        if timer(self).is_some() && timer(self) == timer(other) {
            let overrun = |info: &SigInfo| (info.0[2] >> 32) as i32;
            let sum = overrun(self).saturating_add(overrun(other)).saturating_add(1);
            self.0[2] = self.0[2] & 0xffff_ffff | u64::from(sum as u32) << 32;
        }
    }
    /// A signal of the same number that stands for this one until it is about to be delivered. Should
    /// we die before that, the program gets it: its value and its sender are those of this one.
    #[must_use]
    pub fn placeholder(&self) -> SigInfo {
        let mut info = SigInfo::default();
        info.0[0] = self.0[0] & !ERRNO | u64::from(PLACEHOLDER) << 32;
        // Another process may send nothing with a code of the kernel's.
        info.0[1] = u64::from(libc::SI_QUEUE as u32);
        info.0[2..4].copy_from_slice(&self.0[2..4]);
        info
    }
    /// Whether it is one.
    #[must_use]
    pub fn is_placeholder(&self) -> bool {
        self.code() == libc::SI_QUEUE && self.0[0] & ERRNO == u64::from(PLACEHOLDER) << 32
    }
    /// Whether this is no signal but the stop of a stepped thread at the first instruction of a
    /// handler: ptrace_notify(SIGTRAP) in the kernel's signal_setup_done().
    #[must_use]
    pub fn is_handler_entry(&self) -> bool {
        self.signal() == libc::SIGTRAP && self.code() == libc::SIGTRAP
    }
    /// Whether it reports a step that ended at a system call's exit: user_single_step_report(),
    /// TRAP_BRKPT on x86-64 and SI_USER from nobody elsewhere.
    #[must_use]
    pub fn is_step_over_call(&self) -> bool {
        self.signal() == libc::SIGTRAP
            && (self.code() == 1 || self.code() == libc::SI_USER && self.0[2] == 0)
    }
    /// Whether the kernel raised it for what the thread itself did: a trap or a fault.
    #[must_use]
    pub fn is_synchronous(&self) -> bool {
        matches!(
            self.signal(),
            libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGTRAP
        ) && self.code() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_has_number_sender_and_value() {
        let mut info = SigInfo::new(35, libc::SI_TIMER, Addr(0x3e8_0000_1234));
        info.0[3] = 0x7fff_1234;
        let other = info.placeholder();
        assert!(other.is_placeholder() && !info.is_placeholder());
        assert_eq!((other.signal(), other.code()), (35, libc::SI_QUEUE));
        assert_eq!(other.0[2..4], info.0[2..4]);
        assert!(!SigInfo::new(35, libc::SI_QUEUE, Addr(0)).is_placeholder());
        let mut sum = info;
        sum.0[2] = 0x0000_0002_0000_0007;
        let mut more = sum;
        more.add_overrun(&sum);
        assert_eq!(more.0[2], 0x0000_0005_0000_0007);
        more.add_overrun(&info);
        assert_eq!(more.0[2], 0x0000_0005_0000_0007);
    }
}
