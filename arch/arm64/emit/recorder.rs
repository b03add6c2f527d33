//! Counts, records and filters: what runs before the displaced instruction. NZCV is never
//! touched: conditions are bits of registers.
//!
//! ```text
//! stp   x16, x17, [sp, #-frame]!      what is used; there is no red zone
//! …                                   the filter
//! adr   x16, counter                  or MOVZ, MOVK
//! mov   x17, #1
//! stadd x17, [x16]                    or LDXR, ADD, STXR; or a record: below
//! ldp   x16, x17, [sp], #frame
//! ```

use super::assembler::{Assembler, Forward, SP, X, XZR, opcode};
use crate::arm64::regs::Registers;
use crate::jump::{
    Features, HEAD, Kept, LongCode, Noted, PROBE, Record, Recorded, Recorder, Relation, SLOT,
    SLOTS, SPREAD, SPREAD_SHIFT, Saved, Shape, THREAD, TIME, TURN, Test, VALUES, Value, Values,
};
use crate::{Addr, Reason, Reject};

/// Pairs of registers in the order in which they are needed. None holds an argument.
const PAIRS: [[X; 2]; 3] = [[16, 17], [14, 15], [12, 13]];

/// Where the time is in the frame until there is a slot: behind all pairs.
const TIME_KEPT: u64 = 48;

/// Appends a recorder.
pub(in crate::arm64) fn record(
    record: &Record,
    features: Features,
    to: Addr,
    out: &mut LongCode,
) -> Result<Recorded, Reject> {
    if !record.stack {
        return Err(Reason::NoStack.into());
    }
    let event = match record.recorder {
        Recorder::Event { values, .. } if values.len() > Value::WORDS => {
            return Err(Reason::NoRoomForSlots.into());
        }
        Recorder::Event { .. } => true,
        Recorder::Count { .. } => false,
    };
    let filtered = record.filter.iter().next().is_some();
    let pairs = match (event || filtered, features.atomics) {
        (true, _) => 3,
        (false, false) => 2,
        (false, true) => 1,
    };
    let timed = matches!(record.recorder, Recorder::Event { time: true, .. });
    let frame = 16 * (pairs + i32::from(timed));
    let asm = Assembler { code: out, to };
    let mut body = Body { asm, features, frame, saved: heapless::Vec::new() };
    let pairs = PAIRS.get(..pairs as usize).unwrap_or(&[]);
    body.save(pairs)?;
    let mut failed = heapless::Vec::<Forward, 8>::new();
    for test in record.filter.iter() {
        body.test(test, &mut failed)?;
    }
    let mut done = Recorded::default();
    match record.recorder {
        Recorder::Count { counter } => {
            body.asm.address(16, counter)?;
            done.noted = body.increment(16, 17, 14, 15)?;
        }
        Recorder::Event { ring, shape, missed, probe, values, time, wait } => {
            // What can fault, before a slot is taken: the time where it is forbidden, words of the stack.
            if time {
                body.asm.word(opcode::MRS_TIME | 12)?;
                body.asm.store(12, SP, TIME_KEPT)?;
            }
            values.last_on_stack().map_or(Ok(12), |value| body.value(value))?;
            let (full, again) = body.claim(ring, shape, &mut done)?;
            body.write(probe, values, time)?;
            body.commit(full, again, missed, wait, &mut done)?;
        }
    }
    for failed in failed {
        body.asm.land(failed)?;
    }
    body.give_back(pairs)?;
    done.saved = body.saved;
    Ok(done)
}

/// Gives a register back what a recorder kept.
pub(in crate::arm64) fn restore(regs: &mut Registers, what: Kept, value: u64) {
    match what {
        Kept::Sp => regs.sp = value,
        Kept::Register(n) => regs.set(n, value),
        // Never lost.
        Kept::Flags => {}
    }
}

/// The slot that a thread has taken: while it is to be committed, x15 is not changed.
pub(in crate::arm64) fn slot_of(regs: &Registers) -> Addr {
    Addr(regs.x[15])
}

struct Body<'a> {
    asm: Assembler<'a>,
    features: Features,
    /// Bytes from our stack pointer to the program's.
    frame: i32,
    saved: heapless::Vec<Saved, 10>,
}

