//! A target that a test scripts: threads that execute x86-64 code, signals that come between any two
//! instructions, and a tracer that does nothing but what the engine says.
//!
//! Time is counted in turns. In a turn one thread executes one instruction, runs a handler to its end,
//! or is dealt with by the tracer. Between the stop of a thread and the tracer's answer other threads
//! have turns, and things happen that the test has planned.

mod cpu;
mod thread;

pub(super) use thread::{AtFake, Sent, Stop, Thread};

use super::{
    Counter, Doing, NONE, Site, SlotRef, StoppedThread as _, Table, Trap, after_step, behind_copy,
    choose, correct_frame, hash_slots, index_insert, run_displaced, signal_in_slot, take_out,
    whose, write_slot,
};
use super::{Resume, SLOT_SIZE, SiteId, Wish};
use std::collections::BTreeMap;
use xol_arch::x86_64::{Registers, X86_64};
use xol_arch::{Addr, Arch as _, Regs as _, Strategy, Text};

/// Where the program is.
pub(super) const TEXT: u64 = 0x1000;
/// Where slots are.
pub(super) const SLOTS: u64 = 0x2000;
/// Where each thread has a word; its page is mapped by the handler of the fault that it has there.
const WORDS: u64 = 0x5000;
/// Where each thread has a stack.
const STACKS: u64 = 0x8000;

/// The program of each thread.
///
/// ```text
/// 1000  ff c0           inc eax
/// 1002  ff 03           inc dword [rbx]     faults the first time
/// 1004  0f 05           syscall             ends early for a signal, and is made again
/// 1006  e8 05 00 00 00  call 1010
/// 100b  50              push rax
/// 100c  59              pop rcx
/// 100d  90              nop
/// 100e  90              nop
/// 100f  f4              hlt                 the end
/// 1010  ff c0           inc eax
/// 1012  c3              ret
/// ```
pub(super) const PROGRAM: [u8; 19] = [
    0xff, 0xc0, 0xff, 0x03, 0x0f, 0x05, 0xe8, 5, 0, 0, 0, 0x50, 0x59, 0x90, 0x90, 0xf4, 0xff, 0xc0,
    0xc3,
];
/// Where its instructions are, but for the last.
pub(super) const INSTRUCTIONS: [u64; 10] =
    [0x1000, 0x1002, 0x1004, 0x1006, 0x100b, 0x100c, 0x100d, 0x100e, 0x1010, 0x1012];
pub(super) const SYSCALL: u64 = 0x1004;
pub(super) const END: u64 = 0x100f;

/// What a test has planned for a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Planned {
    /// A signal is sent to a thread.
    Signal(usize),
    /// The tracer leaves.
    Leave,
}

/// What of a thread's state its program could see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) pc: u64,
    rax: u64,
    rcx: u64,
    rsp: u64,
    top: u64,
    word: u64,
    calls: u64,
}

impl Seen {
    /// Returns the state with the addresses of the first thread's stack.
    pub(super) fn of_first_thread(mut self, n: usize) -> Seen {
        self.rsp -= 0x1000 * n as u64;
        self
    }
}

/// The target, and its tracer.
pub(super) struct Fake {
    text: Vec<u8>,
    slots: Vec<u8>,
    /// Whether slots are unmapped.
    unmapped: bool,
    sites: Vec<Site<X86_64>>,
    index: Vec<u32>,
    counters: Vec<Counter>,
    clock: u64,
    pub(super) threads: Vec<Thread>,
    leaving: bool,
    /// Slots that may be given to sites, for all of them.
    places: Vec<u64>,
}

