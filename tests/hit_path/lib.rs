//! The path of a hit, linked with an allocator and a panic handler that call functions which do
//! not exist: if this links (with `-z defs`), nothing on the path allocates or panics.
#![no_std]

extern crate alloc;

use core::alloc::{GlobalAlloc, Layout};
use xol::engine::{Counter, Link, Run, Site, Table};
use xol_arch::{Addr, Arch, Fault, Machine, Memory, arm64::Arm64, x86_64::X86_64};

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

fn hit<A: Arch>(lent: &mut Lent<A>, at: u64, thread: &mut Thread<A::Regs>) -> u64 {
    // SAFETY: whoever lends them says so.
    let mut table = unsafe {
        Table {
            sites: core::slice::from_raw_parts_mut(lent.sites, lent.site_count),
            index: core::slice::from_raw_parts(lent.index, lent.index_count),
            links: core::slice::from_raw_parts(lent.links, lent.link_count),
            counters: core::slice::from_raw_parts_mut(lent.counters, lent.counter_count),
            clock: &mut lent.clock,
        }
    };
    let Some(site) = table.find(Addr(at)) else { return 0 };
    table.count(site);
    #[cfg(feature = "planted-panic")]
    if table.sites[at as usize].hits == 1 {
        return 3;
    }
    #[cfg(feature = "planted-allocation")]
    if alloc::vec![at; at as usize].len() == 7 {
        return 4;
    }
    match table.run(site, thread) {
        Ok(Run::Done) => 1,
        Ok(Run::Slot(to)) => to.0,
        Ok(Run::NeedsSlot) => 2,
        Err(fault) => fault.at.0,
    }
}

fn done<A: Arch>(
    lent: &mut Lent<A>,
    site: u32,
    before: &A::Regs,
    thread: &mut Thread<A::Regs>,
) -> u64 {
    // SAFETY: whoever lends them says so.
    let table = unsafe {
        Table::<A> {
            sites: core::slice::from_raw_parts_mut(lent.sites, lent.site_count),
            index: &[],
            links: &[],
            counters: &mut [],
            clock: &mut lent.clock,
        }
    };
    table.step_done(site, before, thread).map_or_else(|fault| fault.at.0, |()| 0)
}

macro_rules! export {
    ($arch:ty, $hit:ident, $done:ident) => {
        /// A hit.
        #[unsafe(no_mangle)]
        pub extern "C" fn $hit(
            lent: &mut Lent<$arch>,
            at: u64,
            thread: &mut Thread<<$arch as Arch>::Regs>,
        ) -> u64 {
            hit(lent, at, thread)
        }
        /// The trap behind a copy.
        #[unsafe(no_mangle)]
        pub extern "C" fn $done(
            lent: &mut Lent<$arch>,
            site: u32,
            before: &<$arch as Arch>::Regs,
            thread: &mut Thread<<$arch as Arch>::Regs>,
        ) -> u64 {
            done(lent, site, before, thread)
        }
    };
}

export!(X86_64, hit_x86_64, done_x86_64);
export!(Arm64, hit_arm64, done_arm64);
