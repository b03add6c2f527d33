//! What the user asks for: PROBEs.
