//! What xol has put into each address space, and threads that are stopped for a moment.
//!
//! Knows sites, slots, jumps and objects as data, what each thread is in the middle of, and how to find a thread
//! that can make a call. Reads the program's own bytes, whatever xol has written over them. Knows no row, no
//! probe and no event.
//!
//! One door leads up from here: while a thread is waited for, what threads have stopped for is dealt with by
//! `life`, because neither might go on otherwise (`borrow`).
//!
//! | file | what is in it |
//! |---|---|
//! | `sites` | the sites of an address space, in the tables the engine works on |
//! | `exits` | where its functions are left |
//! | `hot` | its sites that become jumps next |
//! | `jumps` | its jumps, and what a thread in one stands for |
//! | `slots` | memory for copies of instructions |
//! | `tally` | counters that trampolines write |
//! | `text` | which text may be written, and what is left in text that moves |
//! | `objects` | what is mapped |
//! | `opened` | the files of that |
//! | `state` | what is remembered of a thread |
//! | `later` | signals that wait for their turn |
//! | `libc_signal` | numbers of signals |
//! | `pending` | traps and faults on their way |
//! | `borrow` | one thread stopped, for a call |
//! | `halt` | all threads stopped, for text to change |

pub(in crate::trace) mod borrow;
pub(in crate::trace) mod exits;
pub(in crate::trace) mod halt;
pub(in crate::trace) mod hot;
pub(in crate::trace) mod jumps;
pub(in crate::trace) mod later;
pub(in crate::trace) mod libc_signal;
pub(in crate::trace) mod objects;
pub(in crate::trace) mod opened;
pub(in crate::trace) mod pending;
pub(in crate::trace) mod sites;
pub(in crate::trace) mod slots;
pub(in crate::trace) mod state;
pub(in crate::trace) mod tally;
pub(in crate::trace) mod text;
