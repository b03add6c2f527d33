//! Counts, records and filters: what runs before the displaced instruction.
//!
//! ```text
//! lea   rsp, [rsp - 128 - frame]      the red zone stays
//! mov   [rsp], rax; …                 what is used
//! lahf; seto al; mov [rsp + 8], rax   the flags, where they are live
//! cmp   rdi, constant; jne 9f; …      the filter
//! lock inc qword [rip + counter]      or a record: below
//! 9:
//! add   al, 127; sahf                 OF, then the others
//! mov   rax, [rsp]; …
//! lea   rsp, [rsp + 128 + frame]
//! ```
//!
//! A count that need keep no flags is the LOCK INC alone.

use super::assembler::{Assembler, Forward, Mem};
use crate::jump::{
    Features, Filter, HEAD, Kept, LongCode, Noted, PROBE, Record, Recorded, Recorder, Relation,
    SLOT, SLOTS, SPREAD, SPREAD_SHIFT, Saved, Shape, THREAD, TIME, TURN, Test, VALUES, Value,
    Values,
};
use crate::x86_64::X86_64;
use crate::x86_64::regs::{Gpr, Registers};
use crate::{Addr, Arch as _, Reason, Reject};

const RAX: Gpr = Gpr::new(0);
const RCX: Gpr = Gpr::new(1);
const RDX: Gpr = Gpr::new(2);
const RSP: Gpr = Gpr::RSP;
const RSI: Gpr = Gpr::new(6);
const RDI: Gpr = Gpr::new(7);
const R8: Gpr = Gpr::new(8);
const R9: Gpr = Gpr::new(9);
const R10: Gpr = Gpr::new(10);
const R11: Gpr = Gpr::new(11);

/// System V AMD64 ABI 3.2.3.
const ARGS: [Gpr; 6] = [RDI, RSI, RDX, RCX, R8, R9];

/// System V AMD64 ABI 3.2.2: 128 bytes below the stack pointer belong to the program.
const RED_ZONE: i32 = 128;

/// System V AMD64 ABI 3.2.3: the arguments on the stack are above the return address.
const STACK: i32 = 8;

/// Words of the frame for what is fetched before a slot is taken.
const FETCHED: i32 = 2;

/// OF, SF, ZF, AF, PF, CF: what LAHF and SETO keep.
const IN_AH: u64 = 0xd5;
const OF: u64 = 1 << 11;

/// Condition codes of Jcc.
mod condition {
    pub(super) const B: u8 = 2;
    pub(super) const AE: u8 = 3;
    pub(super) const E: u8 = 4;
    pub(super) const NE: u8 = 5;
    pub(super) const BE: u8 = 6;
    pub(super) const A: u8 = 7;
    pub(super) const S: u8 = 8;
    pub(super) const L: u8 = 12;
    pub(super) const GE: u8 = 13;
    pub(super) const LE: u8 = 14;
    pub(super) const G: u8 = 15;
}

