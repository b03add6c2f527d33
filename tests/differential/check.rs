//! The ways to run a displaced instruction, each compared with the instruction in place.

use std::fmt::Write as _;
use xol_arch::{Addr, Arch, Code, Fault, Machine, Memory, Plan, Regs, Rules, Strategy, Text};

use crate::cpu::{Case, Cpu, End, Layout, Outcome, Placed, State, WINDOW, Way};

/// SIGSEGV, the same number on every Linux.
const SIGSEGV: i32 = 11;

/// One way came out differently from the instruction in place.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Which way.
    pub way: Way,
    /// What differs, a line for each.
    pub what: String,
}

/// Runs `case` in place and in every way its plan allows. `None` where there is no plan or the
/// run did not end; else the ways that were compared.
///
/// # Errors
/// The first difference.
pub fn check<C: Cpu>(cpu: &mut C, case: &Case<C>) -> Result<Option<Vec<Way>>, Difference> {
    let site = case.layout.site;
    let text = Text { guarded: case.layout.guarded, ..Text::new(site, &case.bytes) };
    let Ok(plan) = C::Arch::plan(&text, site, Rules::default()) else { return Ok(None) };
    let mut bench = Bench { cpu, case, text, plan };
    let in_place = [Placed { at: site, bytes: &case.bytes }];
    let Some(wanted) = bench.cpu.run(&case.layout, &in_place, &case.state, false) else {
        return Ok(None);
    };
    // A branch to where the copies and trampolines stand finds them, or a trap where they are not.
    let page = |at: Addr| at.align_down(4096);
    if [case.layout.slot, case.layout.far_slot].map(page).contains(&page(wanted.pc())) {
        return Ok(None);
    }
    match bench.all_ways(wanted) {
        Err(_) if bench.touches_notes() => Ok(None),
        result => result.map(Some),
    }
}

impl<C: Cpu> Bench<'_, C> {
    /// Every way there is, compared with what the instruction leaves in place.
    fn all_ways(&mut self, wanted: Outcome<C>) -> Result<Vec<Way>, Difference> {
        let mut done = Vec::new();
        for way in self.ways() {
            let got = match self.run(way) {
                Ok(Some(got)) => got,
                Ok(None) => continue,
                Err(what) => return Err(Difference { way, what }),
            };
            self.compare(way, wanted.clone(), got)?;
            done.push(way);
        }
        if self.jump()? {
            done.push(Way::Near(Strategy::Jump));
        }
        if self.window()? {
            done.push(Way::Window);
        }
        Ok(done)
    }

    /// Whether the instruction in place happens to read or write where trampolines note things
    /// down: what it does then is no part of the case.
    fn touches_notes(&mut self) -> bool {
        let layout = self.case.layout;
        let in_place = [Placed { at: layout.site, bytes: &self.case.bytes }];
        let mut run = |byte: u8| {
            let notes = vec![byte; WINDOW];
            self.cpu.write_notes(&layout, &notes);
            let outcome = self.cpu.run(&layout, &in_place, &self.case.state, false);
            (outcome, self.cpu.read_notes(&layout) != notes)
        };
        let (one, other) = (run(0), run(0x5a));
        one.1 || other.1 || one.0 != other.0
    }
}

pub(crate) struct Bench<'a, C: Cpu> {
    pub(crate) cpu: &'a mut C,
    pub(crate) case: &'a Case<C>,
    pub(crate) text: Text<'a>,
    pub(crate) plan: Plan<C::Arch>,
}

