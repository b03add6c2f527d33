//! What a probe is: sites, slots, and what happens at a hit.
//!
//! The path of a hit ([`Table::find`], [`Table::hit`]) works on slices lent to it: it neither
//! allocates nor panics, because it also has to run inside a signal handler. The rest prepares
//! those slices.
//!
//! | room | what is in it |
//! |---|---|
//! | `site` | one address with a trap, and which strategy it got |
//! | `table` | the lookup by address, and the hit |
//! | `ring` | the reader of what trampolines note down |
//! | `slot` | the code written for one displaced instruction |

mod ring;
mod site;
mod slot;
mod table;

pub use ring::{Note, Pending, Reader};
pub use site::{Site, Wish, choose};
pub use slot::{SLOT_SIZE, SlotCode, SlotRef, write_slot};
pub use table::{Counter, Link, NONE, Run, Table, hash_slots, index_insert};
