//! What the user gets to read: counts, events, values, as text and as JSON.
//!
//! Writers append to a text that their caller sends on; none of them can touch a target.
//!
//! | room | holds |
//! |---|---|
//! | `json` | objects, one a line |
//! | `value` | arguments and return values by their types |
//! | `count` | `xol count`: hits for each place, and what became of the others |
//! | `event` | `xol trace`: a line for each hit |

mod count;
mod event;
pub mod json;
mod value;

pub use count::{Became, CountRow, count_json, count_text};
pub use event::{End, Event, Lines, event_json};
pub use value::{Read, untyped_text, value_json, value_text};
