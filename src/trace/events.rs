//! Arguments read from a stopped thread, events told to the sink, counts reported.

use super::consumer::{Row, RowState};
use super::frames::Entry;
use super::names::Who;
use super::session::Session;
use super::windows::{LIMITED_HITS, NOT_ONLY_COUNTED, Why};
use super::{Counted, Outcome, Report};
use crate::engine::Wish;
use crate::spec::{Seen, Signature, Spec, Type};
use std::collections::BTreeSet;
use std::io;
use xol_arch::{Addr, Regs as _, Strategy};
use xol_targets::ptrace::{Pid, Stopped, Tid, own};

/// The longest string that is read.
const STRING_MAX: usize = 256;

/// One argument or return value, read.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The bits, to be written as their type says.
    Bits(u64),
    /// A string, cut at 256 bytes (`true`: there is more).
    Text(Vec<u8>, bool),
    /// The address of a string that could not be read.
    Bad(u64),
}

/// One hit.
#[derive(Debug)]
pub struct HitEvent<'a> {
    /// CLOCK_MONOTONIC, in nanoseconds.
    pub ts_ns: u64,
    /// The process.
    pub pid: Pid,
    /// The thread.
    pub tid: Tid,
    /// What was hit.
    pub row: &'a Row,
    /// The address in memory: of the instruction; at a return, of the one it goes back to.
    pub addr: Addr,
    /// The types of arguments and return value, if known.
    pub signature: Option<&'a Signature>,
    /// The arguments, as many as the signature names.
    pub args: &'a [Value],
    /// The return value, at a return.
    pub ret: Option<Value>,
    /// From entry to return, at a return.
    pub duration_ns: Option<u64>,
}

