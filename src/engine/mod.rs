//! What a probe is: sites, slots, and what happens at a hit.
//!
//! The path of a hit is [`whose`] trap it was, [`Table::count`], [`run_displaced`], and then
//! [`behind_copy`], [`after_step`] or [`signal_in_slot`]. It works on what is lent to it: it neither
//! allocates nor panics, because it also has to run inside a signal handler (`tests/hit_path`). The
//! rest prepares what is lent.
//!
//! | room | what is in it |
//! |---|---|
//! | `hits` | how a stopped thread goes on |
//! | `ids` | numbers of sites, consumers, rows and recorders |
//! | `site` | one address with a trap, and which strategy it got |
//! | `table` | the lookup by address, and the counting of a hit |
//! | `ring` | the reader of what trampolines note down |
//! | `slot` | the code written for one displaced instruction |
//! | `thread` | what a thread is in the middle of, and what is decided when it stops |

#[cfg(test)]
mod fake;
mod hits;
mod ids;
#[cfg(test)]
mod orders_tests;
mod ring;
mod site;
mod slot;
mod table;
mod thread;

pub use hits::{
    Resume, Signal, StoppedThread, after_step, behind_copy, correct_frame, run_displaced,
    signal_in_slot, take_out,
};
pub use ids::{ConsumerId, RecorderId, RowId, SiteId};
pub use ring::{Note, Pending, Reader};
pub use site::{Site, Wish, choose};
pub use slot::{Part, SLOT_SIZE, SlotCode, SlotRef, write_slot};
pub use table::{Counter, Link, NONE, Table, find, hash_slots, index_insert};
pub use thread::{Doing, Trap, Traps, whose};
