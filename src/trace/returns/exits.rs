//! Where a function is left: found when its return is probed, not at a hit.
//!
//! Its code is walked from the entry on along every direct branch. Where an indirect jump could
//! lead is not known, so with one of those everything else inside is decoded too. What does not
//! decode, or falls out at the end, leaves the exits unproven: the return address then stands in
//! for all of them.

use crate::WhyNotJump;
use crate::engine::ConsumerId;
use crate::engine::RowId;
use crate::symbols::Object;
use crate::trace::rows::consumer::Consumer;
use crate::trace::session::Session;
use crate::trace::space::exits::Inside;
use crate::trace::wanted::want::want_at;
use crate::trace::wanted::want::{Armed, Want};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use xol_arch::{Addr, Arch, Flow, Text};
use xol_targets::Native;
use xol_targets::ptrace::{SpaceId, Tid};

/// Longer code is not walked, in bytes.
const LONGEST: u64 = 256 << 10;
/// Pieces of code that one function may consist of.
const PIECES: usize = 16;

/// The ways out of one function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::trace) struct Exits {
    /// Its RETs.
    pub(in crate::trace) returns: Vec<u64>,
    /// Jumps out of it, and jumps that may be.
    pub(in crate::trace) leaves: Vec<u64>,
    /// Its first instruction, and where its code is.
    pub(in crate::trace) inside: Inside,
}

/// A stretch of code.
struct Piece {
    range: Range<u64>,
    bytes: Vec<u8>,
}

/// What the walk asks about code that it does not have.
pub(in crate::trace) trait Around {
    /// The rest of the function if a jump to `at` goes on in it: another part of it, or an end
    /// that it shares. `None` where another function begins.
    fn piece(&self, at: u64, conditional: bool) -> Option<Range<u64>>;
    /// The code in `range`.
    fn read(&mut self, range: &Range<u64>) -> Option<Vec<u8>>;
}

struct Walk<'a> {
    around: &'a mut dyn Around,
    pieces: Vec<Piece>,
    /// Instructions found: address and length.
    seen: BTreeMap<u64, u64>,
    todo: Vec<u64>,
    indirect: bool,
    exits: Exits,
}

/// The exits of the function at `entry`, whose code is `own`; `None` if they are not proven.
pub(in crate::trace) fn exits<A: Arch>(
    entry: u64,
    own: Range<u64>,
    around: &mut dyn Around,
) -> Option<Exits> {
    let mut walk = Walk {
        around,
        pieces: Vec::new(),
        seen: BTreeMap::new(),
        todo: vec![entry],
        indirect: false,
        exits: Exits { inside: Inside { entry, pieces: Vec::new() }, ..Exits::default() },
    };
    walk.add(own)?;
    loop {
        while let Some(at) = walk.todo.pop() {
            walk.straight::<A>(at, Flow::Next)?;
        }
        let Some(gap) = walk.gap() else { break };
        // What no branch leads to: the targets of a jump table, or padding.
        walk.straight::<A>(gap, Flow::Stop)?;
    }
    let mut exits = walk.exits;
    exits.inside.pieces = walk.pieces.into_iter().map(|piece| piece.range).collect();
    exits.returns.sort_unstable();
    exits.leaves.sort_unstable();
    Some(exits)
}

