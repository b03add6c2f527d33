//! End-to-end tests of xol: each compares a probed run with something independent.
