//! Returns of functions: sites at each of their exits, and which call an exit ends.
//!
//! Walks code, arms what it finds, and asks the teller for the open call. Knows no record.
//!
//! | file | what is in it |
//! |---|---|
//! | `exits` | where a function is left |
//! | `matching` | which call a return ends |

pub(in crate::trace) mod exits;
pub(in crate::trace) mod matching;
