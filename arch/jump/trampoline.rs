//! What a jump leads to: recorders, copies and the jump back.

use super::{Features, Record, Shadow, Window};
use crate::{Addr, Arch, Code, Fault, Memory, Reason, Regs, Reject, Rules, Text};

/// Code for one trampoline.
pub type LongCode = heapless::Vec<u8, 1024>;

/// Recorders of one trampoline.
const MAX_RECORDS: usize = super::MAX_COVERED;

/// x86-64: the LOCK prefix.
pub const LOCK: u8 = 0xf0;
/// x86-64: a DS prefix, which 64-bit mode ignores (AMD64 APM 3, 1.2.4).
pub const NO_LOCK: u8 = 0x3e;

/// What a trampoline is made from.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The code around the window, with its original bytes.
    pub text: &'a Text<'a>,
    /// What the jump replaces.
    pub window: &'a Window,
    /// What the user allowed.
    pub rules: Rules,
    /// What is noted down, in this order where several are for one instruction.
    pub records: &'a [Record],
    /// What the program may use.
    pub features: Features,
}

/// One displaced instruction in a trampoline, by offsets in the code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Offset of the instruction in the window.
    pub offset: u8,
    /// Bytes of text its copy stands for: the instruction, or a whole sequence (arm64 MOPS).
    pub span: u8,
    /// Where a thread enters that is about to execute it: its recorders, then its copy.
    pub enter: u16,
    /// Where the copy begins.
    pub copy: u16,
    /// From where on it has taken its whole effect, but for the PC.
    pub done: u16,
    /// Behind the last byte that belongs to it, a jump back included.
    pub end: u16,
}

/// What a recorder's code overwrites for a while, and where the value is meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// What.
    pub what: Kept,
    /// Between these offsets in the code, [from, until), ...
    pub from: u16,
    /// ... and from here on it is back in its place.
    pub until: u16,
    /// The value is there, in bytes from the stack pointer as it was at the site. For the stack
    /// pointer itself: what must be added to it.
    pub at: i16,
}

/// Something that a recorder keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The stack pointer.
    Sp,
    /// A general register, by its number in instructions.
    Register(u8),
    /// x86-64: SF, ZF, AF, PF and CF as LAHF puts them into bits 15 to 8, OF in bit 0.
    Flags,
}

/// What [`Arch::record`] wrote, by offsets in the code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The record, or the count.
    pub noted: Noted,
    /// The count of a missed record, in the part that is otherwise committed.
    pub missed: Option<Noted>,
    /// The trap of a thread that finds no room.
    pub full: Option<u16>,
    /// What is overwritten, and where it is meanwhile.
    pub saved: heapless::Vec<Saved, 10>,
    /// Whether the flags are not kept.
    pub flags_lost: bool,
    /// Where a count has a LOCK prefix: see [`Trampoline::locks`].
    pub lock: Option<u16>,
}

/// When something is noted down, by offsets in the code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// Before, from here on, ...
    pub from: u16,
    /// ... and from here on a slot of the ring is taken, or a store-exclusive has been tried.
    pub claimed: u16,
    /// ... certainly from here on, if it is one of the ring, ...
    pub taken: u16,
    /// It is done.
    pub committed: u16,
}

impl Noted {
    fn phase(&self, pc: u16) -> Phase {
        if pc < self.claimed {
            Phase::Before
        } else if pc < self.committed && (self.taken == 0 || pc < self.taken) {
            Phase::Claimed
        } else if pc < self.committed {
            Phase::Taken
        } else {
            Phase::After
        }
    }
}

/// How far a recorder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is noted down: taken back to the instruction, the thread records the hit again.
    Before,
    /// It cannot be said whether it is noted down, or a slot of the ring is taken: it must be left
    /// to run.
    Claimed,
    /// A slot of the ring is taken: [`Arch::slot_of`]. It is left to run, or another commits a
    /// record in its place that is none.
    Taken,
    /// It is noted down, or missed and counted, or filtered out.
    After,
}

/// What a thread at an offset of a trampoline stands for. Window offsets are what they are in
/// [`super::Covered`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Architecturally at the instruction, registers as they must be. `recorded` of its records
    /// are made: it may be sent to the instruction itself only if that is all the same.
    At {
        /// The instruction's offset in the window.
        offset: u8,
        /// How many of its records are made.
        recorded: u8,
    },
    /// In a recorder: architecturally at the instruction after [`Trampoline::rewind`].
    Recording {
        /// The instruction's offset in the window.
        offset: u8,
        /// Which of its records.
        record: u8,
        /// How far.
        phase: Phase,
    },
    /// In the middle of a copy of several instructions, or of what a shadow leads to: it must be left
    /// to run.
    Inside {
        /// The instruction's offset in the window.
        offset: u8,
        /// How far from the copy's beginning, in bytes.
        by: u16,
    },
    /// Architecturally behind what was displaced, at this offset of the window; only the jump
    /// back is left.
    Behind {
        /// An offset in the window, or just behind it.
        offset: u8,
    },
}

