//! Windows of several instructions: a trampoline for all of them, entered at each, against the
//! same instructions in place.

use xol_arch::jump::{Features, Filter, Order, Record, Recorder, Side, Trampoline, Window, build};
use xol_arch::{Addr, Arch, Reason, Regs as _, Rules, Text};

use crate::check::{Bench, Difference};
use crate::cpu::{Case, Cpu, End, Outcome, Placed, State, WINDOW, Way};
use crate::jump::word;
use crate::rng::Rng;

impl<C: Cpu> Bench<'_, C> {
    /// Puts more instructions behind the case's own, until a jump has room; whether they were
    /// compared. Where a jump is one instruction there is nothing to do.
    pub(crate) fn window(&mut self) -> Result<bool, Difference> {
        if C::Arch::INSN_ALIGN > 1 {
            return Ok(false);
        }
        let bytes = &self.case.bytes;
        let seed = bytes.iter().fold(1, |seed: u64, &b| seed.rotate_left(7) ^ u64::from(b));
        let mut rng = Rng::new(seed, bytes.len() as u64);
        let Some(bytes) = self.more(&mut rng) else { return Ok(false) };
        let site = self.case.layout.site;
        let code = [bytes.as_slice(), &C::Arch::TRAP.repeat(16)].concat();
        let end = site.add(bytes.len() as u64);
        let text = Text { function: Some((site, end)), ..Text::new(site, &code) };
        // Sometimes a branch of the function goes to where no instruction begins.
        let target = site.add(1 + rng.below(4));
        let targets = [target];
        let targets = if rng.one_in(4) { &targets[..] } else { &[] };
        let side = if rng.one_in(3) { Side::Above } else { Side::Below };
        let Ok(window) = C::Arch::window(&text, site, Rules::default(), targets, side) else {
            return Ok(false);
        };
        // A call through memory leaves its target below the return address.
        if window.calls || !self.may_run(&window, &bytes) {
            return Ok(false);
        }
        let case = Case { bytes: bytes.clone(), ..self.case.clone() };
        let mut bench = Bench { cpu: self.cpu, case: &case, text, plan: self.plan };
        bench.entries(&window, &mut rng)
    }

    /// The case's instruction and others, at least as long as a jump.
    fn more(&self, rng: &mut Rng) -> Option<Vec<u8>> {
        let mut bytes = self.case.bytes.clone();
        for _ in 0..64 {
            if bytes.len() >= 5 {
                // Branches go further away than that.
                return (bytes.len() <= 15).then_some(bytes);
            }
            let Some(case) = self.cpu.case(rng) else { continue };
            // What is made for another layout may reach where it must not.
            if case.layout == self.case.layout {
                bytes.extend(case.bytes);
            }
        }
        None
    }

    /// Whether nothing in these bytes does harm in a state that was not made for it.
    fn may_run(&self, window: &Window, bytes: &[u8]) -> bool {
        let layout = &self.case.layout;
        let text = Text::new(layout.site, bytes);
        // From wherever it is entered, to the end.
        window.covered().iter().all(|insn| {
            let mut offset = u64::from(insn.offset);
            while offset < bytes.len() as u64 {
                let at = layout.site.add(offset);
                let Ok(len) = C::Arch::length(&text, at) else { return false };
                if !self.cpu.may_follow(layout, text.from(at), at) {
                    return false;
                }
                offset += len as u64;
            }
            true
        })
    }

    fn entries(&mut self, window: &Window, rng: &mut Rng) -> Result<bool, Difference> {
        let layout = self.case.layout;
        let notes = layout.notes;
        let counter = |offset: u8| notes.add(8 * u64::from(offset));
        let flags = |offset: u8| {
            let at = layout.site.add(offset.into());
            C::Arch::flags_live(&self.text, at)
        };
        // Only counts that need no stack: the others were compared one by one.
        let offsets = window.covered().iter().map(|insn| insn.offset);
        let counted: Vec<u8> = offsets.filter(|&o| !flags(o) && !rng.one_in(3)).collect();
        let records: Vec<_> = counted
            .iter()
            .map(|&offset| Record {
                offset,
                flags: false,
                stack: false,
                filter: Filter::NONE,
                recorder: Recorder::Count { counter: counter(offset) },
            })
            .collect();
        let text = self.text;
        let order = Order {
            text: &text,
            window,
            rules: Rules::default(),
            records: &records,
            features: Features::ALL,
        };
        let made = match build::<C::Arch>(&order, layout.slot) {
            Ok(made) => made,
            Err(reject) if reject.reason == Reason::OutOfReach => return Ok(false),
            Err(reject) => return Err(different(format!("trampoline: {reject}"))),
        };
        let mut compared = false;
        for insn in window.covered() {
            let Some((wanted, mut reached)) = self.in_place(window, insn.offset, &counted) else {
                continue;
            };
            let Some((got, now)) = self.entered(&made, insn.offset) else { continue };
            let mut both = [wanted, self.back_from_trampoline(&made, got)];
            if made.flags_lost() && both[0].end != End::Trap {
                both.iter_mut().for_each(|outcome| C::clear_flags(&mut outcome.state.regs));
            }
            let [wanted, got] = both;
            self.compare(Way::Window, wanted, got)?;
            let counts: Vec<u8> =
                (0..window.len).filter(|&n| word(&now, 8 * u64::from(n)) != 0).collect();
            reached.sort_unstable();
            if counts != reached {
                return Err(different(format!(
                    "entered at {}, counted at {counts:?} and not at {reached:?}\n",
                    insn.offset
                )));
            }
            compared = true;
        }
        Ok(compared)
    }

    /// Runs the instructions in place from `offset` on; the outcome, and at which of `counted` it
    /// came by.
    fn in_place(
        &mut self,
        window: &Window,
        offset: u8,
        counted: &[u8],
    ) -> Option<(Outcome<C>, Vec<u8>)> {
        let layout = self.case.layout;
        let site = layout.site;
        let mut before: State<C> = self.case.state.clone();
        before.regs.set_pc(site.add(offset.into()));
        let whole = [Placed { at: site, bytes: &self.case.bytes }];
        let outcome = self.cpu.run(&layout, &whole, &before, false)?;
        let mut reached = Vec::new();
        let mut at = Some(offset);
        while let Some(here) = at {
            // Those before it were passed: a trap here changes none of them.
            let stop = site.add(here.into());
            let trapped = [whole[0], Placed { at: stop, bytes: C::Arch::TRAP }];
            let came = here == offset || {
                let stopped = self.cpu.run(&layout, &trapped, &before, false)?;
                stopped.end == End::Trap && stopped.pc() == stop
            };
            if !came {
                break;
            }
            if counted.contains(&here) {
                reached.push(here);
            }
            let len = window.covered().iter().find(|insn| insn.offset == here)?.len;
            at = window.has(here + len).then_some(here + len);
        }
        Some((outcome, reached))
    }

    /// Runs the trampoline from where a thread enters it that is at `offset`; what was counted.
    fn entered(&mut self, made: &Trampoline, offset: u8) -> Option<(Outcome<C>, Vec<u8>)> {
        let layout = self.case.layout;
        let mut before = self.case.state.clone();
        let enter: Addr = layout.slot.add(made.enter(offset)?.into());
        before.regs.set_pc(enter);
        self.cpu.write_notes(&layout, &vec![0; WINDOW]);
        let placed = [
            Placed { at: layout.site, bytes: &self.case.bytes },
            Placed { at: layout.slot, bytes: &made.code },
        ];
        let outcome = self.cpu.run(&layout, &placed, &before, false)?;
        Some((outcome, self.cpu.read_notes(&layout)))
    }
}

fn different(what: String) -> Difference {
    Difference { way: Way::Window, what }
}