impl Session<'_> {
    pub(super) fn entry_event(&mut self, tid: Tid, row: u32, at: Addr) -> io::Result<()> {
        // With the return value asked for, one line says both: at the return.
        if self.probe_of(row).when.ret() {
            return Ok(());
        }
        let args = self.read_args(tid, row)?;
        let Some(pid) = self.target.thread(tid).map(|t| t.pid) else { return Ok(()) };
        self.tell_sink((pid, tid), row, at, own::now_ns(), &args, None);
        Ok(())
    }

    pub(super) fn return_event(
        &mut self,
        tid: Tid,
        row: u32,
        entry: &Entry,
        value: u64,
        back: Addr,
    ) -> io::Result<()> {
        let now = own::now_ns();
        let ty = self.rows[row as usize].signature.as_ref().and_then(|s| s.ret);
        let ty = Some(ty.unwrap_or(Type::Hex));
        let ret = match ty {
            Some(Type::Str) => read_string(&mut self.target.stopped(tid)?, value),
            Some(ty) if ty.is_float() => {
                Value::Bits(xol_targets::native::float(tid, 0).unwrap_or(value))
            }
            _ => Value::Bits(value),
        };
        let duration = now.saturating_sub(entry.ts_ns);
        let Some(pid) = self.target.thread(tid).map(|t| t.pid) else { return Ok(()) };
        self.tell_sink((pid, tid), row, back, now, &entry.args, Some((ret, duration)));
        Ok(())
    }

    /// Passes a hit on, unless there were enough.
    pub(super) fn tell_sink(
        &mut self,
        (pid, tid): Who,
        row: u32,
        addr: Addr,
        ts_ns: u64,
        args: &[Value],
        returned: Option<(Value, u64)>,
    ) {
        if self.options.max_events.is_some_and(|max| self.events >= max) {
            return;
        }
        let row = &self.rows[row as usize];
        let addr = Addr(addr.0 - row.behind);
        let (ret, duration_ns) = returned.unzip();
        self.sink.hit(&HitEvent {
            ts_ns,
            pid,
            tid,
            row,
            addr,
            signature: row.signature.as_deref(),
            args,
            ret,
            duration_ns,
        });
        self.events += 1;
    }

    /// Whether a thread that is at a function's entry passes the filter.
    pub(super) fn passes(&mut self, tid: Tid, row: u32) -> io::Result<bool> {
        let Some(condition) = self.rows[row as usize].condition.clone() else { return Ok(true) };
        let args = self.read_args(tid, row)?;
        Ok(condition.holds(&|n| match args.get(n) {
            Some(Value::Text(text, _)) => Seen::Text(text),
            Some(&Value::Bits(bits) | &Value::Bad(bits)) => Seen::Bits(bits),
            None => Seen::Bits(0),
        }))
    }

    /// The probe of a row.
    pub(super) fn probe_of(&self, row: u32) -> &Spec {
        &self.options.probes[self.rows[row as usize].probe]
    }

    /// The arguments that a row's signature names.
    pub(super) fn read_args(&mut self, tid: Tid, row: u32) -> io::Result<Vec<Value>> {
        if self.rows[row as usize].offset != 0 {
            return Ok(Vec::new());
        }
        let Some(signature) = self.rows[row as usize].signature.clone() else {
            return Ok(Vec::new());
        };
        let mut machine = self.target.stopped(tid)?;
        let regs = *machine.seen();
        let (mut integers, mut floats) = (0, 0);
        let mut values = Vec::with_capacity(signature.args.len());
        for arg in &signature.args {
            if arg.ty.is_float() {
                values.push(Value::Bits(xol_targets::native::float(tid, floats).unwrap_or(0)));
                floats += 1;
                continue;
            }
            let bits = match regs.arg(integers) {
                Some(bits) => bits,
                None => xol_targets::native::stack_arg(&mut machine, integers).unwrap_or(0),
            };
            integers += 1;
            values.push(match arg.ty {
                Type::Str => read_string(&mut machine, bits),
                _ => Value::Bits(bits),
            });
        }
        Ok(values)
    }

    /// The counts now.
    pub(super) fn report(&mut self) -> Report {
        self.read_tallies();
        let drained = if self.options.events { self.drain(None) } else { self.drain_all() };
        if let Err(error) = drained {
            self.note(format!("the last events: {error}"));
        }
        let rows = self.rows.iter().map(|row| {
            let counter = self.counters[row.consumer as usize];
            let (hits, missed) = (counter.hits, counter.missed);
            Counted { row: row.clone(), hits, missed, why_not_jump: self.why_not_jump(row) }
        });
        let found: BTreeSet<usize> = self.rows.iter().map(|r| r.probe).collect();
        let absent = (0..self.options.probes.len()).filter(|p| !found.contains(p));
        let absent = absent.map(|probe| self.unknown(probe)).collect();
        Report {
            rows: rows.collect(),
            absent,
            stolen: self.stolen,
            unread: self.rings.missed(),
            no_slots: self.spaces.values().find_map(|s| s.no_slots.clone()),
        }
    }

    fn why_not_jump(&self, row: &Row) -> Option<Why> {
        match (row.state, self.options.wish) {
            (RowState::Waiting | RowState::Rejected(_) | RowState::Armed(Strategy::Jump), _) => {
                None
            }
            (_, Wish::Only(wish)) if wish != Strategy::Jump => Some(crate::report::NOT_ASKED_FOR),
            (_, Wish::Auto) if self.options.events || row.is_return => Some(NOT_ONLY_COUNTED),
            _ if self.options.hits_per_site.is_some() => Some(LIMITED_HITS),
            _ => row.no_jump.or(Some("few-hits")),
        }
    }

    pub(super) fn outcome(&mut self, signal: Option<i32>) -> Outcome {
        let running = self.root.filter(|_| self.root_status.is_none());
        Outcome { report: self.report(), status: self.root_status, running, signal }
    }

    /// Records what became of wants that were armed outside of a refresh.
    pub(super) fn note_states(
        &mut self,
        space: xol_targets::ptrace::SpaceId,
        wants: &[super::arm::Want],
        armed: &[super::arm::Armed],
    ) {
        for (want, result) in wants.iter().zip(armed) {
            let state = match result {
                Ok(site) => RowState::Armed(self.sites_mut(space).strategy(*site)),
                Err(reject) => RowState::Rejected(*reject),
            };
            self.set_state(want.consumer, state);
            let why = self.sites_mut(space).jumps.refusals.get(&want.addr.0).copied();
            self.set_no_jump(want.consumer, why);
        }
    }
}

fn read_string(machine: &mut Stopped<'_>, at: u64) -> Value {
    if at == 0 {
        return Value::Bits(0);
    }
    let mut text = Vec::new();
    while text.len() < STRING_MAX {
        // Never over the end of a page that the string may end in.
        let from = at + text.len() as u64;
        let room = (4096 - from % 4096).min((STRING_MAX - text.len()) as u64) as usize;
        let mut piece = [0; STRING_MAX];
        if machine.read_data(Addr(from), &mut piece[..room]).is_err() {
            return if text.is_empty() { Value::Bad(at) } else { Value::Text(text, true) };
        }
        match piece[..room].iter().position(|&b| b == 0) {
            Some(end) => {
                text.extend_from_slice(&piece[..end]);
                return Value::Text(text, false);
            }
            None => text.extend_from_slice(&piece[..room]),
        }
    }
    Value::Text(text, true)
}
