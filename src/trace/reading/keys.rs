//! The key of a call: where it comes from, and how far up its stack.

use crate::trace::session::Session;
use crate::trace::telling::frames::Key;
use std::io;
use xol_arch::{Addr, Memory as _, Regs as _};
use xol_targets::ptrace::{SpaceId, Tid};

/// Where a goroutine has the two ends of its stack: at the beginning of runtime.g.
const STACK_END: u64 = 8;
/// The largest stack that Go allows.
const LARGEST_STACK: u64 = 1 << 30;

impl Session<'_> {
    /// The key of a call by the stack pointer and the return address. Go moves its stacks: what
    /// stays is how far from the end a frame is.
    pub(in crate::trace) fn key_of(
        &mut self,
        tid: Tid,
        space: SpaceId,
        is_go: bool,
        (back, sp): (Addr, Addr),
    ) -> io::Result<Key> {
        let plain = Key { space, goroutine: Addr(0), sp, back };
        if !is_go {
            return Ok(plain);
        }
        let mut machine = self.target.stopped(tid)?;
        let goroutine = machine.seen().goroutine();
        let mut end = [0; 8];
        if goroutine == Addr(0) || machine.read(goroutine.add(STACK_END), &mut end).is_err() {
            return Ok(plain);
        }
        let end = u64::from_le_bytes(end);
        let depth = end.wrapping_sub(sp.0);
        Ok(if depth < LARGEST_STACK {
            Key { goroutine, sp: Addr(sp.0.wrapping_sub(end)), ..plain }
        } else {
            plain
        })
    }
}
