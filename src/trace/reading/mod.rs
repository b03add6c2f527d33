//! What a stopped thread's registers and memory say: arguments, values, errno, where a call comes from.
//!
//! Reads, and writes nothing. Knows a row's signature, and not what is done with its values.
//!
//! | file | what is in it |
//! |---|---|
//! | `arguments` | arguments and return values |
//! | `conditions` | which calls pass the filter at their beginning |
//! | `errno` | which error a function of libc has told |
//! | `variadic` | what the format of a variadic function asks for |
//! | `keys` | which call it is |
//! | `dead` | calls whose frames are over |

pub(in crate::trace) mod arguments;
pub(in crate::trace) mod conditions;
pub(in crate::trace) mod dead;
pub(in crate::trace) mod errno;
pub(in crate::trace) mod keys;
pub(in crate::trace) mod variadic;
