//! Traps that become jumps, and jumps that become traps again.
//!
//! Chooses windows, builds trampolines, places and writes them while all threads stand still, and knows what a
//! thread that is found in one stands for. Tells nobody of hits.
//!
//! | file | what is in it |
//! |---|---|
//! | `arm` | the one way to arm for all rooms above: traps, and jumps where they are due |
//! | `windows` | which instructions a jump takes the place of |
//! | `trampolines` | trampolines built, in batches |
//! | `land` | where they are mapped |
//! | `rings` | memory for what they record |
//! | `patch` | jumps written and taken away |
//! | `writable` | text that the program may write |
//! | `upgrade` | sites that have become hot |
//! | `ends` | jumps at the ends of calls |
//! | `in_trampoline` | what a thread in one stands for |
//! | `toggle` | for tests: jumps taken back and written again |

pub(in crate::trace) mod arm;
pub(in crate::trace) mod ends;
pub(in crate::trace) mod in_trampoline;
pub(in crate::trace) mod land;
pub(in crate::trace) mod patch;
pub(in crate::trace) mod rings;
pub(in crate::trace) mod toggle;
pub(in crate::trace) mod trampolines;
pub(in crate::trace) mod upgrade;
pub(in crate::trace) mod windows;
pub(in crate::trace) mod writable;

use crate::trace::jumping::toggle::Toggle;
use crate::trace::jumping::upgrade::Heat;
use crate::trace::space::objects::FileId;
use std::collections::HashMap;

/// What is known of jumps across all address spaces.
#[derive(Debug, Default)]
pub(in crate::trace) struct Jumping {
    /// How often places were hit in processes that are over.
    pub(in crate::trace) heat: Heat,
    /// Jumps taken back for a moment.
    pub(in crate::trace) toggle: Toggle,
    /// Whether an object may have restartable sequences that nothing describes, by file and
    /// signature.
    pub(in crate::trace) restartable: HashMap<(FileId, u32), bool>,
}
