//! From an architecture known at run time to one known at compile time.

/// Runs `$body` with `$A` standing for the [`xol_arch::Arch`] of `$machine`; the value is a
/// `Result` whose error says that this xol was built without that architecture.
#[macro_export]
macro_rules! for_machine {
    ($machine:expr, $A:ident => $body:expr) => {
        match $machine {
            #[cfg(feature = "arm64")]
            $crate::symbols::Machine::Arm64 => {
                type $A = ::xol_arch::arm64::Arm64;
                Ok($body)
            }
            #[cfg(feature = "x86_64")]
            $crate::symbols::Machine::X86_64 => {
                type $A = ::xol_arch::x86_64::X86_64;
                Ok($body)
            }
            #[allow(unreachable_patterns)]
            machine => Err($crate::symbols::ElfError::NotInThisBuild { machine }),
        }
    };
}
