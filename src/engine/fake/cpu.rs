//! The processor and the kernel of the fake target: one instruction, one signal, one handler.

use super::thread::{Sent, Stop, Thread};
use super::{END, Fake, SLOTS, TEXT};
use xol_arch::{Addr, Fault, Memory as _, Regs as _};

/// ERESTARTSYS, as a call's result.
const RESTART: u64 = -512i64 as u64;

impl Thread {
    /// The kernel leads the thread into the handler of a signal.
    pub(super) fn enter(&mut self, sent: Sent) {
        // The action says SA_RESTART.
        self.restart();
        self.handler = Some((sent, self.regs));
    }

    /// The kernel has a call made again that it has ended early.
    pub(super) fn restart(&mut self) {
        if std::mem::take(&mut self.in_call) && self.regs.rax == RESTART {
            self.regs.rax = self.regs.orig_rax;
            self.regs.rip -= 2;
        }
        self.regs.orig_rax = u64::MAX;
    }

    fn push(&mut self, value: u64) -> Result<(), Fault> {
        self.write(Addr(self.regs.rsp - 8), &value.to_le_bytes())?;
        self.regs.rsp -= 8;
        Ok(())
    }

    fn pop(&mut self) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        self.read(Addr(self.regs.rsp), &mut bytes)?;
        self.regs.rsp += 8;
        Ok(u64::from_le_bytes(bytes))
    }
}

impl Fake {
    /// Lets a thread run for one instruction, or to the end of a handler; what it stops for.
    pub(super) fn advance(&mut self, n: usize) -> Option<Stop> {
        if let Some((sent, frame)) = self.threads[n].handler.take() {
            let seen = self.seen(n, &frame);
            let thread = &mut self.threads[n];
            thread.seen.push((sent, seen));
            thread.mapped |= sent.fault;
            thread.regs = frame;
            thread.again.returns(frame.pc(), frame.sp());
            return None;
        }
        let thread = &mut self.threads[n];
        if let Some(sent) = thread.pending.pop_front() {
            return Some(Stop::Signal(sent));
        }
        if thread.interrupted && thread.ran {
            return Some(Stop::Interrupt);
        }
        (thread.in_call, thread.ran) = (false, true);
        let seen = self.seen(n, &self.threads[n].regs);
        self.threads[n].path.push(seen);
        let pc = self.threads[n].regs.rip;
        match self.execute(n, pc) {
            Ok(None) if self.threads[n].step && self.threads[n].regs.rip != pc => Some(Stop::Step),
            Ok(stop) => stop,
            Err(fault) => {
                self.threads[n].regs.rip = pc;
                Some(Stop::Signal(Sent { number: 0, fault: true, about: fault.at.0 }))
            }
        }
    }

    fn fetch(&self, pc: u64) -> [u8; 16] {
        let (from, code) = match pc.checked_sub(SLOTS) {
            Some(from) => (from, &self.slots),
            None => (pc - TEXT, &self.text),
        };
        assert!(pc < SLOTS || !self.unmapped, "slots are unmapped, and a thread is at {pc:#x}");
        let mut all = [0; 16];
        let code = &code[from as usize..];
        let len = code.len().min(all.len());
        all[..len].copy_from_slice(&code[..len]);
        all
    }

    fn execute(&mut self, n: usize, pc: u64) -> Result<Option<Stop>, Fault> {
        let code = self.fetch(pc);
        let i32_at = |at: usize| {
            i64::from(i32::from_le_bytes([code[at], code[at + 1], code[at + 2], code[at + 3]]))
        };
        let thread = &mut self.threads[n];
        let signals = !thread.pending.is_empty() || thread.interrupted;
        let mut next = |len: u64| thread.regs.rip = pc + len;
        match code {
            [0xcc, ..] => {
                next(1);
                return Ok(Some(Stop::Trap));
            }
            [0x90, ..] => next(1),
            [0xff, 0xc0, ..] => {
                next(2);
                thread.regs.rax += 1;
            }
            [0xff, 0x03, ..] => {
                next(2);
                let mut word = [0; 4];
                thread.read(Addr(thread.regs.rbx), &mut word)?;
                let more = u32::from_le_bytes(word) + 1;
                thread.write(Addr(thread.regs.rbx), &more.to_le_bytes())?;
            }
            [0x0f, 0x05, ..] => {
                let handled = thread.seen.iter().filter(|(sent, _)| !sent.is_a_fault()).count();
                if !signals && handled < thread.waits_for {
                    // It is blocked.
                    thread.path.pop();
                    return Ok(None);
                }
                next(2);
                thread.regs.orig_rax = thread.regs.rax;
                thread.regs.rcx = thread.regs.rip;
                if signals {
                    (thread.regs.rax, thread.in_call) = (RESTART, true);
                } else {
                    thread.calls += 1;
                    thread.regs.rax = 0x700;
                    thread.regs.orig_rax = u64::MAX;
                }
            }
            [0x48, 0xb9, ..] => {
                next(10);
                thread.regs.rcx = u64::from_le_bytes(std::array::from_fn(|byte| code[2 + byte]));
            }
            [0x50, ..] => {
                next(1);
                thread.push(thread.regs.rax)?;
            }
            [0x59, ..] => {
                next(1);
                thread.regs.rcx = thread.pop()?;
            }
            [0x68, ..] => {
                next(5);
                thread.push(i32_at(1) as u64)?;
            }
            [0xc7, 0x44, 0x24, by, ..] => {
                next(8);
                let to = Addr(thread.regs.rsp + u64::from(by));
                thread.write(to, &code[4..8])?;
            }
            [0xe8, ..] => {
                next(5);
                thread.push(thread.regs.rip)?;
                thread.regs.rip = thread.regs.rip.wrapping_add_signed(i32_at(1));
            }
            [0xe9, ..] => {
                next(5);
                thread.regs.rip = thread.regs.rip.wrapping_add_signed(i32_at(1));
            }
            [0xc3, ..] => thread.regs.rip = thread.pop()?,
            [0xf4, ..] => {
                assert_eq!(pc, END);
                thread.ended = true;
            }
            _ => panic!("thread {n} at {pc:#x}: {code:02x?}\n{thread:#?}"),
        }
        Ok(None)
    }
}