impl<C: Cpu> Bench<'_, C> {
    fn ways(&self) -> Vec<Way> {
        let mut ways: Vec<_> = self.plan.strategies().iter().map(Way::Near).collect();
        ways.retain(|way| *way != Way::Near(Strategy::Step) || self.cpu.can_step());
        if self.plan.copied.is_none() {
            ways.push(Way::Orphan);
        } else if self.plan.copied.is_some_and(|copied| copied.trap_behind) {
            ways.push(Way::Far);
        }
        ways
    }

    /// Runs one way; `None` where it is the same as another or not allowed from there.
    fn run(&mut self, way: Way) -> Result<Option<Outcome<C>>, String> {
        let layout = self.case.layout;
        match way {
            Way::Near(Strategy::Simulate) => Ok(self.simulate()),
            Way::Near(Strategy::Boost) | Way::Orphan => {
                let mut code = Code::new();
                let site = layout.site;
                let made = C::Arch::relocate(&self.text, site, &self.plan, layout.slot, &mut code);
                let done = match made {
                    Ok(relocated) => relocated.done,
                    Err(reject)
                        if way == Way::Orphan && self.cpu.refusals().contains(&reject.reason) =>
                    {
                        return Ok(None);
                    }
                    Err(reject) => return Err(format!("relocate: {reject}")),
                };
                let got = self.execute(layout.slot, &code, false);
                Ok(got.map(|got| self.back_from(layout.slot, done, got)))
            }
            Way::Near(Strategy::Xol | Strategy::Step) => {
                self.copy(layout.slot, way == Way::Near(Strategy::Step))
            }
            // With other states before it: `jump`.
            Way::Near(Strategy::Jump) | Way::Window => Ok(None),
            Way::Far => {
                let mut near = Code::new();
                let (site, plan) = (layout.site, &self.plan);
                let _ = C::Arch::copy(&self.text, site, plan, layout.slot, &mut near);
                let mut far = Code::new();
                match C::Arch::copy(&self.text, site, plan, layout.far_slot, &mut far) {
                    Ok(_) if far != near => self.copy(layout.far_slot, false),
                    _ => Ok(None),
                }
            }
        }
    }

    fn simulate(&mut self) -> Option<Outcome<C>> {
        let site = self.case.layout.site;
        let mut thread = self.thread(self.case.state.clone());
        match C::Arch::simulate(self.plan.effect?, site, &mut thread) {
            // What it comes to is found out by going there.
            Ok(()) => self.go_on(&thread.state),
            Err(fault) => Some(Outcome {
                state: thread.state,
                end: End::Signal { number: SIGSEGV, code: 0, address: fault.at },
            }),
        }
    }

    /// A thread that stopped in `state`.
    pub(crate) fn thread(&self, state: State<C>) -> Thread<C> {
        Thread {
            state,
            layout: self.case.layout,
            code: self.case.bytes.clone(),
            set_vector: C::set_vector,
        }
    }

    /// The copy with a trap behind it and the fixup, or stepped by the hardware.
    fn copy(&mut self, slot: Addr, step: bool) -> Result<Option<Outcome<C>>, String> {
        let site = self.case.layout.site;
        let mut code = Code::new();
        let fixup = C::Arch::copy(&self.text, site, &self.plan, slot, &mut code)
            .map_err(|reject| format!("copy: {reject}"))?;
        let behind = slot.add(code.len() as u64);
        let Some(mut got) = self.execute(slot, &code, step) else { return Ok(None) };
        if got.end == End::Trap && got.pc() == behind {
            let mut thread = self.thread(got.state);
            let before = &self.case.state.regs;
            return match C::Arch::fixup(fixup, site, &self.plan, before, &mut thread) {
                Ok(()) => Ok(self.go_on(&thread.state)),
                Err(fault) => Err(format!("fixup: {fault:?}")),
            };
        }
        if step && got.end == End::Trap {
            // Not at an end: the instruction is one that is stepped more than once, or it left.
            return Ok(if got.pc() == slot { None } else { self.go_on(&got.state) });
        }
        let inside = got.pc().distance_from(slot);
        if (1..code.len() as i64).contains(&inside) && self.plan.span() == self.plan.len {
            // A fault of a copy that needs a register: what it had is put back.
            let fault_pc = got.pc();
            got.state.regs = self.case.state.regs;
            got.end = moved(got.end, fault_pc, site);
            return Ok(Some(got));
        }
        Ok(Some(self.back_from(slot, code.len() as u8, got)))
    }

    /// Runs `code` at `slot`. The site is not armed: a program sees its own text change (that is
    /// in the documentation), which is not what is looked for here.
    fn execute(&mut self, slot: Addr, code: &[u8], step: bool) -> Option<Outcome<C>> {
        let placed = [
            Placed { at: self.case.layout.site, bytes: &self.case.bytes },
            Placed { at: slot, bytes: code },
        ];
        let mut state = self.case.state.clone();
        state.regs.set_pc(slot);
        self.cpu.run(&self.case.layout, &placed, &state, step)
    }

    /// Lets a thread go on at its PC.
    pub(crate) fn go_on(&mut self, state: &State<C>) -> Option<Outcome<C>> {
        let placed = [Placed { at: self.case.layout.site, bytes: &self.case.bytes }];
        self.cpu.run(&self.case.layout, &placed, state, false)
    }

    /// A thread that stopped in a slot, seen from outside.
    fn back_from(&self, slot: Addr, done: u8, mut got: Outcome<C>) -> Outcome<C> {
        let pc = got.pc();
        let site = self.case.layout.site;
        let at = if pc == slot {
            site
        } else if pc == slot.add(done.into()) {
            site.add(self.plan.span().into())
        } else if (1..i64::from(self.plan.span())).contains(&pc.distance_from(slot)) {
            // Inside a sequence that was copied as it is.
            site.offset(pc.distance_from(slot))
        } else {
            return got;
        };
        got.state.regs.set_pc(at);
        got.end = moved(got.end, pc, at);
        got
    }

    pub(crate) fn compare(
        &self,
        way: Way,
        mut wanted: Outcome<C>,
        mut got: Outcome<C>,
    ) -> Result<(), Difference> {
        self.cpu.excuse(self.case, way, &mut wanted, &mut got);
        if wanted == got {
            return Ok(());
        }
        let mut what = String::new();
        let mut line = |name: &str, wanted: &dyn std::fmt::Debug, got: &dyn std::fmt::Debug| {
            let (wanted, got) = (format!("{wanted:x?}"), format!("{got:x?}"));
            if wanted != got {
                let _ = writeln!(what, "{name}\n  in place {wanted}\n  {way:8} {got}");
            }
        };
        line("end", &wanted.end, &got.end);
        line("general registers", &wanted.state.regs, &got.state.regs);
        line("other registers", &wanted.state.vectors, &got.state.vectors);
        for (i, start) in self.case.layout.windows.iter().enumerate() {
            let (wanted, got) = (&wanted.state.memory[i], &got.state.memory[i]);
            for (at, (wanted, got)) in wanted.iter().zip(got).enumerate() {
                if wanted != got {
                    line(&format!("memory at {}", start.add(at as u64)), wanted, got);
                }
            }
        }
        Err(Difference { way, what })
    }
}

