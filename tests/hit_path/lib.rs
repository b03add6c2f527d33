//! The path of a hit, linked with an allocator and a panic handler that call functions which do
//! not exist: if this links (with `-z defs`), nothing on the path allocates or panics.
#![no_std]

extern crate alloc;

use core::alloc::{GlobalAlloc, Layout};
use xol::engine::{
    Counter, Doing, Link, Resume, SLOT_SIZE, Signal, Site, SiteId, SlotRef, StoppedThread, Table, Trap,
    Traps, after_step, behind_copy, correct_frame, run_displaced, signal_in_slot, take_out, whose,
};
use xol_arch::{Addr, Arch, Fault, Machine, Memory, Regs as _, arm64::Arm64, x86_64::X86_64};

unsafe extern "C" {
    fn the_path_of_a_hit_allocates() -> !;
    fn the_path_of_a_hit_panics() -> !;
}

struct Nowhere;

// SAFETY: it hands out nothing.
unsafe impl GlobalAlloc for Nowhere {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        // SAFETY: never linked.
        unsafe { the_path_of_a_hit_allocates() }
    }
    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {
        // SAFETY: never linked.
        unsafe { the_path_of_a_hit_allocates() }
    }
}

#[global_allocator]
static NOWHERE: Nowhere = Nowhere;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: never linked.
    unsafe { the_path_of_a_hit_panics() }
}

/// A thread's registers, and memory behind two functions, as a signal handler would have them.
#[repr(C)]
pub struct Thread<R> {
    regs: R,
    read: extern "C" fn(u64, *mut u8, usize) -> bool,
    write: extern "C" fn(u64, *const u8, usize) -> bool,
    vector: extern "C" fn(u8, u64, u64) -> bool,
}

impl<R> Memory for Thread<R> {
    fn read(&mut self, at: Addr, to: &mut [u8]) -> Result<(), Fault> {
        let done = (self.read)(at.0, to.as_mut_ptr(), to.len());
        if done { Ok(()) } else { Err(Fault { at, write: false }) }
    }
    fn write(&mut self, at: Addr, from: &[u8]) -> Result<(), Fault> {
        let done = (self.write)(at.0, from.as_ptr(), from.len());
        if done { Ok(()) } else { Err(Fault { at, write: true }) }
    }
}

impl<A: Arch> Machine<A> for Thread<A::Regs> {
    fn regs(&mut self) -> &mut A::Regs {
        &mut self.regs
    }
    fn set_vector(&mut self, n: u8, value: u128) -> Result<(), Fault> {
        let done = (self.vector)(n, value as u64, (value >> 64) as u64);
        if done { Ok(()) } else { Err(Fault { at: Addr(0), write: true }) }
    }
}

/// The slices a target lends at registration.
#[repr(C)]
pub struct Lent<A: Arch> {
    sites: *mut Site<A>,
    site_count: usize,
    index: *const u32,
    index_count: usize,
    links: *const Link,
    link_count: usize,
    counters: *mut Counter,
    counter_count: usize,
    clock: u64,
}

/// A thread in a handler of SIGTRAP or of a signal that found it in a slot.
pub struct InHandler<'t, A: Arch> {
    table: Table<'t, A>,
    /// Which site has which slot, by slot.
    slots: &'t [u32],
    base: Addr,
    thread: &'t mut Thread<A::Regs>,
    doing: Doing,
    before: A::Regs,
    slot: Option<Addr>,
    held: Option<Sent>,
    resumed: u64,
}

/// A signal.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Sent {
    number: i32,
    fault: bool,
    at: Addr,
}

impl Signal for Sent {
    fn is_fault(&self) -> bool {
        self.fault
    }
    fn readdress(&mut self, from: Addr, to: Addr) {
        if self.at == from {
            self.at = to;
        }
    }
}

/// Registers and memory, borrowed.
pub struct Borrowed<'m, R>(&'m mut Thread<R>);

impl<R> Memory for Borrowed<'_, R> {
    fn read(&mut self, at: Addr, to: &mut [u8]) -> Result<(), Fault> {
        self.0.read(at, to)
    }
    fn write(&mut self, at: Addr, from: &[u8]) -> Result<(), Fault> {
        self.0.write(at, from)
    }
}

