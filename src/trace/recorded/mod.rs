//! What trampolines have recorded: read from rings, put in order, and handed to the teller.
//!
//! Knows rings and which thread wrote what. Stops a thread only to learn which one it is.
//!
//! | file | what is in it |
//! |---|---|
//! | `ring` | rings read, in the order of events |
//! | `behind` | records that are waited for |
//! | `sweep` | calls whose frames are over, whose returns may be recorded |

pub(in crate::trace) mod behind;
pub(in crate::trace) mod ring;
pub(in crate::trace) mod sweep;
