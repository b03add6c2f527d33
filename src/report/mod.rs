//! What the user gets to read: counts, events, values, as text and as JSON.
//!
//! Writers append to a text that their caller sends on; none of them can touch a target.
//!
//! | room | holds |
//! |---|---|
//! | `value` | arguments and return values by their types |
//! | `count` | `xol count`: hits for each place, and what became of the others |
//! | `names` | names of numbers |
//! | `event` | what `xol trace` tells of; as JSON |
//! | `lines`, `tree`, `clock`, `colours` | as lines for people; calls indented; what TIME is |
//! | `chrome`, `csv` | for Perfetto and other viewers of traces; for spreadsheets |
//! | `openmetrics` | counts, for Prometheus |
//! | `times`, `powers` | histograms of durations and of values |
//! | `nested` | which part of a call's time was its own |
//! | `keyed` | sums for each value of something |
//! | `latency` | `xol latency`: calls and their times; `xol count --summary` |
//! | `by` | `xol count --by` and `--hist` |
//! | `rates` | `xol top`: hits a second |
//! | `column` | what rows are sorted by |

mod by;
mod chrome;
mod clock;
mod colours;
mod column;
mod count;
mod csv;
mod event;
mod keyed;
mod latency;
mod lines;
mod names;
mod nested;
mod openmetrics;
mod powers;
mod rates;
mod times;
mod tree;
mod value;

pub use crate::json;
pub use by::{ByRow, by_json, by_text};
pub use chrome::Chrome;
pub use clock::Stamp;
pub use colours::Colours;
pub use column::{Order, SortColumn};
pub use count::{Became, CountRow, arrange, count_json, count_text, no_jumps};
pub use csv::{Field, by_csv, count_csv, event_csv, fields_csv, latency_csv, summary_csv};
pub use event::{End, Event, event_json};
pub use keyed::{Keyed, Shown};
pub use latency::{LatencyRow, latency_json, latency_text, summary_json, summary_text};
pub(crate) use lines::LONG;
pub use lines::{Column, Lines, Look};
pub use names::errno_name;
pub use nested::Nested;
pub use openmetrics::{
    by_openmetrics, count_openmetrics, latency_openmetrics, summary_openmetrics,
};
pub use powers::Powers;
pub use rates::{Rates, rates_json};
pub use times::{Bar, Counts, Linear, Times};
pub use value::{Read, Text, untyped_text, value_json, value_text};
