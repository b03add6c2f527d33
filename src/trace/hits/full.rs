//! A full ring is waited for, so that nothing is missed however slowly it is told.
//!
//! A recorder that finds no room for its record traps, with the program's registers kept on its stack.
//! By then the ring has been read, as before every trap; the thread gets its registers back and records
//! the hit again. When xol is dead, the handler in the program takes the trap away, and from then on such
//! a record is counted as missed.

use crate::trace::session::Session;
use crate::trace::space::jumps::Spot;
use std::io;
use xol_arch::{Addr, Machine as _, Memory as _, Regs as _};
use xol_targets::Native;
use xol_targets::ptrace::{Go, SpaceId, Tid};

impl Session<'_> {
    /// Makes a thread record its hit again that has trapped at `at` because its ring was full. Returns
    /// whether it trapped for that.
    pub(in crate::trace) fn record_again(
        &mut self,
        tid: Tid,
        space: SpaceId,
        at: Addr,
    ) -> io::Result<bool> {
        let Some(Spot::Trampoline(jump, offset)) = self.sites_mut(space).jumps.spot(at) else {
            return Ok(false);
        };
        let Some(&full) = jump.fulls.iter().find(|full| full.at == offset) else {
            return Ok(false);
        };
        let Ok(trampoline) = jump.trampoline() else { return Ok(false) };
        let mut machine = self.target.stopped(tid)?;
        let mut regs = *machine.seen();
        let mut tick = [0; 8];
        let time = regs.sp().add(full.time.into());
        let begun = machine.read(time, &mut tick).is_ok().then(|| u64::from_le_bytes(tick));
        if trampoline.rewind::<Native>(offset, &mut regs, &mut machine).is_err() {
            // Its stack is gone: it goes on as it is, and the record is missed.
            return Ok(false);
        }
        regs.set_pc(jump.to.add(full.start.into()));
        *machine.regs() = regs;
        if let Some(tick) = begun.filter(|_| self.options.events) {
            self.teller.waits.begin(tid, tick);
        }
        // A record of another thread may be in the way, which has lost its processor.
        std::thread::yield_now();
        if self.doing(tid).is_trampoline() {
            self.stepped_in_jump(tid, space)?;
        } else {
            self.target.go(tid, Go::FromTrap)?;
        }
        Ok(true)
    }
}
