//! Trampolines: the recorder alone, then the copy from the state that it left, and a stop at a
//! place in the recorder, from where the thread is taken back to the instruction.

use xol_arch::jump::{
    Features, Filter, Order, PROBE, Phase, Place, Record, Recorder, Relation, SLOT, SLOTS, Shape,
    THREAD, TIME, TURN, Test, Trampoline, VALUES, Value, Values, Window, build,
};
use xol_arch::{Addr, Arch, Regs as _, Rules, Strategy};

use crate::check::{Bench, Difference, moved};
use crate::cpu::{Cpu, End, Layout, Outcome, Placed, State, WINDOW, Way, word_at};
use crate::rng::Rng;

/// Below the red zone, what recorders may use of the stack.
const FRAME: u64 = 64;
/// The ring in the notes; the counter is at their beginning.
const RING: u64 = 256;
/// Where missed records are counted.
const LOST: u64 = 8;
const WAY: Way = Way::Near(Strategy::Jump);

fn shape() -> Shape {
    Shape::new(1, 2).expect("a small ring")
}

impl<C: Cpu> Bench<'_, C> {
    /// Whether there was something to compare.
    pub(crate) fn jump(&mut self) -> Result<bool, Difference> {
        self.jumps().map_err(|what| Difference { way: WAY, what }).and_then(|outcomes| {
            let Some([wanted, got]) = outcomes else { return Ok(false) };
            self.compare(WAY, wanted, got).map(|()| true)
        })
    }

    fn jumps(&mut self) -> Result<Option<[Outcome<C>; 2]>, String> {
        let layout = self.case.layout;
        let site = layout.site;
        let mut before = self.case.state.clone();
        let sp = before.regs.sp();
        let frame = sp.0.wrapping_sub(C::RED_ZONE + FRAME);
        let room = layout.windows.iter().any(|start| {
            let offset = frame.wrapping_sub(start.0);
            offset <= WINDOW as u64 - FRAME
        });
        if !room || !sp.0.is_multiple_of(C::STACK_ALIGN) {
            return Ok(None);
        }
        let seed = self
            .case
            .bytes
            .iter()
            .fold(sp.0, |seed, &byte| seed << 5 ^ seed >> 3 ^ u64::from(byte));
        let mut rng = Rng::new(seed, before.regs.arg(0).unwrap_or(0));
        let notes = layout.notes;
        let link = self.cpu.link(&layout, &before);
        let live = C::Arch::flags_live(&self.text, site);
        let held =
            |value| held::<C>(value, &layout, &before).or(link.filter(|_| value == Value::Link));
        let records = records(&mut rng, notes, &before.regs, &held, live);
        let features = Features { atomics: rng.one_in(2), ..Features::ALL };
        let window = Window::one(site, self.plan.span());
        let order = Order {
            text: &self.text,
            window: &window,
            rules: Rules::default(),
            records: &records,
            features,
        };
        let made = match build::<C::Arch>(&order, layout.slot) {
            Ok(made) => made,
            Err(reject) if self.cpu.refusals().contains(&reject.reason) => return Ok(None),
            Err(reject) => return Err(format!("trampoline: {reject}")),
        };
        let piece = made.piece(0).ok_or("the instruction is not in the trampoline")?;
        before.regs.set_pc(layout.slot);

        // The recorder alone.
        let first = self.notes(&mut rng);
        self.cpu.write_notes(&layout, &first);
        let Some(stopped) = self.stop_at(&made, piece.copy, &before) else { return Ok(None) };
        if stopped.end != End::Trap || stopped.pc() != layout.slot.add(piece.copy.into()) {
            return Err(format!("the recorder ended with {:?} at {}", stopped.end, stopped.pc()));
        }
        self.same_but_frame(&before, &stopped.state, made.flags_lost())?;
        let last = self.cpu.read_notes(&layout);
        self.noted(&first, &last, &records)?;

        // A place in between.
        let offsets = boundaries::<C>(&made, layout.slot, piece.copy);
        let pc = *rng.choose(&offsets);
        self.cpu.write_notes(&layout, &first);
        if let Some(stopped) = self.stop_at(&made, pc, &before)
            && stopped.pc() == layout.slot.add(pc.into())
        {
            let now = self.cpu.read_notes(&layout);
            self.place(&made, pc, records.len(), &before, stopped.state, [&first, &now, &last])?;
        }

        // The copy from there on, against the instruction in place, which has the flags as they were.
        let mut after = stopped.state;
        let mut original = after.clone();
        original.regs = before.regs;
        original.regs.set_pc(site);
        let in_place = [Placed { at: site, bytes: &self.case.bytes }];
        let Some(mut wanted) = self.cpu.run(&layout, &in_place, &original, false) else {
            return Ok(None);
        };
        after.regs.set_pc(layout.slot.add(piece.copy.into()));
        let placed = [in_place[0], Placed { at: layout.slot, bytes: &made.code }];
        let Some(mut got) = self.cpu.run(&layout, &placed, &after, false) else { return Ok(None) };
        // A fault came before the flags were overwritten.
        if made.flags_lost() && wanted.end != End::Trap {
            C::clear_flags(&mut wanted.state.regs);
            C::clear_flags(&mut got.state.regs);
        }
        Ok(Some([wanted, self.back_from_trampoline(&made, got)]))
    }

    /// Runs from `before` with a trap at offset `pc` of the trampoline.
    pub(crate) fn stop_at(
        &mut self,
        made: &Trampoline,
        pc: u16,
        before: &State<C>,
    ) -> Option<Outcome<C>> {
        let layout = self.case.layout;
        let code = made.code.get(..pc.into())?;
        let placed = [
            Placed { at: layout.site, bytes: &self.case.bytes },
            Placed { at: layout.slot, bytes: code },
            Placed { at: layout.slot.add(pc.into()), bytes: C::Arch::TRAP },
            Placed {
                at: layout.slot.add(u64::from(pc) + C::Arch::TRAP.len() as u64),
                bytes: made.code.get(usize::from(pc) + C::Arch::TRAP.len()..).unwrap_or(&[]),
            },
        ];
        self.cpu.run(&layout, &placed, before, false)
    }

    /// Nothing has changed but the PC, the recorder's frame, and flags that need not be kept.
    fn same_but_frame(
        &self,
        before: &State<C>,
        after: &State<C>,
        flags_lost: bool,
    ) -> Result<(), String> {
        let (mut wanted, mut got) = (before.clone(), after.clone());
        wanted.regs.set_pc(Addr(0));
        got.regs.set_pc(Addr(0));
        if flags_lost {
            C::clear_flags(&mut wanted.regs);
            C::clear_flags(&mut got.regs);
        }
        self.forget_frame(before.regs.sp(), &mut wanted);
        self.forget_frame(before.regs.sp(), &mut got);
        if wanted == got {
            return Ok(());
        }
        let (regs, was) = (got.regs, wanted.regs);
        let memory = if wanted.memory == got.memory { "the same" } else { "changed" };
        let vectors = if wanted.vectors == got.vectors { "the same" } else { "changed" };
        Err(format!(
            "a recorder left\n  {regs:x?} for\n  {was:x?}; memory is {memory}, vectors are {vectors}\n"
        ))
    }

    /// Makes zero what recorders leave on the stack.
    fn forget_frame(&self, sp: Addr, state: &mut State<C>) {
        let frame = sp.0.wrapping_sub(C::RED_ZONE + FRAME);
        for (i, start) in self.case.layout.windows.iter().enumerate() {
            for at in frame..frame.wrapping_add(FRAME) {
                let offset = at.wrapping_sub(start.0) as usize;
                if offset < WINDOW {
                    state.memory[i][offset] = 0;
                }
            }
        }
    }

    /// The notes at first: a ring in some lap, now and then full.
    fn notes(&self, rng: &mut Rng) -> Vec<u8> {
        let mut notes = vec![0; WINDOW];
        rng.fill(&mut notes);
        let mut set = |at: u64, value: u64| {
            notes[at as usize..at as usize + 8].copy_from_slice(&value.to_le_bytes());
        };
        set(0, if rng.one_in(8) { 0xffff_ffff } else { rng.below(100) });
        set(LOST, rng.below(5));
        for shard in 0..shape().shards() {
            let shard = RING + shard * shape().shard_len();
            let slots = shape().slots();
            let head = slots + rng.below(1000);
            set(shard, head);
            let full = rng.one_in(4);
            for slot in 0..slots {
                let lap = head - head % slots;
                let turn = match () {
                    () if full => lap - slots + 1,
                    () if slot < head % slots => lap + slots,
                    () => lap,
                };
                set(shard + SLOTS + slot * SLOT, turn);
            }
        }
        notes
    }

    /// Whether the notes are as the records say, the time aside.
    fn noted(&self, first: &[u8], last: &[u8], records: &[Record]) -> Result<(), String> {
        let regs = &self.case.state.regs;
        let mut wanted = first.to_vec();
        let mut last = last.to_vec();
        for record in records.iter().filter(|record| record.filter.passes(regs)) {
            let Recorder::Event { probe, values, time, .. } = record.recorder else {
                add(&mut wanted, 0);
                continue;
            };
            let thread = self.cpu.thread_pointer(&self.case.state);
            let shard = RING + shape().shard_of(thread) * shape().shard_len();
            let slots = shape().slots();
            let head = word(&wanted, shard);
            let lap = head - head % slots;
            let slot = shard + SLOTS + head % slots * SLOT;
            if word(&wanted, slot) != lap {
                add(&mut wanted, LOST);
                continue;
            }
            add(&mut wanted, shard);
            add(&mut wanted, slot);
            let mut set = |at: u64, bytes: &[u8]| {
                wanted[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
            };
            set(slot + THREAD, &thread.to_le_bytes());
            set(slot + PROBE, &probe.to_le_bytes());
            for value in values.iter() {
                let (layout, state) = (&self.case.layout, &self.case.state);
                let held = match value {
                    Value::Link => self.cpu.link(layout, state),
                    value => held::<C>(value, layout, state),
                };
                let held = held.ok_or("a value that nothing holds")?;
                let at = slot + VALUES + 8 * values.word(value).unwrap_or(0) as u64;
                set(at, &held.to_le_bytes());
            }
            if time {
                if word(&last, slot + TIME) == word(first, slot + TIME) {
                    return Err("no time is noted down".into());
                }
                let at = (slot + TIME) as usize;
                last.copy_within(at..at + 8, 8);
                set(slot + TIME, &last[8..16]);
                last[8..16].copy_from_slice(&first[8..16]);
            }
        }
        match wanted.iter().zip(&last).position(|(wanted, last)| wanted != last) {
            None => Ok(()),
            Some(at) => Err(format!(
                "noted down wrongly at {at:#x}: {:02x?} for {:02x?}\n{records:x?}\n",
                &last[at & !7..(at & !7) + 8],
                &wanted[at & !7..(at & !7) + 8]
            )),
        }
    }

    /// A thread that stopped at `pc` of the trampoline is where the map says. `notes` are the
    /// first, those now, and the last.
    fn place(
        &self,
        made: &Trampoline,
        pc: u16,
        records: usize,
        before: &State<C>,
        state: State<C>,
        [first, now, last]: [&[u8]; 3],
    ) -> Result<(), String> {
        let place = made.place(pc).ok_or(format!("no place at {pc}"))?;
        let mut thread = self.thread(state);
        let mut regs = thread.state.regs;
        let taken = C::Arch::slot_of(&regs);
        made.rewind::<C::Arch>(pc, &mut regs, &mut thread)
            .map_err(|fault| format!("the frame at {pc} cannot be read: {fault:?}"))?;
        thread.state.regs = regs;
        self.same_but_frame(before, &thread.state, made.flags_lost())
            .map_err(|what| format!("rewound from {pc}, {place:?}: {what}"))?;
        // Times differ from run to run.
        let untimed = |notes: &[u8]| {
            let mut notes = notes.to_vec();
            for shard in 0..shape().shards() {
                for slot in 0..shape().slots() {
                    let slot = RING + shard * shape().shard_len() + SLOTS + slot * SLOT;
                    notes[(slot + TIME) as usize..][..8].fill(0);
                }
            }
            notes
        };
        let [first, now, last] = [first, now, last].map(untimed);
        let right = match place {
            Place::At { recorded: 0, .. } => now == first,
            Place::At { recorded, .. } => usize::from(recorded) < records || now == last,
            Place::Recording { phase: Phase::Before, record: 0, .. } => now == first,
            Place::Recording { phase: Phase::After, record, .. } => {
                usize::from(record) + 1 < records || now == last
            }
            Place::Recording { phase: Phase::Taken, record: 0, .. } => {
                // Its turn is the lap, until it is committed.
                let turn = taken.add(TURN).distance_from(self.case.layout.notes);
                let turn = |notes: &[u8]| {
                    let word = notes.get(usize::try_from(turn).ok()?..)?.first_chunk()?;
                    Some(u64::from_le_bytes(*word))
                };
                turn(&first).is_some()
                    && turn(&now) == turn(&first)
                    && turn(&last) == turn(&first).map(|turn| turn + 1)
            }
            Place::Recording { .. } => true,
            Place::Inside { .. } | Place::Behind { .. } => false,
        };
        if right { Ok(()) } else { Err(format!("at {pc} it is not {place:?}")) }
    }

    /// A thread that stopped in a trampoline, seen from outside.
    pub(crate) fn back_from_trampoline(
        &self,
        made: &Trampoline,
        mut got: Outcome<C>,
    ) -> Outcome<C> {
        let layout = self.case.layout;
        let pc = got.pc();
        let offset = pc.distance_from(layout.slot);
        let place = u16::try_from(offset).ok().and_then(|offset| made.place(offset));
        let at = match place {
            Some(Place::At { offset, .. } | Place::Behind { offset }) => {
                layout.site.add(offset.into())
            }
            Some(Place::Inside { offset: 0, by }) if by < self.plan.span().into() => {
                layout.site.add(by.into())
            }
            _ => return got,
        };
        got.state.regs.set_pc(at);
        got.end = moved(got.end, pc, at);
        got
    }
}

