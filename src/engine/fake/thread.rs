//! One thread of the fake target, as the engine sees and moves it.

use super::{Fake, SLOTS, Seen, TEXT, WORDS};
use crate::engine::{Doing, Resume, Signal, Site, SiteId, SlotRef, StoppedThread, Traps, find};
use std::collections::VecDeque;
use xol_arch::x86_64::{Registers, X86_64};
use xol_arch::{Addr, Arch, Fault, Machine, Memory, Regs as _};

/// A signal: its number tells it from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Sent {
    pub(super) number: usize,
    pub(super) fault: bool,
    pub(super) about: u64,
}

impl Sent {
    pub(in super::super) fn is_a_fault(&self) -> bool {
        self.fault
    }

    /// Returns which of the thread's signals it is, from 1 on.
    pub(in super::super) fn number(&self) -> usize {
        self.number
    }
}

impl Signal for Sent {
    fn is_fault(&self) -> bool {
        self.fault
    }

    fn readdress(&mut self, from: Addr, to: Addr) {
        if self.about == from.0 {
            self.about = to.0;
        }
    }
}

/// Why a thread has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Stop {
    Trap,
    Step,
    Signal(Sent),
    /// It is at the first instruction of a handler.
    Handler,
    Interrupt,
}

/// Executions that are made once more, by address and stack pointer, and whether they are due.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Again(Vec<(Addr, Addr, bool)>);

impl Again {
    pub(super) fn add(&mut self, at: Addr, sp: Addr, due: bool) {
        self.0.retain(|known| (known.0, known.1) != (at, sp));
        self.0.push((at, sp, due));
    }

    pub(super) fn take(&mut self, at: Addr, sp: Addr) -> bool {
        let found = self.0.iter().position(|known| (known.0, known.1) == (at, sp));
        found.is_some_and(|n| self.0.remove(n).2)
    }

    /// A handler returns there.
    pub(super) fn returns(&mut self, at: Addr, sp: Addr) {
        for known in self.0.iter_mut().filter(|known| (known.0, known.1) == (at, sp)) {
            known.2 = true;
        }
    }

    /// A handler's frame is written for a thread that is about to execute it.
    pub(super) fn interrupted(&mut self, at: Addr, sp: Addr) {
        for known in self.0.iter_mut().filter(|known| (known.0, known.1) == (at, sp)) {
            known.2 = false;
        }
    }
}

/// A thread.
#[derive(Clone, Debug)]
pub(in super::super) struct Thread {
    pub(super) regs: Registers,
    stack: u64,
    words: [u64; 32],
    /// The address of its word.
    at: u64,
    pub(super) word: u64,
    pub(super) mapped: bool,
    pub(super) calls: u64,
    /// How many signals its system call waits for.
    pub(in super::super) waits_for: usize,
    /// Whether only the processor can write to its stack, because the kernel lets the stack grow then.
    pub(in super::super) grows: bool,
    /// Whether it is at the end of a system call that a signal has ended early.
    pub(super) in_call: bool,
    pub(super) pending: VecDeque<Sent>,
    pub(in super::super) sent: usize,
    /// The signal whose handler it runs, and where that returns to.
    pub(super) handler: Option<(Sent, Registers)>,
    pub(super) step: bool,
    pub(super) interrupted: bool,
    /// Whether it has executed something since its last stop.
    pub(super) ran: bool,
    pub(super) stopped: Option<Stop>,
    pub(super) out: bool,
    pub(in super::super) ended: bool,
    /// What each handler has seen of the code that it interrupted.
    pub(in super::super) seen: Vec<(Sent, Seen)>,
    /// What it was at each instruction, where nothing is probed.
    pub(in super::super) path: Vec<Seen>,

    pub(super) doing: Doing,
    before: Registers,
    pub(super) held: Option<Sent>,
    pub(super) later: VecDeque<Sent>,
    pub(super) slot: Option<Addr>,
    pub(super) again: Again,
}

impl Thread {
    pub(super) fn new(stack: u64, n: usize) -> Thread {
        let at = WORDS + 8 * n as u64;
        let regs = Registers { rip: TEXT, rsp: stack, rbx: at, ..Registers::default() };
        Thread {
            regs,
            stack,
            words: [0; 32],
            at,
            word: 0,
            mapped: false,
            calls: 0,
            waits_for: 0,
            grows: false,
            in_call: false,
            pending: VecDeque::new(),
            sent: 0,
            handler: None,
            step: false,
            interrupted: false,
            ran: true,
            stopped: None,
            out: false,
            ended: false,
            seen: Vec::new(),
            path: Vec::new(),
            doing: Doing::Own,
            before: Registers::default(),
            held: None,
            later: VecDeque::new(),
            slot: None,
            again: Again::default(),
        }
    }

