//! One event: what the target tells, passed to the room that deals with it.

use crate::report::End;
use crate::trace::session::Session;
use std::io;
use std::time::Duration;
use xol_targets::ptrace::{Event, Pid, SpaceId, Tid};

impl Session<'_> {
    /// Deals with one event; the thread goes on.
    pub(in crate::trace) fn handle(&mut self, event: Event) -> io::Result<()> {
        // What was noted down before comes first.
        match event {
            Event::Trap(tid)
            | Event::Signal(tid, _)
            | Event::Stepped(tid)
            | Event::Forked { parent: tid, .. }
                // In the middle of a record there is no waiting for it: by then the next signal of a
                // timer would be there, and the next instruction never made.
                if !self.doing(tid).is_trampoline() =>
            {
                self.drain(Some(tid))?;
            }
            _ => {}
        }
        self.deal_with(event)?;
        match event {
            Event::Signal(tid, _) | Event::Stepped(tid) if cfg!(feature = "jump") => {
                self.see_through(tid)
            }
            _ => Ok(()),
        }
    }

    /// Lets a thread that is in the middle of a record execute its few instructions now: if others were
    /// served between, the next signal of a fast timer would be there before each of them.
    pub(in crate::trace) fn see_through(&mut self, tid: Tid) -> io::Result<()> {
        const STEPS: u32 = 256;
        const MOMENT: Duration = Duration::from_millis(2);
        for _ in 0..STEPS {
            if !self.doing(tid).is_trampoline() {
                break;
            }
            let Some(event) = self.target.await_event(tid, MOMENT)? else { break };
            self.deal_with(event)?;
        }
        Ok(())
    }

    pub(in crate::trace) fn deal_with(&mut self, event: Event) -> io::Result<()> {
        // Its stop stays with the kernel until the thread goes on: it must not be taken for a new one by
        // what lets other threads of the process come first.
        let shadowed = self.shadowed.take();
        self.dealing.extend(event.stopped());
        let dealt = self.pass_on(event);
        if event.stopped().is_some() {
            self.dealing.pop();
        }
        self.shadowed = shadowed;
        dealt
    }

    /// Passes an event to the room that deals with it.
    fn pass_on(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::Trap(tid) => self.on_trap(tid),
            Event::Stepped(tid) => self.on_step(tid),
            Event::Signal(tid, info) => self.on_signal(tid, info),
            Event::Forked { parent, child } => self.on_fork(parent, child),
            Event::Started(tid) => self.on_start(tid),
            Event::Exec(tid, old, former) => self.on_exec(tid, old, former),
            Event::Returned(tid) => self.on_return(tid),
            Event::Gone(tid, pid) => {
                self.states.remove(&tid);
                if self.options.events {
                    self.drain_gone((pid, tid))?;
                    self.teller.end_thread((pid, tid));
                }
                self.unname_thread(pid, tid);
                self.put_traps_back(tid)
            }
            Event::Ended(pid, status) => {
                self.states.remove(&Tid(pid.0));
                self.unname_thread(pid, Tid(pid.0));
                if Some(pid) == self.root {
                    self.root_status = Some(status);
                }
                let space = self.target.process(pid).map(|p| p.space);
                self.vforks.forget(pid);
                self.target.forget(pid);
                match space {
                    Some(space) if self.target.space(space).is_some() => {
                        self.end_process(pid, space, End::Exit)?;
                    }
                    _ => self.forget_unused(space),
                }
                Ok(())
            }
            Event::Tick => {
                let count = self.drain(None)?;
                self.pace(count)
            }
        }
    }

    pub(in crate::trace) fn forget_unused(&mut self, space: Option<SpaceId>) {
        if let Some(space) = space
            && self.target.space(space).is_none()
        {
            self.finish_rings(space);
            self.teller.end_space(space);
            self.keep_heat(space);
            self.spaces.remove(&space);
            self.teller.rows.read_tallies();
        }
    }

    /// Tells what a process has recorded that is gone, or runs another program, and ends its calls.
    pub(in crate::trace) fn end_process(
        &mut self,
        pid: Pid,
        space: SpaceId,
        end: End,
    ) -> io::Result<()> {
        if self.options.events {
            self.drain_all()?;
            self.teller.end_calls_of(pid, space, end);
        }
        Ok(())
    }
}