impl<A: Arch> Machine<A> for Borrowed<'_, A::Regs> {
    fn regs(&mut self) -> &mut A::Regs {
        &mut self.0.regs
    }
    fn set_vector(&mut self, n: u8, value: u128) -> Result<(), Fault> {
        Machine::<A>::set_vector(self.0, n, value)
    }
}

impl<A: Arch> Traps for InHandler<'_, A> {
    type Error = ();
    fn site(&self, at: Addr) -> Option<SiteId> {
        self.table.find(at)
    }
    fn under_jump(&self, _: Addr) -> Option<Addr> {
        None
    }
    fn is_ours(&self, at: Addr) -> bool {
        at.0.wrapping_sub(self.base.0) < self.slots.len() as u64 * SLOT_SIZE
    }
    fn has_trap(&self, _: Addr) -> Option<bool> {
        Some(true)
    }
    fn follow_copied(&mut self, _: Addr) -> Result<bool, ()> {
        Ok(false)
    }
    fn was_left(&self, _: Addr) -> bool {
        false
    }
}

impl<A: Arch> StoppedThread<A> for InHandler<'_, A> {
    type Signal = Sent;
    type Machine<'m>
        = Borrowed<'m, A::Regs>
    where
        Self: 'm;

    fn doing(&self) -> Doing {
        self.doing
    }
    fn does(&mut self, doing: Doing) {
        self.doing = doing;
    }
    fn before(&self) -> A::Regs {
        self.before
    }
    fn keep(&mut self, before: A::Regs) {
        self.before = before;
    }
    fn in_slot(&mut self, slot: Option<Addr>) {
        self.slot = slot;
    }
    fn hold(&mut self, signal: Sent) {
        self.held = Some(signal);
    }
    fn take_held(&mut self) -> Option<Sent> {
        self.held.take()
    }
    fn numbered(&self, site: SiteId) -> Option<Site<A>> {
        self.table.sites.get(site.index()).copied()
    }
    fn with_slot(&self, pc: Addr) -> Option<(SiteId, Site<A>, SlotRef)> {
        let number = pc.0.wrapping_sub(self.base.0) / SLOT_SIZE;
        let site = SiteId(*self.slots.get(number as usize)?);
        let found = self.numbered(site)?;
        Some((site, found, found.slot?))
    }
    fn machine(&mut self) -> Result<Borrowed<'_, A::Regs>, ()> {
        Ok(Borrowed(self.thread))
    }
    fn regs(&mut self) -> Result<A::Regs, ()> {
        Ok(self.thread.regs)
    }
    fn set_pc(&mut self, pc: Addr) -> Result<(), ()> {
        self.thread.regs.set_pc(pc);
        Ok(())
    }
    fn simulate(&mut self, effect: A::Effect, at: Addr) -> Result<Result<(), Fault>, ()> {
        self.thread.regs.set_pc(at);
        Ok(A::simulate(effect, at, self.thread))
    }
    fn resume_sleep(&mut self) -> Result<(), ()> {
        Ok(())
    }
    fn find_slot(&mut self, _: SiteId) -> Result<Option<Addr>, ()> {
        Ok(None)
    }
    fn give_up(&mut self, site: SiteId) -> Result<(), ()> {
        if let Some(site) = self.table.sites.get_mut(site.index()) {
            site.armed = false;
        }
        Ok(())
    }
    fn set_gate(&mut self, slot: &SlotRef, trap: bool) -> Result<(), ()> {
        self.thread.write(slot.gate_at(), if trap { A::TRAP } else { A::NOP }).map_err(drop)
    }
    fn executes_again(&mut self, _: Addr, _: Addr, _: bool) -> Result<(), ()> {
        Ok(())
    }
    fn mark_done(&mut self, _: Addr) -> Result<(), ()> {
        Ok(())
    }
    fn mark_copied(&mut self) -> Result<(), ()> {
        Ok(())
    }
    fn may_restart(_: &A::Regs) -> bool {
        false
    }
    fn awaits_restart(_: &A::Regs) -> bool {
        false
    }
    fn saved(&mut self) -> Option<(Addr, Addr)> {
        Some((self.thread.regs.pc(), self.thread.regs.sp()))
    }
    fn set_saved(&mut self, pc: Addr, _: Addr) {
        self.thread.regs.set_pc(pc);
    }
    fn requeue(&mut self, signal: Sent) -> Result<(), ()> {
        self.held = Some(signal);
        Ok(())
    }
    fn go(&mut self, how: Resume<Sent>) -> Result<(), ()> {
        self.resumed = match how {
            Resume::Deliver(sent) | Resume::DeliverStep(sent) => sent.number as u64,
            Resume::Step | Resume::StepOn => 1 << 32,
            Resume::On | Resume::FromTrap => 0,
        };
        Ok(())
    }
    fn deliver(&mut self, signal: Sent) -> Result<(), ()> {
        self.go(Resume::Deliver(signal))
    }
    fn deliver_fault(&mut self, _: Fault) -> Result<(), ()> {
        Ok(())
    }
    fn deliver_held(&mut self, held: Option<Sent>) -> Result<(), ()> {
        self.go(held.map_or(Resume::FromTrap, Resume::Deliver))
    }
}