    /// Sends it a signal.
    pub(super) fn send(&mut self) {
        if self.ended {
            return;
        }
        self.sent += 1;
        self.pending.push_back(Sent { number: self.sent, fault: false, about: 0 });
    }

    /// Returns the word of its stack that `rsp` points to.
    pub(super) fn top(&self, rsp: u64) -> u64 {
        self.words.get(self.index(rsp)).copied().unwrap_or(0)
    }

    fn index(&self, at: u64) -> usize {
        (self.stack.wrapping_sub(at) / 8) as usize
    }

    /// Returns the word of its memory at an address that is a multiple of 8.
    fn place(&mut self, at: u64) -> Option<&mut u64> {
        if at == self.at {
            return self.mapped.then_some(&mut self.word);
        }
        let index = self.index(at);
        self.words.get_mut(index)
    }
}

impl Memory for Thread {
    fn read(&mut self, at: Addr, to: &mut [u8]) -> Result<(), Fault> {
        for (n, byte) in to.iter_mut().enumerate() {
            let at = at.0 + n as u64;
            let word = self.place(at & !7).ok_or(Fault { at: Addr(at), write: false })?;
            *byte = word.to_le_bytes()[at as usize % 8];
        }
        Ok(())
    }

    fn write(&mut self, at: Addr, from: &[u8]) -> Result<(), Fault> {
        for (n, byte) in from.iter().enumerate() {
            let at = at.0 + n as u64;
            let word = self.place(at & !7).ok_or(Fault { at: Addr(at), write: true })?;
            let mut bytes = word.to_le_bytes();
            bytes[at as usize % 8] = *byte;
            *word = u64::from_le_bytes(bytes);
        }
        Ok(())
    }
}

impl Machine<X86_64> for Thread {
    fn regs(&mut self) -> &mut Registers {
        &mut self.regs
    }

    fn set_vector(&mut self, _: u8, _: u128) -> Result<(), Fault> {
        Ok(())
    }
}

/// A stopped thread, borrowed with its target.
pub(in super::super) struct AtFake<'f> {
    pub(super) fake: &'f mut Fake,
    pub(super) n: usize,
}

impl AtFake<'_> {
    pub(super) fn thread(&mut self) -> &mut Thread {
        &mut self.fake.threads[self.n]
    }

    /// The signals that wait behind a held one come before any other.
    fn send_later(&mut self) {
        let thread = self.thread();
        while let Some(later) = thread.later.pop_back() {
            thread.pending.push_front(later);
        }
    }
}

/// A machine that is borrowed.
pub(in super::super) struct Borrowed<'m>(&'m mut Thread);

impl Memory for Borrowed<'_> {
    fn read(&mut self, at: Addr, to: &mut [u8]) -> Result<(), Fault> {
        self.0.read(at, to)
    }

    fn write(&mut self, at: Addr, from: &[u8]) -> Result<(), Fault> {
        self.0.write(at, from)
    }
}

impl Machine<X86_64> for Borrowed<'_> {
    fn regs(&mut self) -> &mut Registers {
        &mut self.0.regs
    }

    fn set_vector(&mut self, _: u8, _: u128) -> Result<(), Fault> {
        Ok(())
    }
}

impl Traps for AtFake<'_> {
    type Error = std::convert::Infallible;

    fn site(&self, at: Addr) -> Option<SiteId> {
        let number = find(&self.fake.sites, &self.fake.index, at)?;
        self.fake.sites[number.index()].armed.then_some(number)
    }

    fn under_jump(&self, _: Addr) -> Option<Addr> {
        None
    }

    fn is_ours(&self, at: Addr) -> bool {
        at.0.wrapping_sub(SLOTS) < self.fake.slots.len() as u64
    }

    fn has_trap(&self, at: Addr) -> Option<bool> {
        Some(*self.fake.text.get((at.0 - TEXT) as usize)? == 0xcc)
    }

    fn follow_copied(&mut self, _: Addr) -> Result<bool, Self::Error> {
        Ok(false)
    }

    fn was_left(&self, _: Addr) -> bool {
        false
    }
}

