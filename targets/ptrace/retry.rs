//! Executions that were counted and are made once more.
//!
//! An instruction whose copy faulted is executed again where the fault's handler returns to it; so is
//! a system call that a signal interrupted. That is no new hit (RULES A4). Whether a thread at the
//! site comes from the handler's frame or was led there anew, by siglongjmp and another call, its
//! registers do not tell: so its system calls are watched meanwhile. An execution is *owed* from the
//! signal on, and *due* once the thread makes an rt_sigreturn from a frame with its PC and stack
//! pointer. What comes to the site while it is due is that execution. A thread that comes there while it is
//! owed has left the handler in another way: that is a new hit, and nothing is owed any more. A signal
//! that finds the thread at the site while it is due has a frame there too, and so it is owed again.
//! Where the handler's stack is does not matter, nor what is hit or faults on it.
//!
//! A handler that is left by siglongjmp never returns, so an execution is owed for so many calls and
//! no longer.

use super::Ptrace;
use super::sys::Tid;
use crate::native;
use std::io;
use xol_arch::Addr;

/// How many executions of one thread are owed at once: faults in handlers of faults, and in contexts
/// that are swapped there.
const MOST: usize = 8;
/// For how many stops at calls one is owed.
const STOPS: u16 = 4096;

/// Those of one thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retries {
    /// The first `len`, the oldest first.
    all: [Retry; MOST],
    len: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Retry {
    pc: Addr,
    sp: Addr,
    due: bool,
    stops: u16,
}

impl Retries {
    fn find(&mut self, pc: Addr, sp: Addr) -> Option<usize> {
        self.all.iter().take(self.len).position(|retry| retry.pc == pc && retry.sp == sp)
    }

    fn remove(&mut self, at: usize) {
        self.all.copy_within(at + 1..self.len, at);
        self.len -= 1;
    }

    fn add(&mut self, pc: Addr, sp: Addr, due: bool) {
        if let Some(earlier) = self.find(pc, sp) {
            self.remove(earlier);
        } else if self.len == MOST {
            self.remove(0);
        }
        self.all[self.len] = Retry { pc, sp, due, stops: 0 };
        self.len += 1;
    }

    /// An instruction is executed again when a handler returns to it.
    pub fn owe(&mut self, pc: Addr, sp: Addr) {
        self.add(pc, sp, false);
    }

    /// It is executed again at once.
    pub fn due(&mut self, pc: Addr, sp: Addr) {
        self.add(pc, sp, true);
    }

    /// The thread makes an rt_sigreturn to there.
    pub fn returns(&mut self, pc: Addr, sp: Addr) {
        if let Some(found) = self.find(pc, sp) {
            self.all[found].due = true;
            return;
        }
        // A handler that has mended the fault by going on behind it.
        while let Some(at) = self.all.iter().take(self.len).position(|r| r.sp == sp && !r.due) {
            self.remove(at);
        }
    }

    /// The thread is at `pc`, by a trap: whether that is an execution that was counted.
    pub fn take(&mut self, pc: Addr, sp: Addr) -> bool {
        let Some(found) = self.find(pc, sp) else { return false };
        let due = self.all[found].due;
        self.remove(found);
        due
    }

    /// A handler's frame is written while the thread is at `pc` and has not executed it.
    pub fn interrupted(&mut self, pc: Addr, sp: Addr) {
        let Some(found) = self.find(pc, sp) else { return };
        if self.all[found].due {
            self.owe(pc, sp);
        } else {
            self.remove(found);
        }
    }

