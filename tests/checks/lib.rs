//! What must hold for any input. Each check takes bytes, and panics where something does not.
//! The tests give each a second of mutated input; `fuzz/` gives them to libFuzzer.
//!
//! | room | holds |
//! |---|---|
//! | [`plans`] | decoding and planning any bytes, either architecture |
//! | [`displaced`] | what is simulated and what is relocated have the same effect |
//! | [`objects`] | reading any file as ELF |
//! | [`recordings`] | reading any file as a recording |
//! | [`probes`] | reading any text as a PROBE |

pub mod displaced;
pub mod objects;
pub mod plans;
pub mod probes;
pub mod recordings;