/// Appends a recorder.
pub(in crate::x86_64) fn record(
    record: &Record,
    features: Features,
    to: Addr,
    out: &mut LongCode,
) -> Result<Recorded, Reject> {
    let event = match record.recorder {
        Recorder::Event { values, .. } if values.len() > Value::WORDS => {
            return Err(Reason::NoRoomForSlots.into());
        }
        Recorder::Event { .. } => true,
        Recorder::Count { .. } => false,
    };
    let keep_flags = record.flags;
    if event && !features.fsgsbase || keep_flags && !features.lahf {
        return Err(Reason::MissingFeature.into());
    }
    let asm = Assembler { code: out, to };
    let mut body = Body { asm, frame: 0, fetched: 0, saved: heapless::Vec::new() };
    let filtered = record.filter.iter().next().is_some();
    if !event && !filtered && !keep_flags {
        let Recorder::Count { counter } = record.recorder else {
            return Err(Reason::Undecodable.into());
        };
        let lock = Some(body.asm.offset());
        body.asm.increment(counter)?;
        let noted = body.noted();
        return Ok(Recorded { noted, lock, flags_lost: true, ..Recorded::default() });
    }
    if !record.stack {
        return Err(Reason::NoStack.into());
    }
    let large = record.filter.iter().any(|test| immediate(test).is_none());
    let registers: &[Gpr] = match (event, large) {
        (true, _) => &[RAX, RDX, R10, R11],
        (false, true) => &[RAX, RDX],
        (false, false) => &[RAX],
    };
    body.save(registers, keep_flags)?;
    let mut failed = heapless::Vec::<Forward, 4>::new();
    body.filter(&record.filter, &mut failed)?;
    let mut done = Recorded { flags_lost: !keep_flags, ..Recorded::default() };
    match record.recorder {
        Recorder::Count { counter } => {
            done.lock = Some(body.asm.offset());
            body.asm.increment(counter)?;
            done.noted = body.noted();
        }
        Recorder::Event { ring, shape, missed, probe, values, time, wait } => {
            body.fetch(values, time)?;
            let (differs, again) = body.claim(ring, shape, &mut done)?;
            body.write(probe, values, time)?;
            body.commit(differs, again, missed, wait, &mut done)?;
        }
    }
    for failed in failed {
        body.asm.land(failed)?;
    }
    // A count has left rax alone unless a filter used it.
    body.give_back(registers, keep_flags, event || filtered)?;
    done.saved = body.saved;
    Ok(done)
}

/// Gives a register back what a recorder kept.
pub(in crate::x86_64) fn restore(regs: &mut Registers, what: Kept, value: u64) {
    match what {
        Kept::Sp => regs.rsp = value,
        Kept::Register(n) => regs.set(Gpr::new(n), value),
        Kept::Flags => {
            let kept = value >> 8 & IN_AH | if value & 1 != 0 { OF } else { 0 };
            regs.rflags = regs.rflags & !(IN_AH | OF) | kept;
        }
    }
}

/// The constant as an instruction has it: 32 bits, sign-extended.
fn immediate(test: &Test) -> Option<[u8; 4]> {
    let constant = test.extended(test.constant).cast_signed();
    i32::try_from(constant).ok().map(i32::to_le_bytes)
}

/// The slot that a thread has taken: while it is to be committed, r10 is not changed.
pub(in crate::x86_64) fn slot_of(regs: &Registers) -> Addr {
    Addr(regs.r10.wrapping_add(SLOTS))
}

/// Where a slot's turn is, from what `r10` holds.
const TURN_OF: i32 = (SLOTS + TURN) as i32;

struct Body<'a> {
    asm: Assembler<'a>,
    /// Bytes from our stack pointer to the program's.
    frame: i32,
    /// Which place of the frame is behind what is saved: the time, then the link.
    fetched: usize,
    saved: heapless::Vec<Saved, 10>,
}