/// A signal that names the PC names it wherever the thread is.
pub(crate) fn moved(end: End, from: Addr, to: Addr) -> End {
    match end {
        End::Signal { number, code, address } if address == from => {
            End::Signal { number, code, address: to }
        }
        end => end,
    }
}

/// A stopped thread as the plans see it: memory is what the state holds, and the instruction,
/// which can be read.
pub(crate) struct Thread<C: Cpu> {
    pub(crate) state: State<C>,
    layout: Layout,
    code: Vec<u8>,
    set_vector: fn(&mut C::Vectors, u8, u128),
}

impl<C: Cpu> Thread<C> {
    /// The window and the offset of one byte.
    fn find(&self, at: Addr) -> Option<(usize, usize)> {
        self.layout.windows.iter().enumerate().find_map(|(i, start)| {
            let offset = usize::try_from(at.0.checked_sub(start.0)?).ok()?;
            (offset < WINDOW).then_some((i, offset))
        })
    }
}

impl<C: Cpu> Memory for Thread<C> {
    fn read(&mut self, at: Addr, to: &mut [u8]) -> Result<(), Fault> {
        for (i, byte) in to.iter_mut().enumerate() {
            let at = at.add(i as u64);
            *byte = if let Some((window, offset)) = self.find(at) {
                self.state.memory[window][offset]
            } else if self.layout.code_pages().contains(&at.align_down(4096)) {
                let offset = at.0.wrapping_sub(self.layout.site.0) as usize;
                let trap = C::Arch::TRAP;
                self.code.get(offset).copied().unwrap_or(trap[at.0 as usize % trap.len()])
            } else {
                return Err(Fault { at, write: false });
            };
        }
        Ok(())
    }

    fn write(&mut self, at: Addr, from: &[u8]) -> Result<(), Fault> {
        for i in 0..from.len() as u64 {
            let at = at.add(i);
            self.find(at).ok_or(Fault { at, write: true })?;
        }
        for (i, byte) in from.iter().enumerate() {
            if let Some((window, offset)) = self.find(at.add(i as u64)) {
                self.state.memory[window][offset] = *byte;
            }
        }
        Ok(())
    }
}

impl<C: Cpu> Machine<C::Arch> for Thread<C> {
    fn regs(&mut self) -> &mut <C::Arch as Arch>::Regs {
        &mut self.state.regs
    }

    fn set_vector(&mut self, n: u8, value: u128) -> Result<(), Fault> {
        (self.set_vector)(&mut self.state.vectors, n, value);
        Ok(())
    }
}