impl Walk<'_> {
    fn add(&mut self, range: Range<u64>) -> Option<()> {
        if range.end.saturating_sub(range.start) > LONGEST || self.pieces.len() == PIECES {
            return None;
        }
        let bytes = self.around.read(&range)?;
        self.pieces.push(Piece { range, bytes });
        Some(())
    }

    fn piece(&self, at: u64) -> Option<&Piece> {
        self.pieces.iter().find(|piece| piece.range.contains(&at))
    }

    /// Goes from `at` to where control does not come to the instruction behind. `last` is what
    /// is taken to be before it.
    fn straight<A: Arch>(&mut self, mut at: u64, mut last: Flow) -> Option<()> {
        while !self.seen.contains_key(&at) {
            let Some(piece) = self.piece(at) else {
                // Behind a call that does not return, and in padding, the end may come.
                return matches!(last, Flow::Call(_) | Flow::Stop).then_some(());
            };
            let text = Text::new(Addr(piece.range.start), &piece.bytes);
            let (flow, len) = A::flow(&text, Addr(at)).ok()?;
            self.seen.insert(at, len as u64);
            match flow {
                Flow::Nop => {}
                Flow::Next => last = flow,
                Flow::Call(to) => {
                    last = flow;
                    // A part of it that it calls may return for all of it.
                    let part = to.map(|to| to.0).filter(|&to| to != self.exits.inside.entry);
                    self.todo.extend(part.filter(|&to| self.piece(to).is_some()));
                }
                Flow::JumpIf(to) => {
                    last = flow;
                    self.branch(at, to.0, true);
                }
                Flow::Jump(to) => {
                    self.branch(at, to.0, false);
                    return Some(());
                }
                Flow::JumpIndirect => {
                    self.indirect = true;
                    self.exits.leaves.push(at);
                    return Some(());
                }
                Flow::Return => {
                    self.exits.returns.push(at);
                    return Some(());
                }
                Flow::Stop => return Some(()),
            }
            at += len as u64;
        }
        Some(())
    }

    fn branch(&mut self, at: u64, to: u64, conditional: bool) {
        let entry = self.exits.inside.entry;
        let inside = to != entry && (self.piece(to).is_some() || self.extend(to, conditional));
        if inside {
            self.todo.push(to);
        } else {
            self.exits.leaves.push(at);
        }
    }

    fn extend(&mut self, to: u64, conditional: bool) -> bool {
        let piece = self.around.piece(to, conditional);
        piece.is_some_and(|range| range.contains(&to) && self.add(range).is_some())
    }

    /// The first place that was not come to, if an indirect jump may lead there.
    fn gap(&self) -> Option<u64> {
        let pieces = self.pieces.iter().filter(|_| self.indirect);
        pieces.map(|piece| &piece.range).find_map(|range| {
            let mut at = range.start;
            while let Some(len) = self.seen.get(&at) {
                at += len;
            }
            (at < range.end).then_some(at)
        })
    }
}

/// Code in a target: places from the object, bytes from memory.
struct InTarget<'a, 'b> {
    session: &'a mut Session<'b>,
    space: SpaceId,
    object: &'a Object,
    bias: u64,
}

impl Around for InTarget<'_, '_> {
    fn piece(&self, at: u64, conditional: bool) -> Option<Range<u64>> {
        let vaddr = at.wrapping_sub(self.bias);
        let symbols = self.object.symbols().ok()?;
        let range = symbols.function_at(vaddr)?;
        let name = symbols.at(vaddr).map(|id| symbols.get(id).name);
        // A piece that its own name or nobody's says begins here: no compiler makes a conditional
        // branch to a function, and without a name only that tells.
        let part = match name {
            Some(name) => name.contains(".cold"),
            None => range.start != vaddr || conditional,
        };
        let up = |at: u64| at.wrapping_add(self.bias);
        part.then(|| up(range.start)..up(range.end))
    }

    fn read(&mut self, range: &Range<u64>) -> Option<Vec<u8>> {
        self.session.code(self.space, range)
    }
}

