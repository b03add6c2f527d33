//! What the user gets to read: counts, events, values, as text and as JSON.

pub mod json;
