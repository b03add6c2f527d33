//! The key of a call: where it comes from, and how far up its stack.

use crate::spec::demangled;
use crate::trace::session::Session;
use crate::trace::telling::frames::Key;
use std::io;
use xol_arch::{Addr, Memory as _, Regs as _};
use xol_targets::native;
use xol_targets::ptrace::{SpaceId, Tid};

/// Where a goroutine has the two ends of its stack: at the beginning of runtime.g.
const STACK_END: u64 = 8;
/// The largest stack that Go allows.
const LARGEST_STACK: u64 = 1 << 30;

impl Session<'_> {
    /// The object and the function that a thread at a function's entry was called from, as in
    /// `libc.so.6:qsort`; where no symbol is known, the address in the file.
    pub(in crate::trace) fn caller(&mut self, tid: Tid) -> io::Result<Option<String>> {
        let Some((back, _)) = native::caller(&mut self.target.stopped(tid)?) else {
            return Ok(None);
        };
        let thread = self.target.thread(tid).map(|thread| thread.pid);
        let Some((pid, space)) = thread.zip(self.target.space_of(tid)) else { return Ok(None) };
        // A call may be the last instruction of its function.
        let at = Addr(back.0.wrapping_sub(1));
        let loaded = self.sites(space).and_then(|sites| sites.objects.iter().find(|l| l.has(at)));
        let Some(loaded) = loaded.cloned() else { return Ok(Some(format!("{back}"))) };
        let object = self.open(pid, &loaded);
        let Some((object, bias)) = object.and_then(|o| Some((o.clone(), loaded.bias(&o)?))) else {
            return Ok(Some(loaded.name().to_owned()));
        };
        let vaddr = at.0.wrapping_sub(bias);
        let symbols = object.symbols().ok();
        let found = symbols.and_then(|all| Some(all.get(all.containing(vaddr)?.0)));
        let name = found.map_or_else(|| format!("{vaddr:#x}"), |s| demangled(s.name).into_owned());
        Ok(Some(format!("{}:{name}", loaded.name())))
    }

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