impl Body<'_> {
    /// What the instruction before has noted down.
    fn noted(&self) -> Noted {
        let committed = self.asm.offset();
        Noted { from: 0, claimed: committed, taken: 0, committed }
    }

    /// Where the `n`th saved thing is.
    fn slot(n: usize) -> Mem {
        Mem(RSP, 8 * n as i32)
    }

    /// Notes that something is in place `n` of the frame from here on.
    fn note(&mut self, what: Kept, n: usize) -> Result<(), Reject> {
        let at = if what == Kept::Sp { self.frame } else { 8 * n as i32 - self.frame };
        let saved = Saved { what, from: self.asm.offset(), until: u16::MAX, at: at as i16 };
        self.saved.push(saved).map_err(|_| Reason::NoRoomForSlots.into())
    }

    /// Notes that it is back in its own place.
    fn back(&mut self, what: Kept) {
        let offset = self.asm.offset();
        if let Some(saved) = self.saved.iter_mut().find(|saved| saved.what == what) {
            saved.until = offset;
        }
    }

    /// rax first: the flags go through it.
    fn save(&mut self, registers: &[Gpr], flags: bool) -> Result<(), Reject> {
        let words = registers.len() + usize::from(flags);
        self.fetched = words;
        self.frame = RED_ZONE + 8 * (words as i32 + FETCHED);
        self.asm.lea(RSP, Mem(RSP, -self.frame))?;
        self.note(Kept::Sp, 0)?;
        for (n, &register) in registers.iter().enumerate() {
            self.asm.store(Self::slot(n), register)?;
            self.note(Kept::Register(register.number()), n)?;
            if n == 0 && flags {
                // 9F LAHF; 0F 90 C0 SETO al
                self.asm.bytes(&[0x9f, 0x0f, 0x90, 0xc0])?;
                self.asm.store(Self::slot(words - 1), RAX)?;
                self.note(Kept::Flags, words - 1)?;
            }
        }
        Ok(())
    }

    fn give_back(&mut self, registers: &[Gpr], flags: bool, used: bool) -> Result<(), Reject> {
        if flags {
            if used {
                self.asm.load(RAX, Self::slot(registers.len()))?;
            }
            // 04 7F ADD al, 127: OF if al is 1; 9E SAHF
            self.asm.bytes(&[0x04, 0x7f, 0x9e])?;
            self.back(Kept::Flags);
        }
        for (n, &register) in registers.iter().enumerate() {
            self.asm.load(register, Self::slot(n))?;
            self.back(Kept::Register(register.number()));
        }
        self.asm.lea(RSP, Mem(RSP, self.frame))?;
        self.back(Kept::Sp);
        Ok(())
    }

    /// Loads a value into rax, with the registers that are used here as they were.
    fn value(&mut self, value: Value) -> Result<(), Reject> {
        let saved = |register: Gpr| {
            let what = Kept::Register(register.number());
            self.saved.iter().find(|saved| saved.what == what)
        };
        let register = match value {
            Value::Sp => return self.asm.lea(RAX, Mem(RSP, self.frame)),
            Value::Link => return self.asm.load(RAX, Self::slot(self.fetched + 1)),
            Value::Stack(n) => {
                return self.asm.load(RAX, Mem(RSP, self.frame + STACK + 8 * i32::from(n)));
            }
            Value::Register(n) if n == RSP.number() => return self.value(Value::Sp),
            Value::Register(n @ 0..16) => Gpr::new(n),
            Value::Register(_) | Value::Float(_) => return Err(Reason::Undecodable.into()),
            Value::Ret => RAX,
            Value::Arg(n) => *ARGS.get(usize::from(n)).ok_or(Reason::Undecodable)?,
        };
        match saved(register) {
            Some(saved) => {
                let at = i32::from(saved.at) + self.frame;
                self.asm.load(RAX, Mem(RSP, at))
            }
            None => self.asm.move_to(RAX, register),
        }
    }

    /// Jumps that are taken when the hit is not wanted.
    fn filter(
        &mut self,
        filter: &Filter,
        failed: &mut heapless::Vec<Forward, 4>,
    ) -> Result<(), Reject> {
        for test in filter.iter() {
            self.value(test.value)?;
            match (test.bits, test.signed) {
                (8, false) => self.asm.registers(false, &[0x0f, 0xb6], RAX, RAX)?,
                (8, true) => self.asm.registers(true, &[0x0f, 0xbe], RAX, RAX)?,
                (16, false) => self.asm.registers(false, &[0x0f, 0xb7], RAX, RAX)?,
                (16, true) => self.asm.registers(true, &[0x0f, 0xbf], RAX, RAX)?,
                (32, false) => self.asm.registers(false, &[0x89], RAX, RAX)?,
                (32, true) => self.asm.registers(true, &[0x63], RAX, RAX)?,
                (64, _) => {}
                _ => return Err(Reason::Undecodable.into()),
            }
            let bits = matches!(test.relation, Relation::AnyBit | Relation::NoBit);
            match immediate(test) {
                // 48 3D <imm32> CMP rax; 48 A9 <imm32> TEST rax
                Some(immediate) => {
                    self.asm.bytes(&[0x48, if bits { 0xa9 } else { 0x3d }])?;
                    self.asm.bytes(&immediate)?;
                }
                None => {
                    self.asm.constant(RDX, test.extended(test.constant))?;
                    let opcode = if bits { 0x85 } else { 0x39 };
                    self.asm.registers(true, &[opcode], RDX, RAX)?;
                }
            }
            // The opposite leaves.
            let out = match (test.relation, test.signed) {
                (Relation::Eq | Relation::NoBit, _) => condition::NE,
                (Relation::Ne | Relation::AnyBit, _) => condition::E,
                (Relation::Lt, false) => condition::AE,
                (Relation::Lt, true) => condition::GE,
                (Relation::Le, false) => condition::A,
                (Relation::Le, true) => condition::G,
                (Relation::Gt, false) => condition::BE,
                (Relation::Gt, true) => condition::LE,
                (Relation::Ge, false) => condition::B,
                (Relation::Ge, true) => condition::L,
            };
            let forward = self.asm.jump_if(out)?;
            failed.push(forward).map_err(|_| Reason::NoRoomForSlots)?;
        }
        Ok(())
    }

    /// What can fault, before a slot is taken: RDTSC where it is forbidden, words of the stack.
    fn fetch(&mut self, values: Values, time: bool) -> Result<(), Reject> {
        if time {
            self.asm.bytes(&[0x0f, 0x31])?; // RDTSC
            self.asm.bytes(&[0x48, 0xc1, 0xe2, 32])?; // SHL rdx, 32
            self.asm.registers(true, &[0x09], RDX, RAX)?; // OR rax, rdx
            self.asm.store(Self::slot(self.fetched), RAX)?;
        }
        if values.has(Value::Link) {
            self.asm.load(RAX, Mem(RSP, self.frame))?;
            self.asm.store(Self::slot(self.fetched + 1), RAX)?;
        }
        values.last_on_stack().map_or(Ok(()), |value| self.value(value))
    }

    /// Takes a slot: r10 + SLOTS is its address, r11 the turn that commits it.
    /// ```text
    ///     rdfsbase rax                          the shard
    ///     shr rax, 12; imul eax, eax, SPREAD; shr eax, 32-n; imul eax, eax, length
    ///     lea r11, [rip + ring]; add r11, rax
    /// 1:  mov rax, [r11 + HEAD]                 the position
    ///     mov r10d, eax; and r10d, slots-1      the slot
    ///     mov rdx, rax; sub rdx, r10            the lap
    ///     shl r10, 7; add r10, r11
    ///     sub rdx, [r10 + SLOTS + TURN]
    ///     jne 2f
    ///     lea rdx, [rax + 1]
    ///     lock cmpxchg [r11 + HEAD], rdx
    ///     jne 1b
    ///     …write, commit, jump to 3
    /// 2:  js 1b                                 another writer has been there
    ///     int3                                  where a full shard is waited for
    ///     lock inc qword [rip + missed]
    /// 3:
    /// ```
    /// Returns the jump to 2 and the offset of 1.
    fn claim(
        &mut self,
        ring: Addr,
        shape: Shape,
        done: &mut Recorded,
    ) -> Result<(Forward, u16), Reject> {
        let asm = &mut self.asm;
        if shape.shard_bits() > 0 {
            asm.bytes(&[0xf3, 0x48, 0x0f, 0xae, 0xc0])?; // RDFSBASE rax
            asm.bytes(&[0x48, 0xc1, 0xe8, SPREAD_SHIFT])?; // SHR rax, imm8
            asm.bytes(&[0x69, 0xc0])?; // IMUL eax, eax, imm32
            asm.bytes(&SPREAD.to_le_bytes())?;
            asm.bytes(&[0xc1, 0xe8, 32 - shape.shard_bits()])?; // SHR eax, imm8
            asm.bytes(&[0x69, 0xc0])?;
            asm.bytes(&(shape.shard_len() as u32).to_le_bytes())?;
        }
        asm.address(R11, ring)?;
        if shape.shard_bits() > 0 {
            asm.registers(true, &[0x01], RAX, R11)?; // ADD r11, rax
        }
        let again = asm.offset();
        asm.load(RAX, Mem(R11, HEAD as i32))?;
        asm.registers(false, &[0x89], RAX, R10)?;
        asm.bytes(&[0x41, 0x81, 0xe2])?; // AND r10d, imm32
        asm.bytes(&(shape.slots() as u32 - 1).to_le_bytes())?;
        asm.move_to(RDX, RAX)?;
        asm.registers(true, &[0x29], R10, RDX)?; // SUB rdx, r10
        asm.bytes(&[0x49, 0xc1, 0xe2, SLOT.trailing_zeros() as u8])?; // SHL r10, imm8
        asm.registers(true, &[0x01], R11, R10)?;
        asm.memory(true, &[0x2b], RDX, Mem(R10, TURN_OF))?; // SUB rdx, [mem]
        let differs = asm.jump_if(condition::NE)?;
        asm.lea(RDX, Mem(RAX, 1))?;
        asm.bytes(&[0xf0])?;
        asm.memory(true, &[0x0f, 0xb1], RDX, Mem(R11, HEAD as i32))?; // LOCK CMPXCHG
        // Taken when CMPXCHG wrote; the jump behind it is then not.
        done.noted.claimed = asm.offset();
        asm.jump_back_if(condition::NE, again)?;
        done.noted.taken = asm.offset();
        asm.bytes(&[0x48, 0x25])?; // AND rax, imm32: the lap again
        asm.bytes(&(shape.slots() as i32).wrapping_neg().to_le_bytes())?;
        asm.lea(R11, Mem(RAX, 1))?;
        Ok((differs, again))
    }

    /// Fills the slot.
    fn write(&mut self, probe: u32, values: Values, time: bool) -> Result<(), Reject> {
        let word = |offset: u64| Mem(R10, (SLOTS + offset) as i32);
        self.asm.bytes(&[0xf3, 0x48, 0x0f, 0xae, 0xc0])?; // RDFSBASE rax
        self.asm.store(word(THREAD), RAX)?;
        self.asm.memory(false, &[0xc7], RAX, word(PROBE))?; // MOV dword [mem], imm32
        self.asm.bytes(&probe.to_le_bytes())?;
        for value in values.iter() {
            let place = word(VALUES + 8 * values.word(value).unwrap_or(0) as u64);
            if let Value::Float(n) = value {
                // 66 0F D6 /r MOVQ [mem], xmm
                self.asm.bytes(&[0x66])?;
                self.asm.memory(false, &[0x0f, 0xd6], Gpr::new(n), place)?;
                continue;
            }
            let untouched = match value {
                Value::Arg(n) => ARGS.get(usize::from(n)).filter(|&&register| register != RDX),
                _ => None,
            };
            match untouched {
                Some(&register) => self.asm.store(place, register)?,
                None => {
                    self.value(value)?;
                    self.asm.store(place, RAX)?;
                }
            }
        }
        if time {
            self.asm.load(RAX, Self::slot(self.fetched))?;
            self.asm.store(word(TIME), RAX)?;
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
        self.asm.store(Mem(R10, TURN_OF), R11)?;
        done.noted.committed = self.asm.offset();
        let over = self.asm.jump()?;
        self.asm.land(differs)?;
        let from = self.asm.offset();
        self.asm.jump_back_if(condition::S, again)?;
        if wait {
            done.full = Some(self.asm.offset());
            done.full_time = 8 * self.fetched as u16;
            self.asm.bytes(X86_64::TRAP)?; // INT3
        }
        self.asm.increment(missed)?;
        done.missed = Some(Noted { from, ..self.noted() });
        self.asm.land(over)
    }
}
