//! What can be stopped, read and written.