impl Session<'_> {
    /// The program's code in `range`, without our traps.
    fn code(&mut self, space: SpaceId, range: &Range<u64>) -> Option<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(range.end.checked_sub(range.start)?).ok()?];
        self.target.space(space)?.read(Addr(range.start), &mut bytes).ok()?;
        let sites = self.sites_mut(space);
        for i in 0..bytes.len().saturating_sub(Native::TRAP.len() - 1) {
            let here = &mut bytes[i..i + Native::TRAP.len()];
            if here == Native::TRAP
                && let Some(site) = sites.find(Addr(range.start + i as u64))
                && sites[site].armed
            {
                here.copy_from_slice(&sites[site].original[..here.len()]);
            }
        }
        sites.jumps.restore(range.start, &mut bytes);
        Some(bytes)
    }

    /// Arms all of `wants` and the exits of their functions, and says what became of them.
    pub(in crate::trace) fn arm_all(
        &mut self,
        space: SpaceId,
        tid: Option<Tid>,
        wants: &[Want],
    ) -> io::Result<Vec<Armed>> {
        let armed = self.arm(space, tid, wants)?;
        self.note_states(space, wants, &armed);
        self.arm_exits(space, tid, wants, &armed)?;
        Ok(armed)
    }

    /// Arms the exits of those functions among `wants` whose returns are of interest. Those for
    /// which that fails are left to the return address.
    fn arm_exits(
        &mut self,
        space: SpaceId,
        tid: Option<Tid>,
        wants: &[Want],
        armed: &[Armed],
    ) -> io::Result<()> {
        let mut all: Vec<Want> = Vec::new();
        let mut functions = Vec::new();
        let sites = self.sites_mut(space).sites.len();
        let mut room = self.options.max_sites.saturating_sub(sites);
        for (want, _) in wants.iter().zip(armed).filter(|(_, armed)| armed.is_ok()) {
            let Consumer::Entered(row) = self.teller.rows[want.consumer] else { continue };
            self.sites_mut(space).exits.proven.remove(&(want.addr, row));
            let known = self.exits_of(space, want.addr, row).filter(|(_, its)| its.len() <= room);
            let Some((exits, mut its)) = known else {
                self.no_jump(space, want.addr, WhyNotJump::ExitsNotProven);
                continue;
            };
            room -= its.len();
            let inside = Rc::new(exits.inside);
            let around = exits.leaves.iter().map(|&at| ((Addr(at), row), inside.clone()));
            self.sites_mut(space).exits.around.extend(around);
            functions.push((want, row, all.len()..all.len() + its.len(), exits.returns.len()));
            all.append(&mut its);
        }
        let results = match all.is_empty() {
            // Nothing can come to a function that never ends.
            true => Vec::new(),
            false => self.arm(space, tid, &all)?,
        };
        let mut ends = Vec::new();
        for (want, row, range, returns) in functions {
            let mut proven = true;
            for result in &results[range.clone()] {
                proven &= match result {
                    Ok(site) => self.rearm(space, *site)?,
                    Err(_) => false,
                };
            }
            if !proven {
                self.no_jump(space, want.addr, WhyNotJump::ExitsNotProven);
                continue;
            }
            let sites = self.sites_mut(space);
            sites.exits.proven.insert((want.addr, row));
            if cfg!(feature = "jump") {
                // A jump out of the function stays a trap: what it leads to comes back to the return
                // address.
                let returns = &all[range.start..range.start + returns];
                let its = std::iter::once(want).chain(returns);
                sites.exits.ends.push(its.clone().map(|want| want.addr).collect());
                ends.extend(its.cloned());
            }
        }
        self.jump_returns(space, tid, ends)
    }

    /// The proven exits of the function at `entry`, and what is to be armed there.
    fn exits_of(&mut self, space: SpaceId, entry: Addr, row: RowId) -> Option<(Exits, Vec<Want>)> {
        let pid = self.target.owner(space)?.pid;
        let objects = &self.sites_mut(space).objects;
        let loaded = objects.iter().find(|l| (l.start..l.end).contains(&entry)).cloned()?;
        let object = self.open(pid, &loaded)?;
        let bias = loaded.bias(&object)?;
        let own = object.function_at(entry.0.wrapping_sub(bias)).ok()??;
        let own = own.start.wrapping_add(bias)..own.end.wrapping_add(bias);
        let mut code = InTarget { session: self, space, object: &object, bias };
        let exits = exits::<Native>(entry.0, own, &mut code)?;
        let [exit, leave] = self.teller.rows.exit_consumers(row);
        let returns = exits.returns.iter().map(|&at| (at, exit));
        let leaves = exits.leaves.iter().map(|&at| (at, leave));
        let want = |(at, consumer): (u64, ConsumerId)| {
            let vaddr = at.wrapping_sub(bias);
            // Where nothing may be moved out of, no exit can be either.
            match object.place_reject(vaddr) {
                Ok(None) => Some(Want { consumer, ..want_at(&object, bias, vaddr)? }),
                _ => None,
            }
        };
        let wants: Option<Vec<Want>> = returns.chain(leaves).map(want).collect();
        Some((exits, wants?))
    }
}

#[cfg(test)]
#[path = "exits_tests.rs"]
mod tests;
