//! Return probes. The return address is never touched: a site stands at it, and a return is one
//! that comes to it with the stack pointer the call had promised (RULES H).

use super::consumer::{Consumer, Resolver};
use super::session::Session;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use xol_arch::{Addr, Regs as _};
use xol_targets::native;
use xol_targets::ptrace::{SpaceId, Tid, own};

/// Frames that are waited for at most, in all.
const MOST: usize = 1 << 20;

/// What a return is waited for.
#[derive(Clone, Debug)]
pub(super) enum Expect {
    /// This row counts it.
    Row(u32, Entry),
    /// It says what an IFUNC stands for.
    Resolver(Rc<Resolver>),
}

/// What is kept of the entry until the return.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) ts_ns: u64,
    pub(super) args: Vec<super::Value>,
}

/// The calls that have not returned: by return address and stack pointer behind the return.
#[derive(Debug, Default)]
pub(super) struct Frames {
    waiting: HashMap<(SpaceId, Addr, Addr), Vec<Expect>>,
    count: usize,
}

impl Frames {
    fn add(&mut self, key: (SpaceId, Addr, Addr), expect: Expect) -> bool {
        if self.count >= MOST {
            return false;
        }
        let all = self.waiting.entry(key).or_default();
        if let Expect::Row(row, _) = &expect
            && let Some(i) = all.iter().position(|e| matches!(e, Expect::Row(r, _) if r == row))
        {
            // The same frame again: the call before it never returned (longjmp, unwinding).
            all.remove(i);
            self.count -= 1;
        }
        all.push(expect);
        self.count += 1;
        true
    }

    fn take(&mut self, key: (SpaceId, Addr, Addr)) -> Vec<Expect> {
        let all = self.waiting.remove(&key).unwrap_or_default();
        self.count -= all.len();
        all
    }

    pub(super) fn forget_space(&mut self, space: SpaceId) {
        self.waiting.retain(|key, _| key.0 != space);
        self.count = self.waiting.values().map(Vec::len).sum();
    }

    pub(super) fn fork_space(&mut self, from: SpaceId, to: SpaceId) {
        let copies: Vec<_> = self
            .waiting
            .iter()
            .filter(|(key, _)| key.0 == from)
            .map(|(key, all)| ((to, key.1, key.2), all.clone()))
            .collect();
        self.waiting.extend(copies);
        self.count = self.waiting.values().map(Vec::len).sum();
    }
}

impl Session<'_> {
    /// A function whose return is of interest was entered.
    pub(super) fn entered(
        &mut self,
        tid: Tid,
        space: SpaceId,
        row: u32,
        at: Addr,
    ) -> io::Result<()> {
        let args = if self.options.events { self.read_args(tid, row)? } else { Vec::new() };
        let entry = Entry { ts_ns: own::now_ns(), args };
        // The site's own count was for the entry; the row counts returns.
        let consumer = self.rows[row as usize].consumer as usize;
        self.counters[consumer].hits -= 1;
        self.expect_return(tid, space, at, Expect::Row(row, entry))
    }

    /// Has a site at the return address of the call that has just been made.
    pub(super) fn expect_return(
        &mut self,
        tid: Tid,
        space: SpaceId,
        at: Addr,
        expect: Expect,
    ) -> io::Result<()> {
        let mut machine = self.target.stopped(tid)?;
        let missed = match &expect {
            Expect::Row(row, _) => Some(self.rows[*row as usize].consumer as usize),
            Expect::Resolver(_) => None,
        };
        let frame = native::caller(&mut machine);
        let Some((back, sp)) = frame else {
            return Ok(());
        };
        let mut armed = match self.sites_mut(space).find(back) {
            Some(site) => {
                let consumer = self.internal(Consumer::Returned);
                let sites = self.sites_mut(space);
                sites.link(site, consumer);
                sites.sites[site as usize].armed
            }
            None => false,
        };
        if !armed {
            self.target.stopped(tid)?.rewind(at);
            let consumer = self.internal(Consumer::Returned);
            if let Some(want) = self.want_in_memory(space, back, consumer) {
                let results = self.arm(space, Some(tid), &[want])?;
                armed = matches!(results.first(), Some(Ok(_)));
            }
        }
        if !(armed && self.frames.add((space, back, sp), expect))
            && let Some(missed) = missed
        {
            self.counters[missed].missed += 1;
        }
        Ok(())
    }

    /// A thread came to a return address.
    pub(super) fn returned(&mut self, tid: Tid, space: SpaceId, at: Addr) -> io::Result<()> {
        let regs = self.target.regs(tid)?;
        for expect in self.frames.take((space, at, regs.sp())) {
            match expect {
                Expect::Row(row, entry) => {
                    let consumer = self.rows[row as usize].consumer as usize;
                    self.counters[consumer].hits += 1;
                    if self.options.events {
                        self.return_event(tid, row, &entry, regs.ret())?;
                    }
                }
                Expect::Resolver(resolver) => {
                    self.target.stopped(tid)?.rewind(at);
                    self.resolver_returned(tid, space, &resolver, Addr(regs.ret()))?;
                }
            }
        }
        Ok(())
    }
}