impl Fake {
    /// Makes a target with some threads and traps at some instructions, with slots for `slots` of them.
    pub(super) fn new(threads: usize, sites: &[u64], strategy: Strategy, slots: usize) -> Fake {
        let mut fake = Fake {
            text: PROGRAM.to_vec(),
            slots: vec![0; 16 * SLOT_SIZE as usize],
            unmapped: false,
            sites: Vec::new(),
            index: vec![NONE; hash_slots(sites.len())],
            counters: vec![Counter::default(); sites.len()],
            clock: 0,
            threads: (0..threads).map(|n| Thread::new(STACKS + 0x1000 * n as u64, n)).collect(),
            leaving: false,
            places: (0..slots as u64).map(|n| SLOTS + n * SLOT_SIZE).collect(),
        };
        for &at in sites {
            let text = Text::new(Addr(TEXT), &PROGRAM);
            let plan = X86_64::plan(&text, Addr(at), xol_arch::Rules::default()).unwrap();
            let strategy = choose(Wish::Only(strategy), plan.strategies()).unwrap();
            let number = SiteId(fake.sites.len() as u32);
            fake.sites.push(Site {
                addr: Addr(at),
                plan,
                strategy,
                fixup: Default::default(),
                slot: None,
                original: [PROGRAM[(at - TEXT) as usize], 0, 0, 0],
                guarded: false,
                armed: true,
                hits: 0,
                last_hit: 0,
                first: NONE,
            });
            index_insert(&mut fake.index, Addr(at), number);
            if let Some(to) = fake.free_place() {
                fake.fill(number, to);
            }
            fake.text[(at - TEXT) as usize] = 0xcc;
        }
        fake
    }

    fn free_place(&self) -> Option<u64> {
        let used = |at: &&u64| self.sites.iter().any(|s| s.slot.is_some_and(|s| s.at.0 == **at));
        self.places.iter().find(|at| !used(at)).copied()
    }

    /// Writes a site's slot.
    fn fill(&mut self, site: SiteId, to: u64) {
        let site = &mut self.sites[site.index()];
        let text = Text::new(Addr(TEXT), &PROGRAM);
        let made =
            write_slot::<X86_64>(&text, site.addr, &site.plan, site.strategy, Addr(to)).unwrap();
        (site.slot, site.fixup) = (Some(made.slot), made.fixup);
        let from = (to - SLOTS) as usize;
        self.slots[from..from + SLOT_SIZE as usize].fill(0);
        self.slots[from..from + made.code.len()].copy_from_slice(&made.code);
    }

    /// Gives a site a slot that another has, if nobody is in it.
    fn steal(&mut self, site: SiteId) -> Option<Addr> {
        let busy = |slot: &SlotRef, thread: &Thread| {
            thread.slot == Some(slot.at) || slot.has(Addr(thread.regs.rip))
        };
        let idle = |site: &&mut Site<X86_64>| {
            site.slot.is_some_and(|slot| !self.threads.iter().any(|t| busy(&slot, t)))
        };
        let victim = self.sites.iter_mut().find(idle)?;
        let to = victim.slot.take()?.at;
        self.fill(site, to.0);
        Some(to)
    }

    /// Returns how often each site was hit.
    pub(super) fn hits(&self) -> BTreeMap<u64, u64> {
        self.sites.iter().map(|site| (site.addr.0, site.hits)).collect()
    }

    /// Runs until all threads have ended. `order` says which thread has each turn.
    pub(super) fn run(&mut self, planned: &[(usize, Planned)], order: &dyn Fn(usize) -> usize) {
        for turn in 0..4000 {
            for (_, what) in planned.iter().filter(|(at, _)| *at == turn) {
                match *what {
                    Planned::Signal(thread) => self.threads[thread].send(),
                    Planned::Leave => self.leave(),
                }
            }
            let count = self.threads.len();
            let first = order(turn) % count;
            let next = (0..count).map(|n| (first + n) % count);
            let Some(thread) = next.into_iter().find(|&n| !self.threads[n].ended) else { return };
            self.turn(thread);
        }
        panic!("a thread gets no further: {:#?}", self.threads);
    }