/// A trampoline's code and its map.
#[derive(Clone, Debug)]
pub struct Trampoline {
    /// To be written where it was built for.
    pub code: LongCode,
    pieces: heapless::Vec<Piece, { super::MAX_COVERED }>,
    records: heapless::Vec<Part, MAX_RECORDS>,
    shadow: Option<Shadowed>,
}

/// Where the window's [`Shadow`] leads.
#[derive(Clone, Copy, Debug)]
struct Shadowed {
    /// The instruction, by offset in the window.
    of: u8,
    /// Where what was pushed is taken back, and where that is done.
    enter: u16,
    done: u16,
}

/// One recorder in a trampoline.
#[derive(Clone, Debug)]
struct Part {
    /// Offset of its instruction in the window, and which of its recorders it is.
    offset: u8,
    number: u8,
    start: u16,
    end: u16,
    recorded: Recorded,
}

/// Makes the trampoline that runs at `to`.
///
/// # Errors
/// Why no such code is right at `to`: [`Reason::OutOfReach`] of a jump, a counter or an operand,
/// [`Reason::MissingFeature`], or why one of the instructions cannot be relocated.
pub fn build<A: Arch>(order: &Order<'_>, to: Addr) -> Result<Trampoline, Reject> {
    let mut trampoline = Trampoline {
        code: LongCode::new(),
        pieces: heapless::Vec::new(),
        records: heapless::Vec::new(),
        shadow: None,
    };
    // Chains: from the first instruction that is not there yet, one behind the other.
    while let Some(head) =
        order.window.covered().iter().find(|insn| trampoline.piece(insn.offset).is_none())
    {
        let mut offset = head.offset;
        loop {
            let falls_to = trampoline.add::<A>(order, offset, to)?;
            let Some(next) = falls_to else { break };
            if order.window.has(next) && trampoline.piece(next).is_none() {
                offset = next;
                continue;
            }
            let target = match trampoline.piece(next) {
                Some(piece) => to.add(piece.enter.into()),
                None => order.window.at.add(next.into()),
            };
            let mut jump = Code::new();
            A::jump(to.add(trampoline.code.len() as u64), target, &mut jump)?;
            append(&mut trampoline.code, &jump)?;
            let end = trampoline.code.len() as u16;
            if let Some(last) = trampoline.pieces.last_mut() {
                last.end = end;
            }
            break;
        }
    }
    // Where a jump is one instruction there is none.
    if A::INSN_ALIGN == 1
        && let Some(shadow) = order.window.shadow()
    {
        trampoline.add_shadow::<A>(shadow, to)?;
    }
    Ok(trampoline)
}

fn append(code: &mut LongCode, bytes: &[u8]) -> Result<(), Reject> {
    code.extend_from_slice(bytes).map_err(|_| Reason::NoRoomForSlots.into())
}

impl Trampoline {
    /// Adds recorders and copy of one instruction; the window's offset that it falls through to.
    fn add<A: Arch>(
        &mut self,
        order: &Order<'_>,
        offset: u8,
        to: Addr,
    ) -> Result<Option<u8>, Reject> {
        let at = order.window.at.add(offset.into());
        let enter = self.code.len() as u16;
        let here = order.records.iter().filter(|record| record.offset == offset);
        for (number, record) in (0..).zip(here) {
            let start = self.code.len() as u16;
            let recorded = A::record(record, order.features, to, &mut self.code)?;
            let end = self.code.len() as u16;
            self.records
                .push(Part { offset, number, start, end, recorded })
                .map_err(|_| Reason::NoRoomForSlots)?;
        }
        let copy = self.code.len() as u16;
        let plan = A::plan(order.text, at, order.rules)?;
        let mut code = Code::new();
        let relocated = A::relocate(order.text, at, &plan, to.add(copy.into()), &mut code)?;
        let done = usize::from(relocated.done);
        // What is behind it is the jump back, which the next copy stands in for.
        let falls = done < code.len();
        code.truncate(done);
        append(&mut self.code, &code)?;
        let end = self.code.len() as u16;
        let span = plan.span();
        let piece = Piece { offset, span, enter, copy, done: end, end };
        self.pieces.push(piece).map_err(|_| Reason::NoRoomForSlots)?;
        Ok(falls.then_some(offset + span))
    }

    /// Adds what a thread runs that has trapped in the window's shadow and pushed before.
    fn add_shadow<A: Arch>(&mut self, shadow: Shadow, to: Addr) -> Result<(), Reject> {
        let of = shadow.of;
        let Some(target) = self.enter(of) else { return Err(Reason::WindowInstruction.into()) };
        if shadow.pushed == 0 {
            self.shadow = Some(Shadowed { of, enter: target, done: target });
            return Ok(());
        }
        let enter = self.code.len() as u16;
        A::take_push_back(&mut self.code)?;
        let done = self.code.len() as u16;
        let mut jump = Code::new();
        A::jump(to.add(done.into()), to.add(target.into()), &mut jump)?;
        append(&mut self.code, &jump)?;
        self.shadow = Some(Shadowed { of, enter, done });
        Ok(())
    }

