//! A function as a whole, and what a jump in it would replace: the same question for a file that
//! is only looked at and for a program that is traced.

use super::{ElfError, Object};
use xol_arch::jump::{Features, Filter, LongCode, Record, Recorder, Side, Window};
use xol_arch::{Addr, Arch, Flow, Named, Reason, Rules, Text};

/// A function's code, and the places in it that its branches go to.
#[derive(Debug)]
pub struct Function {
    range: (Addr, Addr),
    bytes: Vec<u8>,
    guarded: bool,
    targets: Vec<Addr>,
    stack: bool,
    /// What its instructions name in it otherwise.
    named: Vec<Named>,
}

impl Function {
    /// In longer functions there are no jumps: their branches are not looked for.
    pub const LONGEST: u64 = 1 << 20;
    /// How much code goes with a jump, in bytes: its instructions. So much is known behind a function,
    /// where there is so much.
    pub const AHEAD: usize = 64;

    /// The function from one address up to the other. `bytes` begin with it, and go on behind it
    /// ([`Function::AHEAD`]).
    #[must_use]
    pub fn new<A: Arch>(range: (Addr, Addr), bytes: Vec<u8>, guarded: bool) -> Function {
        let mut function = Function {
            range,
            bytes,
            guarded,
            targets: Vec::new(),
            stack: false,
            named: Vec::new(),
        };
        let (mut targets, mut named) = (Vec::new(), Vec::new());
        // NOPs that nothing falls into, and whether a jump may go to them that is not known.
        let (mut nops, mut is_gap, mut indirect) = (Vec::new(), false, false);
        let has = |at: &Addr| range.0 <= *at && *at < range.1;
        let text = function.text();
        let mut at = range.0;
        while at < range.1 {
            let mut next = at;
            A::follow(&text, at, &mut |step| {
                if step.at >= range.1 {
                    return false;
                }
                next = step.at.add(step.len.into());
                if let Flow::Jump(to) | Flow::JumpIf(to) | Flow::Call(Some(to)) = step.flow {
                    targets.extend(Some(to).filter(has));
                }
                named.extend(step.named.filter(|named| has(&named.at)));
                indirect |= step.flow == Flow::JumpIndirect;
                match step.flow {
                    Flow::Nop if is_gap => nops.push(step.at),
                    Flow::Jump(_) | Flow::JumpIndirect | Flow::Return | Flow::Stop => is_gap = true,
                    _ => is_gap = false,
                }
                true
            });
            // What does not decode is passed over.
            is_gap = true;
            at = if next < range.1 { next.add(A::INSN_ALIGN) } else { next };
        }
        if indirect {
            // The case of a switch may begin with one: a static tracepoint does.
            targets.extend(nops);
        }
        targets.sort_unstable();
        targets.dedup();
        (function.targets, function.named) = (targets, named);
        function.stack = A::has_stack(&function.text());
        function
    }

    /// Where it begins, and where it ends.
    #[must_use]
    pub fn range(&self) -> (Addr, Addr) {
        self.range
    }

    /// Whether the stack pointer holds a stack in it ([`Arch::has_stack`]).
    #[must_use]
    pub fn has_stack(&self) -> bool {
        self.stack
    }

