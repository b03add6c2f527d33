//! Why an instruction cannot be probed.

use crate::Addr;
use core::fmt;

/// A refusal: the reason, and where to go instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Why.
    pub reason: Reason,
    /// The nearest address that can be probed, where that is known.
    pub nearest: Option<Addr>,
}

impl From<Reason> for Reject {
    fn from(reason: Reason) -> Self {
        Reject { reason, nearest: None }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.sentence())?;
        match self.nearest {
            Some(nearest) => write!(f, "; the nearest place that can be probed is {nearest}"),
            None => Ok(()),
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $sentence:literal;)*) => {
        /// The reasons, each with a stable id.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* #[doc = $sentence] $name,)*
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// A stable kebab-case id for scripts.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Reason::$name => $id,)* }
            }

            /// One sentence, without a full stop.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Reason::$name => $sentence,)* }
            }
        }
    };
}

reasons! {
    // Both architectures.
    Undecodable = "undecodable", "these bytes are no instruction that is known here";
    TooLong = "too-long", "with its prefixes the instruction is longer than 15 bytes";
    Truncated = "truncated", "the instruction reaches over the end of the readable code";
    OutOfReach = "out-of-reach", "no slot is near enough for what the instruction addresses";
    InsideInstruction = "inside-instruction", "the address is inside an instruction";
    Breakpoint = "breakpoint", "a breakpoint of the program or of another tool is there";
    Exception = "exception", "the instruction raises an exception by design";
    Privileged = "privileged", "the instruction belongs to the kernel";
    // The place rather than the instruction.
    NoRoomForSlots = "no-room-for-slots", "nothing can be mapped near the code, and the instruction cannot be simulated";
    SharedText = "shared-text", "the code is mapped shared and cannot be changed for one process";
    KernelPage = "kernel-page", "the page belongs to the kernel (vDSO, vsyscall)";
    RestartableSequence = "restartable-sequence", "a trap inside a restartable sequence (rseq) aborts it for ever, one right before it leaves it unprotected";
    FixedRange = "fixed-range", "libc or an unwinder recognises this instruction by its address or bytes";
    ChangedText = "changed-text", "the code in memory is not what the file has";
    TooManySites = "too-many-sites", "the limit on sites is reached";
    NotCode = "not-code", "the address is not in an executable mapping of this object";
    Data = "data", "these bytes are data: a symbol says so, or an instruction names them and no branch leads here";
    UnknownArguments = "unknown-arguments", "the filter names an argument that is not known here";
    OtherRegisters = "other-registers", "the signature names registers that this architecture does not have";
    // Jumps.
    UnknownFunction = "unknown-function", "where the function around it begins and ends is not known";
    WindowEnd = "window-end", "a jump would reach over the end of the function, or over bytes that no known way leads to";
    WindowInstruction = "window-instruction", "a jump would cover an instruction that cannot be displaced";
    Entered = "entered", "something comes into the middle of what a jump would replace, and would trap each time";
    ReadAsData = "read-as-data", "an instruction accesses what a jump would replace as data";
    SystemCall = "system-call", "a thread that waits in a system call would return into the jump";
    BehindLandingPad = "behind-landing-pad", "a jump cannot replace a landing pad, only the instruction behind it";
    IndirectCall = "indirect-call", "displaced, a call through memory leaves its target below the return address";
    NoLandingPlace = "no-landing-place", "no free address is one that a jump here can go to";
    NoStack = "no-stack", "the function uses the stack pointer as one more register, and a recorder would write below it";
    MissingFeature = "missing-feature", "this processor or kernel lacks what a recorder needs (RDFSBASE, LAHF)";
    // arm64.
    PadOnly = "pad-only", "a jump cannot replace a landing pad, and a branch goes to the instruction behind it";
    Misaligned = "misaligned", "arm64 instructions are at multiples of four";
    ExclusiveSequence = "exclusive-sequence", "a trap between a load-exclusive and its store-exclusive makes the store fail for ever";
    Daif = "daif", "the instruction reads or writes the interrupt masks (DAIF)";
    SystemRegister = "system-register", "the instruction accesses state that a program at EL0 does not have";
    ExceptionReturn = "exception-return", "ERET and its like return from an exception";
    PauthLr = "pauth-lr", "the instruction signs or authenticates with its own address (PAuth_LR)";
    Hint = "hint", "a hint that is not known to be harmless out of line";
    LandingPad = "landing-pad", "an indirect branch sets BTYPE by the page it is in, which is not the slot's";
    MopsSequence = "mops-sequence", "the main and epilogue of a memory copy or set belong to its prologue";
    // x86-64.
    InterruptShadow = "interrupt-shadow", "the instruction suppresses the trap behind it (MOV SS, POP SS)";
    InterruptReturn = "interrupt-return", "IRET and UIRET return from an interrupt";
    SoftwareInterrupt = "software-interrupt", "INT n enters the kernel by a gate that names its own address";
    Transaction = "transaction", "a trap inside a transaction aborts it (XBEGIN)";
    Enclave = "enclave", "ENCLU enters an enclave";
    FarTransfer = "far-transfer", "a far call pushes its own segment and address, which it reads in place only";
    VendorDependent = "vendor-dependent", "Intel and AMD execute this branch with these prefixes differently";
    ShadowStack = "shadow-stack", "the call cannot push to the thread's shadow stack from here";
}

#[cfg(test)]
mod tests {
    use super::{Reason, Reject};
    use crate::Addr;
    use std::string::ToString;

    #[test]
    fn a_refusal_says_why_and_where_to_go() {
        let alone = Reject::from(Reason::Truncated);
        assert_eq!(alone.to_string(), Reason::Truncated.sentence());
        let near = Reject { nearest: Some(Addr(0x1234)), ..alone }.to_string();
        assert!(near.starts_with(Reason::Truncated.sentence()) && near.ends_with(" 0x1234"));
    }

    #[test]
    fn ids_are_kebab_case_and_unique() {
        for (i, a) in Reason::ALL.iter().enumerate() {
            assert!(a.id().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", a.id());
            assert!(!a.sentence().ends_with('.'), "{}", a.sentence());
            assert!(Reason::ALL[i + 1..].iter().all(|b| b.id() != a.id()), "{}", a.id());
        }
    }
}