impl StoppedThread<X86_64> for AtFake<'_> {
    type Signal = Sent;
    type Machine<'m>
        = Borrowed<'m>
    where
        Self: 'm;

    fn doing(&self) -> Doing {
        self.fake.threads[self.n].doing
    }

    fn does(&mut self, doing: Doing) {
        self.thread().doing = doing;
    }

    fn before(&self) -> Registers {
        self.fake.threads[self.n].before
    }

    fn keep(&mut self, before: Registers) {
        self.thread().before = before;
    }

    fn in_slot(&mut self, slot: Option<Addr>) {
        self.thread().slot = slot;
    }

    fn hold(&mut self, signal: Sent) {
        assert_eq!(self.thread().held.replace(signal), None);
    }

    fn take_held(&mut self) -> Option<Sent> {
        self.thread().held.take()
    }

    fn numbered(&self, site: SiteId) -> Option<Site<X86_64>> {
        self.fake.sites.get(site.index()).copied()
    }

    fn with_slot(&self, pc: Addr) -> Option<(SiteId, Site<X86_64>, SlotRef)> {
        let has = |site: &Site<X86_64>| site.slot.is_some_and(|slot| slot.has(pc));
        let number = self.fake.sites.iter().position(has)?;
        let site = self.fake.sites[number];
        Some((SiteId(number as u32), site, site.slot?))
    }

    fn machine(&mut self) -> Result<Borrowed<'_>, Self::Error> {
        Ok(Borrowed(self.thread()))
    }

    fn regs(&mut self) -> Result<Registers, Self::Error> {
        Ok(self.thread().regs)
    }

    fn set_pc(&mut self, pc: Addr) -> Result<(), Self::Error> {
        self.thread().regs.set_pc(pc);
        Ok(())
    }

    fn simulate(
        &mut self,
        effect: <X86_64 as Arch>::Effect,
        at: Addr,
    ) -> Result<Result<(), Fault>, Self::Error> {
        let before = self.thread().regs;
        self.thread().regs.set_pc(at);
        let grows = self.thread().grows;
        let done = match X86_64::simulate(effect, at, self.thread()) {
            Ok(()) if grows && self.thread().regs.rsp < before.rsp => {
                Err(Fault { at: self.thread().regs.sp(), write: true })
            }
            done => done,
        };
        if done.is_err() {
            self.thread().regs = before;
        }
        Ok(done)
    }

    fn resume_sleep(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    fn find_slot(&mut self, site: SiteId) -> Result<Option<Addr>, Self::Error> {
        Ok(self.fake.steal(site))
    }

    fn give_up(&mut self, site: SiteId) -> Result<(), Self::Error> {
        let site = &mut self.fake.sites[site.index()];
        self.fake.text[(site.addr.0 - TEXT) as usize] = site.original[0];
        site.armed = false;
        Ok(())
    }

    fn set_gate(&mut self, slot: &SlotRef, trap: bool) -> Result<(), Self::Error> {
        let waits = |t: &Thread| t.held.is_some() && t.slot == Some(slot.at);
        if trap || !self.fake.threads.iter().any(waits) {
            let byte = if trap { X86_64::TRAP[0] } else { X86_64::NOP[0] };
            self.fake.slots[(slot.gate_at().0 - SLOTS) as usize] = byte;
        }
        Ok(())
    }

    fn executes_again(&mut self, site: Addr, sp: Addr, now: bool) -> Result<(), Self::Error> {
        self.thread().again.add(site, sp, now);
        Ok(())
    }

    fn mark_done(&mut self, _: Addr) -> Result<(), Self::Error> {
        Ok(())
    }

    fn mark_copied(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    fn may_restart(regs: &Registers) -> bool {
        regs.rax as i64 == -512
    }

    fn awaits_restart(regs: &Registers) -> bool {
        regs.orig_rax as i64 >= 0 && regs.rax as i64 == -512
    }

    fn saved(&mut self) -> Option<(Addr, Addr)> {
        let (_, frame) = self.thread().handler.as_ref()?;
        Some((frame.pc(), frame.sp()))
    }

    fn set_saved(&mut self, pc: Addr, site: Addr) {
        if let Some((_, frame)) = &mut self.thread().handler {
            frame.set_pc(pc);
            // The call has left the address behind it there.
            frame.rcx = site.0 + 2;
        }
    }

    fn requeue(&mut self, signal: Sent) -> Result<(), Self::Error> {
        self.send_later();
        self.thread().pending.push_front(signal);
        Ok(())
    }

    fn go(&mut self, how: Resume<Sent>) -> Result<(), Self::Error> {
        let thread = self.thread();
        thread.step = matches!(how, Resume::Step | Resume::StepOn);
        match how {
            Resume::Deliver(sent) => thread.enter(sent),
            Resume::DeliverStep(sent) => {
                thread.enter(sent);
                thread.stopped = Some(Stop::Handler);
            }
            _ => thread.restart(),
        }
        Ok(())
    }

    fn deliver(&mut self, signal: Sent) -> Result<(), Self::Error> {
        let (pc, sp) = (self.thread().regs.pc(), self.thread().regs.sp());
        self.thread().again.interrupted(pc, sp);
        self.go(Resume::Deliver(signal))
    }

    fn deliver_fault(&mut self, fault: Fault) -> Result<(), Self::Error> {
        self.go(Resume::Deliver(Sent { number: 0, fault: true, about: fault.at.0 }))
    }

    fn deliver_held(&mut self, held: Option<Sent>) -> Result<(), Self::Error> {
        let Some(held) = held else { return self.go(Resume::FromTrap) };
        self.send_later();
        self.deliver(held)
    }
}
