//! The rows of the report, the consumers of hits, and their counters.
//!
//! Knows which row a hit is counted for, and how the row's function is called. Knows no thread and no memory.
//!
//! | file | what is in it |
//! |---|---|
//! | `consumer` | what a hit of a site means; a row |
//! | `fails` | how functions of libc say that they have failed |
//! | `table` | all rows, and whom each hit is for |

pub(in crate::trace) mod consumer;
pub(in crate::trace) mod fails;
pub(in crate::trace) mod table;
