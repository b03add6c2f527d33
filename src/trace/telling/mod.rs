//! What is told, and to whom: one teller for what a stopped thread does and for what a trampoline has recorded.
//!
//! Knows rows, open calls, filters at the end of a call, and the sink. Gets values that were read; knows no
//! target, no registers and no memory.
//!
//! | file | what is in it |
//! |---|---|
//! | `teller` | what there is to tell, and to whom |
//! | `events` | events, and their way to the sink |
//! | `calls` | open calls, and how they end |
//! | `frames` | the calls of each thread that have not ended |
//! | `notes` | events made of records |
//! | `recorders` | what a trampoline can record in the place of a stop |
//! | `value` | values of arguments and returns |
//! | `failed` | whether a call has failed, as far as its value tells |
//! | `passing` | whether a call passes the filter by how it ended |
//! | `comms` | the names of threads |
//! | `names` | which thread wrote a record |
//! | `clock` | when a record was made |
//! | `waits` | how long threads have waited for room |

pub(in crate::trace) mod calls;
pub(in crate::trace) mod clock;
pub(in crate::trace) mod comms;
pub(in crate::trace) mod events;
pub(in crate::trace) mod failed;
pub(in crate::trace) mod frames;
pub(in crate::trace) mod names;
pub(in crate::trace) mod notes;
pub(in crate::trace) mod passing;
pub(in crate::trace) mod recorders;
pub(in crate::trace) mod teller;
pub(in crate::trace) mod value;
pub(in crate::trace) mod waits;