    fn turn(&mut self, n: usize) {
        match self.threads[n].stopped.take() {
            Some(stop) => self.answer(n, stop),
            None => self.threads[n].stopped = self.advance(n),
        }
        if self.leaving && self.threads.iter().all(|t| t.out || t.ended) {
            self.unmapped = true;
        }
    }

    /// Takes every trap away.
    fn leave(&mut self) {
        self.leaving = true;
        for site in &mut self.sites {
            self.text[(site.addr.0 - TEXT) as usize] = site.original[0];
            site.armed = false;
        }
        for thread in &mut self.threads {
            thread.interrupted = true;
        }
    }

    /// What the tracer does about a stop.
    fn answer(&mut self, n: usize, stop: Stop) {
        let mut at = AtFake { fake: self, n };
        match stop {
            Stop::Trap => {
                let pc = Addr(at.thread().regs.rip - 1);
                match whose(&mut at, pc).unwrap() {
                    Trap::Site(site) => {
                        let sp = at.thread().regs.sp();
                        if !at.thread().again.take(pc, sp) {
                            at.fake.count(site);
                        }
                        run_displaced(&mut at, site).unwrap();
                    }
                    Trap::Ours => behind_copy(&mut at, pc).unwrap(),
                    Trap::Gone => {
                        at.set_pc(pc).unwrap();
                        at.go(Resume::FromTrap).unwrap();
                    }
                    other => panic!("{other:?}"),
                }
            }
            Stop::Step => assert!(after_step(&mut at).unwrap(), "{:?}", at.thread()),
            Stop::Handler => {
                let Doing::Call { site } = at.doing() else { panic!("{:?}", at.thread()) };
                at.does(Doing::Own);
                correct_frame(&mut at, site).unwrap();
            }
            Stop::Signal(sent) => at.signalled(sent),
            Stop::Interrupt => {
                let out = take_out(&mut at).unwrap();
                let step = at.doing().is_stepped();
                let thread = at.thread();
                if out {
                    // The kernel delivers it once more.
                    let held = thread.held.take();
                    held.into_iter().for_each(|sent| thread.pending.push_front(sent));
                }
                (thread.out, thread.interrupted, thread.ran) = (out, !out, false);
                at.go(if step && !out { Resume::StepOn } else { Resume::On }).unwrap();
            }
        }
    }

    fn count(&mut self, site: SiteId) {
        let mut table = Table {
            sites: &mut self.sites,
            index: &self.index,
            links: &[],
            counters: &mut self.counters,
            clock: &mut self.clock,
        };
        table.count(site);
    }

    /// Returns what a thread's program can see when its registers are these.
    fn seen(&self, n: usize, regs: &Registers) -> Seen {
        let thread = &self.threads[n];
        Seen {
            pc: regs.rip,
            rax: regs.rax,
            // A system call overwrites it, also one that is made again.
            rcx: if regs.rip == SYSCALL { 0 } else { regs.rcx },
            rsp: regs.rsp,
            top: thread.top(regs.rsp),
            word: thread.word,
            calls: thread.calls,
        }
    }
}

impl AtFake<'_> {
    /// A signal has come to the thread.
    fn signalled(&mut self, sent: Sent) {
        if let Doing::Call { .. } = self.doing() {
            self.does(Doing::Own);
        }
        let pc = Addr(self.thread().regs.rip);
        let found = self.with_slot(pc);
        if found.is_some() && !sent.fault && self.thread().held.is_some() {
            // It waits behind the one that is held.
            self.thread().later.push_back(sent);
            let step = self.doing().is_stepped();
            return self.go(if step { Resume::StepOn } else { Resume::On }).unwrap();
        }
        match found.and_then(|(site, _, slot)| Some((site, slot.part(pc)?))) {
            Some((site, part)) => {
                let calls = self.fake.sites[site.index()].addr.0 == SYSCALL;
                signal_in_slot(self, site, part, calls, sent).unwrap();
            }
            None => self.deliver(sent).unwrap(),
        }
    }
}
