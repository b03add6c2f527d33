//! SIGTRAP's action as the program sees it: what stands in for it and where the program sets or reads it,
//! from the first trap in a space to the last.

use crate::trace::session::Session;
use std::io;
use xol_arch::{Addr, Memory as _, Regs as _};
use xol_targets::native;
use xol_targets::ptrace::{Action, Tid};

/// How many rt_sigactions of one thread, each in a handler that interrupted the one before, are
/// remembered.
const NESTED: usize = 8;

impl Session<'_> {
    /// On rt_sigaction: what it is asked for is remembered until it is done.
    pub(in crate::trace) fn setting_action(&mut self, tid: Tid) -> io::Result<()> {
        let regs = self.target.regs(tid)?;
        let args = [0, 1, 2].map(|n| native::syscall_arg(&regs, n));
        let setting = &mut self.states.entry(tid).or_default().setting;
        // What a handler left by a longjmp never came to its end.
        setting.retain(|&(sp, _)| sp != regs.sp());
        if setting.len() == NESTED {
            setting.remove(0);
        }
        setting.push((regs.sp(), args));
        Ok(())
    }

    /// The arguments of the rt_sigaction that a thread stands behind; `any`: if it was one.
    fn set_with(&mut self, tid: Tid, any: bool) -> io::Result<Option<[u64; 3]>> {
        let regs = self.target.regs(tid)?;
        if !native::RESULT_IS_AN_ARG && !any {
            return Ok(Some([0, 1, 2].map(|n| native::syscall_arg(&regs, n))));
        }
        let Some(state) = self.states.get_mut(&tid) else { return Ok(None) };
        let found = state.setting.iter().position(|&(sp, _)| sp == regs.sp());
        Ok(found.map(|i| state.setting.remove(i).1))
    }

    /// Behind rt_sigaction: the program sees its own SIGTRAP action, and ours stays in place.
    pub(in crate::trace) fn action_set(&mut self, tid: Tid, at: Addr, any: bool) -> io::Result<()> {
        let Some([signal, new, old]) = self.set_with(tid, any)? else { return Ok(()) };
        let regs = self.target.regs(tid)?;
        if signal != native::SIGTRAP || native::result(&regs) != 0 {
            return Ok(());
        }
        let pid = self.target.thread(tid).map(|t| t.pid);
        let Some(process) = pid.and_then(|pid| self.target.process(pid)).cloned() else {
            return Ok(());
        };
        let mut machine = self.target.stopped(tid)?;
        let mut bytes = [0; 32];
        let set = new != 0 && machine.read(Addr(new), &mut bytes).is_ok();
        let mut told = [0; 32];
        let read = old != 0 && machine.read(Addr(old), &mut told).is_ok();
        let told = Action::from_bytes(&told);
        // Where the program handles SIGTRAP itself, a trap of another thread may have made the kernel
        // forget that a moment ago.
        let lost = matches!(process.action, Action::Handler(_)) && told.is_default();
        if read && (lost || self.target.is_stand_in(tid, told)) {
            let mut was = [0; 32];
            for (to, word) in was.chunks_exact_mut(8).zip(process.action.words()) {
                to.copy_from_slice(&word.to_ne_bytes());
            }
            // It was writable for the kernel a moment ago.
            let _ = self.target.stopped(tid)?.write(Addr(old), &was);
        }
        if set {
            self.target.stopped(tid)?.rewind(at);
            let action = Action::from_bytes(&bytes);
            self.target.settle_mask_behind(tid, action)?;
            if let Action::Handler(_) = action {
                self.note(format!(
                    "process {} handles SIGTRAP itself: it does not survive xol being killed",
                    process.pid
                ));
            }
            if let Err(error) = self.target.set_program_action(tid, action) {
                self.note(format!("process {}: {error}", process.pid));
            }
        }
        Ok(())
    }
}