    /// The displaced instructions, in the order of the code.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The instruction at `offset` of the window.
    #[must_use]
    pub fn piece(&self, offset: u8) -> Option<Piece> {
        self.pieces.iter().copied().find(|piece| piece.offset == offset)
    }

    /// Where in the code a thread goes on that is about to execute what is at `offset` of the
    /// window: one that trapped there, or stood there when the jump was written.
    #[must_use]
    pub fn enter(&self, offset: u8) -> Option<u16> {
        self.piece(offset).map(|piece| piece.enter)
    }

    /// Where a thread goes on that trapped in the window's [`Shadow`], its stack pointer as it was
    /// there.
    #[must_use]
    pub fn enter_shadow(&self) -> Option<u16> {
        self.shadow.map(|shadow| shadow.enter)
    }

    /// Whether some recorder does not keep the flags.
    #[must_use]
    pub fn flags_lost(&self) -> bool {
        self.records.iter().any(|part| part.recorded.flags_lost)
    }

    /// The offsets of [`LOCK`] in counts. As long as one thread alone can count, [`NO_LOCK`] may be
    /// in its place: the instruction is still one for that thread and its signal handlers.
    pub fn locks(&self) -> impl Iterator<Item = u16> {
        self.records.iter().filter_map(|part| part.recorded.lock)
    }

    /// The traps of threads that find no room, by offset in the code.
    pub fn fulls(&self) -> impl Iterator<Item = u16> {
        self.records.iter().filter_map(|part| part.recorded.full)
    }

    /// Returns where the recorder begins whose thread has trapped at `pc`, because it found no room.
    #[must_use]
    pub fn full_at(&self, pc: u16) -> Option<u16> {
        let part = self.records.iter().find(|part| part.recorded.full == Some(pc))?;
        Some(part.start)
    }

    /// What a thread at `pc`, an offset in the code where an instruction begins, stands for;
    /// `None` outside.
    #[must_use]
    pub fn place(&self, pc: u16) -> Option<Place> {
        if let Some(Shadowed { of: offset, enter, done }) = self.shadow
            && (enter..self.code.len() as u16).contains(&pc)
            && enter != done
        {
            return Some(match pc.checked_sub(done) {
                None => Place::Inside { offset, by: pc - enter },
                Some(_) => Place::At { offset, recorded: 0 },
            });
        }
        let piece = self.pieces.iter().find(|piece| (piece.enter..piece.end).contains(&pc))?;
        let Piece { offset, span, copy, done, .. } = *piece;
        if pc >= done {
            return Some(Place::Behind { offset: offset + span });
        }
        if pc > copy {
            return Some(Place::Inside { offset, by: pc - copy });
        }
        let of_this = || self.records.iter().filter(|part| part.offset == offset);
        if pc == copy {
            return Some(Place::At { offset, recorded: of_this().count() as u8 });
        }
        let part = of_this().find(|part| (part.start..part.end).contains(&pc))?;
        if pc == part.start {
            return Some(Place::At { offset, recorded: part.number });
        }
        let Recorded { noted, missed, .. } = part.recorded;
        let phase = match missed {
            Some(missed) if (missed.from..missed.committed).contains(&pc) => missed.phase(pc),
            _ => noted.phase(pc),
        };
        Some(Place::Recording { offset, record: part.number, phase })
    }

    /// Puts back what the recorder has overwritten when a thread stands at `pc`, an offset in the
    /// code. The PC is left alone; what was noted down is not taken back.
    ///
    /// # Errors
    /// The stack cannot be read; registers are then partly restored.
    pub fn rewind<A: Arch>(
        &self,
        pc: u16,
        regs: &mut A::Regs,
        memory: &mut impl Memory,
    ) -> Result<(), Fault> {
        let Some(part) = self.records.iter().find(|part| (part.start..part.end).contains(&pc))
        else {
            return Ok(());
        };
        let now =
            || part.recorded.saved.iter().filter(|saved| (saved.from..saved.until).contains(&pc));
        let mut sp = regs.sp();
        if let Some(saved) = now().find(|saved| saved.what == Kept::Sp) {
            sp = sp.offset(saved.at.into());
            A::restore(regs, Kept::Sp, sp.0);
        }
        for saved in now().filter(|saved| saved.what != Kept::Sp) {
            let mut value = [0; 8];
            memory.read(sp.offset(saved.at.into()), &mut value)?;
            A::restore(regs, saved.what, u64::from_le_bytes(value));
        }
        Ok(())
    }
}