/// What happened, as a target tells it.
#[repr(C)]
pub struct Happened {
    at: Addr,
    stepped: bool,
    signal: Option<Sent>,
    slots: *const u32,
    slot_count: usize,
    base: Addr,
    slot: Option<Addr>,
    held: Option<Sent>,
    doing: Doing,
}

fn hit<A: Arch>(
    lent: &mut Lent<A>,
    happened: &Happened,
    before: &A::Regs,
    thread: &mut Thread<A::Regs>,
) -> u64 {
    // SAFETY: whoever lends them says so.
    let (table, slots) = unsafe {
        (
            Table {
                sites: core::slice::from_raw_parts_mut(lent.sites, lent.site_count),
                index: core::slice::from_raw_parts(lent.index, lent.index_count),
                links: core::slice::from_raw_parts(lent.links, lent.link_count),
                counters: core::slice::from_raw_parts_mut(lent.counters, lent.counter_count),
                clock: &mut lent.clock,
            },
            core::slice::from_raw_parts(happened.slots, happened.slot_count),
        )
    };
    let (base, slot, held, doing) = (happened.base, happened.slot, happened.held, happened.doing);
    let before = *before;
    let mut stopped =
        InHandler { table, slots, base, thread, doing, before, slot, held, resumed: 0 };
    let done = match (happened.signal, happened.stepped) {
        (Some(signal), _) => match (stopped.with_slot(happened.at), stopped.doing) {
            (_, Doing::Call { site }) => correct_frame(&mut stopped, site),
            (Some((site, _, slot)), _) => match slot.part(happened.at) {
                Some(part) => signal_in_slot(&mut stopped, site, part, happened.stepped, signal),
                None => take_out(&mut stopped).map(drop),
            },
            (None, _) => stopped.deliver(signal),
        },
        (None, true) => after_step(&mut stopped).map(drop),
        (None, false) => match whose(&mut stopped, happened.at) {
            Ok(Trap::Site(site)) => {
                stopped.table.count(site);
                #[cfg(feature = "planted-panic")]
                if stopped.table.sites[site.index() + 1].hits == 1 {
                    return 3;
                }
                #[cfg(feature = "planted-allocation")]
                if alloc::vec![site; site.index()].len() == 7 {
                    return 4;
                }
                run_displaced(&mut stopped, site)
            }
            Ok(Trap::Ours) => behind_copy(&mut stopped, happened.at),
            Ok(_) | Err(()) => Ok(()),
        },
    };
    done.map_or(u64::MAX, |()| stopped.resumed)
}

macro_rules! export {
    ($arch:ty, $hit:ident) => {
        /// A stop.
        #[unsafe(no_mangle)]
        pub extern "C" fn $hit(
            lent: &mut Lent<$arch>,
            happened: &Happened,
            before: &<$arch as Arch>::Regs,
            thread: &mut Thread<<$arch as Arch>::Regs>,
        ) -> u64 {
            hit(lent, happened, before, thread)
        }
    };
}

export!(X86_64, hit_x86_64);
export!(Arm64, hit_arm64);