/// Where instructions begin before `end`.
fn boundaries<C: Cpu>(made: &Trampoline, slot: Addr, end: u16) -> Vec<u16> {
    let text = xol_arch::Text::new(slot, &made.code);
    let mut offsets = vec![0];
    let mut at = 0;
    while let Ok(len) = C::Arch::length(&text, slot.add(at)) {
        at += len as u64;
        if at > u64::from(end) {
            break;
        }
        offsets.push(at as u16);
    }
    offsets
}

pub(crate) fn word(notes: &[u8], at: u64) -> u64 {
    notes[at as usize..].first_chunk().map_or(0, |&bytes| u64::from_le_bytes(bytes))
}

fn add(notes: &mut [u8], at: u64) {
    let sum = word(notes, at).wrapping_add(1);
    notes[at as usize..at as usize + 8].copy_from_slice(&sum.to_le_bytes());
}

/// What a value is in a state, but for the link.
fn held<C: Cpu>(value: Value, layout: &Layout, state: &State<C>) -> Option<u64> {
    let sp = state.regs.sp();
    match value {
        Value::Float(n) => Some(C::float(&state.vectors, n)),
        Value::Stack(n) => {
            let above = [8 * u32::from(n), 8 * u32::from(n) + 8];
            let word = |above: &u32| C::Arch::CONVENTION.stack_word(*above) == Some(n);
            word_at(layout, state, sp.add((*above.iter().find(|above| word(above))?).into()))
        }
        value => in_register(value, &state.regs),
    }
}

