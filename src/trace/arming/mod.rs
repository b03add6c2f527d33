//! From wanted places to armed sites: slots, entries of the orphan table, traps.
//!
//! Knows no row but by the number of its consumer, no event and no jump.
//!
//! | file | what is in it |
//! |---|---|
//! | `traps` | places planned, and traps written, in batches |
//! | `padding` | slots where nothing can be mapped |
//! | `steal` | slots taken from one site for another |
//! | `protect` | processes made to survive xol, unseen by the program |
//! | `syscalls` | whether a thread is about to make a call that matters |

pub(in crate::trace) mod padding;
pub(in crate::trace) mod protect;
pub(in crate::trace) mod steal;
pub(in crate::trace) mod syscalls;
pub(in crate::trace) mod traps;