    /// Its code.
    #[must_use]
    pub fn text(&self) -> Text<'_> {
        Text {
            base: self.range.0,
            bytes: &self.bytes,
            function: Some(self.range),
            guarded: self.guarded,
        }
    }

    /// What a jump for a probe on the instruction at `at` replaces, if one is right there as far as
    /// `object` says, which is loaded at `bias`: where landing pads are, the instruction behind them,
    /// which is come to through them alone.
    ///
    /// # Errors
    /// Why there can be no jump.
    pub fn window<A: Arch>(
        &self,
        at: Addr,
        rules: Rules,
        object: &Object,
        bias: u64,
    ) -> Result<Window, Reason> {
        // Where it is loaded, if that is still open, is high.
        let side = if object.is_fixed() || bias != 0 { Side::of(at) } else { Side::Below };
        self.window_on::<A>(at, rules, object, bias, side)
    }

    /// The same, on the side that is said.
    ///
    /// # Errors
    /// As for [`Function::window`].
    pub fn window_on<A: Arch>(
        &self,
        at: Addr,
        rules: Rules,
        object: &Object,
        bias: u64,
        side: Side,
    ) -> Result<Window, Reason> {
        let text = self.text();
        let window =
            A::window(&text, at, rules, &self.targets, side).map_err(|reject| reject.reason)?;
        self.check::<A>(window, at, object, bias)
    }

    /// What a jump replaces there that changes nothing behind its instruction, if that is right: where
    /// [`Function::window`] is not, because of what is behind.
    ///
    /// # Errors
    /// Why there can be no such jump.
    pub fn window_alone<A: Arch>(
        &self,
        at: Addr,
        rules: Rules,
        object: &Object,
        bias: u64,
    ) -> Result<Window, Reason> {
        let text = self.text();
        let window = A::window_alone(&text, at, rules, &self.targets);
        let window = window.map_err(|reject| reject.reason)?;
        // A trap of somebody else's, which may be taken away.
        let len = usize::from(window.len);
        let mut file = [0; 8];
        let file = file.get_mut(..len).ok_or(Reason::WindowEnd)?;
        let vaddr = at.0.wrapping_sub(bias);
        if object.read_code(vaddr, file).is_err() || !text.from(at).starts_with(file) {
            return Err(Reason::WindowInstruction);
        }
        self.check::<A>(window, at, object, bias)
    }

    /// Returns a window for a probe at `at` if all that is known around it lets it be.
    fn check<A: Arch>(
        &self,
        window: Window,
        at: Addr,
        object: &Object,
        bias: u64,
    ) -> Result<Window, Reason> {
        let text = self.text();
        if window.entered != 0 {
            return Err(Reason::Entered);
        }
        if !self.stack {
            self.counted::<A>(window.at)?;
        }
        let vaddr = |at: Addr| at.0.wrapping_sub(bias);
        // From a part of the function that is elsewhere, perhaps.
        if window.at != at && object.is_branched_to::<A>(vaddr(window.at)).unwrap_or(true) {
            return Err(Reason::PadOnly);
        }
        for insn in window.covered() {
            let at = window.at.add(insn.offset.into());
            if A::is_syscall(text.from(at)) {
                return Err(Reason::SystemCall);
            }
            match object.told_reject(vaddr(at)) {
                Ok(None) => {}
                Ok(Some(reject)) => return Err(reject.reason),
                Err(_) => return Err(Reason::NotCode),
            }
        }
        let end = window.at.add(window.changed().into());
        for named in self.named.iter().filter(|named| window.at <= named.at && named.at < end) {
            if named.accessed {
                return Err(Reason::ReadAsData);
            }
            // A register has the address of it: whoever jumps there comes into the window.
            if named.at != window.at {
                return Err(Reason::Entered);
            }
        }
        // Another symbol's entry is come to from anywhere, and others than we put traps there.
        let symbols = object.symbols().map_err(|_| Reason::NotCode)?;
        if symbols.next_symbol(vaddr(at)) < vaddr(window.at.add(window.len.into())) {
            return Err(Reason::Entered);
        }
        if symbols.data_from(vaddr(window.at)).is_some_and(|data| data.start < vaddr(end)) {
            return Err(Reason::WindowEnd);
        }
        Ok(window)
    }

    /// Whether hits at `at` can be counted at all, with what is known of its stack.
    fn counted<A: Arch>(&self, at: Addr) -> Result<(), Reason> {
        let record = Record {
            offset: 0,
            flags: A::flags_live(&self.text(), at),
            stack: self.stack,
            filter: Filter::NONE,
            recorder: Recorder::Count { counter: at },
        };
        A::record(&record, Features::ALL, at, &mut LongCode::new())
            .map(drop)
            .map_err(|reject| reject.reason)
    }
}

impl Object {
    /// Whether a direct branch anywhere in a stretch of code goes to `vaddr` in it: found out for all of
    /// them on the first call.
    ///
    /// # Errors
    /// Damaged symbol tables, an unreadable file.
    pub fn is_branched_to<A: Arch>(&self, vaddr: u64) -> Result<bool, ElfError> {
        if self.branched.get().is_none() {
            let mut all = Vec::new();
            for code in self.code_ranges()? {
                let mut bytes = vec![0; (code.end - code.start) as usize];
                self.read_code(code.start, &mut bytes)?;
                let whole = Some((Addr(code.start), Addr(code.end)));
                let text = Text { function: whole, ..Text::new(Addr(code.start), &bytes) };
                A::targets(&text, &mut |target| all.push(target.0));
            }
            all.sort_unstable();
            all.dedup();
            _ = self.branched.set(all);
        }
        Ok(self.branched.get().is_some_and(|all| all.binary_search(&vaddr).is_ok()))
    }

    /// The function around `vaddr` as the file has it; `None` where nothing says where it begins
    /// and ends, or it is too long for jumps.
    ///
    /// # Errors
    /// Damaged symbol tables, an unreadable file.
    pub fn function<A: Arch>(&self, vaddr: u64) -> Result<Option<Function>, ElfError> {
        let symbols = self.symbols()?;
        let (Some(range), Some(code)) = (symbols.function_at(vaddr), symbols.code_around(vaddr))
        else {
            return Ok(None);
        };
        if range.end - range.start > Function::LONGEST || range.start < code.start {
            return Ok(None);
        }
        let end = range.end.saturating_add(Function::AHEAD as u64).min(code.end);
        let mut bytes = vec![0; (end - range.start) as usize];
        self.read_code(range.start, &mut bytes)?;
        let range = (Addr(range.start), Addr(range.end));
        Ok(Some(Function::new::<A>(range, bytes, self.guarded())))
    }
}