impl Body<'_> {
    /// Notes that something is in the frame from here on.
    fn note(&mut self, what: Kept, at: i32) -> Result<(), Reject> {
        let saved = Saved { what, from: self.asm.offset(), until: u16::MAX, at: at as i16 };
        self.saved.push(saved).map_err(|_| Reason::NoRoomForSlots.into())
    }

    fn save(&mut self, pairs: &[[X; 2]]) -> Result<(), Reject> {
        for (n, &pair) in pairs.iter().enumerate() {
            let at = 16 * n as i32;
            if n == 0 {
                self.asm.pair(opcode::STP_BEFORE, pair, SP, -self.frame)?;
                self.note(Kept::Sp, self.frame)?;
            } else {
                self.asm.pair(opcode::STP, pair, SP, at)?;
            }
            for (register, at) in pair.into_iter().zip([at, at + 8]) {
                self.note(Kept::Register(register), at - self.frame)?;
            }
        }
        Ok(())
    }

    fn give_back(&mut self, pairs: &[[X; 2]]) -> Result<(), Reject> {
        for (n, &pair) in pairs.iter().enumerate().rev() {
            if n == 0 {
                self.asm.pair(opcode::LDP_BEHIND, pair, SP, self.frame)?;
            } else {
                self.asm.pair(opcode::LDP, pair, SP, 16 * n as i32)?;
            }
            let offset = self.asm.offset();
            for saved in &mut self.saved {
                let here = match saved.what {
                    Kept::Register(register) => pair.contains(&register),
                    Kept::Sp => n == 0,
                    Kept::Flags => false,
                };
                if here {
                    saved.until = offset;
                }
            }
        }
        Ok(())
    }

    /// `[x[address]] += 1`, atomically; the other three are overwritten.
    /// ```text
    /// mov   one, #1          1: ldxr value, [address]
    /// stadd one, [address]      add  value, value, #1
    ///                           stxr failed, value, [address]
    ///                           cbnz failed, 1b
    /// ```
    fn increment(&mut self, address: X, one: X, value: X, failed: X) -> Result<Noted, Reject> {
        if self.features.atomics {
            self.asm.constant(one, 1)?;
            self.asm.three(opcode::STADD, XZR, address, one)?;
            let committed = self.asm.offset();
            return Ok(Noted { from: 0, claimed: committed, taken: 0, committed });
        }
        let again = self.asm.offset();
        self.asm.two(opcode::LDXR, value, address)?;
        self.asm.two(opcode::ADD_IMMEDIATE | 1 << 10, value, value)?;
        self.asm.three(opcode::STXR, value, address, failed)?;
        let claimed = self.asm.offset();
        self.asm.branch_back(opcode::CBNZ_W, failed, again)?;
        Ok(Noted { from: 0, claimed, taken: 0, committed: self.asm.offset() })
    }

    /// The register that holds a value; x12 where it has to be put into one.
    fn value(&mut self, value: Value) -> Result<X, Reject> {
        match value {
            Value::Arg(n) if n < 8 => Ok(n),
            Value::Arg(_) => Err(Reason::Undecodable.into()),
            Value::Register(31) => self.value(Value::Sp),
            Value::Register(n @ 0..31) => {
                let what = Kept::Register(n);
                let Some(saved) = self.saved.iter().find(|saved| saved.what == what) else {
                    return Ok(n);
                };
                let word = (i32::from(saved.at) + self.frame).cast_unsigned() / 8;
                self.asm.two(opcode::LDR | word << 10, 12, SP)?;
                Ok(12)
            }
            Value::Register(_) | Value::Float(_) => Err(Reason::Undecodable.into()),
            Value::Stack(n) => {
                // AAPCS64 6.8.2: the arguments on the stack begin at the stack pointer.
                let word = self.frame.cast_unsigned() / 8 + u32::from(n);
                self.asm.two(opcode::LDR | word << 10, 12, SP)?;
                Ok(12)
            }
            Value::Ret => Ok(0),
            Value::Link => Ok(30),
            Value::Sp => {
                let frame = self.frame.cast_unsigned();
                self.asm.two(opcode::ADD_IMMEDIATE | frame << 10, 12, SP)?;
                Ok(12)
            }
        }
    }

    /// Branches that are taken when the hit is not wanted. x12 is the value, x13 the constant.
    fn test(&mut self, test: &Test, failed: &mut heapless::Vec<Forward, 8>) -> Result<(), Reject> {
        let from = self.value(test.value)?;
        match test.bits {
            8 | 16 | 32 => {
                let row = opcode::EXTEND.get(test.bits.trailing_zeros() as usize - 3);
                let &extend = row
                    .and_then(|signs| signs.get(usize::from(test.signed)))
                    .ok_or(Reason::Undecodable)?;
                self.asm.two(extend, 12, from)?;
            }
            64 => self.asm.three(opcode::ORR, 12, XZR, from)?,
            _ => return Err(Reason::Undecodable.into()),
        }
        self.asm.constant(13, test.extended(test.constant))?;
        // The opposite leaves.
        let (opcode, register) = match test.relation {
            Relation::Eq => (opcode::CBNZ, self.combined(opcode::EOR)?),
            Relation::Ne => (opcode::CBZ, self.combined(opcode::EOR)?),
            Relation::AnyBit => (opcode::CBZ, self.combined(opcode::AND)?),
            Relation::NoBit => (opcode::CBNZ, self.combined(opcode::AND)?),
            Relation::Lt => (opcode::TBZ_SIGN, self.less(test, 12, 13)?),
            Relation::Ge => (opcode::TBNZ_SIGN, self.less(test, 12, 13)?),
            Relation::Gt => (opcode::TBZ_SIGN, self.less(test, 13, 12)?),
            Relation::Le => (opcode::TBNZ_SIGN, self.less(test, 13, 12)?),
        };
        let forward = self.asm.branch(opcode, register)?;
        failed.push(forward).map_err(|_| Reason::NoRoomForSlots.into())
    }

    fn combined(&mut self, opcode: u32) -> Result<X, Reject> {
        self.asm.three(opcode, 12, 12, 13)?;
        Ok(12)
    }

    /// A register whose sign says whether `x[a] < x[b]` (Hacker's Delight, 2-12):
    /// `(a - b) ^ ((a ^ b) & ((a - b) ^ a))`, for numbers without a sign after both signs were
    /// turned. What is narrower than 64 bits cannot overflow.
    fn less(&mut self, test: &Test, a: X, b: X) -> Result<X, Reject> {
        if test.bits == 64 && !test.signed {
            self.asm.two(opcode::EOR_SIGN, a, a)?;
            self.asm.two(opcode::EOR_SIGN, b, b)?;
        }
        self.asm.three(opcode::SUB, 14, a, b)?;
        if test.bits == 64 {
            self.asm.three(opcode::EOR, 15, a, b)?;
            self.asm.three(opcode::EOR, 16, 14, a)?;
            self.asm.three(opcode::AND, 15, 15, 16)?;
            self.asm.three(opcode::EOR, 14, 14, 15)?;
        }
        Ok(14)
    }

    /// Takes a slot: x15 is its address, x16 the lap, x13 the shard.
    /// ```text
    ///     adr  x13, ring                        or MOVZ, MOVK
    ///     mrs  x12, tpidr_el0                   the shard
    ///     lsr  x12, x12, #12
    ///     mov  w14, #SPREAD
    ///     mul  w12, w12, w14
    ///     lsr  w12, w12, #32-n
    ///     mov  x14, #length
    ///     madd x13, x12, x14, x13
    /// 1:  ldar x14, [x13]                       the position
    ///     and  x15, x14, #slots-1               the slot
    ///     sub  x16, x14, x15                    the lap
    ///     add  x15, x13, x15, lsl #7
    ///     add  x15, x15, #SLOTS
    ///     ldar x17, [x15]                       the turn
    ///     sub  x17, x17, x16
    ///     cbnz x17, 2f
    ///     add  x17, x14, #1
    ///     mov  x12, x14                         1.5: ldaxr x12, [x13]
    ///     casal x12, x17, [x13]                      sub   x12, x12, x14
    ///     sub  x12, x12, x14                         cbnz  x12, 1b
    ///     cbnz x12, 1b                               stlxr w12, x17, [x13]
    ///                                                cbnz  w12, 1.5b
    ///     …write, commit, branch to 3
    /// 2:  tbz  x17, #63, 1b                     another writer has been there
    ///     brk  #…                               where a full shard is waited for
    ///     …count a missed record
    /// 3:
    /// ```
    /// Returns the branch to 2 and the offset of 1.
    fn claim(
        &mut self,
        ring: Addr,
        shape: Shape,
        done: &mut Recorded,
    ) -> Result<(Forward, u16), Reject> {
        let atomics = self.features.atomics;
        let asm = &mut self.asm;
        asm.address(13, ring)?;
        if shape.shard_bits() > 0 {
            asm.word(opcode::MRS_THREAD | 12)?;
            asm.two(opcode::LSR | u32::from(SPREAD_SHIFT) << 16, 12, 12)?;
            asm.constant(14, SPREAD.into())?;
            asm.three(opcode::MUL_W, 12, 12, 14)?;
            asm.two(opcode::LSR_W | (32 - u32::from(shape.shard_bits())) << 16, 12, 12)?;
            asm.constant(14, shape.shard_len())?;
            asm.three(opcode::MADD | 13 << 10, 13, 12, 14)?;
        }
        let again = asm.offset();
        const { assert!(HEAD == 0 && TURN == 0, "LDAR and CASAL have no offset") };
        asm.two(opcode::LDAR, 14, 13)?;
        asm.two(opcode::AND_LOW | (u32::from(shape.slot_bits()) - 1) << 10, 15, 14)?;
        asm.three(opcode::SUB, 16, 14, 15)?;
        asm.three(opcode::ADD | SLOT.trailing_zeros() << 10, 15, 13, 15)?;
        asm.two(opcode::ADD_IMMEDIATE | (SLOTS as u32) << 10, 15, 15)?;
        asm.two(opcode::LDAR, 17, 15)?;
        asm.three(opcode::SUB, 17, 17, 16)?;
        let differs = asm.branch(opcode::CBNZ, 17)?;
        asm.two(opcode::ADD_IMMEDIATE | 1 << 10, 17, 14)?;
        if atomics {
            asm.three(opcode::ORR, 12, XZR, 14)?;
            asm.three(opcode::CASAL, 17, 13, 12)?;
            done.noted.claimed = asm.offset();
            asm.three(opcode::SUB, 12, 12, 14)?;
            asm.branch_back(opcode::CBNZ, 12, again)?;
        } else {
            let exclusive = asm.offset();
            asm.two(opcode::LDAXR, 12, 13)?;
            asm.three(opcode::SUB, 12, 12, 14)?;
            asm.branch_back(opcode::CBNZ, 12, again)?;
            asm.three(opcode::STLXR, 17, 13, 12)?;
            done.noted.claimed = asm.offset();
            asm.branch_back(opcode::CBNZ_W, 12, exclusive)?;
        }
        done.noted.taken = asm.offset();
        Ok((differs, again))
    }

    /// Fills the slot.
    fn write(&mut self, probe: u32, values: Values, time: bool) -> Result<(), Reject> {
        self.asm.word(opcode::MRS_THREAD | 12)?;
        self.asm.store(12, 15, THREAD)?;
        self.asm.constant(12, probe.into())?;
        self.asm.two(opcode::STR_W | (PROBE as u32 >> 2) << 10, 12, 15)?;
        let place = |value: Value| VALUES + 8 * values.word(value).unwrap_or(0) as u64;
        let mut next = values.iter().peekable();
        while let Some(value) = next.next() {
            if let Value::Float(n) = value {
                self.asm.two(opcode::STR_D | (place(value) as u32 >> 3) << 10, n, 15)?;
                continue;
            }
            let register = self.value(value)?;
            // Two arguments whose words are side by side.
            match (value, next.peek()) {
                (Value::Arg(a), Some(&Value::Arg(b))) if b == a + 1 => {
                    next.next();
                    self.asm.pair(opcode::STP, [a, b], 15, place(value) as i32)?;
                }
                _ => self.asm.store(register, 15, place(value))?,
            }
        }
        if time {
            self.asm.two(opcode::LDR | (TIME_KEPT as u32 >> 3) << 10, 12, SP)?;
            self.asm.store(12, 15, TIME)?;
        }
        Ok(())
    }

    /// Hands the slot over; the other way out.
    fn commit(
        &mut self,
        differs: Forward,
        again: u16,
        missed: Addr,
        wait: bool,
        done: &mut Recorded,
    ) -> Result<(), Reject> {
        self.asm.two(opcode::ADD_IMMEDIATE | 1 << 10, 16, 16)?;
        self.asm.two(opcode::STLR, 16, 15)?;
        done.noted.committed = self.asm.offset();
        let over = self.asm.branch(opcode::B, 0)?;
        self.asm.land(differs)?;
        let from = self.asm.offset();
        self.asm.branch_back(opcode::TBZ_SIGN, 17, again)?;
        if wait {
            done.full = Some(self.asm.offset());
            done.full_time = TIME_KEPT as u16;
            self.asm.trap()?;
        }
        self.asm.address(12, missed)?;
        let missed = self.increment(12, 14, 14, 16)?;
        done.missed = Some(Noted { from, ..missed });
        self.asm.land(over)
    }
}