    /// A stop at a call.
    pub(super) fn called(&mut self) {
        for retry in self.all.iter_mut().take(self.len).filter(|retry| !retry.due) {
            retry.stops += 1;
        }
        let old = |retry: &Retry| retry.stops >= STOPS;
        while let Some(at) = self.all.iter().take(self.len).position(old) {
            self.remove(at);
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether calls must be seen.
    #[must_use]
    pub(super) fn is_owed(&self) -> bool {
        self.all.iter().take(self.len).any(|retry| !retry.due)
    }

    /// The instructions.
    pub fn sites(&self) -> impl Iterator<Item = Addr> {
        self.all.into_iter().take(self.len).map(|retry| retry.pc)
    }
}

impl Ptrace {
    /// At either end of a call: whether a handler returns to an instruction that it was called for.
    pub(super) fn retry_at_call(&mut self, tid: Tid) -> io::Result<()> {
        let thread = self.known(tid)?;
        if !thread.retries.is_owed() {
            return Ok(());
        }
        thread.retries.called();
        if let Some((pc, sp)) = native::sigreturn(&mut self.stopped(tid)?) {
            self.known(tid)?.retries.returns(pc, sp);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: Addr = Addr(0x1000);
    const OTHER: Addr = Addr(0x2000);
    const LOW: Addr = Addr(0x7000);
    const HIGH: Addr = Addr(0x9000);

    /// What a thread does that owes (SITE, LOW), and whether its next trap there was counted.
    type Act = fn(&mut Retries);

    #[test]
    fn a_return_alone_makes_it_due() {
        // All that may come between the fault and the next trap at the site.
        let harmless: [Act; 5] = [
            |r| _ = r.take(OTHER, LOW),
            |r| _ = r.take(OTHER, HIGH),
            |r| _ = r.take(SITE, HIGH),
            |r| r.interrupted(OTHER, HIGH),
            |r| r.returns(OTHER, HIGH),
        ];
        for first in 0..harmless.len() {
            for second in 0..harmless.len() {
                for returns in [false, true] {
                    let mut retries = Retries::default();
                    retries.owe(SITE, LOW);
                    harmless[first](&mut retries);
                    harmless[second](&mut retries);
                    if returns {
                        retries.returns(SITE, LOW);
                    }
                    assert_eq!(retries.take(SITE, LOW), returns, "{first} {second}");
                    // Once.
                    assert!(!retries.take(SITE, LOW) && retries.is_empty());
                }
            }
        }
    }

    #[test]
    fn nested_faults_do_not_undo_each_other() {
        // Faults at the same place of the handler, on another stack, in any order of return.
        let all = [(SITE, LOW), (SITE, HIGH), (OTHER, LOW)];
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
            let mut retries = Retries::default();
            all.iter().for_each(|&(pc, sp)| retries.owe(pc, sp));
            for n in order {
                let (pc, sp) = all[n];
                retries.returns(pc, sp);
                assert!(retries.take(pc, sp));
            }
            assert!(retries.is_empty());
        }
    }

    #[test]
    fn a_signal_at_the_site_keeps_what_is_due_and_drops_what_is_owed() {
        let mut retries = Retries::default();
        retries.owe(SITE, LOW);
        retries.returns(SITE, LOW);
        retries.interrupted(SITE, LOW);
        assert!(retries.is_owed());
        retries.returns(SITE, LOW);
        assert!(retries.take(SITE, LOW));
        // Led there anew, and interrupted before it trapped: the frame is no retry's.
        retries.owe(SITE, LOW);
        retries.interrupted(SITE, LOW);
        retries.returns(SITE, LOW);
        assert!(!retries.take(SITE, LOW));
    }

    #[test]
    fn a_fault_that_is_stepped_over_owes_nothing() {
        let mut retries = Retries::default();
        retries.owe(SITE, LOW);
        retries.returns(SITE.add(3), LOW);
        assert!(retries.is_empty());
    }

    #[test]
    fn it_is_not_owed_for_ever() {
        let mut retries = Retries::default();
        retries.owe(SITE, LOW);
        retries.due(OTHER, LOW);
        (0..STOPS - 1).for_each(|_| retries.called());
        assert!(retries.is_owed());
        retries.called();
        assert!(!retries.is_owed());
        assert!(retries.take(OTHER, LOW));
        // No more than there is room for: the oldest goes.
        for n in 0..2 * MOST as u64 {
            retries.owe(Addr(n), LOW);
        }
        assert_eq!(retries.sites().next(), Some(Addr(MOST as u64)));
        assert_eq!(retries.sites().count(), MOST);
    }
}
