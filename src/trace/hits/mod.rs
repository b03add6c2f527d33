//! A stopped thread: whose trap it was, who is told, how it goes on, and what happens to a signal that finds it.
//!
//! Decides nothing about a displaced instruction itself: `engine` does, on a thread that `stop` shows to it.
//!
//! | file | what is in it |
//! |---|---|
//! | `hit` | traps |
//! | `stop` | a stopped thread as the engine sees and moves it |
//! | `signals` | signals that find a thread in a slot |
//! | `in_jump` | signals that find a thread in a trampoline |
//! | `full` | rings without room |

pub(in crate::trace) mod full;
pub(in crate::trace) mod hit;
pub(in crate::trace) mod in_jump;
pub(in crate::trace) mod signals;
pub(in crate::trace) mod stop;
