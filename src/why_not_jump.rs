//! Why the hits of a place stop the program, where a jump was wanted: each reason has an id for scripts
//! and a sentence for people. What reports, `xol count --help` and `plan` say comes from here.

use std::fmt;
use xol_arch::{Reason, Reject};

macro_rules! reasons {
    ($($(#[$may_pass:ident])? $name:ident: $id:literal, $sentence:literal;)*) => {
        /// Why a place has no jump.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum WhyNotJump {
            $(#[doc = $sentence] $name,)*
            /// The instruction, or what is around it, cannot be part of a jump.
            Plan(Reason),
        }

        impl WhyNotJump {
            /// Every reason but those of [`WhyNotJump::Plan`].
            pub const ALL: &[WhyNotJump] = &[$(WhyNotJump::$name,)*];

            /// Returns the stable kebab-case id, as scripts know it.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self {
                    $(WhyNotJump::$name => $id,)*
                    WhyNotJump::Plan(reason) => reason.id(),
                }
            }

            /// Returns what the id means: a sentence without its capital letter and its dot.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self {
                    $(WhyNotJump::$name => $sentence,)*
                    WhyNotJump::Plan(reason) => reason.sentence(),
                }
            }

            /// Returns whether the reason may be gone a moment later, so that it is tried again.
            #[must_use]
            pub const fn may_pass(self) -> bool {
                match self {
                    $(WhyNotJump::$name => reasons!(@ $($may_pass)?),)*
                    WhyNotJump::Plan(reason) => matches!(reason, Reason::NoRoomForSlots),
                }
            }
        }
    };
    (@ may_pass) => { true };
    (@) => { false };
}

reasons! {
    FewHits: "few-hits", "it was not hit often enough to be worth a jump";
    NotAskedFor: "not-asked-for", "another strategy was chosen";
    NotInThisBuild: "not-in-this-build", "xol was built without jumps";
    NotOnlyCounted: "not-only-counted", "xol itself watches the place, or calls return to it";
    LimitedHits: "limited-hits",
        "it disarms itself, or the run ends after so many hits (--hits-per-site, --max-events)";
    Disarmed: "disarmed", "its trap was taken away";
    ExitsNotProven: "exits-not-proven", "not every way out of the function is known";
    NotAllExits: "not-all-exits", "one of the function's ways out cannot be a jump";
    MovingStack: "moving-stack", "Go has compiled the function, and may move its stack";
    GoArgument: "go-argument", "Go passes the arguments in registers that are not recorded";
    RegisterArgument: "register-argument", "a register is asked for that a trampoline does not read: rip, rflags, pc";
    StringArgument: "string-argument", "an argument is a string or bytes, which are read while the thread stands";
    FileArgument: "file-argument", "what a descriptor is open for is looked up while the thread stands (-y)";
    OutArgument: "out-argument", "an argument is read when it returns, while the thread stands";
    StackArgument: "stack-argument", "an argument is behind the eighth on the stack";
    TooManyValues: "too-many-values", "arguments and the like are more than the twelve that a record has room for";
    ErrnoRead: "errno-read", "errno is read when it returns (not with --strategy jump)";
    StringReturn: "string-return", "the return value is a string";
    WhereNotCompiled: "where-not-compiled", "--where asks for more than the jump's code can test";
    SharedThreadPointer: "shared-thread-pointer", "the thread pointer does not tell the threads apart";
    SiteInside: "site-inside", "a trap must stay in what the jump would cover";
    MayBeRestartable: "may-be-restartable", "restartable sequences may be anywhere in this object";
    WritableText: "writable-text", "the program may write the text that the jump would cover";
    Seccomp: "seccomp", "a seccomp filter may forbid the calls that a jump needs";
    Interrupted: "interrupted", "a signal found a thread in the jump";
    #[may_pass] NoSlot: "no-slot", "it has lost its slot to another site";
    #[may_pass] BeingRetried: "being-retried", "a handled fault will have its instruction run again";
    #[may_pass] GaveWay: "gave-way", "the jump gave way to a site within it";
    #[may_pass] NoThread: "no-thread", "no thread could be stopped to make room for the jump";
    #[may_pass] ThreadDoesNotStop: "thread-does-not-stop", "a thread could not be stopped in time";
    #[may_pass] Failed: "failed", "memory for the jump could not be had";
}

impl From<Reason> for WhyNotJump {
    fn from(reason: Reason) -> WhyNotJump {
        WhyNotJump::Plan(reason)
    }
}

impl From<Reject> for WhyNotJump {
    fn from(reject: Reject) -> WhyNotJump {
        WhyNotJump::Plan(reject.reason)
    }
}

impl fmt::Display for WhyNotJump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_are_words_for_scripts_and_each_is_one_reason() {
        let ids = WhyNotJump::ALL.iter().map(|why| why.id());
        let ids: BTreeSet<&str> = ids.chain(Reason::ALL.iter().map(|reason| reason.id())).collect();
        assert_eq!(ids.len(), WhyNotJump::ALL.len() + Reason::ALL.len());
        let word = |c: char| c.is_ascii_lowercase() || c == '-';
        assert!(ids.iter().all(|id| id.chars().all(word)), "{ids:?}");
        for why in WhyNotJump::ALL {
            let sentence = why.sentence();
            assert!(sentence.len() > 15 && !sentence.ends_with('.'), "{sentence}");
        }
    }

    #[test]
    fn what_is_wrong_with_the_text_stays_wrong() {
        let passing: Vec<&str> =
            WhyNotJump::ALL.iter().filter(|why| why.may_pass()).map(|why| why.id()).collect();
        let wanted =
            ["no-slot", "being-retried", "gave-way", "no-thread", "thread-does-not-stop", "failed"];
        assert_eq!(passing, wanted);
        assert!(WhyNotJump::from(Reason::NoRoomForSlots).may_pass());
        assert!(!WhyNotJump::from(Reason::ExclusiveSequence).may_pass());
    }
}
