//! The engine: what a probe is.
