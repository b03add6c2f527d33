//! From PROBEs and what is mapped to rows and wanted places.
//!
//! Knows the files and what a PROBE means in them. Knows no thread, and arms nothing.
//!
//! | file | what is in it |
//! |---|---|
//! | `want` | a place that is wanted |
//! | `probes` | which places in an object are wanted, and their rows |
//! | `resolvers` | what IFUNCs have become |
//! | `ahead` | what is looked at before anything is armed |
//! | `unfound` | what is said of probes that have no place, or no hits |

pub(in crate::trace) mod ahead;
pub(in crate::trace) mod probes;
pub(in crate::trace) mod resolvers;
pub(in crate::trace) mod unfound;
pub(in crate::trace) mod want;

use crate::trace::wanted::probes::{Looked, Named};

/// What was found of what is wanted.
#[derive(Debug, Default)]
pub(in crate::trace) struct Wanted {
    /// Objects that were looked through.
    pub(in crate::trace) looked: Vec<Looked>,
    /// What the last row is called.
    pub(in crate::trace) named: Option<Named>,
    /// Whether returns of functions that Go has compiled are of interest.
    pub(in crate::trace) go_returns: bool,
}
