//! What the program does that concerns xol: maps, SIGTRAP's action, protection, moves, ptrace.
//!
//! Serves the sites that xol has for itself. Knows the calls of Linux, and no event that a user sees.
//!
//! | file | what is in it |
//! |---|---|
//! | `own_sites` | sites at the calls that matter |
//! | `refresh` | what is mapped now, looked at anew |
//! | `action` | SIGTRAP's action as the program sees it |
//! | `changing` | text that the program writes or moves |
//! | `copies` | copies of text that the program has made, when we leave |
//! | `tracers` | programs that trace their own children |

pub(in crate::trace) mod action;
pub(in crate::trace) mod changing;
pub(in crate::trace) mod copies;
pub(in crate::trace) mod own_sites;
pub(in crate::trace) mod refresh;
pub(in crate::trace) mod tracers;
