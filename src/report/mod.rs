//! What the user gets to read: counts, events, values, as text and as JSON.
//!
//! Writers append to a text that their caller sends on; none of them can touch a target.
//!
//! | room | holds |
//! |---|---|
//! | `json` | objects, one a line |
//! | `value` | arguments and return values by their types |
//! | `count` | `xol count`: hits for each place, and what became of the others |
//! | `names` | names of numbers |
//! | `event` | what `xol trace` tells of; as JSON |
//! | `lines`, `tree`, `clock`, `colours` | as lines for people; calls indented; what TIME is |
//! | `chrome`, `csv` | for Perfetto and other viewers of traces; for spreadsheets |
//! | `openmetrics` | counts, for Prometheus |

mod chrome;
mod clock;
mod colours;
mod count;
mod csv;
mod event;
pub mod json;
mod lines;
mod names;
mod openmetrics;
mod tree;
mod value;

pub use chrome::Chrome;
pub use clock::Stamp;
pub use colours::Colours;
pub use count::{Became, CountRow, count_json, count_text};
pub use csv::{Field, count_csv, event_csv, fields_csv};
pub use event::{End, Event, event_json};
pub use lines::{Column, Lines, Look};
pub use names::errno_name;
pub use openmetrics::count_openmetrics;
pub use value::{Read, untyped_text, value_json, value_text};