/// What a value is that is a general register.
fn in_register<R: xol_arch::Regs>(value: Value, regs: &R) -> Option<u64> {
    match value {
        Value::Arg(n) => regs.arg(n.into()),
        Value::Ret => Some(regs.ret()),
        Value::Sp => Some(regs.sp().0),
        // x86-64 has sixteen; behind them are rip and rflags.
        Value::Register(16..) if R::named("x16").is_none() => None,
        Value::Register(n) => regs.register(n),
        Value::Link | Value::Float(_) | Value::Stack(_) => None,
    }
}

/// One or two recorders with filters, which keep the flags where they are `live`.
fn records<R: xol_arch::Regs>(
    rng: &mut Rng,
    notes: Addr,
    regs: &R,
    held: &dyn Fn(Value) -> Option<u64>,
    live: bool,
) -> Vec<Record> {
    let count = 1 + usize::from(rng.one_in(4));
    let one = |_| {
        let recorder = if rng.one_in(3) {
            Recorder::Count { counter: notes }
        } else {
            let args = (0..8).filter(|&n| regs.arg(n).is_some() && !rng.one_in(4));
            let mut values = args.fold(Values::NONE, |set, n| set.with(Value::Arg(n as u8)));
            let more = [Value::Ret, Value::Sp, Value::Link].map(|value| (value, 2)).into_iter();
            let more = more.chain((0..16).map(|n| (Value::Float(n), 6)));
            let more = more.chain((0..8).map(|n| (Value::Stack(n), 6)));
            for (value, odds) in more.chain((0..32).map(|n| (Value::Register(n), 8))) {
                if rng.one_in(odds) && held(value).is_some() && values.len() < Value::WORDS {
                    values = values.with(value);
                }
            }
            Recorder::Event {
                ring: notes.add(RING),
                shape: shape(),
                missed: notes.add(LOST),
                probe: rng.next() as u32,
                values,
                time: !rng.one_in(4),
                wait: false,
            }
        };
        let mut filter = Filter::NONE;
        while rng.one_in(3)
            && let Some(more) = filter.with(test(rng, regs))
        {
            filter = more;
        }
        Record { offset: 0, flags: live || rng.one_in(4), stack: true, filter, recorder }
    };
    (0..count).map(one).collect()
}

fn test<R: xol_arch::Regs>(rng: &mut Rng, regs: &R) -> Test {
    let value = *rng.choose(&[
        Value::Arg(0),
        Value::Arg(1),
        Value::Arg(2),
        Value::Arg(3),
        Value::Arg(4),
        Value::Arg(5),
        Value::Ret,
        Value::Sp,
    ]);
    let relation = *rng.choose(&[
        Relation::Eq,
        Relation::Ne,
        Relation::Lt,
        Relation::Le,
        Relation::Gt,
        Relation::Ge,
        Relation::AnyBit,
        Relation::NoBit,
    ]);
    // What it is compared with is near it mostly.
    let near = in_register(value, regs).unwrap_or(0);
    let constant = match rng.below(8) {
        0 => rng.next(),
        1 => rng.below(256),
        2 => 1 << rng.below(64),
        3 => near ^ 1 << rng.below(64),
        4 => near.wrapping_add(1),
        5 => near.wrapping_sub(1),
        _ => near,
    };
    Test { value, bits: *rng.choose(&[8, 16, 32, 64]), signed: rng.one_in(2), relation, constant }
}
