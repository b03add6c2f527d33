//! xol in guests: of each column of `tests/targets.txt` what says most. `full.rs` has the rest.

mod suite;

suite::guests!(suite::Much::Quick);
